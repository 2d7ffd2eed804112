"""Numbers as a person reads them: rarity, times, shortened hashes."""

from datetime import UTC, datetime
from math import floor, log10

from blockscan.safetext import safe_text


def rarity(p_value: float | None) -> str:
    """`1 in 540`: how many ordinary transactions go by for one this unusual, to two digits, rounded down.

    Above p = 0.5 it says `ordinary`, without a p-value `not calibrated`.
    """
    if p_value is None:
        return "not calibrated"
    if p_value <= 0:
        return "never seen"
    if p_value > 0.5:
        return "ordinary"
    count = floor(1 / p_value)
    step = 10 ** max(0, floor(log10(count)) - 1)
    return f"1 in {count // step * step:,}"


def verdict(p_value: float | None) -> str:
    """The judgement in one sentence."""
    if p_value is None:
        return "Not judged: the calibration has no ordinary transactions from this kind of trace."
    if p_value > 0.1:
        return (
            f"Ordinary: {p_value:.0%} of ordinary transactions are at least this unusual (p = {p_value:.2g})."
        )
    return f"Rarer than {rarity(p_value)} of ordinary transactions (p = {p_value:.2g})."


def utc(time: int | None) -> str:
    """A Unix time as `2023-11-14 22:13:20 UTC`."""
    if time is None:
        return "unknown"
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time} s after 1970"


def short(text: str, *, keep: int = 6) -> str:
    """A long hash or address as its two ends, safe to show; other text stays whole."""
    clean = safe_text(text)
    if len(clean) <= 2 * keep + 6 or " " in clean:
        return clean
    return f"{clean[: keep + 2]}…{clean[-keep:]}"
