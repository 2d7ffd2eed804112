"""The people and tokens of the Solana world, and how they send transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from blockscan.chains.solana_layouts import TOKEN
from pipelines.simulation.engine import SimulationError
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana.actors import Label, Market, Pool, Style, Token, User
from pipelines.simulation.solana.ledger import Ledger, Outcome, Repeated

T = TypeVar("T")
Session: TypeAlias = Iterator[int]
"""Someone at work: yields the slots that pass before the next step."""

SOL = 10**9
FEE_RESERVE = 20_000_000
"""Lamports that a wallet keeps for fees and rent."""
_PRICES = (1, 100, 5_000, 50_000, 250_000)
_LIMITS = (80_000, 140_000, 200_000, 300_000)


class World:
    """State that habits and attacks share. All chance comes from `rng`."""

    def __init__(self, seed: int, *, users: int) -> None:
        """Found wallets and exchanges with genesis balances; tokens come by transactions."""
        self.rng = np.random.default_rng(seed)
        self.ledger = Ledger(seed)
        self.labels: dict[str, Label] = {}
        self.users: list[User] = []
        self.tokens: list[Token] = []
        self.pools: list[Pool] = []
        self.markets: list[Market] = []
        self._names = 0
        self.exchanges = [self.wallet() for _ in range(3)]
        for exchange in self.exchanges:
            self.ledger.grant(exchange.address, 5_000_000 * SOL)
        for _ in range(users):
            user = self.wallet()
            self.ledger.grant(user.address, FEE_RESERVE * 3 + self.sol_amount(median=4.0))
            self.users.append(user)

    def wallet(self) -> User:
        """A new key with a software of its own; it holds nothing and is nobody's yet."""
        self._names += 1
        rng = self.rng
        version = 0 if rng.random() < 0.55 else None
        limit = int(rng.choice(_LIMITS)) if rng.random() < 0.55 else 0
        price = int(rng.choice(_PRICES)) if rng.random() < 0.6 else 0
        return User(self.ledger.keypair(f"wallet-{self._names}"), Style(version, limit, price))

    def address(self) -> Keypair:
        """A new key for a mint or another account."""
        self._names += 1
        return self.ledger.keypair(f"account-{self._names}")

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return bool(self.rng.random() < probability)

    def pick(self, things: Sequence[T]) -> T:
        """One of some things, each as likely."""
        return things[int(self.rng.integers(len(things)))]

    def some(self, things: Sequence[T], count: int) -> list[T]:
        """Up to `count` different things."""
        places = self.rng.permutation(len(things))[:count]
        return [things[int(place)] for place in places]

    def popular(self, things: Sequence[T]) -> T:
        """One of some things, early ones far more often (Zipf-like)."""
        return things[min(int(len(things) * self.rng.random() ** 2.6), len(things) - 1)]

    def wait(self, mean: float) -> int:
        """Slots until the next step: geometric with a mean."""
        return int(self.rng.geometric(1 / max(mean, 1.0)))

    def sol_amount(self, median: float = 0.4) -> int:
        """A heavy-tailed number of lamports; people like round ones."""
        amount = median * float(np.exp(self.rng.normal(0, 1.6)))
        if self.chance(0.4):
            amount = float(f"{amount:.1g}")
        return max(int(amount * SOL), 1_000)

    def token_amount(self, token: Token, limit: int, median: float = 60.0) -> int:
        """A heavy-tailed number of base units, at most `limit`."""
        amount = median * float(np.exp(self.rng.normal(0, 2.0)))
        if self.chance(0.4):
            amount = float(f"{amount:.1g}")
        return max(1, min(int(amount * token.unit), limit))

    def spare(self, user: User) -> int:
        """Lamports that a wallet can spend."""
        return max(self.ledger.lamports(user.address) - FEE_RESERVE, 0)

    def balance(self, user: User, token: Token) -> int:
        """Base units in a wallet's associated account that it can move: its own, and not frozen."""
        held = self.ledger.holding(user.account(token))
        return held.amount if held is not None and held.owner == str(user.address) and not held.frozen else 0

    def is_empty(self, user: User, token: Token) -> bool:
        """Whether a wallet has an account of a token, and nothing in it."""
        held = self.ledger.holding(user.account(token))
        return held is not None and held.owner == str(user.address) and not held.amount

    def holder(self, token: Token, *, above: int = 0) -> User | None:
        """A user who holds more than `above` of a token and can pay fees; None if hard to find."""
        for _ in range(12):
            if not token.holders:
                return None
            user = self.popular(token.holders)
            if self.balance(user, token) > above and self.spare(user) > 0:
                return user
        return None

    def someone(self) -> User:
        """A user with lamports to spend."""
        for _ in range(50):
            user = self.popular(self.users)
            if self.spare(user) > 0:
                return user
        raise SimulationError("nobody has lamports left")

    def opening(self, payer: User, owner: User, token: Token) -> list[Instruction]:
        """What creates a wallet's account for a token if it is not there; careful wallets always say it."""
        exists = self.ledger.holding(owner.account(token)) is not None
        if exists and not (payer.style.version == 0 and payer.style.limit):
            return []
        if owner not in token.holders:
            token.holders.append(owner)
            owner.tokens.append(token)
        again = exists or payer.style.price > 0
        return [ix.open_account(payer.address, owner.address, token.mint, token.program, again=again)]

    def transfer(
        self, token: Token, source: Pubkey, target: Pubkey, authority: Pubkey, amount: int, *signers: Pubkey
    ) -> Instruction:
        """Move tokens; `signers` are those of an authority that is a multisig."""
        flags = "s" * len(signers)
        own = "r" if signers else "s"
        if token.program == TOKEN and not token.clawback and amount % 2:
            return ix.build(
                "spl-token:transfer", [amount], f"ww{own}{flags}", source, target, authority, *signers
            )
        return ix.build(
            "spl-token:transferChecked",
            [amount, token.decimals],
            f"wrw{own}{flags}",
            *(source, token.mint, target, authority, *signers),
            program=token.program,
        )

    def send(
        self, payer: User, instructions: Sequence[Instruction], label: Label, *others: Keypair
    ) -> Outcome:
        """Execute as the payer's software writes it, and note the label."""
        style = payer.style
        before = []
        if style.limit:
            units = max(style.limit, 40_000 * len(instructions))
            before.append(ix.build("compute-budget:setComputeUnitLimit", [units], ""))
        price = style.price
        for _ in range(5):
            priced = [ix.build("compute-budget:setComputeUnitPrice", [price], "")] if price else []
            try:
                done = self.ledger.send(
                    [*before, *priced, *instructions], [payer.key, *others], version=style.version
                )
            except Repeated:
                price += int(self.rng.integers(1, 1000))
                continue
            self.labels[done.signature] = label
            return done
        raise SimulationError("a transaction could not be made to differ from an earlier one")

    def must(self, payer: User, instructions: Sequence[Instruction], label: Label, *others: Keypair) -> None:
        """Execute what has to succeed.

        Raises:
            SimulationError: it failed.
        """
        done = self.send(payer, instructions, label, *others)
        if not done.ok:
            raise SimulationError(f"{label.family or label.kind} {done.signature} failed: {done.error}")
