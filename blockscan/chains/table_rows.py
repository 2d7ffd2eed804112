"""What a row of a table says, whichever tool wrote it; values are in JSON-RPC's spelling."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from blockscan.chains.table_files import Row
from blockscan.errors import ParseError
from blockscan.transaction import TraceSource


class Role(StrEnum):
    """What the rows of a dataset are."""

    TRANSACTION = "transactions"
    RECEIPT = "receipts"
    LOG = "logs"
    FRAME = "traces"
    BLOCK = "blocks"


@dataclass(frozen=True, slots=True)
class TransactionRow:
    """A transaction; None where the dataset does not say."""

    hash: str
    index: int
    sender: str
    target: str | None
    value: int
    data: str | None
    gas_used: int | None
    ok: bool | None
    time: int | None
    block_hash: str | None
    chain_id: int | None
    created: str | None = None


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """What a receipt adds to its transaction."""

    tx_hash: str
    gas_used: int | None
    ok: bool | None
    created: str | None


@dataclass(frozen=True, slots=True)
class LogRow:
    """A log as it stands in a receipt; `index` is its place in the block."""

    tx_hash: str
    index: int
    log: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A call frame in callTracer's form and its place among its siblings, outermost first.

    Transactions of datasets without hashes are told by `tx_index`.
    """

    tx_hash: str | None
    tx_index: int | None
    place: tuple[int, ...]
    frame: dict[str, Any]
    subtraces: int | None
    chain_id: int | None


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A block's hash and Unix time."""

    hash: str | None
    time: int | None


Part: TypeAlias = TransactionRow | ReceiptRow | LogRow | FrameRow | BlockRow


@dataclass(frozen=True, slots=True)
class Dataset:
    """One kind of table: which columns tell it apart, which it needs, and what its rows say.

    `read` gives None for rows that belong to no transaction. `source` is that of the call tree that
    frames make.
    """

    name: str
    role: Role
    telling: frozenset[str]
    needed: frozenset[str]
    read: Callable[[Row], Part | None]
    block_column: str = "block_number"
    source: TraceSource | None = None
    """Trace source without logs."""
    drops_failed: bool = False
    """Whether the tool leaves out failed calls and all below them."""


def required(row: Row, name: str, value: str | None) -> str:
    """A cell that must not be empty.

    Raises:
        ParseError: it is.
    """
    if value is None:
        raise row.error(name, "a value is needed")
    return value


def place_of(row: Row, separator: str) -> tuple[int, ...]:
    """The column trace_address: "" for the root, else whole numbers.

    Raises:
        ParseError: it is something else.
    """
    cell = row.cell("trace_address")
    if isinstance(cell, list):
        parts = [str(part) for part in cell]
    else:
        parts = str(cell).split(separator) if cell is not None else []
    try:
        return tuple(int(part) for part in parts)
    except ValueError as error:
        raise row.error("trace_address", f"whole numbers joined by {separator!r} are needed") from error


def quantity(row: Row, name: str) -> str | None:
    """A whole number as 0x text."""
    value = row.whole(name)
    return None if value is None else hex(value)


def transaction_index(row: Row, name: str) -> int:
    """The place of a transaction or a log in its block.

    Raises:
        ParseError: it is missing.
    """
    value = row.whole(name)
    if value is None:
        raise row.error(name, "a place in the block is needed")
    return value


def unknown_kind(row: Row, name: str) -> ParseError:
    """A frame type that no client writes."""
    return row.error(name, "an unknown kind of call")
