"""Ethereum and every EVM chain: raw blocks and records -> Transactions. Pure; fetching is in `rpc`.

Two forms are read: `rpc` (answers of a node, see `blocks`) and `record` (one JSON object per transaction
with a callTracer tree, as `blockscan ingest ethereum --from` takes it).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from blockscan.archive import RawBlock
from blockscan.chains.blocks import assemble, read_logs, read_parts, with_receipt_logs
from blockscan.chains.declared import with_declared
from blockscan.chains.decode import read_document
from blockscan.chains.frames import from_call_tracer, read_count, read_gas
from blockscan.chains.networks import chain_name
from blockscan.errors import ParseError
from blockscan.transaction import LogOrder, TraceSource, Transaction

__all__ = ["chain_name", "parse", "parse_block", "parse_record"]


def parse(raw: RawBlock) -> list[Transaction]:
    """Every transaction of a raw block, in block order.

    Raises:
        ParseError: a body is not JSON, not of its form, or the bodies do not belong together.
    """
    if raw.form == "record":
        return [read_document(raw.bodies.get("record", b"null"), parse_record)]
    return parse_block(raw)


def parse_record(record: object) -> Transaction:
    """One transaction from a record: `chain, tx_hash, block_number, trace, trace_source, logs, ...`.

    Only facts of the chain are read; any label that the record carries is never looked at.

    Raises:
        ParseError: a required field (`tx_hash`, `trace`) is missing, or a field is not of its type.
    """
    if not isinstance(record, Mapping):
        raise ParseError(f"a record must be a JSON object, not {type(record).__name__}")
    trace = record.get("trace")
    if not isinstance(trace, Mapping):
        raise ParseError("the record has no `trace` object (geth callTracer tree)")
    tx_hash = record.get("tx_hash")
    if not isinstance(tx_hash, str) or not 0 < len(tx_hash) <= 200 or not tx_hash.isprintable():
        raise ParseError("the record has no usable `tx_hash`")
    failed = record.get("status") in (0, "0x0", "0")
    tree = from_call_tracer(trace, forced_error="failed" if failed else None)
    if record.get("logs_in_frames") == "heuristic" and tree.log_order is LogOrder.EXACT:
        tree = replace(tree, log_order=LogOrder.FRAME)
    logs = read_logs(record.get("logs")) if tree.log_order is None else None
    tree, source = with_receipt_logs(tree, logs, TraceSource.CALL_TRACER, TraceSource.CALL_TRACER_LOGS)
    transaction = Transaction(
        chain=str(record.get("chain") or "ethereum")[:40],
        hash=tx_hash,
        block_number=_optional_count(record, "block_number"),
        block_hash=None,
        index=_optional_count(record, "tx_index"),
        time=_optional_count(record, "timestamp"),
        sender=tree.root.caller,
        ok=tree.root.ok,
        gas_used=None if record.get("gas_used") is None else read_gas(record["gas_used"], "gas_used"),
        root=tree.root,
        source=source,
        log_order=tree.log_order or LogOrder.ABSENT,
        status=tree.status,
    )
    return with_declared(transaction, record)


def parse_block(raw: RawBlock) -> list[Transaction]:
    """Every transaction of a block fetched over JSON-RPC.

    Raises:
        ParseError: see `parse`.
    """
    return assemble(raw, read_parts(raw))


def _optional_count(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    return None if value is None else read_count(value, name)
