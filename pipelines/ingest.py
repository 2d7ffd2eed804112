"""Step 1: bring chain data into an archive, from a node over JSON-RPC or from files of records."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from blockscan.archive import Archive, Coverage, PartInfo, RawBlock
from blockscan.artifact import file_sha256
from blockscan.chains.families import family_of
from blockscan.chains.networks import canonical, nearest
from blockscan.chains.solana import only_votes
from blockscan.errors import ChainError, ConfigError
from blockscan.safetext import safe_text
from blockscan.transaction import Transaction
from pipelines.block_writer import PART_BYTES, PART_REJECTS, PART_ROWS, BlockWriter, Node
from pipelines.ingest_plan import missing_blocks, require_files, require_known, require_same_chain
from pipelines.prefetch import prefetch
from pipelines.progress import progress
from pipelines.ranges import BlockRange
from pipelines.sources import Line, read_lines, record_row
from pipelines.table_lines import digest_of, read_table_lines, tables_among


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one run did, and what the archive holds after it; `unwanted`, `more_rejected` as in PartInfo.

    `all_degraded`: how many blocks came with less than the node offers, or are still so after a repair, where
    no other had a transaction.
    """

    added: int
    duplicates: int
    rejected: tuple[str, ...]
    coverage: Coverage
    unwanted: int = 0
    more_rejected: int = 0
    all_degraded: int = 0

    @property
    def partial(self) -> bool:
        """Whether some of the input was rejected, or all of it is degraded."""
        return bool(self.rejected or self.all_degraded)


def ingest_node(node: Node, blocks: BlockRange, out: Path) -> IngestReport:
    """Fetch the blocks of a range that the archive does not hold yet.

    Blocks whose answers do not hold together are quarantined and reported; where the chain reorganises
    meanwhile, what left it is retired and the new branch is fetched.

    Raises:
        ChainError: the node failed; what was fetched until then is kept, and the same command resumes.
    """
    require_known(node, blocks)
    archive = open_for(node, out)
    writer = BlockWriter(archive, node)
    missing = missing_blocks(node, blocks, archive)
    with progress("ingest blocks", sum(last - first + 1 for first, last in missing)) as bar:
        for first, last in missing:
            number = writer.begin(first)
            try:
                while number <= last:
                    number = _follow(node, writer, number, last, bar.advance)
            except (ChainError, KeyboardInterrupt):
                writer.flush()
                raise
            writer.flush()
    degraded = 0 if writer.whole else writer.degraded
    refused = tuple(writer.quarantined)
    return IngestReport(writer.added, 0, refused, archive.coverage(), all_degraded=degraded)


def _follow(node: Node, writer: BlockWriter, number: int, last: int, advance: Callable[[int], None]) -> int:
    """Add blocks until the last, or until the chain turns out to have forked; the next block to fetch."""
    with closing(prefetch(node, range(number, last + 1))) as answers:
        for at, answer in answers:
            number = writer.add(at, answer)
            if number != at + 1:
                break
            advance(1)
    return number


def open_for(node: Node, out: Path) -> Archive:
    """The archive at `out`, new or of the same chain.

    Raises:
        ArtifactError: it holds blocks of another chain.
    """
    archive = Archive.begin(out, node.family)
    require_same_chain(node, archive)
    return archive


def repair_node(node: Node, out: Path) -> IngestReport:
    """Fetch the quarantined and the degraded blocks of an archive again; what is better replaces what was.

    Raises:
        ArtifactError: `out` is no archive, or of another chain.
        ChainError: the node failed; what was repaired until then is kept.
    """
    Archive(out)
    archive = open_for(node, out)
    before = archive.coverage()
    numbers = sorted({number for number, _ in (*before.quarantined, *before.degraded)})
    writer = BlockWriter(archive, node)
    with progress("repair blocks", len(numbers)) as bar, closing(prefetch(node, numbers)) as answers:
        for number, answer in answers:
            writer.replace(number, answer)
            bar.advance(1)
    after = archive.coverage()
    degraded = 0 if writer.whole else len(after.degraded)
    return IngestReport(writer.added, 0, tuple(writer.quarantined), after, all_degraded=degraded)


def ingest_files(
    files: Sequence[Path],
    out: Path,
    only_chain: str | None = None,
    *,
    family: str = "evm",
    votes: bool = False,
) -> IngestReport:
    """Read files of records (JSONL, plain or gzip) and tables of cryo and ethereum-etl into an archive.

    Malformed lines are reported, the rest is ingested; a transaction already stored is not stored twice.

    Args:
        files: in any order; a file that was read before, wholly or in part, is continued, unless another
            `only_chain` or `votes` is asked of it. Tables, and directories of them, are read together as
            one input.
        out: archive directory, new or existing.
        only_chain: keep only transactions of this chain, by any of its names, where a file mixes several;
            the chain of tables that name none (default: ethereum).
        family: chain family of the archive, "evm" or "solana"; records of another one are rejected.
        votes: keep the votes of Solana's validators.

    Raises:
        ArtifactError: a file cannot be read, or the disk is full.
        ConfigError: there are records, and none of them is of `only_chain`.
    """
    require_files(files)
    archive = Archive.begin(out, family)
    seen = {_digest(*key) for key in archive.tx_keys()}
    only_chain = None if only_chain is None else canonical(only_chain)
    readers = [
        _FileReader(archive, name, _identity(digest, only_chain, votes=votes), read, seen, only_chain, votes)
        for name, digest, read in _inputs(files, only_chain, family)
    ]
    with progress("ingest files", len(readers)) as bar:
        for reader in readers:
            reader.run()
            bar.advance(1)
    if only_chain is not None and not any(reader.matched for reader in readers):
        _refuse_chain(only_chain, sum((reader.others for reader in readers), Counter()))
    return IngestReport(
        added=sum(reader.added for reader in readers),
        duplicates=sum(reader.duplicates for reader in readers),
        rejected=tuple(line for reader in readers for line in reader.rejected),
        coverage=archive.coverage(),
        unwanted=sum(reader.others.total() for reader in readers),
        more_rejected=sum(reader.more_rejected for reader in readers),
    )


def _identity(digest: str, only_chain: str | None, *, votes: bool) -> str:
    """What a reading of an input is known by: the input's digest alone, unless a choice is made from it.

    So what one choice left out is read when another is made.
    """
    choice = f"{only_chain or ''} {'votes' if votes else ''}".strip()
    return hashlib.sha256(f"{digest} {choice}".encode()).hexdigest() if choice else digest


def _refuse_chain(wanted: str, others: Counter[str]) -> None:
    """End a run in which records were read and none was of the chain asked for."""
    if others:
        held = ", ".join(f"{safe_text(name)} ({count:,})" for name, count in others.most_common(3))
        raise ConfigError(
            f"no record is of chain {wanted[:40]!r} and nothing was ingested; they are of {held}"
            f"{nearest(wanted)}"
        )


def _inputs(files: Sequence[Path], only_chain: str | None, family: str) -> list[tuple[str, str, "_Read"]]:
    """Name, digest and reader of each input: every file of records, and all tables as one."""
    tables = tables_among(files)
    inputs: list[tuple[str, str, _Read]] = [
        (path.name, file_sha256(path), partial(read_lines, path, family=family))
        for path in files
        if path not in tables
    ]
    if tables:
        read = partial(read_table_lines, tables, chain=only_chain or "ethereum")
        inputs.append((", ".join(path.name for path in tables[:3]), digest_of(tables), read))
    return inputs


class _Read(Protocol):
    """Reads the lines of an input from `after` + 1 on."""

    def __call__(self, *, after: int) -> Iterator[Line]: ...


@dataclass(slots=True)
class _FileReader:
    """One input on its way into the archive, part by part."""

    archive: Archive
    name: str
    digest: str
    read: _Read
    seen: set[bytes]
    only_chain: str | None
    votes: bool
    added: int = 0
    duplicates: int = 0
    rejected: list[str] = field(default_factory=list)
    more_rejected: int = 0
    others: Counter[str] = field(default_factory=Counter)  # chains of the records not asked for
    matched: bool = False  # whether any record was asked for, now or in an earlier run

    def run(self) -> None:
        before = [part for part in self.archive.parts() if part.input == self.digest]
        self.matched = any(part.transactions or part.duplicates for part in before)
        done = max((part.last for part in before), default=0)
        self.rejected += [line for part in before for line in part.rejected]
        self.more_rejected = sum(part.more_rejected for part in before)
        part = _Part(done + 1)
        for line in self.read(after=done):
            part.last = max(part.first, line.number)
            if line.transaction is None:
                part.reject(line.error)
            elif (family := family_of(line.transaction)) != self.archive.family:
                part.reject(self._misplaced(line.number, family))
            elif not self._is_wanted(line.transaction):
                self.others[line.transaction.chain] += 1
                part.unwanted += 1
            elif self._is_new(line.transaction):
                part.add(record_row(line.raw, line.transaction))
            else:
                part.skipped += 1
            if part.full:
                self._append(part)
                part = _Part(line.number + 1)
        self._append(part)

    def _misplaced(self, number: int, family: str) -> str:
        return (
            f"{self.name}:{number}: a record of the {family} family, and the archive is of "
            f"{self.archive.family}; ingest it into another --out"
        )

    def _is_wanted(self, transaction: Transaction) -> bool:
        if self.only_chain is not None and canonical(transaction.chain) != self.only_chain:
            return False
        self.matched = True
        return self.votes or not only_votes(transaction)

    def _is_new(self, transaction: Transaction) -> bool:
        digest = _digest(*transaction.key)
        if digest in self.seen:
            self.duplicates += 1
            return False
        self.seen.add(digest)
        return True

    def _append(self, part: "_Part") -> None:
        if part.rows or part.skipped or (part.unwanted and self.matched):
            self.archive.append(
                part.rows,
                PartInfo(
                    input=self.digest,
                    name=self.name,
                    first=part.first,
                    last=part.last,
                    transactions=len(part.rows),
                    duplicates=part.skipped,
                    rejected=tuple(part.rejected),
                    unwanted=part.unwanted,
                    more_rejected=part.more_rejected,
                ),
            )
        self.added += len(part.rows)
        self.rejected += part.rejected
        self.more_rejected += part.more_rejected


@dataclass(slots=True)
class _Part:
    """Rows waiting to become a part of the archive, with the lines or blocks that they stand for."""

    first: int
    last: int = 0
    rows: list[RawBlock] = field(default_factory=list)
    bytes: int = 0
    skipped: int = 0
    unwanted: int = 0
    rejected: list[str] = field(default_factory=list)
    more_rejected: int = 0

    def reject(self, line: str) -> None:
        """Keep the first lines, which every command that opens the archive reads again; count the others."""
        if len(self.rejected) < PART_REJECTS:
            self.rejected.append(line)
        else:
            self.more_rejected += 1

    def add(self, raw: RawBlock) -> None:
        self.rows.append(raw)
        self.bytes += sum(len(body) for body in raw.bodies.values())

    @property
    def full(self) -> bool:
        return len(self.rows) >= PART_ROWS or self.bytes >= PART_BYTES


def _digest(chain: str, tx_hash: str) -> bytes:
    return hashlib.blake2b(f"{canonical(chain)} {tx_hash}".encode(), digest_size=12).digest()
