"""One transaction: the verdict in words, its incident, the evidence, and the painted call tree."""

from collections.abc import Mapping, Sequence

import streamlit as st

from blockscan.findings import Alert, Evidence, Frame, TxScore
from blockscan.findings_wording import WHOLE, call_shown, evidence_name, is_fact, utc
from blockscan.safetext import safe_text
from blockscan.store_labels import Label, addresses_of
from dashboard import results
from dashboard.components.address_labels import beside, label_table
from dashboard.components.alert_table import alert_table
from dashboard.components.call_tree import HOTTEST, call_tree, hottest, tree_rows
from dashboard.components.paging import choose_page
from dashboard.components.triage import triage
from dashboard.wording import cell_text, evidence_rarity, rarity, short, verdict

FRAMES_PER_PAGE = 250
_EVIDENCE_SHOWN = 12
_OTHERS_SHOWN = 50
# Pixels; as wide as their text, columns would push the rarity out of a window of 1280.
_WIDTHS = {"frame": 55, "kind": 55, "field": 200, "found": 220, "expected instead": 150, "rarity": 180}


def main() -> None:
    """Draw the page."""
    path = results.store_path()
    tx_hash = _lookup()
    if not tx_hash:
        st.info("Give a transaction hash, or choose one in the list of alerts.")
        return
    beginning_so = results.starting_with(path, tx_hash)
    if len(beginning_so) > 1:
        st.info(f"{len(beginning_so):,} transactions begin with that; give more of the hash.")
        return
    tx_hash = beginning_so[0] if beginning_so else tx_hash
    st.set_page_config(page_title=f"{short(tx_hash)} · BlockScan")
    score, alert, lapsed, history = results.judgement(path, tx_hash, _chain(path, tx_hash))
    if score is None:
        st.info("This store holds no score for that transaction. Check the hash, or score its block (again).")
        return
    st.subheader(verdict(score.p_value))
    st.text(safe_text(score.reason, limit=400))
    if alert is None:
        st.caption("No alert: the transaction is not at the alarm level.")
    else:
        triage(path, alert, history)
        if alert.status == "orphaned":
            st.warning(
                "The transaction is on no block of the chain any more: its block was replaced. Where another "
                "block includes it again, the alert comes back."
            )
        if lapsed:
            st.warning(
                f"The alert was raised at {rarity(alert.score.p_value)}; under the newest judgement the "
                "transaction is no longer at the alarm level."
            )
    frames = results.call_frames(path, tx_hash, score.chain)
    labels = results.labels(path, addresses_of(score, frames), score.chain)
    _facts(score, labels)
    st.subheader("Evidence")
    _evidence_table(score.evidence)
    if alert is not None:
        _same_incident(path, alert)
    st.subheader("Call tree")
    _painted_tree(frames, score)
    label_table(labels)


def _lookup() -> str:
    """The way back, and the hash that the page shows: it lives in the address as `tx`."""
    back, hash_input = st.columns([1, 3], vertical_alignment="center")
    # The filters are bound to the address, so the list comes back as it was left.
    back.page_link("views/alerts.py", label="Alerts", icon=":material/arrow_back:")
    given = hash_input.text_input(
        "Transaction hash",
        key="tx",
        bind="query-params",
        placeholder="transaction hash, or its first 8 hex digits or more",
        max_chars=200,
        label_visibility="collapsed",
    )
    return given.strip()


def _chain(path: str, tx_hash: str) -> str | None:
    """The chain that is meant, for a person to choose where the hash is on several."""
    chains = results.chains(path, tx_hash)
    if len(chains) < 2:
        return None
    name = f"This hash is on {len(chains):,} chains"
    return st.selectbox(name, chains, key="chain", bind="query-params", format_func=safe_text)


def _same_incident(path: str, alert: Alert) -> None:
    others, lapsed = results.same_incident(path, alert.unique_key)
    if others:
        name = f"{len(others):,} other alert{'s' if len(others) > 1 else ''} of the same incident"
        with st.expander(name, icon=":material/hub:"):
            alert_table(others[:_OTHERS_SHOWN], lapsed, key=f"incident-{alert.unique_key}")
            if len(others) > _OTHERS_SHOWN:
                st.caption(f"And {len(others) - _OTHERS_SHOWN:,} more; the list of incidents shows them all.")


def _facts(score: TxScore, labels: Mapping[str, Sequence[Label]]) -> None:
    first, second = st.columns(2), st.columns(2)
    _code(first[0], "Transaction", score.tx_hash)
    _code(second[0], "From", score.sender)
    _code(second[1], "To", score.target or "contract creation")
    for place, address in ((second[0], score.sender), (second[1], score.target)):
        with place.container(gap=None):
            beside(address, labels)
    numbers = {
        "Chain": score.chain,
        "Block": "unknown" if score.block_number is None else f"{score.block_number:,}",
        "Index": "unknown" if score.tx_index is None else f"{score.tx_index:,}",
        "Score": f"{score.value:.4g}" + (f" ({score.carried:.2g} carried)" if score.carried else ""),
    }
    windows = f"{score.windows:,} window{'s' if score.windows != 1 else ''}"
    provenance = {
        "Time": utc(score.time),
        "Size": f"{score.calls:,} calls, {score.tokens:,} tokens, {windows}",
        "Trace": f"{score.source} ({score.trace_status})",
        "Model, calibration": f"{short(score.model)}, {short(score.calibration)}",
    }
    cells = [*first[1].columns(4), *st.columns(4)]
    for cell, (name, value) in zip(cells, (numbers | provenance).items(), strict=True):
        with cell.container(gap=None):
            st.caption(name)
            st.text(safe_text(value))


def _code(place: "st.delta_generator.DeltaGenerator", name: str, value: str) -> None:
    with place.container(gap=None):
        st.caption(name)
        st.code(safe_text(value), language=None)


def _evidence_table(evidence: Sequence[Evidence]) -> None:
    if not evidence:
        st.caption("No single value stands out.")
        return
    rows = [_evidence_row(item) for item in evidence]
    facts = sum(is_fact(item.field) for item in evidence)
    of_values = ("expected instead", "surprise (nats)")
    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        column_order=[name for name in rows[0] if facts < len(rows) or name not in of_values],
        column_config={
            **{name: st.column_config.Column(width=width) for name, width in _WIDTHS.items()},
            "p-value": st.column_config.NumberColumn(format="%.2g", width=70),
        },
    )
    if facts:
        st.caption(
            "A fact compares the whole transaction with ordinary ones of its size; a value compares one "
            "place of the trace with what the model expected there."
        )
    if any(item.extrapolated for item in evidence):
        st.caption("Where something is beyond all compared, the p-value is the smallest that these can show.")


def _evidence_row(item: Evidence) -> dict[str, str | int | float]:
    fact = is_fact(item.field)
    return {
        "frame": call_shown(item.field, item.node),
        "kind": "fact" if fact else "value",
        "field": evidence_name(item.field),
        "found": cell_text(item.found),
        "expected instead": cell_text("  ·  ".join(map(safe_text, item.expected)), limit=1000),
        "rarity": evidence_rarity(item),
        "p-value": max(item.p_value, item.least),
        "surprise (nats)": "" if fact else f"{item.surprise:.2f}",
    }


@st.fragment
def _painted_tree(frames: Sequence[Frame], score: TxScore) -> None:
    if not frames:
        st.caption("No call tree was kept; `blockscan explain HASH --archive DIR --model DIR` shows it.")
        return
    places = list(range(len(frames)))
    if len(frames) > HOTTEST:
        mode = st.segmented_control(
            "Frames",
            ["Hottest", "All"],
            default="Hottest",
            key="frames",
            required=True,
            format_func=lambda name: name if name == "Hottest" else f"All {len(frames):,}",
        )
        if mode == "Hottest":
            places = hottest(frames)
        else:
            page = choose_page(-(-len(frames) // FRAMES_PER_PAGE), key="frames_page")
            places = places[(page - 1) * FRAMES_PER_PAGE : page * FRAMES_PER_PAGE]
    strongest = max(range(len(frames)), key=lambda place: (frames[place].heat, -place))
    key = f"tree-{score.chain}-{score.tx_hash}"
    tree, detail = st.columns([5, 3], gap="medium")
    with tree:
        selected = call_tree(tree_rows(frames, places), selected=strongest, key=key)
    with detail.container(border=True):
        frame = frames[selected] if 0 <= selected < len(frames) else frames[strongest]
        _frame_detail(frame, _evidence_at(frame, score.evidence))


def _evidence_at(frame: Frame, evidence: Sequence[Evidence]) -> list[Evidence]:
    """What is rare in a frame: its values, and the facts that it shows best; rarest first."""
    own = frame.kind != "LOG"  # a log shares the node of the call that emits it
    facts = [item for item in evidence if is_fact(item.field) and item.field not in WHOLE]
    here = [item for item in facts if own and item.node == frame.node]
    return sorted([*here, *frame.evidence], key=lambda item: item.p_value)


def _frame_detail(frame: Frame, evidence: Sequence[Evidence]) -> None:
    st.markdown(f"**Frame {frame.node}**, depth {frame.depth}")
    parts = (
        ("Kind", frame.kind),
        ("From", frame.caller),
        ("To", frame.target),
        ("Selector", frame.selector),
        ("Value", frame.value),
        ("Error", frame.error),
    )
    for name, value in parts:
        if value:
            left, right = st.columns([1, 4])
            left.caption(name)
            right.text(safe_text(value, limit=300))
    if not evidence:
        st.caption("Nothing in this frame surprised the model.")
    for item in evidence[:_EVIDENCE_SHOWN]:
        st.divider()
        p = f"< {item.least:.2g}" if item.extrapolated else f"= {item.p_value:.2g}"
        st.text(f"{evidence_name(item.field)}: {evidence_rarity(item)} (p {p})")
        st.caption("Found")
        st.code(safe_text(item.found), language=None, wrap_lines=True)
        if is_fact(item.field):
            continue
        st.caption("The model expected instead")
        expected = "\n".join(map(safe_text, item.expected)) or "nothing in particular"
        st.code(expected, language=None, wrap_lines=True)
    if len(evidence) > _EVIDENCE_SHOWN:
        st.caption(f"And {len(evidence) - _EVIDENCE_SHOWN} weaker ones.")


if __name__ == "__main__":
    main()
