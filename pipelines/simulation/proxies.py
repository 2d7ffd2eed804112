"""Hand-assembled proxies: contracts that run another one's code on their own storage, and may change which.

Vyper cannot write a storage slot by its number, so the EIP-1967 slots and slot 0 of a wallet's proxy are
written here.
"""

from __future__ import annotations

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from pipelines.simulation import bytecode as evm
from pipelines.simulation.bytecode import Assembler, Body, contract_code, deploy_code

_DELEGATECALL = 0xF4
IMPLEMENTATION_SLOT = int.from_bytes(keccak(text="eip1967.proxy.implementation"), "big") - 1
ADMIN_SLOT = int.from_bytes(keccak(text="eip1967.proxy.admin"), "big") - 1
_UPGRADED = keccak(text="Upgraded(address)")
_ADMIN_CHANGED = keccak(text="AdminChanged(address,address)")
_UPGRADE_TO = keccak(text="upgradeTo(address)")[:4]
_UPGRADE_AND_CALL = keccak(text="upgradeToAndCall(address,bytes)")[:4]
_CHANGE_ADMIN = keccak(text="changeAdmin(address)")[:4]


def upgradeable(implementation: bytes, admin: bytes, *, admin_slot: int = ADMIN_SLOT) -> bytes:
    """Return creation code of a proxy that its admin may upgrade (EIP-1967's implementation slot).

    Args:
        implementation: 20 bytes.
        admin: 20 bytes.
        admin_slot: where the admin is kept; slot 0 collides with the implementation's first variable.
    """
    functions: list[tuple[bytes, Body]] = [
        (_UPGRADE_TO, _upgrade(admin_slot, calls=False)),
        (_UPGRADE_AND_CALL, _upgrade(admin_slot, calls=True)),
        (_CHANGE_ADMIN, _change_admin(admin_slot)),
    ]
    runtime = contract_code(functions, _forward(IMPLEMENTATION_SLOT))
    return _creation(runtime, {IMPLEMENTATION_SLOT: implementation, admin_slot: admin})


def singleton_proxy(implementation: bytes) -> bytes:
    """Return creation code of a proxy whose slot 0 names its implementation, as a Safe's does."""
    return _creation(contract_code([], _forward(0)), {0: implementation})


def slot_writer(selector: bytes, implementation: bytes) -> bytes:
    """Return creation code of a library that names another implementation in slot 0 of whoever runs it."""

    def body(asm: Assembler) -> None:
        asm.push(implementation).op(evm.PUSH0, evm.SSTORE)

    return deploy_code(contract_code([(selector, body)]))


def upgrade_to(implementation: bytes) -> bytes:
    """Return the calldata of `upgradeTo(address)`."""
    return _UPGRADE_TO + encode(["address"], [implementation])


def upgrade_and_call(implementation: bytes, data: bytes) -> bytes:
    """Return the calldata of `upgradeToAndCall(address,bytes)`."""
    return _UPGRADE_AND_CALL + encode(["address", "bytes"], [implementation, data])


def change_admin(admin: bytes) -> bytes:
    """Return the calldata of `changeAdmin(address)`."""
    return _CHANGE_ADMIN + encode(["address"], [admin])


def _creation(runtime: bytes, slots: dict[int, bytes]) -> bytes:
    asm = Assembler()
    for slot, value in slots.items():
        asm.push(value).push(slot).op(evm.SSTORE)
    asm.load_blob(runtime).push(len(runtime)).op(evm.PUSH0, evm.RETURN)
    return asm.finish()


def _delegate(asm: Assembler, slot: int) -> Assembler:
    """Run the code named by `slot` with the input that starts at memory 0; its size is on the stack."""
    asm.op(evm.PUSH0, evm.PUSH0, 0x91, evm.PUSH0)  # SWAP2 puts the size behind the output's two zeros
    return asm.push(slot).op(evm.SLOAD, evm.GAS, _DELEGATECALL).require_call()


def _forward(slot: int) -> Body:
    def body(asm: Assembler) -> None:
        asm.op(evm.CALLDATASIZE, evm.PUSH0, evm.PUSH0, evm.CALLDATACOPY, evm.CALLDATASIZE)
        _delegate(asm, slot).op(evm.RETURNDATASIZE, evm.PUSH0, evm.PUSH0, evm.RETURNDATACOPY)
        asm.op(evm.RETURNDATASIZE, evm.PUSH0, evm.RETURN)

    return body


def _only_admin(asm: Assembler, slot: int) -> Assembler:
    return asm.push(slot).op(evm.SLOAD, evm.CALLER, evm.EQ).require()


def _upgrade(admin_slot: int, *, calls: bool) -> Body:
    def body(asm: Assembler) -> None:
        _only_admin(asm, admin_slot).push(4).op(evm.CALLDATALOAD, evm.DUP1).push(IMPLEMENTATION_SLOT)
        asm.op(evm.SSTORE).push(_UPGRADED).op(evm.PUSH0, evm.PUSH0, evm.LOG2)
        if calls:
            asm.push(68).op(evm.CALLDATALOAD, evm.DUP1).push(100).op(evm.PUSH0, evm.CALLDATACOPY)
            _delegate(asm, IMPLEMENTATION_SLOT)

    return body


def _change_admin(slot: int) -> Body:
    def body(asm: Assembler) -> None:
        _only_admin(asm, slot).push(slot).op(evm.SLOAD, evm.PUSH0, evm.MSTORE)
        asm.push(4).op(evm.CALLDATALOAD, evm.DUP1).push(32).op(evm.MSTORE).push(slot).op(evm.SSTORE)
        asm.push(_ADMIN_CHANGED).push(64).op(evm.PUSH0, evm.LOG1)

    return body
