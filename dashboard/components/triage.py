"""What a person makes of an alert: its status, a form to change it, and its history."""

import getpass
from collections.abc import Sequence
from typing import Literal

import streamlit as st

from blockscan.errors import StoreError
from blockscan.findings import Alert
from blockscan.findings_wording import utc
from blockscan.safetext import safe_text
from blockscan.store import Disposition
from dashboard import results
from dashboard.wording import cell_text

_COLOURS: dict[str, Literal["red", "orange", "yellow", "blue"]] = {
    "critical": "red",
    "high": "orange",
    "medium": "yellow",
    "low": "blue",
}
_DECISIONS = {
    "acknowledged": "Acknowledge: I am looking at it",
    "confirmed": "Confirm: this is an attack",
    "dismissed": "Dismiss: a false alarm",
    "open": "Reopen",
}


def triage(path: str, alert: Alert, history: Sequence[Disposition]) -> None:
    """Show the alert's severity and status, a form to decide, and the history."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(alert.severity, color=_COLOURS[alert.severity])
        st.badge(alert.status, color="gray")
        with st.popover("Decide", icon=":material/gavel:", key="triage_popover"):
            _form(path, alert)
        if history:
            with st.popover(f"History ({len(history)})", icon=":material/history:"):
                _history(history)
    if alert.note:
        st.text(safe_text(alert.note, limit=1000))


def _form(path: str, alert: Alert) -> None:
    # Keys name the alert: a note begun for one must not be recorded for the next.
    key, now = alert.unique_key, (alert.status, alert.note)
    # What the person saw who now decides; the alert may have been read again since.
    seen = st.session_state.get(f"seen-{key}", now)
    st.session_state[f"seen-{key}"] = now
    if refused := st.session_state.pop(f"refused-{key}", None):
        st.warning("The decision was not recorded.")
        st.text(safe_text(refused, limit=600))
    with st.form("triage", border=False):
        status = st.radio(
            "Decision",
            [name for name in _DECISIONS if name != alert.status],
            format_func=lambda name: _DECISIONS[name],
            key=f"decision-{key}",
        )
        note = st.text_area("Note", max_chars=1000, height=80, key=f"note-{key}")
        by = st.text_input("By", value=_user(), max_chars=100, key=f"by-{key}")
        if st.form_submit_button("Record decision", type="primary"):
            if not by.strip():
                st.warning("Say who decides.")
                return
            try:
                results.decide(path, key, status, note=note.strip(), by=by.strip(), seen=seen)
            except StoreError as error:
                st.session_state[f"refused-{key}"] = str(error)
            st.rerun()  # as it is now: what another one decided is to be seen before it is overruled


def _history(history: Sequence[Disposition]) -> None:
    st.dataframe(
        [
            {
                "when": utc(entry.time),
                "who": cell_text(entry.who),
                "what": cell_text(entry.what),
                "note": cell_text(entry.note, limit=1000),
            }
            for entry in history
        ],
        hide_index=True,
        width=620,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
