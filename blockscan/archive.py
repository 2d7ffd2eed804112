"""Raw chain data on disk: append-only Parquet parts, each complete in itself.

A part file holds its rows and, in its Parquet metadata, what it covers (block ranges, or lines of an
input file). It is written under a temporary name and renamed, so a killed ingest leaves whole parts
only, and the next run continues after them. Nothing is ever rewritten: a block that is fetched anew, or
left the chain, is retired by the part that comes after, and read no more.
"""

import itertools
import json
from bisect import insort
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from blockscan.archive_coverage import (
    Coverage,
    LiveParts,
    Ranges,
    accounted_ranges,
    chain_ids_of,
    coverage_of,
    covered_ranges,
    retired_rows,
    without_gone_notes,
)
from blockscan.archive_lock import LOCK, WriterLock, writer_lock
from blockscan.archive_merged import read_listed_columns, read_listed_part
from blockscan.archive_parts import PartGone, PartInfo, RawBlock, may_hold, part_info, read_part, write_part
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
LISTINGS = 5
"""How often the parts are listed before giving up, where some vanish before they are opened."""


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
    def beginnable(cls, path: Path, family: str) -> "Archive | None":
        """The archive that `begin` would continue, None where it would make a new one; writes nothing.

        Raises:
            ArtifactError: the directory holds something else.
        """
        if not (path / MANIFEST).is_file():
            if path.exists() and not _is_free(path):
                raise ArtifactError(
                    f"{path} is not empty and holds no archive; give a new directory as --out"
                )
            return None
        archive = cls(path)
        if archive.family != family:
            raise ArtifactError(f"{path} is an archive of {archive.family}, not {family}; give another --out")
        return archive

    @classmethod
    def _begun(cls, path: Path, family: str) -> "Archive":
        begun = cls.beginnable(path, family) is not None
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
        retired = self._retired_around(info)  # a name that was once retired would hide the new part's rows
        for again in itertools.count(2):
            if not target.exists() and target.name not in retired:
                break
            target = self.path / f"{name}-{again}.parquet"
        write_part(target, rows, info)
        if self._lock is not None and self._lock.parts is not None:
            insort(self._lock.parts, (target, info), key=lambda part: part[0])

    def _retired_around(self, info: PartInfo) -> set[str]:
        """The parts whose rows another part retires that covers some of the same blocks of a node.

        Read from the disk, since no listing keeps the notes on parts that were merged and are gone.
        """
        around = (
            path
            for path, other in self.named_parts()
            if other.retired and other.first <= info.last and info.first <= other.last
        )
        return {name for path in around for name, _, _ in part_info(path).retired}

    def remove(self, paths: Collection[Path]) -> None:
        """Remove part files whose every row stands in another part."""
        for path in paths:
            path.unlink()
        if self._lock is not None and self._lock.parts is not None:
            left = [part for part in self._lock.parts if part[0] not in paths]
            names = {path.name for path, _ in left}
            self._lock.parts = [(path, without_gone_notes(info, names)) for path, info in left]

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
        """Every part file with what it covers; each is read once in this object's life.

        Who holds the writer lock lists them once, too. Of the notes on rows that are retired since they were
        merged, those stay that name files which are still there.

        Raises:
            ArtifactError: a part is damaged, or they vanish as fast as they are listed.
        """
        if self._lock is None or not self._lock.alone:
            return self._listed()
        if self._lock.parts is None:
            self._lock.parts, self._infos = self._listed(), {}
        return list(self._lock.parts)

    def _listed(self) -> list[tuple[Path, PartInfo]]:
        for _ in range(LISTINGS):
            paths = self.part_paths()
            names = {path.name for path in paths}
            try:
                for path in paths:
                    if path not in self._infos:
                        self._infos[path] = without_gone_notes(part_info(path), names)
            except PartGone:
                continue  # merged since it was listed; the next listing has what took its place
            self._infos = {path: without_gone_notes(self._infos[path], names) for path in paths}
            return list(self._infos.items())
        raise ArtifactError(
            f"the parts of {self.path} vanish while they are listed; wait for what removes them and run again"
        )

    def live_parts(self) -> LiveParts:
        """Every part with its retired rows. One read uses one such listing, whatever is merged meanwhile."""
        parts = self.named_parts()
        retired = retired_rows(parts)
        return [(path, info, retired.get(path.name, {})) for path, info in parts]

    def retired(self) -> dict[str, dict[int, str]]:
        """Rows that are read no more: part file name -> block number -> why."""
        return retired_rows(self.named_parts())

    def raw_blocks(self) -> Iterator[RawBlock]:
        """Every row of every part that is not retired."""
        for path, _, gone in self.live_parts():
            yield from (row for row in read_listed_part(path) if row.number not in gone)

    def find(self, tx_hash: str, block: int | None = None) -> Iterator[RawBlock]:
        """The rows that hold a transaction, found by its hash; its block, where known, is read first."""
        parts = self.live_parts()
        if block is not None:
            parts.sort(key=lambda part: not may_hold(part[1], block, block))
        for path, _, gone in parts:
            for row in _holding(path, tx_hash):
                if row.number not in gone:
                    yield row

    def tx_hashes(self) -> Iterator[str]:
        """The hash of every transaction stored."""
        return (tx_hash for _, tx_hash in self.tx_keys())

    def tx_keys(self) -> Iterator[tuple[str, str]]:
        """Chain and hash of every transaction stored."""
        for path, _, gone in self.live_parts():
            for number, chain, hashes in read_listed_columns(path, "number", "chain", "tx_hashes"):
                if number not in gone:
                    yield from ((chain, tx_hash) for tx_hash in hashes)

    def block_hashes(self, first: int, last: int) -> dict[int, tuple[str, str]]:
        """Number -> (block hash, part file name) of the live node rows inside [first, last]."""
        found: dict[int, tuple[str, str]] = {}
        for path, info, gone in self.live_parts():
            if info.input or info.last < first or info.first > last:
                continue
            for number, block_hash in read_listed_columns(path, "number", "hash"):
                if first <= number <= last and number not in gone:
                    found[number] = (str(block_hash), path.name)
        return found

    def accounted(self) -> Ranges:
        """The block ranges of a node that parts stand for: stored, empty or quarantined; retired ones not."""
        return accounted_ranges(self.live_parts())

    def coverage(self) -> Coverage:
        """What is here and what is missing."""
        return coverage_of(self.live_parts())

    def chain_ids(self) -> tuple[int, ...]:
        """The EIP-155 ids of the chains that node parts were fetched from, where they were recorded."""
        return chain_ids_of(self.parts())


def _is_free(path: Path) -> bool:
    """Whether a directory is empty but for what a run left that was killed as it began."""
    return path.is_dir() and all(
        entry.name == LOCK or fnmatch(entry.name, f".{MANIFEST}.*draft") for entry in path.iterdir()
    )


def _holding(path: Path, tx_hash: str) -> Iterator[RawBlock]:
    if any(tx_hash in hashes for _, hashes in read_listed_columns(path, "number", "tx_hashes")):
        yield from (row for row in read_listed_part(path) if tx_hash in row.tx_hashes)
