"""Function selectors (4 bytes), first topics (32 bytes) and what tells Solana's instructions apart.

Known ones are whole, others in hash buckets. On Solana these are Anchor discriminators (8 bytes), tags (1
byte, all known) and the names of well-known programs' instructions (all known).
Declared loss: which of the unknown ones of a bucket it is.
"""

from collections.abc import Sequence

from blockscan.config import TokenizerConfig
from tokenizer.vocabulary import BUCKETED, Names, Vocabulary

WIDTH = dict(zip(BUCKETED, (4, 32, 8), strict=True))
INSTRUCTION = "I:"
_FIRST_BYTE = 0xE0
_EVM = ("S", "T")


def alphabet(config: TokenizerConfig) -> list[str]:
    """The buckets of the EVM's; Solana's are in `tokenizer.instructions`."""
    return [f"{kind}#{bucket}" for kind in _EVM for bucket in range(config.buckets)]


def pieces(value: bytes | str, names: Names) -> tuple[str, ...]:
    """One piece."""
    if isinstance(value, str):
        return (INSTRUCTION + value,)
    kind = next((kind for kind in _EVM if len(value) == WIDTH[kind]), "D")
    whole = f"{kind}:{value.hex()}"
    if whole in names.vocabulary:
        return (whole,)
    hashed = value[:-1] if kind == "D" else value
    return (f"{kind}#{int.from_bytes(hashed) % names.vocabulary.config.buckets}",)


def value(pieces: Sequence[str], vocabulary: Vocabulary) -> bytes | str:
    """The selector, or the stand-in of its bucket."""
    (piece,) = pieces
    if piece.startswith(INSTRUCTION):
        return piece.removeprefix(INSTRUCTION)
    if piece[1] == ":":
        return bytes.fromhex(piece[2:])
    return stand_in(piece[0], int(piece[2:]), vocabulary)


def stand_in(kind: str, bucket: int, vocabulary: Vocabulary) -> bytes:
    """The smallest selector of a bucket that the vocabulary does not hold, from 0xe0000000 on.

    There it cannot be taken for text or for the first bytes of a number. The last byte of a discriminator's
    is 0xe0, so that it cannot be taken for a tag either, and plays no part in choosing its bucket.
    """
    ending = bytes([_FIRST_BYTE]) if kind == "D" else b""
    width, buckets = WIDTH[kind] - len(ending), vocabulary.config.buckets
    first = _FIRST_BYTE << 8 * (width - 1)
    number = first + (bucket - first) % buckets
    while f"{kind}:{(number.to_bytes(width) + ending).hex()}" in vocabulary:
        number += buckets
    return number.to_bytes(width) + ending
