"""A table of alerts; choosing a row opens its transaction."""

from collections.abc import Collection, Sequence
from typing import Any

import streamlit as st

from blockscan.findings import Alert
from blockscan.findings_wording import utc
from dashboard.charts import SEVERITY_COLOURS
from dashboard.wording import cell_text, one_in


def alert_table(alerts: Sequence[Alert], lapsed: Collection[str], *, key: str) -> None:
    """Show alerts, one row each, and go to the transaction page when a row is chosen."""
    rows = [_row(alert, lapsed) for alert in alerts]
    # A choice counts the rows that the browser showed, and the list may have changed since.
    drawn = st.session_state.get(f"{key}-drawn", ())
    scores = [alert.score for alert in alerts]
    st.session_state[f"{key}-drawn"] = [{"tx": score.tx_hash, "chain": score.chain} for score in scores]
    # A column that says the same in every row only takes room.
    shown = [
        name for name in rows[0] if name not in ("Chain", "Note") or len({row[name] for row in rows}) > 1
    ]
    chosen: Any = st.dataframe(
        rows,
        key=key,
        hide_index=True,
        width="stretch",
        height=38 + 35 * len(alerts) if len(alerts) < 20 else 740,
        on_select="rerun",
        selection_mode="single-row",
        column_order=shown,
        column_config={
            "Severity": st.column_config.MultiselectColumn(
                width=84, options=list(SEVERITY_COLOURS), color=list(SEVERITY_COLOURS.values())
            ),
            "Rarity": rarity_column("One in so many ordinary transactions"),
            "Transaction": st.column_config.TextColumn(width=130),
            "Reason": st.column_config.TextColumn(width=390),
            "Status": st.column_config.TextColumn(width=90),
            "Time (UTC)": st.column_config.TextColumn(width=125),
            "Target": st.column_config.TextColumn(width=130),
        },
    )
    places = chosen["selection"]["rows"]
    if places and places[0] < len(drawn):
        st.switch_page("views/transaction.py", query_params=drawn[places[0]])
    st.caption("Choose a row (the box at its left) to open the transaction.")


def rarity_column(meaning: str) -> Any:
    """A column of `one_in`: as numbers, since words would be sorted by their letters."""
    return st.column_config.NumberColumn(width=100, format="1 in %,d", help=meaning)


def status_of(alert: Alert, lapsed: Collection[str]) -> str:
    """What a person made of an alert, and whether it is one of the `lapsed`."""
    return f"{alert.status} (lapsed)" if alert.unique_key in lapsed else alert.status


def _row(alert: Alert, lapsed: Collection[str]) -> dict[str, Any]:
    score = alert.score
    return {
        "Severity": [alert.severity],
        "Rarity": one_in(score.p_value),
        # Whole, since the table's download and a copied cell must find it; the column clips it.
        "Transaction": cell_text(score.tx_hash),
        "Reason": cell_text(score.reason),
        "Status": status_of(alert, lapsed),
        "Time (UTC)": utc(score.time)[:16],
        "Target": cell_text(score.target) if score.target else "contract creation",
        "Chain": cell_text(score.chain),
        "Note": cell_text(alert.note),
    }
