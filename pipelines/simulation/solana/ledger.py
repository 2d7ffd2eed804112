"""LiteSVM (in PyPI's solders) behind a ledger of slots, which writes what it executes as a node reports it.

Everything that could differ between runs is set: keys come from the seed, the clock from the slot, and
LiteSVM's blockhashes from their predecessors. Logs, inner instructions, compute units, fees and balances
are those of the execution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from solders.clock import Clock
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from blockscan.chains.base58 import key_text
from blockscan.chains.solana_layouts import TOKEN, TOKEN_2022
from pipelines.simulation.engine import Json, SimulationError
from pipelines.simulation.solana.records import error_json, message_json, meta_json, shown

FIRST_SLOT = 300_000_000
START = 1_730_000_000
SLOTS_PER_EPOCH = 432_000
_TOKEN_PROGRAMS = (TOKEN, TOKEN_2022)
_ACCOUNT_BYTES = 165
_FROZEN = 2
_GENESIS = 10**18


@dataclass(frozen=True)
class Holding:
    """A token account as its data say; `delegate` is None without one."""

    mint: str
    owner: str
    amount: int
    delegate: str | None
    delegated: int
    frozen: bool
    program: str


@dataclass(frozen=True)
class Outcome:
    """What became of a transaction: its signature, and whether it succeeded."""

    signature: str
    ok: bool
    error: str


class Repeated(SimulationError):
    """A transaction that is the same, signature and all, as an earlier one."""


class Ledger:
    """A LiteSVM with a pending slot."""

    def __init__(self, seed: int) -> None:
        """Begin at FIRST_SLOT; `seed` decides every key."""
        self._seed = seed
        self._svm = LiteSVM().with_lamports(_GENESIS).with_transaction_history(0)
        self._signatures: set[str] = set()
        self._decimals: dict[str, int] = {}
        self._pending: list[Json] = []
        self._parent: tuple[int, str] = (FIRST_SLOT - 1, str(self._svm.latest_blockhash()))
        self.slot = FIRST_SLOT
        self._set_time()

    @property
    def time(self) -> int:
        """Unix time of the pending slot, at 0.4 s per slot."""
        return START + (self.slot - FIRST_SLOT) * 2 // 5

    @property
    def count(self) -> int:
        """Number of transactions executed so far."""
        return len(self._signatures)

    def keypair(self, name: str) -> Keypair:
        """The key pair of a name: the same for the same seed."""
        return Keypair.from_seed(hashlib.sha256(f"blockscan/{self._seed}/{name}".encode()).digest())

    def grant(self, account: Pubkey, lamports: int) -> None:
        """Give an account its balance before the first transaction (a genesis allocation)."""
        self._svm.airdrop(account, lamports)

    def add_program(self, program: Pubkey, content: bytes) -> None:
        """Deploy a program before the first transaction."""
        self._svm.add_program(program, content)

    def lamports(self, account: Pubkey) -> int:
        """Balance of an account; 0 if it does not exist."""
        return self._svm.get_balance(account) or 0

    def rent(self, size: int) -> int:
        """Lamports that an account of a number of bytes must hold."""
        return int(self._svm.minimum_balance_for_rent_exemption(size))

    def blockhash(self) -> str:
        """The blockhash that transactions of the pending slot name."""
        return str(self._svm.latest_blockhash())

    def owner(self, account: Pubkey) -> str | None:
        """The program that owns an account; None if it does not exist."""
        found = self._svm.get_account(account)
        return None if found is None or not found.lamports else str(found.owner)

    def holding(self, account: Pubkey) -> Holding | None:
        """What a token account holds; None if there is no such account."""
        found = self._svm.get_account(account)
        if found is None or len(found.data) < _ACCOUNT_BYTES or str(found.owner) not in _TOKEN_PROGRAMS:
            return None
        data = bytes(found.data)
        if not data[108] or (len(data) > _ACCOUNT_BYTES and data[_ACCOUNT_BYTES] != 2):
            return None
        return Holding(
            mint=key_text(data[:32]),
            owner=key_text(data[32:64]),
            amount=int.from_bytes(data[64:72], "little"),
            delegate=key_text(data[76:108]) if data[72] else None,
            delegated=int.from_bytes(data[121:129], "little"),
            frozen=data[108] == _FROZEN,
            program=str(found.owner),
        )

    def amount(self, account: Pubkey) -> int:
        """Tokens in a token account; 0 if there is no such account."""
        held = self.holding(account)
        return 0 if held is None else held.amount

    def send(
        self, instructions: Sequence[Instruction], signers: Sequence[Keypair], *, version: int | None = None
    ) -> Outcome:
        """Sign and execute in the pending slot; the first signer pays the fee.

        Args:
            instructions: at least one.
            signers: the fee payer first.
            version: 0, or None for a legacy message.

        Raises:
            Repeated: the same transaction was already executed.
            SimulationError: no block could hold the transaction.
        """
        payer = signers[0].pubkey()
        recent = self._svm.latest_blockhash()
        message: Message | MessageV0
        if version is None:
            message = Message.new_with_blockhash(list(instructions), payer, recent)
        else:
            message = MessageV0.try_compile(payer, list(instructions), [], recent)
        keys = list(message.account_keys)
        transaction = VersionedTransaction(message, list(_ordered(signers, keys)))
        signature = str(transaction.signatures[0])
        if signature in self._signatures:
            raise Repeated(f"{signature} was already executed; make it differ")
        before = self._balances(keys)
        result = self._svm.send_transaction(transaction)
        failed = isinstance(result, FailedTransactionMetadata)
        error = error_json(result.err()) if isinstance(result, FailedTransactionMetadata) else None
        meta = result.meta() if isinstance(result, FailedTransactionMetadata) else result
        if failed and not isinstance(error, dict):
            raise SimulationError(f"no block would hold this transaction: {error}")
        self._signatures.add(signature)
        entry = {
            "transaction": {
                "signatures": [str(one) for one in transaction.signatures],
                "message": message_json(message, keys),
            },
            "meta": meta_json(meta, error, before, self._balances(keys)),
            "version": "legacy" if version is None else version,
        }
        self._pending.append(entry)
        return Outcome(signature, not failed, "" if error is None else str(error))

    def _balances(self, keys: Sequence[Pubkey]) -> tuple[list[int], list[Json]]:
        """Lamports of every account, and the entries of pre- or postTokenBalances."""
        tokens = []
        for place, key in enumerate(keys):
            held = self.holding(key)
            if held is not None:
                decimals = self._decimals_of(held.mint)
                amount: Json = {"amount": str(held.amount), "decimals": decimals}
                amount["uiAmountString"] = shown(held.amount, decimals)
                entry: Json = {"accountIndex": place, "mint": held.mint, "owner": held.owner}
                tokens.append(entry | {"programId": held.program, "uiTokenAmount": amount})
        return [self.lamports(key) for key in keys], tokens

    def _decimals_of(self, mint: str) -> int:
        if mint not in self._decimals:
            found = self._svm.get_account(Pubkey.from_string(mint))
            self._decimals[mint] = found.data[44] if found is not None and len(found.data) > 44 else 9
        return self._decimals[mint]

    def seal(self, skipped: int = 0) -> tuple[int, bytes]:
        """Close the pending slot and begin another, `skipped` slots later than the next.

        Returns:
            Its number and the result of getBlock for it (json encoding, full transactions), as JSON.
        """
        number, blockhash = self.slot, self.blockhash()
        block = {
            "blockHeight": number - FIRST_SLOT,
            "blockTime": self.time,
            "blockhash": blockhash,
            "parentSlot": self._parent[0],
            "previousBlockhash": self._parent[1],
            "transactions": self._pending,
            "rewards": [],
        }
        self._parent = (number, blockhash)
        self._pending = []
        self.slot += 1 + skipped
        self._svm.expire_blockhash()
        self._set_time()
        return number, orjson.dumps(block)

    def _set_time(self) -> None:
        epoch = self.slot // SLOTS_PER_EPOCH
        self._svm.set_clock(Clock(self.slot, START, epoch, epoch + 1, self.time))


def _ordered(signers: Sequence[Keypair], keys: Sequence[Pubkey]) -> list[Keypair]:
    """Each signer once, in the order of the message's keys."""
    places = {key: place for place, key in enumerate(keys)}
    unique = {signer.pubkey(): signer for signer in signers}
    return [unique[key] for key in sorted(unique, key=lambda key: places[key])]
