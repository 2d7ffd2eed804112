"""What people do with pools and markets: swap, arbitrage, borrow, lever up, pay back."""

from __future__ import annotations

from solders.instruction import Instruction

from blockscan.chains.solana_layouts import TOKEN
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana import market as m
from pipelines.simulation.solana.actors import Label, Market, Pool, Token, User
from pipelines.simulation.solana.tokens import mint_to
from pipelines.simulation.solana.world import Session, World

_PAIRS = 5
_MARKETS = 4
_MOST_HELD = 2**60
"""Base units that makers let a pool hold: on a long chain, ever more would no longer fit into 64 bits."""


def found_markets(world: World) -> Session:
    """Pools of the first tokens, some pairs twice; lending markets, half of which trust any price account."""
    swap_program, lender = m.deploy(world)
    tokens = [token for token in world.tokens if token.program == TOKEN and token.decimals]
    pairs = [(tokens[place], tokens[(place + 1) % len(tokens)]) for place in range(_PAIRS)]
    for place, pair in enumerate(pairs):
        sizes = [int(10 ** world.rng.uniform(4, 6)) * token.unit for token in pair]
        for _ in range(2 if place < 2 else 1):
            founder = _endow(world, pair, sizes)
            pool = m.found_pool(world, swap_program, founder, pair, (sizes[0], sizes[1]))
            world.pools.append(pool)
            yield 1
    for place in range(_MARKETS):
        price = world.pools[place % 2 * 2]
        loans = m.reserves(world, price)[1] * 4
        founder = _endow(world, price.tokens, [0, loans])
        checked = place < _MARKETS // 2
        vault = m.found_pool(world, lender, founder, price.tokens, (0, loans), checked=checked, price=price)
        world.markets.append(Market(vault, price, checked))
        yield 1


def _endow(world: World, pair: tuple[Token, Token], sizes: list[int]) -> User:
    """The issuer of the first token, given what it shall pay in."""
    founder = pair[0].issuer
    parts: list[Instruction] = []
    signers = []
    for token, size in zip(pair, sizes, strict=True):
        parts += world.opening(founder, founder, token)
        if size:
            parts.append(mint_to(token, founder, size))
            signers.append(token.issuer.key)
    world.must(founder, parts, Label(kind="founding"), *signers)
    return founder


def _trader(world: World, token: Token) -> User | None:
    return world.holder(token, above=1000)


def trade(world: World) -> Session:
    """A swap, seldom a large one, sometimes on to a third token, now and then for too much."""
    pool, side = world.popular(world.pools), int(world.rng.integers(2))
    user = _trader(world, pool.tokens[side])
    if user is None:
        return
    part = 0.5 if world.chance(0.03) else 0.03
    limit = min(world.balance(user, pool.tokens[side]), int(m.reserves(world, pool)[side] * part))
    if limit < 1000:
        return
    amount = max(world.token_amount(pool.tokens[side], limit, median=150), 1000)
    got = m.quote(world, pool, side, amount)
    patience = 1.2 if world.chance(0.05) else float(world.rng.choice([0.5, 0.9, 0.97, 0.99]))
    parts = world.opening(user, user, pool.tokens[1 - side])
    parts.append(m.swap(pool, user, side, amount, int(got * patience)))
    onward = [other for other in world.pools if pool.tokens[1 - side] in other.tokens and other is not pool]
    if onward and patience < 1 and world.chance(0.25):
        parts += _hop(world, world.pick(onward), user, pool.tokens[1 - side], got)
    world.send(user, parts, Label(kind="swap"))
    yield 0


def _hop(world: World, pool: Pool, user: User, token: Token, amount: int) -> list[Instruction]:
    """A second swap with what the first one gave."""
    side = pool.tokens.index(token)
    amount = amount * 99 // 100
    if amount < 1000:
        return []
    opening = world.opening(user, user, pool.tokens[1 - side])
    return [*opening, m.swap(pool, user, side, amount, 1)]


def arbitrage(world: World) -> Session:
    """Two pools of one pair, bought in the cheaper and sold in the dearer in one transaction."""
    for first in world.pools:
        for second in world.pools:
            if first is second or first.tokens != second.tokens:
                continue
            amount = m.reserves(world, first)[0] // 200
            got = m.quote(world, first, 0, amount)
            if m.quote(world, second, 1, got) * 100 < amount * 101:
                continue
            user = _trader(world, first.tokens[0])
            if user is None or world.balance(user, first.tokens[0]) < amount:
                continue
            parts = world.opening(user, user, first.tokens[1])
            parts.append(m.swap(first, user, 0, amount, got))
            parts.append(m.swap(second, user, 1, got, amount))
            world.send(user, parts, Label(kind="arbitrage"))
            return
    yield 0


def _borrower(world: World, market: Market) -> tuple[User, int] | None:
    """Somebody with collateral, and how much of it."""
    token = market.vault.tokens[0]
    user = _trader(world, token)
    if user is None:
        return None
    limit = min(world.balance(user, token), m.reserves(world, market.price)[0] // 20)
    return (user, world.token_amount(token, limit, median=400)) if limit > 1000 else None


def borrowing(world: World) -> Session:
    """A loan against collateral, paid back some time later, or not."""
    market = world.popular(world.markets)
    found = _borrower(world, market)
    if found is None:
        return
    user, collateral = found
    loan = int(m.worth(world, market, collateral) * world.rng.uniform(0.2, 0.7))
    if not 0 < loan < m.reserves(world, market.vault)[1]:
        return
    parts = world.opening(user, user, market.vault.tokens[1])
    parts += m.open_position(world, market, user)
    parts.append(m.borrow(market, user, collateral, loan))
    if not world.send(user, parts, Label(kind="loan")).ok:
        return
    if world.chance(0.6):
        yield world.wait(60)
        if world.balance(user, market.vault.tokens[1]) >= loan and world.spare(user):
            opening = world.opening(user, user, market.vault.tokens[0])
            world.send(user, [*opening, m.repay(market, user, loan, collateral)], Label(kind="repayment"))


def supplying(world: World) -> Session:
    """A market that has lent out most of what it had gets more, from the token's issuer."""
    market = min(world.markets, key=lambda market: m.depth(world, market))
    wanted = m.reserves(world, market.price)[1] * 4
    short = wanted - m.reserves(world, market.vault)[1]
    token = market.vault.tokens[1]
    lender = token.issuer
    if wanted // 10 < short < 4 * _MOST_HELD and world.spare(lender):
        accounts = (token.mint, market.vault.vaults[1], lender.address)
        mint = ix.build("spl-token:mintTo", [short], "wws", *accounts)
        world.send(lender, [mint], Label(kind="supply"))
    yield 0


def market_making(world: World) -> Session:
    """A pool whose price went far from where it began is brought back by the issuer of what is dear."""
    pool = world.pick(world.pools)
    held = m.reserves(world, pool)
    usual = pool.begun[1] / pool.begun[0]
    change = held[1] / held[0] / usual
    side = 0 if change > 1 else 1
    token, maker = pool.tokens[side], pool.tokens[side].issuer
    amount = int(held[side] * (max(change, 1 / change) ** 0.5 - 1))
    if not 1.3 < max(change, 1 / change) < 1e6 or not world.spare(maker):
        return
    if held[side] + amount > _MOST_HELD:
        return
    parts = world.opening(maker, maker, token) + world.opening(maker, maker, pool.tokens[1 - side])
    parts += [mint_to(token, maker, amount), m.swap(pool, maker, side, amount, 1)]
    world.send(maker, parts, Label(kind="market_making"))
    yield 0


def leverage(world: World) -> Session:
    """Borrow, swap the loan for more collateral, borrow again: all in one transaction."""
    market = world.popular(world.markets)
    found = _borrower(world, market)
    if found is None:
        return
    user, collateral = found
    parts = world.opening(user, user, market.vault.tokens[1])
    parts += m.open_position(world, market, user)
    loan = int(m.worth(world, market, collateral) * 0.6)
    for _ in range(int(world.rng.integers(1, 4))):
        got = m.quote(world, market.price, 1, loan) * 97 // 100
        if loan < 1000 or loan * 4 > m.reserves(world, market.price)[1] or got < 1000:
            break
        parts.append(m.borrow(market, user, collateral, loan))
        parts.append(m.swap(market.price, user, 1, loan, got))
        collateral, loan = got, int(loan * 0.5)
    if len(parts) > 2:
        world.send(user, parts, Label(kind="leverage"))
    yield 0
