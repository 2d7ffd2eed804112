"""Tables of cryo and ethereum-etl as one input of ingest: the same lines that a file of records gives."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain as chain_of
from pathlib import Path

from blockscan.artifact import file_sha256
from blockscan.chains.encode import encode
from blockscan.chains.ethereum import parse_record
from blockscan.chains.table_files import SUFFIXES
from blockscan.chains.tables import read_tables, recognise
from blockscan.errors import ParseError
from pipelines.sources import Line


def tables_among(inputs: Sequence[Path]) -> list[Path]:
    """Those inputs that are tables: directories, and files with the columns of a known dataset."""
    return [path for path in inputs if path.is_dir() or (path.is_file() and recognise(path) is not None)]


def digest_of(tables: Sequence[Path]) -> str:
    """One SHA-256 for a set of tables, whatever their order: its records are numbered by the whole set."""
    files = [path for path in tables if path.is_file()]
    for folder in (path for path in tables if path.is_dir()):
        files += [path for path in folder.rglob("*") if path.is_file() and path.name.endswith(SUFFIXES)]
    return hashlib.sha256("\n".join(sorted(map(file_sha256, set(files)))).encode()).hexdigest()


def read_table_lines(tables: Sequence[Path], *, chain: str, after: int = 0) -> Iterator[Line]:
    """The records of some tables from number `after` + 1 on; what cannot be joined is a line with an error.

    Args:
        tables: files and directories.
        chain: name of the chain where tables hold no chain id.
        after: records and rejected ones that were read before.

    Raises:
        ChainError, ParseError: as `read_tables`.
    """
    number = 0
    rejected: list[str] = []
    records = read_tables(tables, chain=chain, reject=rejected.append)
    for record in chain_of(records, (None,)):
        for error in rejected:
            number += 1
            if number > after:
                yield Line(number, b"", None, error)
        rejected.clear()
        number += 1
        if record is not None and number > after:
            yield _line(number, record)


def _line(number: int, record: dict[str, object]) -> Line:
    try:
        return Line(number, encode(record), parse_record(record))
    except ParseError as error:
        return Line(number, b"", None, f"{record['tx_hash']}: {error}")
