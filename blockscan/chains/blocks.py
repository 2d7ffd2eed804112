"""The answers to one block's requests -> Transactions: every trace dialect, pure.

What stands in the archive (`RawBlock.bodies`) and what has just been fetched both become `Parts`:
the block, its receipts and its traces as lists in whatever dialect; `assemble` makes of them the same
Transactions wherever they carry the same facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blockscan.archive import RawBlock
from blockscan.chains.decode import decode
from blockscan.chains.frames import (
    Tree,
    from_call_tracer,
    nest_parity,
    read_address,
    read_count,
    read_gas,
    read_log,
    read_quantity,
)
from blockscan.errors import ParseError
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, TraceStatus, Transaction, walk

TRACERS = (TraceSource.CALL_TRACER, TraceSource.CALL_TRACER_LOGS)
_ZERO = "0x" + "0" * 40
_LAST_STANDARD_TYPE = 0x5F
"""EIP-2718 types above are the rollups' own (0x64 and up on Arbitrum, 0x7e on Optimism)."""
_PROTOCOL_EMITTERS = {"polygon": {"0x0000000000000000000000000000000000001010"}}
"""Contracts whose logs the protocol itself writes into receipts, so that no trace shows them (Bor's fees)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Decoded results of one block.

    `traces` holds callTracer entries (`txHash` with `result` or `untraced`), trace_block entries, or nothing
    but `txHash` with `untraced` for a block that could not be traced; None where only receipts are known.
    """

    block: Mapping[str, Any]
    receipts: Sequence[Any]
    traces: Sequence[Any] | None

    @property
    def entries(self) -> list[Mapping[str, Any]]:
        """The block's transactions, with bodies."""
        return list(self.block["transactions"])


def read_parts(raw: RawBlock) -> Parts:
    """The parts of a raw block of form `rpc`.

    Raises:
        ParseError: a body is missing, not JSON, or not of its form.
    """
    block = _result(raw, "block")
    if not isinstance(block, Mapping):
        raise ParseError(f"block {raw.number}: the block answer must be an object")
    entries = block.get("transactions")
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ParseError(f"block {raw.number}: `transactions` must be a list of objects")
    if not entries:
        return Parts(block, [], [])
    receipts = _listed(raw, "receipts", entries)
    if raw.source is TraceSource.RECEIPT:
        return Parts(block, [each.get("result") for each in receipts], None)
    traces = [each if "untraced" in each or "txHash" in each else each["result"] for each in
              _listed(raw, "traces", entries)]  # fmt: skip
    return Parts(block, [each.get("result") for each in receipts], traces)


def _listed(raw: RawBlock, body: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results of a body, one by one: {"result": item}, with `txHash` where each was asked for by itself."""
    if body not in raw.bodies:
        raise ParseError(f"block {raw.number}: the {body} answer is missing")
    answer = decode(raw.bodies[body])
    if isinstance(answer, list):
        return one_by_one(answer, [str(entry.get("hash")) for entry in entries])
    result = _unwrapped(raw, body, answer)
    if not isinstance(result, list):
        raise ParseError(f"block {raw.number}: the {body} answer must be a list")
    return [{"result": item} for item in result]


def one_by_one(responses: Sequence[Any], hashes: Sequence[str]) -> list[dict[str, Any]]:
    """Response objects whose `id` is a place in the block, as entries with `txHash`, in block order."""
    found: dict[int, dict[str, Any]] = {}
    for response in responses:
        place = response.get("id") if isinstance(response, Mapping) else None
        if not isinstance(place, int) or not 0 <= place < len(hashes):
            raise ParseError("an answer belongs to no transaction of the block")
        entry: dict[str, Any] = {"txHash": hashes[place]}
        if response.get("result") is None:
            entry["untraced"] = str(response.get("error"))[:200]
        else:
            entry["result"] = response["result"]
        found[place] = entry
    return [found[place] for place in sorted(found)]


def _result(raw: RawBlock, body: str) -> Any:
    if body not in raw.bodies:
        raise ParseError(f"block {raw.number}: the {body} answer is missing")
    return _unwrapped(raw, body, decode(raw.bodies[body]))


def _unwrapped(raw: RawBlock, body: str, envelope: Any) -> Any:
    if not isinstance(envelope, Mapping) or "result" not in envelope:
        raise ParseError(f"block {raw.number}: the {body} answer is not a JSON-RPC result")
    return envelope["result"]


def assemble(raw: RawBlock, parts: Parts) -> list[Transaction]:
    """Every transaction of a block, in block order.

    Raises:
        ParseError: a part is not of its form, or the parts do not belong together.
    """
    where = f"block {raw.number}"
    receipts = _by_hash(parts.receipts, "transactionHash", f"{where} receipts")
    traces = None if parts.traces is None else _traces(raw, parts)
    made = []
    for entry in parts.entries:
        tx_hash = str(entry.get("hash"))
        if tx_hash not in receipts:
            raise ParseError(f"{where}: transaction {tx_hash[:70]} has no trace or no receipt")
        if traces is None:
            made.append(_bare(raw, parts.block, entry, receipts[tx_hash], TraceStatus.COMPLETE))
        elif tx_hash in traces:
            trace = traces[tx_hash]
            if trace is None:
                made.append(_bare(raw, parts.block, entry, receipts[tx_hash], TraceStatus.TRUNCATED))
            else:
                made.append(_traced(raw, parts.block, entry, receipts[tx_hash], trace))
        elif is_system(entry):
            made.append(_bare(raw, parts.block, entry, receipts[tx_hash], TraceStatus.COMPLETE))
        else:
            raise ParseError(f"{where}: transaction {tx_hash[:70]} has no trace or no receipt")
    return made


def is_standard(entry: Mapping[str, Any]) -> bool:
    """Whether it is of Ethereum's own types; rollups' deposits and retries are traced otherwise."""
    return read_quantity(entry.get("type"), "type") <= _LAST_STANDARD_TYPE


def is_system(entry: Mapping[str, Any]) -> bool:
    """Whether the protocol itself made a transaction that nodes list and do not trace (Bor's state sync)."""
    return entry.get("from") == _ZERO and entry.get("to") == _ZERO


def _traces(raw: RawBlock, parts: Parts) -> dict[str, Mapping[str, Any] | None]:
    """Transaction hash -> callTracer-shaped tree, or None where the node could not trace it."""
    entries = parts.traces or []
    if raw.source not in TRACERS:
        grouped: dict[str, list[Mapping[str, Any]]] = {}
        for entry in entries:
            if isinstance(entry, Mapping) and entry.get("transactionHash"):  # block rewards have none
                grouped.setdefault(str(entry["transactionHash"]), []).append(entry)
        untraced = {str(each["txHash"]): None for each in entries if _is_untraced(each)}
        return {tx_hash: nest_parity(group) for tx_hash, group in grouped.items()} | untraced
    if entries and len(entries) == len(parts.entries) and not any("txHash" in each for each in entries):
        entries = [  # nodes of before 2023 leave the hash out
            {**each, "txHash": tx.get("hash")} for each, tx in zip(entries, parts.entries, strict=True)
        ]
    found: dict[str, Mapping[str, Any] | None] = {}
    for tx_hash, entry in _by_hash(entries, "txHash", f"block {raw.number} traces").items():
        if _is_untraced(entry) or ("error" in entry and "result" not in entry):
            found[tx_hash] = None
        elif isinstance(entry.get("result"), Mapping):
            found[tx_hash] = entry["result"]
        else:
            raise ParseError(f"block {raw.number}: the trace of {tx_hash[:70]} has no result")
    return found


def _is_untraced(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "untraced" in entry


def _traced(
    raw: RawBlock,
    block: Mapping[str, Any],
    entry: Mapping[str, Any],
    receipt: Mapping[str, Any],
    trace: Mapping[str, Any],
) -> Transaction:
    failed = _failed(receipt)
    tree = from_call_tracer(trace, forced_error="failed" if failed else None)
    tracer = raw.source in TRACERS
    logs = receipt_logs(raw, receipt)
    if tree.log_order is LogOrder.EXACT and logs is not None and frame_logs(tree.root) != logs:
        tree = replace(tree, log_order=LogOrder.FRAME)
    tree, source = with_receipt_logs(
        tree,
        logs,
        TraceSource.CALL_TRACER if tracer else TraceSource.TRACE_BLOCK,
        TraceSource.CALL_TRACER_LOGS if tracer else TraceSource.TRACE_BLOCK_LOGS,
    )
    if is_standard(entry) and read_address(entry.get("from"), "from") != tree.root.caller:
        raise ParseError(f"block {raw.number}: the trace of {entry['hash']} starts at another sender")
    return _transaction(raw, block, entry, receipt, tree, source)


def _bare(
    raw: RawBlock,
    block: Mapping[str, Any],
    entry: Mapping[str, Any],
    receipt: Mapping[str, Any],
    status: TraceStatus,
) -> Transaction:
    """A transaction of which only the receipt is known: the root frame with the logs."""
    created = entry.get("to") is None
    trace = {"type": "CREATE" if created else "CALL", "from": entry.get("from"), "value": entry.get("value")}
    trace |= {"to": receipt.get("contractAddress") if created else entry.get("to"), "input": _input(entry)}
    tree = from_call_tracer(trace, forced_error="failed" if _failed(receipt) else None)
    tree, source = with_receipt_logs(
        replace(tree, status=status), receipt_logs(raw, receipt), TraceSource.RECEIPT, TraceSource.RECEIPT
    )
    return _transaction(raw, block, entry, receipt, tree, source)


def _transaction(
    raw: RawBlock,
    block: Mapping[str, Any],
    entry: Mapping[str, Any],
    receipt: Mapping[str, Any],
    tree: Tree,
    source: TraceSource,
) -> Transaction:
    """The root's gas is the receipt's: nodes disagree on whether a trace's root has the intrinsic part."""
    gas_used = read_gas(receipt.get("gasUsed"), "gasUsed")
    return Transaction(
        chain=raw.chain,
        hash=str(entry["hash"]),
        block_number=raw.number,
        block_hash=raw.hash,
        index=read_count(entry.get("transactionIndex"), "transactionIndex"),
        time=read_count(block.get("timestamp"), "timestamp"),
        sender=read_address(entry.get("from"), "from"),
        ok=tree.root.ok,
        gas_used=gas_used,
        root=replace(tree.root, gas_used=gas_used),
        source=source,
        log_order=tree.log_order or LogOrder.ABSENT,
        status=tree.status,
    )


def with_receipt_logs(
    tree: Tree, logs: Sequence[Log] | None, bare: TraceSource, logged: TraceSource
) -> tuple[Tree, TraceSource]:
    """Where the frames carry no logs, hang the receipt's at the end of the root and say so."""
    if tree.log_order is not None:
        return tree, logged
    if logs is None:
        return replace(tree, log_order=LogOrder.ABSENT), bare
    if not logs:
        return replace(tree, log_order=LogOrder.EXACT), logged
    hung: tuple[Call | Log, ...] = tuple(logs) if tree.root.ok else ()
    root = replace(tree.root, steps=(*tree.root.steps, *hung))
    return replace(tree, root=root, log_order=LogOrder.ROOT), logged


def read_logs(logs: object) -> list[Log] | None:
    """A receipt's `logs`; None where the source has none at all.

    Raises:
        ParseError: not a list of logs.
    """
    if logs is None:
        return None
    if not isinstance(logs, list) or not all(isinstance(log, Mapping) for log in logs):
        raise ParseError("`logs` must be a list or null")
    return [read_log(log) for log in logs]


def receipt_logs(raw: RawBlock, receipt: Mapping[str, Any]) -> list[Log] | None:
    """The logs of a receipt that a trace of the transaction would show."""
    logs = read_logs(receipt.get("logs"))
    silent = _PROTOCOL_EMITTERS.get(raw.chain)
    return [log for log in logs if log.emitter not in silent] if logs and silent else logs


def frame_logs(root: Call) -> list[Log]:
    """The logs of a tree in execution order."""
    return [visit.step for visit in walk(root) if isinstance(visit.step, Log)]


def is_creation(root: Call) -> bool:
    """Whether a root frame creates a contract."""
    return root.kind in (CallKind.CREATE, CallKind.CREATE2)


def _failed(receipt: Mapping[str, Any]) -> bool:
    """Receipts of before Byzantium carry a state root instead of a status: there the trace decides."""
    status = receipt.get("status")
    return status is not None and read_quantity(status, "status") == 0


def _input(entry: Mapping[str, Any]) -> Any:
    return entry.get("input") if entry.get("input") is not None else entry.get("data")


def _by_hash(entries: Sequence[Any], key: str, where: str) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get(key), str):
            raise ParseError(f"{where}: an entry has no `{key}`")
        if entry[key] in found:
            raise ParseError(f"{where}: {entry[key][:70]} is there twice")
        found[entry[key]] = entry
    return found
