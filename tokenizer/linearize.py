"""Call tree <-> flat list of typed values in execution order, exactly (only `gas_used` is left out).

A frame is written as

    kind [caller] target [value] [selector] calldata* (sub-call | log)* [OUT output*] [ERR error] END

and a log as `LOGn [emitter] topic0 .. topic(n-1) data*`. A caller or emitter stands there only where it is
not the one that the surrounding frame implies: the contract whose storage that frame works on, which is
its target, or its caller under DELEGATECALL and CALLCODE. Kinds that can move ether always have a value;
in the others a non-zero one (which no EVM produces) follows a VALUE mark. The code of a CREATE and the
code that a successful one returns are one value each.

A frame of Solana is `INSTRUCTION [caller] program count account* [VALUE value] data* ...`, with the data of
`tokenizer.instructions`; its logs are `PRINT [emitter] text`, `EVENT [emitter] data*` and
`BALANCE [emitter] count account* data*`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from blockscan.errors import ParseError
from blockscan.tokens import Field, Modality
from blockscan.transaction import Call, CallKind, Log
from tokenizer import instructions
from tokenizer.modalities import address, structure
from tokenizer.modalities.bytes import WORD_BYTES, Code
from tokenizer.words import SELECTOR_BYTES, Classify, Value, blob_bytes, blob_values

T = TypeVar("T")

_NO_ADDRESS: Value = (Modality.ADDRESS, None)
_BORROWS_STORAGE = frozenset({CallKind.DELEGATECALL, CallKind.CALLCODE})
_MOVES_ETHER = frozenset(CallKind) - {CallKind.STATICCALL, CallKind.DELEGATECALL, CallKind.INSTRUCTION}
_CREATES = frozenset({CallKind.CREATE, CallKind.CREATE2})
_HAS_SELECTOR = frozenset(CallKind) - _CREATES - {CallKind.SELFDESTRUCT}


@dataclass(frozen=True, slots=True)
class Linear:
    """Typed values in order, with the field and the frame (pre-order index) of each.

    `depths` has one entry per frame; `created` holds the targets of all CREATE frames, failed ones too.
    """

    values: list[Value] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    created: set[str] = field(default_factory=set)

    def put(self, value: Value, of: Field, node: int) -> None:
        """Append one value."""
        self.values.append(value)
        self.fields.append(of)
        self.nodes.append(node)

    def put_all(self, values: list[Value], of: Field, node: int) -> None:
        """Append values of one field."""
        self.values.extend(values)
        self.fields.extend([of] * len(values))
        self.nodes.extend([node] * len(values))

    def put_accounts(self, accounts: tuple[str, ...], of: Field, node: int) -> None:
        """Append the number of some accounts, and the accounts."""
        if len(accounts) > instructions.MOST_ACCOUNTS:
            raise ParseError(f"{len(accounts)} accounts at once; Solana has {instructions.MOST_ACCOUNTS}")
        self.put((Modality.NUMBER, len(accounts)), of, node)
        self.put_all([(Modality.ADDRESS, account) for account in accounts], of, node)

    def put_blob(self, data: bytes, of: Field, node: int, classify: Classify) -> None:
        """Append the typed values of some data."""
        self.put_all(blob_values(data, classify), of, node)


def linearize(root: Call, classify: Classify) -> Linear:
    """Flatten a call tree.

    Raises:
        ParseError: a log has more than four topics, or one that is not 32 bytes long.
    """
    linear = Linear()
    _open(linear, root, None, 0, classify)
    stack = [(root, 0, iter(root.steps))]
    while stack:
        call, node, steps = stack[-1]
        context = storage_of(call)
        for step in steps:
            if isinstance(step, Log):
                log = _program_log if call.kind is CallKind.INSTRUCTION else _log
                log(linear, step, context, node, classify)
                continue
            inner = len(linear.depths)
            _open(linear, step, context, len(stack), classify)
            stack.append((step, inner, iter(step.steps)))
            break
        else:
            _close(linear, call, node, classify)
            stack.pop()
    return linear


def storage_of(call: Call) -> str | None:
    """The contract whose storage a frame works on: who calls out of it and emits its logs."""
    return call.caller if call.kind in _BORROWS_STORAGE else call.target


def _open(linear: Linear, call: Call, implied: str | None, depth: int, classify: Classify) -> None:
    node = len(linear.depths)
    linear.depths.append(depth)
    explicit = call.caller != implied
    linear.put(structure.KINDS[call.kind, call.error is None, explicit], Field.KIND, node)
    if explicit:
        linear.put((Modality.ADDRESS, call.caller), Field.CALLER, node)
    linear.put((Modality.ADDRESS, call.target), Field.TARGET, node)
    if call.kind in _CREATES and call.target is not None:
        linear.created.add(call.target)
    if call.kind is CallKind.INSTRUCTION:
        linear.put_accounts(call.accounts, Field.ARGUMENT, node)
        created = instructions.created_account(call.target, call.data, call.accounts)
        linear.created.update([] if created is None else [created])
    if call.value and call.kind not in _MOVES_ETHER:
        linear.put(structure.VALUE, Field.MARK, node)
    if call.value or call.kind in _MOVES_ETHER:
        linear.put((Modality.NUMBER, call.value), Field.VALUE, node)
    if not call.data:
        return
    if call.kind is CallKind.INSTRUCTION:
        selector, *rest = instructions.instruction_values(call.target, call.data)
        linear.put(selector, Field.SELECTOR, node)
        linear.put_all(rest, Field.ARGUMENT, node)
    elif call.kind in _CREATES:
        linear.put((Modality.BYTES, Code(call.data)), Field.CODE, node)
    elif _has_selector(call):
        linear.put((Modality.SELECTOR, call.data[:SELECTOR_BYTES]), Field.SELECTOR, node)
        linear.put_blob(call.data[SELECTOR_BYTES:], Field.ARGUMENT, node, classify)
    else:
        linear.put_blob(call.data, Field.ARGUMENT, node, classify)


def _has_selector(call: Call) -> bool:
    """Precompiles take bare words, so their first four bytes are no selector."""
    return (
        call.kind in _HAS_SELECTOR
        and len(call.data) >= SELECTOR_BYTES
        and call.target not in address.PRECOMPILES
    )


def _log(linear: Linear, log: Log, implied: str | None, node: int, classify: Classify) -> None:
    if len(log.topics) > structure.MOST_TOPICS or any(len(topic) != WORD_BYTES for topic in log.topics):
        raise ParseError(
            f"a log of {log.emitter} has {len(log.topics)} topics of {sorted({*map(len, log.topics)})} bytes;"
            f" at most {structure.MOST_TOPICS} of {WORD_BYTES} bytes can be read"
        )
    explicit = log.emitter != implied
    linear.put(structure.LOGS[len(log.topics), explicit], Field.MARK, node)
    if explicit:
        linear.put((Modality.ADDRESS, log.emitter), Field.EMITTER, node)
    if log.topics:
        linear.put((Modality.SELECTOR, log.topics[0]), Field.TOPIC0, node)
        for topic in log.topics[1:]:
            linear.put(classify(topic), Field.TOPIC, node)
    linear.put_blob(log.data, Field.LOG_DATA, node, classify)


def _program_log(linear: Linear, log: Log, implied: str | None, node: int, classify: Classify) -> None:
    explicit = log.emitter != implied
    mark = instructions.log_mark(log, explicit=explicit)
    linear.put(mark, Field.MARK, node)
    if explicit:
        linear.put((Modality.ADDRESS, log.emitter), Field.EMITTER, node)
    if log.accounts:
        linear.put_accounts(log.accounts, Field.TOPIC, node)
        linear.put_blob(log.data, Field.LOG_DATA, node, classify)
    elif log.text:
        linear.put((Modality.TEXT, log.text), Field.LOG_DATA, node)
    elif log.data:
        selector, *rest = instructions.event_values(log.data)
        linear.put(selector, Field.TOPIC0, node)
        linear.put_all(rest, Field.LOG_DATA, node)


def _close(linear: Linear, call: Call, node: int, classify: Classify) -> None:
    if call.output:
        linear.put(structure.OUT, Field.MARK, node)
        if call.kind in _CREATES and call.error is None:
            linear.put((Modality.BYTES, Code(call.output)), Field.CODE, node)
        else:
            _put_output(linear, call, node, classify)
    if call.error is not None:
        linear.put(structure.ERR, Field.MARK, node)
        linear.put((Modality.TEXT, call.error), Field.ERROR, node)
    linear.put(structure.END, Field.MARK, node)


def _put_output(linear: Linear, call: Call, node: int, classify: Classify) -> None:
    """What a failed frame returns is `Error(string)` or another selector, with its arguments."""
    if call.kind is CallKind.INSTRUCTION:
        linear.put_all(instructions.word_values(call.output), Field.OUTPUT, node)
        return
    begin = (
        SELECTOR_BYTES if call.error is not None and len(call.output) % WORD_BYTES == SELECTOR_BYTES else 0
    )
    if begin:
        linear.put((Modality.SELECTOR, call.output[:begin]), Field.OUTPUT, node)
    linear.put_blob(call.output[begin:], Field.OUTPUT, node, classify)


@dataclass(slots=True)
class _Frame:
    """A frame that is being rebuilt."""

    kind: CallKind
    caller: str
    target: str | None
    value: int
    data: bytes
    output: bytes = b""
    accounts: tuple[str, ...] = ()
    error: str | None = None
    steps: list[Call | Log] = field(default_factory=list)

    def call(self) -> Call:
        return Call(
            self.kind,
            self.caller,
            self.target,
            self.data,
            self.output,
            self.value,
            self.error,
            None,
            tuple(self.steps),
            self.accounts,
        )


class _Reader:
    """Typed values, read one after the other."""

    def __init__(self, values: list[Value]) -> None:
        self._values = values
        self._place = 0

    def take(self, modality: Modality, kind: type[T]) -> T:
        found, value = self._values[self._place] if self._place < len(self._values) else (None, None)
        if found is not modality or not isinstance(value, kind):
            raise ParseError(f"value {self._place} should be {modality.name.lower()}, but is {value!r:.80}")
        self._place += 1
        return value

    def skip(self, mark: Value) -> bool:
        """Go past a mark if it comes next."""
        if self._values[self._place : self._place + 1] != [mark]:
            return False
        self._place += 1
        return True

    def content(self) -> list[Value]:
        """Everything up to the next mark."""
        begin = self._place
        while self._place < len(self._values) and self._values[self._place][0] is not Modality.STRUCTURE:
            self._place += 1
        return self._values[begin : self._place]

    def accounts(self) -> tuple[str, ...]:
        """A number of accounts, and the accounts."""
        return tuple([self.take(Modality.ADDRESS, str) for _ in range(self.take(Modality.NUMBER, int))])


def rebuild(values: list[Value]) -> Call:
    """The call tree of a flat list: the inverse of `linearize`, with `gas_used` None everywhere.

    Raises:
        ParseError: the values do not follow the grammar above.
    """
    reader = _Reader(values)
    stack = [_read_frame(reader, reader.take(Modality.STRUCTURE, str), None)]
    while True:
        frame = stack[-1]
        mark = reader.take(Modality.STRUCTURE, str)
        implied = frame.caller if frame.kind in _BORROWS_STORAGE else frame.target
        if mark in structure.KIND_OF:
            stack.append(_read_frame(reader, mark, implied))
        elif mark in structure.LOG_OF:
            frame.steps.append(_read_log(reader, mark, implied))
        elif mark in structure.PROGRAM_LOG_OF:
            frame.steps.append(_read_program_log(reader, mark, implied))
        elif mark == structure.OUT[1]:
            frame.output = _data_reader(frame.kind)(reader.content())
        elif mark == structure.ERR[1]:
            frame.error = reader.take(Modality.TEXT, str)
        else:
            stack.pop()
            if not stack:
                return frame.call()
            stack[-1].steps.append(frame.call())


def _read_frame(reader: _Reader, mark: str, implied: str | None) -> _Frame:
    if mark not in structure.KIND_OF:
        raise ParseError(f"a frame begins with a kind, not with {mark}")
    kind, _, explicit = structure.KIND_OF[mark]
    caller = _read_address(reader, implied, explicit=explicit)
    target = None if reader.skip(_NO_ADDRESS) else reader.take(Modality.ADDRESS, str)
    accounts = reader.accounts() if kind is CallKind.INSTRUCTION else ()
    moves = reader.skip(structure.VALUE) or kind in _MOVES_ETHER
    value = reader.take(Modality.NUMBER, int) if moves else 0
    return _Frame(kind, caller, target, value, _data_reader(kind)(reader.content()), accounts=accounts)


def _data_reader(kind: CallKind) -> Callable[[list[Value]], bytes]:
    return instructions.data_bytes if kind is CallKind.INSTRUCTION else blob_bytes


def _read_log(reader: _Reader, mark: str, implied: str | None) -> Log:
    count, explicit = structure.LOG_OF[mark]
    emitter = _read_address(reader, implied, explicit=explicit)
    content = blob_bytes(reader.content())
    if len(content) < count * WORD_BYTES:
        raise ParseError(f"a log with {count} topics has only {len(content)} bytes")
    return Log(
        emitter,
        tuple(content[at : at + WORD_BYTES] for at in range(0, count * WORD_BYTES, WORD_BYTES)),
        content[count * WORD_BYTES :],
    )


def _read_program_log(reader: _Reader, mark: str, implied: str | None) -> Log:
    kind, explicit = structure.PROGRAM_LOG_OF[mark]
    emitter = _read_address(reader, implied, explicit=explicit)
    if kind == "PRINT":
        return Log(emitter, (), b"", text=reader.take(Modality.TEXT, str))
    if kind == "EVENT":
        return Log(emitter, (), instructions.data_bytes(reader.content()))
    accounts = reader.accounts()
    return Log(emitter, (), blob_bytes(reader.content()), accounts=accounts)


def _read_address(reader: _Reader, implied: str | None, *, explicit: bool) -> str:
    if explicit:
        return reader.take(Modality.ADDRESS, str)
    if implied is None:
        raise ParseError("a frame leaves out an address that nothing implies")
    return implied
