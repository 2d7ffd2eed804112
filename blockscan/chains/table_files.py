"""Tables of chain data on disk (Parquet, CSV, JSON lines): their columns, their rows, rows in block order.

Files are larger than memory and may be sorted or not, overlap or not. Each is looked through once for its
block numbers alone; then only files whose range has been reached are open at the same time.
"""

import csv
import gzip
import heapq
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from blockscan.errors import ChainError, ParseError

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".json", ".json.gz", ".jsonl", ".jsonl.gz")
_BATCH_ROWS = 512
_CSV_BLOCK = 32 * 1024 * 1024
"""Bytes of CSV parsed at once, and so the longest row that is read."""
_LONGEST_LINE = 64 * 1024 * 1024
_SORTED_AT_ONCE = 100_000
"""Rows of an unsorted file held in memory; a file with more of them is read once for each so many."""
_EXACT_DOUBLE = 2**53
# In the order of preference: a double is the last resort, since it is exact only for small numbers.
_WORD_SUFFIXES = ("", "_binary", "_u256binary", "_string", "_u64", "_u32", "_f64")
_RANGE = re.compile(r"(\d+)(?:_to_|_|-)(\d+)\.")


class Row:
    """One row, whose cells are read as what a column should hold; errors name file and column."""

    __slots__ = ("_cells", "_where")

    def __init__(self, cells: Mapping[str, Any], where: str) -> None:
        """Wrap the cells of a row of the file `where`."""
        self._cells = cells
        self._where = where

    def cell(self, name: str) -> Any:
        """A cell as it stands; None where it is empty or there is no such column."""
        value = self._cells.get(name)
        return None if value == "" else value

    def data(self, name: str, *, size: int | None = None) -> str | None:
        """Bytes (binary or hexadecimal column) as lower-case 0x hex, of `size` bytes where given.

        Raises:
            ParseError: something else stands there.
        """
        value = self.cell(name)
        if value is None:
            return None
        try:
            raw = value if isinstance(value, bytes) else bytes.fromhex(value.removeprefix("0x"))
        except (ValueError, AttributeError) as error:
            raise self.error(name, "hexadecimal digits or bytes are needed") from error
        if size is not None and len(raw) != size:
            raise self.error(name, f"{size} bytes are needed")
        return "0x" + raw.hex()

    def address(self, name: str) -> str | None:
        """A 20-byte address."""
        return self.data(name, size=20)

    def whole(self, name: str) -> int | None:
        """A whole number: integer, decimal or 0x text, or a double that is exact.

        Raises:
            ParseError: something else stands there, or a double above 2^53, which is rounded.
        """
        value = self.cell(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        if isinstance(value, float) and value.is_integer() and value >= 0:
            if value < _EXACT_DOUBLE:
                return int(value)
            raise self.error(name, "a rounded number; export it as binary or string (cryo: --u256-types)")
        if isinstance(value, str) and len(value) <= 80 and value.isascii():
            digits = value.removeprefix("0x")
            if digits.isalnum():
                try:
                    return int(digits, 16 if digits != value else 10)
                except ValueError:
                    pass
        raise self.error(name, "a whole number is needed")

    def word(self, name: str) -> int:
        """A 256-bit number under any of cryo's column names for it; 0 where it is empty.

        Raises:
            ParseError: no such column, or it does not hold a whole number exactly.
        """
        present = [name + suffix for suffix in _WORD_SUFFIXES if name + suffix in self._cells]
        if not present:
            raise self.error(name, "there is no such column")
        value = self.cell(present[0])
        if isinstance(value, bytes):
            return int.from_bytes(value)
        return self.whole(present[0]) or 0

    def flag(self, name: str) -> bool | None:
        """True or False, as a boolean, as 0 and 1, or in words."""
        value = self.cell(name)
        if value is None or isinstance(value, bool):
            return value
        text = str(value).lower()
        if text not in ("0", "1", "0x0", "0x1", "true", "false"):
            raise self.error(name, "true or false is needed")
        return text in ("1", "0x1", "true")

    def time(self, name: str) -> int | None:
        """A Unix time in seconds, from a number or from text like `2023-07-01 12:00:00 UTC`."""
        value = self.cell(name)
        if isinstance(value, datetime):
            return int(value.timestamp() if value.tzinfo else value.replace(tzinfo=UTC).timestamp())
        if isinstance(value, str) and "-" in value:
            try:
                moment = datetime.fromisoformat(value.removesuffix(" UTC"))
            except ValueError as error:
                raise self.error(name, "a time is needed") from error
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        return self.whole(name)

    def error(self, name: str, wanted: str) -> ParseError:
        """What is wrong with a cell."""
        return ParseError(f"{self._where}: column {name}: {wanted}, found {str(self.cell(name))[:60]!r}")


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file whose blocks were looked through: from `first` to `last`, row counts where out of order.

    `covers` is the block range that the file's name states, else the range of its rows: outside of it the
    file says nothing.
    """

    path: Path
    first: int
    last: int
    covers: tuple[int, int]
    unsorted: Mapping[int, int] | None


def columns_of(path: Path) -> frozenset[str]:
    """The names of a table's columns; of JSON lines, the names in the first line. Empty: no table.

    Raises:
        ChainError: the file cannot be read, or is damaged.
    """
    if not path.name.endswith(SUFFIXES):
        return frozenset()
    with _plain_errors(path):
        if path.suffix == ".parquet":
            return frozenset(pq.read_schema(path).names)
        with _open(path) as stream:
            first = stream.readline(_LONGEST_LINE)
        if ".csv" in path.name:
            return frozenset(next(csv.reader([first.decode("utf-8-sig")]), []))
        return frozenset(_json_object(first) or ())


def rows_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Every row of a table in stored order, with all columns or only those named.

    Raises:
        ChainError: the file cannot be read, or is damaged.
    """
    with _plain_errors(path):
        for number, cells in enumerate(_cells(path, columns), start=1):
            yield Row(cells, f"{path.name} row {number}")


def look_through(path: Path, block_column: str) -> TableFile | None:
    """Which blocks a table holds, and whether they are in order; None where it has no rows.

    Raises:
        ChainError, ParseError: the file is damaged, or a block number is missing.
    """
    counts: Counter[int] = Counter()
    in_order, before = True, -1
    for row in rows_of(path, [block_column]):
        block = row.whole(block_column)
        if block is None:
            raise row.error(block_column, "a block number is needed")
        in_order, before = in_order and before <= block, block
        counts[block] += 1
    if not counts:
        return None
    first, last = min(counts), max(counts)
    stated = _RANGE.search(path.name)
    covers = (int(stated[1]), int(stated[2])) if stated else (first, last)
    if not covers[0] <= first <= last <= covers[1]:
        covers = (first, last)
    return TableFile(path, first, last, covers, None if in_order else counts)


def in_block_order(files: Sequence[TableFile], block_column: str) -> Iterator[tuple[int, Row]]:
    """The rows of several tables by block, in bounded memory.

    Raises:
        ChainError, ParseError: as `rows_of`.
    """
    waiting = sorted(files, key=lambda file: (file.first, str(file.path)), reverse=True)
    open_now: list[tuple[int, int, Row, Iterator[tuple[int, Row]]]] = []
    opened = 0
    while waiting or open_now:
        if waiting and (not open_now or waiting[-1].first <= open_now[0][0]):
            rows, place = _ordered_rows(waiting.pop(), block_column), opened
            opened += 1
        else:
            block, place, row, rows = heapq.heappop(open_now)
            yield block, row
        following = next(rows, None)
        if following is not None:
            heapq.heappush(open_now, (following[0], place, following[1], rows))


def _ordered_rows(file: TableFile, block_column: str) -> Iterator[tuple[int, Row]]:
    if file.unsorted is None:
        for row in rows_of(file.path):
            yield row.whole(block_column) or 0, row
        return
    for first, last in _spans(file.unsorted):
        numbered = ((row.whole(block_column) or 0, row) for row in rows_of(file.path))
        yield from sorted((each for each in numbered if first <= each[0] <= last), key=lambda each: each[0])


def _spans(counts: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Block ranges that hold at most `_SORTED_AT_ONCE` rows each (or one block)."""
    blocks = sorted(counts)
    first, held = blocks[0], 0
    for before, block in zip([blocks[0], *blocks], blocks, strict=False):
        if held and held + counts[block] > _SORTED_AT_ONCE:
            yield first, before
            first, held = block, 0
        held += counts[block]
    yield first, blocks[-1]


def _cells(path: Path, columns: Sequence[str] | None) -> Iterator[Mapping[str, Any]]:
    wanted = None if columns is None else list(columns)
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as parquet:
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=wanted):
                yield from batch.to_pylist()
    elif ".csv" in path.name:
        names = sorted(columns_of(path))
        reading = pa.csv.ReadOptions(block_size=_CSV_BLOCK, use_threads=False)
        as_text = pa.csv.ConvertOptions(
            include_columns=wanted, column_types={name: pa.string() for name in names}
        )
        with pa.csv.open_csv(path, read_options=reading, convert_options=as_text) as batches:
            for batch in batches:
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    yield from batch.slice(start, _BATCH_ROWS).to_pylist()
    else:
        yield from _json_lines(path)


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with _open(path) as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            if not line.strip():
                continue
            entry = _json_object(line)
            if entry is None:
                raise ChainError(f"{path.name}:{number}: not one JSON object per line")
            yield entry


def _json_object(line: bytes) -> dict[str, Any] | None:
    """A flat JSON object, or None; whole numbers of any size stay exact."""
    try:
        entry = orjson.loads(line)
        # orjson reads whole numbers above 64 bits, as ethereum-etl writes amounts in wei, as doubles.
        if isinstance(entry, dict) and any(isinstance(cell, float) for cell in entry.values()):
            entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Say of a damaged file which it is."""
    try:
        yield
    except (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise ChainError(
            f"{path} cannot be read ({str(error)[:200]}); export it again, or leave it out"
        ) from error
