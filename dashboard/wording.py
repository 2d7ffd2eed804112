"""Numbers and names as a person reads them: rarity, spans, shortened hashes."""

from math import floor, log10

from blockscan.findings import Evidence
from blockscan.safetext import TEXT_LIMIT, safe_text


def one_in(p_value: float | None) -> int | None:
    """How many ordinary transactions go by for one this unusual, to two digits, rounded down.

    None where more than half are, and without a p-value. No calibration shows more than one in a million, so
    nothing rarer is claimed.
    """
    if p_value is None or p_value > 0.5:
        return None
    # 1 / 1e-5 is a hair less than 100,000.
    count = floor(1 / max(p_value, 1e-6) * (1 + 1e-12))
    step: int = 10 ** max(0, floor(log10(count)) - 1)
    return count // step * step


def rarity(p_value: float | None) -> str:
    """`1 in 540`: see `one_in`; above p = 0.5 `ordinary`, without a p-value `not calibrated`."""
    if p_value is None:
        return "not calibrated"
    if p_value <= 0:
        return "never seen"
    if p_value > 0.5:
        return "ordinary"
    if p_value < 1e-6:
        return "1 in over a million"
    return f"1 in {one_in(p_value):,}"


def evidence_rarity(evidence: Evidence) -> str:
    """The same of evidence, as far as the ordinary ones that it was compared with can tell."""
    if evidence.extrapolated:
        return f"beyond all {round(1 / evidence.least) - 1:,} compared"
    return rarity(evidence.p_value)


def verdict(p_value: float | None) -> str:
    """The judgement in one sentence."""
    if p_value is None:
        return "Not judged: the calibration has no ordinary transactions from this kind of trace."
    if p_value > 0.1:
        return (
            f"Ordinary: {p_value:.0%} of ordinary transactions are at least this unusual (p = {p_value:.2g})."
        )
    return f"Rarer than {rarity(p_value)} of ordinary transactions (p = {p_value:.2g})."


def percent(share: float) -> str:
    """`0.0017 %`: three digits, however small the share is."""
    return f"{100 * share:.3g} %"


def span(first: int | None, last: int | None) -> str:
    """How long something took, in the largest unit that fits: `40 s`, `3 min`, `2 h`, `5 d`."""
    if first is None or last is None:
        return "unknown"
    for name, seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        if last - first >= 2 * seconds:
            return f"{(last - first) // seconds:,} {name}"
    return f"{last - first} s"


def cell_text(text: str, *, limit: int = TEXT_LIMIT) -> str:
    """Others' text for a table, safe to show and to download: no spreadsheet takes it for a formula."""
    clean = safe_text(text, limit=limit)
    return f"'{clean}" if clean.startswith(("=", "+", "-", "@")) else clean


def short(text: str) -> str:
    """A long hash or address as its two ends, safe to show; other text stays whole."""
    clean = safe_text(text)
    if len(clean) <= 18 or " " in clean:
        return clean
    return f"{clean[:8]}…{clean[-6:]}"
