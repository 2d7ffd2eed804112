"""What one endpoint can tell of a block's execution, and how it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from blockscan.chains.batching import fetch_each
from blockscan.chains.blocks import one_by_one
from blockscan.chains.decode import decode
from blockscan.chains.frames import read_quantity
from blockscan.chains.transport import AnswerTooLarge, Endpoint, MethodAbsent, MethodRefused
from blockscan.errors import ChainError, RpcError
from blockscan.transaction import TraceSource

_TRACER = {"tracer": "callTracer", "tracerConfig": {"withLog": True}, "timeout": "60s"}
_NO_HASH = "0x" + "0" * 64


class Plan(IntEnum):
    """Ways to trace a block, best last."""

    RECEIPTS = 0
    TRACE_TRANSACTION = 1
    TRACE_BLOCK = 2
    TRACER_BLOCK = 3

    @property
    def source(self) -> TraceSource:
        """What the traces of this plan are."""
        by_plan = {Plan.RECEIPTS: TraceSource.RECEIPT, Plan.TRACE_BLOCK: TraceSource.TRACE_BLOCK}
        return by_plan.get(self, TraceSource.CALL_TRACER_LOGS)

    @property
    def rank(self) -> int:
        """How much is known: one transaction at a time is no worse than a block at once."""
        return 3 if self is Plan.TRACE_TRANSACTION else int(self)


_METHODS: dict[Plan, tuple[str, list[Any]]] = {
    Plan.TRACER_BLOCK: ("debug_traceBlockByNumber", ["0x0", _TRACER]),
    Plan.TRACE_BLOCK: ("trace_block", ["0x0"]),
    Plan.TRACE_TRANSACTION: ("debug_traceTransaction", [_NO_HASH, _TRACER]),
}


@dataclass(frozen=True, slots=True)
class Traces:
    """Traces of one block: decoded entries (see blocks.Parts), the body as it came, what is missing."""

    entries: list[Any] | None
    body: bytes
    missing: str = ""


def probe(endpoint: Endpoint, chain_id: int | None) -> tuple[int, frozenset[Plan]]:
    """The endpoint's chain id and the plans it offers, by asking for the genesis block's traces.

    A refusal other than "no such method" means that the method is there.

    Raises:
        ChainError: it serves another chain than `chain_id`.
        RpcError: it does not answer.
    """
    found = read_quantity(endpoint.fetch("eth_chainId", [])[0], "eth_chainId")
    if chain_id is not None and found != chain_id:
        raise ChainError(f"{endpoint.shown} serves chain id {found}, not {chain_id}; check --rpc and --chain")
    offers = {Plan.RECEIPTS}
    for plan, (method, params) in _METHODS.items():
        try:
            endpoint.fetch(method, params)
        except MethodAbsent:
            continue
        except (MethodRefused, AnswerTooLarge):
            pass
        offers.add(plan)
    return found, frozenset(offers)


def fetch_traces(
    endpoint: Endpoint, plan: Plan, offers: frozenset[Plan], block: Mapping[str, Any]
) -> Traces | None:
    """The traces of a block by one plan; None under RECEIPTS.

    A tracer that fails on the block as a whole (too large, refused, some transactions timed out) is asked
    for one transaction at a time.

    Raises:
        RpcError: the endpoint failed or refused.
    """
    tag = str(block["number"])
    if plan is Plan.RECEIPTS:
        return None
    if plan is Plan.TRACE_BLOCK:
        entries, body = endpoint.fetch("trace_block", [tag])
        return Traces(entries, body)
    if plan is Plan.TRACER_BLOCK:
        try:
            entries, body = endpoint.fetch("debug_traceBlockByNumber", [tag, _TRACER])
        except (MethodRefused, AnswerTooLarge):
            if Plan.TRACE_TRANSACTION not in offers:
                raise
        else:
            if not _has_failures(entries) or Plan.TRACE_TRANSACTION not in offers:
                return _as_known(entries, body)
    return _one_by_one(endpoint, [str(entry.get("hash")) for entry in block["transactions"]])


def _has_failures(entries: Any) -> bool:
    return isinstance(entries, list) and any(
        isinstance(entry, Mapping) and "result" not in entry and "error" in entry for entry in entries
    )


def _as_known(entries: Any, body: bytes) -> Traces:
    """Refuse what other tracers write (ganache answers a callTracer request with opcode logs)."""
    for entry in entries if isinstance(entries, list) else []:
        result = entry.get("result") if isinstance(entry, Mapping) else None
        if isinstance(result, Mapping) and "type" not in result:
            raise MethodAbsent("debug_traceBlockByNumber: the node answers without the callTracer's fields")
    return Traces(entries, body)


def _one_by_one(endpoint: Endpoint, hashes: Sequence[str]) -> Traces:
    answers, body = fetch_each(endpoint, "debug_traceTransaction", [[each, _TRACER] for each in hashes])
    failed = {place: answer for place, answer in answers.items() if isinstance(answer, RpcError)}
    for answer in answers.values():
        if isinstance(answer, Mapping) and "type" not in answer:
            raise MethodAbsent("debug_traceTransaction: the node answers without the callTracer's fields")
    if failed and len(failed) == len(hashes):
        raise next(iter(failed.values()))
    responses = decode(body)
    have = {response["id"] for response in responses}
    lost = [place for place in failed if place not in have]  # too large to be read at all
    if lost:
        notes = b",".join(b'{"id":%d,"error":{"message":"answer too large"}}' % place for place in lost)
        body = body[:-1] + (b"," if have else b"") + notes + b"]"
        responses += [{"id": place, "error": {"message": "answer too large"}} for place in lost]
    missing = ""
    if failed:
        reason = next(iter(failed.values()))
        missing = f"{len(failed)} of {len(hashes)} transactions could not be traced ({reason})"
    return Traces(one_by_one(responses, hashes), body, missing)


def fetch_receipts(endpoint: Endpoint, block: Mapping[str, Any]) -> tuple[Any, bytes]:
    """The receipts of a block: at once, or one by one where the endpoint does not offer that.

    Raises:
        RpcError: the endpoint failed or refused.
    """
    try:
        receipts, body = endpoint.fetch("eth_getBlockReceipts", [str(block["number"])])
    except (MethodRefused, AnswerTooLarge):
        receipts = None
    if receipts is not None:
        return receipts, body
    hashes = [str(entry.get("hash")) for entry in block["transactions"]]
    answers, body = fetch_each(endpoint, "eth_getTransactionReceipt", [[each] for each in hashes])
    for answer in answers.values():
        if isinstance(answer, RpcError):
            raise answer
    return [answers[place] for place in range(len(hashes))], body
