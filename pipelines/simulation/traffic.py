"""The mixture of benign habits and how often each begins."""

from __future__ import annotations

import numpy as np

from pipelines.simulation.driver import Driver
from pipelines.simulation.habits import bots, mistakes, oneoffs, ownership, payments, saving, trading

HABITS = (
    (27.0, payments.plain_transfer),
    (4.0, payments.exchange_withdrawals),
    (2.0, payments.exchange_deposit),
    (1.0, payments.token_withdrawals),
    (3.0, payments.token_transfer),
    (1.6, payments.payout),
    (0.7, payments.collection),
    (5.0, trading.buy_with_ether),
    (4.0, trading.swap_tokens),
    (1.3, trading.large_swap),
    (0.7, trading.provide_liquidity),
    (0.3, trading.new_listing),
    (1.4, trading.aggregated_swap),
    (0.6, saving.lend),
    (1.5, saving.borrow),
    (0.05, saving.new_market),
    (0.9, saving.save_in_vault),
    (0.25, saving.harvest),
    (0.35, saving.new_vault),
    (1.1, saving.bank),
    (0.25, saving.new_bank),
    (0.7, saving.rewards),
    (0.2, saving.notify_rewards),
    (0.8, saving.reacting_contract),
    (0.45, ownership.new_wallet),
    (0.5, ownership.top_up_wallet),
    (0.9, ownership.mint_collectibles),
    (0.2, ownership.new_sale),
    (2.0, bots.arbitrage),
    (3.2, bots.liquidation),
    (0.8, bots.many_reads),
    (2.6, bots.many_steps),
    (5.2, oneoffs.one_off),
    (1.6, oneoffs.visit_one_off),
    (0.3, oneoffs.relay),
    (7.5, mistakes.mistake),
    (0.9, mistakes.retry),
)


class Traffic:
    """Starts new sessions of a driver so that some dozens are always under way."""

    def __init__(self, driver: Driver, *, under_way: int = 70) -> None:
        self._driver = driver
        self._under_way = under_way
        weights = np.array([weight for weight, _ in HABITS])
        self._cumulative = np.cumsum(weights / weights.sum())

    def transactions(self, count: int) -> int:
        """Make `count` transactions of whoever's turn it is; return how many were made."""
        made = 0
        for _ in range(count * 40):
            while self._driver.pending < self._under_way:
                draw = float(self._driver.world.rng.random())
                _, habit = HABITS[int(np.searchsorted(self._cumulative, draw))]
                self._driver.add(habit(self._driver.world))
            made += self._driver.turn()
            if made == count:
                break
        return made
