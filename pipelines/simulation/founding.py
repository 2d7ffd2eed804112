"""Genesis accounts with a past, then the first blocks: deployments and liquidity, ordinary transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, Engine
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    FOREVER,
    Part,
    Place,
    Send,
    Session,
    Tag,
    Token,
    World,
    allow,
    deploy,
    obtain,
    send,
)

_SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ra",
    "ven",
    "tor",
    "su",
    "ne",
    "ba",
    "qui",
    "do",
    "zen",
    "fi",
    "pa",
    "gra",
    "lum",
)
_SETUP = Tag(kind="deployment")
# decimals, price in ether, kind of contract, ether in the pool against WETH
_LISTINGS = (
    (6, 1 / 3000, "token", 3000.0),
    (18, 1 / 3000, "token", 1500.0),
    (8, 20.0, "token", 1800.0),
    (18, 0.004, "token", 420.0),
    (18, 0.0021, "token", 260.0),
    (18, 0.05, "token", 330.0),
    (18, 0.00031, "fee_token", 140.0),
    (18, 0.0007, "token", 150.0),
    (9, 0.000012, "token", 90.0),
    (18, 0.011, "token", 120.0),
    (18, 0.0009, "proxy_token", 110.0),
    (18, 0.03, "proxy_token", 160.0),
    (18, 0.00005, "token", 70.0),
)


def populate(engine: Engine, rng: np.random.Generator, seed: int, *, users: int) -> World:
    """Create the accounts of the genesis state: most are small and have a past (a nonce)."""
    world = World(engine, rng, seed)
    world.users = [_funded(world, 3.0, 1.3, nonce=8.0) for _ in range(users)]
    world.exchanges = [_funded(world, 60_000.0, 0.5, nonce=30_000.0) for _ in range(8)]
    world.searchers = [_funded(world, 60.0, 0.6, nonce=400.0) for _ in range(14)]
    return world


def _funded(world: World, ether: float, sigma: float, *, nonce: float) -> Account:
    account = world.account()
    balance = int(float(f"{ether * np.exp(sigma * world.rng.standard_normal()):.9g}") * 10**6) * 10**12
    past = int(float(f"{nonce * np.exp(1.5 * world.rng.standard_normal()):.6g}"))
    world.engine.fund(account.address, balance, past)
    return account


def name(world: World) -> str:
    """Invent a name."""
    return "".join(world.pick(_SYLLABLES) for _ in range(int(world.rng.integers(2, 5)))).capitalize()


def found(world: World, openings: Sequence[Callable[[World, list[Account]], Part]] = ()) -> Session:
    """Deploy the shared contracts, list the tokens, fill the lenders, then whatever else is opened."""
    founders = [_funded(world, 60_000.0, 0.3, nonce=40.0) for _ in range(6)]
    first = founders[0]
    place = yield from deploy(world, first, "multicall")
    place = yield from deploy(world, first, "weth")
    world.tokens.append(Token(place.address, 18, 1.0, "weth", first))
    blueprint = yield Send(first, None, contract("pair").code, tag=_SETUP)
    factory = yield from deploy(world, first, "factory", blueprint.made)
    yield from deploy(world, first, "router", factory.address, world.weth.address)
    for decimals, price, kind, ether in _LISTINGS:
        yield from list_token(world, world.pick(founders), decimals, price, kind, ether)
    yield from _cross_pools(world, founders)
    yield from deploy(world, founders[1], "payout")
    for fee in (9, 0):
        yield from _lender(world, founders[2], fee)
    wallet = yield Send(founders[3], None, contract("wallet").create(), tag=_SETUP)
    yield from deploy(world, founders[3], "wallet_factory", wallet.made)
    for _ in range(2):
        yield from deploy(world, founders[4], "aggregator")
    for index in (4, 5, 6, 8, 10):
        yield from open_market(world, world.pick(founders), world.tokens[index], world.weth, 220.0)
    yield from open_market(world, founders[5], world.weth, world.tokens[1], 500.0)
    yield from _places(world, founders)
    for opening in openings:
        yield from opening(world, founders)


def _places(world: World, founders: list[Account]) -> Part:
    for index in (0, 1, 3, 4, 6):
        yield from open_vault(world, world.pick(founders), world.tokens[index], seeded=0.5)
    for kind, count in (("bank", 5), ("rewards", 3)):
        for _ in range(count):
            yield from deploy(world, world.pick(founders), kind)
    for _ in range(3):
        yield from open_sale(world, world.pick(founders))


def list_token(world: World, who: Account, decimals: int, price: float, kind: str, ether: float) -> Part:
    """Deploy a token and open its pool against WETH; return the Token."""
    title = name(world)
    supply = int(ether / price * 10**decimals) * 4
    label = title[:4].upper()
    if kind == "proxy_token":
        place = yield from deploy(world, who, kind)
        configure = ("initialize", title, label, who.address, supply * 50)
        yield send(who, kind, place.address, *configure, tag=_SETUP)
        yield send(who, kind, place.address, "mint", who.address, supply, tag=_SETUP)
    else:
        place = yield from deploy(world, who, kind, title, label, decimals, supply)
    token = Token(place.address, decimals, price, kind, who)
    router = world.the("router").address
    yield send(who, "token", token.address, "approve", router, FOREVER, tag=_SETUP)
    call = ("addLiquidityETH", token.address, token.units(ether), 0, 0, who.address, DEADLINE)
    yield send(who, "router", router, *call, value=int(ether * ETH), tag=_SETUP)
    world.tokens.append(token)
    return token


def _cross_pools(world: World, founders: list[Account]) -> Part:
    """Pools between the first tokens, so that prices can disagree around a triangle."""
    router = world.the("router").address
    for a, b, ether in ((1, 2, 400.0), (1, 3, 500.0), (1, 4, 120.0), (3, 6, 90.0), (2, 5, 60.0)):
        who = founders[1]
        pool = (world.tokens[a], world.tokens[b])
        for token in pool:
            yield from obtain(world, who, token, ether * 0.2, _SETUP)
            yield from allow(world, who, token, router, FOREVER // 2, _SETUP)
        amounts = [min(world.held(t, who.address), t.units(ether * 0.2)) for t in pool]
        call = (pool[0].address, pool[1].address, *amounts, 0, 0, who.address, DEADLINE)
        yield send(who, "router", router, "addLiquidity", *call, tag=_SETUP)


def _lender(world: World, who: Account, fee: int) -> Part:
    lender = yield from deploy(world, who, "flash_lender", fee)
    for token, ether in ((world.weth, 3500.0), (world.tokens[1], 350.0)):
        got = yield from obtain(world, who, token, ether, _SETUP)
        yield send(who, "token", token.address, "transfer", lender.address, got, tag=_SETUP)


def open_market(world: World, who: Account, collateral: Token, debt: Token, ether: float) -> Part:
    """Deploy a lending market on two tokens that have a pool; its founder supplies the first funds."""
    factor = int(world.rng.integers(60, 81))
    call = (collateral.address, debt.address, world.pair(collateral, debt), factor)
    place = yield from deploy(world, who, "market", *call, tokens=(collateral, debt))
    got = yield from obtain(world, who, debt, ether * world.amount(1.0, 0.3), _SETUP)
    yield from allow(world, who, debt, place.address, got, _SETUP)
    yield send(who, "market", place.address, "supply", got, tag=_SETUP)
    return place


def open_vault(world: World, who: Account, token: Token, *, seeded: float) -> Part:
    """Deploy a vault; a careful founder makes the first deposit himself (`seeded`: how probable)."""
    title = name(world)
    call = (token.address, title, f"v{title[:4].upper()}")
    place: Place = yield from deploy(world, who, "vault", *call, tokens=(token,))
    if world.chance(seeded):
        got = yield from obtain(world, who, token, world.amount(4.0, 0.5), _SETUP)
        yield from allow(world, who, token, place.address, got, _SETUP)
        yield send(who, "vault", place.address, "deposit", got, who.address, tag=_SETUP)
    return place


def open_sale(world: World, who: Account) -> Part:
    """Deploy a sale of collectibles."""
    price = int(world.amount(0.05, 0.6) * 1000) * 10**15 + 10**16
    cap = int(world.rng.integers(40, 800))
    place = yield from deploy(world, who, "sale", name(world), price, cap)
    return place
