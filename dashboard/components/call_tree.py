"""The call tree with surprise painted on it; a click, or Enter, selects a frame.

Chain text reaches the browser as data and is set with `textContent` and `title` only, so nothing in it
can become markup. Rows are flat: a tree 1,024 calls deep nests no element in another.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import streamlit as st

from blockscan.findings import Frame
from blockscan.safetext import safe_text
from dashboard.components.call_tree_assets import CSS, HTML, JS
from dashboard.wording import short

# `heat` is -log10(p) / 4, so each quarter is a power of ten. Words and no numbers: beyond what the benign
# sample shows, p only orders.
HEAT_LABELS = ("ordinary", "uncommon", "unusual", "rare", "very rare")
HOTTEST = 30
_ANCESTORS = 12


def heat_level(heat: float) -> int:
    """0 (ordinary) to 4 (one in 10,000 or rarer)."""
    return min(4, max(0, int(heat * 4 + 1e-9)))


def hottest(frames: Sequence[Frame]) -> list[int]:
    """Places of the frames worth a look first, in pre-order: the 30 hottest that are not ordinary.

    Where all are ordinary, any 30 hottest. Each brings its nearest 12 ancestors; the root is always there.
    """
    # A log shares the node of the call that emits it, and only calls are parents.
    place_of = {frame.node: place for place, frame in enumerate(frames) if frame.kind != "LOG"}
    ranked = sorted(range(len(frames)), key=lambda place: (-frames[place].heat, place))
    ranked = [place for place in ranked if heat_level(frames[place].heat) > 0] or ranked
    kept = {0} if frames else set()
    for place in ranked[:HOTTEST]:
        current: int | None = place
        for _ in range(_ANCESTORS + 1):
            if current is None or current in kept:
                break
            kept.add(current)
            current = place_of.get(frames[current].parent)
    return sorted(kept)


def tree_rows(frames: Sequence[Frame], places: Sequence[int]) -> list[dict[str, Any]]:
    """What the browser draws: one row per place, and one for each gap between them."""
    rows: list[dict[str, Any]] = []
    before = -1
    for place in places:
        if place > before + 1 and before >= 0:
            rows.append({"gap": place - before - 1, "depth": frames[place].depth})
        rows.append(_row(place, frames[place]))
        before = place
    if places and before < len(frames) - 1:
        rows.append({"gap": len(frames) - 1 - before, "depth": 0})
    return rows


def call_tree(rows: Sequence[dict[str, Any]], *, selected: int, key: str) -> int:
    """Draw rows and return the place of the frame that is selected."""
    result = _component()(
        key=key,
        data={"rows": list(rows), "selected": selected, "labels": list(HEAT_LABELS)},
        default={"selected": selected},
        on_selected_change=_rerun,
    )
    chosen = result.selected
    return chosen if isinstance(chosen, int) else selected


def _row(place: int, frame: Frame) -> dict[str, Any]:
    return {
        "place": place,
        "node": "" if frame.kind == "LOG" else str(frame.node),  # a log has that of the call above it
        "depth": frame.depth,
        "kind": safe_text(frame.kind),
        "target": short(frame.target),
        "target_full": safe_text(frame.target),
        "selector": safe_text(frame.selector, limit=300),
        "value": "" if frame.value in ("", "0", "0x0") else safe_text(frame.value),
        "error": safe_text(frame.error),
        "level": heat_level(frame.heat),
    }


def _rerun() -> None:
    """A selection needs no more than the rerun that it causes."""


@cache
def _component() -> Any:
    return st.components.v2.component("blockscan_call_tree", html=HTML, css=CSS, js=JS)
