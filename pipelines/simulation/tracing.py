"""geth callTracer frames out of py-evm executions, with each log at its place among the sub-calls.

py-evm keeps children and logs in separate lists; the computation class here notes how many sub-calls
came before each log and which opcode opened each frame, which is all that geth's tracer knows more.
A call that is refused before it starts (too little ether, depth 1,024) has a frame too, as in geth.
Source of the format: geth `eth/tracers/native/call.go` (callTracer, withLog).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eth import exceptions as evm_errors
from eth.abc import MessageAPI
from eth.constants import STACK_DEPTH_LIMIT
from eth.vm.forks.cancun.computation import CancunComputation
from eth.vm.forks.cancun.opcodes import CANCUN_OPCODES
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_typing import Address

Json = dict[str, Any]
RawLog = tuple[bytes, tuple[bytes, ...], bytes]
"""(emitter, topics, data)."""
_KINDS = {
    0xF0: "CREATE",
    0xF1: "CALL",
    0xF2: "CALLCODE",
    0xF4: "DELEGATECALL",
    0xF5: "CREATE2",
    0xFA: "STATICCALL",
}
_SELFDESTRUCT = 0xFF
_TOO_DEEP = "max call depth exceeded"
_ERROR_SELECTOR = bytes.fromhex("08c379a0")
_ERRORS = {
    evm_errors.Revert: "execution reverted",
    evm_errors.OutOfGas: "out of gas",
    evm_errors.InvalidInstruction: "invalid opcode: INVALID",
    evm_errors.InvalidJumpDestination: "invalid jump destination",
    evm_errors.WriteProtection: "write protection",
    evm_errors.OutOfBoundsRead: "return data out of bounds",
    evm_errors.InsufficientStack: "stack underflow",
    evm_errors.FullStack: "stack limit reached 1024 (1023)",
    evm_errors.ContractCreationCollision: "contract address collision",
}


def _record_selfdestruct(computation: TracedComputation) -> None:
    """SELFDESTRUCT, noted as a sub-call in the way geth does it."""
    beneficiary = computation.stack_pop1_bytes()
    computation.stack_push_bytes(beneficiary)
    account = computation.msg.storage_address
    computation.steps.append((account, beneficiary, computation.state.get_balance(account)))
    CANCUN_OPCODES[_SELFDESTRUCT](computation=computation)


def _recording_refusal(opcode: int) -> Callable[[TracedComputation], None]:
    """Return a call's or creation's opcode, noted even where py-evm refuses it without a child."""
    kind = _KINDS[opcode]
    create = kind in ("CREATE", "CREATE2")
    valued = create or kind in ("CALL", "CALLCODE")

    def run(computation: TracedComputation) -> None:
        begun = len(computation.steps)
        operands: Any = computation._stack
        words = [_word(item) for item in operands.values[:-6:-1]]
        CANCUN_OPCODES[opcode](computation=computation)
        if len(computation.steps) > begun:
            return
        value = words[0 if create else 2] if valued else computation.msg.value
        place = words[1:3] if create else words[3 if valued else 2 :][:2]
        frame = _refused(computation, kind, value, computation.memory_read_bytes(*place))
        if create:
            frame |= _creation_gas(computation, frame)
        else:
            frame["to"] = hexed((words[1] % 2**160).to_bytes(20, "big"))
        computation.steps.append(frame)

    return run


def _word(item: int | bytes) -> int:
    return item if isinstance(item, int) else int.from_bytes(item, "big")


def _refused(computation: TracedComputation, kind: str, value: int, data: bytes) -> Json:
    account = computation.msg.storage_address
    poor = value > computation.state.get_balance(account)
    frame: Json = {
        "from": hexed(account),
        "gas": hex(computation.given_back),
        "gasUsed": "0x0",
        "input": hexed(data),
        "error": "insufficient balance for transfer" if poor else _TOO_DEEP,
        "type": kind,
    }
    return frame if kind == "STATICCALL" else frame | {"value": hex(value)}


def _creation_gas(computation: TracedComputation, frame: Json) -> Json:
    """Return what a creation that did not start got (EIP-150), and lost if its address was taken."""
    offered = computation.gas_seen
    if frame["error"] == _TOO_DEEP and computation.msg.depth < STACK_DEPTH_LIMIT:
        lost = hex(offered - offered // 64)
        return {"error": "contract address collision", "gas": lost, "gasUsed": lost}
    left = computation.get_gas_remaining()
    return {"gas": hex(left - left // 64)}


_OPCODES: dict[int, Any] = {
    **CANCUN_OPCODES,
    **{opcode: _recording_refusal(opcode) for opcode in _KINDS},
    _SELFDESTRUCT: _record_selfdestruct,
}


class TracedComputation(CancunComputation):
    """A Cancun computation that remembers the order of its sub-calls and logs."""

    opcodes = _OPCODES

    def __init__(self, state: Any, message: Any, transaction_context: Any) -> None:
        super().__init__(state, message, transaction_context)
        self.kind = "CREATE" if message.is_create else "CALL"
        self.steps: list[Any] = []
        self.given_back = 0
        self.gas_seen = 0

    def generate_child_computation(self, child_msg: MessageAPI) -> Any:
        """Run a sub-call and note the opcode that asked for it."""
        opcode = self.code[self.code.program_counter - 1]
        child: Any = super().generate_child_computation(child_msg)
        child.kind = _KINDS[opcode]
        self.steps.append(child)
        return child

    def return_gas(self, amount: int) -> None:
        """Take back what a sub-call left, or all it would have got."""
        super().return_gas(amount)
        self.given_back = amount

    def get_gas_remaining(self) -> int:
        """Return the gas left; the last answer before a creation is what it shares with its child."""
        self.gas_seen = super().get_gas_remaining()
        return self.gas_seen

    def add_log_entry(self, account: Address, topics: tuple[int, ...], data: bytes) -> None:
        """Keep a log where it happened."""
        super().add_log_entry(account, topics, data)
        self.steps.append((account, tuple(t.to_bytes(32, "big") for t in topics), data))


def hexed(data: bytes) -> str:
    """Return 0x-prefixed hex."""
    return "0x" + bytes(data).hex()


def trace_tree(root: Any, first_log: int) -> tuple[Json, list[RawLog]]:
    """Turn a finished computation into geth's nested frame.

    Args:
        root: the outermost TracedComputation of a transaction.
        first_log: index in the block of the transaction's first log.

    Returns:
        The root frame (gas and gasUsed without the transaction's intrinsic part) and the surviving
        logs in execution order. Logs below a failed frame are dropped, as geth does.
    """
    logs: list[RawLog] = []
    root_frame = _frame(root)
    stack = [(root_frame, iter(root.steps), root.is_error)]
    while stack:
        frame, steps, failed = stack[-1]
        step = next(steps, None)
        if step is None:
            stack.pop()
        elif isinstance(step, TracedComputation):
            child = _frame(step)
            frame.setdefault("calls", []).append(child)
            stack.append((child, iter(step.steps), failed or step.is_error))
        elif isinstance(step, dict):
            frame.setdefault("calls", []).append(step)
        elif isinstance(step[2], int):
            frame.setdefault("calls", []).append(_selfdestruct_frame(step))
        elif not failed:
            entry = _log(step, first_log + len(logs), len(frame.get("calls", [])))
            frame.setdefault("logs", []).append(entry)
            logs.append(step)
    return root_frame, logs


def _frame(computation: Any) -> Json:
    message = computation.msg
    kind = computation.kind
    create = kind in ("CREATE", "CREATE2")
    target = message.storage_address if create else message.code_address
    caller = message.storage_address if kind in ("DELEGATECALL", "CALLCODE") else message.sender
    frame: Json = {
        "from": hexed(caller),
        "gas": hex(message.gas),
        "gasUsed": hex(computation.get_gas_used()),
        "to": hexed(target),
        "input": hexed(message.code if create else message.data),
    }
    _add_outcome(frame, computation, create=create)
    if kind != "STATICCALL":
        frame["value"] = hex(message.value)
    frame["type"] = kind
    return frame


def _add_outcome(frame: Json, computation: Any, *, create: bool) -> None:
    output = bytes(computation.output)
    if not computation.is_error:
        if output:
            frame["output"] = hexed(output)
        return
    frame["error"] = _ERRORS.get(type(computation.error), "out of gas")
    if create:
        del frame["to"]
    if isinstance(computation.error, evm_errors.Revert) and output:
        frame["output"] = hexed(output)
        reason = revert_reason(output)
        if reason is not None:
            frame["revertReason"] = reason


def revert_reason(output: bytes) -> str | None:
    """Return the text of an Error(string); None if the output of a revert is anything else."""
    if output[:4] != _ERROR_SELECTOR:
        return None
    try:
        (reason,) = decode(["string"], output[4:])
    except (DecodingError, UnicodeDecodeError):
        return None
    return str(reason)


def _selfdestruct_frame(step: tuple[bytes, bytes, int]) -> Json:
    account, word, balance = step
    return {
        "from": hexed(account),
        "gas": "0x0",
        "gasUsed": "0x0",
        "to": hexed(word.rjust(20, b"\0")[-20:]),
        "input": "0x",
        "value": hex(balance),
        "type": "SELFDESTRUCT",
    }


def _log(step: RawLog, index: int, position: int) -> Json:
    address, topics, data = step
    return {
        "address": hexed(address),
        "topics": [hexed(topic) for topic in topics],
        "data": hexed(data),
        "index": hex(index),
        "position": hex(position),
    }
