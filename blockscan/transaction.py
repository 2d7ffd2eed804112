"""What happened in one transaction: calls and logs in execution order, chain-neutral and frozen.

Call trees are attacker-written and up to 1,024 frames deep, so nothing here recurses over a tree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum


class CallKind(StrEnum):
    """How a frame was entered (EVM opcode names; INSTRUCTION is Solana's)."""

    CALL = "CALL"
    STATICCALL = "STATICCALL"
    DELEGATECALL = "DELEGATECALL"
    CALLCODE = "CALLCODE"
    CREATE = "CREATE"
    CREATE2 = "CREATE2"
    SELFDESTRUCT = "SELFDESTRUCT"
    INSTRUCTION = "INSTRUCTION"


class TraceSource(StrEnum):
    """Where a call tree came from; scores of different sources are never compared under one threshold."""

    CALL_TRACER_LOGS = "callTracer+logs"
    CALL_TRACER = "callTracer"
    TRACE_BLOCK = "trace_block"
    TRACE_BLOCK_LOGS = "trace_block+logs"
    RECEIPT = "receipt"
    SOLANA = "solana"  # getBlock or getTransaction without log messages
    SOLANA_LOGS = "solana+logs"


class LogOrder(StrEnum):
    """How far the place of a log among the calls is known; what a source lacks is said, never guessed."""

    EXACT = "exact"  # position among the sub-calls known
    FRAME = "frame"  # emitting frame known; the logs stand after its sub-calls
    ROOT = "root"  # only the receipt's order known; the logs stand at the end of the root frame
    CUT = "cut"  # exact as far as they go; the runtime dropped what came after its limit (Solana)
    ABSENT = "absent"  # the source has no logs at all


class TraceStatus(StrEnum):
    """Whether the whole execution is here."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"  # over a cap on depth, frames or bytes: itself a finding
    FLAT = "flat"  # all frames are here, but the source does not say which inner one called which


@dataclass(frozen=True, slots=True)
class Log:
    """One event: emitter address, topics (32 bytes each), data.

    On Solana there are no topics. `text` is what a program printed. `accounts` are those whose balance
    changed: (token account, owner) with the mint as emitter, or (account,) with the System program as
    emitter for lamports; `data` then is the signed change, the amount after it and the decimals, as
    three 32-byte words.
    """

    emitter: str
    topics: tuple[bytes, ...]
    data: bytes
    text: str = ""
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One frame. `steps` holds its sub-calls and logs in the order in which they happened.

    `target` is the created contract for CREATE/CREATE2 (None if creation failed before an address
    was assigned) and the beneficiary for SELFDESTRUCT. `value` is in wei and 0 for DELEGATECALL and
    STATICCALL, which move nothing. `error` is the client's text for a failed frame, else None.

    An INSTRUCTION is Solana's: `target` is the program, `accounts` what it was given in order, `value`
    the lamports that a System instruction moves, `gas_used` the compute units. The root INSTRUCTION is
    the message itself: caller and target are the fee payer, `accounts` the signers, `value` the fee.
    """

    kind: CallKind
    caller: str
    target: str | None
    data: bytes
    output: bytes
    value: int
    error: str | None
    gas_used: int | None
    steps: "tuple[Call | Log, ...]"
    accounts: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the frame succeeded."""
        return self.error is None

    def __eq__(self, other: object) -> bool:
        """Equal trees, compared without recursion."""
        if not isinstance(other, Call):
            return NotImplemented
        pending: list[tuple[Call, Call]] = [(self, other)]
        while pending:
            mine, theirs = pending.pop()
            if _scalars(mine) != _scalars(theirs) or len(mine.steps) != len(theirs.steps):
                return False
            for a, b in zip(mine.steps, theirs.steps, strict=True):
                if isinstance(a, Call) and isinstance(b, Call):
                    pending.append((a, b))
                elif isinstance(a, Call) or isinstance(b, Call) or a != b:
                    return False
        return True

    def __hash__(self) -> int:
        """Hash of the frame's own fields and its number of steps."""
        return hash((_scalars(self), len(self.steps)))

    def __repr__(self) -> str:
        """One line for the frame itself; sub-calls are only counted."""
        shown = ", ".join(
            f"{name}={value!r}" for name, value in zip(_CALL_SCALARS, _scalars(self), strict=True)
        )
        return f"Call({shown}, steps=<{len(self.steps)}>)"


_CALL_SCALARS = tuple(field.name for field in fields(Call) if field.name != "steps")


def _scalars(call: Call) -> tuple[object, ...]:
    return tuple(getattr(call, name) for name in _CALL_SCALARS)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One executed transaction. `time` is the block's Unix time in seconds; unknown facts are None."""

    chain: str
    hash: str
    block_number: int | None
    block_hash: str | None
    index: int | None
    time: int | None
    sender: str
    ok: bool
    gas_used: int | None
    root: Call
    source: TraceSource
    log_order: LogOrder
    status: TraceStatus = TraceStatus.COMPLETE

    @property
    def key(self) -> tuple[str, str]:
        """Chain and hash: a signature that names no chain holds on every one, with the same hash."""
        return self.chain, self.hash


@dataclass(frozen=True, slots=True)
class Visit:
    """One step of a walk: the step itself, the pre-order index of its frame, its depth (root 0).

    For a Call, `node` is its own index and `parent` its caller's (-1 at the root); for a Log both
    are the emitting frame's.
    """

    step: Call | Log
    node: int
    parent: int
    depth: int


def walk(root: Call) -> Iterator[Visit]:
    """Yield every call and log of a tree in execution order, without recursion."""
    next_node = 1
    first = Visit(root, 0, -1, 0)
    yield first
    stack: list[tuple[Visit, Iterator[Call | Log]]] = [(first, iter(root.steps))]
    while stack:
        frame, steps = stack[-1]
        step = next(steps, None)
        if step is None:
            stack.pop()
        elif isinstance(step, Call):
            visit = Visit(step, next_node, frame.node, frame.depth + 1)
            next_node += 1
            yield visit
            stack.append((visit, iter(step.steps)))
        else:
            yield Visit(step, frame.node, frame.node, frame.depth)


def call_count(root: Call) -> int:
    """Number of frames in a tree, the root included."""
    return sum(isinstance(visit.step, Call) for visit in walk(root))
