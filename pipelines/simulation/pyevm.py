"""The engine in process: py-evm's Cancun state machine, our own blocks around it.

py-evm executes messages; signing, fees, receipts and headers are put together here because its own
block builder recovers every sender's key and rebuilds every trie per transaction, which costs most of
the time. There is no beacon chain: withdrawals are empty and the proposer follows from the parent hash.
"""

from __future__ import annotations

from typing import Any

import rlp  # type: ignore[import-untyped]  # rlp ships no annotations
from eth._utils.address import generate_contract_address
from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun.blocks import CancunBlockHeader
from eth.vm.forks.cancun.state import CancunState
from eth.vm.forks.cancun.transaction_context import CancunTransactionContext
from eth.vm.forks.london.transactions import LondonUnsignedLegacyTransaction, UnsignedDynamicFeeTransaction
from eth.vm.message import Message
from eth_bloom.bloom import BloomFilter
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.crypto import keccak
from trie.hexary import HexaryTrie

from pipelines.simulation import rpcjson
from pipelines.simulation.engine import CallResult, Json, Log, Receipt, SimulationError, Tx, Unaffordable
from pipelines.simulation.tracing import TracedComputation, hexed, trace_tree

GAS_LIMIT = 30_000_000
_DRY_RUN_GAS = 20_000_000
_BASE_FEE = 12 * 10**9
_LEAST_BASE_FEE = 10**9
_TARGET_GAS = 1_500_000
_MAX_REFUND_QUOTIENT = 5
_PROPOSERS = tuple(Address(keccak(b"proposer" + bytes([n]))[12:]) for n in range(24))


class _State(CancunState):
    computation_class = TracedComputation


class PyEvm:
    """An `Engine` on py-evm. One pending block at a time; nothing is kept of sealed ones but hashes."""

    def __init__(self, *, chain_id: int, timestamp: int) -> None:
        """Start a chain whose first block carries `timestamp` (Unix seconds); blocks are 12 s apart."""
        self._chain_id = chain_id
        self._db = AtomicDB()
        self._hashes = [Hash32(keccak(b"genesis" + chain_id.to_bytes(8, "big")))]
        self._timestamp = timestamp
        self._base_fee = _BASE_FEE
        self._open(BLANK_ROOT_HASH)

    def _open(self, state_root: Hash32) -> None:
        parent = self._hashes[-1]
        context = ExecutionContext(
            coinbase=_PROPOSERS[parent[0] % len(_PROPOSERS)],
            timestamp=self._timestamp,
            block_number=BlockNumber(len(self._hashes)),
            difficulty=0,
            mix_hash=Hash32(keccak(parent)),
            gas_limit=GAS_LIMIT,
            prev_hashes=self._hashes[:-257:-1],
            chain_id=self._chain_id,
            base_fee_per_gas=self._base_fee,
            excess_blob_gas=0,
        )
        self._state: Any = _State(self._db, context, state_root)
        self._gas_used = 0
        self._block: list[tuple[Json, Json, Json]] = []
        self._encoded: list[tuple[bytes, bytes]] = []
        self._bloom = BloomFilter()
        self._log_count = 0

    def fund(self, address: bytes, wei: int, nonce: int) -> None:
        """See `Engine.fund`; only before the first transaction."""
        if len(self._hashes) > 1 or self._block:
            raise SimulationError("fund: genesis is over; send ether with a transaction instead")
        self._state.set_balance(address, wei)
        self._state.set_nonce(address, nonce)

    def call(self, sender: bytes, to: bytes | None, data: bytes, value: int) -> CallResult:
        """See `Engine.call`."""
        state = self._state
        if state.get_balance(sender) < value:
            return CallResult(ok=False, output=b"", gas_used=0)
        snapshot = state.snapshot()
        intrinsic = _intrinsic_gas(data, is_create=to is None)
        done = self._execute(sender, to, data, value, _DRY_RUN_GAS, self._base_fee)
        state.revert(snapshot)
        state.clear_transient_storage()
        state._account_db._reset_access_counters()
        return CallResult(
            ok=done.is_success, output=bytes(done.output), gas_used=intrinsic + done.get_gas_used()
        )

    def _execute(self, sender: bytes, to: bytes | None, data: bytes, value: int, gas: int, price: int) -> Any:
        """Run the outermost message; the sender's nonce has not been increased yet."""
        state = self._state
        nonce = state.get_nonce(sender)
        state.increment_nonce(sender)
        origin = Address(sender)
        created: Any = generate_contract_address(origin, nonce) if to is None else None
        message = Message(
            gas=gas,
            to=CREATE_CONTRACT_ADDRESS if to is None else Address(to),
            sender=origin,
            value=value,
            data=b"" if to is None else data,
            code=data if to is None else state.get_code(to),
            create_address=created,
        )
        state.mark_address_warm(sender)
        state.mark_address_warm(message.storage_address)
        context = CancunTransactionContext(gas_price=price, origin=origin)
        apply = TracedComputation.apply_create_message if to is None else TracedComputation.apply_message
        return apply(state, message, context)

    def tx(self, tx: Tx) -> Receipt:
        """See `Engine.tx`."""
        state, sender = self._state, tx.sender.address
        nonce = state.get_nonce(sender)
        tip = tx.max_fee - self._base_fee if tx.tip is None else min(tx.tip, tx.max_fee - self._base_fee)
        price = self._base_fee + tip
        intrinsic = _intrinsic_gas(tx.data, is_create=tx.to is None)
        self._check(tx, tip=tip, intrinsic=intrinsic)
        signed = self._sign(tx, nonce)
        state.delta_balance(sender, -tx.gas * price)
        done = self._execute(sender, tx.to, tx.data, tx.value, tx.gas - intrinsic, price)
        used = tx.gas - done.get_gas_remaining()
        used -= min(done.get_gas_refund(), used // _MAX_REFUND_QUOTIENT)
        state.delta_balance(sender, (tx.gas - used) * price)
        state.delta_balance(state.coinbase, used * tip)
        for account in done.get_accounts_for_deletion():
            state.delete_account(account)
        state.lock_changes()
        state.clear_transient_storage()
        self._gas_used += used
        return self._record(tx, signed, done, nonce=nonce, used=used, price=price)

    def _check(self, tx: Tx, *, tip: int, intrinsic: int) -> None:
        sender = tx.sender.address
        if tip < 0:
            raise SimulationError(f"tx from {hexed(sender)}: fee cap {tx.max_fee} is below the base fee")
        if tx.gas < intrinsic or self._gas_used + tx.gas > GAS_LIMIT:
            raise SimulationError(f"tx from {hexed(sender)}: gas limit {tx.gas} does not fit")
        if self._state.get_balance(sender) < tx.value + tx.gas * tx.max_fee:
            raise Unaffordable(f"tx from {hexed(sender)}: insufficient funds for gas * price + value")

    def _sign(self, tx: Tx, nonce: int) -> Any:
        to = b"" if tx.to is None else tx.to
        if tx.tip is None:
            legacy = LondonUnsignedLegacyTransaction(nonce, tx.max_fee, tx.gas, to, tx.value, tx.data)
            return legacy.as_signed_transaction(tx.sender.key, chain_id=self._chain_id)
        modern = UnsignedDynamicFeeTransaction(
            self._chain_id, nonce, tx.tip, tx.max_fee, tx.gas, to, tx.value, tx.data, ()
        )
        return modern.as_signed_transaction(tx.sender.key)

    def _record(self, tx: Tx, signed: Any, done: Any, *, nonce: int, used: int, price: int) -> Receipt:
        frame, logs = trace_tree(done, self._log_count)
        frame["gas"], frame["gasUsed"] = hex(tx.gas), hex(used)
        index, number = len(self._block), len(self._hashes)
        bloom = BloomFilter()
        for address, topics, _ in logs:
            bloom.extend((address, *topics))
        self._bloom |= bloom
        contract = done.msg.storage_address if tx.to is None and done.is_success else None
        place: Json = {"blockNumber": hex(number), "transactionIndex": hex(index)}
        receipt = place | rpcjson.receipt(
            tx, signed, logs, contract, ok=done.is_success, used=used, price=price, bloom=int(bloom)
        )
        receipt["cumulativeGasUsed"] = hex(self._gas_used)
        for offset, log in enumerate(receipt["logs"]):
            log |= place | {"logIndex": hex(self._log_count + offset)}
        self._log_count += len(logs)
        body = place | rpcjson.transaction(tx, signed, nonce, self._chain_id, price)
        self._block.append((body, receipt, {"txHash": body["hash"], "result": frame}))
        self._encoded.append((signed.encode(), rpcjson.receipt_rlp(receipt, int(bloom), logs)))
        return Receipt(
            hash=body["hash"],
            ok=done.is_success,
            gas_used=used,
            contract=contract,
            logs=tuple(Log(*entry) for entry in logs),
            output=bytes(done.output),
        )

    def next_block(self) -> Json:
        """See `Engine.next_block`."""
        state = self._state
        state.persist()
        header = CancunBlockHeader(
            difficulty=0,
            block_number=BlockNumber(len(self._hashes)),
            gas_limit=GAS_LIMIT,
            timestamp=self._timestamp,
            coinbase=state.coinbase,
            parent_hash=self._hashes[-1],
            state_root=state.state_root,
            transaction_root=Hash32(self._root(0)),
            receipt_root=Hash32(self._root(1)),
            bloom=int(self._bloom),
            gas_used=self._gas_used,
            mix_hash=state.mix_hash,
            nonce=bytes(8),
            base_fee_per_gas=self._base_fee,
        )
        sealed = {
            "block": self._block_json(header),
            "receipts": [r for _, r, _ in self._block],
            "traces": [t for _, _, t in self._block],
        }
        self._hashes.append(header.hash)
        self._timestamp += 12
        self._base_fee = _next_base_fee(self._base_fee, self._gas_used)
        self._open(state.state_root)
        return sealed

    def _root(self, part: int) -> bytes:
        """Return the Merkle root of the block's transactions (part 0) or receipts (part 1)."""
        trie = HexaryTrie({})
        for index, entry in enumerate(self._encoded):
            trie[rlp.encode(index)] = entry[part]
        return bytes(trie.root_hash)

    def _block_json(self, header: Any) -> Json:
        block_hash = hexed(header.hash)
        for body, receipt, _ in self._block:
            body["blockHash"] = receipt["blockHash"] = block_hash
            for log in receipt["logs"]:
                log["blockHash"] = block_hash
        size = len(rlp.encode(header)) + sum(len(body) for body, _ in self._encoded)
        transactions = [body for body, _, _ in self._block]
        return rpcjson.header(header) | {"size": hex(size), "transactions": transactions}


def _intrinsic_gas(data: bytes, *, is_create: bool) -> int:
    """Return the gas charged before execution (EIP-2028, EIP-3860 counted by py-evm itself)."""
    zeros = data.count(0)
    return 21_000 + 4 * zeros + 16 * (len(data) - zeros) + (32_000 if is_create else 0)


def _next_base_fee(base_fee: int, gas_used: int) -> int:
    """Return the next block's base fee: EIP-1559 with the elasticity and denominator of a layer-2 chain."""
    return max(_LEAST_BASE_FEE, base_fee + base_fee * (gas_used - _TARGET_GAS) // _TARGET_GAS // 50)
