"""The five functions behind which an EVM hides: `tx`, `call`, `read`, `fund`, `next_block`.

The world, its traders and its attackers know this protocol only, so one EVM can take the place of another:
`pyevm.py` runs in this process, `anvil.py` drives a local node. Both write the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from blockscan.errors import BlockScanError

Json = dict[str, Any]
NATIVE = bytes(20)
"""The zero address, which also stands for ether where a token is expected."""


class SimulationError(BlockScanError):
    """The simulated world did something that it must not do."""


class Unaffordable(SimulationError):
    """The sender cannot pay for the transaction."""


@dataclass(frozen=True)
class Account:
    """An externally owned account: its key and its 20-byte address."""

    key: PrivateKey = field(repr=False)
    address: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> Account:
        """Return the account whose private key is the Keccak hash of `seed`."""
        key = PrivateKey(keccak(seed))
        return cls(key, key.public_key.to_canonical_address())


@dataclass(frozen=True)
class Tx:
    """A transaction to sign and send; `tip=None` makes a legacy one (EIP-155), else EIP-1559."""

    sender: Account
    to: bytes | None
    """20 bytes, or None to create a contract."""
    data: bytes
    value: int
    gas: int
    max_fee: int
    tip: int | None


@dataclass(frozen=True)
class Log:
    """An event as the receipt has it."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction."""

    hash: str
    """0x-prefixed transaction hash."""
    ok: bool
    gas_used: int
    contract: bytes | None
    """Address of the contract created by the transaction itself."""
    logs: tuple[Log, ...]
    output: bytes

    @property
    def made(self) -> bytes:
        """The created contract's address; raises SimulationError if there is none."""
        if self.contract is None:
            raise SimulationError(f"{self.hash} created no contract")
        return self.contract


@dataclass(frozen=True)
class CallResult:
    """Outcome of a dry run; `gas_used` includes the intrinsic gas and excludes refunds."""

    ok: bool
    output: bytes
    gas_used: int


class Engine(Protocol):
    """An EVM with one pending block."""

    def tx(self, tx: Tx) -> Receipt:
        """Sign and execute in the pending block; raise SimulationError if no block could include it."""

    def call(self, sender: bytes, to: bytes | None, data: bytes, value: int) -> CallResult:
        """Execute on the pending state and undo it (eth_call and eth_estimateGas in one)."""

    def read(self, to: bytes, data: bytes) -> CallResult:
        """Call a function that changes nothing, from its own contract; cheaper than `call` on a node."""

    def fund(self, address: bytes, wei: int, nonce: int) -> None:
        """Give an account its balance and nonce before the first block (a genesis allocation)."""

    def next_block(self) -> Json:
        """Seal the pending block.

        Returns:
            `block`, `receipts`, `traces` as eth_getBlockByNumber (full), eth_getBlockReceipts and
            debug_traceBlockByNumber (callTracer, withLog) answer them.
        """
