"""The blocks around an EVM: fees, signatures, receipts, headers. The same for every engine.

An engine executes messages and knows balances, nonces and the state root; everything else about a chain
is put together here, so that two engines which agree about executions write the same bytes. There is no
beacon chain: withdrawals are empty and the proposer follows from the parent hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import rlp  # type: ignore[import-untyped]  # rlp ships no annotations
from eth._utils.address import generate_contract_address
from eth.vm.forks.cancun.blocks import CancunBlockHeader
from eth.vm.forks.london.transactions import LondonUnsignedLegacyTransaction, UnsignedDynamicFeeTransaction
from eth_bloom.bloom import BloomFilter
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.crypto import keccak

from pipelines.simulation import rpcjson
from pipelines.simulation.engine import Json, Log, Receipt, SimulationError, Tx, Unaffordable
from pipelines.simulation.merkle import Trie
from pipelines.simulation.tracing import RawLog, hexed

GAS_LIMIT = 30_000_000
DRY_RUN_GAS = 20_000_000
"""Gas that a dry run gets on top of its intrinsic gas."""
BLOCK_HASHES = 256
"""How many ancestors BLOCKHASH can see."""
_BASE_FEE = 12 * 10**9
_LEAST_BASE_FEE = 10**9
_TARGET_GAS = 1_500_000
_SECONDS = 12
_PROPOSERS = tuple(Address(keccak(b"proposer" + bytes([n]))[12:]) for n in range(24))


@dataclass(frozen=True)
class Execution:
    """What an engine tells about one executed transaction."""

    ok: bool
    used: int
    """Gas used after refunds, as the receipt has it."""
    output: bytes
    frame: Json
    """Root frame of the call tree; its gas and gasUsed are set from the transaction."""
    logs: list[RawLog]


class BlockBuilder:
    """A chain whose last block is open; nothing is kept of sealed ones but hashes."""

    def __init__(self, *, chain_id: int, timestamp: int) -> None:
        """Start a chain whose first block carries `timestamp` (Unix seconds); blocks are 12 s apart."""
        self.chain_id = chain_id
        self.timestamp = timestamp
        self.base_fee = _BASE_FEE
        self._hashes = [Hash32(keccak(b"genesis" + chain_id.to_bytes(8, "big")))]
        self._open()

    def _open(self) -> None:
        self._gas_used = 0
        self._block: list[tuple[Json, Json, Json]] = []
        self._encoded: list[tuple[bytes, bytes]] = []
        self._bloom = BloomFilter()
        self.log_count = 0

    @property
    def number(self) -> int:
        """Number of the open block; the first is 1."""
        return len(self._hashes)

    @property
    def coinbase(self) -> Address:
        """Who proposes the open block."""
        return _PROPOSERS[self._hashes[-1][0] % len(_PROPOSERS)]

    @property
    def mix_hash(self) -> Hash32:
        """PREVRANDAO in the open block (EIP-4399)."""
        return Hash32(keccak(self._hashes[-1]))

    @property
    def ancestors(self) -> list[Hash32]:
        """Hashes of the last 256 blocks, the parent's first."""
        return self._hashes[: -BLOCK_HASHES - 1 : -1]

    def check_genesis(self) -> None:
        """Raise SimulationError if anything has happened yet."""
        if self.number > 1 or self._block:
            raise SimulationError("fund: genesis is over; send ether with a transaction instead")

    def price(self, tx: Tx) -> int:
        """Return the effective gas price in wei (EIP-1559)."""
        return tx.max_fee if tx.tip is None else min(tx.max_fee, self.base_fee + tx.tip)

    def check(self, tx: Tx, balance: int) -> None:
        """Raise SimulationError (Unaffordable) if no block could include the transaction."""
        sender = hexed(tx.sender.address)
        if tx.max_fee < self.base_fee:
            raise SimulationError(f"tx from {sender}: fee cap {tx.max_fee} is below the base fee")
        if tx.gas < intrinsic_gas(tx.data, is_create=tx.to is None) or self._gas_used + tx.gas > GAS_LIMIT:
            raise SimulationError(f"tx from {sender}: gas limit {tx.gas} does not fit")
        if balance < tx.value + tx.gas * tx.max_fee:
            raise Unaffordable(f"tx from {sender}: insufficient funds for gas * price + value")

    def _sign(self, tx: Tx, nonce: int) -> Any:
        to = b"" if tx.to is None else tx.to
        if tx.tip is None:
            legacy = LondonUnsignedLegacyTransaction(nonce, tx.max_fee, tx.gas, to, tx.value, tx.data)
            return legacy.as_signed_transaction(tx.sender.key, chain_id=self.chain_id)
        modern = UnsignedDynamicFeeTransaction(
            self.chain_id, nonce, tx.tip, tx.max_fee, tx.gas, to, tx.value, tx.data, ()
        )
        return modern.as_signed_transaction(tx.sender.key)

    def include(self, tx: Tx, nonce: int, done: Execution) -> Receipt:
        """Sign an executed transaction and append it to the open block."""
        signed, price = self._sign(tx, nonce), self.price(tx)
        done.frame["gas"], done.frame["gasUsed"] = hex(tx.gas), hex(done.used)
        bloom = BloomFilter()
        for address, topics, _ in done.logs:
            bloom.extend((address, *topics))
        self._bloom |= bloom
        self._gas_used += done.used
        creates = tx.to is None and done.ok
        contract = generate_contract_address(Address(tx.sender.address), nonce) if creates else None
        place: Json = {"blockNumber": hex(self.number), "transactionIndex": hex(len(self._block))}
        receipt = place | rpcjson.receipt(
            tx, signed, done.logs, contract, ok=done.ok, used=done.used, price=price, bloom=int(bloom)
        )
        receipt["cumulativeGasUsed"] = hex(self._gas_used)
        for offset, log in enumerate(receipt["logs"]):
            log |= place | {"logIndex": hex(self.log_count + offset)}
        self.log_count += len(done.logs)
        body = place | rpcjson.transaction(tx, signed, nonce, self.chain_id, price)
        self._block.append((body, receipt, {"txHash": body["hash"], "result": done.frame}))
        self._encoded.append((signed.encode(), rpcjson.receipt_rlp(receipt, int(bloom), done.logs)))
        return Receipt(
            hash=body["hash"],
            ok=done.ok,
            gas_used=done.used,
            contract=contract,
            logs=tuple(Log(*entry) for entry in done.logs),
            output=done.output,
        )

    def seal(self, state_root: bytes) -> Json:
        """Close the open block (see `Engine.next_block`) and open the next one."""
        header = CancunBlockHeader(
            difficulty=0,
            block_number=BlockNumber(self.number),
            gas_limit=GAS_LIMIT,
            timestamp=self.timestamp,
            coinbase=self.coinbase,
            parent_hash=self._hashes[-1],
            state_root=Hash32(state_root),
            transaction_root=Hash32(self._root(0)),
            receipt_root=Hash32(self._root(1)),
            bloom=int(self._bloom),
            gas_used=self._gas_used,
            mix_hash=self.mix_hash,
            nonce=bytes(8),
            base_fee_per_gas=self.base_fee,
        )
        sealed = {
            "block": self._block_json(header),
            "receipts": [r for _, r, _ in self._block],
            "traces": [t for _, _, t in self._block],
        }
        self._hashes.append(header.hash)
        self.timestamp += _SECONDS
        self.base_fee = _next_base_fee(self.base_fee, self._gas_used)
        self._open()
        return sealed

    def _root(self, part: int) -> bytes:
        """Return the Merkle root of the block's transactions (part 0) or receipts (part 1)."""
        trie = Trie()
        for index, entry in enumerate(self._encoded):
            trie[rlp.encode(index)] = entry[part]
        return trie.root()

    def _block_json(self, header: Any) -> Json:
        block_hash = hexed(header.hash)
        for body, receipt, _ in self._block:
            body["blockHash"] = receipt["blockHash"] = block_hash
            for log in receipt["logs"]:
                log["blockHash"] = block_hash
        size = len(rlp.encode(header)) + sum(len(body) for body, _ in self._encoded)
        transactions = [body for body, _, _ in self._block]
        return rpcjson.header(header) | {"size": hex(size), "transactions": transactions}


def intrinsic_gas(data: bytes, *, is_create: bool) -> int:
    """Return the gas charged before execution (EIP-2028), initcode words (EIP-3860) not included."""
    zeros = data.count(0)
    return 21_000 + 4 * zeros + 16 * (len(data) - zeros) + (32_000 if is_create else 0)


def _next_base_fee(base_fee: int, gas_used: int) -> int:
    """Return the next block's base fee: EIP-1559 with the elasticity and denominator of a layer-2 chain."""
    return max(_LEAST_BASE_FEE, base_fee + base_fee * (gas_used - _TARGET_GAS) // _TARGET_GAS // 50)
