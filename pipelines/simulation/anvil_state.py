"""Our own account of anvil's state: what its diffs say about balances and nonces, and the Merkle root.

anvil counts slots that hold zero into its storage tries, so its state roots are not Ethereum's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import rlp  # type: ignore[import-untyped]  # rlp ships no annotations
from eth_utils.crypto import keccak

from pipelines.simulation.engine import Json
from pipelines.simulation.merkle import Trie

Command = tuple[str, list[Any]]
"""A JSON-RPC method and its parameters."""
_NO_CODE = keccak(b"")


@dataclass
class _Account:
    nonce: int = 0
    balance: int = 0
    code_hash: bytes = _NO_CODE
    slots: Trie = field(default_factory=Trie)
    unsaved: dict[str, int] = field(default_factory=dict)
    """Slots written since the last root."""

    def encoded(self) -> bytes | None:
        """Return the account's RLP; None if it is empty (EIP-161)."""
        for slot, value in self.unsaved.items():
            key = keccak(hexstr=slot)
            if value:
                self.slots[key] = rlp.encode(value)
            else:
                self.slots.discard(key)
        self.unsaved.clear()
        if not self.nonce and not self.balance and self.code_hash == _NO_CODE:
            return None
        fields = [self.nonce, self.balance, self.slots.root(), self.code_hash]
        return bytes(rlp.encode(fields))


class MirroredState:
    """Balances, nonces and state root of accounts by their 0x-prefixed lower-case addresses."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._touched: set[str] = set()
        self._trie = Trie()

    def balance(self, address: str) -> int:
        """Return a balance in wei."""
        account = self._accounts.get(address)
        return 0 if account is None else account.balance

    def nonce(self, address: str) -> int:
        """Return how many transactions (or creations) an account has made."""
        account = self._accounts.get(address)
        return 0 if account is None else account.nonce

    def apply(self, diff: Json) -> list[Command]:
        """Follow a transaction.

        Args:
            diff: prestateTracer's answer in diffMode: `pre` holds what the changed accounts were,
                `post` what has changed; a slot in `pre` only is zero now, an account in `pre` only
                that lost no slot is gone.

        Returns:
            The commands after which anvil's own state is the same.
        """
        commands: list[Command] = []
        before, after = diff["pre"], diff["post"]
        for address in dict.fromkeys([*before, *after]):
            cleared = before.get(address, {}).get("storage", {})
            if address not in after and not cleared:
                commands += self.set(address, {"balance": "0x0", "nonce": 0, "code": "0x"})
                continue
            change = after.get(address, {})
            slots = dict.fromkeys(cleared, "0x" + "0" * 64) | change.get("storage", {})
            commands += self.set(address, change | {"storage": slots})
        return commands

    def set(self, address: str, change: Json) -> list[Command]:
        """Set those of `balance` (hex), `nonce` (int), `code` (hex), `storage` that `change` has."""
        account = self._accounts.setdefault(address, _Account())
        self._touched.add(address)
        commands: list[Command] = []
        if "balance" in change:
            account.balance = int(change["balance"], 16)
            commands.append(("anvil_setBalance", [address, change["balance"]]))
        if "nonce" in change:
            account.nonce = change["nonce"]
            commands.append(("anvil_setNonce", [address, hex(account.nonce)]))
        if "code" in change:
            account.code_hash = keccak(hexstr=change["code"])
            commands.append(("anvil_setCode", [address, change["code"]]))
        for slot, value in change.get("storage", {}).items():
            account.unsaved[slot] = int(value, 16)
            commands.append(("anvil_setStorageAt", [address, slot, value]))
        return commands

    def root(self) -> bytes:
        """Return the root of the state trie (Yellow Paper, section 4.1)."""
        for address in sorted(self._touched):
            key, encoded = keccak(hexstr=address), self._accounts[address].encoded()
            if encoded is None:
                self._trie.discard(key)
            else:
                self._trie[key] = encoded
        self._touched.clear()
        return self._trie.root()
