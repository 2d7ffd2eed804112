"""Human block ranges, in cryo's notation: `16M:17M`, `-1000:`, `15M:+1000`, `:5000`. The end is excluded."""

import re
from dataclasses import dataclass

from blockscan.errors import ConfigError

_SCALE = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}
_NUMBER = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?)([KMB]?)", re.IGNORECASE)
_LONGEST = 40
"""Characters of a number; Python refuses to read one of thousands of digits."""


@dataclass(frozen=True, slots=True)
class BlockRange:
    """Blocks start <= n < stop; `stop` None means without end."""

    start: int
    stop: int | None

    def __contains__(self, number: int) -> bool:
        """Whether a block number lies in the range."""
        return number >= self.start and (self.stop is None or number < self.stop)


def parse_range(text: str, *, newest: int | None = None) -> BlockRange:
    """Read a range. `newest` is the last block there is; ranges that count from the end need it.

    Raises:
        ConfigError: not a range, an empty one, or one that counts from an end that is not known.
    """
    start_text, colon, stop_text = text.strip().partition(":")
    if not colon:
        start = _number(start_text, text)
        return BlockRange(start, start + 1)
    start = 0
    stop: int | None = None
    if stop_text and not stop_text.startswith("+"):
        stop = _number(stop_text, text)
    if start_text.startswith("-"):
        if stop is None and newest is None:
            raise ConfigError(
                f"the block range {text!r} counts from the newest block, which is not known here"
            )
        end = stop if stop is not None else (newest or 0) + 1
        start, stop = max(0, end - _number(start_text[1:], text)), end
    elif start_text:
        start = _number(start_text, text)
    if stop_text.startswith("+"):
        stop = start + _number(stop_text[1:], text)
    if stop is not None and stop <= start:
        raise ConfigError(f"the block range {text!r} is empty: it ends at {stop:,} and starts at {start:,}")
    return BlockRange(start, stop)


def _number(text: str, whole: str) -> int:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or len(text) > _LONGEST:
        raise ConfigError(
            f"{whole[:99]!r} is not a block range; write 100:200, 16M:17M, -1000: or 15M:+1000 (end excluded)"
        )
    digits, unit = match.group(1).replace("_", ""), match.group(2).upper()
    integer, _, fraction = digits.partition(".")
    scale = _SCALE[unit]
    value = int(integer) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    if fraction and int(fraction) * scale % 10 ** len(fraction):
        raise ConfigError(f"{text!r} in {whole!r} is not a whole block number")
    return value
