"""What a range that is scored knows of the minutes before it: from the store, by chain, and no more of it."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blockscan.detect.accounts import SECONDS, Recent, account_of
from blockscan.detect.history import history_of
from blockscan.detect.mix import Mixes
from blockscan.findings import TxScore
from blockscan.store import open_store
from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction
from pipelines.before import Earlier, remember_before
from pipelines.ranges import BlockRange

EVE = "0x" + "e" * 40
DETECTOR: Any = SimpleNamespace(
    calibrated_as="c", history=history_of([]), calibration=SimpleNamespace(values={"callTracer": ()})
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

    known = Earlier(Recent(0.5), Mixes())
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
