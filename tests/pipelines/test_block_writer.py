"""What a writer does where a node's blocks do not follow one another: slots falsely called skipped."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockscan.archive import Archive
from blockscan.chains.checks import InvalidAnswer
from blockscan.chains.pool import read_endpoints
from blockscan.chains.solana_rpc import SolanaNode
from blockscan.errors import ChainError
from pipelines.block_writer import BlockWriter
from pipelines.ingest import ingest_node, open_for, repair_node
from pipelines.ranges import BlockRange
from pipelines.simulation.solana.server import serve


def block(slot: int, parent: int, parent_hash: str = "") -> bytes:
    content = {
        "blockhash": f"h{slot}",
        "previousBlockhash": parent_hash or f"h{parent}",
        "parentSlot": parent,
        "blockTime": 9,
        "transactions": [],
    }
    return json.dumps(content).encode()


CHAIN = {5: block(5, 4), 7: block(7, 5), 9: block(9, 7), 10: block(10, 9)}
"""Slots 6 and 8 were skipped."""


@pytest.fixture
def slots() -> dict[int, bytes]:
    """What the node has: it lacks slot 7, as one does that has started from a snapshot."""
    return {slot: each for slot, each in CHAIN.items() if slot != 7}


@pytest.fixture
def node(slots: dict[int, bytes]) -> Iterator[SolanaNode]:
    with serve(slots) as url:
        yield SolanaNode(read_endpoints([url]))


def hashes(path: Path) -> dict[int, str]:
    return {number: block_hash for number, (block_hash, _) in Archive(path).block_hashes(0, 99).items()}


def test_a_slot_that_a_later_block_proves_not_to_be_skipped_is_quarantined(
    node: SolanaNode, slots: dict[int, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = ingest_node(node, BlockRange(5, 11), tmp_path)
    (refused,) = report.rejected
    assert "slot 7: the node calls it skipped, and slot 9 follows it" in refused and "--repair" in refused
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert hashes(tmp_path) == {5: "h5", 6: "h5", 8: "h7", 9: "h9", 10: "h10"}
    still = repair_node(node, tmp_path)
    assert [number for number, _ in still.coverage.quarantined] == [7]
    slots |= CHAIN
    mended = repair_node(node, tmp_path)
    assert mended.coverage.quarantined == () and mended.coverage.blocks == ((5, 10),)
    assert hashes(tmp_path)[7] == "h7"


@pytest.mark.parametrize("skipped", [(), (7,), (6,), (8,), (6, 7)])
def test_of_missing_slots_in_a_row_each_that_is_repaired_proves_the_one_before(
    tmp_path: Path, skipped: tuple[int, ...]
) -> None:
    """A node that has started from a snapshot lacks a run of slots, and calls each of them skipped."""
    there = [slot for slot in range(5, 11) if slot not in skipped]
    chain = {slot: block(slot, before) for before, slot in zip([4, *there], there, strict=False)}
    slots = {slot: each for slot, each in chain.items() if slot not in (6, 7, 8)}
    with serve(slots) as url:
        node = SolanaNode(read_endpoints([url]))
        ingest_node(node, BlockRange(5, 11), tmp_path)
        slots |= {slot: each for slot, each in chain.items() if slot == there[-3]}
        once = repair_node(node, tmp_path)
        lacking = there[-4]
        if lacking > 5:
            assert f"slot {lacking}: the node still calls it skipped" in once.rejected[0]
        assert [number for number, _ in once.coverage.quarantined] == [lacking] * (lacking > 5)
        slots |= chain
        mended = repair_node(node, tmp_path)
    assert mended.rejected == () == mended.coverage.quarantined and mended.coverage.gaps == ()
    assert hashes(tmp_path) == {
        slot: f"h{max(each for each in there if each <= slot)}" for slot in range(5, 11)
    }


def test_a_repaired_slot_that_follows_another_fork_takes_no_block_away(tmp_path: Path) -> None:
    with serve({5: block(5, 4), 6: block(6, 5), 7: block(7, 6, "other"), 8: block(8, 7)}) as url:
        node = SolanaNode(read_endpoints([url]))
        writer = BlockWriter(open_for(node, tmp_path), node)
        for number in range(writer.begin(5), 9):
            writer.add(number, InvalidAnswer("damaged") if number == 7 else node.fetch(number))
        writer.flush()
        writer.replace(7, node.fetch(7))
    assert "its parent is not block 6" in writer.quarantined[-1]
    assert hashes(tmp_path) == {5: "h5", 6: "h6", 8: "h8"}


def test_it_is_quarantined_where_it_is_stored_already_and_orphans_no_block(
    node: SolanaNode, slots: dict[int, bytes], tmp_path: Path
) -> None:
    writer = BlockWriter(open_for(node, tmp_path), node)
    number = writer.begin(5)
    for _ in range(20):
        if number > 10:
            break
        number = writer.add(number, node.fetch(number))
        writer.flush()
    assert number == 11 and writer.orphaned == []  # slot 7 carried the hash of slot 5, which stays
    coverage = Archive(tmp_path).coverage()
    assert [number for number, _ in coverage.quarantined] == [7] and coverage.gaps == ()


def test_a_slot_that_is_there_when_asked_again_is_taken(
    node: SolanaNode, slots: dict[int, bytes], tmp_path: Path
) -> None:
    writer = BlockWriter(open_for(node, tmp_path), node)
    for number in range(writer.begin(5), 9):
        writer.add(number, node.fetch(number))
    assert writer.add(9, node.fetch(9)) == 7
    slots |= CHAIN
    for number in range(7, 11):
        assert writer.add(number, node.fetch(number)) == number + 1
    writer.flush()
    assert hashes(tmp_path) == {5: "h5", 6: "h5", 7: "h7", 8: "h7", 9: "h9", 10: "h10"}


def test_a_node_whose_blocks_do_not_follow_one_another_is_an_error_and_no_loop(tmp_path: Path) -> None:
    with serve({5: block(5, 4), 6: block(6, 5), 7: block(7, 6, "other")}) as url:
        node = SolanaNode(read_endpoints([url]))
        with pytest.raises(ChainError, match="block 7 does not follow block 6, which the node says"):
            ingest_node(node, BlockRange(5, 8), tmp_path)
    assert hashes(tmp_path) == {5: "h5", 6: "h6"}
