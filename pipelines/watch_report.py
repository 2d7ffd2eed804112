"""What a watch says in its log: alerts, corrections, and blocks of which nothing can be judged."""

import logging
from collections.abc import Collection, Sequence

from blockscan.safetext import safe_text
from blockscan.store import Correction
from blockscan.transaction import TraceStatus, Transaction
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
