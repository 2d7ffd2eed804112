"""Numbers: 0..255 and the largest uint256 in one piece, others as power of ten and three digits.

Declared loss: digits after the third (cut off, not rounded, so that no number grows past the bounds that
tell numbers from addresses). What does not fit in 256 bits is taken for the nearest number that does.
"""

from collections.abc import Sequence

from blockscan.config import TokenizerConfig
from tokenizer.vocabulary import Names, Vocabulary

MAX_UINT = (1 << 256) - 1
MIN_INT = -(1 << 255)
SMALL = 256
_MAX = "n:max"
_DIGITS = 3
_POSITIVE_EXPONENTS = range(2, 78)
_NEGATIVE_EXPONENTS = range(77)


def alphabet(_config: TokenizerConfig) -> list[str]:
    """Small numbers, exponents of either sign, and the 900 digit pieces."""
    return [
        *(f"n:{number}" for number in range(SMALL)),
        _MAX,
        *(f"e{exponent}" for exponent in _POSITIVE_EXPONENTS),
        *(f"-e{exponent}" for exponent in _NEGATIVE_EXPONENTS),
        *(f"d{digits}" for digits in range(100, 1000)),
    ]


def pieces(value: int, _names: Names) -> tuple[str, ...]:
    """One piece, or exponent and digits."""
    if value >= MAX_UINT:
        return (_MAX,)
    if 0 <= value < SMALL:
        return (f"n:{value}",)
    digits = str(abs(max(value, MIN_INT)))
    sign = "-" if value < 0 else ""
    return (f"{sign}e{len(digits) - 1}", f"d{digits[:_DIGITS]:0<{_DIGITS}}")


def value(pieces: Sequence[str], _vocabulary: Vocabulary) -> int:
    """The number that the pieces stand for."""
    if len(pieces) == 1:
        return MAX_UINT if pieces[0] == _MAX else int(pieces[0][2:])
    sign, exponent = pieces[0].split("e")
    digits = int(pieces[1][1:])
    size: int = digits * 10 ** int(exponent) // 10 ** (_DIGITS - 1)
    return -size if sign else size
