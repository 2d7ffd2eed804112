"""One part of an archive: a Parquet file with its rows and, in its metadata, what it covers."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blockscan.artifact import sync
from blockscan.errors import ArtifactError
from blockscan.transaction import TraceSource


class PartGone(ArtifactError):
    """A part file is not there: it was moved away, or merged into another since it was listed."""


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

    `form` is "rpc" (bodies block, receipts, traces: JSON-RPC envelopes, or arrays of them whose ids are
    places in the block) or "record" (body record: one JSON line with one transaction). `source` is the
    trace source that the endpoint offered; for a record it is settled by parsing. `degraded` says why a
    block is of a lesser source than the endpoints offer, or has transactions that could not be traced; it
    is kept in the part's info, not in the row.
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
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class PartInfo:
    """What one part covers: blocks [first, last] of a node, or lines [first, last] of an input file.

    `input` is "" for a node, else the file's SHA-256, or that of the file's and of what was chosen from it.
    `unwanted` counts lines that were not chosen: of other chains, votes. `rejected` lists what was refused,
    one line each, up to a number; `more_rejected` counts the others.

    Of a node's blocks, `quarantined` (number, reason) have no row here, `degraded` (number, reason) have one
    that a repair may better, and `retired` (part file, number, why) names rows of earlier parts that this
    part replaces or that left the chain: they stay on disk and are read no more.
    """

    input: str
    name: str
    first: int
    last: int
    transactions: int
    duplicates: int = 0
    rejected: tuple[str, ...] = field(default=())
    chain_id: int | None = None
    quarantined: tuple[tuple[int, str], ...] = ()
    degraded: tuple[tuple[int, str], ...] = ()
    retired: tuple[tuple[str, int, str], ...] = ()
    unwanted: int = 0
    more_rejected: int = 0


def may_hold(info: PartInfo, first: int, last: int | None) -> bool:
    """Whether a part can have blocks of [first, last], None for no end; a file's records may be any."""
    return bool(info.input) or (info.last >= first and (last is None or info.first <= last))


def write_part(target: Path, rows: Sequence[RawBlock], info: PartInfo) -> None:
    """Write a part under a temporary name, then give it its own: it is there whole, or not at all.

    Raises:
        ArtifactError: the disk refused (full, read-only), or an answer is too long for a cell; nothing stored
            before is touched.
    """
    columns = {name: [_cell(row, name) for row in rows] for name in _SCHEMA.names}
    draft = target.with_name(f".{target.name}.draft")
    try:
        table = pa.table(columns, schema=_SCHEMA.with_metadata({"blockscan": json.dumps(asdict(info))}))
        pq.write_table(table, draft, compression="zstd", row_group_size=128)
        sync(draft)
        draft.rename(target)
        sync(target.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ArtifactError(
            f"cannot write {target}: {error}; free some space and run the same command again to resume"
        ) from error
    except pa.ArrowException as error:
        draft.unlink(missing_ok=True)
        why = " ".join(str(error).split())
        raise ArtifactError(
            f"cannot write {target}: {why}; if an endpoint is allowed answers of gigabytes, allow it less "
            "with #max_mb=N after its URL"
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[pq.ParquetFile]:
    """An open part file; whatever is wrong with it, at its end or in its pages, becomes one error.

    Raises:
        PartGone: it is not there.
        ArtifactError: it is damaged.
    """
    try:
        with pq.ParquetFile(path) as parquet:
            yield parquet
    except FileNotFoundError as error:
        raise PartGone(f"{path} is gone; put it back, or run the ingest again to fetch it anew") from error
    except (OSError, pa.ArrowException, ValueError, LookupError, TypeError) as error:
        why = " ".join(str(error).split())  # Arrow's messages have several lines
        raise ArtifactError(
            f"{path} is damaged ({why}); move it away and run the ingest again to fetch it anew"
        ) from error


def part_info(path: Path) -> PartInfo:
    """What one part file covers.

    Raises:
        ArtifactError: the file is damaged or no part of an archive.
    """
    with _reading(path) as parquet:
        stored = (parquet.schema_arrow.metadata or {}).get(b"blockscan")
        if stored is None:
            raise ArtifactError(f"{path} is no part of an archive; give an archive, or its part-*.parquet")
        return _info(json.loads(stored))


def _info(raw: object) -> PartInfo:
    """A part's metadata checked.

    Raises:
        ValueError, LookupError, TypeError: they are not what was written.
    """
    if not isinstance(raw, dict):
        raise ValueError("its metadata are no object")
    widths = {"quarantined": 2, "degraded": 2, "retired": 3}
    lists = {name: tuple(tuple(each) for each in raw.get(name, ())) for name in widths}
    if any(len(each) != width for name, width in widths.items() for each in lists[name]):
        raise ValueError("its metadata are cut short")
    if not all(isinstance(raw[name], int) for name in ("first", "last", "transactions")):
        raise ValueError("its metadata do not say what it covers")
    known = {each.name for each in fields(PartInfo)}
    given = {name: value for name, value in raw.items() if name in known}
    return PartInfo(**(given | lists | {"rejected": tuple(raw["rejected"])}))


def read_part(path: Path, keep: Callable[[int | None], bool] | None = None) -> Iterator[RawBlock]:
    """The rows of one part file, without holding more than a few hundred in memory.

    Args:
        path: a part file.
        keep: asked with each row's block number; rows that it refuses are not even decompressed where a
            whole row group is refused.

    Raises:
        ArtifactError: the file is damaged.
    """
    with _reading(path) as parquet:
        for group in range(parquet.num_row_groups):
            numbers = parquet.read_row_group(group, columns=["number"]).column(0).to_pylist()
            wanted = [place for place, number in enumerate(numbers) if keep is None or keep(number)]
            if wanted:
                yield from map(_row, parquet.read_row_group(group).take(wanted).to_pylist())


def read_columns(path: Path, *names: str) -> list[tuple[Any, ...]]:
    """Some columns of one part file, row by row.

    Raises:
        ArtifactError: the file is damaged, or has no such column.
    """
    with _reading(path) as parquet:
        table = parquet.read(columns=list(names))
        return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


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
