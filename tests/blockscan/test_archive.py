"""The archive by itself: damaged parts, what compaction keeps and removes."""

import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blockscan import archive as archive_module
from blockscan import archive_merged, archive_parts
from blockscan.archive import Archive, PartInfo, RawBlock
from blockscan.archive_compact import LARGEST_BYTES, SHORTEST_RUN, compact
from blockscan.errors import ArtifactError
from blockscan.transaction import TraceSource
from pipelines.ranges import BlockRange
from pipelines.sources import Rejects, open_shards


def row(number: int, block_hash: str) -> RawBlock:
    source = TraceSource.CALL_TRACER_LOGS
    return RawBlock(
        "ethereum", number, block_hash, "p", 1, source, "rpc", (f"{block_hash}-tx",), {"block": b"x"}
    )


def info(number: int, last: int | None = None) -> PartInfo:
    return PartInfo("", "node", number, number if last is None else last, 1)


def compacted(path: Path, *, times: int) -> Archive:
    for _ in range(times):
        compact(Archive(path))  # anew, as the next run opens it
    return Archive(path)


READS: list[Callable[[Archive], object]] = [
    lambda archive: archive.coverage(),
    lambda archive: list(archive.raw_blocks()),
    lambda archive: list(archive.find("0xb5-tx")),
    lambda archive: list(archive.tx_hashes()),
    lambda archive: archive.block_hashes(0, 9),
]


def archive_of_one(path: Path) -> tuple[Archive, Path]:
    archive = Archive.begin(path, "evm")
    archive.append([row(number, f"0xb{number}") for number in range(10)], info(0, 9))
    (part,) = archive.part_paths()
    return archive, part


def test_a_disk_that_refuses_an_archive_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write the archive .*; give a directory that can be"):
        Archive.begin(tmp_path / "file" / "a", "evm")
    archive = Archive.begin(tmp_path / "b", "evm")
    (archive.path / "quarantine").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot make .*quarantine"):
        archive.quarantine(1, "bad", None)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("blockscan.artifact.os.fsync", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        Archive.begin(tmp_path / "c", "evm")
    monkeypatch.undo()
    assert Archive.begin(tmp_path / "c", "evm").part_paths() == []


def test_a_part_and_then_its_name_are_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, real, synced = Archive.begin(tmp_path / "a", "evm"), archive_parts.sync, list[tuple[str, int]]()

    def noted(path: Path) -> None:
        real(path)
        synced.append((path.name, len(archive.part_paths())))

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")  # as on some network file systems

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(archive_parts, "sync", noted)
    archive.append([row(1, "0xb1")], info(1))
    assert synced == [(".part-node-000000000001-000000000001.parquet.draft", 0), ("a", 1)]


HOLD = """
import sys, time
from pathlib import Path
from blockscan.archive import Archive
archive = Archive.begin(Path(sys.argv[1]), "evm")
print("begun", flush=True)
sys.stdin.read()
"""


def test_one_process_writes_an_archive_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "begun\n"
        with pytest.raises(ArtifactError, match=r"another process is writing .*another --out"):
            Archive.begin(path, "evm")
        assert Archive(path).coverage().transactions == 0  # readers need no lock
        other.kill()
    first, second = Archive.begin(path, "evm"), Archive.begin(path, "evm")  # one process is one writer
    hold = [sys.executable, "-c", HOLD, path]
    assert "another process" in subprocess.run(hold, input="", capture_output=True, text=True).stderr
    del first, second
    assert subprocess.run(hold, input="", capture_output=True, text=True).stdout == "begun\n"


@pytest.mark.parametrize("read", READS, ids=["coverage", "rows", "find", "hashes", "block hashes"])
def test_a_part_with_flipped_bytes_is_one_error_wherever_it_is_read(
    tmp_path: Path, read: Callable[[Archive], object]
) -> None:
    archive, part = archive_of_one(tmp_path / "a")
    content = part.read_bytes()
    end = len(content) - int.from_bytes(content[-8:-4], "little") - 8
    part.write_bytes(content[:4] + bytes(end - 4) + content[end:])
    with pytest.raises(ArtifactError, match=r"part-.* is damaged .*; move it away and run the ingest again"):
        read(Archive(archive.path))


@pytest.mark.parametrize(
    ("column", "reads"),
    [("tx_hashes", READS[:4]), ("number", READS), ("source", READS[:2]), ("record", READS[1:2])],
)
def test_a_part_without_a_column_is_damaged(
    tmp_path: Path, column: str, reads: list[Callable[[Archive], object]]
) -> None:
    archive, part = archive_of_one(tmp_path / "a")
    pq.write_table(pq.read_table(part).drop_columns(column), part)
    for read in reads:
        with pytest.raises(ArtifactError, match="is damaged"):
            read(Archive(archive.path))


def test_a_row_of_an_unknown_source_is_damaged(tmp_path: Path) -> None:
    archive, part = archive_of_one(tmp_path / "a")
    table = pq.read_table(part)
    place = table.schema.get_field_index("source")
    pq.write_table(table.set_column(place, "source", pa.array(["hearsay"] * 10)), part)
    with pytest.raises(ArtifactError, match=r"is damaged .*hearsay"):
        list(archive.raw_blocks())


@pytest.mark.parametrize(
    "told",
    [
        "{bad",
        "{}",
        "[]",
        "7",
        *({name: [["part-x.parquet"]]} for name in ("retired", "degraded", "quarantined")),
        {"retired": 7},
        {"rejected": None},
        {"first": "1"},
    ],
    ids=str,
)
def test_metadata_that_say_nothing_are_damaged(tmp_path: Path, told: Any) -> None:
    archive, part = archive_of_one(tmp_path / "a")
    table = pq.read_table(part)
    if isinstance(told, dict):
        told = json.dumps(json.loads(table.schema.metadata[b"blockscan"]) | told)
    pq.write_table(table.replace_schema_metadata({"blockscan": told}), part)
    with pytest.raises(ArtifactError, match="is damaged"):
        Archive(archive.path).coverage()


def test_parts_without_a_row_are_merged_once_and_removed(tmp_path: Path) -> None:
    archive = Archive.begin(tmp_path / "a", "evm")
    refused, empty = range(100, 100 + SHORTEST_RUN), range(300, 300 + SHORTEST_RUN)
    for number in refused:
        archive.append([], replace(info(number), quarantined=((number, "bad"),)))
    for number in empty:  # a slot of Solana without a block, and every other one with
        archive.append([row(number, f"h{number}")] if number % 2 else [], info(number))
    before = archive.coverage()
    later = compacted(archive.path, times=3)
    assert len(later.part_paths()) == 2
    assert later.coverage() == before and len(before.quarantined) == SHORTEST_RUN


def test_parts_of_large_blocks_are_merged_up_to_a_size(tmp_path: Path) -> None:
    archive = Archive.begin(tmp_path / "a", "evm")
    noise = random.Random(1)
    count, size = 40, LARGEST_BYTES // 16
    for number in range(count):
        body = {"block": noise.randbytes(size)}
        archive.append([replace(row(number, f"0xb{number}"), bodies=body)], info(number))
    before = archive.coverage()
    later = compacted(archive.path, times=3)
    sizes = [path.stat().st_size for path in later.part_paths()]
    assert len(sizes) == 2 + count % 15 and max(sizes) < LARGEST_BYTES * 1.1  # 15 and their metadata fit
    assert later.coverage() == before
    assert [raw.number for raw in later.raw_blocks()] == list(range(count))


def test_an_answer_too_long_for_a_cell_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, part = archive_of_one(tmp_path / "a")

    def full(*given: Any, **named: Any) -> Any:
        raise pa.ArrowCapacityError("array cannot contain more than 2147483646 bytes")

    monkeypatch.setattr("blockscan.archive_parts.pa.table", full)
    with pytest.raises(ArtifactError, match=r"cannot write .*2147483646 bytes; .*#max_mb=N"):
        archive.append([row(10, "0xb10")], info(10))
    assert archive.part_paths() == [part] and not list(archive.path.glob("*.draft"))


def test_an_orphaned_block_stays_orphaned_and_on_disk(tmp_path: Path) -> None:
    archive = Archive.begin(tmp_path / "a", "evm")
    for number in range(100, 170):
        archive.append([row(number, f"h{number}")], info(number))
    old = archive.block_hashes(169, 169)[169][1]
    archive.append([row(169, "new")], replace(info(169), retired=((old, 169, "orphaned"),)))
    for number in range(170, 240):
        archive.append([row(number, f"h{number}")], info(number))
    later = compacted(archive.path, times=3)
    assert [raw.hash for raw in later.raw_blocks() if raw.number == 169] == ["new"]
    assert later.coverage().orphaned == 1 and (archive.path / old).exists()
    assert len(later.part_paths()) == 4  # what was replaced, what replaced it, and what is before and after


def test_the_writer_lists_its_parts_once_and_knows_what_it_adds_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, real = [], Archive.part_paths
    archive = Archive.begin(tmp_path / "a", "evm")
    monkeypatch.setattr(Archive, "part_paths", lambda self: listed.append(self) or real(self))
    for number in range(3 * SHORTEST_RUN):
        archive.append([row(number, f"0xb{number}")], info(number))
        if number % SHORTEST_RUN == SHORTEST_RUN - 1:
            compact(archive)
    again = Archive.begin(archive.path, "evm")  # in the same process
    again.append([row(999, "0xb999")], info(999))
    assert listed == [archive]
    fresh = Archive(archive.path)
    assert archive.named_parts() == again.named_parts() == fresh.named_parts()
    assert archive.coverage() == fresh.coverage()


def test_no_other_writer_is_trusted_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("blockscan.file_lock.fcntl.flock", none)
    archive = Archive.begin(tmp_path / "a", "evm")
    assert archive.parts() == []
    Archive(archive.path).append([row(1, "0xb1")], info(1))  # as another process would
    assert len(archive.parts()) == 1


@pytest.mark.parametrize("opened", [Archive, partial(Archive.begin, family="evm")], ids=["read", "written"])
def test_notes_and_parts_that_are_gone_are_forgotten(
    followed: Path, opened: Callable[[Path], Archive]
) -> None:
    archive = opened(followed)
    assert len(archive.parts()) == SHORTEST_RUN
    for _ in range(2):
        compact(archive)
    ((path, merged),) = archive.named_parts()
    assert len(merged.retired) == 1 and len(archive._infos) <= 1
    assert compact(archive) == 0  # and it is still known to be a merged one
    archive.append([row(5, "new")], replace(info(5), retired=((path.name, 5, "orphaned"),)))
    assert archive.part_paths()[1].name == "part-node-000000000005-000000000005-2.parquet"
    assert [raw.hash for raw in archive.raw_blocks() if raw.number == 5] == ["new"]


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    """An archive as `watch` leaves it behind: a part per block."""
    archive = Archive.begin(tmp_path / "a", "evm")
    for number in range(SHORTEST_RUN):
        archive.append([row(number, f"0xb{number}")], info(number))
    return archive.path


@pytest.mark.parametrize("times", [0, 2], ids=["a part per block", "merged"])
def test_parts_without_the_wanted_blocks_are_not_read(
    followed: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = compacted(followed, times=times)
    archive.append([row(70, "0xb70")], info(70))
    archive.append([replace(row(7, "0xf7"), form="record")], PartInfo("ab" * 32, "in.jsonl", 1, 1, 1))
    opened, real = [], archive_merged.read_columns

    def noted(path: Path, *names: str) -> list[tuple[Any, ...]]:
        opened.append(path)
        return real(path, *names)

    monkeypatch.setattr(archive_merged, "read_columns", noted)
    assert next(archive.find("0xb7-tx", 7)).number == 7 and len(opened) <= 2
    assert next(archive.find("0xb7-tx", 70)).number == 7  # included anew elsewhere
    assert list(archive.find("0xb99-tx", 7)) == []
    names = [shard.name for shard in open_shards(followed, Rejects(), BlockRange(7, 9))]
    assert len(names) == (2 if times else 3)  # of a file's records nobody knows
    assert len(open_shards(followed, Rejects(), BlockRange(70, None))) == 2
    assert len(open_shards(followed, Rejects(), BlockRange(900, None))) == 1


def rows_of_shards(path: Path) -> list[str]:
    found: list[str] = []

    def noted(raw: RawBlock) -> list[Any]:
        found.append(str(raw.hash))
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.sources.parse", noted)
        for shard in open_shards(path, Rejects()):
            list(shard.read())
    return sorted(found)


FOLLOWED: list[Callable[[Path], object]] = [
    lambda path: Archive(path).coverage(),
    lambda path: sorted(str(raw.hash) for raw in Archive(path).raw_blocks()),
    lambda path: [raw.hash for raw in Archive(path).find("0xb5-tx")],
    lambda path: sorted(Archive(path).tx_hashes()),
    lambda path: {number: each for number, (each, _) in Archive(path).block_hashes(0, 9).items()},
    lambda path: Archive(path).accounted(),
    rows_of_shards,
]


@pytest.mark.parametrize("read", FOLLOWED, ids=range(len(FOLLOWED)))
@pytest.mark.parametrize("times", [1, 2], ids=["merged", "merged and removed"])
@pytest.mark.parametrize("hook", ["part_info", "read_part", "read_columns", "listed"])
def test_a_merge_between_listing_and_opening_neither_loses_nor_doubles_rows(
    followed: Path, read: Callable[[Path], object], times: int, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(followed)
    waiting = [followed]

    def merging(real: Callable[..., Any], *args: Any) -> Any:
        answer = real(*args) if hook == "listed" else None
        if waiting:
            compacted(waiting.pop(), times=times)
        return answer if hook == "listed" else real(*args)

    if hook == "listed":
        real = Archive.part_paths
        monkeypatch.setattr(Archive, "part_paths", lambda self: merging(real, self))
    else:
        module = archive_module if hook == "part_info" else archive_merged
        monkeypatch.setattr(module, hook, partial(merging, getattr(module, hook)))
    assert read(followed) == before


def test_a_part_that_vanishes_without_having_been_merged_is_an_error(
    followed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Archive(followed)
    rows = opened.raw_blocks()
    next(rows)
    for path in opened.part_paths()[1:]:
        path.unlink()
    with pytest.raises(ArtifactError, match=r"part-.* is gone; put it back, or run the ingest again"):
        list(rows)
    monkeypatch.setattr(Archive, "part_paths", lambda self: [self.path / "part-x.parquet"])
    with pytest.raises(ArtifactError, match="vanish while they are listed; wait for what removes them"):
        opened.coverage()
