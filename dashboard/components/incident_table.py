"""A table of incidents; choosing a row shows its alerts below."""

from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import streamlit as st

from blockscan.findings_wording import utc
from blockscan.incidents import Incident
from blockscan.safetext import safe_text
from blockscan.store_schema import STATUSES
from dashboard.charts import SEVERITY_COLOURS
from dashboard.components.alert_table import alert_table, rarity_column, status_of
from dashboard.wording import cell_text, one_in, short, span


def incident_table(incidents: Sequence[Incident], lapsed: Collection[str], *, key: str) -> None:
    """Show incidents, one row each, and the alerts of the one that is chosen."""
    rows = [_row(incident, lapsed) for incident in incidents]
    shown = [name for name in rows[0] if name != "Chain" or len({row[name] for row in rows}) > 1]
    # A choice counts the rows that the browser showed, and the list may have changed since: an incident is
    # remembered by its name, and a list that has changed is a new table.
    ids = tuple(incident.id for incident in incidents)
    table, remembered = f"{key}-{hash(ids)}", st.session_state.get(f"{key}-chosen")
    places = [place for place, each in enumerate(incidents) if remembered in _keys(each)]
    st.dataframe(
        rows,
        key=table,
        hide_index=True,
        width="stretch",
        height=38 + 35 * len(rows) if len(rows) < 12 else 458,
        on_select=partial(_choose, table, f"{key}-chosen", ids),
        selection_mode="single-row",
        selection_default={"selection": {"rows": places}},
        column_order=shown,
        column_config={
            "Severity": st.column_config.MultiselectColumn(
                width=84, options=list(SEVERITY_COLOURS), color=list(SEVERITY_COLOURS.values())
            ),
            "Rarest alert": rarity_column(
                "One in so many ordinary transactions; no p-value of the incident as a whole"
            ),
            "Alerts": st.column_config.NumberColumn(width=60),
            "Incident": st.column_config.TextColumn(width=420),
            "Status": st.column_config.TextColumn(width=110),
            "First (UTC)": st.column_config.TextColumn(width=125),
            "Span": st.column_config.TextColumn(width=70),
            "Senders": st.column_config.TextColumn(width=150),
        },
    )
    if places:
        _alerts(incidents[places[0]], lapsed, key=key)
    else:
        st.caption("Choose a row (the box at its left) to see its alerts.")


def _choose(table: str, remembered: str, ids: Sequence[str]) -> None:
    """Note which incident was chosen, before the list is read again."""
    places = st.session_state[table]["selection"]["rows"]
    st.session_state[remembered] = ids[places[0]] if places else None


def _keys(incident: Incident) -> set[str]:
    return {alert.unique_key for alert in incident.alerts}


def _alerts(incident: Incident, lapsed: Collection[str], *, key: str) -> None:
    st.subheader("Alerts of this incident")
    if incident.links:
        st.caption("Linked by")
        st.text("\n".join(safe_text(address) for address in incident.links[:10]))
        if len(incident.links) > 10:
            st.caption(f"And {len(incident.links) - 10:,} more addresses.")
    alert_table(incident.alerts, lapsed, key=f"{key}-alerts")


def _row(incident: Incident, lapsed: Collection[str]) -> dict[str, Any]:
    alerts = sorted(incident.alerts, key=lambda alert: STATUSES.index(alert.status))
    statuses = Counter(status_of(alert, lapsed) for alert in alerts)
    others = f" and {len(incident.senders) - 1:,} more" if len(incident.senders) > 1 else ""
    return {
        "Severity": [incident.severity],
        "Rarest alert": one_in(incident.p_value),
        "Alerts": len(incident.alerts),
        "Incident": cell_text(incident.title, limit=300),
        "Status": ", ".join(f"{count:,} {status}" for status, count in statuses.items()),
        "First (UTC)": utc(incident.first_time)[:16],
        "Span": span(incident.first_time, incident.last_time),
        "Senders": cell_text(short(incident.senders[0])) + others,
        "Chain": cell_text(incident.chain),
    }
