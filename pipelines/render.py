"""What people read in a terminal: tables of alerts, the painted call tree, coverage. All text is escaped."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from blockscan.archive import Coverage
from blockscan.findings import Frame, TxScore
from blockscan.safetext import safe_text
from blockscan.store_labels import Label

_HEAT = ("default", "yellow", "dark_orange", "bold red")
SHOWN_FRAMES = 60


def to_stdout(shown: RenderableType) -> None:
    """Print a table for people on standard output; in a pipe, wide enough for a hash and a reason."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(shown)


def print_json(value: object) -> None:
    """Print a result for a program, on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, sort_keys=True) + "\n")


def plain(text: object) -> Text:
    """Chain text for a rich table: neither markup nor terminal escapes pass."""
    return Text(safe_text(str(text), limit=400))


def pairs(rows: dict[str, object], title: str) -> Table:
    """A two-column table of facts."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows.items():
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name, plain(shown))
    return table


def coverage_table(coverage: Coverage) -> Table:
    """What an archive holds."""
    spans = ", ".join(f"{first:,}-{last:,}" for first, last in coverage.blocks[:4])
    more = f" and {len(coverage.blocks) - 4:,} more ranges" if len(coverage.blocks) > 4 else ""
    gaps = ", ".join(f"{first:,}-{last:,}" for first, last in coverage.gaps[:4]) or "none"
    return pairs(
        {
            "transactions": coverage.transactions,
            "blocks": spans + more or "unknown",
            "gaps": gaps,
            "chains": _counts(coverage.chains),
            "trace sources": _counts(coverage.sources),
            "duplicates left out": coverage.duplicates,
            "rejected": len(coverage.rejected),
        },
        "Archive",
    )


def alert_table(rows: Sequence[tuple[TxScore, str, str]], title: str) -> Table:
    """Top alerts: (score, severity, label); the label column is left out where no label is given."""
    table = Table(title=title, title_justify="left")
    labelled = any(label for _, _, label in rows)
    for column in ("transaction", "p-value", "severity", *(("label",) if labelled else ()), "reason"):
        table.add_column(column, overflow="fold", no_wrap=column == "p-value")
    for score, severity, label in rows:
        cells = [plain(score.tx_hash), Text(p_text(score.p_value)), Text(severity)]
        table.add_row(*cells, *((plain(label),) if labelled else ()), plain(score.reason))
    return table


def p_text(p_value: float | None) -> str:
    """A p-value as people read it."""
    return "unknown" if p_value is None else f"{p_value:.2g}"


def explanation(score: TxScore, frames: Sequence[Frame], *, everything: bool) -> Group:
    """Verdict, evidence and painted call tree of one transaction."""
    facts = pairs(
        {
            "transaction": score.tx_hash,
            "p-value": p_text(score.p_value),
            "anomaly value": f"{score.value:.3f}",
            "reason": score.reason,
            "block": "unknown" if score.block_number is None else score.block_number,
            "sender": score.sender,
            "calls, tokens, windows": f"{score.calls:,}, {score.tokens:,}, {score.windows:,}",
            "trace": f"{score.source}, {score.trace_status}",
        },
        "Verdict",
    )
    evidence = Table(title="Evidence", title_justify="left")
    for column in ("call", "field", "found", "expected instead", "surprise (nats)", "p-value"):
        evidence.add_column(column, overflow="fold")
    for each in score.evidence:
        evidence.add_row(
            str(each.node),
            each.field,
            plain(each.found),
            plain(" or ".join(each.expected)),
            f"{each.surprise:.2f}",
            f"{each.p_value:.2g}",
        )
    return Group(facts, evidence, _tree(frames, everything=everything))


def label_table(labels: Mapping[str, Sequence[Label]]) -> Table:
    """What sources say of addresses."""
    table = Table(title="Known addresses", title_justify="left")
    for column in ("address", "name", "source", "date", "confidence"):
        table.add_column(column, overflow="fold")
    for label in (label for each in labels.values() for label in each):
        sure = "not stated" if label.confidence is None else f"{label.confidence:.0%}"
        table.add_row(*map(plain, (label.address, label.name, label.source, label.date, sure)))
    return table


def _tree(frames: Sequence[Frame], *, everything: bool) -> Text:
    shown = set(range(len(frames))) if everything else _hottest(frames)
    text = Text("Call tree (heat: . ordinary, # rare)\n", style="bold")
    hidden = 0
    for place, frame in enumerate(frames):
        if place not in shown:
            hidden += 1
            continue
        level = min(3, int(frame.heat * 4))
        mark = ".+*#"[level]
        said = f"{frame.kind} {frame.target} {frame.selector} {frame.value} {frame.error}"
        what = safe_text(said, limit=400)
        text.append(f"{mark} {'  ' * min(frame.depth, 40)}{what}\n", style=_HEAT[level])
    if hidden:
        text.append(f"{hidden:,} cooler frames are not shown; --all shows them\n", style="dim")
    return text


def _hottest(frames: Sequence[Frame]) -> set[int]:
    """Indices of the hottest frames and of all their callers."""
    call_at = {frame.node: place for place, frame in enumerate(frames) if frame.kind != "LOG"}
    order = sorted(range(len(frames)), key=lambda place: -frames[place].heat)
    shown: set[int] = set()
    for place in order[:SHOWN_FRAMES]:
        while place not in shown:
            shown.add(place)
            parent = frames[place].parent
            if parent not in call_at:
                break
            place = call_at[parent]
    return shown


def _counts(counts: Any) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
