"""Tables that users already have (cryo, ethereum-etl) -> records, one per transaction, in bounded memory.

The datasets of a directory are merged by block and joined by transaction hash; no more than the rows of one
block of each dataset are held. What a set of tables lacks shows in the record: without frames its
`trace_source` is `receipt`, and where no table of logs covers its block, it has no `logs`.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from blockscan.archive import covered_ranges
from blockscan.chains import cryo, etl
from blockscan.chains.ethereum import chain_name
from blockscan.chains.table_files import (
    SUFFIXES,
    TableFile,
    columns_of,
    in_block_order,
    look_through,
)
from blockscan.chains.table_rows import (
    BlockRow,
    Dataset,
    FrameRow,
    LogRow,
    Part,
    ReceiptRow,
    Role,
    TransactionRow,
)
from blockscan.errors import ChainError, ParseError
from blockscan.transaction import TraceSource

Record = dict[str, Any]
Reject = Callable[[str], None]
DATASETS = {each.name: each for each in (*cryo.DATASETS, *etl.DATASETS)}
_EXTRA = ("0x", None, "")


def recognise(path: Path) -> str | None:
    """Which dataset of which tool a file holds ("cryo txs", "ethereum-etl logs"), told by its columns.

    None: a table of another kind, or no table at all.

    Raises:
        ChainError: the file cannot be read.
    """
    columns = columns_of(path)
    return next((name for name, each in DATASETS.items() if columns and each.telling <= columns), None)


def read_tables(paths: Sequence[Path], *, reject: Reject, chain: str = "ethereum") -> Iterator[Record]:
    """The transactions of some tables, in block order, as records that `parse_record` reads.

    Args:
        paths: files, or directories that are searched for them; tables of other kinds are passed over
            in a directory and refused as a file.
        reject: takes one line for each transaction that cannot be put together.
        chain: name of the chain where the tables hold no chain id (ethereum-etl).

    Raises:
        ChainError: no table, a table without a column that is needed, datasets that do not go together,
            or a damaged file.
        ParseError: a cell that does not hold what its column should; names file, row and column.
    """
    joined = _Joined(_plan(paths), chain, reject)
    for block, rows in groupby(joined.rows(), key=itemgetter(0)):
        yield from joined.block(block, [part for _, part in rows])


@dataclass(frozen=True, slots=True)
class _Tables:
    """The files of one dataset that hold rows, and the block ranges of which they say everything."""

    dataset: Dataset
    files: list[TableFile]
    covered: list[tuple[int, int]]

    def rows(self) -> Iterator[tuple[int, Part]]:
        for block, row in in_block_order(self.files, self.dataset.block_column):
            part = self.dataset.read(row)
            if part is not None:
                yield block, part

    def covers(self, block: int) -> bool:
        place = bisect_right(self.covered, block, key=itemgetter(0)) - 1
        return place >= 0 and block <= self.covered[place][1]


@dataclass(frozen=True, slots=True)
class _Joined:
    """The tables of a run by what their rows are, and what is to be said of their transactions."""

    tables: dict[Role, _Tables]
    chain: str
    reject: Reject

    def rows(self) -> Iterator[tuple[int, Part]]:
        return merge(*(each.rows() for each in self.tables.values()), key=itemgetter(0))

    def block(self, number: int, parts: Sequence[Part]) -> Iterator[Record]:
        """The records of one block, in order."""
        logs, frames = _by_transaction(parts)
        receipts = {part.tx_hash: part for part in parts if isinstance(part, ReceiptRow)}
        header = next((part for part in parts if isinstance(part, BlockRow)), BlockRow(None, None))
        found = {part.hash: part for part in parts if isinstance(part, TransactionRow)}
        if Role.TRANSACTION not in self.tables:
            found = {row.hash: row for row in _from_roots(frames)}
        for row in sorted(found.values(), key=lambda row: row.index):
            try:
                yield self._record(
                    number,
                    row,
                    receipts.get(row.hash),
                    header,
                    logs.pop(row.hash, []),
                    frames.pop(row.hash, []) or frames.pop(row.index, []),
                )
            except ParseError as error:
                self.reject(f"block {number} transaction {row.hash}: {error}")
        left = len(logs) + len(frames)
        if left:
            self.reject(f"block {number}: logs or traces of {left} transactions that no table of them holds")

    def _record(
        self,
        number: int,
        row: TransactionRow,
        receipt: ReceiptRow | None,
        header: BlockRow,
        logs: Sequence[LogRow],
        frames: Sequence[FrameRow],
    ) -> Record:
        ok = row.ok if receipt is None else receipt.ok
        gas_used = row.gas_used if receipt is None else receipt.gas_used
        dataset = self.tables[Role.FRAME].dataset if Role.FRAME in self.tables else None
        if frames and dataset is not None:
            trace, whole = nest(frames)
            source = dataset.source if frames[0].tx_hash else TraceSource.CALL_TRACER
            ok = ok if ok is not None else not trace.get("error")
            if trace.get("from") != row.sender:
                raise ParseError("its traces start at another sender")
        else:
            created = row.created if receipt is None else receipt.created
            trace, whole, source = _root_only(row, created), True, TraceSource.RECEIPT
        if gas_used is not None:
            trace["gasUsed"] = hex(gas_used)  # nodes disagree on whether a trace has the intrinsic part
        if ok is None:
            raise ParseError("nothing says whether it succeeded; add the table of receipts or of traces")
        record = {
            "chain": self.chain if row.chain_id is None else chain_name(row.chain_id),
            "tx_hash": row.hash,
            "block_number": number,
            "block_hash": row.block_hash or header.hash,
            "tx_index": row.index,
            "timestamp": header.time if row.time is None else row.time,
            "status": int(ok),
            "gas_used": gas_used,
            "trace_source": source.value if source else None,
            "trace": trace,
        }
        if not whole:
            record["missing"] = ["failed calls"]
        if Role.LOG in self.tables and self.tables[Role.LOG].covers(number):
            record["logs"] = [each.log for each in sorted(logs, key=lambda each: each.index)]
        return record


def nest(frames: Sequence[FrameRow]) -> tuple[Record, bool]:
    """The frames of one transaction as callTracer's tree, and whether all of them are there.

    Raises:
        ParseError: no outermost frame, a frame whose caller is missing, or two in one place.
    """
    built: dict[tuple[int, ...], Record] = {}
    whole = True
    children: dict[tuple[int, ...], int] = defaultdict(int)
    for each in sorted(frames, key=lambda each: each.place):
        frame = {key: value for key, value in each.frame.items() if value not in _EXTRA or key == "type"}
        if each.place in built:
            if {key: value for key, value in built[each.place].items() if key != "calls"} != frame:
                raise ParseError(f"two different frames at trace address {list(each.place)[:8]}")
            continue
        if each.place:
            caller = built.get(each.place[:-1])
            if caller is None:
                raise ParseError(f"no caller for trace address {list(each.place)[:8]}")
            whole = whole and each.place[-1] == children[each.place[:-1]]
            children[each.place[:-1]] += 1
            caller.setdefault("calls", []).append(frame)
        built[each.place] = frame
    if () not in built:
        raise ParseError("its outermost frame is missing (empty trace address)")
    stated = {each.place: each.subtraces for each in frames if each.subtraces is not None}
    return built[()], whole and all(children[place] == count for place, count in stated.items())


def _plan(paths: Sequence[Path]) -> dict[Role, _Tables]:
    """The datasets to be joined, one for each role.

    Raises:
        ChainError: see `read_tables`.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path, named in _files(paths):
        dataset = recognise(path)
        if dataset is None and named:
            raise ChainError(f"{path} is no table of cryo or ethereum-etl that is read here; leave it out")
        if dataset is not None:
            by_name[dataset].append(path)
    plan: dict[Role, _Tables] = {}
    for name, files in by_name.items():
        dataset_ = DATASETS[name]
        other = plan.get(dataset_.role)
        if other is not None and {name, other.dataset.name} != {"cryo geth_calls", "cryo traces"}:
            raise ChainError(f"both {other.dataset.name} and {name} are given; give one of them")
        if other is None or not dataset_.drops_failed:
            plan[dataset_.role] = _looked_through(dataset_, files)
    _check(plan, paths)
    return plan


def _check(plan: dict[Role, _Tables], paths: Sequence[Path]) -> None:
    where = ", ".join(map(str, paths[:3]))
    frames = plan.get(Role.FRAME)
    if Role.TRANSACTION in plan:
        return
    if frames is None:
        raise ChainError(f"{where}: neither transactions nor traces of cryo or ethereum-etl; nothing to read")
    if frames.dataset.drops_failed:
        raise ChainError(
            f"{where}: cryo's traces leave out failed transactions; add its txs, or export geth_calls"
        )
    if frames.dataset.name.startswith("ethereum-etl"):
        raise ChainError(f"{where}: traces of ethereum-etl alone; add its transactions")


def _looked_through(dataset: Dataset, paths: Sequence[Path]) -> _Tables:
    found = []
    for path in paths:
        lacking = sorted((dataset.needed | {dataset.block_column}) - columns_of(path))
        if lacking:
            raise ChainError(
                f"{path}: this table ({dataset.name}) has no column {', '.join(lacking)}; export it with it"
            )
        found.append(look_through(path, dataset.block_column))
    files = [each for each in found if each is not None]
    return _Tables(dataset, files, covered_ranges([each.covers for each in files]))


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Every file with whether it was named itself; those of directories in a fixed order."""
    for path in paths:
        if path.is_dir():
            for inner in sorted(path.rglob("*")):
                if inner.is_file() and inner.name.endswith(SUFFIXES):
                    yield inner, False
        elif path.is_file():
            yield path, True
        else:
            raise ChainError(f"{path} does not exist; give a table or a directory of tables")


def _by_transaction(
    parts: Sequence[Part],
) -> tuple[dict[str, list[LogRow]], dict[str | int | None, list[FrameRow]]]:
    """Logs by transaction hash; frames by hash or, where there is none, by place in the block."""
    logs: dict[str, dict[int, LogRow]] = defaultdict(dict)
    frames: dict[str | int | None, list[FrameRow]] = defaultdict(list)
    for part in parts:
        if isinstance(part, LogRow):
            logs[part.tx_hash][part.index] = part
        elif isinstance(part, FrameRow):
            frames[part.tx_hash or part.tx_index].append(part)
    return {tx_hash: list(each.values()) for tx_hash, each in logs.items()}, dict(frames)


def _from_roots(frames: dict[str | int | None, list[FrameRow]]) -> Iterator[TransactionRow]:
    """Transactions as their outermost frames show them."""
    for rows in frames.values():
        root = next((row for row in rows if not row.place), None)
        if root is not None and root.tx_hash is not None and root.tx_index is not None:
            yield TransactionRow(
                hash=root.tx_hash,
                index=root.tx_index,
                sender=str(root.frame["from"]),
                target=root.frame["to"],
                value=0,
                data=None,
                gas_used=int(root.frame["gasUsed"] or "0x0", 16),
                ok=None,
                time=None,
                block_hash=None,
                chain_id=root.chain_id,
            )


def _root_only(row: TransactionRow, created: str | None) -> Record:
    """The outermost frame as transaction and receipt show it: no return data, no sub-calls."""
    frame = {
        "type": "CREATE" if row.target is None else "CALL",
        "from": row.sender,
        "to": created if row.target is None else row.target,
        "value": hex(row.value),
        "input": row.data,
    }
    return {key: value for key, value in frame.items() if value is not None}
