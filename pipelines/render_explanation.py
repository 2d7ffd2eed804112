"""An explanation in a terminal: verdict, parts, evidence, ranked frames, painted tree, neighbours, causes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from blockscan.detect.fact import amount_in_words
from blockscan.detect.habits import Function, spelled
from blockscan.detect.neighbours import Differences
from blockscan.detect.ranked_frames import RankedFrame, ranked_frames
from blockscan.detect.score import view_of
from blockscan.findings import Alert, Frame, TxScore
from blockscan.findings_wording import FACTS, call_shown, evidence_name, utc
from blockscan.safetext import safe_text
from pipelines.decoding import name_codes
from pipelines.explain import Causes, Explanation
from pipelines.nearest import MOST_COMPARED, Nearest
from pipelines.render import label_table, p_text, pairs, plain
from tokenizer.signatures import Naming

ALONE = (
    "scored alone: neither what its account did in the minutes before is counted, nor what was put into "
    "contracts and sent to them since the history; add --store with its score to see the alert"
)
_HEAT = ("default", "yellow", "dark_orange", "bold red")
SHOWN_FRAMES = 60
MOST_RANKED = 10
_AMOUNTS = frozenset(
    [
        "calls",
        "depth",
        "input_bytes",
        "largest_transfer",
        "drained",
        "withdrawn",
        "emptied",
        "loss",
        "bystander_loss",
        "gain",
        "free_gain",
        "more_in_than_out",
        "overdrawn",
        "joint_gain",
        "taken_over",
        "minted",
    ]
)
"""Facts that say how much, of which "at most" makes sense; the others name what is rare."""


def explanation(explained: Explanation, *, everything: bool) -> Group:
    """Everything that an explanation holds; `everything` shows all frames of the tree."""
    score, frames = explained.score, explained.frames
    ranked = ranked_frames(frames, score.evidence)
    shown: list[RenderableType] = [_verdict(explained)]
    if explained.alone:
        shown.append(Text(ALONE))
    if explained.views:
        shown += [_views(explained.views, alone=explained.alone), _parts(explained.rarities, explained.least)]
    shown.append(_evidence(score))
    if ranked:
        shown.append(_ranking(ranked, everything=everything))
    shown.append(_tree(frames, ranked, everything=everything) if frames else _no_tree(score))
    if explained.nearest is not None:
        shown += _nearest(explained.nearest, explained.name)
    if explained.causes is not None:
        shown += _causes(explained.causes)
    if explained.labels:
        shown.append(label_table(explained.labels))
    return Group(*shown)


def as_dict(explained: Explanation) -> dict[str, Any]:
    """The same for a program."""
    ranked = ranked_frames(explained.frames, explained.score.evidence)
    near = explained.nearest
    return {
        "score": asdict(explained.score),
        "scored_alone": explained.alone,
        "severity": explained.severity,
        "alarm_level": explained.level,
        "alert": None if explained.alert is None else _alert_dict(explained.alert, lapsed=explained.lapsed),
        "frames": [asdict(frame) for frame in explained.frames],
        "labels": [asdict(label) for each in explained.labels.values() for label in each],
        "ranked_frames": [
            {
                "place": each.place,
                "node": each.frame.node,
                "decades": each.decades,
                "evidence": [asdict(one) for one in each.evidence],
            }
            for each in ranked
        ],
        "views": dict(explained.views),
        "rarities": dict(explained.rarities),
        "least_p": dict(explained.least),
        "nearest": None if near is None else _nearest_dict(near, explained.name),
        "attribution": None if explained.causes is None else asdict(explained.causes),
    }


def _alert_dict(alert: Alert, *, lapsed: bool) -> dict[str, Any]:
    raised = {"p_value": alert.score.p_value, "calibration": alert.score.calibration}
    return {"severity": alert.severity, "status": alert.status, "lapsed": lapsed} | raised


def _verdict(explained: Explanation) -> Table:
    score, alert = explained.score, explained.alert
    kept = "none"
    if alert is not None:
        lapsed = " (lapsed)" if explained.lapsed else ""
        kept = f"{alert.severity}, {alert.status}{lapsed}, raised at p {p_text(alert.score.p_value)}"
    return pairs(
        {
            "transaction": score.tx_hash,
            "p-value": p_text(score.p_value),
            "alert": "no" if explained.severity is None else explained.severity,
            "alert in the store": kept,
            "alarm level": "unknown" if explained.level is None else f"{explained.level:g}",
            "anomaly value": f"{score.value:.3f}",
            "reason": score.reason,
            "block": "unknown" if score.block_number is None else score.block_number,
            "time": utc(score.time),
            "sender": score.sender,
            "calls, tokens, windows": f"{score.calls:,}, {score.tokens:,}, {score.windows:,}",
            "trace": f"{score.source}, {score.trace_status}",
        },
        "Verdict",
    )


_VIEWS = {
    "facts": "what the past says",
    "model": "what the language model says",
    "size": "how large it is",
    "carried": "from the account's transactions before",
}


def _views(views: Mapping[str, float], *, alone: bool) -> Table:
    table = _table("What the anomaly value is the sum of", ("view", "decades", ""))
    for name, decades in sorted(views.items(), key=lambda item: -item[1]):
        unknown = alone and name == "carried"
        table.add_row(name, "not known" if unknown else f"{decades:.2f}", _VIEWS[name])
    return table


def _parts(rarities: Mapping[str, float], least: Mapping[str, float]) -> Table:
    columns = ("part", "view", "decades", "p-value", "")
    table = _table("Parts of the views, each by itself", columns)
    for name, decades in sorted(rarities.items(), key=lambda item: -item[1]):
        p = p_text(10.0**-decades, least=least[name])
        if name == "harmonic":  # counts from where the benign sample ends
            p = f"<{least[name]:.2g}" if decades else "shown by benign ones"
        table.add_row(name, view_of(name), f"{max(decades, 0.0):.2f}", p, FACTS.get(name, ""))
    return table


def _evidence(score: TxScore) -> Table:
    columns = ("call", "field", "found", "expected instead", "surprise (nats)", "p-value")
    table = _table("Evidence", columns)
    for each in score.evidence:
        cells = (plain(each.found), plain(" or ".join(each.expected)), f"{each.surprise:.2f}")
        call, name = call_shown(each.field, each.node), evidence_name(each.field)
        table.add_row(call, name, *cells, p_text(each.p_value, least=each.least))
    return table


def _ranking(ranked: Sequence[RankedFrame], *, everything: bool) -> Table:
    title = "Calls and events by their evidence (powers of ten beyond p = 0.05)"
    table = _table(title, ("decades", "call", "what", "depth", "strongest evidence"))
    for each in ranked if everything else ranked[:MOST_RANKED]:
        strongest = "; ".join(
            f"{evidence_name(one.field)}: {one.found} (p {p_text(one.p_value, least=one.least)})"
            for one in each.evidence[:2]
        )
        where = (plain(_said(each.frame)), str(each.frame.depth), plain(strongest))
        table.add_row(f"{each.decades:.1f}", str(each.frame.node), *where)
    return table


def _said(frame: Frame) -> str:
    return f"{frame.kind} {frame.target} {frame.selector} {frame.value} {frame.error}"


def _tree(frames: Sequence[Frame], ranked: Sequence[RankedFrame], *, everything: bool) -> Text:
    shown = set(range(len(frames))) if everything else _strongest(frames, ranked)
    text = Text("Call tree (heat: . ordinary, # rare; number of the call)\n", style="bold")
    hidden, width = 0, len(str(frames[-1].node)) if frames else 0
    for place, frame in enumerate(frames):
        if place not in shown:
            hidden += 1
            continue
        level = min(3, int(frame.heat * 4))
        mark = ".+*#"[level]
        what = safe_text(_said(frame), limit=400)
        number = "" if frame.kind == "LOG" else str(frame.node)  # a log has the number of the call above it
        text.append(f"{mark} {number:>{width}} {'  ' * min(frame.depth, 40)}{what}\n", style=_HEAT[level])
    if hidden:
        text.append(f"{hidden:,} cooler frames are not shown; --all shows them\n", style="dim")
    return text


def _no_tree(score: TxScore) -> Text:
    again = f"blockscan explain {safe_text(score.tx_hash)} --store FILE --archive DIR --model DIR"
    return Text(f"Call tree: kept of the rarest transactions only; this shows it:\n{again}\n")


def _strongest(frames: Sequence[Frame], ranked: Sequence[RankedFrame]) -> set[int]:
    """Indices of the frames with the most evidence, then of the hottest, and of all their callers."""
    call_at = {frame.node: place for place, frame in enumerate(frames) if frame.kind != "LOG"}
    hottest = sorted(range(len(frames)), key=lambda place: -frames[place].heat)
    order = dict.fromkeys([*(each.place for each in ranked), *hottest])
    shown: set[int] = set()
    for place in list(order)[:SHOWN_FRAMES]:
        while place not in shown:
            shown.add(place)
            parent = frames[place].parent
            if parent not in call_at:
                break
            place = call_at[parent]
    return shown


def _nearest(near: Nearest, name: Naming) -> list[RenderableType]:
    to = "that are addressed to" if near.outermost else "that somewhere run"
    shared = f"{to} {_name(near.shared, name)}"
    looked = f"{near.compared:,} of {near.found:,} earlier transactions {shared}, were compared"
    limit = f", the latest {MOST_COMPARED:,}" if near.found > near.compared else ""
    order = "" if near.ordered else "; its block is unknown, so all others count as earlier"
    note = Text(f"{looked}{limit}{order}\n", style="dim")
    if near.differences is None:
        return [Text("Nearest earlier transactions: none", style="bold"), note]
    table = _table("Nearest earlier transactions", ("transaction", "block", "distance", "calls"))
    for each in near.neighbours:
        one = each.portrait
        block = "unknown" if one.block_number is None else f"{one.block_number:,}"
        table.add_row(plain(one.tx_hash), block, f"{each.distance:.3f}", f"{sum(one.functions.values()):,}")
    return [table, _differences(near.differences, near.compared, name), note]


def _differences(found: Differences, compared: int, name: Naming) -> Table:
    table = _table("How this one differs from them", ("call", "difference", "here", "there"))
    for fact in found.facts:
        measured = fact.name in _AMOUNTS
        usual = name_codes(fact.usual, name)
        usual = f"at most {usual}" if measured and usual else usual or "less"
        there = (
            f"{usual}; as {'much' if measured else 'rare'} in {fact.reached:,} of the {compared:,} compared"
        )
        call, here = call_shown(fact.name, fact.node), name_codes(fact.found, name)
        table.add_row(call, evidence_name(fact.name), plain(here), plain(there))
    for amount in found.amounts:
        here, most = (
            amount_in_words(each, amount.asset).partition(" of ")[0] for each in (amount.amount, amount.most)
        )
        there = f"at most {most}" if amount.most else "not moved"
        table.add_row(str(amount.node), plain(f"transfer of {amount.asset}"), here, there)
    for each in found.functions:
        elsewhere = f", but in {each.elsewhere:,} of the {compared:,} compared" if each.elsewhere else ""
        there = f"in none of them{elsewhere}"
        table.add_row(str(each.node), "runs", plain(_name(each.function, name)), there)
    for function in found.missing:
        table.add_row("", "does not run", "", plain(f"{_name(function, name)} in all of them"))
    return table


def _nearest_dict(near: Nearest, name: Naming) -> dict[str, Any]:
    found = near.differences
    return {
        "found": near.found,
        "compared": near.compared,
        "shared": _name(near.shared, name),
        "outermost": near.outermost,
        "ordered": near.ordered,
        "neighbours": [
            {
                "tx_hash": each.portrait.tx_hash,
                "block_number": each.portrait.block_number,
                "distance": each.distance,
            }
            for each in near.neighbours
        ],
        "differences": None
        if found is None
        else {
            "facts": [asdict(each) for each in found.facts],
            "amounts": [asdict(each) for each in found.amounts],
            "functions": [
                {"function": _name(each.function, name), "node": each.node, "elsewhere": each.elsewhere}
                for each in found.functions
            ],
            "missing": [_name(function, name) for function in found.missing],
        },
    }


def _causes(causes: Causes) -> list[RenderableType]:
    of = f"Which values made {causes.of or 'others'} surprising ({causes.method})"
    table = _table("", ("call", "field", "value seen", "nats"))
    for each in causes.causes:
        table.add_row(str(each.node), each.field, plain(each.found), f"{each.nats:+.3f}")
    table.add_row("", "", "all other values", f"{causes.others:+.3f}")
    bare = f"{causes.surprise:.3f} nats; {causes.unseen:.3f} with everything else hidden\n"
    return [Text(safe_text(of), style="bold"), table, Text(bare, style="dim")]


def _name(function: Function, name: Naming) -> str:
    target, selector = function
    if not selector:
        return f"plain call of {safe_text(target)}" if target else "message"
    what = spelled(function) or name(selector)
    return f"{safe_text(what)} of {safe_text(target)}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=plain(title) if title else None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
