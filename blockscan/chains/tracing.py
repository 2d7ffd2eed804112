"""What one endpoint can tell of a block's execution, and how it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

from blockscan.chains.batching import fetch_each
from blockscan.chains.blocks import is_system, one_by_one
from blockscan.chains.decode import decode
from blockscan.chains.frames import read_quantity
from blockscan.chains.redaction import scrub
from blockscan.chains.transport import (
    AnswerTooLarge,
    Endpoint,
    MethodAbsent,
    MethodRefused,
    StateAbsent,
    TracerDown,
    Unanswered,
    Untraceable,
)
from blockscan.errors import ChainError, RpcError
from blockscan.transaction import TraceSource

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


def _tracer(endpoint: Endpoint) -> dict[str, Any]:
    """Options of callTracer: it gives up, and says so, well before the client stops listening."""
    return {
        "tracer": "callTracer",
        "tracerConfig": {"withLog": True},
        "timeout": f"{round(endpoint.timeout * 500)}ms",
    }


def _harmless(endpoint: Endpoint, plan: Plan) -> tuple[str, list[Any]]:
    """A plan's method and parameters that cost the endpoint nothing."""
    if plan is Plan.TRACER_BLOCK:
        return "debug_traceBlockByNumber", ["0x0", _tracer(endpoint)]
    if plan is Plan.TRACE_BLOCK:
        return "trace_block", ["0x0"]
    return "debug_traceTransaction", [_NO_HASH, _tracer(endpoint)]


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
    for plan in (Plan.TRACER_BLOCK, Plan.TRACE_BLOCK, Plan.TRACE_TRANSACTION):
        try:
            endpoint.fetch(*_harmless(endpoint, plan))
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

    A tracer that fails on the block as a whole (too large, too slow, refused, some transactions timed out)
    is asked for one transaction at a time.

    Raises:
        Untraceable: the endpoint traces, but not this block.
        MethodRefused: it lacks the method, or what it needs for the block.
        TracerDown: its tracer answers nothing.
        RpcError: it failed.
    """
    if plan is Plan.RECEIPTS:
        return None
    try:
        return _fetched(endpoint, plan, offers, block)
    except (MethodRefused, AnswerTooLarge, Unanswered) as error:
        if isinstance(error, MethodAbsent | StateAbsent):
            raise
        _require_tracer_after(error, endpoint, plan)
        raise Untraceable(str(error)) from None


def _fetched(endpoint: Endpoint, plan: Plan, offers: frozenset[Plan], block: Mapping[str, Any]) -> Traces:
    tag = str(block["number"])
    if plan is Plan.TRACE_BLOCK:
        entries, body = endpoint.fetch("trace_block", [tag])
        return Traces(entries, body)
    if plan is Plan.TRACER_BLOCK:
        try:
            entries, body = endpoint.fetch("debug_traceBlockByNumber", [tag, _tracer(endpoint)])
        except (MethodRefused, AnswerTooLarge, Unanswered) as error:
            if Plan.TRACE_TRANSACTION not in offers:
                raise
            _require_tracer_after(error, endpoint, plan)
        else:
            failures = _failures(entries)
            if not failures or Plan.TRACE_TRANSACTION not in offers:
                missing = _missing(len(failures), len(entries), failures[0]) if failures else ""
                return _as_known(entries, body, missing)
    return _one_by_one(endpoint, [str(entry.get("hash")) for entry in block["transactions"]])


def _require_tracer_after(error: RpcError, endpoint: Endpoint, plan: Plan) -> None:
    """After an unanswered question, tell a tracer that cannot bear it from one that is down.

    Raises:
        TracerDown: it is down, or busy.
    """
    if isinstance(error, Unanswered):
        require_tracer(endpoint, plan)


def require_tracer(endpoint: Endpoint, plan: Plan) -> None:
    """Ask for what costs a tracer nothing.

    Raises:
        TracerDown: it does not answer that either.
    """
    try:
        endpoint.fetch(*_harmless(endpoint, plan))
    except (MethodRefused, AnswerTooLarge):
        return
    except Unanswered as down:
        raise TracerDown(str(down)) from None


def untraced(block: Mapping[str, Any], reason: str) -> Traces:
    """What stands for the traces of a block that cannot be traced: a note for every transaction."""
    entries = block["transactions"]
    notes = [_note(place, reason) for place, entry in enumerate(entries) if not is_system(entry)]
    hashes = [str(entry.get("hash")) for entry in entries]
    missing = _missing(len(notes), len(entries), reason)
    return Traces(one_by_one(notes, hashes), orjson.dumps(notes), missing)


def _note(place: int, reason: str) -> dict[str, Any]:
    return {"id": place, "error": {"message": reason}}


def _missing(failed: int, of: int, reason: object) -> str:
    return f"{failed} of {of} transactions could not be traced ({reason})"


def _failures(entries: Any) -> list[str]:
    return [
        scrub(str(entry["error"]))[:200]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping) and "result" not in entry and "error" in entry
    ]


def _as_known(entries: Any, body: bytes, missing: str) -> Traces:
    """Refuse what other tracers write (ganache answers a callTracer request with opcode logs)."""
    for entry in entries if isinstance(entries, list) else []:
        result = entry.get("result") if isinstance(entry, Mapping) else None
        if isinstance(result, Mapping) and "type" not in result:
            raise MethodAbsent("debug_traceBlockByNumber: the node answers without the callTracer's fields")
    return Traces(entries, body, missing)


def _one_by_one(endpoint: Endpoint, hashes: Sequence[str]) -> Traces:
    tracer = _tracer(endpoint)
    answers, body = fetch_each(endpoint, "debug_traceTransaction", [[each, tracer] for each in hashes])
    failed = {place: answer for place, answer in answers.items() if isinstance(answer, RpcError)}
    for error in failed.values():
        if isinstance(error, Unanswered):
            _require_tracer_after(error, endpoint, Plan.TRACE_TRANSACTION)
            break
    for answer in answers.values():
        if isinstance(answer, Mapping) and "type" not in answer:
            raise MethodAbsent("debug_traceTransaction: the node answers without the callTracer's fields")
    if failed and len(failed) == len(hashes):
        raise min(failed.values(), key=lambda each: isinstance(each, MethodAbsent | StateAbsent))
    responses = decode(body)
    have = {response["id"] for response in responses}
    # Too large to be read at all, or never answered.
    lost = [_note(place, str(error)) for place, error in failed.items() if place not in have]
    if lost:
        body = body[:-1] + (b"," if have else b"") + orjson.dumps(lost)[1:]
        responses += lost
    missing = _missing(len(failed), len(hashes), next(iter(failed.values()))) if failed else ""
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
