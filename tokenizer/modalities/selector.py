"""Function selectors (4 bytes) and first topics (32 bytes): known ones whole, others in hash buckets.

Declared loss: which of the unknown ones of a bucket it is.
"""

from collections.abc import Sequence

from blockscan.config import TokenizerConfig
from tokenizer.vocabulary import BUCKETED, Names, Vocabulary

WIDTH = dict(zip(BUCKETED, (4, 32), strict=True))
_FIRST_BYTE = 0xE0


def alphabet(config: TokenizerConfig) -> list[str]:
    """The buckets."""
    return [f"{kind}#{bucket}" for kind in WIDTH for bucket in range(config.buckets)]


def pieces(value: bytes, names: Names) -> tuple[str, ...]:
    """One piece."""
    kind = "S" if len(value) == WIDTH["S"] else "T"
    whole = f"{kind}:{value.hex()}"
    if whole in names.vocabulary:
        return (whole,)
    return (f"{kind}#{int.from_bytes(value) % names.vocabulary.config.buckets}",)


def value(pieces: Sequence[str], vocabulary: Vocabulary) -> bytes:
    """The selector, or the stand-in of its bucket."""
    (piece,) = pieces
    if piece[1] == ":":
        return bytes.fromhex(piece[2:])
    return stand_in(piece[0], int(piece[2:]), vocabulary)


def stand_in(kind: str, bucket: int, vocabulary: Vocabulary) -> bytes:
    """The smallest selector of a bucket that the vocabulary does not hold, from 0xe0000000 on.

    There it cannot be taken for text or for the first bytes of a number.
    """
    width, buckets = WIDTH[kind], vocabulary.config.buckets
    first = _FIRST_BYTE << 8 * (width - 1)
    number = first + (bucket - first) % buckets
    while f"{kind}:{number.to_bytes(width).hex()}" in vocabulary:
        number += buckets
    return number.to_bytes(width)
