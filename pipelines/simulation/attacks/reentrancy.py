"""Reentrancy: a bank or reward pool pays before it books, and the receiver calls in again (The DAO, 2016)."""

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
from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.world import ETH, Part, Place, Session, World, step


def richest(world: World, name: str, least: float) -> Place | None:
    """Return one of the better filled places of a name, or None if none holds `least` ether."""
    filled = [p for p in world.places[name] if world.ether(p.address) > least * ETH]
    return world.pick(filled) if filled else None


def reentrancy(world: World, incident: Incident) -> Session:
    """Drain a bank (or a reward pool) by withdrawing again from within the withdrawal."""
    pool = richest(world, "rewards", 4.0) if world.chance(0.3) else None
    if pool is not None:
        yield from _claim_again(world, incident, pool)
        return
    if richest(world, "bank", 2.0) is None:
        return
    budget = 0.5 + 20 * world.rng.random()
    who = yield from attacker(world, incident, budget)
    draw = world.rng.random()
    tool = None
    if draw > 0.25:
        tool = yield from runner(world, incident, who)
    place = richest(world, "bank", 1.0)
    if place is None:
        return
    times = int(world.rng.choice([1, 1, 2, 3, 5, 8, 12]))
    wei = int(world.ether(place.address) * (0.3 + 0.65 * world.rng.random()) / times)
    if tool is None:
        yield from _by_script(world, incident, who, budget)
    elif draw < 0.6:
        yield from _by_loan(world, incident, who, tool, place, wei, times)
    else:
        yield from _by_executor(world, incident, who, tool, place, min(wei, int(budget * ETH)), times)
    incident.finish()
    yield from leave(world, incident, who)


def _by_executor(
    world: World, incident: Incident, who: Account, tool: Place, place: Place, wei: int, times: int
) -> Part:
    """Own money through an executor, the reaction armed before or in the same transaction."""
    incident.variant.append("executor")
    again = contract("bank").data("withdraw", wei)
    arm = ("onReceive", place.address, again, 0, times)
    steps = [step("bank", place.address, "deposit", value=wei), Step(place.address, 0, again)]
    if world.chance(0.5):
        yield incident.call("prep", who, "executor", tool.address, *arm)
    else:
        steps.insert(0, step("executor", tool.address, *arm))
    if world.chance(0.5):
        steps.append(Step(who.address, wei * (times + 1), b""))
        data = contract("executor").data("run", [(s.target, s.value, s.data) for s in steps])
        yield incident.act("exploit", who, tool.address, data, wei)
        return
    yield from run_steps(world, incident, who, tool, steps)
    yield from home(world, incident, who, tool)


def _by_loan(
    world: World, incident: Incident, who: Account, tool: Place, place: Place, wei: int, times: int
) -> Part:
    """Borrowed money: unwrap, deposit, withdraw again and again, wrap, repay."""
    incident.variant.append("flash-loan")
    again = contract("bank").data("withdraw", wei)
    weth = world.weth.address
    steps = [
        step("weth", weth, "withdraw", wei),
        step("executor", tool.address, "onReceive", place.address, again, 0, times),
        step("bank", place.address, "deposit", value=wei),
        Step(place.address, 0, again),
        step("weth", weth, "deposit", value=wei + wei // 500 + 1),
    ]
    yield from run_flash(world, incident, who, tool, steps, wei)
    yield from home(world, incident, who, tool)


def _by_script(world: World, incident: Incident, who: Account, budget: float) -> Part:
    """A contract made for the purpose that calls in again while the bank still has enough."""
    incident.variant.append("script")
    for _ in range(6):
        place = richest(world, "bank", 1.0)
        if place is None:
            return
        held = world.ether(place.address)
        times = int(world.rng.integers(1, 9))
        wei = min(int(held * (0.3 + 0.5 * world.rng.random()) / times), int(budget * ETH))
        again = Step(place.address, 0, contract("bank").data("withdraw", wei))
        floor = max(wei, held - wei * times)
        steps = [step("bank", place.address, "deposit", value=wei), again]
        if world.chance(0.6):
            steps.append(Step(who.address, wei, b""))
        done = yield from run_script(world, incident, who, steps, reenter=again, floor=floor, value=wei)
        if done:
            return


def _claim_again(world: World, incident: Incident, place: Place) -> Part:
    """Stake much, pay in a small reward, claim one's share of it many times over."""
    budget = max(world.view("rewards", place.address, "total") / ETH * (0.5 + world.rng.random()), 1.0)
    who = yield from attacker(world, incident, min(budget, 80.0) * 1.3 + 1)
    tool = yield from runner(world, incident, who)
    incident.variant.append("rewards")
    stake = min(int(budget * ETH), world.ether(who.address) * 7 // 10)
    total = world.view("rewards", place.address, "total") + stake
    times = int(world.rng.integers(3, 12))
    wanted = world.ether(place.address) * 7 // 10 // times
    reward = min(wanted * total // stake, stake // 5)
    claim = contract("rewards").data("getReward")
    steps = [
        step("rewards", place.address, "stake", value=stake),
        step("rewards", place.address, "notifyReward", value=reward),
        step("executor", tool.address, "onReceive", place.address, claim, 0, times),
        Step(place.address, 0, claim),
        step("rewards", place.address, "unstake", stake),
    ]
    yield from run_steps(world, incident, who, tool, steps)
    incident.finish()
    yield from home(world, incident, who, tool)
    yield from leave(world, incident, who)


FAMILIES = (
    Family(
        name="reentrancy",
        tier="structural",
        split="dev",
        modelled_on="The DAO (2016)",
        about="A bank or reward pool pays before it books; the receiver calls in again until "
        "the balance is gone.",
        run=reentrancy,
    ),
)
