"""Alerts put together by the addresses that an attacker may own."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockscan.chains.entry_points import ENTRY_POINTS
from blockscan.findings import Alert, TxScore
from blockscan.incidents import DAY, FEW_CALLERS, HUB_CALLERS, Incident, group_alerts, read_incidents
from blockscan.store import Search, open_store

HOSTILE = "\u202e\x1b[31m![](http://evil.test)"


def make_score(
    number: int,
    sender: str,
    target: str | None = None,
    *,
    time: int | None = 0,
    p_value: float | None = 0.01,
    chain: str = "ethereum",
) -> TxScore:
    return TxScore(
        chain=chain,
        tx_hash=f"0x{number:064x}",
        block_number=None if time is None else 100 + time // 12,
        tx_index=0,
        time=time,
        sender=sender,
        target=target,
        value=-(p_value or 0.0),
        p_value=p_value,
        reason=f"reason {number} {HOSTILE}",
        evidence=(),
        calls=1,
        tokens=1,
        windows=1,
        source="s",
        trace_status="exact",
        model="m",
        calibration="c",
    )


def make_alert(number: int, sender: str, target: str | None = None, **more: object) -> Alert:
    severity = more.pop("severity", "low")
    score = make_score(number, sender, target, **more)
    return Alert(f"{score.chain}:{score.tx_hash}", score, severity, "open")


def numbers(incidents: Sequence[Incident]) -> list[list[int]]:
    return sorted([[int(alert.score.tx_hash, 16) for alert in each.alerts] for each in incidents])


def many(count: int, address: str) -> dict[tuple[str, str], int]:
    return {("ethereum", address): count}


def test_alerts_of_one_sender_are_one_incident_and_strangers_are_not() -> None:
    alerts = [make_alert(1, "eve", "pool"), make_alert(2, "eve", "vault"), make_alert(3, "bob", "bank")]
    assert numbers(group_alerts(alerts, {})) == [[1, 2], [3]]


def test_bundles_of_one_bundler_are_not_one_incident() -> None:
    """What is in them was signed by others."""
    one, other, *_ = sorted(ENTRY_POINTS)
    alerts = [make_alert(1, "bundler", one), make_alert(2, "bundler", one), make_alert(3, "bundler", other)]
    assert numbers(group_alerts(alerts, {})) == [[1], [2], [3]]
    assert numbers(group_alerts([*alerts, make_alert(4, "bundler", "pool")], {})) == [[1], [2], [3], [4]]


def test_links_work_through_others() -> None:
    """A wallet funds one account, that one calls a contract, and another account calls the contract."""
    alerts = [
        make_alert(1, "wallet", "eve", time=0),
        make_alert(2, "eve", "attack", time=60),
        make_alert(3, "mallory", "attack", time=120),
        make_alert(4, "mallory", None, time=180),
    ]
    incident = group_alerts(alerts, many(2, "attack"))[0]
    assert numbers([incident]) == [[1, 2, 3, 4]]
    assert incident.links == ("eve", "attack", "mallory")
    assert incident.senders == ("wallet", "eve", "mallory")


@pytest.mark.parametrize(("callers", "groups"), [(FEW_CALLERS, [[1, 2]]), (FEW_CALLERS + 1, [[1], [2]])])
def test_an_established_target_links_nobody(callers: int, groups: list[list[int]]) -> None:
    alerts = [make_alert(1, "eve", "pool"), make_alert(2, "bob", "pool")]
    assert numbers(group_alerts(alerts, many(callers, "pool"))) == groups


@pytest.mark.parametrize(("callers", "groups"), [(HUB_CALLERS, [[1, 2]]), (HUB_CALLERS + 1, [[1], [2]])])
def test_a_hub_that_pays_strangers_links_nobody(callers: int, groups: list[list[int]]) -> None:
    alerts = [make_alert(1, "exchange", "eve"), make_alert(2, "exchange", "bob")]
    assert numbers(group_alerts(alerts, many(callers, "exchange"))) == groups


def test_who_calls_himself_is_no_link_between_two() -> None:
    (alone,) = group_alerts([make_alert(1, "eve", "eve")], {})
    assert alone.links == ()


def test_an_unknown_sender_links_nobody() -> None:
    assert numbers(group_alerts([make_alert(1, ""), make_alert(2, "")], {})) == [[1], [2]]


def test_the_window_is_between_neighbours_and_includes_its_end() -> None:
    alerts = [make_alert(i, "eve", time=time) for i, time in enumerate((0, DAY, 2 * DAY, 3 * DAY + 1))]
    assert numbers(group_alerts(alerts, {})) == [[0, 1, 2], [3]]
    assert numbers(group_alerts(alerts, {}, window=0)) == [[0], [1], [2], [3]]
    assert numbers(group_alerts(alerts, {}, window=DAY + 1)) == [[0, 1, 2, 3]]


def test_alerts_without_a_time_stay_with_their_like() -> None:
    alerts = [make_alert(1, "eve", time=None), make_alert(2, "eve", time=5), make_alert(3, "eve", time=None)]
    incidents = group_alerts(alerts, {})
    assert numbers(incidents) == [[1, 3], [2]]
    undated = next(each for each in incidents if len(each.alerts) == 2)
    assert (undated.first_block, undated.last_block, undated.first_time, undated.last_time) == (None,) * 4


def test_chains_do_not_mix() -> None:
    alerts = [make_alert(1, "eve"), make_alert(2, "eve", chain="bsc")]
    assert numbers(group_alerts(alerts, {})) == [[1], [2]]
    elsewhere = {("bsc", "pool"): HUB_CALLERS + 1}
    alerts = [make_alert(1, "eve", "pool"), make_alert(2, "bob", "pool")]
    assert numbers(group_alerts(alerts, elsewhere)) == [[1, 2]]


def test_an_incident_tells_its_extremes_and_a_title() -> None:
    alerts = [
        make_alert(7, "eve", time=600, p_value=0.02, severity="medium"),
        make_alert(8, "eve", time=60, p_value=0.0004, severity="critical"),
        make_alert(9, "eve", time=1200, p_value=None, severity="low"),
    ]
    (incident,) = group_alerts(alerts, {})
    assert incident.id == f"ethereum:0x{8:064x}"
    assert [alert.score.time for alert in incident.alerts] == [60, 600, 1200]
    assert (incident.first_time, incident.last_time) == (60, 1200)
    assert (incident.first_block, incident.last_block) == (105, 200)
    assert (incident.severity, incident.p_value, incident.value) == ("critical", 0.0004, 0.0)
    assert incident.title == "3 alerts of 1 sender: reason 8 [31m![](http://evil.test)"
    (alone,) = group_alerts([make_alert(9, "eve", p_value=None)], {})
    assert alone.p_value is None
    assert alone.title == "reason 9 [31m![](http://evil.test)"
    assert group_alerts([], {}) == ()


def test_a_long_chain_of_links_needs_no_recursion() -> None:
    alerts = [make_alert(i, f"a{i}", f"a{i + 1}", time=i) for i in range(20_000)]
    random.Random(0).shuffle(alerts)
    (incident,) = group_alerts(alerts, {})
    assert len(incident.alerts) == 20_000


ALERTS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from("abcdefpq"),
        st.none() | st.integers(0, 400_000),
        st.sampled_from(("ethereum", "bsc")),
    ),
    max_size=12,
)


@given(rows=ALERTS, callers=st.dictionaries(st.sampled_from("abcpq"), st.integers(0, 40)), seed=st.integers())
def test_the_order_does_not_matter_and_every_alert_is_in_one_incident(
    rows: list[tuple[str, str, int | None, str]], callers: dict[str, int], seed: int
) -> None:
    counts = {(chain, name): count for chain in ("ethereum", "bsc") for name, count in callers.items()}
    alerts = [
        make_alert(i, sender, target, time=time, chain=chain)
        for i, (sender, target, time, chain) in enumerate(rows)
    ]
    grouped = group_alerts(alerts, counts)
    shuffled = random.Random(seed).sample(alerts, len(alerts))
    assert group_alerts(shuffled, counts) == grouped
    assert sorted(i for group in numbers(grouped) for i in group) == list(range(len(rows)))
    assert numbers(grouped) == _by_brute_force(alerts, counts)


def _by_brute_force(alerts: list[Alert], counts: dict[tuple[str, str], int]) -> list[list[int]]:
    """Merge any two linked alerts until nothing changes."""

    def addresses(score: TxScore) -> set[str]:
        limits = [(score.sender, HUB_CALLERS), (score.target, FEW_CALLERS)]
        return {name for name, most in limits if counts.get((score.chain, name), 0) <= most}

    def linked(one: TxScore, two: TxScore) -> bool:
        if one.chain != two.chain or (one.time is None) != (two.time is None):
            return False
        return bool(addresses(one) & addresses(two)) and abs((one.time or 0) - (two.time or 0)) <= DAY

    groups = [{i} for i in range(len(alerts))]
    for i, one in enumerate(alerts):
        for j, two in enumerate(alerts):
            if i != j and linked(one.score, two.score):
                first = next(group for group in groups if i in group)
                second = next(group for group in groups if j in group)
                if first is not second:
                    first |= second
                    groups.remove(second)
    return sorted(
        sorted(group, key=lambda i: (alerts[i].score.time or 0, alerts[i].score.block_number or 0, i))
        for group in groups
    )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Three attackers at an established pool; two of them share an account; the last is of another day."""
    path = tmp_path / "scores.sqlite"
    alerts = [
        make_score(1, "eve", "pool", time=100, p_value=0.001),
        make_score(2, "eve", "mallory", time=200, p_value=0.02),
        make_score(3, "mallory", "pool", time=300, p_value=0.01),
        make_score(4, "trudy", "pool", time=400, p_value=0.0001),
        make_score(5, "eve", "pool", time=400 + 2 * DAY, p_value=0.03),
    ]
    ordinary = [make_score(10 + i, f"user {i}", "pool", p_value=0.5) for i in range(FEW_CALLERS)]
    with open_store(path) as store:
        store.write([(score, "high", None) for score in alerts], now=0)
        store.write([(score, None, None) for score in ordinary], now=0)
        store.set_status(alerts[2].chain + ":" + alerts[2].tx_hash, "dismissed", note="", by="ada")
    return path


def test_the_store_says_which_targets_are_established(stored: Path) -> None:
    with open_store(stored, read_only=True) as store:
        assert numbers(read_incidents(store)) == [[1, 2, 3], [4], [5]]
        assert numbers(read_incidents(store, window=3 * DAY)) == [[1, 2, 3, 5], [4]]


def test_callers_are_counted_once_each(tmp_path: Path) -> None:
    with open_store(tmp_path / "scores.sqlite") as store:
        calls = [make_score(10 + i, "eve", "attack", p_value=0.5) for i in range(2 * FEW_CALLERS)]
        store.write([(score, None, None) for score in calls], now=0)
        alerts = [make_score(1, "eve", "attack"), make_score(2, "mallory", "attack")]
        store.write([(score, "low", None) for score in alerts], now=0)
        assert numbers(read_incidents(store)) == [[1, 2]]


def test_incidents_are_ordered_and_searched_as_alerts_are(stored: Path) -> None:
    def firsts(incidents: list[Incident]) -> list[int]:
        return [int(each.alerts[0].score.tx_hash, 16) for each in incidents]

    with open_store(stored, read_only=True) as store:
        assert firsts(read_incidents(store)) == [4, 1, 5]
        assert firsts(read_incidents(store, order="time")) == [5, 4, 1]
        assert numbers(read_incidents(store, Search(status=("dismissed",)))) == [[1, 2, 3]]
        assert numbers(read_incidents(store, Search(text="trudy"))) == [[4]]
        assert numbers(read_incidents(store, most=2)) == [[4], [5]]


def test_an_incident_is_plain_text_and_numbers(stored: Path) -> None:
    with open_store(stored, read_only=True) as store:
        titles = [each.title for each in read_incidents(store)]
    assert "\u202e" not in json.dumps(titles, ensure_ascii=False)
    assert all(title.isprintable() for title in titles)
