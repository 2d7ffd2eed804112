"""What a range that is scored knows of the minutes before it: from the store, by chain, and no more of it."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blockscan.chains.entry_points import ENTRY_POINTS
from blockscan.detect.accounts import SECONDS, Recent, account_of
from blockscan.detect.books import NOTHING, Books
from blockscan.detect.flow import ETHER
from blockscan.detect.history import History, history_of, sent_in
from blockscan.detect.mix import Mixes
from blockscan.findings import TxScore
from blockscan.store import open_store
from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction
from pipelines import before as step
from pipelines.before import Earlier, catch_up, remember_before
from pipelines.ranges import BlockRange

EVE = "0x" + "e" * 40
DETECTOR: Any = SimpleNamespace(
    calibrated_as="c",
    history=history_of([]),
    calibration=SimpleNamespace(values={"callTracer": ()}, books=NOTHING),
)


def transaction(block: int, chain: str = "ethereum") -> Transaction:
    root = Call(CallKind.CALL, EVE, "0xb", b"", b"", 7, None, None, ())
    name, time = f"0x{chain}{block}", 10 * block
    plain = TraceSource.CALL_TRACER
    return Transaction(chain, name, block, None, 0, time, EVE, True, 1, root, plain, LogOrder.EXACT)


def score(one: Transaction, calibration: str = "c") -> TxScore:
    return TxScore(
        one.chain, one.hash, one.block_number, 0, one.time, EVE, "0xb", 4.0, 0.01, "", (), 1, 9, 1,
        one.source.value, "complete", "m", calibration,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "asked", "dealings", "carried"),
    [
        (103, [(100, 103)], 3, True),
        (102 + SECONDS // 10, [(102, 102 + SECONDS // 10)], 1, False),
        (103 + SECONDS // 10, [], 0, False),
        (101, [(100, 101)], 1, True),
        (100, [], 0, False),
    ],
)
def test_the_minutes_before_the_first_block_are_known(
    tmp_path: Path, first: int, asked: list[tuple[int, int]], dealings: int, *, carried: bool
) -> None:
    """Blocks 100 to 102, ten seconds apart, were scored; nothing older is read, and nothing later."""
    judged = [transaction(block) for block in (100, 101, 102)]
    elsewhere = [replace(each, chain="bsc", root=replace(each.root, value=0)) for each in judged]
    read: list[BlockRange] = []

    def reread(blocks: BlockRange) -> Iterator[Transaction]:
        read.append(blocks)
        yield from (each for each in (*judged, *elsewhere) if (each.block_number or 0) in blocks)

    known = Earlier(Recent(0.5), Mixes(), Books(DETECTOR.history))
    with open_store(tmp_path / "s.sqlite") as store:
        others = [score(transaction(99, "base")), score(transaction(98), "another")]
        store.write((each, None, None) for each in (*map(score, judged), *others))
        begins = [transaction(first + 1), transaction(first)]
        assert remember_before(known, begins, store, reread, DETECTOR, begun={"ethereum"}) == set()
        assert not read, "what has begun is known"
        assert remember_before(known, begins, store, reread, DETECTOR, begun={"base"}) == {"ethereum"}
    assert [(each.start, each.stop) for each in read] == asked
    account = account_of("ethereum", EVE)
    done = known.recent.dealings(account, 10 * first)
    assert len(done) == dealings and all(each.transfers for each in done)
    assert (known.recent.carried(account, 10 * first)(9.0, 0.0) > 0) == carried
    scored_before = sum(each.block_number < first for each in judged if each.block_number) + (first > 98)
    assert known.mixes.add("ethereum", "callTracer", math.log(2)) == (scored_before, 1, 0)
    assert known.mixes.add("base", "callTracer", math.log(10)) == (0, 0, 1)


def test_what_a_bundler_sent_before_is_not_remembered(tmp_path: Path) -> None:
    bundle = transaction(100)
    bundle = replace(bundle, root=replace(bundle.root, target=min(ENTRY_POINTS)))
    known = Earlier(Recent(0.5), Mixes(), Books(DETECTOR.history))
    for judged, carried in ((bundle, 0.0), (transaction(100), 1.0)):
        with open_store(tmp_path / f"{carried}.sqlite") as store:
            store.write([(replace(score(judged), target=judged.root.target, value=2.0), None, None)])
            begins = [transaction(101)]
            assert remember_before(known, begins, store, lambda _, it=judged: [it], DETECTOR, begun=())
        assert known.recent.carried(account_of("ethereum", EVE), 1010)(9.0, 0.0) == carried


def test_a_transaction_without_a_time_is_no_past_of_the_range_it_is_in(tmp_path: Path) -> None:
    """It was read as what came before the first one with a time, and entered twice."""
    first, later = replace(transaction(8), time=None), transaction(9)
    asked: list[BlockRange] = []

    def reread(blocks: BlockRange) -> tuple[()]:
        asked.append(blocks)
        return ()

    detector: Any = SimpleNamespace(**vars(DETECTOR) | {"history": known_until(5)})
    known = Earlier(Recent(0.0), Mixes(), Books(detector.history))
    with open_store(tmp_path / "s.sqlite") as store:
        remember_before(known, [later, first], store, reread, detector, begun=())
    assert [(each.start, each.stop) for each in asked] == [(6, 8)]


VAULT = "0x" + "d" * 40
YOUNG = "0x" + "f" * 40
YOURS = Call(CallKind.CALL, EVE, YOUNG, b"", b"", 7, None, None, ())
PUT = Call(CallKind.CALL, EVE, VAULT, b"", b"", 7, None, None, ())
MADE = Call(CallKind.CREATE, EVE, VAULT, b"", b"", 0, None, None, ())


def known_until(block: int) -> History:
    """A past in which the vault was created, and that ends with a block."""
    return history_of([replace(transaction(block), root=MADE)])


@pytest.mark.parametrize(
    ("until", "each_block", "asked", "entered"),
    [
        (9100, 1, [(9101, 9103)], 2),
        (9102, 1, [], 0),
        (9000, 1, [(9001, 9103)], 102),
        (7000, 1, [(8853, 9103), (7853, 8853), (7001, 7853)], 2102),
    ],
)
def test_the_books_are_brought_up_to_a_block(
    until: int, each_block: int, asked: list[tuple[int, int]], entered: int
) -> None:
    """All that came since the history, or what is not long ago; more and more blocks while few are found."""
    read: list[tuple[int, int | None]] = []

    def reread(blocks: BlockRange) -> Iterator[Transaction]:
        read.append((blocks.start, blocks.stop))
        for block in range(blocks.start, blocks.stop or 0):
            yield replace(transaction(block, "bsc"), root=PUT)
            yield from [replace(transaction(block), root=PUT)] * each_block

    books = Books(known_until(until))
    catch_up(books, "ethereum", 9103, reread)
    assert read == asked
    assert books.put(EVE, VAULT, ETHER) == 7 * entered
    catch_up(books, "base", 9103, reread)
    assert read == asked, "where the history ends there, nobody knows"


def test_books_are_entered_oldest_first_and_taken_back_newest_first() -> None:
    """A contract that was created in between is known by what was put in later, however that is read."""

    def reread(blocks: BlockRange) -> Iterator[Transaction]:
        for block in range(blocks.start, blocks.stop or 0):
            maker = Call(CallKind.CREATE, EVE, YOUNG, b"", b"", 0, None, None, ())
            yield replace(transaction(block), root=maker if block == 8000 else YOURS)

    books = Books(known_until(7000))
    catch_up(books, "ethereum", 9103, reread)
    assert books.put(EVE, YOUNG, ETHER) == 7 * 1102 and books.reached == {"ethereum": 9102}
    books.take_back("ethereum", 9100)
    assert books.put(EVE, YOUNG, ETHER) == 7 * 1099
    catch_up(books, "ethereum", 9103, reread)
    assert books.put(EVE, YOUNG, ETHER) == 7 * 1102


def test_what_was_sent_meanwhile_is_known() -> None:
    """Else nothing that is sent once more after a start is noticed."""
    data = b"\1\2\3\4" + bytes(7 * 32)
    sending = Call(CallKind.CALL, EVE, VAULT, data, b"", 0, None, None, ())
    first, second = (replace(transaction(block), root=sending) for block in (8000, 9103))
    books = Books(known_until(7000))
    catch_up(books, "ethereum", 9103, lambda some: [first] if 8000 in some else [])
    sent = sent_in(second)
    assert sent and books.sent(sent)


@pytest.mark.parametrize(
    ("until", "found", "whole"),
    [
        (9100, 0, True),
        (8853, 0, True),
        (8000, 0, False),
        (8000, 1, True),
        (8000, 300, False),
        (9200, 1, True),
    ],
)
def test_books_begin_anew_where_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, until: int, found: int, *, whole: bool
) -> None:
    """Too much to read, or nothing at hand; few empty blocks are no gap, nor is a range before their end."""
    monkeypatch.setattr(step, "REREAD", 1000)

    def reread(blocks: BlockRange) -> Iterator[Transaction]:
        for block in range(max(blocks.start, 8980), blocks.stop or 0):
            yield from [replace(transaction(block), root=PUT)] * found

    books = Books(known_until(until))
    catch_up(books, "ethereum", 9103, reread)
    assert books.known(VAULT) == whole


def test_of_solana_no_books_are_kept() -> None:
    """Its blocks are not even read further than to the first transaction."""
    root = Call(CallKind.INSTRUCTION, EVE, EVE, b"", b"", 7, None, None, ())
    read: list[BlockRange] = []

    def reread(blocks: BlockRange) -> Iterator[Transaction]:
        read.append(blocks)
        yield replace(transaction(2), root=root)
        raise AssertionError

    catch_up(Books(known_until(1)), "ethereum", 10**6, reread)
    assert len(read) == 1
