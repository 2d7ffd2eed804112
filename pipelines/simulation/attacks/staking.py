"""Reward accounting: shares move without settling, so every holder earns the past anew (Popsicle 2021)."""

from __future__ import annotations

from itertools import pairwise

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    run_flash,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits import staking
from pipelines.simulation.habits.saving import as_tuples
from pipelines.simulation.habits.staking import Farm, farms
from pipelines.simulation.world import ETH, FOREVER, Part, Send, Session, World, obtain, step

Helper = tuple[bytes, bytes]
"""(contract, selector) of a contract that harvests and hands the shares on."""


def rich(world: World) -> list[Farm]:
    """Return the farms that do not settle receivers and hold rewards worth taking."""
    return [farm for farm in farms(world) if not farm.settles and _reserve(world, farm) > 0.8]


def _reserve(world: World, farm: Farm) -> float:
    """Return what a farm's rewards are worth, in ether."""
    held = int(world.view("farm", farm.place.address, "reserve"))
    return held * farm.reward.price / float(10**farm.reward.decimals)


def reward_accounting(world: World, incident: Incident) -> Session:
    """Pass a stake from account to account, each of which harvests all rewards since the beginning."""
    careless = [farm for farm in farms(world) if not farm.settles]
    if not careless:
        return
    farm: Farm = world.pick(rich(world) or careless)
    if _reserve(world, farm) < 0.8:
        yield from staking.fund(world, farm, world.amount(4.0, 0.3))
    if farm.reward is not world.weth:
        incident.assets.append(farm.reward)
    if farm.stake is not world.weth:
        incident.assets.append(farm.stake)
    hops = int(world.rng.choice([1, 1, 2, 2, 3, 5]))
    draw = world.rng.random()
    loan = draw < 0.25 and farm.stake is world.weth
    ether = _stake_for(world, farm, hops, loan=loan)
    if ether is None:
        return
    who = yield from attacker(world, incident, 0.6 if loan else ether * 1.1 + 0.6)
    if loan or draw < 0.5:
        yield from _with_helpers(world, incident, who, farm, hops, ether, loan=loan)
    else:
        yield from _by_hand(world, incident, who, farm, hops, ether)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _stake_for(world: World, farm: Farm, hops: int, *, loan: bool) -> float | None:
    """Return the stake, in ether, that takes part or all of the rewards in so many hops, if it pays."""
    each = int(world.view("farm", farm.place.address, "accRewardPerShare"))
    reserve = int(world.view("farm", farm.place.address, "reserve"))
    most = 400.0 if loan else 60.0
    if farm.stake is not world.weth:
        most = min(most, world.reserves(world.weth, farm.stake)[0] / ETH * 0.03)
    units = reserve * (0.1 + world.rng.random()) / hops * 10**18 / max(1, each)
    ether = max(0.3, min(most, units * farm.stake.price / 10**farm.stake.decimals))
    gained = min(reserve, hops * farm.stake.units(ether) * each // 10**18)
    value = gained * farm.reward.price / 10**farm.reward.decimals
    return ether if value > 0.08 * ether + 0.1 else None


def _by_hand(world: World, incident: Incident, who: Account, farm: Farm, hops: int, ether: float) -> Part:
    """Accounts of the attacker's own: stake, transfer, harvest, transfer, harvest, ..., withdraw."""
    incident.variant.append("by-hand")
    place, prep = farm.place.address, incident.tag("prep")
    holders = [who]
    for _ in range(hops):
        holders.append(world.account())
        incident.parties.append(holders[-1].address)
        yield Send(who, holders[-1].address, value=ETH // 25, tag=incident.tag("fund"))
    got = yield from obtain(world, who, farm.stake, ether, prep)
    yield incident.call("prep", who, "token", farm.stake.address, "approve", place, FOREVER)
    yield incident.call("prep", who, "farm", place, "deposit", got)
    collect = "harvest" if world.chance(0.7) else "withdraw"
    for number, (giver, taker) in enumerate(pairwise(holders), 1):
        yield incident.call("prep", giver, "farm", place, "transfer", taker.address, got)
        if collect == "withdraw" and number == hops:
            incident.variant.append("withdrawn")
            yield incident.call("exploit", taker, "farm", place, "withdraw", got)
            return
        to = taker.address if world.chance(0.5) else who.address
        yield incident.call("exploit", taker, "farm", place, "harvest", to)
    yield incident.call("exploit", holders[-1], "farm", place, "withdraw", got)


def _with_helpers(
    world: World, incident: Incident, who: Account, farm: Farm, hops: int, ether: float, *, loan: bool
) -> Part:
    """An executor stakes and little contracts harvest, in one transaction or one for each."""
    tool = yield from runner(world, incident, who)
    amount = farm.stake.units(ether)
    if not loan:
        got = yield from obtain(world, who, farm.stake, ether, incident.tag("prep"))
        yield incident.call("prep", who, "token", farm.stake.address, "transfer", tool.address, got)
        amount = got
    helpers = []
    for _ in range(min(hops, 4)):
        selector = world.rng.bytes(4)
        code = staking.helper(farm, selector, who.address, tool.address, amount)
        receipt = yield Send(who, None, code, tag=incident.tag("prep"))
        incident.parties.append(receipt.made)
        helpers.append((receipt.made, selector))
    enter, leaving = _steps(farm, amount)
    hop_steps = [_hop(farm, helper, amount) for helper in helpers]
    if loan:
        incident.variant.append("flash-loan")
        steps = [*enter, *(s for hop in hop_steps for s in hop), leaving]
        top_up = step("weth", world.weth.address, "deposit", value=amount // 1000 + 1)
        yield from run_flash(world, incident, who, tool, [top_up, *steps], amount, value=top_up.value)
    elif world.chance(0.5):
        incident.variant.append("at-once")
        steps = [*enter, *(s for hop in hop_steps for s in hop), leaving]
        yield from run_steps(world, incident, who, tool, steps)
    else:
        incident.variant.append("one-by-one")
        yield Send(who, tool.address, _run(enter), tag=incident.tag("prep"))
        for hop in hop_steps:
            last = [leaving] if hop is hop_steps[-1] else []
            yield from run_steps(world, incident, who, tool, [*hop, *last])
    yield from home(world, incident, who, tool)


def _steps(farm: Farm, amount: int) -> tuple[list[Step], Step]:
    """Return the steps that stake, and the one that withdraws."""
    place = farm.place.address
    enter = [
        step("token", farm.stake.address, "approve", place, FOREVER),
        step("farm", place, "deposit", amount),
    ]
    return enter, step("farm", place, "withdraw", amount)


def _hop(farm: Farm, helper: Helper, amount: int) -> list[Step]:
    """Return the steps that send the shares through a helper and back."""
    address, selector = helper
    return [step("farm", farm.place.address, "transfer", address, amount), Step(address, 0, selector)]


def _run(steps: list[Step]) -> bytes:
    """Return the calldata of an executor's run."""
    return contract("executor").data("run", as_tuples(steps))


FAMILIES = (
    Family(
        name="reward_accounting",
        tier="structural",
        split="eval",
        modelled_on="Popsicle Finance (2021)",
        about="Pass a stake from account to account without settling; each harvests all rewards "
        "since the beginning.",
        run=reward_accounting,
    ),
)
