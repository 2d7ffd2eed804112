"""What people do on an ordinary day in the Solana world. Each habit is a session that runs by the slot.

The kinds in HARD look like the attacks of some family and are nobody's loss: whoever raises an alarm on
them should know how often.
"""

from __future__ import annotations

from collections.abc import Callable

from pipelines.simulation.solana.custody import (
    claim,
    clawback,
    cleanup,
    compliance,
    handover,
    issuance,
    launching,
    migration,
    multisig,
    payout,
    subscription,
)
from pipelines.simulation.solana.daily import (
    burn,
    deposit,
    mistake,
    sol_payment,
    staking,
    token_payment,
    withdrawal,
    wrapping,
)
from pipelines.simulation.solana.trading import (
    arbitrage,
    borrowing,
    leverage,
    market_making,
    supplying,
    trade,
)
from pipelines.simulation.solana.world import Session, World

Habit = Callable[[World], Session]
HARD = (
    *("sweep", "subscription", "migration", "handover", "issuance", "compliance", "cleanup", "clawback"),
    *("claim", "treasury", "leverage"),
)


HABITS: dict[Habit, float] = {
    sol_payment: 24,
    token_payment: 26,
    withdrawal: 9,
    deposit: 5,
    payout: 3,
    subscription: 2.2,
    burn: 1.5,
    issuance: 1.2,
    compliance: 1.2,
    handover: 1.5,
    migration: 1.5,
    cleanup: 1.5,
    clawback: 0.8,
    claim: 2.5,
    wrapping: 3,
    staking: 1.5,
    mistake: 6,
    launching: 0.7,
    multisig: 0.6,
    trade: 20,
    arbitrage: 2,
    borrowing: 4,
    leverage: 1,
    supplying: 1.5,
    market_making: 1.5,
}
"""Every habit with its weight."""
