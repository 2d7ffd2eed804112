"""Alerts, alone or put together into incidents: filter, page, open.

Every filter lives in the address, so that a link shows the same list.
"""

from datetime import UTC, date, datetime, time, timedelta

import streamlit as st

from blockscan.store import Order, Search
from blockscan.store_schema import SEVERITIES, STATUSES
from dashboard import results
from dashboard.components.alert_table import alert_table
from dashboard.components.incident_table import incident_table
from dashboard.components.paging import choose_page

_ORDERS: dict[str, Order] = {"Most unusual first": "p_value", "Newest first": "time"}
# Without bounds a date is refused that is ten years from today; the last day has none after it.
_DAYS = (date(1970, 1, 1), date(9999, 12, 30))
_LISTS = ("Alerts", "Incidents")


def main() -> None:
    """Draw the page."""
    path = results.store_path()
    st.title("Alerts")
    search, order = _filters()
    shown = st.segmented_control(
        "List",
        _LISTS,
        default=_LISTS[0],
        key="list",
        bind="query-params",
        required=True,
        label_visibility="collapsed",
    )
    # Another list begins at its first page; a link's page is kept, since nothing was asked before.
    asked = (search, order, shown)
    if st.session_state.get("asked", asked) != asked:
        st.session_state["page"] = 1
    st.session_state["asked"] = asked
    if shown == "Incidents":
        _incidents(path, search, order)
    else:
        _alerts(path, search, order)


def _alerts(path: str, search: Search, order: Order) -> None:
    total = results.count_alerts(path, search)
    if total == 0:
        st.info("No alert matches. Clear a filter, or score more transactions.")
        return
    page = _count_and_page(total, "alert")
    alerts, lapsed = results.alert_page(path, search, order, page)
    alert_table(alerts, lapsed, key=f"alerts-{hash((search, order, page))}")
    if lapsed:
        st.caption("Lapsed: under the newest calibration the transaction is no longer at the alarm level.")


def _incidents(path: str, search: Search, order: Order) -> None:
    found, lapsed, too_old = results.incidents(path, search, order)
    st.caption(
        "Alerts within a day that share a sender, or a contract that hardly anybody else calls, directly or "
        "through others. An incident is shown whole where one of its alerts matches the filters."
    )
    if too_old:
        st.caption(f"{too_old:,} older alerts are left out.")
    if not found:
        st.info("No incident matches. Clear a filter, or score more transactions.")
        return
    page = _count_and_page(len(found), "incident")
    start = (page - 1) * results.PAGE_SIZE
    key = f"incidents-{hash((search, order, page))}"
    incident_table(found[start : start + results.PAGE_SIZE], lapsed, key=key)


def _count_and_page(total: int, what: str) -> int:
    counted, chooser = st.columns([4, 1], vertical_alignment="bottom")
    counted.markdown(f"**{total:,}** {what}{'s' if total != 1 else ''}")
    with chooser:
        return choose_page(-(-total // results.PAGE_SIZE), key="page", bind="query-params")


def _filters() -> tuple[Search, Order]:
    text, severity, status = st.columns([2, 2, 2])
    wanted = text.text_input(
        "Search",
        key="q",
        bind="query-params",
        placeholder="hash, address or words of the reason",
        max_chars=200,
    )
    severities = severity.multiselect(
        "Severity", SEVERITIES, key="severity", bind="query-params", placeholder="any"
    )
    statuses = status.multiselect("Status", STATUSES, key="status", bind="query-params", placeholder="any")
    since, until, order = st.columns([2, 2, 2])
    first = since.date_input("From (UTC)", None, *_DAYS, key="from", bind="query-params", format="YYYY-MM-DD")
    last = until.date_input(
        "To (UTC), inclusive", None, *_DAYS, key="to", bind="query-params", format="YYYY-MM-DD"
    )
    chosen = order.selectbox("Order", list(_ORDERS), key="order", bind="query-params")
    search = Search(
        text=wanted.strip(),
        severity=tuple(severities),
        status=tuple(statuses),
        since=_midnight(first),
        until=_midnight(last + timedelta(days=1)) if last else None,
    )
    return search, _ORDERS[chosen]


def _midnight(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp())


if __name__ == "__main__":
    main()
