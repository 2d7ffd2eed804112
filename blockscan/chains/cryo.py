"""Tables that cryo writes: transactions (txs), logs, geth_calls, traces, blocks.

Source: cryo's column definitions (paradigmxyz/cryo, crates/freeze/src/datasets). 256-bit numbers stand in a
column per representation (value_binary, value_string, value_f64); bytes are binary, or hexadecimal with
`--hex`; the trace address is joined by blanks in geth_calls and by underscores in traces. The traces
dataset leaves out failed calls with all below them.
"""

from blockscan.chains.table_files import Row
from blockscan.chains.table_rows import (
    BlockRow,
    Dataset,
    FrameRow,
    LogRow,
    Role,
    TransactionRow,
    place_of,
    quantity,
    required,
    transaction_index,
    unknown_kind,
)
from blockscan.transaction import TraceSource

_TOPICS = ("topic0", "topic1", "topic2", "topic3")


def read_transaction(row: Row) -> TransactionRow:
    """A row of `txs`."""
    return TransactionRow(
        hash=required(row, "transaction_hash", row.data("transaction_hash", size=32)),
        index=transaction_index(row, "transaction_index"),
        sender=required(row, "from_address", row.address("from_address")),
        target=row.address("to_address"),
        value=row.word("value"),
        data=row.data("input"),
        gas_used=row.whole("gas_used"),
        ok=row.flag("success"),
        time=row.time("timestamp"),
        block_hash=row.data("block_hash", size=32),
        chain_id=row.whole("chain_id"),
    )


def read_log(row: Row) -> LogRow:
    """A row of `logs`."""
    emitter = "address" if row.cell("address") is not None else "contract_address"
    topics = [row.data(name, size=32) for name in _TOPICS]
    return LogRow(
        tx_hash=required(row, "transaction_hash", row.data("transaction_hash", size=32)),
        index=transaction_index(row, "log_index"),
        log={
            "address": required(row, emitter, row.address(emitter)),
            "topics": [topic for topic in topics if topic is not None],
            "data": row.data("data") or "0x",
        },
    )


def read_geth_call(row: Row) -> FrameRow | None:
    """A row of `geth_calls`: one frame of geth's callTracer."""
    return FrameRow(
        tx_hash=row.data("transaction_hash", size=32),
        tx_index=row.whole("transaction_index"),
        place=place_of(row, " "),
        frame={
            "type": required(row, "typ", row.cell("typ")),
            "from": row.address("from_address"),
            "to": row.address("to_address"),
            "value": hex(row.word("value")),
            "gasUsed": hex(row.word("gas_used")),
            "input": row.data("input"),
            "output": row.data("output"),
            "error": row.cell("error"),
        },
        subtraces=None,
        chain_id=row.whole("chain_id"),
    )


def read_trace(row: Row) -> FrameRow | None:
    """A row of `traces`: one entry of trace_block. Rewards belong to no transaction."""
    match row.cell("action_type"):
        case "reward":
            return None
        case "create":
            kind, to, data, output = "CREATE", "result_address", "action_init", "result_code"
        case "suicide":
            kind, to, data, output = "SELFDESTRUCT", "action_to", "action_input", "result_output"
        case "call":
            kind = str(row.cell("action_call_type") or "call").replace("_", "").upper()
            to, data, output = "action_to", "action_input", "result_output"
        case _:
            raise unknown_kind(row, "action_type")
    return FrameRow(
        tx_hash=required(row, "transaction_hash", row.data("transaction_hash", size=32)),
        tx_index=row.whole("transaction_index"),
        place=place_of(row, "_"),
        frame={
            "type": kind,
            "from": row.address("action_from"),
            "to": row.address(to),
            "value": hex(row.word("action_value")),
            "gasUsed": quantity(row, "result_gas_used"),
            "input": row.data(data),
            "output": row.data(output),
            "error": row.cell("error"),
        },
        subtraces=row.whole("subtraces"),
        chain_id=row.whole("chain_id"),
    )


def read_block(row: Row) -> BlockRow:
    """A row of `blocks`."""
    return BlockRow(hash=row.data("block_hash", size=32), time=row.time("timestamp"))


_TX_NEEDS = frozenset({"block_number", "transaction_hash", "transaction_index", "from_address", "to_address"})
_FRAME_NEEDS = frozenset({"block_number", "transaction_hash", "trace_address"})
DATASETS = (
    Dataset(
        "cryo geth_calls",
        Role.FRAME,
        telling=frozenset({"typ", "trace_address"}),
        needed=_FRAME_NEEDS | {"from_address", "to_address", "input", "output", "error"},
        read=read_geth_call,
        source=TraceSource.CALL_TRACER,
    ),
    Dataset(
        "cryo traces",
        Role.FRAME,
        telling=frozenset({"action_type", "trace_address"}),
        needed=_FRAME_NEEDS
        | {"action_from", "action_to", "action_value", "action_input", "action_call_type"}
        | {"action_init", "result_output", "result_address", "result_code", "error"},
        read=read_trace,
        source=TraceSource.TRACE_BLOCK,
        drops_failed=True,
    ),
    Dataset(
        "cryo logs",
        Role.LOG,
        telling=frozenset({"log_index", "topic0"}),
        needed=frozenset({"block_number", "transaction_hash", "log_index", "data", *_TOPICS}),
        read=read_log,
    ),
    Dataset(
        "cryo txs",
        Role.TRANSACTION,
        telling=frozenset({"transaction_hash", "from_address", "success"}),
        needed=_TX_NEEDS | {"input"},
        read=read_transaction,
    ),
    Dataset(
        "cryo blocks",
        Role.BLOCK,
        telling=frozenset({"block_hash", "author", "timestamp"}),
        needed=frozenset({"block_number"}),
        read=read_block,
    ),
)
