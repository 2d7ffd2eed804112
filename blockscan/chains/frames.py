"""Trace dialects -> one `Call` tree, iteratively: geth's callTracer and parity's trace_block.

What the dialects disagree on is normalised so that one execution gives one tree: precompile calls are
left out (parity never lists them), DELEGATECALL and STATICCALL carry no value, client error texts map
to one spelling, and logs at or below a failed frame do not exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from blockscan.errors import ParseError
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceStatus

MAX_DEPTH = 1024
"""Deepest frame the EVM can enter (yellow paper: the call depth limit)."""
MAX_FRAMES = 250_000
"""Frames kept of one transaction: a call costs at least 100 gas (EIP-2929), so 250,000 need 25 M gas."""
COUNT_BITS = 63
"""Block numbers, times and the like are below: they are stored as signed 64-bit integers."""

_NO_VALUE = {CallKind.DELEGATECALL, CallKind.STATICCALL}
_CREATES = {CallKind.CREATE, CallKind.CREATE2}
_LAST_PRECOMPILE = 0x11
_ERRORS = {
    "execution reverted": "reverted",
    "reverted": "reverted",
    "revert": "reverted",
    "out of gas": "out of gas",
    "contract creation code storage out of gas": "out of gas",
    "code store out of gas": "out of gas",
    "bad jump destination": "invalid jump",
    "invalid jump destination": "invalid jump",
    "bad instruction": "invalid opcode",
    "write protection": "write protection",
    "mutable call in static context": "write protection",
    "insufficient balance for transfer": "insufficient balance",
    "out of stack": "stack overflow",
    "stack underflow": "stack underflow",
    "max call depth exceeded": "call depth exceeded",
    "contract address collision": "address collision",
}


@dataclass(frozen=True, slots=True)
class Tree:
    """A built call tree, how far its log order is known (None: it has no logs of its own), and its status."""

    root: Call
    log_order: LogOrder | None
    status: TraceStatus


@dataclass(slots=True)
class _Draft:
    """A frame under construction: sub-calls first become drafts, then Calls, deepest last to first."""

    raw: Mapping[str, Any]
    parent: int
    depth: int
    failed: bool
    children: list[int]


def from_call_tracer(trace: Mapping[str, Any], *, forced_error: str | None = None) -> Tree:
    """Build the tree of a geth callTracer result (debug_traceTransaction, tracer callTracer).

    Args:
        trace: nested frames with `type, from, to, value, input, output, error, calls, logs`; all but
            `type` and `from` may be missing.
        forced_error: error of the root where the receipt says it failed and the trace does not say how.

    Raises:
        ParseError: a frame misses a required field or holds something that is not of its type.
    """
    drafts, status = _flatten(trace, forced_error)
    calls: list[Call | None] = [None] * len(drafts)
    order: LogOrder | None = None
    for place in range(len(drafts) - 1, -1, -1):
        draft = drafts[place]
        logs = [] if draft.failed else _mappings(draft.raw, "logs")
        placed = all("position" in log for log in logs)
        if logs:
            order = LogOrder.EXACT if placed and order in (None, LogOrder.EXACT) else LogOrder.FRAME
        subcalls = [cast(Call, calls[child]) for child in draft.children]
        error = forced_error if place == 0 and forced_error and not draft.raw.get("error") else None
        calls[place] = _call(
            draft.raw, _interleave(subcalls, logs) if placed else (*subcalls, *map(read_log, logs)), error
        )
    return Tree(cast(Call, calls[0]), order, status)


def _flatten(trace: Mapping[str, Any], forced_error: str | None) -> tuple[list[_Draft], TraceStatus]:
    """Frames in breadth-first order, each knowing its children; caps applied here."""
    root_failed = bool(trace.get("error") or forced_error)
    drafts = [_Draft(trace, -1, 0, root_failed, [])]
    status = TraceStatus.COMPLETE
    place = 0
    while place < len(drafts):
        frame = drafts[place]
        for child in _mappings(frame.raw, "calls"):
            if frame.depth >= MAX_DEPTH or len(drafts) >= MAX_FRAMES:
                status = TraceStatus.TRUNCATED
                break
            frame.children.append(len(drafts))
            failed = frame.failed or bool(child.get("error"))
            drafts.append(_Draft(child, place, frame.depth + 1, failed, []))
        place += 1
    return drafts, status


def _call(raw: Mapping[str, Any], steps: "Sequence[Call | Log]", error: str | None) -> Call:
    kind = _kind(raw.get("type"))
    code = raw.get("error")
    used = None if kind is CallKind.SELFDESTRUCT else raw.get("gasUsed")  # geth says 0, parity nothing
    return Call(
        kind=kind,
        caller=read_address(raw.get("from"), "from"),
        target=None if raw.get("to") is None else read_address(raw["to"], "to"),
        data=read_bytes(raw.get("input"), "input"),
        output=read_bytes(raw.get("output"), "output"),
        value=0 if kind in _NO_VALUE else read_quantity(raw.get("value"), "value"),
        error=normal_error(code) if code else error,
        gas_used=None if used is None else read_quantity(used, "gasUsed"),
        steps=tuple(step for step in steps if not _is_precompile(step)),
    )


def _is_precompile(step: "Call | Log") -> bool:
    """A call to an address up to 0x11 that runs no code of a contract."""
    if not isinstance(step, Call) or step.target is None or step.kind in _CREATES:
        return False
    return step.kind is not CallKind.SELFDESTRUCT and 0 < int(step.target, 16) <= _LAST_PRECOMPILE


def _interleave(subcalls: Sequence[Call], logs: Sequence[Mapping[str, Any]]) -> "tuple[Call | Log, ...]":
    """Put each log before the sub-call whose index is its position (callTracer withLog)."""
    steps: list[Call | Log] = []
    waiting = list(logs)
    waiting.sort(key=lambda log: read_quantity(log["position"], "position"))
    next_log = 0
    for index, call in enumerate(subcalls):
        while next_log < len(waiting) and read_quantity(waiting[next_log]["position"], "position") <= index:
            steps.append(read_log(waiting[next_log]))
            next_log += 1
        steps.append(call)
    steps.extend(read_log(log) for log in waiting[next_log:])
    return tuple(steps)


def nest_parity(traces: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Nest the trace_block / trace_transaction entries of one transaction into callTracer's form.

    Raises:
        ParseError: an entry has no place in the tree (traceAddress), or there is no root.
    """
    frames: dict[tuple[int, ...], dict[str, Any]] = {}
    for entry in sorted(traces, key=lambda entry: tuple(entry.get("traceAddress") or ())):
        place = tuple(entry.get("traceAddress") or ())
        frame = _parity_frame(entry)
        if place:
            parent = frames.get(place[:-1])
            if parent is None:
                raise ParseError(f"trace_block: no parent for traceAddress {list(place)[:8]}")
            parent.setdefault("calls", []).append(frame)
        frames[place] = frame
    if () not in frames:
        raise ParseError("trace_block: the transaction has no root entry (empty traceAddress)")
    return frames[()]


def _parity_frame(entry: Mapping[str, Any]) -> dict[str, Any]:
    action = mapping(entry.get("action"), "`action`")
    result = entry.get("result") or {}
    error = entry.get("error")
    match entry.get("type"):
        case "call":
            frame = {key: action.get(key) for key in ("from", "to", "value", "input")}
            frame |= {"type": str(action.get("callType", "call")).upper(), "output": result.get("output")}
        case "create":
            method = str(action.get("creationMethod") or "create").upper()
            frame = {"type": method, "from": action.get("from"), "to": result.get("address")}
            frame |= {"value": action.get("value"), "input": action.get("init"), "output": result.get("code")}
        case "suicide":
            frame = {"type": "SELFDESTRUCT", "from": action.get("address"), "to": action.get("refundAddress")}
            frame |= {"value": action.get("balance")}
        case other:
            raise ParseError(f"trace_block: unknown entry type {str(other)[:40]!r}")
    return frame | {"gasUsed": result.get("gasUsed"), "error": error}


def normal_error(text: object) -> str:
    """One spelling for the clients' names of the same failure; other texts stay, cut at 200 characters."""
    shown = str(text).strip()[:200]
    lower = shown.lower()
    if lower in _ERRORS:
        return _ERRORS[lower]
    for start in (
        "invalid opcode",
        "stack underflow",
        "stack overflow",
        "bad instruction",
        "execution reverted",
    ):
        if lower.startswith(start):
            return _ERRORS.get(start, start)
    return shown


def read_log(raw: Mapping[str, Any]) -> Log:
    """One log object of a receipt or of a callTracer frame."""
    topics = raw.get("topics") or []
    if not isinstance(topics, list) or len(topics) > 4:
        raise ParseError("log: `topics` must be a list of at most four")
    return Log(
        emitter=read_address(raw.get("address"), "log address"),
        topics=tuple(read_bytes(topic, "topic") for topic in topics),
        data=read_bytes(raw.get("data"), "log data"),
    )


def read_address(text: object, name: str) -> str:
    """A 20-byte hex address in lower case."""
    if isinstance(text, str) and len(text) == 42 and text[:2] in ("0x", "0X"):
        lower = text.lower()
        try:
            bytes.fromhex(lower[2:])
        except ValueError:
            pass
        else:
            return lower
    raise ParseError(f"`{name}` is not a 20-byte hex address: {str(text)[:60]!r}")


def read_bytes(text: object, name: str) -> bytes:
    """Hex data; None and "" mean empty."""
    if text is None or text == "" or text == "0x":
        return b""
    if isinstance(text, str):
        try:
            return bytes.fromhex(text[2:] if text[:2] in ("0x", "0X") else text)
        except ValueError:
            pass
    raise ParseError(f"`{name}` is not hex data: {str(text)[:60]!r}")


def read_quantity(value: object, name: str) -> int:
    """A non-negative integer given as hex string, decimal string or JSON integer; None means 0."""
    if value is None or value == "0x":
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and len(value) <= 80:
        try:
            number = int(value, 16) if value[:2] in ("0x", "0X") else int(value)
        except ValueError:
            number = -1
        if number >= 0:
            return number
    raise ParseError(f"`{name}` is not a whole number (hex or decimal string): {str(value)[:60]!r}")


def read_count(value: object, name: str, *, bits: int = COUNT_BITS) -> int:
    """A quantity below 2^63, the most that archive and store can hold: a block, a place, a time."""
    number = read_quantity(value, name)
    if number >> bits:
        raise ParseError(f"`{name}` is not below 2^{bits}: {str(value)[:60]!r}")
    return number


def read_gas(value: object, name: str) -> int:
    """A quantity of gas, which every client holds in 64 bits."""
    return read_count(value, name, bits=64)


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        ParseError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise ParseError(f"{what} must be an object, not {type(value).__name__}")
    return value


def list_of(raw: Mapping[str, Any], name: str) -> list[Any]:
    """A JSON list; empty where it is absent or null.

    Raises:
        ParseError: it is something else.
    """
    value = raw.get(name)
    if value is not None and not isinstance(value, list):
        raise ParseError(f"`{name}` must be a list, not {type(value).__name__}")
    return value or []


def _kind(text: object) -> CallKind:
    try:
        kind = CallKind(str(text).upper())
    except ValueError:
        kind = CallKind.INSTRUCTION
    if kind is CallKind.INSTRUCTION:
        raise ParseError(f"unknown frame type {str(text)[:40]!r}")
    return kind


def _mappings(raw: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    what = f"`{name}`"
    return [mapping(item, what) for item in list_of(raw, name)]
