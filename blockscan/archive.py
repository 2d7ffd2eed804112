"""Raw chain data on disk: append-only Parquet parts, each complete in itself.

A part file holds its rows and, in its Parquet metadata, what it covers (block ranges, or lines of an
input file). It is written under a temporary name and renamed, so a killed ingest leaves whole parts
only, and the next run continues after them. Nothing is ever rewritten: a block that is fetched anew, or
left the chain, is retired by the part that comes after, and read no more.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockscan.archive_lock import LOCK, WriterLock, writer_lock
from blockscan.archive_parts import PartInfo, RawBlock, part_info, read_columns, read_part, write_part
from blockscan.artifact import write_whole
from blockscan.errors import ArtifactError

__all__ = [
    "MANIFEST",
    "Archive",
    "Coverage",
    "PartInfo",
    "RawBlock",
    "covered_ranges",
    "part_info",
    "read_part",
]

MANIFEST = "archive.json"
QUARANTINE = "quarantine"
Ranges = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Report over an archive: what is in it and what is missing between its first and last block.

    `quarantined` blocks (number, reason) were fetched and refused; `degraded` ones are here with less than
    the node offers; `orphaned` counts rows of blocks that left the chain, `unwanted` lines of files that were
    not asked for, `more_rejected` those refused beside `rejected`.
    """

    transactions: int
    blocks: tuple[tuple[int, int], ...]
    gaps: tuple[tuple[int, int], ...]
    sources: Mapping[str, int]
    chains: Mapping[str, int]
    duplicates: int
    rejected: tuple[str, ...]
    chain_ids: tuple[int, ...] = ()
    quarantined: tuple[tuple[int, str], ...] = ()
    degraded: tuple[tuple[int, str], ...] = ()
    orphaned: int = 0
    unwanted: int = 0
    more_rejected: int = 0


class Archive:
    """A directory of parts. Open an existing one with `Archive(path)`, begin one with `Archive.begin`."""

    def __init__(self, path: Path) -> None:
        """Open an archive.

        Raises:
            ArtifactError: `path` is no archive.
        """
        self.path = path
        self._lock: WriterLock | None = None
        self._infos: dict[Path, PartInfo] = {}
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

        No other process can begin it until what is returned is gone.

        Raises:
            ArtifactError: the directory holds something else, another process writes it, or the disk refused.
        """
        try:
            return cls._begun(path, family)
        except OSError as error:
            raise ArtifactError(
                f"cannot write the archive {path}: {error}; give a directory that can be written, with space"
            ) from error

    @classmethod
    def _begun(cls, path: Path, family: str) -> "Archive":
        begun = (path / MANIFEST).is_file()
        if not begun and path.exists() and not _is_free(path):
            raise ArtifactError(f"{path} is not empty and holds no archive; give a new directory as --out")
        if begun and (found := cls(path).family) != family:
            raise ArtifactError(f"{path} is an archive of {found}, not {family}; give another --out")
        path.mkdir(parents=True, exist_ok=True)
        lock = writer_lock(path)
        if not begun:
            write_whole(path / MANIFEST, json.dumps({"kind": "archive", "family": family}).encode())
        archive = cls(path)  # read with the lock held: what another process wrote until now is seen
        archive._lock = lock
        return archive

    def append(self, rows: Sequence[RawBlock], info: PartInfo) -> None:
        """Add one part; afterwards its rows and its coverage are on disk, or neither is.

        Raises:
            ArtifactError: the disk refused (full, read-only); nothing stored before is touched.
        """
        name = f"part-{info.input[:12] or 'node'}-{info.first:012d}-{info.last:012d}"
        target = self.path / f"{name}.parquet"
        retired = self.retired()  # a name that was once retired would hide the new part's rows
        for again in itertools.count(2):
            if not target.exists() and target.name not in retired:
                break
            target = self.path / f"{name}-{again}.parquet"
        write_part(target, rows, info)

    def quarantine(self, number: int, reason: str, raw: RawBlock | None) -> None:
        """Keep the answers that were refused for a block, beside the parts, for a person to look at.

        Raises:
            ArtifactError: see `append`.
        """
        folder = self.path / QUARANTINE
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"cannot make {folder}: {error}; free some space and run it again") from error
        rows = [] if raw is None else [raw]
        refused = PartInfo("", "quarantine", number, number, 0, quarantined=((number, reason),))
        write_part(folder / f"block-{number:012d}.parquet", rows, refused)

    def part_paths(self) -> list[Path]:
        """The part files in a fixed order."""
        return sorted(self.path.glob("part-*.parquet"))

    def parts(self) -> list[PartInfo]:
        """What every part covers, in the order of `part_paths`."""
        return [info for _, info in self.named_parts()]

    def named_parts(self) -> list[tuple[Path, PartInfo]]:
        """Every part file with what it covers; each is read once in this object's life."""
        for path in (paths := self.part_paths()):
            if path not in self._infos:
                self._infos[path] = part_info(path)
        return [(path, self._infos[path]) for path in paths]

    def retired(self) -> dict[str, dict[int, str]]:
        """Rows that are read no more: part file name -> block number -> why."""
        found: dict[str, dict[int, str]] = {}
        for _, info in self.named_parts():
            for name, number, why in info.retired:
                found.setdefault(name, {})[number] = why
        return found

    def raw_blocks(self) -> Iterator[RawBlock]:
        """Every row of every part that is not retired."""
        retired = self.retired()
        for path in self.part_paths():
            gone = retired.get(path.name, {})
            yield from (row for row in read_part(path) if row.number not in gone)

    def find(self, tx_hash: str) -> Iterator[RawBlock]:
        """The rows that hold a transaction, found by its hash."""
        retired = self.retired()
        for path in self.part_paths():
            gone = retired.get(path.name, {})
            for row in _holding(path, tx_hash):
                if row.number not in gone:
                    yield row

    def tx_hashes(self) -> Iterator[str]:
        """The hash of every transaction stored."""
        retired = self.retired()
        for path in self.part_paths():
            gone = retired.get(path.name, {})
            for number, hashes in read_columns(path, "number", "tx_hashes"):
                if number not in gone:
                    yield from hashes

    def block_hashes(self, first: int, last: int) -> dict[int, tuple[str, str]]:
        """Number -> (block hash, part file name) of the live node rows inside [first, last]."""
        retired = self.retired()
        found: dict[int, tuple[str, str]] = {}
        for path, info in self.named_parts():
            if info.input or info.last < first or info.first > last:
                continue
            for number, block_hash in read_columns(path, "number", "hash"):
                if first <= number <= last and number not in retired.get(path.name, {}):
                    found[number] = (str(block_hash), path.name)
        return found

    def accounted(self) -> Ranges:
        """The block ranges of a node that parts stand for: stored, empty or quarantined; retired ones not."""
        return covered_ranges(self._ranges(without_quarantined=False))

    def _ranges(self, *, without_quarantined: bool) -> Iterator[tuple[int, int]]:
        retired = self.retired()
        for path, info in self.named_parts():
            if not info.input:
                gone = set(retired.get(path.name, {}))
                if without_quarantined:
                    gone |= {number for number, _ in info.quarantined}
                yield from _without(info.first, info.last, gone)

    def coverage(self) -> Coverage:
        """What is here and what is missing."""
        parts, retired = self.named_parts(), self.retired()
        chains, sources, numbers = self._counts(retired)
        node = [(path, info) for path, info in parts if not info.input]
        stored = covered_ranges(self._ranges(without_quarantined=True))
        quarantined = {
            number: reason
            for _, info in node
            for number, reason in info.quarantined
            if not _inside(number, stored)
        }
        degraded = {
            number: reason
            for path, info in node
            for number, reason in info.degraded
            if number not in retired.get(path.name, {})
        }
        accounted = self.accounted()
        whys = [why for rows in retired.values() for why in rows.values()]
        return Coverage(
            transactions=sum(chains.values()),
            blocks=tuple(stored if node else covered_ranges((number, number) for number in numbers)),
            gaps=tuple((a[1] + 1, b[0] - 1) for a, b in itertools.pairwise(accounted)),
            sources=dict(sources),
            chains=dict(chains),
            duplicates=sum(info.duplicates for _, info in parts),
            rejected=tuple(line for _, info in parts for line in info.rejected),
            chain_ids=self.chain_ids(),
            quarantined=tuple(sorted(quarantined.items())),
            degraded=tuple(sorted(degraded.items())),
            orphaned=sum(why == "orphaned" for why in whys),
            unwanted=sum(info.unwanted for _, info in parts),
            more_rejected=sum(info.more_rejected for _, info in parts),
        )

    def chain_ids(self) -> tuple[int, ...]:
        """The EIP-155 ids of the chains that node parts were fetched from, where they were recorded."""
        return tuple(sorted({info.chain_id for info in self.parts() if info.chain_id is not None}))

    def _counts(
        self, retired: Mapping[str, Mapping[int, str]]
    ) -> tuple[Counter[str], Counter[str], set[int]]:
        """Transactions by chain and by source, and the numbers of the blocks that files' records name."""
        chains: Counter[str] = Counter()
        sources: Counter[str] = Counter()
        numbers: set[int] = set()
        for path in self.part_paths():
            gone = retired.get(path.name, {})
            for chain, source, number, hashes in read_columns(path, "chain", "source", "number", "tx_hashes"):
                if number not in gone:
                    sources[source] += len(hashes)
                    chains[chain] += len(hashes)
                    if number is not None:
                        numbers.add(number)
        return chains, sources, numbers


def _is_free(path: Path) -> bool:
    """Whether a directory is empty but for what a run left that was killed as it began."""
    left = {f".{MANIFEST}.draft", LOCK}
    return path.is_dir() and all(entry.name in left for entry in path.iterdir())


def _holding(path: Path, tx_hash: str) -> Iterator[RawBlock]:
    if any(tx_hash in hashes for (hashes,) in read_columns(path, "tx_hashes")):
        yield from (row for row in read_part(path) if tx_hash in row.tx_hashes)


def _without(first: int, last: int, gone: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The inclusive range without some of its numbers."""
    for number in sorted(gone):
        if first <= number <= last:
            if first < number:
                yield first, number - 1
            first = number + 1
    if first <= last:
        yield first, last


def _inside(number: int, ranges: Ranges) -> bool:
    return any(first <= number <= last for first, last in ranges)


def covered_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge inclusive ranges that touch or overlap; sorted."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
