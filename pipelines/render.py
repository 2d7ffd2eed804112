"""What people read in a terminal: tables of alerts, labels, coverage, all text escaped. JSON for programs."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from blockscan.archive import Coverage
from blockscan.findings import Alert
from blockscan.safetext import safe_text
from blockscan.store_labels import Label

GAPS_UNKNOWN = "unknown: files do not tell an empty block from a missing one"
_PIPED = 160
_OTHERS = 70
"""Characters; what a table of alerts needs beside the hashes."""


def to_stdout(shown: RenderableType) -> None:
    """Print a table for people on standard output; in a pipe, wide enough for a hash and a reason."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPED)
    console.print(shown)


def has_room(longest: int) -> bool:
    """Whether a column of so many characters leaves enough to the others of a table on standard output."""
    console = Console()
    return (console.width if console.is_terminal else _PIPED) >= longest + _OTHERS


def print_json(value: object) -> None:
    """Print a result for a program, on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, sort_keys=True) + "\n")


def plain(text: object) -> Text:
    """Chain text for a rich table: neither markup nor terminal escapes pass."""
    return Text(safe_text(str(text), limit=400))


def pairs(rows: dict[str, object], title: str, *, missing: str = "none") -> Table:
    """A two-column table of facts; `missing` is said where one is None."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows.items():
        shown = missing if value is None else f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name, plain(shown))
    return table


def spans_text(spans: Sequence[tuple[int, int]], *, most: int) -> str:
    """The first `most` of some block ranges, a block that stands alone as one number; "" without any."""
    texts = [f"{first:,}" if first == last else f"{first:,}-{last:,}" for first, last in spans[:most]]
    more = f" and {len(spans) - most:,} more" if len(spans) > most else ""
    return ", ".join(texts) + more


def coverage_table(coverage: Coverage, *, rejected: int) -> Table:
    """What an archive holds after a run, and how much of what the run was given was rejected.

    The archive itself does not tell: it keeps no part, and so no record, where nothing was taken.
    """
    return pairs(
        {
            "transactions": coverage.transactions,
            "blocks": spans_text(coverage.blocks, most=4) or "unknown",
            "gaps": GAPS_UNKNOWN if coverage.from_files else spans_text(coverage.gaps, most=4) or "none",
            "chains": _counts(coverage.chains),
            "trace sources": _counts(coverage.sources),
            "duplicates left out": coverage.duplicates,
            **({"not asked for (other chains, votes)": coverage.unwanted} if coverage.unwanted else {}),
            "rejected": rejected,
        },
        "Archive",
    )


def alert_table(title: str, names: Sequence[str], *, first: str, fourth: str) -> Table:
    """A table to fill with `alert_cells`; it has room for `names`, the first cells of all rows, if it can."""
    table = Table(title=title, title_justify="left")
    for column in (first, "p-value", "severity", fourth, "reason"):
        table.add_column(column, overflow="fold", no_wrap=column in ("p-value", "severity"))
    table.columns[0].no_wrap = has_room(max(map(len, names), default=0))
    return table


def alert_cells(
    name: str, p_value: float | None, severity: str, fourth: str, reason: str, *, indent: str = ""
) -> tuple[Text, ...]:
    """A row of an `alert_table`; `fourth` is the status of an alert, or its label."""
    return Text(indent) + plain(name), Text(p_text(p_value)), Text(severity), plain(fourth), plain(reason)


def alert_facts(alert: Alert, lapsed: Collection[str]) -> dict[str, Any]:
    """An alert for a program; `lapsed` has the unique keys of those that are below the alarm level by now."""
    score = alert.score
    return {
        "unique_key": alert.unique_key,
        "chain": score.chain,
        "tx_hash": score.tx_hash,
        "block_number": score.block_number,
        "time": score.time,
        "sender": score.sender,
        "target": score.target,
        "p_value": score.p_value,
        "value": score.value,
        "severity": alert.severity,
        "status": alert.status,
        "lapsed": alert.unique_key in lapsed,
        "calibration": score.calibration,
        "reason": score.reason,
    }


def p_text(p_value: float | None, *, least: float = 0.0) -> str:
    """A p-value as people read it; of one under the `least` that can be shown, that it is under it."""
    if p_value is None:
        return "unknown"
    return f"<{least:.2g}" if p_value < least else f"{p_value:.2g}"


def label_table(labels: Mapping[str, Sequence[Label]]) -> Table:
    """What sources say of addresses."""
    table = Table(title="Known addresses", title_justify="left")
    for column in ("address", "name", "source", "date", "confidence"):
        table.add_column(column, overflow="fold")
    for label in (label for each in labels.values() for label in each):
        sure = "not stated" if label.confidence is None else f"{label.confidence:.0%}"
        table.add_row(*map(plain, (label.address, label.name, label.source, label.date, sure)))
    return table


def _counts(counts: Any) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
