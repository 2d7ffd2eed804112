"""Tables that ethereum-etl writes: transactions, receipts, logs, traces, blocks.

Source: ethereum-etl's docs/schema.md and exporters. CSV joins topics and trace addresses by commas, JSON
lines hold lists; BigQuery's copies merge receipts into transactions (receipt_status, receipt_gas_used).
Traces of `export_traces` are trace_block's; those of `extract_geth_traces` are callTracer's, without hash.
"""

from blockscan.chains.table_files import Row
from blockscan.chains.table_rows import (
    BlockRow,
    Dataset,
    FrameRow,
    LogRow,
    ReceiptRow,
    Role,
    TransactionRow,
    place_of,
    quantity,
    required,
    transaction_index,
    unknown_kind,
)
from blockscan.transaction import TraceSource

_OUTSIDE_TRANSACTIONS = ("reward", "genesis", "daofork")
_KINDS = {"suicide": "SELFDESTRUCT", "create": "CREATE", "create2": "CREATE2"}


def read_transaction(row: Row) -> TransactionRow:
    """A row of `transactions`."""
    return TransactionRow(
        hash=required(row, "hash", row.data("hash", size=32)),
        index=transaction_index(row, "transaction_index"),
        sender=required(row, "from_address", row.address("from_address")),
        target=row.address("to_address"),
        value=row.word("value"),
        data=row.data("input"),
        gas_used=row.whole("receipt_gas_used"),
        ok=row.flag("receipt_status"),
        time=row.time("block_timestamp"),
        block_hash=row.data("block_hash", size=32),
        chain_id=row.whole("chain_id"),
        created=row.address("receipt_contract_address"),
    )


def read_receipt(row: Row) -> ReceiptRow:
    """A row of `receipts`."""
    return ReceiptRow(
        tx_hash=required(row, "transaction_hash", row.data("transaction_hash", size=32)),
        gas_used=row.whole("gas_used"),
        ok=row.flag("status"),
        created=row.address("contract_address"),
    )


def read_log(row: Row) -> LogRow:
    """A row of `logs`."""
    cell = row.cell("topics")
    topics = cell if isinstance(cell, list) else str(cell or "").split(",")
    return LogRow(
        tx_hash=required(row, "transaction_hash", row.data("transaction_hash", size=32)),
        index=transaction_index(row, "log_index"),
        log={
            "address": required(row, "address", row.address("address")),
            "topics": [topic.strip() for topic in topics if topic],
            "data": row.data("data") or "0x",
        },
    )


def read_trace(row: Row) -> FrameRow | None:
    """A row of `traces`. Rewards and the like belong to no transaction."""
    kind = str(row.cell("trace_type"))
    if kind in _OUTSIDE_TRANSACTIONS:
        return None
    if kind != "call" and kind not in _KINDS:
        raise unknown_kind(row, "trace_type")
    return FrameRow(
        tx_hash=row.data("transaction_hash", size=32),
        tx_index=row.whole("transaction_index"),
        place=place_of(row, ","),
        frame={
            "type": _KINDS.get(kind) or str(row.cell("call_type") or kind).upper(),
            "from": row.address("from_address"),
            "to": row.address("to_address"),
            "value": quantity(row, "value"),
            "gasUsed": quantity(row, "gas_used"),
            "input": row.data("input"),
            "output": row.data("output"),
            "error": row.cell("error"),
        },
        subtraces=row.whole("subtraces"),
        chain_id=None,
    )


def read_block(row: Row) -> BlockRow:
    """A row of `blocks`."""
    return BlockRow(hash=row.data("hash", size=32), time=row.time("timestamp"))


DATASETS = (
    Dataset(
        "ethereum-etl traces",
        Role.FRAME,
        telling=frozenset({"trace_type", "trace_address"}),
        needed=frozenset({"block_number", "transaction_index", "from_address", "to_address", "value"})
        | {"input", "output", "call_type", "error"},
        read=read_trace,
        source=TraceSource.TRACE_BLOCK,
    ),
    Dataset(
        "ethereum-etl logs",
        Role.LOG,
        telling=frozenset({"log_index", "topics"}),
        needed=frozenset({"block_number", "transaction_hash", "address", "data"}),
        read=read_log,
    ),
    Dataset(
        "ethereum-etl receipts",
        Role.RECEIPT,
        telling=frozenset({"transaction_hash", "cumulative_gas_used"}),
        needed=frozenset({"block_number", "gas_used", "status", "contract_address"}),
        read=read_receipt,
    ),
    Dataset(
        "ethereum-etl transactions",
        Role.TRANSACTION,
        telling=frozenset({"hash", "from_address", "input"}),
        needed=frozenset({"block_number", "transaction_index", "to_address", "value"}),
        read=read_transaction,
    ),
    Dataset(
        "ethereum-etl blocks",
        Role.BLOCK,
        telling=frozenset({"number", "hash", "timestamp"}),
        needed=frozenset(),
        read=read_block,
        block_column="number",
    ),
)
