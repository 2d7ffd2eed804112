"""Incidents: alerts that share an attacker's address, put together so that a person reads them as one story.

Addresses say who belongs to whom, and only those that few use say it: a pool, a token or an exchange's
wallet meets everybody. An attacker can hide from this by working from unrelated addresses, or by having
many addresses call his contract; his alerts then stand alone and none of them is lost.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from blockscan.chains.entry_points import ENTRY_POINTS
from blockscan.findings import Alert
from blockscan.safetext import safe_text
from blockscan.store import ALL, Order, ScoreStore, Search
from blockscan.store_schema import SEVERITIES

DAY = 86_400
FEW_CALLERS = 2
"""A main target that more senders than these call is established: a victim or a service, no accomplice."""
HUB_CALLERS = 20
"""A sender that more senders than these call is a hub, as an exchange's wallet: it pays for strangers."""
MOST_ALERTS = 5_000
"""The newest alerts that are looked at; more of them would be no list for a person."""
_REASON_SHOWN = 120
Callers = Mapping[tuple[str, str], int]
"""How many senders call an address, by (chain, address)."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts of one chain, oldest first, that are linked by addresses.

    `id` is the unique key of the earliest alert. `links` are the addresses that at least two of the alerts
    share. Blocks and times (Unix seconds) are those of the first and last alert that have one. `value` is
    the highest and `p_value` the smallest of the alerts, and no p-value of the incident: alerts are the
    transactions whose p-values are small, so a correction for their number alone would say too much.
    """

    id: str
    chain: str
    alerts: tuple[Alert, ...]
    links: tuple[str, ...]
    senders: tuple[str, ...]
    first_block: int | None
    last_block: int | None
    first_time: int | None
    last_time: int | None
    severity: str
    value: float
    p_value: float | None
    title: str


def group_alerts(alerts: Iterable[Alert], callers: Callers, *, window: int = DAY) -> tuple[Incident, ...]:
    """Put alerts into incidents, the earliest first; every alert is in exactly one.

    Two alerts of a chain belong together where they share a sender or main target that is neither
    established nor a hub and lie at most `window` seconds apart, directly or through other alerts. Alerts
    without a time belong together by their addresses alone, and never to those that have one. The order of
    `alerts` does not matter; the work is that of sorting them.

    Args:
        alerts: at most one per transaction.
        callers: senders per address among all scored transactions; an address left out has none.
        window: seconds.
    """
    ordered = sorted(alerts, key=_place)
    root = list(range(len(ordered)))
    for members in _sharing(ordered, callers).values():
        for before, after in pairwise(members):
            if _near(ordered[before], ordered[after], window):
                _join(root, before, after)
    groups: dict[int, list[Alert]] = defaultdict(list)
    for index, alert in enumerate(ordered):
        groups[_find(root, index)].append(alert)
    return tuple(_incident(members, callers) for members in groups.values())


def read_incidents(
    store: ScoreStore,
    search: Search = ALL,
    *,
    window: int = DAY,
    order: Order = "p_value",
    most: int = MOST_ALERTS,
) -> list[Incident]:
    """The incidents of a store with at least one alert that `search` finds.

    They are made of the `most` newest alerts before anything is left out, so that an incident does not
    depend on what was looked for.

    Raises:
        StoreError: the store cannot be read.
    """
    alerts = store.alerts(limit=most, order="time")
    incidents = group_alerts(alerts, store.callers(), window=window)
    if search != ALL:
        wanted = {alert.unique_key for alert in store.alerts(search, limit=most, order="time")}
        incidents = tuple(each for each in incidents if wanted & {alert.unique_key for alert in each.alerts})
    return sorted(incidents, key=_ORDERS[order])


def _sharing(ordered: Sequence[Alert], callers: Callers) -> dict[tuple[str, str], list[int]]:
    """By (chain, address) the indices of the alerts that it links."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, alert in enumerate(ordered):
        for address in _parties(alert, callers):
            found[alert.score.chain, address].append(index)
    return found


def _parties(alert: Alert, callers: Callers) -> Iterator[str]:
    """The addresses of an alert that may be the attacker's own."""
    score = alert.score
    if score.target in ENTRY_POINTS:
        return
    if score.sender and callers.get((score.chain, score.sender), 0) <= HUB_CALLERS:
        yield score.sender
    if (
        score.target
        and score.target != score.sender
        and callers.get((score.chain, score.target), 0) <= FEW_CALLERS
    ):
        yield score.target


def _near(before: Alert, after: Alert, window: int) -> bool:
    if before.score.time is None or after.score.time is None:
        return before.score.time is after.score.time
    return after.score.time - before.score.time <= window


def _find(root: list[int], index: int) -> int:
    while root[index] != index:
        root[index] = root[root[index]]
        index = root[index]
    return index


def _join(root: list[int], one: int, other: int) -> None:
    first, second = sorted((_find(root, one), _find(root, other)))
    root[second] = first


def _incident(alerts: Sequence[Alert], callers: Callers) -> Incident:
    scores = [alert.score for alert in alerts]
    blocks = [score.block_number for score in scores if score.block_number is not None]
    times = [score.time for score in scores if score.time is not None]
    p_values = [score.p_value for score in scores if score.p_value is not None]
    senders = tuple(dict.fromkeys(score.sender for score in scores))
    shared = _sharing(alerts, callers)
    return Incident(
        id=alerts[0].unique_key,
        chain=scores[0].chain,
        alerts=tuple(alerts),
        links=tuple(address for (_, address), members in shared.items() if len(members) > 1),
        senders=senders,
        first_block=min(blocks, default=None),
        last_block=max(blocks, default=None),
        first_time=min(times, default=None),
        last_time=max(times, default=None),
        severity=min((alert.severity for alert in alerts), key=SEVERITIES.index),
        value=max(score.value for score in scores),
        p_value=min(p_values, default=None),
        title=_title(alerts, len(senders)),
    )


def _title(alerts: Sequence[Alert], senders: int) -> str:
    """The reason of the strongest alert, after how many there are."""
    strongest = min(
        alerts, key=lambda each: (*_strength(each.score.p_value, each.score.value), each.unique_key)
    )
    reason = safe_text(strongest.score.reason, limit=_REASON_SHOWN)
    if len(alerts) == 1:
        return reason
    return f"{len(alerts):,} alerts of {senders:,} sender{'s' if senders > 1 else ''}: {reason}"


def _place(alert: Alert) -> tuple[str, bool, int, int, int, str]:
    score = alert.score
    return (
        score.chain,
        score.time is None,
        score.time or 0,
        score.block_number or 0,
        score.tx_index or 0,
        alert.unique_key,
    )


def _strength(p_value: float | None, value: float) -> tuple[bool, float, float]:
    return p_value is None, p_value or 0.0, -value


def _by_strength(incident: Incident) -> tuple[Any, ...]:
    return *_strength(incident.p_value, incident.value), incident.id


def _by_time(incident: Incident) -> tuple[Any, ...]:
    return incident.last_time is None, -(incident.last_time or 0), incident.id


_ORDERS: dict[Order, Callable[[Incident], tuple[Any, ...]]] = {
    "p_value": _by_strength,
    "time": _by_time,
}
