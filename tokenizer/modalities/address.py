"""Addresses: frequent ones whole, others by their part in the transaction.

An unknown address is `[SENDER]` (the root's caller), `[NEW1]`.. (created in this transaction, wherever it
is mentioned, even before its creation) or `[A1]`.., numbered by first mention. Declared loss: which
unknown address it is, and past the last alias number also which alias.
"""

from collections.abc import Sequence

from blockscan.config import TokenizerConfig
from tokenizer.vocabulary import Names, Vocabulary

NONE = "[NONE]"
SENDER = "[SENDER]"
WHOLE = "A:"
PRECOMPILES = frozenset(f"0x{number:040x}" for number in (*range(1, 0x12), 0x100))
ZERO = f"0x{0:040x}"
_ALWAYS = (ZERO, *sorted(PRECOMPILES))
# Bytes that stand-ins repeat: large enough to be told from a number in a 32-byte word.
_FILLER = {"SENDER": "5e", "NEW": "c0", "A": "a1"}


def alphabet(config: TokenizerConfig) -> list[str]:
    """No address, the sender, the aliases, the zero address and the precompiles."""
    names = [f"[{kind}{number}]" for kind in ("NEW", "A") for number in range(1, config.aliases + 1)]
    return [NONE, SENDER, *names, *(WHOLE + one for one in _ALWAYS)]


def pieces(value: str | None, names: Names) -> tuple[str, ...]:
    """One piece."""
    if value is None:
        return (NONE,)
    whole = WHOLE + value
    return (whole if whole in names.vocabulary else names.address(value),)


def value(pieces: Sequence[str], _vocabulary: Vocabulary) -> str | None:
    """The address, or the stand-in of an alias."""
    (piece,) = pieces
    if piece == NONE:
        return None
    if piece.startswith(WHOLE):
        return piece.removeprefix(WHOLE)
    if piece == SENDER:
        return stand_in("SENDER", 0)
    kind = piece[1:-1].rstrip("0123456789")
    return stand_in(kind, int(piece[1 + len(kind) : -1]))


def stand_in(kind: str, number: int) -> str:
    """The reserved address that an alias reads back as."""
    return f"0x{_FILLER[kind] * 18}{number:04x}"
