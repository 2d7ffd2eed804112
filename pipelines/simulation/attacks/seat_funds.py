"""Rounding: withdraw a little less than a share is worth, again and again, and burn none (Bunni 2025)."""

from __future__ import annotations

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import Incident, attacker, leave, run_script, run_steps, runner
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.engine import Account
from pipelines.simulation.world import DEADLINE, ETH, FOREVER, Part, Place, Session, World, step

_LEAST_SEAT = 0.03
"""Ether; with smaller seats the gas costs more than the rounding brings."""


def _targets(world: World) -> list[Place]:
    """Return the funds whose seats are worth the gas."""
    found = []
    for place in world.places.get("seat_fund", []):
        token = place.tokens[0]
        if world.view("seat_fund", place.address, "totalSupply") > 8:
            seat = world.view("seat_fund", place.address, "convertToAssets", 1)
            if seat * token.price / 10**token.decimals > _LEAST_SEAT:
                found.append(place)
    return found


def series(world: World, place: Place, count: int, seats: int) -> list[int]:
    """Return the largest sums that `count` withdrawals can take, each burning `seats` shares only."""
    held = world.held(place.tokens[0], place.address)
    supply = world.view("seat_fund", place.address, "totalSupply")
    sums = []
    for _ in range(count):
        amount = ((seats + 1) * held - 1) // supply
        sums.append(amount)
        held -= amount
        supply -= seats
    return sums


def rounding(world: World, incident: Incident) -> Session:
    """Take nearly a seat's worth for nothing, as a stranger or as a member."""
    targets = _targets(world)
    if not targets:
        return
    place: Place = world.pick(targets)
    member = world.chance(0.4)
    token = place.tokens[0]
    worth = world.view("seat_fund", place.address, "convertToAssets", 1) * token.price / 10**token.decimals
    count = int(world.rng.integers(3, 11))
    who = yield from attacker(world, incident, worth * (count + 3) * 1.4 if member else 0.3)
    incident.variant.append("member" if member else "stranger")
    incident.assets.append(token)
    draw = world.rng.random()
    if member:
        yield from _join(world, incident, who, place, worth * (count + 2) * 1.1)
    if draw < 0.5:
        yield from _by_hand(world, incident, who, place, count, seats=int(member))
    elif member or draw < 0.75:
        yield from _by_executor(world, incident, who, place, count, seats=int(member))
    else:
        yield from _by_script(world, incident, who, place)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _join(world: World, incident: Incident, who: Account, place: Place, ether: float) -> Part:
    """Buy some seats first, like any member."""
    token, wei = place.tokens[0], int(ether * ETH)
    if token is world.weth:
        yield incident.call("prep", who, "weth", token.address, "deposit", value=wei)
    else:
        path = [world.weth.address, token.address]
        call = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
        yield incident.call("prep", who, "router", world.the("router").address, *call, value=wei)
    yield incident.call("prep", who, "token", token.address, "approve", place.address, FOREVER)
    held = world.held(token, who.address)
    # Exactly what the seats cost, so that joining loses nothing to rounding.
    assets = world.view("seat_fund", place.address, "totalAssets")
    supply = world.view("seat_fund", place.address, "totalSupply")
    seats = held * supply // assets
    exact = -(-seats * assets // supply)
    yield incident.call("prep", who, "seat_fund", place.address, "deposit", exact, who.address)


def _owned(world: World, who: Account, place: Place, seats: int) -> int:
    """Return how many withdrawals that burn `seats` each the attacker's own seats allow."""
    held = int(world.view("seat_fund", place.address, "balanceOf", who.address))
    return held // seats if seats else 10**6


def _by_hand(world: World, incident: Incident, who: Account, place: Place, count: int, *, seats: int) -> Part:
    """One small withdrawal per transaction."""
    incident.variant.append("by-hand")
    for _ in range(min(count, _owned(world, who, place, seats))):
        amount = series(world, place, 1, seats)[0]
        call = ("withdraw", amount, who.address, who.address)
        yield incident.call("exploit", who, "seat_fund", place.address, *call)
        if world.chance(0.3):
            for _ in range(int(world.rng.integers(6))):
                yield None


def _withdrawals(place: Place, sums: list[int], receiver: bytes, owner: bytes) -> list[Step]:
    return [step("seat_fund", place.address, "withdraw", amount, receiver, owner) for amount in sums]


def _allow(incident: Incident, who: Account, place: Place, spender: bytes) -> Part:
    yield incident.call("prep", who, "seat_fund", place.address, "approve", spender, FOREVER)


def _by_executor(
    world: World, incident: Incident, who: Account, place: Place, count: int, *, seats: int
) -> Part:
    """Several in one transaction of an executor."""
    tool = yield from runner(world, incident, who)
    incident.variant.append("executor")
    owner = who.address if seats else tool.address
    if seats:
        yield from _allow(incident, who, place, tool.address)
    sums = series(world, place, min(count, _owned(world, who, place, seats)), seats)
    if sums:
        yield from run_steps(world, incident, who, tool, _withdrawals(place, sums, who.address, owner))


def _by_script(world: World, incident: Incident, who: Account, place: Place) -> Part:
    """A stranger's contract that withdraws many times; a stale one is made anew."""
    incident.variant.append("script")
    count = int(world.rng.integers(6, 26))
    for _ in range(6):
        sums = series(world, place, count, 0)
        done = yield from run_script(world, incident, who, _withdrawals(place, sums, who.address, SELF))
        if done:
            return


FAMILIES = (
    Family(
        name="rounding",
        tier="structural",
        split="eval",
        modelled_on="Bunni (2025) and Hundred Finance (2023)",
        about="Withdraw just under a share's worth again and again: the shares to burn are rounded down "
        "to none.",
        run=rounding,
    ),
)
