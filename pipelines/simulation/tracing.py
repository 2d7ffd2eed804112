"""geth callTracer frames out of py-evm executions, with each log at its place among the sub-calls.

py-evm keeps children and logs in separate lists; the computation class here notes how many sub-calls
came before each log and which opcode opened each frame, which is all that geth's tracer knows more.
Source of the format: geth `eth/tracers/native/call.go` (callTracer, withLog). One difference remains: a
call that is refused before it starts (too little ether, depth 1,024) leaves no frame here.
"""

from __future__ import annotations

from typing import Any

from eth import exceptions as evm_errors
from eth.abc import MessageAPI
from eth.vm.forks.cancun.computation import CancunComputation
from eth.vm.forks.cancun.opcodes import CANCUN_OPCODES
from eth_abi.abi import decode
from eth_typing import Address

Json = dict[str, Any]
_KINDS = {
    0xF0: "CREATE",
    0xF1: "CALL",
    0xF2: "CALLCODE",
    0xF4: "DELEGATECALL",
    0xF5: "CREATE2",
    0xFA: "STATICCALL",
}
_SELFDESTRUCT = 0xFF
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


_OPCODES: dict[int, Any] = {**CANCUN_OPCODES, _SELFDESTRUCT: _record_selfdestruct}


class TracedComputation(CancunComputation):
    """A Cancun computation that remembers the order of its sub-calls and logs."""

    opcodes = _OPCODES

    def __init__(self, state: Any, message: Any, transaction_context: Any) -> None:
        super().__init__(state, message, transaction_context)
        self.kind = "CREATE" if message.is_create else "CALL"
        self.steps: list[Any] = []

    def generate_child_computation(self, child_msg: MessageAPI) -> Any:
        """Run a sub-call and note the opcode that asked for it."""
        opcode = self.code[self.code.program_counter - 1]
        child: Any = super().generate_child_computation(child_msg)
        child.kind = _KINDS[opcode]
        self.steps.append(child)
        return child

    def add_log_entry(self, account: Address, topics: tuple[int, ...], data: bytes) -> None:
        """Keep a log where it happened."""
        super().add_log_entry(account, topics, data)
        self.steps.append((account, tuple(t.to_bytes(32, "big") for t in topics), data))


def hexed(data: bytes) -> str:
    """Return 0x-prefixed hex."""
    return "0x" + bytes(data).hex()


def trace_tree(root: Any, first_log: int) -> tuple[Json, list[tuple[bytes, tuple[bytes, ...], bytes]]]:
    """Turn a finished computation into geth's nested frame.

    Args:
        root: the outermost TracedComputation of a transaction.
        first_log: index in the block of the transaction's first log.

    Returns:
        The root frame (gas and gasUsed without the transaction's intrinsic part) and the surviving
        logs in execution order. Logs below a failed frame are dropped, as geth does.
    """
    logs: list[tuple[bytes, tuple[bytes, ...], bytes]] = []
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
        if output[:4] == _ERROR_SELECTOR:
            frame["revertReason"] = decode(["string"], output[4:])[0]


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


def _log(step: tuple[bytes, tuple[bytes, ...], bytes], index: int, position: int) -> Json:
    address, topics, data = step
    return {
        "address": hexed(address),
        "topics": [hexed(topic) for topic in topics],
        "data": hexed(data),
        "index": hex(index),
        "position": hex(position),
    }
