"""Text: well-known client errors whole, anything else in byte-level pieces and an end mark.

Pieces are learned by byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909). Every piece of a text
carries a prefix of its own, so no text can spell a bracket. Declared loss: lone surrogates, which are no
Unicode text, read back as question marks.
"""

from collections.abc import Sequence

from blockscan.config import TokenizerConfig
from tokenizer.vocabulary import BYTE_OF, Names, Vocabulary

END = "[/TEXT]"
PIECE = "t:"
WHOLE = "E:"
# What EVM clients say of failed frames (go-ethereum's core/vm/errors.go and others), and the spellings to
# which the chain adapters bring the most frequent ones.
CLIENT_ERRORS = (
    "failed",
    "reverted",
    "execution reverted",
    "out of gas",
    "invalid jump",
    "invalid opcode",
    "stack overflow",
    "stack underflow",
    "write protection",
    "call depth exceeded",
    "insufficient balance",
    "address collision",
    "max code size exceeded",
    "max initcode size exceeded",
    "invalid code: must not begin with 0xef",
    "gas uint64 overflow",
    "nonce uint64 overflow",
    "return data out of bounds",
)


def alphabet(_config: TokenizerConfig) -> list[str]:
    """The end mark, the client errors and the 256 bytes."""
    return [END, *(WHOLE + error for error in CLIENT_ERRORS), *(PIECE + symbol for symbol in BYTE_OF)]


def pieces(value: str, names: Names) -> tuple[str, ...]:
    """One piece for a client error, else byte-pair pieces and the end mark."""
    if value in CLIENT_ERRORS:
        return (WHOLE + value,)
    text = value.encode("utf-8", "replace").decode()
    return (*(PIECE + piece for piece in names.vocabulary.split(text)), END)


def value(pieces: Sequence[str], _vocabulary: Vocabulary) -> str:
    """The text."""
    if pieces[0].startswith(WHOLE):
        return pieces[0].removeprefix(WHOLE)
    symbols = "".join(piece.removeprefix(PIECE) for piece in pieces[:-1])
    return bytes(map(BYTE_OF.__getitem__, symbols)).decode("utf-8", "replace")
