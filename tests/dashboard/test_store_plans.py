"""A large store answers as a small one: no page and no step of a run reads all scores row by row."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from blockscan.findings import Frame, TxScore
from blockscan.store import ScoredBlock, ScoreStore, open_store
from blockscan.store_db import Database

View = Callable[..., AppTest]
START = 1_700_000_000
CHAIN, CALIBRATION, SOURCE = "ethereum", "c" * 64, "geth callTracer"
# All scores, or those that are shown or of a chain, which is the same: each with a look at the row.
READS_ALL = re.compile(
    r"SCAN (s|scores)\b|SEARCH (s|scores) USING INDEX \w+ \((shown|chain)=\?( AND orphaned=\?)?\)"
)
Statement = tuple[str, Sequence[Any]]


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


def block_hash(block: int) -> str:
    return f"0x{block:032x}"


def row(number: int) -> tuple[TxScore, str | None, tuple[Frame, ...] | None]:
    alarm = number % 100 == 0
    score = TxScore(
        chain=CHAIN,
        tx_hash=tx_hash(number),
        block_number=number // 20,
        tx_index=number % 20,
        time=START + number // 20 * 12,
        sender=f"0x{number % 700:040x}",
        target=f"0x{number % 300:040x}",
        value=1.0,
        p_value=0.001 if alarm else (number + 1) / 2001,
        reason="because",
        evidence=(),
        calls=3,
        tokens=50,
        windows=1,
        source=SOURCE,
        trace_status="exact",
        model="m" * 64,
        calibration=CALIBRATION,
    )
    return score, "high" if alarm else None, None


@pytest.fixture(params=["counted", "never counted"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """2,000 transactions in 100 blocks, 20 of them alerts; it is counted what the indexes find, or not."""
    path = tmp_path / "scores.sqlite"
    if request.param == "never counted":
        monkeypatch.setattr(Database, "_count_again", lambda db, after: None)
    with open_store(path) as store:
        store.write(map(row, range(2000)), now=START)
        store.put_blocks(
            ScoredBlock(
                CHAIN, block, block_hash(block), tuple(map(tx_hash, range(block * 20, block * 20 + 20)))
            )
            for block in range(100)
        )
    monkeypatch.setenv("BLOCKSCAN_STORE", str(path))
    return path


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Statement]]:
    """What is asked of any store meanwhile."""
    asked: list[Statement] = []

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(db: Database, sql: str, values: Sequence[Any] = ()) -> Any:
            asked.append((sql, values))
            return method(db, sql, values)

        return call

    with monkeypatch.context() as patch:
        for name in ("execute", "rows"):
            patch.setattr(Database, name, wrapped(getattr(Database, name)))
        yield asked


def reading_all(store: ScoreStore, asked: Sequence[Statement]) -> list[tuple[str, str]]:
    """Of the statements over scores those, with the step, that go through all of them."""
    found = []
    for sql, values in asked:
        if "scores" in sql and sql.lstrip().startswith(("SELECT", "WITH", "UPDATE", "INSERT")):
            plan = [step[3] for step in store._db.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
            found += [(step, sql) for step in plan if READS_ALL.match(step)]
    return found


PAGES = [
    ("overview", {}),
    ("alerts", {}),
    ("alerts", {"q": ["0xdead"], "from": ["2023-11-14"], "severity": ["high"]}),
    ("alerts", {"list": ["Incidents"]}),
    ("transaction", {"tx": tx_hash(100)}),
    ("transaction", {"tx": tx_hash(101)}),
]


@pytest.mark.parametrize(("view", "query"), PAGES)
def test_no_page_reads_all_scores(
    path: Path, open_view: View, monkeypatch: pytest.MonkeyPatch, view: str, query: dict[str, Any]
) -> None:
    with listening(monkeypatch) as asked:
        assert not open_view(view, **query).exception
    with open_store(path, read_only=True) as store:
        assert reading_all(store, asked) == [] and any("scores s" in sql for sql, _ in asked)


def test_a_reorganisation_reads_the_scores_of_its_blocks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(path) as store:
        with listening(monkeypatch) as asked:
            assert len(store.orphan_blocks(CHAIN, [block_hash(95), block_hash(96)])) == 1
            store.write([row(2000)])
            hashes = tuple(map(tx_hash, range(1900, 1920)))
            store.put_blocks([ScoredBlock(CHAIN, 95, block_hash(95), hashes)])
        assert reading_all(store, asked) == []


def test_scores_come_in_their_order_without_being_sorted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(path, read_only=True) as store:
        with listening(monkeypatch) as asked:
            assert len(list(store.iter_scores())) == 2000
            assert len(store.values_before(CHAIN, CALIBRATION, block=50, since=START + 12 * 48)) == 40
            assert len(store.last_values(CHAIN, CALIBRATION, 12 * 3)) == 80
            assert len(store.sizes_before(CHAIN, SOURCE, block=50, most=30)) == 30
        plans = [
            step[3] for sql, values in asked for step in store._db.rows(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
        assert len(plans) >= 3 and all("USING INDEX scores_by_place" in step for step in plans)
