"""Pools of several lending markets with time-weighted prices: savers, borrowers, keepers, owners."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import NATIVE, Account
from pipelines.simulation.founding import name
from pipelines.simulation.habits.odd_tokens import bought
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import (
    ETH,
    Part,
    Place,
    Send,
    Session,
    Tag,
    Token,
    World,
    allow,
    deploy,
    send,
    someone,
    step,
)

_SETUP = Tag(kind="deployment")
_LENDING = Tag(kind="pool_lending")
_LISTING = Tag(kind="market_listing")
_PARAMETER = Tag(kind="parameter_change")
_ORACLE = Tag(kind="oracle_update")
_DONATION = Tag(kind="donation")
MOST_MARKETS = 9
_MINT_ETHER = bytes.fromhex("1249c58b")
"""Selector of mint(), which takes ether."""


@dataclass(frozen=True)
class Market:
    """One market of a pool; `token` is None for ether."""

    address: bytes
    token: Token | None

    @property
    def asset(self) -> bytes:
        """The address by which the oracle knows what is lent."""
        return NATIVE if self.token is None else self.token.address

    def units(self, ether: float) -> int:
        """Return the amount that `ether` bought when the token was listed."""
        return int(ether * ETH) if self.token is None else self.token.units(ether)


@dataclass
class Pool:
    """A comptroller with its oracle and markets (ether first); `borrowers` is what its events tell."""

    place: Place
    oracle: bytes
    markets: list[Market] = field(default_factory=list)
    borrowers: list[tuple[Market, Market, bytes]] = field(default_factory=list)
    """(collateral, debt, account)."""


def pools(world: World) -> list[Pool]:
    """Return the pools, oldest first."""
    return world.notes["lending_pools"]


def price(world: World, pool: Pool, market: Market) -> int:
    """Return the oracle's price in wei per 10**18 units."""
    return int(world.view("price_oracle", pool.oracle, "price", market.asset))


def priced(world: World, pool: Pool, market: Market) -> bool:
    """Return whether the oracle knows a price of what a market lends."""
    if world.view("price_oracle", pool.oracle, "posted", market.asset) > 0:
        return True
    return bool(world.view("price_oracle", pool.oracle, "feeds", market.asset)[2] > 0)


def cash(world: World, market: Market) -> int:
    """Return what a market has not lent out."""
    return int(world.view("ctoken", market.address, "getCash"))


def mint_step(market: Market, amount: int) -> Step:
    """Return the call that supplies `amount`."""
    if market.token is None:
        return Step(market.address, amount, _MINT_ETHER)
    return step("ctoken", market.address, "mint", amount)


def repay_step(market: Market, amount: int) -> Step:
    """Return the call that repays up to `amount`."""
    value = amount if market.token is None else 0
    return step("ctoken", market.address, "repayBorrow", amount, value=value)


def found(world: World, founders: list[Account]) -> Part:
    """Open three pools; tokens with hooks are lent in two of them."""
    hooked = [token for token in world.tokens if token.kind == "hook_token"]
    usd, coin = world.tokens[1], world.tokens[3]
    world.notes["lending_pools"] = []
    for tokens in ([usd, *hooked[:1]], [usd, coin, *hooked[:1]], [world.tokens[2], *hooked[1:2]]):
        yield from open_pool(world, world.pick(founders), tokens, 90.0)


def open_pool(world: World, who: Account, tokens: list[Token], ether: float) -> Part:
    """Deploy an oracle, a comptroller and its markets; the founder supplies `ether` to each."""
    oracle = yield from deploy(world, who, "price_oracle")
    place = yield from deploy(world, who, "comptroller", oracle.address, tokens=(world.weth, *tokens))
    pool = Pool(place, oracle.address)
    yield send(who, "price_oracle", oracle.address, "setDirectPrice", NATIVE, ETH, tag=_SETUP)
    for token in (None, *tokens):
        market = yield from list_market(world, pool, token, _SETUP)
        yield from supply_to(world, who, market, ether * world.amount(1.0, 0.3), _SETUP)
    pools(world).append(pool)
    return pool


def list_market(world: World, pool: Pool, token: Token | None, tag: Tag, *, observed: bool = True) -> Part:
    """Let a pool's owner list a market; `observed`: he takes the first sample of its price as well."""
    owner, comptroller = pool.place.owner, pool.place.address
    decimals = 18 if token is None else token.decimals
    asset, title = NATIVE if token is None else token.address, name(world)
    call = (f"{title} Share", f"c{title[:4].upper()}", asset, comptroller, 2 * 10 ** (8 + decimals))
    receipt = yield Send(owner, None, contract("ctoken").create(*call), tag=_SETUP)
    market = Market(receipt.made, token)
    if token is not None:
        feed = ("setFeed", token.address, world.pair(token, world.weth))
        yield send(owner, "price_oracle", pool.oracle, *feed, tag=tag)
        if observed:
            yield send(owner, "price_oracle", pool.oracle, "update", token.address, tag=_ORACLE)
    factor = int(world.rng.integers(55, 79)) * 10**16
    yield send(owner, "comptroller", comptroller, "_supportMarket", market.address, tag=tag)
    yield send(owner, "comptroller", comptroller, "_setCollateralFactor", market.address, factor, tag=tag)
    pool.markets.append(market)
    return market


def fund(world: World, who: Account, market: Market, ether: float) -> Part:
    """Get hold of `ether` worth of what a market lends, approve it; return the amount."""
    if market.token is None:
        return int(ether * ETH)
    got = yield from bought(world, who, market.token, ether)
    yield from allow(world, who, market.token, market.address, got)
    return got


def supply_to(world: World, who: Account, market: Market, ether: float, tag: Tag) -> Part:
    """Supply `ether` worth to a market; return the amount."""
    amount = yield from fund(world, who, market, ether)
    made = mint_step(market, amount)
    yield Send(who, made.target, made.data, made.value, tag)
    return amount


def supply(world: World) -> Session:
    """Supply a market, a poor one rather (its interest is high); perhaps take some or all out again."""
    pool: Pool = world.pick(pools(world))
    market = pool.markets[-1] if world.chance(0.25) else world.pick(pool.markets)
    ether = world.amount(3.0, 0.9)
    if cash(world, market) < market.units(12.0):
        ether = min(ether * 8, 60.0)
    who = yield from someone(world, ether)
    amount = yield from supply_to(world, who, market, ether, _LENDING)
    if world.chance(0.45):
        yield from wait(world, 70)
        held = world.view("ctoken", market.address, "balanceOf", who.address)
        if cash(world, market) < amount * 11 // 10:
            return
        call = ("redeem", held) if world.chance(0.6) else ("redeemUnderlying", amount * 9 // 10)
        yield send(who, "ctoken", market.address, *call, tag=_LENDING)


def borrow(world: World) -> Session:
    """Supply, enter the market, borrow another asset; perhaps repay and leave."""
    pool: Pool = world.pick(pools(world))
    collateral, debt = (pool.markets[i] for i in world.rng.permutation(len(pool.markets))[:2])
    ether = world.amount(2.5, 0.8)
    who = yield from someone(world, ether + 0.1)
    for market in (collateral, debt):
        if not priced(world, pool, market):
            yield send(who, "price_oracle", pool.oracle, "update", market.asset, tag=_ORACLE)
    yield from supply_to(world, who, collateral, ether, _LENDING)
    enter = ("enterMarkets", [collateral.address])
    yield send(who, "comptroller", pool.place.address, *enter, tag=_LENDING)
    amount = yield from borrow_from(world, pool, debt, who)
    pool.borrowers.append((collateral, debt, who.address))
    if amount == 0 or not world.chance(0.45):
        return
    yield from wait(world, 80)
    yield from repay_and_leave(world, pool, who, collateral, debt, amount)


def borrow_from(world: World, pool: Pool, debt: Market, who: Account) -> Part:
    """Borrow a part or nearly all of what the collateral allows; return the amount (0: nothing)."""
    _, spare, _ = world.view("comptroller", pool.place.address, "getAccountLiquidity", who.address)
    share = 0.985 if world.chance(0.5) else 0.3 + 0.5 * world.rng.random()
    limit = spare * ETH // price(world, pool, debt)
    amount = min(int(limit * share), cash(world, debt) // 2)
    if amount > 0:
        yield send(who, "ctoken", debt.address, "borrow", amount, tag=_LENDING)
    return amount


def repay_and_leave(
    world: World, pool: Pool, who: Account, collateral: Market, debt: Market, amount: int
) -> Part:
    """Repay all (interest included), redeem the collateral, leave its market."""
    owed = amount + amount // 1000
    if debt.token is None:
        if world.ether(who.address) < owed + ETH // 20:
            return
    else:
        if world.held(debt.token, who.address) < owed:
            yield from bought(world, who, debt.token, 0.03)
            owed = min(owed, world.held(debt.token, who.address))
        yield from allow(world, who, debt.token, debt.address, owed)
    made = repay_step(debt, owed)
    yield Send(who, made.target, made.data, made.value, _LENDING)
    if world.view("ctoken", debt.address, "borrowBalanceStored", who.address) > 0:
        return
    if world.chance(0.4):
        leave = ("exitMarket", collateral.address)
        yield send(who, "comptroller", pool.place.address, *leave, tag=_LENDING)
    held = world.view("ctoken", collateral.address, "balanceOf", who.address)
    yield send(who, "ctoken", collateral.address, "redeem", held, tag=_LENDING)


def update_prices(world: World) -> Session:
    """A keeper takes samples for a pool's oracle."""
    pool: Pool = world.pick(pools(world))
    yield from sample(world, pool.oracle, [m.asset for m in pool.markets if m.token is not None])


def sample(world: World, oracle: bytes, assets: list[bytes]) -> Part:
    """Let a keeper take a sample of one price, or of all at once."""
    who = world.searchers[world.zipf(len(world.searchers), 0.8)]
    if world.chance(0.4):
        calls = [(oracle, contract("price_oracle").data("update", asset)) for asset in assets]
        yield send(who, "multicall", world.the("multicall").address, "aggregate", calls, tag=_ORACLE)
        return
    yield send(who, "price_oracle", oracle, "update", world.pick(assets), tag=_ORACLE)


def change_parameter(world: World) -> Session:
    """A pool's owner changes a collateral factor, or posts a price for a while."""
    pool: Pool = world.pick(pools(world))
    owner, market = pool.place.owner, world.pick(pool.markets)
    if market.token is not None and priced(world, pool, market) and world.chance(0.3):
        posted = price(world, pool, market) * int(world.rng.integers(99, 102)) // 100
        call = ("setDirectPrice", market.asset, posted)
        yield send(owner, "price_oracle", pool.oracle, *call, tag=_PARAMETER)
        yield from wait(world, 60)
        call = ("setDirectPrice", market.asset, 0)
        yield send(owner, "price_oracle", pool.oracle, *call, tag=_PARAMETER)
        return
    yield from nudge_factor(world, pool, market, int(world.rng.integers(-4, 5)))


def nudge_factor(world: World, pool: Pool, market: Market, points: int) -> Part:
    """Move a collateral factor by so many percentage points within 50 to 80 percent."""
    now = world.view("comptroller", pool.place.address, "collateralFactor", market.address)
    factor = min(max(now + points * 10**16, 50 * 10**16), 80 * 10**16)
    call = ("_setCollateralFactor", market.address, factor)
    yield send(pool.place.owner, "comptroller", pool.place.address, *call, tag=_PARAMETER)


def new_market(world: World) -> Session:
    """A pool gets another market, or somebody opens another pool; the first savers come soon or late."""
    if world.chance(0.25) or all(len(pool.markets) >= MOST_MARKETS for pool in pools(world)):
        who = yield from someone(world, 150.0, fresh=0.6)
        hooked = [token for token in world.tokens if token.kind == "hook_token"]
        yield from open_pool(world, who, [world.tokens[1], world.pick(hooked)], 35.0)
        return
    pool = world.pick([pool for pool in pools(world) if len(pool.markets) < MOST_MARKETS])
    known = [market.asset for market in pool.markets]
    token = world.token(start=1)
    if token.address in known or token.kind == "fee_token":
        return
    market = yield from list_market(world, pool, token, _LISTING, observed=world.chance(0.7))
    if world.chance(0.6):
        yield from wait(world, 40)
        ether = min(world.amount(2.0, 0.5), 6.0)
        who = yield from someone(world, ether)
        yield from supply_to(world, who, market, ether, _LENDING)


def donate(world: World) -> Session:
    """An owner adds to a market's reserves, or somebody sends it tokens outright."""
    pool: Pool = world.pick(pools(world))
    market = world.pick(pool.markets)
    if world.view("ctoken", market.address, "totalSupply") == 0:
        return
    ether = min(world.amount(0.3, 0.7), 3.0)
    who = pool.place.owner if world.chance(0.5) else (yield from someone(world, ether))
    amount = yield from fund(world, who, market, ether)
    if market.token is not None and world.chance(0.5):
        call = ("transfer", market.address, amount)
        yield send(who, "token", market.token.address, *call, tag=_DONATION)
        return
    value = amount if market.token is None else 0
    yield send(who, "ctoken", market.address, "_addReserves", amount, value=value, tag=_DONATION)


HABITS = (
    (0.6, supply),
    (0.75, borrow),
    (0.4, update_prices),
    (0.12, change_parameter),
    (0.06, new_market),
    (0.12, donate),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("donation", "parameter_change", "market_listing")
