"""Cached reads of the score store for the views, and the one write: what a person decides on an alert."""

import os

import streamlit as st

from blockscan.errors import StoreError
from blockscan.findings import Alert, Frame, TxScore
from blockscan.incidents import MOST_ALERTS, Incident, read_incidents
from blockscan.store import Disposition, Label, Order, Run, Search, Summary, open_store
from blockscan.store_schema import FEWEST, HASH_START
from dashboard import STORE_VARIABLE

PAGE_SIZE = 50
_SECONDS = 10
_ENTRIES = 64
# Who calls whom is counted over all scores, so what was read is kept for longer.
_INCIDENT_SECONDS = 60


def store_path() -> str:
    """The store that this dashboard shows.

    Raises:
        StoreError: the environment names none.
    """
    path = os.environ.get(STORE_VARIABLE, "")
    if not path:
        raise StoreError(f"{STORE_VARIABLE} is not set; start the dashboard with `blockscan dashboard`")
    return path


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def overview(path: str) -> tuple[Summary, list[Run], list[Alert], set[str]]:
    """The summary, the latest runs, the ten most unusual alerts not dismissed, and which of them lapsed."""
    with open_store(path, read_only=True) as store:
        undecided = Search(status=("open", "acknowledged", "confirmed"))
        top = store.alerts(undecided, limit=10)
        lapsed = store.lapsed([alert.unique_key for alert in top])
        return store.summary(), store.runs(limit=5), top, lapsed


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def count_alerts(path: str, search: Search) -> int:
    """How many alerts a search finds."""
    with open_store(path, read_only=True) as store:
        return store.count_alerts(search)


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def alert_page(path: str, search: Search, order: Order, page: int) -> tuple[list[Alert], set[str]]:
    """One page of alerts (counted from 1), and the keys of those that lapsed."""
    with open_store(path, read_only=True) as store:
        found = store.alerts(search, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE, order=order)
        return found, store.lapsed([alert.unique_key for alert in found])


# One copy for all, which nobody changes: a copy per run of thousands of alerts took most of a page's time.
@st.cache_resource(ttl=_INCIDENT_SECONDS, max_entries=8, show_spinner=False)
def incidents(path: str, search: Search, order: Order) -> tuple[list[Incident], set[str], int]:
    """The incidents that a search finds, their lapsed alerts, and how many alerts were too old."""
    with open_store(path, read_only=True) as store:
        found = read_incidents(store, search, order=order)
        keys = [alert.unique_key for incident in found for alert in incident.alerts]
        return found, store.lapsed(keys), max(0, store.count_alerts() - MOST_ALERTS)


def same_incident(path: str, unique_key: str) -> tuple[list[Alert], set[str]]:
    """The other alerts of an alert's incident, none where it is too old to be looked at, and lapsed ones."""
    found, lapsed, _ = incidents(path, Search(), "p_value")
    for each in found:
        if any(alert.unique_key == unique_key for alert in each.alerts):
            return [alert for alert in each.alerts if alert.unique_key != unique_key], lapsed
    return [], lapsed


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def starting_with(path: str, given: str) -> list[str]:
    """Scored hashes that begin as given; none where that is too little, or one of them."""
    if not HASH_START.fullmatch(given) or len(given) < FEWEST:
        return []
    with open_store(path, read_only=True) as store:
        found = store.starting_with(given)
    return [] if given in found else found


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def chains(path: str, tx_hash: str) -> list[str]:
    """The chains on which a hash was scored, the one to show first."""
    with open_store(path, read_only=True) as store:
        return store.chains(tx_hash)


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def judgement(
    path: str, tx_hash: str, chain: str | None
) -> tuple[TxScore | None, Alert | None, bool, list[Disposition]]:
    """A transaction's newest score, its alert, whether that lapsed, and the alert's history."""
    with open_store(path, read_only=True) as store:
        score, alert = store.score(tx_hash, chain=chain), store.alert(tx_hash, chain=chain)
        if alert is None:
            return score, None, False, []
        lapsed = bool(store.lapsed([alert.unique_key]))
        return score, alert, lapsed, store.history(alert.unique_key)


@st.cache_data(ttl=_SECONDS, max_entries=8, show_spinner=False)
def call_frames(path: str, tx_hash: str, chain: str) -> tuple[Frame, ...]:
    """A transaction's painted call tree; empty where none was kept."""
    with open_store(path, read_only=True) as store:
        return store.frames(tx_hash, chain=chain)


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def labels(path: str, addresses: tuple[str, ...], chain: str) -> dict[str, tuple[Label, ...]]:
    """What sources say of some addresses on a chain."""
    with open_store(path, read_only=True) as store:
        return store.labels(addresses, chain)


def decide(path: str, unique_key: str, status: str, *, note: str, by: str, seen: tuple[str, str]) -> None:
    """Record a decision on an alert that had the status and note `seen`, and forget what was cached.

    Raises:
        StoreError: someone else was faster, or the store cannot be written.
    """
    try:
        with open_store(path) as store:
            store.set_status(unique_key, status, note=note, by=by, seen=seen)
    finally:
        st.cache_data.clear()
        incidents.clear()
