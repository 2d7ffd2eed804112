"""The engine over a local anvil: it executes, our own blocks (blocks.py) and state (anvil_state.py) remain.

anvil never mines here. Re-executing its pool for every call on the pending block, or rebuilding all tries
for every block, would cost most of the time. Each transaction is traced on the latest state
(debug_traceCall) under the open block's environment, and what it changed is written back with anvil's
setters, so the latest state is always the pending one.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any

import orjson

from pipelines.simulation.anvil_node import AnvilNode
from pipelines.simulation.anvil_state import Command, MirroredState
from pipelines.simulation.blocks import DRY_RUN_GAS, GAS_LIMIT, BlockBuilder, Execution, intrinsic_gas
from pipelines.simulation.engine import CallResult, Json, Receipt, SimulationError, Tx
from pipelines.simulation.tracing import RawLog, hexed, revert_reason

_SETTERS_AT_ONCE = 1000
_DEPOSIT_GAS = 200
_MAX_REFUND_QUOTIENT = 5
_CALL_TREE = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}
_DIFF = {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}}
_OUTCOME_ONLY = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
_BLOCKHASH = b'"op":"BLOCKHASH"'
_STEPS = {"disableStack": True, "disableStorage": True, "disableMemory": True}
_OUTCOME = re.compile(rb'"failed":(true|false),"gas":(\d+),"returnValue":"0x([0-9a-f]*)","structLogs":\[')
_OUT_OF_GAS = "out of gas"
# What anvil calls errors that geth names otherwise; "out of gas: ..." says why, geth does not.
_ERRORS = {
    "CallTooDeep": "max call depth exceeded",
    "CreateCollision": "contract address collision",
    "InvalidFEOpcode": "invalid opcode: INVALID",
    "Out of stack": "stack limit reached 1024 (1023)",
    "OutOfOffset": "return data out of bounds",
    "StackUnderflow": "stack underflow",
    "StateChangeDuringStaticCall": "write protection",
    "invalid opcode": "invalid opcode: INVALID",
    "precompiled failed": _OUT_OF_GAS,
    "CreateContractSizeLimit": _OUT_OF_GAS,
    "CreateContractStartingWithEF": _OUT_OF_GAS,
}


class Anvil:
    """An `Engine` on an anvil process of its own; a context manager."""

    def __init__(self, *, chain_id: int, timestamp: int) -> None:
        """Start a chain whose first block carries `timestamp` (Unix seconds); blocks are 12 s apart.

        Raises:
            SimulationError: anvil is not installed or does not start.
        """
        self._blocks = BlockBuilder(chain_id=chain_id, timestamp=timestamp)
        self._state = MirroredState()
        self._unsent: list[Command] = []
        self._node = AnvilNode(chain_id=chain_id, gas_limit=GAS_LIMIT)
        self._open()

    def _open(self) -> None:
        blocks = self._blocks
        environment = {
            "number": hex(blocks.number),
            "time": hex(blocks.timestamp),
            "coinbase": hexed(blocks.coinbase),
            "random": hexed(blocks.mix_hash),
            "baseFee": hex(blocks.base_fee),
            "gasLimit": GAS_LIMIT,
        }
        self._environment = orjson.Fragment(orjson.dumps(environment))

    def fund(self, address: bytes, wei: int, nonce: int) -> None:
        """See `Engine.fund`; only before the first transaction."""
        self._blocks.check_genesis()
        self._unsent += self._state.set(hexed(address), {"balance": hex(wei), "nonce": nonce})

    def _write_back(self) -> None:
        while self._unsent:
            self._node.batch(self._unsent[:_SETTERS_AT_ONCE])
            del self._unsent[:_SETTERS_AT_ONCE]

    def _trace(self, message: Json, tracer: Json) -> Command:
        return ("debug_traceCall", [message, "latest", tracer | {"blockOverrides": self._environment}])

    def call(self, sender: bytes, to: bytes | None, data: bytes, value: int) -> CallResult:
        """See `Engine.call`."""
        if self._state.balance(hexed(sender)) < value:
            return CallResult(ok=False, output=b"", gas_used=0)
        self._write_back()
        gas = DRY_RUN_GAS + intrinsic_gas(data, is_create=to is None)
        method, parameters = self._trace(_message(sender, to, data, value, gas), _STEPS)
        body = orjson.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": parameters})
        answer = self._node.post(body)
        if _BLOCKHASH in answer:
            raise SimulationError("a contract reads BLOCKHASH, which anvil knows nothing of; use py-evm")
        return _dry_result(answer, gas, is_create=to is None)

    def read(self, to: bytes, data: bytes) -> CallResult:
        """See `Engine.read`."""
        self._write_back()
        message = _message(to, to, data, 0, DRY_RUN_GAS + intrinsic_gas(data, is_create=False))
        (frame,) = self._node.batch([self._trace(message, _OUTCOME_ONLY)])
        return CallResult("error" not in frame, _bytes(frame.get("output", "0x")), int(frame["gasUsed"], 16))

    def tx(self, tx: Tx) -> Receipt:
        """See `Engine.tx`."""
        sender, blocks = hexed(tx.sender.address), self._blocks
        nonce = self._state.nonce(sender)
        blocks.check(tx, self._state.balance(sender))
        self._write_back()
        message = _message(tx.sender.address, tx.to, tx.data, tx.value, tx.gas)
        message |= {"gasPrice": hex(blocks.price(tx))}
        frame, diff = self._node.batch([self._trace(message, _CALL_TREE), self._trace(message, _DIFF)])
        used = int(frame["gasUsed"], 16)
        logs = tidy(frame, blocks.log_count)
        self._unsent += self._state.apply(diff)
        if self._state.nonce(sender) != nonce + 1:
            raise SimulationError(f"anvil: the nonce of {sender} did not grow by one")
        output = bytes.fromhex(frame.get("output", "0x")[2:])
        return blocks.include(tx, nonce, Execution("error" not in frame, used, output, frame, logs))

    def next_block(self) -> Json:
        """See `Engine.next_block`."""
        sealed = self._blocks.seal(self._state.root())
        self._open()
        return sealed

    def close(self) -> None:
        """End the process."""
        self._node.close()

    def __enter__(self) -> Anvil:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _message(sender: bytes, to: bytes | None, data: bytes, value: int, gas: int) -> Json:
    message: Json = {"from": hexed(sender), "data": hexed(data), "value": hex(value), "gas": hex(gas)}
    return message if to is None else message | {"to": hexed(to)}


def _dry_result(answer: bytes, gas: int, *, is_create: bool) -> CallResult:
    """Read the outcome and the last step of a structLog answer, which may be megabytes long.

    Only the last step tells the gas left before refunds; the `gas` of the answer is after them.
    """
    outcome = _OUTCOME.search(answer)
    if outcome is None:
        raise SimulationError(f"anvil debug_traceCall: {answer[:300].decode(errors='replace')}")
    failed, used, output = outcome[1] == b"true", int(outcome[2]), bytes.fromhex(outcome[3].decode())
    at = answer.rfind(b'{"pc":')
    if failed or at < 0:
        return CallResult(ok=not failed, output=output, gas_used=used)
    step: dict[str, Any] = orjson.loads(answer[at : answer.index(b"}", at) + 1])
    whole = gas - step["gas"] + step["gasCost"] + (_DEPOSIT_GAS * len(output) if is_create else 0)
    if whole - min(step["refund"], whole // _MAX_REFUND_QUOTIENT) != used:
        raise SimulationError(f"anvil debug_traceCall: {whole} gas, refund {step['refund']}, but {used} used")
    return CallResult(ok=True, output=output, gas_used=whole)


def tidy(root: Json, first_log: int) -> list[RawLog]:
    """Turn anvil's call tree into geth's in place.

    Args:
        root: the root frame of a callTracer answer with logs.
        first_log: index in the block of the transaction's first log.

    Returns:
        The surviving logs in execution order; those below a failed frame are dropped.

    Raises:
        SimulationError: a SELFDESTRUCT names its own contract, whose frame anvil leaves empty.
    """
    kept: list[Json] = []
    stack = [(root, False)]
    while stack:
        frame, failed = stack.pop()
        if "error" in frame:
            failed = True
            _tidy_error(frame)
        if failed:
            frame.pop("logs", None)
        if frame["type"] == "SELFDESTRUCT" and "to" not in frame:
            raise SimulationError("a contract destroys itself in its own favour: anvil hides it; use py-evm")
        kept += frame.get("logs", ())
        stack += [(child, failed) for child in frame.get("calls", ())]
    kept.sort(key=lambda log: int(log["index"], 16))
    for offset, log in enumerate(kept):
        log["index"] = hex(first_log + offset)
    return [(_bytes(log["address"]), tuple(map(_bytes, log["topics"])), _bytes(log["data"])) for log in kept]


def _tidy_error(frame: Json) -> None:
    error = frame["error"]
    frame["error"] = _OUT_OF_GAS if error.startswith(_OUT_OF_GAS) else _ERRORS.get(error, error)
    frame.pop("revertReason", None)
    reason = revert_reason(_bytes(frame.get("output", "0x")))
    if reason is not None:
        frame["revertReason"] = reason


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
