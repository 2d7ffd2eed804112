"""The arithmetic of a stable-swap pool (Egorov, StableSwap, 2019), as those who trade on it compute it."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulation.world import Place, World

NATIVE = b"\xee" * 20
"""Stands for ether among a stable pool's coins."""
_ROUNDS = 64


def invariant(xs: list[int], amplification: int) -> int:
    """Return D of scaled balances, rounded as the contract rounds it."""
    n, total = len(xs), sum(xs)
    if total == 0:
        return 0
    d, leverage = total, amplification * n
    for _ in range(_ROUNDS):
        product = d
        for x in xs:
            product = product * d // (x * n)
        before = d
        d = (leverage * total + product * n) * d // ((leverage - 1) * d + (n + 1) * product)
        if abs(d - before) <= 1:
            break
    return d


def other_balance(xs: list[int], j: int, d: int, amplification: int) -> int:
    """Return the scaled balance of coin `j` that keeps the invariant `d`."""
    n = len(xs)
    leverage, c = amplification * n, d
    for i, x in enumerate(xs):
        if i != j:
            c = c * d // (x * n)
    c = c * d // (leverage * n)
    b = sum(xs) - xs[j] + d // leverage
    y = d
    for _ in range(_ROUNDS):
        before = y
        y = (y * y + c) // (2 * y + b - d)
        if abs(y - before) <= 1:
            break
    return y


@dataclass
class StableState:
    """A copy of a pool's state on which to try things; amounts in base units, fee in basis points."""

    balances: list[int]
    scales: list[int]
    amplification: int
    fee: int
    supply: int

    @classmethod
    def read(cls, world: World, place: Place) -> StableState:
        """Copy the state of a pool: one view per coin and three more."""

        def view(name: str, *args: int) -> int:
            return int(world.view("stable_pool", place.address, name, *args))

        coins = range(len(place.tokens))
        scales = [10 ** (18 - token.decimals) for token in place.tokens]
        return cls([view("balances", i) for i in coins], scales, view("A"), view("fee"), view("totalSupply"))

    def scaled(self) -> list[int]:
        """Return the balances with 18 decimals."""
        return [balance * scale for balance, scale in zip(self.balances, self.scales, strict=True)]

    def virtual_price(self) -> int:
        """Return the value of a share, 18 decimals."""
        return invariant(self.scaled(), self.amplification) * 10**18 // self.supply

    def quote(self, i: int, j: int, amount: int) -> int:
        """Return what `amount` of coin `i` fetches in coin `j`."""
        xs = self.scaled()
        d = invariant(xs, self.amplification)
        xs[i] += amount * self.scales[i]
        out = (xs[j] - other_balance(xs, j, d, self.amplification) - 1) // self.scales[j]
        return out - out * self.fee // 10_000

    def swap(self, i: int, j: int, amount: int) -> int:
        """Swap and return what comes out."""
        out = self.quote(i, j, amount)
        self.balances[i] += amount
        self.balances[j] -= out
        return out

    def one_coin(self, share: int, i: int) -> int:
        """Return what a share fetches if it is taken out in coin `i` alone."""
        xs = self.scaled()
        d = invariant(xs, self.amplification)
        left = d - d * share // self.supply
        out = (xs[i] - other_balance(xs, i, left, self.amplification) - 1) // self.scales[i]
        return out - out * self.fee // 20_000

    def add(self, amounts: list[int]) -> int:
        """Add liquidity and return the shares minted."""
        before = invariant(self.scaled(), self.amplification)
        self.balances = [held + amount for held, amount in zip(self.balances, amounts, strict=True)]
        after = invariant(self.scaled(), self.amplification)
        minted = self.supply * (after - before) // before
        self.supply += minted
        return minted

    def remove_one(self, share: int, i: int) -> int:
        """Take a share out in coin `i` alone and return the amount."""
        out = self.one_coin(share, i)
        self.supply -= share
        self.balances[i] -= out
        return out
