"""A freshly listed, thinly traded collateral whose oracle believes its first price (Vesper, Rari pool 23)."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from pipelines.simulation.habits.trading import new_listing
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    FOREVER,
    Part,
    Session,
    Tag,
    Token,
    World,
    amount_out,
    step,
)


@dataclass(frozen=True)
class Aim:
    """A pool, its market of a collateral without a price, and what may be spent."""

    pool: Pool
    market: Market
    most: float
    """Ether."""
    loan: bool


@dataclass(frozen=True)
class Plan:
    """What to spend on which unpriced collateral, and what to borrow from which market."""

    pool: Pool
    market: Market
    token: Token
    loot: Market
    spent: int
    bought: int
    borrowed: int


def bad_debt_oracle(world: World, incident: Incident) -> Session:
    """Push up a thin pool, let the oracle take its first sample there, borrow against it, walk away."""
    loan = world.chance(0.35)
    most = 300.0 if loan else min(world.amount(70.0, 0.5), 160.0)
    aim = yield from _target(world, most, loan=loan)
    plan = work_out(world, aim) if aim is not None else None
    if plan is None:
        return
    who = yield from attacker(world, incident, 0.5 if loan else plan.spent / ETH * 1.1)
    if not loan:
        aim = replace(aim, most=plan.spent / ETH * 1.04)
    lent = [market.token for market in aim.pool.markets[:4] if market is not aim.market]
    incident.assets += [token for token in lent if token is not None]
    incident.variant.append("flash-loan" if loan else "own-money")
    if loan and world.chance(0.5):
        yield from _by_script(world, incident, who, aim)
    elif loan or world.chance(0.3):
        yield from _by_executor(world, incident, who, aim)
    else:
        yield from _by_hand(world, incident, who, aim)
    if not incident.exploits:
        return
    incident.finish()
    yield from leave(world, incident, who)


def _target(world: World, most: float, *, loan: bool) -> Part:
    """Return a market of a thin token without a first sample; an owner may just be listing one."""
    for pool in pools(world):
        for market in pool.markets[1:]:
            aim = Aim(pool, market, most, loan)
            if work_out(world, aim) is not None:
                return aim
    options = [pool for pool in pools(world) if len(pool.markets) < MOST_MARKETS + 8]
    if not options:
        return None
    pool = max(options, key=lambda pool: cash(world, pool.markets[0]))
    known = [market.asset for market in pool.markets]
    fitting = [t for t in world.tokens[1:] if t.kind != "fee_token" and t.address not in known]
    thin = [token for token in fitting if 4 * ETH < world.reserves(world.weth, token)[0] < 60 * ETH]
    if not thin:
        yield from new_listing(world)
        return None
    token = world.pick(thin)
    market = yield from list_market(world, pool, token, Tag(kind="market_listing"), observed=False)
    return Aim(pool, market, most, loan)


def work_out(world: World, aim: Aim) -> Plan | None:
    """Return one of the plans that pay on the present state; a loan is paid back out of the loot."""
    pool, market, token = aim.pool, aim.market, aim.market.token
    if token is None or priced(world, pool, market):
        return None
    call = ("collateralFactor", market.address)
    factor = world.view("comptroller", pool.place.address, *call)
    weth, other = world.reserves(world.weth, token)
    options = []
    for loot in pool.markets[:4]:
        if loot is market or not priced(world, pool, loot):
            continue
        rate, room = price(world, pool, loot), cash(world, loot) * 97 // 100
        for tenths in (10, 14, 20, 28, 40):
            spent = weth * tenths // 10
            bought = amount_out(spent, weth, other)
            worth = bought * (weth + spent) // (other - bought) * factor // ETH * 97 // 100
            borrowed = min(worth * ETH // rate, room)
            plan = Plan(pool, market, token, loot, spent, bought, borrowed)
            pays = borrowed * rate // ETH > spent * 105 // 100 + ETH
            if spent < aim.most * ETH and pays and (not aim.loan or _sells(world, plan)):
                options.append(plan)
    return world.pick(options) if options else None


def _steps(world: World, plan: Plan, me: bytes) -> list[Step]:
    """Return the steps from having WETH to having the loot."""
    router, weth, market = world.the("router").address, world.weth.address, plan.market.address
    token = plan.token.address
    call = ("swapExactTokensForTokens", plan.spent, 1, [weth, token], me, DEADLINE)
    return [
        step("token", weth, "approve", router, plan.spent),
        step("router", router, *call),
        step("price_oracle", plan.pool.oracle, "update", token),
        step("token", token, "approve", market, plan.bought),
        step("ctoken", market, "mint", plan.bought),
        step("comptroller", plan.pool.place.address, "enterMarkets", [market]),
        step("ctoken", plan.loot.address, "borrow", plan.borrowed),
    ]


def _repayment(world: World, plan: Plan, me: bytes) -> list[Step]:
    """Return how a flash loan is paid back out of the loot."""
    due = plan.spent * 1001 // 1000 + 1
    if plan.loot.token is None:
        return [step("weth", world.weth.address, "deposit", value=due)]
    router, loot = world.the("router").address, plan.loot.token.address
    call = ("swapExactTokensForTokens", plan.borrowed, due, [loot, world.weth.address], me, DEADLINE)
    return [step("token", loot, "approve", router, plan.borrowed), step("router", router, *call)]


def _sells(world: World, plan: Plan) -> bool:
    """Return whether the loot, sold for WETH, pays back a loan."""
    if plan.loot.token is None:
        return True
    return world.quote([plan.loot.token, world.weth], plan.borrowed) > plan.spent * 102 // 100


def _by_executor(world: World, incident: Incident, who: Account, aim: Aim) -> Part:
    """One transaction of an executor, with own money or inside a flash loan."""
    incident.variant.append("executor")
    tool = yield from unencumbered(world, incident, who, aim.pool)
    plan = work_out(world, aim)
    if plan is None:
        return
    steps = _steps(world, plan, tool.address)
    if aim.loan:
        steps += _repayment(world, plan, tool.address)
        yield from run_flash(world, incident, who, tool, steps, plan.spent)
    else:
        steps.insert(0, step("weth", world.weth.address, "deposit", value=plan.spent))
        if plan.loot.token is not None:
            steps.append(step("token", plan.loot.token.address, "transfer", who.address, plan.borrowed))
        yield from run_steps(world, incident, who, tool, steps)
    yield from home(world, incident, who, tool)


def _by_script(world: World, incident: Incident, who: Account, aim: Aim) -> Part:
    """A contract written for it, within a flash loan; made anew if somebody else was faster."""
    incident.variant.append("script")
    weth, lender = world.weth.address, world.pick(world.places["flash_lender"]).address
    for _ in range(4):
        plan = work_out(world, aim)
        if plan is None:
            return
        inner = [*_steps(world, plan, SELF), *_repayment(world, plan, SELF)]
        inner.append(step("token", weth, "approve", lender, plan.spent * 2))
        outer = [step("flash_lender", lender, "flashLoan", SELF, weth, plan.spent, b"")]
        done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


def _by_hand(world: World, incident: Incident, who: Account, aim: Aim) -> Part:
    """Ordinary-looking transactions: approve, buy, let the oracle look, supply, enter, borrow."""
    incident.variant.append("by-hand")
    plan = work_out(world, aim)
    if plan is None:
        return
    pool, market, token = aim.pool, aim.market, plan.token
    address, comptroller = market.address, pool.place.address
    yield incident.call("prep", who, "token", token.address, "approve", address, FOREVER)
    call = ("swapExactETHForTokens", 1, [world.weth.address, token.address], who.address, DEADLINE)
    yield incident.call("exploit", who, "router", world.the("router").address, *call, value=plan.spent)
    if not priced(world, pool, market):
        look = ("update", token.address)
        yield incident.call("exploit", who, "price_oracle", pool.oracle, *look)
    held = world.held(token, who.address)
    yield incident.call("exploit", who, "ctoken", address, "mint", held)
    yield incident.call("exploit", who, "comptroller", comptroller, "enterMarkets", [address])
    _, spare, _ = world.view("comptroller", comptroller, "getAccountLiquidity", who.address)
    rate = price(world, pool, plan.loot)
    amount = min(spare * 98 // 100 * ETH // rate, cash(world, plan.loot) * 97 // 100)
    yield incident.call("exploit", who, "ctoken", plan.loot.address, "borrow", amount)


FAMILIES = (
    Family(
        name="bad_debt_oracle",
        tier="mimicry",
        split="dev",
        modelled_on="Vesper Finance on Rari's pool 23 (2021)",
        about="Push up the thin pool of a freshly listed collateral before its oracle's first sample, "
        "borrow, walk away.",
        run=bad_debt_oracle,
    ),
)
