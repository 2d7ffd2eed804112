"""Following the head: every block scored once, whatever restarts, dead endpoints and reorganisations do."""

import json
import logging
import re
import runpy
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blockscan.archive import Archive
from blockscan.chains.pool import Pool, read_endpoints
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.solana_rpc import SolanaNode
from blockscan.chains.transport import Endpoint
from blockscan.detect.accounts import CARRIED_SECONDS, Recent, account_of
from blockscan.detect.books import NOTHING, Books
from blockscan.detect.dealings import dealing_in
from blockscan.detect.history import history_of
from blockscan.detect.levels import Traffic
from blockscan.detect.mix import Mix
from blockscan.errors import ChainError, ConfigError
from blockscan.findings import TxScore
from blockscan.store import ScoreStore, Search, open_store
from blockscan.transaction import Transaction
from pipelines import watch as step
from pipelines.before import Earlier
from pipelines.block_writer import BlockWriter
from pipelines.head import LOOKS
from pipelines.ingest import open_for, repair_node
from pipelines.score import Scored
from pipelines.simulation.solana.server import serve as serve_solana
from pipelines.watch import Finality, Watcher

HERE = Path(__file__).resolve().parents[1] / "chains"
HELP = runpy.run_path(str(HERE / "fault_server.py"))
ANVIL = runpy.run_path(str(HERE / "anvil_node.py"))
Chain, Fault, serve, KEY, Refuse = (HELP[name] for name in ("Chain", "Fault", "serve", "KEY", "Refuse"))
DETECTOR: Any = SimpleNamespace(
    fingerprint="m",
    calibrated_as="c",
    history=history_of([]),
    calibration=SimpleNamespace(
        alarm_level=0.01,
        traffic=Traffic((2, 7)),
        recent=lambda: Recent(0.0),
        values={"callTracer+logs": ()},
        books=NOTHING,
    ),
)


def much_later() -> float:
    """A clock for which no block is young: none is asked for again."""
    return time.time() + 3600


def alarming(tx_hash: str) -> bool:
    return tx_hash[-1] in "01234567"


def judge(transactions: Sequence[Transaction], detector: Any, *, before: Any) -> Iterator[Scored]:
    """Stands in for the model: half of all transactions are alarms."""
    for each in transactions:
        score = TxScore(
            each.chain, each.hash, each.block_number, each.index, each.time, each.sender, each.root.target,
            1.0, 0.001 if alarming(each.hash) else 0.5, "a reason", (), 1, 1, 1, each.source.value,
            each.status.value, "m", "c",
        )  # fmt: skip
        yield Scored(score, "high" if alarming(each.hash) else None, None, {}, {}, {})


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockscan.chains.pool.PAUSE", 0.005)
    monkeypatch.setattr("blockscan.archive_parts.sync", lambda path: None)
    monkeypatch.setattr(step, "judge_all", judge)


@pytest.fixture
def server() -> Iterator[Any]:
    with serve(Chain(blocks=10, now=True)) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ScoreStore]:
    with open_store(tmp_path / "scores.sqlite") as opened:
        yield opened


def watcher(server: Any, tmp_path: Path, store: ScoreStore, finality: str = "latest", **more: Any) -> Watcher:
    """A process of its own as far as what it knows goes: everything else is on disk."""
    node = EthereumNode(Endpoint(server.url, timeout=5, attempts=2, pause=0.001))
    writer = BlockWriter(open_for(node, tmp_path / "archive"), node)
    return Watcher(writer, DETECTOR, store, Finality.read(finality), **more)


def on_chain(chain: Any, first: int = 1) -> list[str]:
    return sorted(tx["hash"] for entry in chain.entries[first:] for tx in entry["block"]["transactions"])


def live(store: ScoreStore) -> list[str]:
    return sorted(score.tx_hash for score in store.iter_scores())


def alerts(store: ScoreStore, *status: str) -> list[str]:
    return sorted(alert.score.tx_hash for alert in store.alerts(Search(status=status), limit=1000))


def test_blocks_are_scored_once_as_they_come_and_over_restarts(
    server: Any, tmp_path: Path, store: ScoreStore
) -> None:
    watching = watcher(server, tmp_path, store)
    assert watching.start(1) == 1 and watching.step() == 10
    for _ in range(3):
        server.chain.grow(1)
        watching.step()
        assert live(store) == on_chain(server.chain)
    server.chain.grow(4)
    again = watcher(server, tmp_path, store)
    assert again.start(None) == 13 and again.step() == 17
    assert again.blocks == 4 and live(store) == on_chain(server.chain)
    assert alerts(store, "open") == [each for each in on_chain(server.chain) if alarming(each)]
    assert sorted(Archive(tmp_path / "archive").tx_hashes()) == on_chain(server.chain)
    assert store.summary().alarm_level == 0.01 and store.summary().orphaned == 0
    assert {run.calibrated_until for run in store.runs()} == {7}


def test_an_empty_archive_begins_at_the_newest_block(server: Any, tmp_path: Path, store: ScoreStore) -> None:
    watching = watcher(server, tmp_path, store)
    assert watching.start(None) == 9
    watching.step()
    assert live(store) == on_chain(server.chain, 9)


def test_a_node_that_knows_no_block_yet_is_waited_for(tmp_path: Path, store: ScoreStore) -> None:
    with serve(Chain(blocks=1, now=True)) as server:
        watching = watcher(server, tmp_path, store)
        with pytest.raises(ChainError, match="--start 0 begins there"):
            watching.start(None)
        server.chain.grow(5)
        assert watching.start(None) == 5
    with serve(Chain(blocks=1, now=True)) as server:
        assert watcher(server, tmp_path / "other", store).start(0) == 0


@pytest.mark.parametrize(("finality", "head"), [("latest", 9), ("safe", 7), ("finalized", 5), ("3", 6)])
def test_the_chosen_finality_is_kept(
    server: Any, tmp_path: Path, store: ScoreStore, finality: str, head: int
) -> None:
    watching = watcher(server, tmp_path, store, finality)
    watching.start(1)
    assert watching.step() == head + 1
    server.chain.grow(2)
    assert watching.step() == head + 3
    with pytest.raises(ConfigError, match="unknown finality"):
        Finality.read("soon")


@pytest.mark.parametrize("length", [1, 3, 6])
@pytest.mark.parametrize("restart", [False, True])
def test_what_leaves_the_chain_is_orphaned_and_nothing_is_deleted(
    server: Any, tmp_path: Path, store: ScoreStore, length: int, restart: bool
) -> None:
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    before = live(store)
    gone = on_chain(server.chain, 7)
    server.chain.reorganise(3, length)
    if restart:
        watching = watcher(server, tmp_path, store)
        watching.start(None)
    watching.step()
    server.chain.grow(3)
    watching.step()
    assert live(store) == on_chain(server.chain)
    assert alerts(store, "orphaned") == [each for each in gone if alarming(each)]
    assert alerts(store, "open") == [each for each in on_chain(server.chain) if alarming(each)]
    assert store.orphans("ethereum", before) == set(gone) and store.summary().orphaned == len(gone)
    assert store.summary().scored == len(on_chain(server.chain))
    for tx_hash in alerts(store, "orphaned"):
        (entry,) = store.history(f"ethereum:{tx_hash}")
        assert entry.what == "orphaned" and "left the chain; was open" in entry.note
    archive = Archive(tmp_path / "archive")
    assert sorted(archive.tx_hashes()) == on_chain(server.chain)
    assert archive.coverage().orphaned == 3 and store.verify() == []
    rows = sum(len(json_rows(path)) for path in archive.part_paths())
    assert rows == len(server.chain.entries) - 1 + 3  # the orphaned rows are still on disk


def json_rows(path: Path) -> list[Any]:
    import pyarrow.parquet as pq

    rows: list[Any] = pq.read_table(path, columns=["number"]).to_pylist()
    return rows


def test_what_is_included_again_comes_back_as_a_person_left_it(
    server: Any, tmp_path: Path, store: ScoreStore
) -> None:
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    kept = [tx["hash"] for tx in server.chain.entries[8]["block"]["transactions"]]
    chosen = next(each for each in kept if alarming(each))
    key = f"ethereum:{chosen}"
    store.set_status(key, "confirmed", note="seen", by="ana")
    server.chain.reorganise(2, 1)
    watching.step()
    server.chain.grow(2)
    watching.step()
    alert = store.alert(chosen)
    assert alert is not None and alert.status == "orphaned" and alert.note == "seen"
    server.chain.reorganise(3, 4)
    original = server.chain.entries[8:]
    assert original
    server.chain.grow(1, tuple({"hash": each, **plain(server.chain, each)} for each in kept))
    watching.step()
    alert = store.alert(chosen)
    assert alert is not None and alert.status == "confirmed"
    assert [each.what for each in store.history(key)] == ["confirmed", "orphaned", "confirmed"]
    assert set(kept) <= set(live(store)) and store.orphans("ethereum", kept) == set()


def plain(chain: Any, tx_hash: str) -> dict[str, Any]:
    A, B = HELP["A"], HELP["B"]
    return {"from": A, "to": B, "value": "0x8", "gas": "0xffff", "type": "0x2", "input": "0x" + tx_hash[2:]}


def test_a_run_killed_before_scoring_is_made_good_at_the_next_start(
    server: Any, tmp_path: Path, store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = watcher(server, tmp_path, store)
    watching.start(4)
    with monkeypatch.context() as patched:
        patched.setattr(step, "judge_all", lambda transactions, detector, before: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watching.step()
    assert live(store) == [] and len(list(Archive(tmp_path / "archive").tx_hashes())) == 18
    again = watcher(server, tmp_path, store)
    assert again.start(None) == 10 and live(store) == on_chain(server.chain, 4)
    other = watcher(server, tmp_path, store)
    other.start(None)
    assert other.blocks == 0


def depending(transactions: Sequence[Transaction], detector: Any, *, before: Any) -> Iterator[Scored]:
    """Values and mixes that depend on all that was before, as those of the model do."""
    for one, scored in zip(transactions, judge(transactions, detector, before=before), strict=True):
        account = account_of(one.chain, one.sender), one.time
        mix = before.mixes.add(one.chain, one.source.value, 0.0)
        value = one.index + before.recent.carried(*account)(1.0, 0.0)
        before.recent.add(*account, value)
        yield replace(scored, score=replace(scored.score, value=value, mix=mix))


@pytest.mark.parametrize("killed_at", [1, 3, 4])
def test_a_run_killed_between_scores_and_block_scores_as_one_that_was_not(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Blocks whose own values are stored already are not carried over to themselves."""
    monkeypatch.setattr(step, "judge_all", depending)
    monkeypatch.setattr(step, "TOGETHER", 1)
    monkeypatch.setattr(DETECTOR.calibration, "recent", lambda: Recent(0.9))
    found = []
    for name in ("whole", "killed"):
        with open_store(tmp_path / name) as store:
            watching = watcher(server, tmp_path / f"{name}-archive", store)
            watching.start(1)
            if name == "killed":
                put, calls = store.put_blocks, iter(range(1, 100))

                def dying(*given: Any, put: Any = put, calls: Any = calls, **more: Any) -> Any:
                    if next(calls) == killed_at:
                        raise SystemExit
                    return put(*given, **more)

                with monkeypatch.context() as patched, pytest.raises(SystemExit):
                    patched.setattr(store, "put_blocks", dying)
                    watching.step()
                watching = watcher(server, tmp_path / f"{name}-archive", store)
                watching.start(None)
            watching.step()
            found.append({score.tx_hash: (score.value, score.mix) for score in store.iter_scores()})
    assert found[0] == found[1] and len({value for value, _ in found[0].values()}) > 3


@pytest.mark.parametrize("together", [1, 400])
def test_what_was_repaired_is_scored_as_if_it_had_never_been_missed(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Blocks that do not follow one another: each is scored by what was before it alone."""
    monkeypatch.setattr(step, "judge_all", depending)
    monkeypatch.setattr(step, "TOGETHER", together)
    monkeypatch.setattr(DETECTOR.calibration, "recent", lambda: Recent(0.9))
    found = []
    for name in ("whole", "repaired"):
        missing = {hex(number) for number in (3, 4, 6, 9) if name == "repaired"}
        server.chain.change = lambda method, params, result, missing=missing: (
            [] if method == "debug_traceBlockByNumber" and params[0] in missing else result
        )
        with open_store(tmp_path / name) as store:
            watching = watcher(server, tmp_path / f"{name}-archive", store, clock=much_later)
            watching.start(1)
            watching.step()
            del watching
            missing.clear()
            node = EthereumNode(Endpoint(server.url, timeout=5, attempts=2, pause=0.001))
            repair_node(node, tmp_path / f"{name}-archive" / "archive")
            watcher(server, tmp_path / f"{name}-archive", store).start(None)
            scores = [score for score in store.iter_scores() if score.block_number in (3, 4, 6, 9)]
            found.append({score.tx_hash: (score.value, score.mix) for score in scores})
    assert found[0] == found[1] and len({value for value, _ in found[0].values()}) > 3


@pytest.mark.parametrize("lost", ["a trace", "all traces", "the block"])
def test_a_block_that_was_repaired_is_scored_at_the_next_start(
    server: Any, tmp_path: Path, store: ScoreStore, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = server.chain.entries[5]["block"]["transactions"][1]["hash"]

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method == "debug_traceBlockByNumber" and params[0] == "0x5" and lost == "the block":
            return []
        if method.startswith("debug_trace") and params[0] in ("0x5", bomb) and lost == "a trace":
            raise Refuse(-32000, "execution timeout")
        if method.startswith(("debug", "trace")) and lost == "all traces" and len(params[0]) < 66:
            raise Refuse(-32000, "block not found")
        if method == "debug_traceTransaction" and lost == "all traces":
            raise Refuse(-32000, "transaction not found")
        return result

    watching = watcher(server, tmp_path, store, clock=much_later)
    server.chain.change = change
    watching.start(4)
    assert watching.step() == 10
    del watching
    whole = {"callTracer+logs complete"}
    assert known(store) != whole or len(live(store)) < 18
    server.chain.change = lambda method, params, result: result
    node = EthereumNode(Endpoint(server.url, timeout=5, attempts=2, pause=0.001))
    repair_node(node, tmp_path / "archive")
    again = watcher(server, tmp_path, store)
    again.start(None)
    assert known(store) == whole and live(store) == on_chain(server.chain, 4)
    assert again.blocks == (6 if lost == "all traces" else 1)
    once_more = watcher(server, tmp_path, store)
    monkeypatch.setattr("pipelines.repaired.parse", lambda raw: 1 / 0)  # the store alone tells
    once_more.start(None)
    assert once_more.blocks == 0


def test_a_slot_that_was_falsely_called_skipped_is_scored_once_it_is_repaired(
    tmp_path: Path, store: ScoreStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The skipped slot after it has its hash, and is no block that was scored."""
    caplog.set_level(logging.INFO)
    rest = {"blockTime": 9, "transactions": list[Any]()}
    chain = {
        slot: json.dumps(
            {"blockhash": f"h{slot}", "previousBlockhash": f"h{parent}", "parentSlot": parent, **rest}
        ).encode()
        for slot, parent in ((5, 4), (7, 5), (9, 7))
    }
    held = {slot: each for slot, each in chain.items() if slot != 7}
    with serve_solana(held) as url:

        def start() -> SolanaNode:
            node = SolanaNode(read_endpoints([url]))
            writer = BlockWriter(open_for(node, tmp_path / "archive"), node)
            watching = Watcher(writer, DETECTOR, store, Finality(), clock=much_later)
            watching.start(5)
            while watching.step() < 10:
                pass
            return node

        for _ in range(2):
            start()
        held |= chain
        repair_node(start(), tmp_path / "archive")
        caplog.clear()
        start()
    assert "block 7 to 8: 0 transactions scored" in caplog.text


def test_what_a_repair_finds_to_have_left_the_chain_is_orphaned_at_the_next_start(
    server: Any, tmp_path: Path, store: ScoreStore
) -> None:
    watching = watcher(server, tmp_path, store, clock=much_later)
    bomb = server.chain.entries[7]["block"]["transactions"][1]["hash"]

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method.startswith("debug_trace") and params[0] in ("0x7", bomb):
            raise Refuse(-32000, "execution timeout")
        return result

    server.chain.change = change
    watching.start(1)
    assert watching.step() == 10
    del watching
    gone = on_chain(server.chain, 7)
    server.chain.change = lambda method, params, result: result
    server.chain.reorganise(3, 5)
    repair_node(EthereumNode(Endpoint(server.url, timeout=5, attempts=2, pause=0.001)), tmp_path / "archive")
    for _ in range(2):
        again = watcher(server, tmp_path, store, clock=much_later)
        again.start(None)
        again.step()
        assert live(store) == on_chain(server.chain) and store.orphans("ethereum", gone) == {*gone}
        assert alerts(store, "open") == [each for each in on_chain(server.chain) if alarming(each)]
    for tx_hash in alerts(store, "orphaned"):
        assert [each.what for each in store.history(f"ethereum:{tx_hash}")] == ["orphaned"]


def test_a_block_that_left_the_chain_and_came_back_is_not_orphaned_at_the_next_start(
    server: Any, tmp_path: Path, store: ScoreStore
) -> None:
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    first = server.chain.entries[8:]
    server.chain.reorganise(2, 3)
    watching.step()
    server.chain.entries[8:] = first
    server.chain.salt += 1
    server.chain.grow(3)
    watching.step()
    for _ in range(2):
        assert live(store) == on_chain(server.chain)
        watcher(server, tmp_path, store).start(None)


def test_blocks_that_are_scored_late_are_read_once_and_none_that_came_after_them(
    server: Any, tmp_path: Path, store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many were repaired: each lies in a part of its own."""
    monkeypatch.setattr(step, "TOGETHER", 1)
    monkeypatch.setattr(DETECTOR, "history", replace(history_of([]), until={"ethereum": 0}))
    watching = watcher(server, tmp_path, store, clock=much_later)
    missing = {hex(number) for number in (2, 3, 4, 7)}
    server.chain.change = lambda method, params, result: (
        [] if method == "debug_traceBlockByNumber" and params[0] in missing else result
    )
    watching.start(1)
    watching.step()
    del watching
    server.chain.change = lambda method, params, result: result
    repair_node(EthereumNode(Endpoint(server.url, timeout=5, attempts=2, pause=0.001)), tmp_path / "archive")
    listed: list[tuple[int, int]] = []
    looked_up = Archive.block_hashes

    def listening(archive: Archive, first: int, last: int) -> dict[int, tuple[str, str]]:
        listed.append((first, last))
        return looked_up(archive, first, last)

    monkeypatch.setattr(Archive, "block_hashes", listening)
    again = watcher(server, tmp_path, store, clock=much_later)
    again.start(None)
    assert again.blocks == 4 and live(store) == on_chain(server.chain)
    before_2, before_7, before_the_head = [(1, 1)], [(1, 6)], [(1, 9)]
    goes_on = [(2, 6)]  # the books, from where they had come to
    assert listed == [(9, 9), (1, 9), *2 * before_2, *goes_on, *before_7, *2 * before_the_head]
    with open_store(tmp_path / "new.sqlite") as new:
        listed.clear()
        watcher(server, tmp_path, new, clock=much_later).start(None)
        assert (0, 9) not in listed


def known(store: ScoreStore) -> set[str]:
    return {f"{score.source} {score.trace_status}" for score in store.iter_scores()}


def test_what_accounts_did_is_known_from_block_to_block(
    server: Any, tmp_path: Path, store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def listening(transactions: Sequence[Transaction], detector: Any, *, before: Any) -> Iterator[Scored]:
        given.append(before)
        return judge(transactions, detector, before=before)

    known = Recent(0.0)
    monkeypatch.setattr(step, "judge_all", listening)
    monkeypatch.setattr(DETECTOR.calibration, "recent", lambda: known)
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    server.chain.grow(1)
    watching.step()
    assert len(given) > 1 and all(each.recent is known and each is given[0] for each in given)


def test_what_left_the_chain_is_not_remembered(
    server: Any, tmp_path: Path, store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that saw the reorganisation knows what one that begins after it does."""

    def remembering(transactions: Sequence[Transaction], detector: Any, *, before: Any) -> Iterator[Scored]:
        for one, scored in zip(transactions, judge(transactions, detector, before=before), strict=True):
            before.recent.add(account_of(one.chain, one.sender), one.time, scored.score.value)
            before.mixes.add(one.chain, one.source.value, 0.0)
            before.books.add(dealing_in(one, detector.history))
            yield scored

    def known(watching: Watcher) -> tuple[dict[str, list[tuple[int, float]]], Mix]:
        past, mixes = watching._before.recent._known, watching._before.mixes
        values = {who: [(x.time, x.value) for x in each] for who, each in past.items()}
        return values, mixes.add("ethereum", "callTracer+logs", 0.0)

    def booked(watching: Watcher) -> dict[int, int]:
        since = watching._before.books._since.values()
        return {key: total for own in since for key, total in own.items() if total}

    monkeypatch.setattr(step, "judge_all", remembering)
    monkeypatch.setattr(Books, "known", lambda *_: True)
    monkeypatch.setattr(DETECTOR, "history", replace(history_of([]), until={"ethereum": 0}))
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    first = booked(watching)
    server.chain.reorganise(3, 4)
    watching.step()
    again = watcher(server, tmp_path, store)
    again.start(None)
    found = known(again)
    assert found == known(watching) and any(found[0].values()) and found[1][0] > 2
    assert booked(again) == booked(watching) != first


def test_a_run_knows_what_accounts_did_in_the_last_minutes_of_the_one_before(
    server: Any, tmp_path: Path, store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DETECTOR.calibration, "recent", lambda: Recent(0.5))
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    last = max(score.time or 0 for score in store.iter_scores())
    senders = {score.sender for score in store.iter_scores() if score.time == last}
    accounts = [account_of("ethereum", sender) for sender in senders]
    given: list[Earlier] = []

    def listening(transactions: Sequence[Transaction], detector: Any, *, before: Any) -> Iterator[Scored]:
        given.append(before)
        return judge(transactions, detector, before=before)

    monkeypatch.setattr(step, "judge_all", listening)
    again = watcher(server, tmp_path, store)
    again.start(None)
    server.chain.grow(1)
    again.step()
    assert senders and all(given[0].recent.carried(each, last + 1)(9.0, 0.0) == 0.5 for each in accounts)
    assert given[0].recent.carried(accounts[0], last + CARRIED_SECONDS + 1)(9.0, 0.0) == 0.0
    dealings = [each for account in accounts for each in given[0].recent.dealings(account, last)]
    assert dealings and all(each.own & senders for each in dealings)
    assert any(each.transfers for each in dealings), "as archived"


def test_a_lagging_node_is_no_reorganisation(server: Any, tmp_path: Path, store: ScoreStore) -> None:
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    gone = server.chain.entries[8:]
    del server.chain.entries[8:]
    assert watching.step() == 10
    server.chain.entries += gone
    server.chain.grow(1)
    assert watching.step() == 11 and store.summary().orphaned == 0 and live(store) == on_chain(server.chain)


def test_a_lost_endpoint_is_waited_for_or_replaced(
    server: Any, tmp_path: Path, store: ScoreStore, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(step, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr("blockscan.chains.limits.FIRST_COOLDOWN", 0.01)
    watching = watcher(server, tmp_path, store)
    server.fault = lambda method, count: Fault(503) if 12 < count < 60 else None
    step.watch(watching, first=1, until=9, poll=0.01)
    assert live(store) == on_chain(server.chain)
    assert "node: http://127.0.0.1" in caplog.text and "HTTP status 503" in caplog.text
    server.chain.grow(3)
    with serve(server.chain) as second:
        endpoints = [Endpoint(each.url, timeout=5, attempts=1, pause=0.001) for each in (server, second)]
        node = EthereumNode(Pool(endpoints))
        server.fault = lambda method, count: Fault(reset=True)
        writer = BlockWriter(open_for(node, tmp_path / "archive"), node)
        step.watch(Watcher(writer, DETECTOR, store, Finality()), first=None, until=12, poll=0.01)
    assert live(store) == on_chain(server.chain)
    assert KEY not in caplog.text
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_dashboard_shows_orphaned_alerts_and_no_key(
    server: Any, tmp_path: Path, store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    server.chain.reorganise(4, 5)
    watching.step()
    gone = alerts(store, "orphaned")
    assert gone
    monkeypatch.setenv("BLOCKSCAN_STORE", str(tmp_path / "scores.sqlite"))
    pages = []
    for view, query in (
        ("overview", {}),
        ("alerts", {"status": ["orphaned"]}),
        ("transaction", {"tx": gone[0]}),
    ):
        st.cache_data.clear()
        app = AppTest.from_file(str(HERE.parents[1] / "dashboard" / "app.py"), default_timeout=60)
        app.switch_page(f"views/{view}.py")
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        pages.append("\n".join(str(getattr(node, "proto", "")) for node in app._tree))
        pages += [str(frame.value) for frame in app.dataframe]
    assert "orphaned" in "\n".join(pages)
    assert KEY not in "\n".join(pages)


def test_the_log_says_how_long_it_takes_from_block_to_alert(
    server: Any, tmp_path: Path, store: ScoreStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watching = watcher(server, tmp_path, store)
    watching.start(None)
    watching.step()
    assert "no latency measured" in caplog.text  # what was there before is no measure
    for _ in range(3):
        server.chain.grow(1)
        watching.step()
    assert len(watching.latencies.since_block) == 3 and max(watching.latencies.since_block) < 30
    assert "from block to alert" in caplog.text and "p99" in caplog.text and "over 3 blocks" in caplog.text
    shown = [
        record.getMessage() for record in caplog.records if record.getMessage().startswith("alert: high")
    ]
    assert len(shown) == len(alerts(store, "open"))
    assert all(re.search(r"0x[0-9a-f]{64}, p 0\.001: a reason", line) for line in shown)


def test_how_far_behind_the_head_a_watch_is_and_a_start_that_is_not_used_are_said(
    server: Any, tmp_path: Path, store: ScoreStore, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(step, "TOGETHER", 6)
    watching = watcher(server, tmp_path, store)
    assert watching.start(2) == 2
    watching.step()
    assert "block 2 to 3: 6 transactions scored; 6 blocks behind the head; no latency" in caplog.text
    assert "block 8 to 9: 6 transactions scored; no latency" in caplog.text
    watcher(server, tmp_path, store).start(2)
    assert "is not used" not in caplog.text, "the run goes on that began there"
    for first in (1, 480):
        assert watcher(server, tmp_path, store).start(first) == 10
        assert f"--start {first} is not used: the archive goes on at block 10" in caplog.text


def test_a_renewed_calibration_is_said_once_in_a_while(
    server: Any, tmp_path: Path, store: ScoreStore, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(step, "COMPACT_EVERY", 4)
    monkeypatch.setattr(step, "TOGETHER", 1)
    found = ""
    watching = watcher(server, tmp_path, store, renewed=lambda: found)
    watching.start(1)
    watching.step()
    assert "to judge by it" not in caplog.text
    found = "model/calibration-2 is another calibration now"
    server.chain.grow(8)
    watching.step()
    assert caplog.text.count(f"{found}; stop watch and start it again to judge by it") == 2


def test_when_blocks_came_is_remembered_of_those_to_come_alone(
    server: Any, tmp_path: Path, store: ScoreStore
) -> None:
    watching = watcher(server, tmp_path, store)
    watching.start(None)
    watching.step()
    server.chain.change = lambda method, params, result: (
        hex(5_000_000) if method == "eth_blockNumber" else result
    )
    with pytest.raises(ChainError, match="has no block 10"):
        watching.step()
    assert len(watching._seen) <= step.AHEAD
    server.chain.change = lambda method, params, result: result
    server.chain.grow(2)
    watching.step()
    watching._seen[3] = 0.0  # one that was quarantined
    watching.step()
    assert 3 not in watching._seen


def test_a_quarantined_block_does_not_stop_the_watch(server: Any, tmp_path: Path, store: ScoreStore) -> None:
    watching = watcher(server, tmp_path, store, clock=much_later)
    server.chain.change = lambda method, params, result: (
        [] if method == "debug_traceBlockByNumber" and params[0] == "0x5" else result
    )
    watching.start(1)
    assert watching.step() == 10
    assert [number for number, _ in Archive(tmp_path / "archive").coverage().quarantined] == [5]
    assert len(live(store)) == len(on_chain(server.chain)) - 3


def test_blocks_of_which_nothing_can_be_judged_are_said(
    server: Any, tmp_path: Path, store: ScoreStore, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def without_p(transactions: Sequence[Transaction], detector: Any, *, before: Any) -> Iterator[Scored]:
        for scored in judge(transactions, detector, before=before):
            known = scored.score.source in detector.calibration.values
            p_value = scored.score.p_value if known else None
            yield replace(scored, score=replace(scored.score, p_value=p_value))

    monkeypatch.setattr(step, "judge_all", without_p)
    watching = watcher(server, tmp_path, store)
    watching.start(8)
    watching.step()
    assert watching.counts["without_p"] == 0 and "p-value" not in caplog.text
    server.chain.absent = {"debug_traceBlockByNumber", "debug_traceTransaction", "trace_block"}
    watching = watcher(server, tmp_path, store)
    server.chain.grow(2)
    watching.start(None)
    watching.step()
    assert watching.counts["without_p"] == 6 == store.runs()[0].counts["without_p"]
    (said,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert "transactions come as receipt, and the model is calibrated on callTracer+logs" in said
    for number in (10, 11):
        assert f"block {number}: no p-value for any of its 3 transactions" in caplog.text


LAGS: dict[str, tuple[tuple[str, ...], Any]] = {
    "receipts": (("eth_getBlockReceipts", "eth_getTransactionReceipt"), None),
    "traces": (("debug_traceBlockByNumber", "debug_traceTransaction", "trace_block"), "block not found"),
}


def lagging(chain: Any, name: str, number: int, times: int) -> list[str]:
    """One node of those behind the address lacks a block at first; what it was asked for."""
    methods, words = LAGS[name]
    hashes = [tx["hash"] for tx in chain.entries[number]["block"]["transactions"]]
    asked: list[str] = []

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getBlockByNumber" and params == [hex(number), True]:
            asked.append(method)
        if method in methods and params[0] in (hex(number), *hashes) and len(asked) <= times:
            if words:
                raise Refuse(-32000, words)
            return None
        return result

    chain.change = change
    return asked


def looks(watching: Watcher, most: int) -> int:
    """How many steps fail before one does not."""
    for failed in range(most):
        try:
            watching.step()
        except ChainError as error:
            assert "is asked for again" in str(error)
        else:
            return failed
    return most


@pytest.mark.parametrize("name", LAGS)
def test_a_young_block_that_a_node_does_not_have_yet_is_asked_for_again(
    server: Any, tmp_path: Path, store: ScoreStore, name: str
) -> None:
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    server.chain.grow(2)
    lagging(server.chain, name, 10, 3)
    assert 1 <= looks(watching, 5) <= 3 and live(store) == on_chain(server.chain)
    assert {score.source for score in store.iter_scores()} == {"callTracer+logs"}
    coverage = Archive(tmp_path / "archive").coverage()
    assert coverage.quarantined == coverage.degraded == ()


@pytest.mark.parametrize("name", LAGS)
def test_a_young_block_is_taken_as_it_is_after_some_looks_and_those_after_it_at_once(
    server: Any, tmp_path: Path, store: ScoreStore, name: str
) -> None:
    watching = watcher(server, tmp_path, store)
    watching.start(1)
    watching.step()
    server.chain.grow(2)
    lagging(server.chain, name, 10, 10**6)
    assert looks(watching, 20) == LOOKS and watching.step() == 12
    coverage = Archive(tmp_path / "archive").coverage()
    assert [number for number, _ in (*coverage.quarantined, *coverage.degraded)][:1] == [10]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "refused", [{"0x8"}, {"0x9"}, {"0x7", "0x8"}, {"0x8", "0x9"}, {"0x6", "0x8"}, {"0x1"}]
)
def test_a_reorganisation_is_followed_through_quarantined_blocks(
    server: Any, tmp_path: Path, store: ScoreStore, refused: set[str], restart: bool
) -> None:
    watching = watcher(server, tmp_path, store, clock=much_later)
    server.chain.change = lambda method, params, result: (
        [] if method == "debug_traceBlockByNumber" and params[0] in refused else result
    )
    watching.start(1)
    assert watching.step() == 10
    server.chain.change = lambda method, params, result: result
    server.chain.reorganise(3, 5)
    if restart:
        watching = watcher(server, tmp_path, store, clock=much_later)
        watching.start(None)
    watching.step()
    server.chain.grow(2)
    watching.step()
    left = [1] if refused == {"0x1"} else []  # of long before the fork: left to --repair
    missed = {tx["hash"] for number in left for tx in server.chain.entries[number]["block"]["transactions"]}
    assert live(store) == sorted(set(on_chain(server.chain)) - missed)
    coverage = Archive(tmp_path / "archive").coverage()
    assert coverage.gaps == () and [number for number, _ in coverage.quarantined] == left


def test_a_block_that_takes_the_place_of_another_and_is_quarantined_is_no_reorganisation_for_ever(
    server: Any, tmp_path: Path, store: ScoreStore
) -> None:
    watching = watcher(server, tmp_path, store, clock=much_later)
    watching.start(1)
    assert watching.step() == 10
    server.chain.reorganise(1, 1)
    server.chain.change = lambda method, params, result: (
        [] if method == "debug_traceBlockByNumber" and params[0] == "0x9" else result
    )
    for _ in range(3):
        assert watching.step() == 10
    archive = Archive(tmp_path / "archive")
    assert len(archive.part_paths()) == 2, "the new block was fetched once"
    missed = set(on_chain(server.chain, 9))
    server.chain.grow(1)
    assert watching.step() == 11
    assert [number for number, _ in archive.coverage().quarantined] == [9] and archive.coverage().gaps == ()
    assert live(store) == sorted(set(on_chain(server.chain)) - missed)


def test_a_reorganisation_of_quarantined_blocks_alone_is_no_error(
    server: Any, tmp_path: Path, store: ScoreStore
) -> None:
    watching = watcher(server, tmp_path, store, clock=much_later)
    server.chain.change = lambda method, params, result: (
        [] if method == "debug_traceBlockByNumber" else result
    )
    watching.start(1)
    assert watching.step() == 10
    server.chain.reorganise(3, 5)
    assert watching.step() == 12 and live(store) == []


@pytest.mark.parametrize("answer", [Refuse(-32000, "execution timeout"), Refuse(-32603, "took too long")])
def test_a_transaction_that_cannot_be_traced_is_scored_as_such_and_said(
    server: Any, tmp_path: Path, store: ScoreStore, caplog: pytest.LogCaptureFixture, answer: Exception
) -> None:
    bomb = server.chain.entries[5]["block"]["transactions"][0]["hash"]

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method.startswith("debug_trace") and params[0] in ("0x5", bomb):
            raise answer
        return result

    watching = watcher(server, tmp_path, store)
    server.chain.change = change
    watching.start(1)
    assert watching.step() == 10 and live(store) == on_chain(server.chain)
    assert [score.tx_hash for score in store.iter_scores() if score.trace_status == "truncated"] == [bomb]
    assert "block 5 is not known in full: 1 of 3 transactions could not be traced" in caplog.text
    assert KEY not in caplog.text


def test_small_parts_are_merged_and_a_later_reorganisation_still_finds_its_rows(
    server: Any, tmp_path: Path, store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blockscan.archive_compact.SHORTEST_RUN", 5)
    monkeypatch.setattr(step, "COMPACT_EVERY", 8)
    monkeypatch.setattr(step, "TOGETHER", 1)  # a part per block
    broken = {"0x4"}
    server.chain.change = lambda method, params, result: (
        [] if method == "debug_traceBlockByNumber" and params[0] in broken else result
    )
    watching = watcher(server, tmp_path, store, clock=much_later)
    watching.start(1)
    watching.step()
    archive = Archive(tmp_path / "archive")
    before = sorted(archive.tx_hashes())
    assert before == sorted(set(on_chain(server.chain)) - block4(server))
    names = {path.name for path in archive.part_paths()}
    assert any("000000000001-000000000009" in name for name in names) and len(names) > 8
    again = watcher(server, tmp_path, store, clock=much_later)
    again.start(None)
    archive = Archive(tmp_path / "archive")
    assert len(archive.part_paths()) == 1 and sorted(archive.tx_hashes()) == before == live(store)
    coverage = archive.coverage()
    assert coverage.blocks == ((1, 3), (5, 9)) and [number for number, _ in coverage.quarantined] == [4]
    server.chain.reorganise(4, 6)
    again.step()
    archive = Archive(tmp_path / "archive")
    assert sorted(archive.tx_hashes()) == live(store) == sorted(set(on_chain(server.chain)) - block4(server))
    assert archive.coverage().orphaned == 4 and len(list(archive.raw_blocks())) == 10
    assert watcher(server, tmp_path, store, clock=much_later).start(None) == 12


def block4(server: Any) -> set[str]:
    return {tx["hash"] for tx in server.chain.entries[4]["block"]["transactions"]}


def test_what_gets_old_is_forgotten_while_watching_and_not_scored_again(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve seconds a block and four minutes kept: twenty blocks, of those before only what is an alert."""
    monkeypatch.setattr("blockscan.store_prune.LAST", 2)
    monkeypatch.setattr("pipelines.prune.EVERY", 0.0)
    monkeypatch.setattr("pipelines.model_dir.load_detector", lambda model, device: DETECTOR)
    arguments = ["--model", tmp_path, "--store", tmp_path / "s.sqlite", "--out", tmp_path / "a"]
    arguments += ["--poll", "0.01", "--start", "1"]
    with serve(Chain(blocks=40)) as server, open_store(tmp_path / "s.sqlite") as store:
        arguments += ["--rpc", server.url]
        refused = cli("watch", *arguments, "--until", "39", "--keep", "3m")
        assert refused.exit_code == 1 and "scoring looks back at the last 4 minutes" in refused.stderr
        for last in (39, 49):
            assert cli("watch", *arguments, "--until", str(last), "--keep", "4m").exit_code == 0
            assert live(store) == on_chain(server.chain, last - 20)
            raised = [each for each in on_chain(server.chain) if alarming(each)]
            assert alerts(store) == raised and store.verify() == []
            assert store.first_block("ethereum") == last - 21
            server.chain.grow(10)
        assert store.runs()[0].counts["scored"] == 10 * len(block4(server))
        server.chain.reorganise(15, 16)
        assert cli("watch", *arguments, "--until", "60").exit_code == 0
        assert store.runs()[0].counts["scored"] == 16 * len(block4(server)), "and nothing of before"


def test_an_older_store_is_migrated_with_its_scores(tmp_path: Path) -> None:
    from blockscan.store_schema import MIGRATIONS

    with sqlite3.connect(tmp_path / "old.sqlite") as old:
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute("INSERT INTO meta VALUES ('schema_version', '1')")
    old.close()
    with open_store(tmp_path / "old.sqlite") as store:
        assert store.orphans("ethereum", ["0x1"]) == set() and store.summary().orphaned == 0


@pytest.mark.node
@pytest.mark.skipif(ANVIL["BINARY"] is None, reason=ANVIL["WHY"])
def test_a_live_chain_is_followed_through_a_reorganisation(
    cli: Any, road: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real model, the real disk
    with ANVIL["start"]() as anvil:
        for count in (2, 3, 1):
            anvil.pay(count)
        arguments = ["--model", road.model, "--store", tmp_path / "s.sqlite", "--out", tmp_path / "a"]
        arguments += ["--rpc", anvil.url, "--poll", "0.05"]
        assert cli("watch", *arguments, "--start", "1", "--until", "3").exit_code == 0
        old = [anvil.call("eth_getBlockByNumber", hex(number), False) for number in (2, 3)]
        anvil.call("anvil_reorg", 2, [])
        for count in (1, 2):
            anvil.pay(count)
        done = cli("watch", *arguments, "--until", "5")
        assert done.exit_code == 0, done.output
        chain = [anvil.call("eth_getBlockByNumber", hex(number), False) for number in range(1, 6)]
    gone = {tx for block in old for tx in block["transactions"]}
    here = sorted(tx for block in chain for tx in block["transactions"])
    with open_store(tmp_path / "s.sqlite", read_only=True) as store:
        assert sorted(score.tx_hash for score in store.iter_scores()) == here
        assert store.orphans("evm-31337", sorted(gone)) == gone - set(here)
    assert sorted(Archive(tmp_path / "a").tx_hashes()) == here
    assert json.loads(cli("coverage", tmp_path / "a", "--json").stdout)["orphaned"] == 2
