"""Lending against pool shares: lenders, borrowers, and leverage bought in one flash loan."""

from __future__ import annotations

from pipelines.simulation.bytecode import Step
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import encode_steps, searcher
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.stable_pools import add, backer, get, is_open, send_create, share_of, stock
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    FOREVER,
    Part,
    Place,
    Session,
    Tag,
    Token,
    World,
    allow,
    send,
    someone,
    step,
)

_SETUP = Tag(kind="deployment")
_LIQUIDITY = Tag(kind="liquidity")
_LENDING = Tag(kind="lending")
_LEVERAGE = Tag(kind="lp_leverage")


def found(world: World, founders: list[Account]) -> Part:
    """Open markets for the shares of stable pools and of constant-product pools."""
    for place in list(world.places["stable_pool"]):
        for _ in range(2 if place.tokens[0].kind == "native" else 1):
            yield from open_for_stable(world, backer(world, founders), place, 200.0)
    for index in (5, 6, 8, 10, 13):
        yield from open_for_pair(world, backer(world, founders), world.tokens[index], 150.0)


def open_for_stable(world: World, who: Account, pool: Place, ether: float) -> Part:
    """Open a market whose collateral is a stable pool's share, valued by the virtual price."""
    share = share_of(pool)
    debt = world.weth if share.price == 1.0 else pool.tokens[0]
    receipt = yield send_create(who, "virtual_price_feed", pool.address, debt.units(share.price))
    yield from _open(world, who, receipt.made, share, debt, int(world.rng.integers(78, 88)), ether)


def open_for_pair(world: World, who: Account, token: Token, ether: float) -> Part:
    """Open a market whose collateral is the share of a token's WETH pool, valued by its reserves."""
    pair = world.pair(token, world.weth) or b""
    supply = world.view("pair", pair, "totalSupply")
    price = 2 * world.reserves(world.weth, token)[0] / supply
    receipt = yield send_create(who, "reserves_feed", pair, world.weth.address)
    share = Token(pair, 18, price, "pair_share", token.maker)
    yield from _open(world, who, receipt.made, share, world.weth, int(world.rng.integers(58, 76)), ether)


def _open(
    world: World, who: Account, feed: bytes, share: Token, debt: Token, factor: int, ether: float
) -> Part:
    receipt = yield send_create(who, "lp_market", share.address, debt.address, feed, factor)
    place = Place("lp_market", receipt.made, who, (share, debt))
    got = yield from stock(world, who, debt, ether * world.amount(1.0, 0.25))
    yield from allow(world, who, debt, place.address, got, _SETUP)
    yield send(who, "lp_market", place.address, "supply", got, tag=_SETUP)
    world.add(place)


def pool_of(world: World, market: Place) -> Place | None:
    """Return the stable pool whose share a market takes, None if it takes a pair's."""
    for place in world.places["stable_pool"]:
        if place.address == market.tokens[0].address:
            return place
    return None


def paired_token(world: World, market: Place) -> Token:
    """Return the token that a pair's share stands for besides WETH."""
    first = bytes.fromhex(world.view("pair", market.tokens[0].address, "token0")[2:])
    second = bytes.fromhex(world.view("pair", market.tokens[0].address, "token1")[2:])
    return next(t for t in world.tokens if t.address in (first, second) and t is not world.weth)


def lend(world: World) -> Session:
    """Supply a market's debt token, large lenders to wherever the cash has run low; perhaps redeem."""
    if not is_open(world, "lp_market"):
        return
    cash, place = _poorest(world)
    if cash > 40 or world.chance(0.2):
        cash, place = 100.0, world.pick(world.places["lp_market"])
    debt = place.tokens[1]
    ether = world.amount(100.0, 0.3) if cash < 40 else world.amount(5.0, 0.8)
    who = yield from someone(world, ether)
    got = yield from get(world, who, debt, ether)
    yield from allow(world, who, debt, place.address, got)
    yield send(who, "lp_market", place.address, "supply", got, tag=_LENDING)
    if world.chance(0.3) and ether < 40:
        yield from wait(world, 60)
        share = world.view("lp_market", place.address, "shares", who.address)
        yield send(who, "lp_market", place.address, "redeem", share, tag=_LENDING)


def _poorest(world: World) -> tuple[float, Place]:
    """Return the market with the least cash among a few, and that cash in ether."""
    seen = []
    for _ in range(4):
        place: Place = world.pick(world.places["lp_market"])
        debt = place.tokens[1]
        cash = world.view("lp_market", place.address, "cash") * debt.price / 10**debt.decimals
        seen.append((cash, place))
    return min(seen, key=lambda pair: pair[0])


def borrow(world: World) -> Session:
    """Provide liquidity, pledge the share, borrow, sometimes up to the limit; perhaps unwind it all."""
    if not is_open(world, "lp_market"):
        return
    market = world.some("lp_market", 0.3)
    ether = world.amount(3.0, 0.8)
    who = yield from someone(world, ether * 1.2)
    share, debt = market.tokens
    pool = pool_of(world, market)
    if pool is None:
        yield from _into_pair(world, who, paired_token(world, market), ether)
    else:
        amounts = []
        for coin in pool.tokens:
            amount = yield from get(world, who, coin, ether / len(pool.tokens))
            amounts.append(amount)
        yield from add(world, who, pool, amounts, _LIQUIDITY)
    held = world.held(share, who.address)
    yield from allow(world, who, share, market.address, held)
    yield send(who, "lp_market", market.address, "deposit", held, tag=_LENDING)
    limit = world.view("lp_market", market.address, "limit", who.address)
    part = 0.99 if world.chance(0.4) else 0.2 + 0.6 * world.rng.random()
    amount = min(int(limit * part), world.view("lp_market", market.address, "cash"))
    yield send(who, "lp_market", market.address, "borrow", amount, tag=_LENDING)
    if world.chance(0.5):
        yield from wait(world, 70)
        yield from allow(world, who, debt, market.address, FOREVER // 2)
        yield send(who, "lp_market", market.address, "repay", who.address, amount, tag=_LENDING)
        yield send(who, "lp_market", market.address, "withdraw", held, tag=_LENDING)


def _into_pair(world: World, who: Account, token: Token, ether: float) -> Part:
    router = world.the("router").address
    got = yield from get(world, who, token, ether / 2)
    yield from allow(world, who, token, router, got)
    call = ("addLiquidityETH", token.address, got, 0, 0, who.address, DEADLINE)
    yield send(who, "router", router, *call, value=int(ether / 2 * ETH), tag=_LIQUIDITY)


def leverage(world: World) -> Session:
    """Buy a leveraged share of a stable pool in one transaction: borrow, add, pledge, borrow, repay."""
    if not is_open(world, "lp_market"):
        return
    options = [m for m in world.places["lp_market"] if m.tokens[0].kind == "pool_share"]
    market: Place = world.pick([m for m in options if m.tokens[1] is world.weth])
    pool = pool_of(world, market)
    if pool is None:
        return
    own = int(min(world.amount(6.0, 0.7), 25.0) * ETH)
    who, runner = yield from searcher(world)
    if world.ether(who.address) < own * 6 // 5:
        who = yield from someone(world, own / ETH * 1.1, fresh=0.3)
        runner = yield from executor_of(world, who)
    cash = world.view("lp_market", market.address, "cash")
    loan = min(own * int(world.rng.integers(40, 220)) // 100, cash * 9 // 10)
    steps = _leveraged(world, market, pool, own, loan)
    lender = world.places["flash_lender"][1].address
    call = ("flash", lender, world.weth.address, loan, encode_steps(steps))
    yield send(who, "executor", runner.address, *call, value=own, tag=_LEVERAGE)
    if world.chance(0.5):
        yield from wait(world, 60)
        yield from _unwind(world, who, runner, market, pool)


def _leveraged(world: World, market: Place, pool: Place, own: int, loan: int) -> list[Step]:
    """Return the steps inside the loan: everything into the pool, the share pledged, the loan borrowed."""
    total, weth = own + loan, world.weth.address
    if pool.tokens[0].kind == "native":
        enter = [step("weth", weth, "withdraw", loan)]
        put = step("stable_pool", pool.address, "add_liquidity", [total, 0], 0, value=total)
    else:
        enter = [
            step("weth", weth, "deposit", value=own),
            step("token", weth, "approve", pool.address, total),
        ]
        put = step("stable_pool", pool.address, "add_liquidity", [total, 0], 0)
    # A little less than what the pool gives for it now, so that the pledge does not fail.
    share = total * 10**18 // world.view("stable_pool", pool.address, "get_virtual_price") * 97 // 100
    return [
        *enter,
        put,
        step("token", pool.address, "approve", market.address, share),
        step("lp_market", market.address, "deposit", share),
        step("lp_market", market.address, "borrow", loan),
    ]


def _unwind(world: World, who: Account, runner: Place, market: Place, pool: Place) -> Part:
    """Repay with a flash loan, take the share back, leave the pool in its first coin."""
    debt = world.view("lp_market", market.address, "debt", runner.address)
    pledged = world.view("lp_market", market.address, "collateral", runner.address)
    if debt == 0 or pledged == 0:
        return
    steps = [
        step("token", world.weth.address, "approve", market.address, debt),
        step("lp_market", market.address, "repay", runner.address, debt),
        step("lp_market", market.address, "withdraw", pledged),
        step("stable_pool", pool.address, "remove_liquidity_one_coin", pledged, 0, debt),
    ]
    if pool.tokens[0].kind == "native":
        steps.append(step("weth", world.weth.address, "deposit", value=debt))
    lender = world.places["flash_lender"][1].address
    call = ("flash", lender, world.weth.address, debt, encode_steps(steps))
    yield send(who, "executor", runner.address, *call, tag=_LEVERAGE)
    held = world.held(world.weth, runner.address)
    if held:
        home = [step("weth", world.weth.address, "transfer", who.address, held)]
        yield send(who, "executor", runner.address, "run", as_tuples(home), tag=Tag(kind="automation"))


def new_market(world: World) -> Session:
    """A team opens a market for the share of another pool."""
    if not is_open(world, "lp_market"):
        return
    who = yield from someone(world, 90.0, fresh=0.4)
    if world.chance(0.5):
        yield from open_for_stable(world, who, world.pick(world.places["stable_pool"]), 60.0)
        return
    token = world.tokens[3 + int(world.rng.integers(len(world.tokens) - 3))]
    if token.kind in ("token", "proxy_token"):
        yield from open_for_pair(world, who, token, 60.0)


HABITS = (
    (0.5, lend),
    (0.4, borrow),
    (0.3, leverage),
    (0.12, new_market),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("lp_leverage",)
