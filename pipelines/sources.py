"""What a step reads: an archive, a file of records, an archive part, or blocks of a node, in shards.

A shard is the unit of the batch scoring job: one part of an archive, one file, or one block range.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from blockscan.archive import MANIFEST, Archive, RawBlock, part_info
from blockscan.archive_merged import read_listed_part
from blockscan.archive_parts import may_hold
from blockscan.chains.decode import read_document
from blockscan.chains.families import parse, parse_record
from blockscan.errors import ArtifactError, ParseError
from blockscan.transaction import Transaction
from pipelines.ranges import BlockRange

LONGEST_LINE = 512 * 1024 * 1024
"""Bytes of one JSONL line read at all; the longest real one seen is 32 MB."""

BOM = b"\xef\xbb\xbf"
"""What some editors begin a UTF-8 file with."""

TimeOrder = tuple[int, int, int, str, str]
"""Block, time of an unknown block, place in the block, hash, chain; see time_order."""


@dataclass(slots=True)
class Rejects:
    """What could not be read, one line each, naming file and line; filled while a source is read."""

    _lines: dict[str, None] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """What was added, in order."""
        return list(self._lines)

    def add(self, line: str) -> None:
        """Remember a line once, however often its source is read."""
        self._lines[line] = None


@dataclass(frozen=True, slots=True)
class Shard:
    """A named set of transactions that can be read again; `rows` is at least their number.

    `read` is a partial of a function of a module where another process is to read it, too.
    """

    name: str
    read: Callable[[], Iterator[Transaction]]
    rows: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a JSONL file: 1-based number, raw bytes, its transaction or what is wrong with it."""

    number: int
    raw: bytes
    transaction: Transaction | None
    error: str = ""


def open_shards(source: Path, rejects: Rejects, blocks: BlockRange | None = None) -> list[Shard]:
    """The shards of an archive directory, a `.jsonl[.gz]` file or a Parquet part of an archive.

    Args:
        source: what to read.
        rejects: takes what cannot be parsed.
        blocks: only transactions of these blocks; those without a block number are left out then. Parts
            of a node without one of these blocks are no shards.

    Raises:
        ArtifactError: the path is none of these, or the archive is empty.
    """
    if source.is_dir():
        parts = Archive(source).live_parts()
        if not any(part.transactions for _, part, _ in parts):
            raise ArtifactError(f"the archive {source} is empty; run `blockscan ingest` first")
        return [
            _part_shard(path, part.transactions, rejects, blocks, retired)
            for path, part, retired in parts
            if blocks is None
            or may_hold(part, blocks.start, None if blocks.stop is None else blocks.stop - 1)
        ]
    if not source.is_file():
        raise ArtifactError(f"{source} does not exist; give an archive, a .jsonl[.gz] or a .parquet file")
    if source.suffix == ".parquet":
        rows = part_info(source).transactions
        return [_part_shard(source, rows, rejects, blocks, _retired_beside(source))]
    if ".jsonl" in source.name:
        return [_file_shard(source, rejects, blocks)]
    raise ArtifactError(f"{source}: not a kind of file that is read here (.jsonl, .jsonl.gz, .parquet)")


def read_transactions(shards: list[Shard]) -> Iterator[Transaction]:
    """Every transaction of every shard, in stored order."""
    for shard in shards:
        yield from shard.read()


def time_order(transaction: Transaction) -> TimeOrder:
    """Sort key: block, place in the block, hash, chain; unknown blocks come first, by their time."""
    block, when = place_of(transaction)
    index = -1 if transaction.index is None else transaction.index
    return block, when, index, transaction.hash, transaction.chain


def place_of(transaction: Transaction) -> tuple[int, int]:
    """Its block and 0, or if that is unknown -1 and its time (Unix seconds), -1 without one."""
    if transaction.block_number is not None:
        return transaction.block_number, 0
    return -1, -1 if transaction.time is None else transaction.time


def read_lines(path: Path, *, after: int = 0, family: str = "evm") -> Iterator[Line]:
    """The records of a JSONL file from line `after` + 1 on; a damaged gzip ends in a line of its own.

    Records of every chain family are read; what is wrong with one of none is said as for `family`.
    """
    number = 0
    try:
        with _open(path) as stream:
            while raw := stream.readline(LONGEST_LINE + 1):
                number += 1
                raw = raw.removeprefix(BOM) if number == 1 else raw
                if number > after and raw.strip():
                    yield _read_line(path, number, raw, family)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield Line(number, b"", None, f"{path.name}: damaged or truncated gzip after line {number} ({error})")


def _read_line(path: Path, number: int, raw: bytes, family: str) -> Line:
    try:
        if len(raw) > LONGEST_LINE:
            raise ParseError(f"longer than {LONGEST_LINE:,} bytes")
        return Line(number, raw, read_document(raw, partial(parse_record, family=family)))
    except ParseError as error:
        return Line(number, b"", None, f"{path.name}:{number}: {error}")


def record_row(raw: bytes, transaction: Transaction) -> RawBlock:
    """A line and its transaction as an archive row."""
    return RawBlock(
        chain=transaction.chain,
        number=transaction.block_number,
        hash=None,
        parent_hash=None,
        time=transaction.time,
        source=transaction.source,
        form="record",
        tx_hashes=(transaction.hash,),
        bodies={"record": raw},
    )


def _open(path: Path) -> BinaryIO:
    try:
        return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error


def _retired_beside(part: Path) -> Mapping[int, str]:
    """The retired rows of a part that lies in its archive; none are known of one that was copied away."""
    if not (part.parent / MANIFEST).is_file():
        return {}
    return Archive(part.parent).retired().get(part.name, {})


def _part_shard(
    path: Path, rows: int, rejects: Rejects, blocks: BlockRange | None, retired: Mapping[int, str]
) -> Shard:
    return Shard(path.stem, partial(_read_part, path, rejects, blocks, retired), rows)


def _read_part(
    path: Path, rejects: Rejects, blocks: BlockRange | None, retired: Mapping[int, str]
) -> Iterator[Transaction]:
    def wanted(number: int | None) -> bool:
        return _inside(number, blocks) and number not in retired

    for raw in read_listed_part(path, wanted):
        try:
            yield from parse(raw)
        except ParseError as error:
            rejects.add(f"{path.name} block {raw.number}: {error}")


def _file_shard(path: Path, rejects: Rejects, blocks: BlockRange | None) -> Shard:
    name = path.name.encode(errors="backslashreplace").decode()  # a name need not be UTF-8; what is stored is
    return Shard(name, partial(_read_file, path, rejects, blocks), _line_count(path))


def _read_file(path: Path, rejects: Rejects, blocks: BlockRange | None) -> Iterator[Transaction]:
    for line in read_lines(path):
        if line.transaction is None:
            rejects.add(line.error)
        elif _inside(line.transaction.block_number, blocks):
            yield line.transaction


def _line_count(path: Path) -> int:
    """Lines of a file, as far as a damaged gzip can be read."""
    count = 0
    with _open(path) as stream, suppress(EOFError, gzip.BadGzipFile, zlib.error):
        while chunk := stream.read(1 << 20):
            count += chunk.count(b"\n")
    return count + 1


def _inside(number: int | None, blocks: BlockRange | None) -> bool:
    return blocks is None or (number is not None and number in blocks)
