"""Step 1: bring chain data into an archive, from a node over JSON-RPC or from files of records."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blockscan.archive import MANIFEST as ARCHIVE_MANIFEST
from blockscan.archive import Archive, Coverage, PartInfo, RawBlock, covered_ranges, file_sha256
from blockscan.chains.ethereum import parse
from blockscan.chains.rpc import EthereumNode
from blockscan.errors import ArtifactError, ChainError, ParseError
from blockscan.transaction import Transaction
from pipelines.progress import progress
from pipelines.ranges import BlockRange
from pipelines.sources import read_lines, record_row

PART_ROWS = 1000
PART_BYTES = 64 * 1024 * 1024
"""A part is closed at this many rows or raw bytes, which bounds memory and what a crash can lose."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one run did, and what the archive holds after it."""

    added: int
    duplicates: int
    rejected: tuple[str, ...]
    coverage: Coverage


def ingest_node(node: EthereumNode, blocks: BlockRange, out: Path) -> IngestReport:
    """Fetch the blocks of a range that the archive does not hold yet.

    Raises:
        ChainError: the node failed; what was fetched until then is kept, and the same command resumes.
    """
    stop = blocks.stop if blocks.stop is not None else node.head() + 1
    if stop > node.head() + 1:
        raise ChainError(f"block {stop - 1:,} does not exist yet; the newest is {node.head():,}")
    archive = Archive.begin(out, "evm")
    missing = _missing(archive, blocks.start, stop)
    added = 0
    rejected: list[str] = []
    with progress("ingest blocks", sum(last - first + 1 for first, last in missing)) as bar:
        for first, last in missing:
            part = _Part(first)
            for number in range(first, last + 1):
                raw = node.fetch(number)
                rejected += _trial_parse(raw)
                part.add(raw)
                bar.advance(1)
                if number == last or part.full:
                    added += _append_blocks(archive, part.rows, part.first, number)
                    part = _Part(number + 1)
    return IngestReport(added, 0, tuple(rejected), archive.coverage())


def _trial_parse(raw: RawBlock) -> list[str]:
    """A block that cannot be parsed is kept, since a later parser may read it, and reported."""
    try:
        parse(raw)
    except ParseError as error:
        return [str(error)]
    return []


def _append_blocks(archive: Archive, batch: Sequence[RawBlock], first: int, last: int) -> int:
    count = sum(len(raw.tx_hashes) for raw in batch)
    archive.append(batch, PartInfo("", "node", first, last, count))
    return count


def missing_blocks(out: Path, blocks: BlockRange, newest_stop: int) -> int:
    """How many blocks of a range `ingest_node` would fetch into `out`."""
    stop = blocks.stop if blocks.stop is not None else newest_stop
    if not (out / ARCHIVE_MANIFEST).is_file():
        return stop - blocks.start
    return sum(last - first + 1 for first, last in _missing(Archive(out), blocks.start, stop))


def _missing(archive: Archive, start: int, stop: int) -> list[tuple[int, int]]:
    """The inclusive ranges inside [start, stop) that no part covers."""
    have = covered_ranges([(part.first, part.last) for part in archive.parts() if not part.input])
    missing = []
    for first, last in have:
        if start < first:
            missing.append((start, min(first, stop) - 1))
        start = max(start, last + 1)
        if start >= stop:
            break
    if start < stop:
        missing.append((start, stop - 1))
    return [(first, last) for first, last in missing if first <= last]


def ingest_files(files: Sequence[Path], out: Path, only_chain: str | None = None) -> IngestReport:
    """Read files of records (JSONL, one transaction per line, plain or gzip) into an archive.

    Malformed lines are reported, the rest is ingested; a transaction already stored is not stored twice.

    Args:
        files: in any order; a file that was read before, wholly or in part, is continued.
        out: archive directory, new or existing.
        only_chain: keep only transactions of this chain, where a file mixes several.

    Raises:
        ArtifactError: a file cannot be read, or the disk is full.
    """
    absent = [str(path) for path in files if not path.is_file()]
    if absent:
        raise ArtifactError(f"no such file: {', '.join(absent[:3])}; nothing was ingested")
    archive = Archive.begin(out, "evm")
    seen = {_digest(tx_hash) for tx_hash in archive.tx_hashes()}
    readers = [_FileReader(archive, path, seen, only_chain) for path in files]
    with progress("ingest files", len(files)) as bar:
        for reader in readers:
            reader.run()
            bar.advance(1)
    return IngestReport(
        added=sum(reader.added for reader in readers),
        duplicates=sum(reader.duplicates for reader in readers),
        rejected=tuple(line for reader in readers for line in reader.rejected),
        coverage=archive.coverage(),
    )


@dataclass(slots=True)
class _FileReader:
    """One input file on its way into the archive, part by part."""

    archive: Archive
    path: Path
    seen: set[bytes]
    only_chain: str | None
    added: int = 0
    duplicates: int = 0
    rejected: list[str] = field(default_factory=list)

    def run(self) -> None:
        digest = file_sha256(self.path)
        before = [part for part in self.archive.parts() if part.input == digest]
        done = max((part.last for part in before), default=0)
        self.rejected += [line for part in before for line in part.rejected]
        part = _Part(done + 1)
        for line in read_lines(self.path, after=done):
            part.last = max(part.first, line.number)
            if line.transaction is None:
                part.rejected.append(line.error)
            elif self._is_new(line.transaction):
                part.add(record_row(line.raw, line.transaction))
            else:
                part.skipped += 1
            if part.full:
                self._append(digest, part)
                part = _Part(line.number + 1)
        self._append(digest, part)

    def _is_new(self, transaction: Transaction) -> bool:
        if self.only_chain is not None and transaction.chain != self.only_chain:
            return False
        digest = _digest(transaction.hash)
        if digest in self.seen:
            self.duplicates += 1
            return False
        self.seen.add(digest)
        return True

    def _append(self, digest: str, part: "_Part") -> None:
        if part.rows or part.skipped:
            self.archive.append(
                part.rows,
                PartInfo(
                    input=digest,
                    name=self.path.name,
                    first=part.first,
                    last=part.last,
                    transactions=len(part.rows),
                    duplicates=part.skipped,
                    rejected=tuple(part.rejected),
                ),
            )
        self.added += len(part.rows)
        self.rejected += part.rejected


@dataclass(slots=True)
class _Part:
    """Rows waiting to become a part of the archive, with the lines or blocks that they stand for."""

    first: int
    last: int = 0
    rows: list[RawBlock] = field(default_factory=list)
    bytes: int = 0
    skipped: int = 0
    rejected: list[str] = field(default_factory=list)

    def add(self, raw: RawBlock) -> None:
        self.rows.append(raw)
        self.bytes += sum(len(body) for body in raw.bodies.values())

    @property
    def full(self) -> bool:
        return len(self.rows) >= PART_ROWS or self.bytes >= PART_BYTES


def _digest(tx_hash: str) -> bytes:
    return hashlib.blake2b(tx_hash.encode(), digest_size=12).digest()
