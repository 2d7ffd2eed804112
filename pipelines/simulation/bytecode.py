"""Hand-assembled EVM contracts: the long tail of one-off contracts, and scripted helpers.

Real chains are full of contracts that are called once or twice. Compiling a source for each would make
them all alike; here each gets its own selectors, order, constants and mixture of behaviours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from eth_utils.crypto import keccak

STOP, ADD, DIV, AND, EQ, LT = 0x00, 0x01, 0x04, 0x16, 0x14, 0x10
ISZERO, SHR, SHA3, ADDRESS, BALANCE, CALLER = 0x15, 0x1C, 0x20, 0x30, 0x31, 0x33
CALLVALUE, CALLDATALOAD, CALLDATASIZE, CALLDATACOPY, CODECOPY, RETURNDATASIZE = (
    0x34,
    0x35,
    0x36,
    0x37,
    0x39,
    0x3D,
)
RETURNDATACOPY, TIMESTAMP, MLOAD, MSTORE, SLOAD, SSTORE = 0x3E, 0x42, 0x51, 0x52, 0x54, 0x55
JUMPI, GAS, JUMPDEST, PUSH0, PUSH1 = 0x57, 0x5A, 0x5B, 0x5F, 0x60
PUSH2, DUP1, DUP5, SWAP1, LOG0, LOG1 = 0x61, 0x80, 0x84, 0x90, 0xA0, 0xA1
LOG2, CALL, RETURN, STATICCALL, REVERT, INVALID = 0xA2, 0xF1, 0xF3, 0xFA, 0xFD, 0xFE
SELFDESTRUCT = 0xFF
FLASH_CALLBACK = keccak(text="onFlashLoan(address,address,uint256,uint256,bytes)")[:4]
FLASH_ANSWER = keccak(text="ERC3156FlashBorrower.onFlashLoan")
SELF = b"\xee" * 20
"""Stands for the script's own address in the calldata of its steps."""


@dataclass(frozen=True)
class Step:
    """One call of a script: (target, value in wei, calldata)."""

    target: bytes
    value: int
    data: bytes


@dataclass(frozen=True)
class Reaction:
    """What a script does when somebody calls it back: `steps`, the first `times` times; then it answers."""

    selector: bytes
    steps: Sequence[Step]
    answer: bytes = b""
    """Returned every time; empty or whole 32-byte words (one at most)."""
    times: int = 1


class Assembler:
    """Bytes with labels that are resolved at the end; every jump target takes two bytes."""

    def __init__(self) -> None:
        self.code = bytearray()
        self._targets: dict[int, int] = {}
        self._patches: list[tuple[int, int]] = []
        self._blobs: list[tuple[int, bytes]] = []
        self._labels = count()

    def op(self, *codes: int) -> Assembler:
        """Append opcodes."""
        self.code.extend(codes)
        return self

    def push(self, value: int | bytes) -> Assembler:
        """Append the shortest push of a number, or a push of all the bytes given."""
        raw = value if isinstance(value, bytes) else value.to_bytes((value.bit_length() + 7) // 8, "big")
        self.code.append(PUSH0 + len(raw))
        self.code.extend(raw)
        return self

    def label(self) -> int:
        """Return a new label."""
        return next(self._labels)

    def place(self, label: int) -> Assembler:
        """Put a JUMPDEST here and bind `label` to it."""
        self._targets[label] = len(self.code)
        return self.op(JUMPDEST)

    def push_label(self, label: int) -> Assembler:
        """Append a push of the position of `label`."""
        self.op(PUSH2)
        self._patches.append((len(self.code), label))
        self.code.extend(bytes(2))
        return self

    def require(self) -> Assembler:
        """Revert with empty data unless the top of the stack is true."""
        fine = self.label()
        return self.push_label(fine).op(JUMPI, PUSH0, PUSH0, REVERT).place(fine)

    def require_call(self) -> Assembler:
        """Revert with the callee's data unless the call on the top of the stack succeeded."""
        fine = self.label()
        self.push_label(fine).op(JUMPI, RETURNDATASIZE, PUSH0, PUSH0, RETURNDATACOPY)
        return self.op(RETURNDATASIZE, PUSH0, REVERT).place(fine)

    def load_blob(self, blob: bytes) -> Assembler:
        """Copy constant bytes, kept behind the code, to memory 0."""
        self.push(len(blob)).op(PUSH2)
        self._blobs.append((len(self.code), blob))
        self.code.extend(bytes(2))
        return self.op(PUSH0, CODECOPY)

    def finish(self) -> bytes:
        """Return the runtime code."""
        for at, label in self._patches:
            self.code[at : at + 2] = self._targets[label].to_bytes(2, "big")
        for at, blob in self._blobs:
            self.code[at : at + 2] = len(self.code).to_bytes(2, "big")
            self.code.extend(blob)
        return bytes(self.code)


def deploy_code(runtime: bytes) -> bytes:
    """Return creation code that installs `runtime`."""
    asm = Assembler().push(len(runtime)).op(DUP1, PUSH1, 0x0B, PUSH0, CODECOPY, PUSH0, RETURN)
    head = bytes(asm.code)
    shift = len(head)
    position = head.index(bytes((PUSH1, 0x0B))) + 1
    return head[:position] + bytes((shift,)) + head[position + 1 :] + runtime


Body = Callable[[Assembler], object]


def contract_code(functions: Sequence[tuple[bytes, Body]], fallback: Body | None = None) -> bytes:
    """Return runtime code that dispatches 4-byte selectors to bodies.

    Args:
        functions: (selector, body) in dispatch order; a body appends code that may fall through to STOP.
        fallback: what to do for anything else; None accepts ether and stops.
    """
    asm = Assembler()
    labels = [asm.label() for _ in functions]
    asm.op(PUSH0, CALLDATALOAD, PUSH1, 0xE0, SHR)
    for (selector, _), label in zip(functions, labels, strict=True):
        asm.op(DUP1).push(selector).op(EQ).push_label(label).op(JUMPI)
    if fallback is not None:
        fallback(asm)
    asm.op(STOP)
    for (_, body), label in zip(functions, labels, strict=True):
        asm.place(label)
        body(asm)
        asm.op(STOP)
    return asm.finish()


def call_steps(steps: Sequence[Step]) -> Body:
    """Return a body that performs constant calls one after another and reverts if one fails."""

    def body(asm: Assembler) -> None:
        for step in steps:
            asm.load_blob(step.data)
            at = step.data.find(SELF)
            while at >= 0:
                asm.op(ADDRESS).push(at - 12).op(MSTORE)
                at = step.data.find(SELF, at + 20)
            asm.op(PUSH0, PUSH0).push(len(step.data)).op(PUSH0).push(step.value).push(step.target).op(
                GAS, CALL
            )
            asm.require_call()

    return body


def script_code(
    selector: bytes,
    steps: Sequence[Step],
    inner: Sequence[Step] = (),
    *,
    reenter: Step | None = None,
    floor: int = 0,
    reactions: Sequence[Reaction] = (),
) -> bytes:
    """Return creation code of a helper contract with one public function of constant calls.

    Args:
        selector: the function that runs `steps`.
        steps: calls made in order.
        inner: calls made inside an ERC-3156 flash-loan callback.
        reenter: call made on every receipt of ether while the sender's balance is at least `floor`.
        floor: in wei.
        reactions: what to do when a token, pool or wallet calls back.
    """
    functions = [(selector, call_steps(steps))]
    if inner:
        functions.append((FLASH_CALLBACK, _callback(inner)))
    for slot, reaction in enumerate(reactions):
        functions.append((reaction.selector, _react(slot, reaction)))
    return deploy_code(contract_code(functions, None if reenter is None else _on_ether(reenter, floor)))


def _callback(inner: Sequence[Step]) -> Body:
    def body(asm: Assembler) -> None:
        call_steps(inner)(asm)
        asm.push(FLASH_ANSWER).op(PUSH0, MSTORE, PUSH1, 0x20, PUSH0, RETURN)

    return body


def _on_ether(reenter: Step, floor: int) -> Body:
    def body(asm: Assembler) -> None:
        done = asm.label()
        asm.push(floor).op(CALLER, BALANCE, LT).push_label(done).op(JUMPI)
        asm.push(reenter.target).op(CALLER, EQ, ISZERO).push_label(done).op(JUMPI)
        call_steps([reenter])(asm)
        asm.place(done)

    return body


def _react(slot: int, reaction: Reaction) -> Body:
    def body(asm: Assembler) -> None:
        done = asm.label()
        asm.push(reaction.times).push(slot).op(SLOAD, LT, ISZERO).push_label(done).op(JUMPI)
        asm.push(1).push(slot).op(SLOAD, ADD).push(slot).op(SSTORE)
        call_steps(reaction.steps)(asm)
        asm.place(done)
        if reaction.answer:
            asm.push(reaction.answer).op(PUSH0, MSTORE, PUSH1, 0x20, PUSH0, RETURN)

    return body
