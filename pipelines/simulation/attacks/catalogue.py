"""Every family of attacks, and which belong to a split."""

from __future__ import annotations

from pipelines.simulation.attacks import (
    bridge,
    claims,
    collectibles,
    donation,
    drain,
    governance,
    initialiser,
    lending_pools,
    lp_lending,
    market_donation,
    memes,
    minting,
    odd_tokens,
    oracle,
    reentrancy,
    seat_funds,
    self_liquidation,
    stable_pools,
    staking,
    stolen_keys,
    takeovers,
    thin_oracle,
    weighted_pools,
    yield_vaults,
)
from pipelines.simulation.attacks.family import Family

_MODULES = (
    reentrancy,
    oracle,
    donation,
    initialiser,
    drain,
    minting,
    stolen_keys,
    takeovers,
    governance,
    bridge,
    claims,
    collectibles,
    staking,
    lending_pools,
    market_donation,
    odd_tokens,
    self_liquidation,
    thin_oracle,
    lp_lending,
    memes,
    seat_funds,
    stable_pools,
    weighted_pools,
    yield_vaults,
)
FAMILIES: tuple[Family, ...] = tuple(family for module in _MODULES for family in module.FAMILIES)


def families(split: str) -> tuple[Family, ...]:
    """Return the families of "dev" or "eval"; no family is in both."""
    return tuple(family for family in FAMILIES if family.split == split)
