import json
import os
import sqlite3
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from blockscan import store_db, store_labels, store_schema
from blockscan.errors import StoreError
from blockscan.findings import Evidence, Frame, TxScore
from blockscan.store import Label, Run, ScoredBlock, ScoreStore, Search, open_store

HOUR = 3600
START = 1_700_000_000 // HOUR * HOUR


def make_score(number: int, **changes: object) -> TxScore:
    evidence = (Evidence(0, "selector", "0x12345678", ("0xa9059cbb", "transfer"), 9.5, 0.0004),)
    score = TxScore(
        chain="ethereum",
        tx_hash=f"0x{number:064x}",
        block_number=100 + number // 3,
        tx_index=number % 3,
        time=START + number * 60,
        sender=f"0x{number:040x}",
        target="0x" + "ab" * 20,
        value=float(number),
        p_value=min(1.0, (number + 1) / 100),
        reason=f"transaction {number}",
        evidence=evidence,
        calls=3,
        tokens=50,
        windows=1,
        source="geth callTracer",
        trace_status="exact",
        model="m1",
        calibration="c1",
    )
    return replace(score, **changes)


def make_frames(count: int = 2) -> tuple[Frame, ...]:
    surprising = (Evidence(1, "value", "7", (), 3.0, 0.01),)
    return tuple(
        Frame(i, i - 1, i, "CALL", "0xaa", "0xbb", "transfer", "0", "", i / count, surprising if i else ())
        for i in range(count)
    )


def rows(numbers: range, **changes: object) -> list[tuple[TxScore, str | None, tuple[Frame, ...] | None]]:
    scores = [make_score(number, **changes) for number in numbers]
    return [(s, "high" if s.p_value is not None and s.p_value <= 0.05 else None, None) for s in scores]


def exported(store: ScoreStore) -> bytes:
    return b"\n".join(json.dumps(asdict(score)).encode() for score in store.iter_scores())


def everything(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = [row for table in tables for row in db.execute(f"SELECT rowid, * FROM {table}")]
    db.close()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def test_of_a_hash_on_two_chains_the_rarest_is_shown_whole(path: Path) -> None:
    """A signature that names no chain holds on all; what is ordinary on one says nothing of another."""
    rare = make_score(7, chain="ethereum", p_value=0.001)
    common = make_score(7, chain="bsc", p_value=0.04)
    with open_store(path) as store:
        store.write([(common, "low", make_frames(1)), (rare, "critical", make_frames(3))])
        assert store.score(rare.tx_hash) == rare and store.frames(rare.tx_hash) == make_frames(3)
        alert = store.alert(rare.tx_hash)
        assert alert is not None and (alert.score, alert.severity) == (rare, "critical")
        store.write([(replace(common, chain="base", p_value=None), None, make_frames(1))])
        store.write(
            [
                (replace(rare, tx_hash="0x8"), None, None),
                (replace(common, tx_hash="0x8"), None, make_frames()),
            ]
        )
        assert store.frames("0x8") == (), "not the tree of another chain"


def test_what_is_written_is_read(path: Path) -> None:
    frames = make_frames(1200)
    with open_store(path) as store:
        written = store.write([(make_score(1, p_value=None, target=None), None, frames)])
        assert (written.rows, written.changed, written.raised) == (1, 1, 0)
        assert store.score(make_score(1).tx_hash) == make_score(1, p_value=None, target=None)
        assert store.score(make_score(1).tx_hash.upper().replace("0X", "0x")) is not None
        assert store.frames(make_score(1).tx_hash) == frames
        assert store.score("0x77") is None
        assert store.frames("0x77") == ()
        assert store.alert(make_score(1).tx_hash) is None
        assert store.verify() == []


def test_a_hash_on_two_chains_is_two_transactions(path: Path) -> None:
    there = make_score(1, chain="arbitrum", p_value=0.5)
    here, tx_hash = make_score(1), make_score(1).tx_hash
    with open_store(path) as store:
        store.write([(there, None, make_frames(2)), (here, "high", None)])
        assert store.chains(tx_hash) == ["ethereum", "arbitrum"], "that with an alert first"
        assert (store.alert(tx_hash).score, store.score(tx_hash), store.frames(tx_hash)) == (here, here, ())
        assert store.alert(tx_hash, chain="arbitrum") is None
        assert store.score(tx_hash, chain="arbitrum") == there
        assert store.frames(tx_hash, chain="arbitrum") == make_frames(2)
        assert store.score(tx_hash, chain="base") is None
        store.write([(there, "low", None)])
        assert store.chains(tx_hash) == ["ethereum", "arbitrum"], "of two alerts the rarest"
        rarer = replace(there, p_value=0.001)
        store.write([(rarer, "low", None)])
        assert store.chains(tx_hash) == ["arbitrum", "ethereum"]
        assert (store.alert(tx_hash).score, store.score(tx_hash)) == (rarer, rarer)
        assert store.alert(tx_hash, chain="ethereum").score == here


def test_a_rerun_changes_no_row_and_no_byte(path: Path) -> None:
    with open_store(path) as store:
        store.write([(s, severity, make_frames()) for s, severity, _ in rows(range(30))], now=1000)
        key = store.alerts(limit=1)[0].unique_key
        store.set_status(key, "confirmed", note="seen on chain", by="ada", now=1001)
        before = exported(store)
    stored = everything(path)
    with open_store(path) as store:
        again = store.write(reversed(rows(range(30))), now=9999)
        assert (again.rows, again.changed, again.raised) == (30, 0, 0)
        assert exported(store) == before
        assert store.alerts(limit=1)[0].status == "confirmed"
    assert everything(path) == stored


def test_the_order_of_writing_does_not_show(path: Path, tmp_path: Path) -> None:
    numbered = [(make_score(i, p_value=1 - i / 50), "low", None) for i in range(40)]
    numbered += [(make_score(i, chain="a-chain", block_number=None), None, None) for i in range(5)]
    with open_store(path) as one, open_store(tmp_path / "other.db") as other:
        one.write(numbered)
        other.write(reversed(numbered))
        assert exported(one) == exported(other)
        assert [a.unique_key for a in one.alerts()] == [a.unique_key for a in other.alerts()]
        places = [(s.chain, s.block_number or 0, s.tx_index) for s in one.iter_scores()]
        assert places == sorted(places)


def test_dispositions_survive_reruns_and_recalibration(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(3)), now=10)
        key = store.alerts()[0].unique_key
        store.set_status(key, "acknowledged", note="looking", by="ada", now=11)
        store.set_status(key, "dismissed", note="arbitrage", by="bob", now=12)
        store.set_status(key, "dismissed", note="arbitrage", by="bob", now=13)
        store.write(rows(range(3), calibration="c2"), now=14)
        alert = store.alerts()[0]
        assert (alert.status, alert.note) == ("dismissed", "arbitrage")
        assert store._db.rows("SELECT DISTINCT created_at FROM alerts") == [(10,)]
        assert alert.score.calibration == "c2"
        told = [(entry.time, entry.who, entry.what) for entry in store.history(key)]
        assert told == [
            (11, "ada", "acknowledged"),
            (12, "bob", "dismissed"),
            (14, "blockscan", "renewed"),
        ]


def test_an_alert_outlives_its_alarm_and_says_so(path: Path) -> None:
    key = "ethereum:" + make_score(0).tx_hash
    with open_store(path) as store:
        store.write(rows(range(3)))
        store.write([(make_score(0, calibration="c2", p_value=0.4), None, None)])
        assert store.lapsed([key, "ethereum:0x1"]) == {key}
        assert store.alert(make_score(0).tx_hash).score.p_value == 0.01
        assert store.score(make_score(0).tx_hash).p_value == 0.4
        assert [e.what for e in store.history(key)] == ["lapsed"]
        assert "p = 0.4 under calibration c2" in store.history(key)[0].note
        store.write([(make_score(0, calibration="c2", p_value=0.02), "critical", None)])
        assert store.lapsed([key]) == set()
        assert store.alert(make_score(0).tx_hash).severity == "critical"
        assert [e.what for e in store.history(key)] == ["lapsed", "now critical"]
        assert store.verify() == []


def test_an_older_calibration_written_again_changes_no_view(path: Path) -> None:
    with open_store(path) as store:
        store.write([(make_score(0), None, make_frames(2))])
        store.write([(make_score(0, calibration="c2", value=7.0), "low", make_frames(3))])
        store.write([(make_score(0), "critical", make_frames(2))])
        assert store.score(make_score(0).tx_hash).value == 7.0
        assert len(store.frames(make_score(0).tx_hash)) == 3
        assert store.alerts()[0].severity == "low"
        assert store.summary().scored == 1
        assert store.verify() == []


def test_an_older_calibration_written_again_changes_no_row(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(3)))
        store.write(rows(range(3), calibration="c2"))
        assert store.write(rows(range(3))).changed == 0


def test_of_equal_p_values_the_highest_value_comes_first(path: Path) -> None:
    with open_store(path) as store:
        store.write((make_score(i, p_value=0.01), "high", None) for i in range(3))
        assert [alert.score.value for alert in store.alerts()] == [2.0, 1.0, 0.0]


def test_search_and_paging_happen_in_the_store(path: Path) -> None:
    with open_store(path) as store:
        store.write((s, ("critical", "high", "low")[s.tx_index], None) for s, _, _ in rows(range(60)))
        pages = [store.alerts(limit=25, offset=offset) for offset in (0, 25, 50)]
        assert [len(page) for page in pages] == [25, 25, 10]
        found = [alert.score.p_value for page in pages for alert in page]
        assert found == sorted(found)
        assert store.count_alerts() == 60
        assert store.count_alerts(Search(severity=("high", "low"))) == 40
        assert store.count_alerts(Search(status=("dismissed",))) == 0
        assert store.count_alerts(Search(text="TRANSACTION 7")) == 1
        assert store.count_alerts(Search(text=make_score(9).sender)) == 1
        assert store.count_alerts(Search(text="%")) == 0
        assert store.count_alerts(Search(text="_")) == 0
        assert store.count_alerts(Search(text="' OR 1=1 --")) == 0
        assert store.count_alerts(Search(since=START + 60, until=START + 600)) == 9
        newest = store.alerts(order="time", limit=1)[0]
        assert newest.score.time == START + 59 * 60
        oldest = store.alerts(Search(severity=("low",)), order="time", limit=2, offset=18)
        assert [alert.score.value for alert in oldest] == [5.0, 2.0]
        assert store.count_alerts(Search(text="transaction")) == 60


def test_the_summary_counts(path: Path) -> None:
    with open_store(path) as store:
        assert store.summary().scored == 0
        store.write(rows(range(100)))
        store.write([(make_score(200, p_value=None, time=None), "medium", None)])
        run = Run("r1", 5, 9, ("a.parquet",), {"scored": 101}, "m1", ("c1",), 0.05, "archive")
        store.record_run(run)
        store.record_run(run)
        assert store.runs() == [run]
        summary = store.summary()
    assert (summary.scored, summary.judged, summary.at_alarm) == (101, 100, 5)
    assert summary.by_severity == {"high": 5, "medium": 1}
    assert summary.by_status == {"open": 6}
    assert summary.histogram == (5,) * 20
    assert (summary.period, summary.timeline) == (HOUR, ((START, "high", 5),))
    assert summary.judges == (("m1", "c1", 101),)


def test_an_alert_that_left_the_chain_is_counted_as_orphaned_alone(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(1)))
        store.put_blocks([ScoredBlock("ethereum", 100, "0xb", (make_score(0).tx_hash,))])
        store.orphan_blocks("ethereum", ["0xb"])
        summary = store.summary()
    assert (summary.scored, summary.orphaned, summary.timeline) == (0, 1, ())
    assert (summary.by_severity, summary.by_status) == ({}, {"orphaned": 1})


def test_a_long_timeline_counts_by_day(path: Path) -> None:
    with open_store(path) as store:
        store.write([(make_score(i, time=START + i * 40 * HOUR), "low", None) for i in range(4)])
        assert store.summary().period == 24 * HOUR
        assert sum(count for _, _, count in store.summary().timeline) == 4


def test_hostile_text_is_kept_as_text(path: Path) -> None:
    nasty = "'); DROP TABLE scores; -- ![](http://x) \ud800 \0 \u202e"
    with open_store(path) as store:
        store.write([(make_score(0, reason=nasty), "low", None)])
        store.write([(make_score(0, reason=nasty), "low", None)])
        kept = store.score(make_score(0).tx_hash).reason
        assert kept == nasty.replace("\ud800", "\\ud800").replace("\0", "\\x00")
        assert store.verify() == []


def test_a_full_disk_loses_nothing_that_was_stored(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(50)))
        store.set_status(store.alerts()[0].unique_key, "confirmed", note="", by="ada")
        before, triage = exported(store), store.alerts()
        pages = store._db.rows("PRAGMA page_count")[0][0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match=r"the disk is full at .*results\.db.*free some space"):
            store.write(rows(range(50, 5000)))
        assert exported(store) == before
        assert store.alerts() == triage
    with open_store(path) as store:
        assert exported(store) == before
        assert store.verify() == []
        assert store.write(rows(range(50, 5000))).changed == 4950


def test_batches_before_a_failure_stay(path: Path) -> None:
    def broken() -> object:
        yield from rows(range(600))
        raise RuntimeError("the node went away")

    with open_store(path) as store:
        with pytest.raises(RuntimeError):
            store.write(broken())
        assert store.summary().scored == 500


def test_readers_read_while_a_writer_writes(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(10)))
    inside, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with open_store(path) as writer, writer._db.transaction():
            writer._put_score(make_score(10), None)
            inside.set()
            assert go_on.wait(20)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert inside.wait(20)
        with open_store(path, read_only=True) as reader:
            assert reader.summary().scored == 10
            assert len(reader.alerts()) == 5
    finally:
        go_on.set()
        thread.join()
    with open_store(path, read_only=True) as reader:
        assert reader.summary().scored == 11


def test_a_reader_in_the_middle_holds_up_no_writer(path: Path) -> None:
    with open_store(path) as writer, open_store(path, read_only=True) as reader:
        writer.write(rows(range(10)))
        scores = reader.iter_scores()
        next(scores)
        writer.write(rows(range(10, 20)))
        assert sum(1 for _ in scores) == 9
        assert reader.summary().scored == 20


def test_the_log_of_writes_shrinks_when_no_reader_needs_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_db, "_LOG_BYTES", 200_000)
    log = path.with_name(f"{path.name}-wal")
    with open_store(path) as writer:
        writer.write(rows(range(10)))
        with open_store(path, read_only=True) as reader:
            scores = reader.iter_scores()
            next(scores)
            writer.write(rows(range(10, 10_000)))
            assert log.stat().st_size > 5_000_000
            scores.close()
        for number in range(10_000, 10_003):
            writer.write(rows(range(number, number + 1)))
        assert log.stat().st_size <= 200_000


def test_a_second_writer_is_told_that_the_store_is_locked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_db, "_BUSY_SECONDS", 0.05)
    with (
        open_store(path) as one,
        open_store(path) as other,
        one._db.transaction(),
        pytest.raises(StoreError, match="locked by another writer"),
    ):
        other.write(rows(range(1)))


def test_a_read_only_store_cannot_be_written(path: Path) -> None:
    open_store(path).close()
    with open_store(path, read_only=True) as store, pytest.raises(StoreError, match="cannot be written"):
        store.write(rows(range(1)))


@contextmanager
def nothing_can_be_written(folder: Path) -> Iterator[None]:
    """A read-only mount, as far as a test can make one; root, who can write all the same, is nobody here."""
    root = os.geteuid() == 0
    for entry in folder.iterdir():
        entry.chmod(0o444)
    folder.chmod(0o555)
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_store_on_a_read_only_mount_can_be_read() -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies where only its user can look
        path = Path(name) / "s.sqlite"
        with open_store(path) as store:
            store.write(rows(range(3)))
        with nothing_can_be_written(path.parent):
            assert sorted(entry.name for entry in path.parent.iterdir()) == ["s.sqlite"]
            with open_store(path, read_only=True) as store:
                assert len(list(store.iter_scores())) == 3
        path.with_name("s.sqlite-wal").write_bytes(b"a write that is not in the file")
        with (
            nothing_can_be_written(path.parent),
            pytest.raises(StoreError, match=r"s\.sqlite-wal holds its last writes; copy both to a writable"),
        ):
            open_store(path, read_only=True)


def test_a_new_store_is_private(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(1)))
        modes = {stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert modes == {0o600}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Parquet? no, a text file\n" * 200, "is not a BlockScan store"),
        (None, "is a directory"),
    ],
)
def test_what_is_not_a_store_is_refused(path: Path, content: bytes | None, message: str) -> None:
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(StoreError, match=message):
            open_store(path, read_only=read_only)
    assert content is None or path.read_bytes() == content


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE meta (name, value)")
    db.close()
    with pytest.raises(StoreError, match="another program"):
        open_store(path)


def test_a_newer_schema_is_refused(path: Path) -> None:
    with open_store(path) as store:
        store._db.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(StoreError, match="schema 99, made by a newer BlockScan"):
        open_store(path)


LATER = (*store_db.MIGRATIONS, ("CREATE TABLE later (name TEXT)",))


@pytest.mark.parametrize("read_only", [False, True])
def test_an_older_schema_is_brought_up_to_date_by_whoever_opens_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, read_only: bool
) -> None:
    with open_store(path) as store:
        store.write(rows(range(9)))
        before = exported(store)
    monkeypatch.setattr(store_db, "MIGRATIONS", LATER)
    newest = len(store_db.MIGRATIONS)
    for _ in range(2):
        with open_store(path, read_only=read_only) as store:
            assert store._db.rows("SELECT * FROM later") == []
            assert exported(store) == before
            names = [name for (name,) in store._db.rows("SELECT name FROM meta ORDER BY name")]
            steps = [f"migration_{number}" for number in range(1, newest + 1)]
            assert names == sorted([*steps, "schema_version"])


def test_an_older_schema_that_cannot_be_brought_up_to_date_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s.sqlite"
        open_store(path).close()
        monkeypatch.setattr(store_db, "MIGRATIONS", LATER)
        named = rf"schema {len(LATER) - 1}, older than {len(LATER)}, and cannot be brought up to date: .*"
        with (
            nothing_can_be_written(path.parent),
            pytest.raises(StoreError, match=rf"{named}cannot be written; .*; open it, or a copy"),
        ):
            open_store(path, read_only=True)
        monkeypatch.setattr(store_db, "_BUSY_SECONDS", 0.1)
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=rf"{named}locked by another writer"):
                open_store(path, read_only=True)


def test_missing_places_and_other_urls_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no directory .*nowhere"):
        open_store(tmp_path / "nowhere" / "results.db")
    with pytest.raises(StoreError, match=r"no store at .*results\.db; run `blockscan score`"):
        open_store(path, read_only=True)
    assert not path.exists()
    with pytest.raises(StoreError, match=r"postgresql://\.\.\. is not supported yet") as caught:
        open_store("postgresql://user:secret@host/db")
    assert "secret" not in str(caught.value)
    with open_store(f"sqlite:///{path}") as store:
        store.write(rows(range(1)))
    with open_store(path, read_only=True) as store:
        assert store.summary().scored == 1


def test_a_damaged_row_is_named_and_found_by_verify(path: Path) -> None:
    with open_store(path) as store:
        store.write([(make_score(0), None, make_frames())])
        store._db.execute("UPDATE frames SET tree = ?", (b"junk",))
        with pytest.raises(StoreError, match=r"call tree of 0x0000.* is damaged"):
            store.frames(make_score(0).tx_hash)
        assert len(store.verify()) == 1
        store._db.execute("UPDATE scores SET evidence = '[{'")
        with pytest.raises(StoreError, match="is damaged"):
            store.score(make_score(0).tx_hash)
        assert len(store.verify()) == 2
        store.write([(make_score(0), None, make_frames())])
        assert store.verify() == []


@pytest.mark.parametrize(
    "tree", [zlib.compress(b" " * 5000 + b"[]"), zlib.compress(b"[]")[:-4]], ids=["bomb", "stump"]
)
def test_a_tree_that_swells_is_no_tree(path: Path, tree: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hands over a store may have packed gigabytes into it."""
    monkeypatch.setattr(store_schema, "LARGEST_TREE", 4000)
    with open_store(path) as store:
        store.write([(make_score(0), None, make_frames())])
        store._db.execute("UPDATE frames SET tree = ?", (tree,))
        with pytest.raises(StoreError, match="cut short, or larger than 4,000 bytes when unpacked"):
            store.frames(make_score(0).tx_hash)
        assert len(store.verify()) == 1


def test_a_truncated_file_is_reported(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(500)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreError, match="damaged"), open_store(path, read_only=True) as store:
        list(store.iter_scores())


@pytest.mark.parametrize(
    ("changes", "severity", "message"),
    [
        ({"value": float("nan")}, None, "not a number"),
        ({"p_value": 1.5}, None, "CHECK"),
        ({"block_number": 2**70}, None, "too large"),
        ({}, "terrible", "CHECK"),
    ],
)
def test_values_that_cannot_be_stored_are_refused(
    path: Path, changes: dict[str, object], severity: str | None, message: str
) -> None:
    with open_store(path) as store:
        with pytest.raises(StoreError, match=message):
            store.write([(make_score(0), None, None), (make_score(1, **changes), severity, None)])
        assert store.summary().scored == 0


def test_an_alert_that_is_included_again_is_what_a_person_last_made_of_it(path: Path) -> None:
    block = ScoredBlock("ethereum", 100, "0xb", (make_score(0).tx_hash,))
    with open_store(path) as store:
        store.write(rows(range(1)))
        store.put_blocks([block])
        key = store.alerts()[0].unique_key
        for status in ("acknowledged", "dismissed"):
            store.set_status(key, status, note="", by="ada")
        store.orphan_blocks("ethereum", ["0xb"])
        assert store.alerts()[0].status == "orphaned"
        store.put_blocks([block])
        assert store.alerts()[0].status == "dismissed"


def test_of_equal_confidence_the_newest_label_comes_first(path: Path) -> None:
    said = [(0.5, "2023-01-01"), (None, "2025-01-01"), (0.5, "2024-01-01"), (0.9, "2022-01-01")]
    with open_store(path) as store:
        store.put_labels(Label("0xa", date, "source", date, confidence) for confidence, date in said)
        dates = [label.date[:4] for label in store.labels(["0xa"], "ethereum")["0xa"]]
    assert dates == ["2022", "2024", "2023", "2025"]


def test_labels_are_written_in_batches_between_which_others_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million labels in one transaction kept `watch` from the store until it gave up."""
    monkeypatch.setattr(store_db, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(store_labels, "BATCH", 4)
    numbers = range(10)
    with open_store(path) as store, open_store(path) as other:
        in_between: list[int] = []

        def turn(seconds: float) -> None:
            assert seconds > 0.1, "SQLite asks for a lock that is taken every tenth of a second"
            in_between.append(len(other.labels(map(str, numbers), "ethereum")))
            assert other.write(rows(range(1))).rows == 1

        monkeypatch.setattr(store_labels.time, "sleep", turn)
        labels = [Label(str(number), "name", "source", "2024-01-01", None) for number in numbers]
        assert store.put_labels(labels).changed == 10
        assert store.put_labels(labels[:1], withdrawn=labels).withdrawn == 10
        assert in_between == [4, 8, 6, 2]


def test_who_decides_on_what_another_has_decided_since_is_told(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(1)))
        key = store.alerts()[0].unique_key
        store.set_status(key, "confirmed", note="drained", by="ann", seen=("open", ""), now=1_700_000_000)
        with pytest.raises(StoreError, match="ann set this alert to confirmed at 2023-11-14 22:13:20"):
            store.set_status(key, "dismissed", note="", by="bob", seen=("open", ""))
        assert store.alerts()[0].status == "confirmed" and len(store.history(key)) == 1
        store.set_status(key, "dismissed", note="", by="bob", seen=("confirmed", "drained"))
        assert store.alerts()[0].status == "dismissed"


def test_status_changes_are_checked(path: Path) -> None:
    with open_store(path) as store:
        store.write(rows(range(1)))
        with pytest.raises(StoreError, match="unknown status 'gone'"):
            store.set_status("ethereum:0x", "gone", note="", by="ada")
        with pytest.raises(StoreError, match="no alert 'ethereum:0x'"):
            store.set_status("ethereum:0x", "open", note="", by="ada")


def test_sizes_before_a_block_are_the_last_of_one_chain_and_source_in_order(path: Path) -> None:
    node = "geth callTracer"
    with open_store(path) as store:
        store.write((make_score(n, calls=n + 1), None, None) for n in range(10))
        store.write((make_score(n, chain="base", calls=77), None, None) for n in range(3))
        store.write((make_score(n, source="receipt", calls=88), None, None) for n in range(20, 29))
        assert store.sizes_before("ethereum", node, block=103, most=4) == [6, 7, 8, 9], "103 has the tenth"
        assert store.sizes_before("ethereum", node, block=120, most=4) == [7, 8, 9, 10], (
            "whatever came between"
        )
        assert store.sizes_before("ethereum", node, block=102, most=3) == [4, 5, 6]
        store.put_blocks([ScoredBlock("ethereum", 101, "0xb", (make_score(4).tx_hash,))])
        store.orphan_blocks("ethereum", ["0xb"])
        assert store.sizes_before("ethereum", node, block=102, most=3) == [3, 4, 6]
        assert store.sizes_before("ethereum", "trace_block", block=110, most=3) == []


def test_the_mix_of_a_score_comes_back(path: Path) -> None:
    with open_store(path) as store:
        store.write([(make_score(1, mix=(990, 8, 2)), None, None), (make_score(2), None, None)])
        assert [each.mix for each in store.iter_scores()] == [(990, 8, 2), ()]


def test_last_values_are_of_one_chain_and_calibration_in_time_order(path: Path) -> None:
    later = START + 9 * 60
    with open_store(path) as store:
        store.write(rows(range(10)))
        store.write(rows(range(20, 22), chain="base", time=later + 600))
        store.write(rows(range(10), calibration="c2", value=99.0, time=START))
        store.write([(make_score(30, time=None), None, None)])
        found = store.last_values("ethereum", "c1", 180)
        assert [each[2:] for each in found] == [
            (f"0x{n:040x}", make_score(n).target, START + n * 60, float(n)) for n in (6, 7, 8, 9)
        ]
        assert found[0][:2] == (make_score(6).tx_hash, make_score(6).block_number)
        last = (f"0x{9:040x}", make_score(9).target, later, 9.0)
        assert [each[2:] for each in store.last_values("ethereum", "c1", 0)] == [last]
        assert store.last_values("optimism", "c1", 180) == []
        store.put_blocks([ScoredBlock("ethereum", 103, "0xb", (make_score(9).tx_hash,))])
        store.orphan_blocks("ethereum", ["0xb"])
        assert [number for *_, number in store.last_values("ethereum", "c1", 60)] == [7.0, 8.0]


def test_values_before_a_block_are_of_one_calibration_shown_or_not(path: Path) -> None:
    with open_store(path) as store:
        store.write((make_score(n, tx_index=None if n == 4 else n % 3), None, None) for n in range(10))
        store.write((make_score(n, calibration="c2"), None, None) for n in range(3, 5))
        found = store.values_before("ethereum", "c1", block=103, since=START + 60)
        assert [each.value for each in found] == [1.0, 2.0, 4.0, 3.0, 5.0, 6.0, 7.0, 8.0]
        found = store.values_before("ethereum", "c2", block=103, since=START)
        assert [each.value for each in found] == [3.0, 4.0]


def test_runs_are_found_by_the_calibration_that_they_judged_by(path: Path) -> None:
    first = Run("r1", 5, 9, ("a.parquet",), {}, "m1", ("c1",), 0.05, "archive")
    with open_store(path) as store:
        store.record_run(first)
        for number in range(30):
            later = replace(first, id=f"later{number}", started=6 + number, calibrations=("c2", "c11"))
            store.record_run(later)
        assert store.runs(limit=1, calibration="c1") == [first] and store.runs(calibration="c") == []
        assert store.runs(limit=1, calibration="c11") == store.runs(limit=1) == [later]


def test_the_latest_run_is_the_latest_whatever_the_clock_said(path: Path) -> None:
    year = 365 * 24 * HOUR
    ahead = Run(
        "ahead", START + year, START + year, ("ethereum",), {}, "m1", ("c1",), 0.01, "blockscan watch"
    )
    watch = replace(ahead, id="watch", started=START, alarm_level=0.001)
    score = replace(watch, id="score", started=START + 1)
    with open_store(path) as store:
        for run in (score, ahead, watch, replace(ahead, finished=START + year + 9)):
            store.record_run(run)
        assert [run.id for run in store.runs()] == ["watch", "ahead", "score"], "who goes on keeps his place"
        assert store.summary().alarm_level == 0.001
        store.record_run(replace(score, started=START + 2))
        assert [run.id for run in store.runs()] == ["score", "watch", "ahead"], "who begins again does not"


def test_runs_of_an_older_store_keep_their_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = next(i for i, each in enumerate(store_db.MIGRATIONS) if "runs ADD COLUMN number" in each[0])
    with monkeypatch.context() as older:
        older.setattr(store_db, "MIGRATIONS", store_db.MIGRATIONS[:at])
        with open_store(path) as store:
            for name, started in (("b", 5), ("c", 9), ("a", 5), ("d", 2)):
                row = (name, started, None, "[]", "{}", "m1", "[]", None, "archive", None)
                store._db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    with open_store(path) as store:
        assert [run.id for run in store.runs()] == ["c", "a", "b", "d"]
        store.record_run(replace(store.runs()[0], id="e", started=1))
        assert store.runs(limit=1)[0].id == "e"


def test_the_beginning_of_a_hash_finds_it_in_either_case_and_base58_only_as_it_stands(
    path: Path,
) -> None:
    stored = ["0xabcdef0101", "0xABCDEF0102", "0XABCDEF0103", "0xabcdee01", "AbCdEf01"]
    with open_store(path) as store:
        store.write((make_score(1, tx_hash=each), None, None) for each in stored)
        for given in ("0xabcdef01", "0xABCDEF01", "0XABCDEF01"):
            assert store.starting_with(given) == sorted(stored[:3])
        assert store.starting_with("0xabcdef0102") == [stored[1]]


def test_what_an_index_finds_is_counted_while_a_writer_writes_and_when_it_closes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_db, "_COUNT_AFTER", 40)

    def counted() -> int:
        """Scores by the last count."""
        with closing(sqlite3.connect(path)) as db:
            sql = "SELECT MAX(CAST(stat AS INTEGER)) FROM sqlite_stat1 WHERE tbl = 'scores'"
            return int(db.execute(sql).fetchone()[0] or 0)

    with open_store(path) as store:
        store.write(rows(range(30)))
        assert counted() == 30
        store.write(rows(range(30, 40)))
        assert counted() == 30
    assert counted() == 40
    with open_store(path) as store, open_store(path) as other:
        store.write(rows(range(40, 45)))
        with other._db.transaction():
            store.close()  # at once, although the other one writes
    assert counted() == 40
