"""Funds with few, large shares: members, pensioners who draw small sums, managers who pay in the gains."""

from __future__ import annotations

from pipelines.simulation.engine import Account
from pipelines.simulation.founding import name
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.stable_pools import backer, get, is_open, send_create, stock
from pipelines.simulation.world import (
    Part,
    Place,
    Session,
    Tag,
    World,
    allow,
    send,
    someone,
    step,
)

_SETUP = Tag(kind="deployment")
_APPROVAL = Tag(kind="approval")
_FUND = Tag(kind="fund")
_DRIP = Tag(kind="small_withdrawals")


def found(world: World, founders: list[Account]) -> Part:
    """Open the first funds."""
    for index, seat in ((0, 0.25), (1, 0.1), (3, 0.3), (0, 0.06), (5, 0.15), (2, 0.4)):
        yield from open_fund(world, backer(world, founders), index, seat, 45.0)


def open_fund(world: World, who: Account, index: int, seat: float, ether: float) -> Part:
    """Deploy a fund whose seat costs `seat` ether at first; its manager buys some."""
    token = world.tokens[index]
    title = name(world)
    call = (token.address, token.units(seat), title, title[:4].upper())
    receipt = yield send_create(who, "seat_fund", *call)
    place = Place("seat_fund", receipt.made, who, (token,))
    got = yield from stock(world, who, token, ether * world.amount(1.0, 0.3))
    yield from allow(world, who, token, place.address, got, _SETUP)
    yield send(who, "seat_fund", place.address, "deposit", got, who.address, tag=_SETUP)
    return world.add(place)


def join(world: World) -> Session:
    """Buy seats; later sell all of them, or take out a round sum."""
    if not is_open(world, "seat_fund"):
        return
    place = world.some("seat_fund", 0.4)
    who, share = yield from _member(world, place, world.amount(3.5, 0.7))
    if world.chance(0.6):
        yield from wait(world, 60)
        seats = world.view("seat_fund", place.address, "balanceOf", who.address)
        call = ("redeem", seats, who.address, who.address)
        if world.chance(0.5):
            call = ("withdraw", share * int(world.rng.integers(2, 9)) // 10, who.address, who.address)
        yield send(who, "seat_fund", place.address, *call, tag=_FUND)


def _member(world: World, place: Place, ether: float) -> Part:
    """Let somebody buy seats; return him and what he paid in."""
    token = place.tokens[0]
    seat = world.view("seat_fund", place.address, "convertToAssets", 1)
    ether = max(ether, 1.3 * seat * token.price / 10**token.decimals)
    who = yield from someone(world, ether)
    got = yield from get(world, who, token, ether)
    yield from allow(world, who, token, place.address, got)
    yield send(who, "seat_fund", place.address, "deposit", got, who.address, tag=_FUND)
    return who, got


def pension(world: World) -> Session:
    """Buy seats, then draw small sums again and again, one by one or several in a batch."""
    if not is_open(world, "seat_fund"):
        return
    place = world.some("seat_fund", 0.4)
    who, share = yield from _member(world, place, world.amount(4.0, 0.6))
    seat = world.view("seat_fund", place.address, "convertToAssets", 1)
    count = int(world.rng.integers(2, 9))
    sum_ = min(int(seat * (1.02 + 1.5 * world.rng.random())), share // (count * 3))
    call = ("withdraw", sum_, who.address, who.address)
    if world.chance(0.4):
        runner = yield from executor_of(world, who)
        yield send(who, "seat_fund", place.address, "approve", runner.address, share, tag=_APPROVAL)
        steps = [step("seat_fund", place.address, *call)] * count
        yield send(who, "executor", runner.address, "run", as_tuples(steps), tag=_DRIP)
        return
    for _ in range(count):
        yield from wait(world, 25)
        yield send(who, "seat_fund", place.address, *call, tag=_DRIP)


def gains(world: World) -> Session:
    """The manager pays in what the fund has earned; a sponsor does where little is left."""
    if not is_open(world, "seat_fund"):
        return
    place = world.some("seat_fund", 0.2)
    token = place.tokens[0]
    held = world.held(token, place.address) * token.price / 10**token.decimals
    ether = world.amount(0.6, 0.6) if held > 12 else world.amount(15.0, 0.3)
    who = place.owner
    if held <= 12:
        who = yield from someone(world, ether)
    got = yield from get(world, who, token, ether)
    if held <= 12:
        yield from allow(world, who, token, place.address, got)
        yield send(who, "seat_fund", place.address, "deposit", got, who.address, tag=_FUND)
    else:
        yield send(who, "token", token.address, "transfer", place.address, got, tag=_FUND)


def new_fund(world: World) -> Session:
    """Somebody opens another fund."""
    if not is_open(world, "seat_fund"):
        return
    ether = world.amount(14.0, 0.4)
    who = yield from someone(world, ether * 1.8, fresh=0.5)
    index = int(world.rng.integers(6))
    yield from open_fund(world, who, index, 0.05 + 0.3 * float(world.rng.random()), ether)


HABITS = (
    (0.3, join),
    (0.2, pension),
    (0.15, gains),
    (0.06, new_fund),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("small_withdrawals",)
