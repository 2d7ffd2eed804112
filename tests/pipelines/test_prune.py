"""`blockscan prune`, and `watch --keep`: what is old goes, and nobody who works beside it is held up."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blockscan import store_prune
from blockscan.detect.accounts import SECONDS
from blockscan.detect.mix import LAST
from blockscan.errors import ConfigError
from blockscan.findings import TxScore
from blockscan.store import open_store
from pipelines import prune as step

START = 1_700_000_000
COUNT = LAST + 600
DAY = 86_400


def row(number: int, chain: str = "ethereum", time: int | None = 0) -> Any:
    place = None if time is None else START + time + number * 60
    score = TxScore(
        chain, f"0x{number:064x}", number, 0, place, f"0x{number:040x}", None, 1.0, 0.5, "a reason", (),
        1, 1, 1, "callTracer+logs", "complete", "m", "c",
    )  # fmt: skip
    return score, "high" if number % 100 == 0 else None, ()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """1,600 transactions a minute apart, one in a hundred an alert; and as many on another chain, later."""
    path = tmp_path / "scores.sqlite"
    with open_store(path) as opened:
        opened.write(map(row, range(COUNT)))
        opened.write(row(number, "base", 30 * DAY) for number in range(COUNT))
        opened.write([row(COUNT, time=None)])
    return path


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_TURN", 0.0)


def test_prune_forgets_and_says_what_and_how_large_the_store_is(store: Path, cli: Any) -> None:
    size = store.stat().st_size
    command = ("prune", "--store", store, "--older-than", "1000m")
    planned = json.loads(cli(*command, "--dry-run", "--json").stdout)
    assert json.loads(cli(*command, "--dry-run", "--json").stdout) == planned
    done = json.loads(cli(*command, "--json").stdout)
    names = ("forgotten", "kept_for_an_alert", "without_a_time")
    assert [done[name] for name in names] == [planned[name] for name in names] == [1186, 12, 1]
    assert store.stat().st_size == done["store_bytes"] < planned["store_bytes"] == size
    again = json.loads(cli(*command, "--json").stdout)
    assert [again[name] for name in names] == [0, 0, 1]
    with open_store(store) as opened:
        assert opened.verify() == [] and len(opened.alerts(limit=100)) == 33


def test_prune_heeds_the_chain_and_the_last_thousand(store: Path, cli: Any) -> None:
    done = cli("prune", "--store", store, "--older-than", "4m", "--chain", "base")
    assert "forgotten" in done.stdout and "594" in done.stdout and "up to 2023-12-15" in done.stderr
    with open_store(store) as opened:
        assert sum(1 for each in opened.iter_scores() if each.chain == "base") == LAST
        assert sum(1 for each in opened.iter_scores() if each.chain == "ethereum") == COUNT + 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--older-than", "3m"),
            "3m is too short: scoring looks back at the last 4 minutes; give 4m or more",
        ),
        (("--older-than", "a month"), "'a month' is not a span of time; write 90m, 12h, 30d or 8w"),
        (("--older-than", "30"), "'30' is not a span of time"),
        (
            ("--older-than", "30d", "--chain", "bsc"),
            "has no scores of the chain bsc; it has of base, ethereum",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    store: Path, cli: Any, arguments: tuple[str, ...], said: str
) -> None:
    refused = cli("prune", "--store", store, *arguments)
    assert refused.exit_code == 1 and said in refused.stderr


def test_a_span_is_read_in_seconds() -> None:
    spans = {"4m": SECONDS, "12h": DAY // 2, "30d": 30 * DAY, " 8w ": 56 * DAY}
    assert {span: step.seconds_of(span) for span in spans} == spans
    for odd in ("", "-1d", "1.5d", "d", "30D", "٣d", "123456d"):
        with pytest.raises(ConfigError, match="is not a span"):
            step.seconds_of(odd)


def test_there_has_to_be_a_store(tmp_path: Path, cli: Any) -> None:
    refused = cli("prune", "--store", tmp_path / "none.sqlite", "--older-than", "30d")
    assert refused.exit_code == 1 and "there is no store at" in refused.stderr
    assert not (tmp_path / "none.sqlite").exists()


def test_of_what_was_forgotten_it_is_said_that_it_may_be(store: Path, cli: Any) -> None:
    cli("prune", "--store", store, "--older-than", "1000m")
    refused = cli("explain", f"0x{7:064x}", "--store", store)
    assert refused.exit_code == 1 and "score it first (again, if it was pruned)" in refused.stderr


def test_beside_a_watch_it_forgets_a_tenth_of_the_time_and_begins_every_hour(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_prune, "BATCH", 100)
    now = 0.0
    began = store_prune.begin_of

    def step_of_a_second(*given: Any) -> Iterator[Any]:
        nonlocal now
        for each in store_prune_forget(*given):
            now += 1.0
            yield each

    store_prune_forget = store_prune.forget
    monkeypatch.setattr(store_prune, "forget", step_of_a_second)
    begins: list[float] = []
    monkeypatch.setattr(store_prune, "begin_of", lambda *a, **b: begins.append(now) or began(*a, **b))
    with closing(step.opened(store, read_only=False)) as db, open_store(store) as other:
        turns = step.beside(db, "base", 1000 * 60, clock=lambda: now)
        next(turns)
        assert now == 1.0 and other.summary().scored == 2 * COUNT + 1 - 100
        next(turns)
        assert now == 2.0, "one step each where the head is looked at often"
        now += 30.0
        next(turns)
        assert now == 35.0, "after a look that took 30 s, for three"
        next(turns)
        assert now == 36.0 and other.summary().scored == 2 * COUNT + 1 - 599
        for _ in range(5):
            next(turns)
        assert begins == [0.0] and now == 36.0, "nothing is old any more"
        other.write(row(number, "base", 30 * DAY) for number in range(COUNT, COUNT + 50))
        now += step.EVERY
        next(turns)
        assert len(begins) == 2 and other.verify() == []
