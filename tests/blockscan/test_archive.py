"""The archive by itself: what compaction keeps and removes."""

from pathlib import Path

from blockscan.archive import Archive, PartInfo, RawBlock
from blockscan.archive_compact import SHORTEST_RUN, compact
from blockscan.transaction import TraceSource


def row(number: int, block_hash: str) -> RawBlock:
    source = TraceSource.CALL_TRACER_LOGS
    return RawBlock(
        "ethereum", number, block_hash, "p", 1, source, "rpc", (f"{block_hash}-tx",), {"block": b"x"}
    )


def info(number: int, last: int | None = None, **more: object) -> PartInfo:
    return PartInfo("", "node", number, number if last is None else last, 1, **more)  # type: ignore[arg-type]


def compacted(path: Path, *, times: int) -> Archive:
    for _ in range(times):
        compact(Archive(path))  # anew, as the next run opens it
    return Archive(path)


def test_parts_without_a_row_are_merged_once_and_removed(tmp_path: Path) -> None:
    archive = Archive.begin(tmp_path / "a", "evm")
    refused, empty = range(100, 100 + SHORTEST_RUN), range(300, 300 + SHORTEST_RUN)
    for number in refused:
        archive.append([], info(number, quarantined=((number, "bad"),)))
    for number in empty:  # a slot of Solana without a block, and every other one with
        archive.append([row(number, f"h{number}")] if number % 2 else [], info(number))
    before = archive.coverage()
    later = compacted(archive.path, times=3)
    assert len(later.part_paths()) == 2
    assert later.coverage() == before and len(before.quarantined) == SHORTEST_RUN


def test_an_orphaned_block_stays_orphaned_and_on_disk(tmp_path: Path) -> None:
    archive = Archive.begin(tmp_path / "a", "evm")
    for number in range(100, 170):
        archive.append([row(number, f"h{number}")], info(number))
    old = archive.block_hashes(169, 169)[169][1]
    archive.append([row(169, "new")], info(169, retired=((old, 169, "orphaned"),)))
    for number in range(170, 240):
        archive.append([row(number, f"h{number}")], info(number))
    later = compacted(archive.path, times=3)
    assert [raw.hash for raw in later.raw_blocks() if raw.number == 169] == ["new"]
    assert later.coverage().orphaned == 1 and (archive.path / old).exists()
    assert len(later.part_paths()) == 4  # what was replaced, what replaced it, and what is before and after
