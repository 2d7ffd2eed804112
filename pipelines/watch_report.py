"""What a watch says in its log: alerts, corrections, and what of blocks is scored, lacking or not judged."""

import logging
from collections.abc import Collection, Sequence

from blockscan.archive import RawBlock
from blockscan.safetext import safe_text
from blockscan.store import Correction
from blockscan.transaction import TraceStatus, Transaction
from pipelines.prefetch import Answer
from pipelines.render import p_text
from pipelines.score import Scored

log = logging.getLogger("blockscan.watch")


def say_corrections(corrections: Sequence[Correction]) -> None:
    """One warning for each alert that changed because the chain did."""
    for each in corrections:
        log.warning("correction: alert %s is %s: %s", safe_text(each.tx_hash), each.what, each.note)


def say_alerts(judged: Sequence[Scored]) -> None:
    """One warning for each alarm."""
    for each in judged:
        if each.severity is not None:
            where = f"block {each.score.block_number:,} {each.score.tx_hash}, p {p_text(each.score.p_value)}"
            log.warning("alert: %s: %s: %s", each.severity, safe_text(where), safe_text(each.score.reason))


def say_scored(blocks: Sequence[RawBlock], scored: int, left: int, latencies: str) -> None:
    """One line for blocks with so many scored transactions, and how many more blocks there are."""
    span = f"{blocks[0].number:,}" + (f" to {blocks[-1].number:,}" if len(blocks) > 1 else "")
    behind = f"; {left:,} blocks behind the head" if left > 1 else ""
    log.info("block %s: %s transactions scored%s; %s", span, f"{scored:,}", behind, latencies)


def say_lacking(number: int, answer: Answer) -> None:
    """One warning for a block that is not known in full, or at all."""
    if not isinstance(answer, RawBlock):
        log.warning("block %s quarantined: %s", f"{number:,}", safe_text(str(answer), limit=400))
    elif answer.degraded:
        why = safe_text(answer.degraded, limit=400)
        log.warning("block %s is not known in full: %s", f"{number:,}", why)


def is_blank(transactions: Sequence[Transaction], calibrated: Collection[str]) -> bool:
    """Whether no source of some transactions is calibrated: only what is truncated could alarm."""
    told = [each.source.value for each in transactions if each.status is not TraceStatus.TRUNCATED]
    return bool(told) and not set(told) & set(calibrated)


def say_blank(number: int, own: Sequence[Transaction], calibrated: Collection[str], *, again: bool) -> None:
    """Say that nothing of a block can be judged, and what to do, unless it was so before: `again`."""
    if not again:
        log.error(
            "NOTHING CAN RAISE AN ALERT: transactions come as %s, and the model is calibrated on %s; "
            "give an endpoint that traces so, or `blockscan calibrate` on blocks of this one",
            ", ".join(sorted({each.source.value for each in own})),
            ", ".join(sorted(calibrated)) or "nothing",
        )
    log.warning("block %s: no p-value for any of its %s transactions", f"{number:,}", f"{len(own):,}")
