"""The engine in process: py-evm's Cancun state machine inside our own blocks (blocks.py).

py-evm executes messages only, because its own block builder recovers every sender's key and rebuilds
every trie per transaction, which costs most of the time.
"""

from __future__ import annotations

from typing import Any

from eth._utils.address import generate_contract_address
from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun.state import CancunState
from eth.vm.forks.cancun.transaction_context import CancunTransactionContext
from eth.vm.message import Message
from eth_typing import Address, BlockNumber, Hash32

from pipelines.simulation.blocks import DRY_RUN_GAS, GAS_LIMIT, BlockBuilder, Execution, intrinsic_gas
from pipelines.simulation.engine import CallResult, Json, Receipt, Tx
from pipelines.simulation.tracing import TracedComputation, trace_tree

_MAX_REFUND_QUOTIENT = 5


class _State(CancunState):
    computation_class = TracedComputation


class PyEvm:
    """An `Engine` on py-evm."""

    def __init__(self, *, chain_id: int, timestamp: int) -> None:
        """Start a chain whose first block carries `timestamp` (Unix seconds); blocks are 12 s apart."""
        self._db = AtomicDB()
        self._blocks = BlockBuilder(chain_id=chain_id, timestamp=timestamp)
        self._open(BLANK_ROOT_HASH)

    def _open(self, state_root: Hash32) -> None:
        blocks = self._blocks
        context = ExecutionContext(
            coinbase=blocks.coinbase,
            timestamp=blocks.timestamp,
            block_number=BlockNumber(blocks.number),
            difficulty=0,
            mix_hash=blocks.mix_hash,
            gas_limit=GAS_LIMIT,
            prev_hashes=blocks.ancestors,
            chain_id=blocks.chain_id,
            base_fee_per_gas=blocks.base_fee,
            excess_blob_gas=0,
        )
        self._state: Any = _State(self._db, context, state_root)

    def fund(self, address: bytes, wei: int, nonce: int) -> None:
        """See `Engine.fund`; only before the first transaction."""
        self._blocks.check_genesis()
        self._state.set_balance(address, wei)
        self._state.set_nonce(address, nonce)

    def call(self, sender: bytes, to: bytes | None, data: bytes, value: int) -> CallResult:
        """See `Engine.call`."""
        state = self._state
        if state.get_balance(sender) < value:
            return CallResult(ok=False, output=b"", gas_used=0)
        snapshot = state.snapshot()
        intrinsic = intrinsic_gas(data, is_create=to is None)
        done = self._execute(sender, to, data, value, DRY_RUN_GAS, self._blocks.base_fee)
        state.revert(snapshot)
        state.clear_transient_storage()
        state._account_db._reset_access_counters()
        return CallResult(
            ok=done.is_success, output=bytes(done.output), gas_used=intrinsic + done.get_gas_used()
        )

    def read(self, to: bytes, data: bytes) -> CallResult:
        """See `Engine.read`."""
        return self.call(to, to, data, 0)

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
        state, sender, blocks = self._state, tx.sender.address, self._blocks
        nonce = state.get_nonce(sender)
        blocks.check(tx, state.get_balance(sender))
        price = blocks.price(tx)
        intrinsic = intrinsic_gas(tx.data, is_create=tx.to is None)
        state.delta_balance(sender, -tx.gas * price)
        done = self._execute(sender, tx.to, tx.data, tx.value, tx.gas - intrinsic, price)
        used = tx.gas - done.get_gas_remaining()
        used -= min(done.get_gas_refund(), used // _MAX_REFUND_QUOTIENT)
        state.delta_balance(sender, (tx.gas - used) * price)
        state.delta_balance(state.coinbase, used * (price - blocks.base_fee))
        for account in done.get_accounts_for_deletion():
            state.delete_account(account)
        self._clear_empty(done)
        state.lock_changes()
        state.clear_transient_storage()
        frame, logs = trace_tree(done, blocks.log_count)
        return blocks.include(tx, nonce, Execution(done.is_success, used, bytes(done.output), frame, logs))

    def _clear_empty(self, done: Any) -> None:
        """Remove the empty accounts that a transaction has touched (EIP-161)."""
        state, stack = self._state, [done]
        touched = {state.coinbase}
        while stack:
            computation = stack.pop()
            stack += computation.children
            touched |= {computation.msg.storage_address, *computation.get_self_destruct_beneficiaries()}
        for account in sorted(touched):
            if state.account_exists(account) and state.account_is_empty(account):
                state.delete_account(account)

    def next_block(self) -> Json:
        """See `Engine.next_block`."""
        self._state.persist()
        state_root = self._state.state_root
        sealed = self._blocks.seal(state_root)
        self._open(state_root)
        return sealed
