"""Attacks on lending markets: a price moved by a swap, and price accounts that are the thief's own.

Mechanics of Mango Markets (a price moved to borrow against it) and of Cashio and Crema (accounts that a
program did not check).
"""

from __future__ import annotations

from collections.abc import Generator

from solders.pubkey import Pubkey

from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana import market as m
from pipelines.simulation.solana.actors import User
from pipelines.simulation.solana.incident import Incident, attacker, cash_out
from pipelines.simulation.solana.tokens import launch, mint_to
from pipelines.simulation.solana.world import SOL, Session, World

_PATIENCE, _WORTHWHILE = 40, 1.5
_PINCH = 5_000


def oracle_manipulation(world: World, incident: Incident) -> Session:
    """Buy token a until its price in the pool is far up, and borrow against it what the market has."""
    thief = attacker(world, incident)
    yield world.wait(8)
    market = max(world.markets, key=lambda market: m.depth(world, market))
    token_a, token_b = market.vault.tokens
    capital = int(m.reserves(world, market.price)[1] * world.rng.uniform(0.8, 1.3))
    opening = world.opening(token_b.issuer, thief, token_b)
    sold = [*opening, mint_to(token_b, thief, capital)]
    world.must(token_b.issuer, sold, incident.label("fund"))
    yield world.wait(12)
    for _ in range(_PATIENCE):
        if m.depth(world, market) > _WORTHWHILE:
            break
        yield 12
    fair_price, supply = m.reserves(world, market.price), m.reserves(world, market.vault)[1]
    bought = m.quote(world, market.price, 1, capital) * 995 // 1000
    parts = [*world.opening(thief, thief, token_a), m.swap(market.price, thief, 1, capital, bought)]
    price = (fair_price[0] - bought, fair_price[1] + capital)
    if incident.choose(world, "one transaction", "two transactions") == "two transactions":
        world.must(thief, parts, incident.label("exploit"))
        parts, price = [], m.reserves(world, market.price)
    loan = min(int(bought * price[1] // max(price[0], 1) * m.LOAN_SHARE * 0.9), supply * 99 // 100)
    parts += m.open_position(world, market, thief)
    parts.append(m.borrow(market, thief, bought, loan))
    world.must(thief, parts, incident.label("exploit"))
    lost = supply - m.reserves(world, market.vault)[1]
    incident.verify(lost - bought * fair_price[1] // fair_price[0])
    incident.victims += 1
    yield from cash_out(world, incident, thief, token_b)


def fake_price_accounts(world: World, incident: Incident) -> Session:
    """Borrow against a pinch of collateral, with accounts of one's own in place of the pool's vaults."""
    thief = attacker(world, incident)
    yield world.wait(8)
    market = world.pick([market for market in world.markets if not market.checked])
    token_a, token_b = market.vault.tokens
    prices = yield from _prices(world, incident, thief)
    gift = [*world.opening(token_a.issuer, thief, token_a), mint_to(token_a, thief, _PINCH)]
    world.must(token_a.issuer, gift, incident.label("fund"))
    yield world.wait(6)
    supply = m.reserves(world, market.vault)[1]
    loan = int(supply * world.rng.uniform(0.05, 0.4))
    parts = [*world.opening(thief, thief, token_b), *m.open_position(world, market, thief)]
    parts.append(m.borrow(market, thief, _PINCH, loan, prices))
    world.must(thief, parts, incident.label("exploit"))
    lost = supply - m.reserves(world, market.vault)[1]
    incident.verify(lost - m.worth(world, market, _PINCH))
    incident.victims += 1
    yield from cash_out(world, incident, thief, token_b)


def _prices(world: World, incident: Incident, thief: User) -> Generator[int, None, tuple[Pubkey, Pubkey]]:
    """Two accounts of a worthless mint that say that token a is worth more than there is of b."""
    if world.spare(thief) < SOL // 5:
        exchange = world.exchanges[0]
        world.must(exchange, [ix.pay(exchange.address, thief.address, SOL)], incident.label("fund"))
    token = launch(world, thief, incident.label("prep"), clawback=False)
    yield world.wait(6)
    other = world.wallet()
    move = world.transfer(token, thief.account(token), other.account(token), thief.address, 1)
    more = mint_to(token, thief, 10**17)
    world.must(thief, [*world.opening(thief, other, token), more, move], incident.label("prep"))
    yield world.wait(6)
    return other.account(token), thief.account(token)
