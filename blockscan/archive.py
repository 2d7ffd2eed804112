"""Raw chain data on disk: append-only Parquet parts, each complete in itself.

A part file holds its rows and, in its Parquet metadata, what it covers (block ranges, or lines of an
input file). It is written under a temporary name and renamed, so a killed ingest leaves whole parts
only, and the next run continues after them. Nothing is ever rewritten.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blockscan.errors import ArtifactError
from blockscan.transaction import TraceSource

MANIFEST = "archive.json"
_BODIES = ("record", "block", "receipts", "traces")
_SCHEMA = pa.schema(
    [
        ("chain", pa.string()),
        ("number", pa.int64()),
        ("hash", pa.string()),
        ("parent_hash", pa.string()),
        ("time", pa.int64()),
        ("source", pa.string()),
        ("form", pa.string()),
        ("tx_hashes", pa.list_(pa.string())),
        *((body, pa.binary()) for body in _BODIES),
    ]
)


@dataclass(frozen=True, slots=True)
class RawBlock:
    """What a node answered for one block, or one line of a file, verbatim.

    `form` is "rpc" (bodies block, receipts, traces: JSON-RPC envelopes) or "record" (body record: one
    JSON line with one transaction). `source` is the trace source that the endpoint offered; for a
    record it is settled by parsing.
    """

    chain: str
    number: int | None
    hash: str | None
    parent_hash: str | None
    time: int | None
    source: TraceSource
    form: str
    tx_hashes: tuple[str, ...]
    bodies: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class PartInfo:
    """What one part covers: blocks [first, last] of a node, or lines [first, last] of an input file.

    `input` is "" for a node, else the file's SHA-256. `rejected` lists what was refused, one line each.
    """

    input: str
    name: str
    first: int
    last: int
    transactions: int
    duplicates: int = 0
    rejected: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Coverage:
    """Report over an archive: what is in it and what is missing between its first and last block."""

    transactions: int
    blocks: tuple[tuple[int, int], ...]
    gaps: tuple[tuple[int, int], ...]
    sources: Mapping[str, int]
    chains: Mapping[str, int]
    duplicates: int
    rejected: tuple[str, ...]


class Archive:
    """A directory of parts. Open an existing one with `Archive(path)`, begin one with `Archive.begin`."""

    def __init__(self, path: Path) -> None:
        """Open an archive.

        Raises:
            ArtifactError: `path` is no archive.
        """
        self.path = path
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            self.family = str(manifest["family"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path} holds no archive; make one with `blockscan ingest ... --out {path}`"
            ) from error

    @classmethod
    def begin(cls, path: Path, family: str) -> "Archive":
        """Create an archive in a new or empty directory, or continue one of the same chain family.

        Raises:
            ArtifactError: the directory holds something else.
        """
        if (path / MANIFEST).is_file():
            archive = cls(path)
            if archive.family != family:
                raise ArtifactError(
                    f"{path} is an archive of {archive.family}, not {family}; give another --out"
                )
            return archive
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ArtifactError(f"{path} is not empty and holds no archive; give a new directory as --out")
        path.mkdir(parents=True, exist_ok=True)
        _write_atomically(path / MANIFEST, json.dumps({"kind": "archive", "family": family}).encode())
        return cls(path)

    def append(self, rows: Sequence[RawBlock], info: PartInfo) -> None:
        """Add one part; afterwards its rows and its coverage are on disk, or neither is.

        Raises:
            ArtifactError: the disk refused (full, read-only); nothing stored before is touched.
        """
        columns = {name: [_cell(row, name) for row in rows] for name in _SCHEMA.names}
        table = pa.table(columns, schema=_SCHEMA.with_metadata({"blockscan": json.dumps(asdict(info))}))
        origin = info.input[:12] or "node"
        target = self.path / f"part-{origin}-{info.first:012d}-{info.last:012d}.parquet"
        draft = target.with_name(f".{target.name}.draft")
        try:
            pq.write_table(table, draft, compression="zstd", row_group_size=128)
            draft.rename(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ArtifactError(
                f"cannot write {target}: {error}; free some space and run the same command again to resume"
            ) from error

    def part_paths(self) -> list[Path]:
        """The part files in a fixed order."""
        return sorted(self.path.glob("part-*.parquet"))

    def parts(self) -> list[PartInfo]:
        """What every part covers, in the order of `part_paths`."""
        return [part_info(path) for path in self.part_paths()]

    def raw_blocks(self) -> Iterator[RawBlock]:
        """Every row of every part."""
        for path in self.part_paths():
            yield from read_part(path)

    def find(self, tx_hash: str) -> Iterator[RawBlock]:
        """The rows that hold a transaction, found by its hash."""
        for path in self.part_paths():
            with _open(path) as parquet:
                for group in range(parquet.num_row_groups):
                    hashes = parquet.read_row_group(group, columns=["tx_hashes"]).column(0).to_pylist()
                    if any(tx_hash in row for row in hashes):
                        rows = map(_row, parquet.read_row_group(group).to_pylist())
                        yield from (row for row in rows if tx_hash in row.tx_hashes)

    def tx_hashes(self) -> Iterator[str]:
        """The hash of every transaction stored."""
        for path in self.part_paths():
            for row in pq.read_table(path, columns=["tx_hashes"]).column(0).to_pylist():
                yield from row

    def coverage(self) -> Coverage:
        """What is here and what is missing."""
        sources: dict[str, int] = {}
        chains: dict[str, int] = {}
        numbers: set[int] = set()
        for path in self.part_paths():
            table = pq.read_table(path, columns=["chain", "source", "number", "tx_hashes"])
            for chain, source, number, hashes in zip(*(column.to_pylist() for column in table), strict=True):
                sources[source] = sources.get(source, 0) + len(hashes)
                chains[chain] = chains.get(chain, 0) + len(hashes)
                if number is not None:
                    numbers.add(number)
        parts = self.parts()
        ranges = covered_ranges([(part.first, part.last) for part in parts if not part.input])
        ranges = ranges or covered_ranges([(number, number) for number in numbers])
        from_node = any(not part.input for part in parts)
        gaps = [(a[1] + 1, b[0] - 1) for a, b in itertools.pairwise(ranges)] if from_node else []
        return Coverage(
            transactions=sum(chains.values()),
            blocks=tuple(ranges),
            gaps=tuple(gaps),
            sources=sources,
            chains=chains,
            duplicates=sum(part.duplicates for part in parts),
            rejected=tuple(line for part in parts for line in part.rejected),
        )


def covered_ranges(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge inclusive ranges that touch or overlap; sorted."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}); move it away and run the ingest again to fetch it anew"
        ) from error


def part_info(path: Path) -> PartInfo:
    """What one part file covers.

    Raises:
        ArtifactError: the file is damaged or no part of an archive.
    """
    with _open(path) as parquet:
        stored = (parquet.schema_arrow.metadata or {}).get(b"blockscan")
    if stored is None:
        raise ArtifactError(f"{path} is no part of an archive; give an archive, or its part-*.parquet")
    raw = json.loads(stored)
    return PartInfo(**(raw | {"rejected": tuple(raw["rejected"])}))


def read_part(path: Path, keep: Callable[[int | None], bool] | None = None) -> Iterator[RawBlock]:
    """The rows of one part file, without holding more than a few hundred in memory.

    Args:
        path: a part file.
        keep: asked with each row's block number; rows that it refuses are not even decompressed where a
            whole row group is refused.

    Raises:
        ArtifactError: the file is damaged.
    """
    with _open(path) as parquet:
        for group in range(parquet.num_row_groups):
            numbers = parquet.read_row_group(group, columns=["number"]).column(0).to_pylist()
            wanted = [place for place, number in enumerate(numbers) if keep is None or keep(number)]
            if wanted:
                yield from map(_row, parquet.read_row_group(group).take(wanted).to_pylist())


def _cell(row: RawBlock, name: str) -> Any:
    if name in _BODIES:
        return row.bodies.get(name)
    value = getattr(row, name)
    return list(value) if name == "tx_hashes" else value


def _row(cells: dict[str, Any]) -> RawBlock:
    bodies = {name: cells[name] for name in _BODIES if cells[name] is not None}
    return RawBlock(
        chain=cells["chain"],
        number=cells["number"],
        hash=cells["hash"],
        parent_hash=cells["parent_hash"],
        time=cells["time"],
        source=TraceSource(cells["source"]),
        form=cells["form"],
        tx_hashes=tuple(cells["tx_hashes"]),
        bodies=bodies,
    )


def _write_atomically(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)
