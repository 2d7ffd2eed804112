"""Ethereum and every EVM chain: raw blocks and records -> Transactions. Pure; fetching is in `rpc`.

Two forms are read: `rpc` (the bodies of eth_getBlockByNumber, eth_getBlockReceipts and
debug_traceBlockByNumber or trace_block) and `record` (one JSON object per transaction with a callTracer
tree, as `blockscan ingest ethereum --from` takes it).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from blockscan.archive import RawBlock
from blockscan.chains.decode import decode
from blockscan.chains.frames import (
    Tree,
    from_call_tracer,
    nest_parity,
    read_address,
    read_log,
    read_quantity,
)
from blockscan.errors import ParseError
from blockscan.transaction import Call, Log, LogOrder, TraceSource, Transaction

CHAIN_NAMES = {
    1: "ethereum",
    10: "optimism",
    56: "bsc",
    137: "polygon",
    8453: "base",
    42161: "arbitrum",
    43114: "avalanche",
}


def chain_name(chain_id: int) -> str:
    """Readable name of an EIP-155 chain id."""
    return CHAIN_NAMES.get(chain_id, f"evm-{chain_id}")


def parse(raw: RawBlock) -> list[Transaction]:
    """Every transaction of a raw block, in block order.

    Raises:
        ParseError: a body is not JSON, not of its form, or the bodies do not belong together.
    """
    if raw.form == "record":
        return [parse_record(decode(raw.bodies["record"]))]
    return parse_block(raw)


def parse_record(record: object) -> Transaction:
    """One transaction from a JSONL record: `chain, tx_hash, block_number, from, trace, logs, ...`.

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
    tree, source = _with_receipt_logs(
        tree, record.get("logs"), TraceSource.CALL_TRACER, TraceSource.CALL_TRACER_LOGS
    )
    return Transaction(
        chain=str(record.get("chain") or "ethereum")[:40],
        hash=tx_hash,
        block_number=_optional_quantity(record, "block_number"),
        block_hash=None,
        index=_optional_quantity(record, "tx_index"),
        time=_optional_quantity(record, "timestamp"),
        sender=tree.root.caller,
        ok=tree.root.ok,
        gas_used=_optional_quantity(record, "gas_used"),
        root=tree.root,
        source=source,
        log_order=tree.log_order or LogOrder.ABSENT,
        status=tree.status,
    )


def parse_block(raw: RawBlock) -> list[Transaction]:
    """Every transaction of a block fetched over JSON-RPC.

    Raises:
        ParseError: see `parse`.
    """
    block = _result(raw, "block")
    entries = block.get("transactions")
    if not isinstance(entries, list):
        raise ParseError(f"block {raw.number}: `transactions` must be a list")
    receipts = _by_hash(_result_list(raw, "receipts"), "transactionHash", f"block {raw.number} receipts")
    traces = _traces(raw)
    transactions = []
    for entry in entries:
        tx_hash = str(entry.get("hash"))
        if tx_hash not in traces or tx_hash not in receipts:
            raise ParseError(f"block {raw.number}: transaction {tx_hash[:70]} has no trace or no receipt")
        transactions.append(_transaction(raw, block, entry, receipts[tx_hash], traces[tx_hash]))
    return transactions


def _transaction(
    raw: RawBlock,
    block: Mapping[str, Any],
    entry: Mapping[str, Any],
    receipt: Mapping[str, Any],
    trace: Mapping[str, Any],
) -> Transaction:
    failed = read_quantity(receipt.get("status", "0x1"), "status") == 0
    tree = from_call_tracer(trace, forced_error="failed" if failed else None)
    tracer = raw.source in (TraceSource.CALL_TRACER, TraceSource.CALL_TRACER_LOGS)
    tree, source = _with_receipt_logs(
        tree,
        receipt.get("logs"),
        TraceSource.CALL_TRACER if tracer else TraceSource.TRACE_BLOCK,
        TraceSource.CALL_TRACER_LOGS if tracer else TraceSource.TRACE_BLOCK_LOGS,
    )
    gas_used = read_quantity(receipt.get("gasUsed"), "gasUsed")
    sender = read_address(entry.get("from"), "from")
    if sender != tree.root.caller:
        raise ParseError(f"block {raw.number}: the trace of {entry['hash']} starts at another sender")
    return Transaction(
        chain=raw.chain,
        hash=str(entry["hash"]),
        block_number=raw.number,
        block_hash=raw.hash,
        index=read_quantity(entry.get("transactionIndex"), "transactionIndex"),
        time=read_quantity(block.get("timestamp"), "timestamp"),
        sender=sender,
        ok=not failed,
        gas_used=gas_used,
        root=tree.root,
        source=source,
        log_order=tree.log_order or LogOrder.ABSENT,
        status=tree.status,
    )


def _with_receipt_logs(
    tree: Tree, logs: object, bare: TraceSource, logged: TraceSource
) -> tuple[Tree, TraceSource]:
    """Where the frames carry no logs, hang the receipt's at the end of the root and say so."""
    if tree.log_order is not None:
        return tree, logged
    if logs is None:
        return replace(tree, log_order=LogOrder.ABSENT), bare
    if not isinstance(logs, list):
        raise ParseError("`logs` must be a list or null")
    if not logs:
        return replace(tree, log_order=LogOrder.EXACT), logged
    hung: tuple[Call | Log, ...] = tuple(read_log(log) for log in logs) if tree.root.ok else ()
    root = replace(tree.root, steps=(*tree.root.steps, *hung))
    return replace(tree, root=root, log_order=LogOrder.ROOT), logged


def _traces(raw: RawBlock) -> dict[str, Mapping[str, Any]]:
    """Transaction hash -> callTracer-shaped tree, from either trace dialect."""
    entries = _result_list(raw, "traces")
    if raw.source in (TraceSource.CALL_TRACER, TraceSource.CALL_TRACER_LOGS):
        found = {}
        for tx_hash, entry in _by_hash(entries, "txHash", f"block {raw.number} traces").items():
            if not isinstance(entry.get("result"), Mapping):
                reason = str(entry.get("error", "no result"))[:200]
                raise ParseError(f"block {raw.number}: the node could not trace {tx_hash[:70]}: {reason}")
            found[tx_hash] = entry["result"]
        return found
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("transactionHash"):  # block rewards have none
            grouped.setdefault(str(entry["transactionHash"]), []).append(entry)
    return {tx_hash: nest_parity(group) for tx_hash, group in grouped.items()}


def _by_hash(entries: list[Any], key: str, where: str) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get(key), str):
            raise ParseError(f"{where}: an entry has no `{key}`")
        found[entry[key]] = entry
    return found


def _result(raw: RawBlock, body: str) -> Mapping[str, Any]:
    result = _body(raw, body)
    if not isinstance(result, Mapping):
        raise ParseError(f"block {raw.number}: the {body} answer must be an object")
    return result


def _result_list(raw: RawBlock, body: str) -> list[Any]:
    result = _body(raw, body)
    if not isinstance(result, list):
        raise ParseError(f"block {raw.number}: the {body} answer must be a list")
    return result


def _body(raw: RawBlock, body: str) -> Any:
    if body not in raw.bodies:
        raise ParseError(f"block {raw.number}: the {body} answer is missing")
    envelope = decode(raw.bodies[body])
    if not isinstance(envelope, Mapping) or "result" not in envelope:
        raise ParseError(f"block {raw.number}: the {body} answer is not a JSON-RPC result")
    return envelope["result"]


def _optional_quantity(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    return None if value is None else read_quantity(value, name)
