"""One transaction: the verdict in words, the evidence, and the call tree with surprise painted on it."""

from collections.abc import Mapping, Sequence

import streamlit as st

from blockscan.findings import Evidence, Frame, TxScore
from blockscan.safetext import safe_text
from blockscan.store_labels import Label, addresses_of
from dashboard import results
from dashboard.components.address_labels import beside, label_table
from dashboard.components.call_tree import HOTTEST, call_tree, hottest, tree_rows
from dashboard.components.paging import choose_page
from dashboard.components.triage import triage
from dashboard.wording import rarity, short, utc, verdict

FRAMES_PER_PAGE = 250
_EVIDENCE_SHOWN = 12


def main() -> None:
    """Draw the page."""
    path = results.store_path()
    tx_hash = _lookup()
    if not tx_hash:
        st.info("Give a transaction hash, or choose one in the list of alerts.")
        return
    score, alert, lapsed, history = results.judgement(path, tx_hash)
    if score is None:
        st.info("This store holds no score for that transaction. Check the hash, or score its block.")
        return
    st.subheader(verdict(score.p_value))
    st.text(safe_text(score.reason, limit=400))
    if alert is None:
        st.caption("No alert: the transaction is not at the alarm level.")
    else:
        triage(path, alert, history)
        if lapsed:
            st.warning(
                f"The alert was raised at {rarity(alert.score.p_value)}; under the newest judgement the "
                "transaction is no longer at the alarm level."
            )
    frames = results.call_frames(path, tx_hash)
    labels = results.labels(path, addresses_of(score, frames), score.chain)
    _facts(score, labels)
    st.subheader("Evidence")
    _evidence_table(score.evidence)
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
        placeholder="transaction hash",
        max_chars=200,
        label_visibility="collapsed",
    )
    return given.strip()


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
        "Score": f"{score.value:.4g}",
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
    st.dataframe(
        [
            {
                "frame": item.node,
                "field": safe_text(item.field),
                "found": safe_text(item.found),
                "expected instead": "  ·  ".join(map(safe_text, item.expected)),
                "rarity": rarity(item.p_value),
                "p-value": item.p_value,
                "surprise (nats)": item.surprise,
            }
            for item in evidence
        ],
        hide_index=True,
        width="stretch",
        column_config={
            "p-value": st.column_config.NumberColumn(format="%.2g"),
            "surprise (nats)": st.column_config.NumberColumn(format="%.2f"),
        },
    )


@st.fragment
def _painted_tree(frames: Sequence[Frame], score: TxScore) -> None:
    if not frames:
        st.caption("No call tree was kept for this transaction; trees are kept for alerts.")
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
    key = f"tree-{score.tx_hash}"
    tree, detail = st.columns([5, 3], gap="medium")
    with tree:
        selected = call_tree(tree_rows(frames, places), selected=strongest, key=key)
    with detail.container(border=True):
        _frame_detail(frames[selected] if 0 <= selected < len(frames) else frames[strongest])


def _frame_detail(frame: Frame) -> None:
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
    if not frame.evidence:
        st.caption("Nothing in this frame surprised the model.")
    for item in frame.evidence[:_EVIDENCE_SHOWN]:
        st.divider()
        st.text(f"{safe_text(item.field)}: {rarity(item.p_value)} (p = {item.p_value:.2g})")
        st.caption("Found")
        st.code(safe_text(item.found), language=None, wrap_lines=True)
        st.caption("The model expected instead")
        expected = "\n".join(map(safe_text, item.expected)) or "nothing in particular"
        st.code(expected, language=None, wrap_lines=True)
    if len(frame.evidence) > _EVIDENCE_SHOWN:
        st.caption(f"And {len(frame.evidence) - _EVIDENCE_SHOWN} weaker ones.")


if __name__ == "__main__":
    main()
