"""Numbers and names as a person reads them: rarity, times, spans, shortened hashes, kinds of evidence."""

from datetime import UTC, datetime
from math import floor, log10

from blockscan.findings import Evidence
from blockscan.safetext import safe_text

FACTS = {
    "calls": "number of calls",
    "depth": "depth of the call tree",
    "input_bytes": "size of the input",
    "new_edges": "calls between two that never met",
    "rare_callee": "callees that their callers hardly ever call",
    "rare_function": "function that its contract hardly ever runs",
    "rare_functions": "functions that their contracts hardly ever run",
    "new_caller": "new caller of a function that only few call",
    "unknown_target": "target that the past does not know",
    "reentry": "contract entered while it was at work",
    "gain": "gain of the sender's side",
    "free_gain": "gain of the sender's side without a payment",
    "more_in_than_out": "gain in more tokens than were paid with",
    "loss": "loss of a contract",
    "bystander_loss": "loss of accounts that take no part",
    "drained": "share of a balance taken away",
    "emptied": "balances of those who sign, emptied",
    "largest_transfer": "size of a transfer",
    "number_high": "argument larger than functions of this name are called with",
    "number_low": "argument smaller than functions of this name are called with",
    "rare_company": "functions that hardly ever meet",
    "rare_sequence": "function that hardly ever follows the one before",
    "rare_caller": "caller of a kind that functions of this name hardly ever have",
    "rare_role": "addresses that functions of this name hardly ever get",
    "rare_report": "number that the event hardly ever reports in this sense",
    "overdrawn": "more taken out within minutes than put in",
    "joint_gain": "gain without a payment within minutes",
}
"""What a fact about a whole transaction is called; other evidence is a value in its trace."""
FORMER_FACTS = {
    "rare_path": "calls from functions that hardly ever lead there",
    "argument_high": "argument larger than the function is called with",
    "argument_low": "argument smaller than the function is called with",
}
"""The same of facts that scores in stores of before name."""


def is_fact(field: str) -> bool:
    """Whether evidence is a fact about the whole transaction: the model expects nothing in its place."""
    return field in FACTS or field in FORMER_FACTS


def evidence_name(field: str) -> str:
    """What evidence is about, safe to show."""
    return FACTS.get(field) or FORMER_FACTS.get(field) or safe_text(field.replace("_", " "))


def rarity(p_value: float | None) -> str:
    """`1 in 540`: how many ordinary transactions go by for one this unusual, to two digits, rounded down.

    Above p = 0.5 it says `ordinary`, without a p-value `not calibrated`. No calibration shows more than one
    in a million, so nothing rarer is claimed.
    """
    if p_value is None:
        return "not calibrated"
    if p_value <= 0:
        return "never seen"
    if p_value > 0.5:
        return "ordinary"
    if p_value < 1e-6:
        return "1 in over a million"
    # 1 / 1e-5 is a hair less than 100,000.
    count = floor(1 / p_value * (1 + 1e-12))
    step = 10 ** max(0, floor(log10(count)) - 1)
    return f"1 in {count // step * step:,}"


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


def utc(time: int | None) -> str:
    """A Unix time as `2023-11-14 22:13:20 UTC`."""
    if time is None:
        return "unknown"
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time} s after 1970"


def span(first: int | None, last: int | None) -> str:
    """How long something took, in the largest unit that fits: `40 s`, `3 min`, `2 h`, `5 d`."""
    if first is None or last is None:
        return "unknown"
    for name, seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        if last - first >= 2 * seconds:
            return f"{(last - first) // seconds:,} {name}"
    return f"{last - first} s"


def short(text: str, *, keep: int = 6) -> str:
    """A long hash or address as its two ends, safe to show; other text stays whole."""
    clean = safe_text(text)
    if len(clean) <= 2 * keep + 6 or " " in clean:
        return clean
    return f"{clean[: keep + 2]}…{clean[-keep:]}"
