"""The mixture of benign habits and how often each begins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.simulation.driver import Driver
from pipelines.simulation.engine import Account
from pipelines.simulation.habits import (
    bots,
    bridge,
    claims,
    collectibles,
    credit,
    governance,
    lending_pools,
    lp_lending,
    memes,
    minting,
    mistakes,
    nft_vaults,
    odd_tokens,
    oneoffs,
    ownership,
    payments,
    pool_contracts,
    replica,
    safes,
    sandwich,
    saving,
    seat_funds,
    stable_pools,
    staking,
    trading,
    upgrades,
    weighted_pools,
    yield_vaults,
)
from pipelines.simulation.world import Part, World

_MODULES = (
    payments,
    trading,
    saving,
    ownership,
    bots,
    oneoffs,
    mistakes,
    minting,
    upgrades,
    safes,
    governance,
    claims,
    bridge,
    replica,
    staking,
    collectibles,
    nft_vaults,
    odd_tokens,
    lending_pools,
    pool_contracts,
    credit,
    stable_pools,
    lp_lending,
    yield_vaults,
    seat_funds,
    weighted_pools,
    memes,
    sandwich,
)
HABITS = tuple(entry for module in _MODULES for entry in module.HABITS)
OPENINGS: tuple[Callable[[World, list[Account]], Part], ...] = (
    minting.found,
    upgrades.found,
    safes.found,
    governance.found,
    claims.found,
    bridge.found,
    replica.found,
    staking.found,
    collectibles.found,
    nft_vaults.found,
    odd_tokens.found,
    lending_pools.found,
    credit.found,
    stable_pools.found,
    lp_lending.found,
    yield_vaults.found,
    seat_funds.found,
    weighted_pools.found,
    memes.found,
)
"""What the founders open before the first ordinary transaction, beyond the core of founding.py."""
HARD_BENIGN = frozenset(kind for module in _MODULES for kind in module.HARD_BENIGN)
"""Kinds of benign transactions that look like attacks in one respect or another."""

_UNDER_WAY = 70


class Traffic:
    """Starts new sessions of a driver so that some dozens are always under way."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        weights = np.array([weight for weight, _ in HABITS])
        self._cumulative = np.cumsum(weights / weights.sum())

    def transactions(self, count: int) -> int:
        """Make `count` transactions of whoever's turn it is; return how many were made."""
        made = 0
        for _ in range(count * 40):
            while self._driver.pending < _UNDER_WAY:
                draw = float(self._driver.world.rng.random())
                _, habit = HABITS[int(np.searchsorted(self._cumulative, draw))]
                self._driver.add(habit(self._driver.world))
            made += self._driver.turn()
            if made == count:
                break
        return made
