"""What a store forgets, what it never forgets, and what those who read it make of the rest."""

import runpy
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blockscan import store_db, store_prune, store_report
from blockscan.errors import StoreError
from blockscan.incidents import HUB_CALLERS, read_incidents
from blockscan.store import Run, ScoredBlock, ScoreStore, Search, open_store
from blockscan.store_db import Database
from blockscan.store_notices import open_outbox
from blockscan.store_prune import Forgotten, begin_of, chains_of, count_old, forget, give_back, size_of
from blockscan.store_schema import SEVERITIES

HELP = runpy.run_path(str(Path(__file__).with_name("test_store.py")))
make_score, make_frames, START = HELP["make_score"], HELP["make_frames"], HELP["START"]
CHAIN, NODE = "ethereum", "geth callTracer"
TABLES = ("scores", "frames", "inclusions", "blocks")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_prune, "LAST", 2)
    monkeypatch.setattr(store_prune, "BATCH", 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Twenty transactions a minute apart, three a block, with trees; number 1 and 5 raised an alert."""
    path = tmp_path / "results.db"
    with open_store(path) as store:
        fill(store, range(20))
    return path


def fill(store: ScoreStore, numbers: range, **changes: Any) -> None:
    scores = [make_score(number, **{"target": f"0x{number:040x}", **changes}) for number in numbers]
    store.write(((s, "high" if s.value in (1.0, 5.0) else None, make_frames()) for s in scores), now=START)
    blocks: dict[tuple[str, int], list[str]] = {}
    for score in scores:
        blocks.setdefault((score.chain, score.block_number), []).append(score.tx_hash)
    store.put_blocks(
        (ScoredBlock(chain, number, f"0x{number}", tuple(own)) for (chain, number), own in blocks.items()),
        now=START,
    )


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with closing(Database(path, read_only=False)) as opened:
        yield opened


def minute(number: int) -> int:
    return int(START) + number * 60


def held(store: ScoreStore, chain: str = CHAIN) -> list[int]:
    sql = "SELECT tx_hash FROM scores WHERE chain = ? AND shown = 1 ORDER BY block_number, tx_index, tx_hash"
    return [int(tx_hash, 16) for (tx_hash,) in store._db.rows(sql, (chain,))]


def counted(store: ScoreStore) -> list[int]:
    return [int(each.tx_hash, 16) for each in store.iter_scores()]


def content(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as opened:
        return [sorted(opened.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in TABLES]


def test_what_is_old_goes_with_its_tree_and_alerts_stay_whole(path: Path, db: Database) -> None:
    with open_store(path) as store, open_outbox(path, "pager") as outbox:
        run = Run("r1", 5, 9, ("a.parquet",), {}, "m1", ("c1",), 0.05, "archive")
        store.record_run(run)
        dismissed, lapsed = (store.alert(make_score(number).tx_hash) for number in (1, 5))
        store.set_status(dismissed.unique_key, "dismissed", note="a bot", by="ada")
        store.write([(make_score(5, calibration="c2", p_value=0.9), None, None)])
        before = [store.history(alert.unique_key) for alert in (dismissed, lapsed)]
        told = outbox.plan(SEVERITIES)
        found = list(forget(db, CHAIN, minute(10)))
        assert sum(each.transactions for each in found) == 8 and sum(each.kept for each in found) == 2
        assert found[-1].until == minute(9)
        assert held(store) == [1, 5, *range(10, 20)]
        trees = [len(store.frames(make_score(number).tx_hash)) for number in (*range(10, 20), 1, 5)]
        assert trees == [2] * 11 + [0] and store.frames(make_score(3).tx_hash) == ()
        assert [store.history(alert.unique_key) for alert in (dismissed, lapsed)] == before
        assert store.alerts(Search(status=("dismissed",)))[0].score == dismissed.score
        assert store.lapsed([lapsed.unique_key]) == {lapsed.unique_key} and store.runs() == [run]
        assert outbox.plan(SEVERITIES) == told and len(told) == 2
        assert store.verify() == []
    assert db.rows("SELECT COUNT(*) FROM frames")[0][0] == 12
    assert db.rows("SELECT COUNT(*) FROM inclusions")[0][0] == 12
    assert [number for (number,) in db.rows("SELECT number FROM blocks WHERE hash <> 'forgotten'")] == [
        *(100, 101),
        *range(103, 107),
    ]


def test_the_time_counts_from_the_newest_of_the_chain_and_not_from_the_clock(
    path: Path, db: Database
) -> None:
    with open_store(path) as store:
        fill(store, range(20), chain="base", time=minute(500))
        fill(store, range(30, 32), time=None)
        now = minute(1000)
        assert chains_of(db) == ["base", CHAIN]
        assert begin_of(db, CHAIN, 9 * 60, now=now) == minute(10)
        fill(store, range(40, 41), time=minute(10_000))
        assert begin_of(db, CHAIN, 9 * 60, now=now) == minute(10), "a time ahead of the clock is not believed"
        store.orphan_blocks(CHAIN, ["0x106"])
        assert begin_of(db, CHAIN, 9 * 60, now=now) == minute(8), "18 and 19 left the chain"
        list(forget(db, CHAIN, minute(10)))
        assert held(store) == [1, 5, *range(10, 20), 30, 31, 40]
        assert len(held(store, "base")) == 20 and begin_of(db, "base", 60, now=now) == minute(499)
        assert store_prune.count_timeless(db, CHAIN) == 2


def test_the_last_transactions_stay_however_old_they_are(
    path: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over them p-values count how large transactions are."""
    monkeypatch.setattr(store_prune, "LAST", 12)
    assert begin_of(db, CHAIN, 60, now=minute(100)) == minute(8)
    list(forget(db, CHAIN, minute(8)))
    with open_store(path) as store:
        assert store.sizes_before(CHAIN, NODE, block=107, most=12) == [3] * 12
        assert len(counted(store)) == 12
    monkeypatch.setattr(store_prune, "LAST", 21)
    assert begin_of(db, CHAIN, 60, now=minute(100)) is None


def test_an_interrupted_run_is_gone_on_with(
    path: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = path.with_name("whole.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(whole)) as copy:
        source.backup(copy)
    with closing(Database(whole, read_only=False)) as other:
        assert len(list(forget(other, CHAIN, minute(10)))) == 3
    steps = forget(db, CHAIN, minute(10))
    next(steps)
    orphaned = store_prune.forget_blocks

    def dying(*given: Any) -> None:
        orphaned(*given)
        raise KeyboardInterrupt

    before = content(path)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(store_prune, "forget_blocks", dying)
        next(steps)
    assert content(path) == before, "a step is stored whole or not at all"
    with open_store(path) as store:
        assert held(store) == [1, *range(4, 20)] and store.verify() == []
    list(forget(db, CHAIN, minute(10)))
    assert content(path) == content(whole)
    assert list(forget(db, CHAIN, minute(10))) == []


def test_others_write_between_two_steps(path: Path, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_db, "_BUSY_SECONDS", 0.05)
    with open_store(path) as other:
        steps = forget(db, CHAIN, minute(10))
        next(steps)
        other.write([(make_score(8, calibration="c2"), "high", None)], now=START)
        fill(other, range(20, 23))
        assert sum(each.transactions for each in steps) == 4
        assert held(other) == [1, 5, 8, *range(10, 23)], "what has raised an alert since stays"


def test_forgetting_and_scoring_at_once_lose_nothing(path: Path, db: Database) -> None:
    def score() -> None:
        with open_store(path) as writer:
            for number in range(20, 60):
                fill(writer, range(number, number + 1))

    thread = threading.Thread(target=score)
    thread.start()
    for begin in range(2, 20):
        for _ in forget(db, CHAIN, minute(begin)):
            pass
    thread.join()
    with open_store(path) as store:
        assert held(store) == [1, 5, *range(19, 60)] and store.verify() == []


def test_a_transaction_goes_with_its_scores_of_all_calibrations(path: Path, db: Database) -> None:
    with open_store(path) as store:
        fill(store, range(20), calibration="c2")
        store.write([(make_score(3, calibration="c0", value=1.0), "high", None)])
        list(forget(db, CHAIN, minute(10)))
        assert store.verify() == [] and held(store) == [1, 3, 5, *range(10, 20)]
        assert counted(store) == list(range(10, 20))
    assert db.rows("SELECT COUNT(*) FROM scores")[0][0] == 2 * 12 + 3


def test_blocks_that_were_forgotten_are_not_taken_for_unscored(path: Path, db: Database) -> None:
    """The first block from which on a watch scores what is stored and not scored goes on with the time."""
    with open_store(path) as store:
        store.put_blocks(
            [ScoredBlock(CHAIN, number, f"0xempty{number}", ()) for number in (99, 102, 103, 106)]
        )
        assert store.first_block(CHAIN) == 99
        list(forget(db, CHAIN, minute(10)))
        assert store.first_block(CHAIN) == 103
        empty = db.rows("SELECT number FROM blocks WHERE hash LIKE '0xempty%'")
        assert empty == [(106,)], "block 103 is reached, all before is complete"
        list(forget(db, CHAIN, minute(12)))
        assert store.first_block(CHAIN) == 103
        assert store.known_blocks(CHAIN, 104, 106) == {"0x104", "0x105", "0x106", "0xempty106"}
        fill(store, range(0, 6))
        assert list(forget(db, CHAIN, minute(12))) and store.first_block(CHAIN) == 103
        assert store.first_block("base") is None


def test_what_left_the_chain_is_forgotten_with_its_block(path: Path, db: Database) -> None:
    with open_store(path) as store:
        store.orphan_blocks(CHAIN, ["0x101", "0x102"])
        list(forget(db, CHAIN, minute(10)))
        assert held(store) == [1, 5, *range(10, 20)] and store.verify() == []
        assert store.orphans(CHAIN, [make_score(5).tx_hash]) == {make_score(5).tx_hash}
        back = store.put_blocks([ScoredBlock(CHAIN, 120, "0xagain", (make_score(5).tx_hash,))])
        assert [each.what for each in back] == ["open"]


def test_alerts_without_the_rest_of_their_time_are_no_sample_of_it(path: Path, db: Database) -> None:
    with open_store(path) as store:
        store.record_run(Run("r1", 5, 9, (), {}, "m1", ("c1",), 0.05, "archive"))
        list(forget(db, CHAIN, minute(10)))
        summary = store.summary()
        assert counted(store) == list(range(10, 20))
        assert (summary.scored, summary.judged, summary.at_alarm) == (10, 10, 0)
        assert summary.judges == (("m1", "c1", 10),) and sum(summary.histogram) == 10
        assert summary.by_severity == {"high": 2} and len(store.alerts()) == 2
        assert len(store.sizes_before(CHAIN, NODE, block=200, most=50)) == 10
        fill(store, range(10))
        assert counted(store) == list(range(20)), "what is scored again counts again"
        list(forget(db, CHAIN, minute(10)))
        assert counted(store) == list(range(10, 20)) and store.verify() == []


def test_who_called_what_alerts_are_about_is_remembered(path: Path, db: Database) -> None:
    """A pool does not become an attacker's contract because those who used it are forgotten."""
    assert store_report.MOST_CALLERS > HUB_CALLERS
    pool = "0x" + "9" * 40
    with open_store(path) as store:
        fill(store, range(60, 100), target=pool, time=minute(2))
        alerts = [make_score(number, target=pool, time=minute(3)) for number in (200, 201)]
        store.write(((score, "high", None) for score in alerts), now=START)
        before = read_incidents(store)
        list(forget(db, CHAIN, minute(10)))
        assert read_incidents(store) == before and len(before) == 4
        assert store.callers()[CHAIN, pool] == store_report.MOST_CALLERS + 2
    targets = db.rows("SELECT DISTINCT target FROM forgotten_callers")
    assert targets == [(pool,)], "of no other address"


def test_the_space_goes_back_to_the_system_in_steps(
    path: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_prune, "_PAGES", 100)
    with open_store(path) as store:
        trees = make_frames(400)
        store.write((make_score(number), None, trees) for number in range(20, 300))
    size = size_of(db)[0]
    list(forget(db, CHAIN, minute(290)))
    assert size_of(db)[1] > 0.6 * size_of(db)[0]
    left = list(give_back(db))
    assert len(left) > 3 and left[-1] == 0 and size_of(db)[1] == 0
    db.close()
    assert path.stat().st_size < 0.4 * size
    with open_store(path) as store:
        assert store.verify() == []


def test_an_older_store_keeps_its_size_and_fills_what_is_free(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    with closing(sqlite3.connect(path)) as older:
        older.execute("PRAGMA journal_mode = WAL")
    with open_store(path) as store:
        fill(store, range(1000))
    with closing(Database(path, read_only=False)) as db:
        list(forget(db, CHAIN, minute(990)))
        assert list(give_back(db)) == [] and size_of(db)[1] > 500_000
        size = size_of(db)[0]
        with open_store(path) as store:
            fill(store, range(1000, 1800))
        assert size_of(db)[0] == size


def test_counting_what_would_be_forgotten_changes_nothing(path: Path) -> None:
    before = content(path)
    with closing(Database(path, read_only=True)) as db:
        assert count_old(db, CHAIN, minute(10)) == Forgotten(8, 2, minute(10))
        with pytest.raises(StoreError, match="cannot be written"):
            next(forget(db, CHAIN, minute(10)))
    assert content(path) == before


def test_no_step_reads_all_scores(path: Path, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []
    for name in ("rows", "execute"):
        method = getattr(Database, name)

        def listening(each: Database, sql: str, values: Any = (), method: Any = method) -> Any:
            asked.append((sql, values))
            return method(each, sql, values)

        monkeypatch.setattr(Database, name, listening)
    begin_of(db, CHAIN, 60, now=minute(100))
    chains_of(db)
    next(forget(db, CHAIN, minute(10)))
    monkeypatch.undo()
    plans = [
        (step[3], sql)
        for sql, values in asked
        if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))
        for step in db.rows(f"EXPLAIN QUERY PLAN {sql}", values)
    ]
    assert len(plans) > 15 and [each for each in plans if "TEMP B-TREE" in each[0]] == []
    assert {step for step, _ in plans if step.startswith("SCAN")} == {"SCAN a", "SCAN CONSTANT ROW"}
