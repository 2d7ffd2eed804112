"""Farms: stake a token, harvest rewards, leave; the stake is a share token that can change hands."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.simulation.bytecode import script_code
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import name
from pipelines.simulation.habits.bots import swap_steps
from pipelines.simulation.habits.bridge import plain_tokens, stock_up
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.world import (
    ETH,
    FOREVER,
    Part,
    Place,
    Send,
    Session,
    Tag,
    Token,
    World,
    allow,
    deploy,
    newcomer,
    obtain,
    send,
    someone,
    step,
)

_STAKING = Tag(kind="staking")
_MIGRATION = Tag(kind="share_migration")
_SETUP = Tag(kind="deployment")


@dataclass
class Farm:
    """A farm of the world; `tokens` of its place are what is staked and what is paid."""

    place: Place
    settles: bool
    """Whether moving shares settles the receiver's rewards."""
    stakers: list[Account] = field(default_factory=list)

    @property
    def stake(self) -> Token:
        """The token that is staked."""
        return self.place.tokens[0]

    @property
    def reward(self) -> Token:
        """The token in which rewards are paid."""
        return self.place.tokens[1]


def farms(world: World) -> list[Farm]:
    """Return all farms."""
    return world.notes.get("farms", [])


def shares(world: World, farm: Farm, account: bytes) -> int:
    """Return the stake of an account."""
    return int(world.view("farm", farm.place.address, "balanceOf", account))


def enter(world: World, farm: Farm, ether: float) -> Part:
    """Somebody stakes `ether` worth; return him."""
    who = yield from someone(world, ether)
    got = yield from obtain(world, who, farm.stake, ether)
    yield from allow(world, who, farm.stake, farm.place.address, got)
    yield send(who, "farm", farm.place.address, "deposit", got, tag=_STAKING)
    farm.stakers.append(who)
    return who


def stake(world: World) -> Session:
    """Stake, perhaps harvest now and then, perhaps leave."""
    farm: Farm = world.pick(farms(world))
    who = yield from enter(world, farm, world.amount(1.5, 0.9))
    for _ in range(int(world.rng.integers(0, 3))):
        yield from wait(world, 60)
        yield send(who, "farm", farm.place.address, "harvest", who.address, tag=_STAKING)
    if world.chance(0.45):
        yield from wait(world, 60)
        yield from _leave(world, farm, who)


def _leave(world: World, farm: Farm, who: Account) -> Part:
    held = shares(world, farm, who.address)
    part = held if world.chance(0.7) else held // 2
    if part > 0:
        yield send(who, "farm", farm.place.address, "withdraw", part, tag=_STAKING)


def harvest(world: World) -> Session:
    """A staker of before collects his rewards, in his wallet or elsewhere, and perhaps leaves."""
    farm: Farm = world.pick(farms(world))
    if farm.stakers:
        who: Account = world.pick(farm.stakers)
        to = who.address if world.chance(0.8) else world.account().address
        yield send(who, "farm", farm.place.address, "harvest", to, tag=_STAKING)
        if world.chance(0.3):
            yield from _leave(world, farm, who)


def migrate(world: World) -> Session:
    """A staker moves his shares to another wallet of his, which goes on with them."""
    farm: Farm = world.pick(farms(world))
    who = yield from _holder(world, farm)
    if world.chance(0.7):
        yield send(who, "farm", farm.place.address, "harvest", who.address, tag=_STAKING)
    if world.chance(0.35):
        yield from _automate(world, farm, who)
        return
    wallet = yield from newcomer(world, 0.3, source=who)
    held = shares(world, farm, who.address)
    part = held if world.chance(0.7) else held // 3
    yield send(who, "farm", farm.place.address, "transfer", wallet.address, part, tag=_MIGRATION)
    farm.stakers.append(wallet)
    yield from wait(world, 40)
    if world.chance(0.6):
        to = wallet.address if world.chance(0.6) else who.address
        yield send(wallet, "farm", farm.place.address, "harvest", to, tag=_MIGRATION)
    if world.chance(0.5):
        held = shares(world, farm, wallet.address)
        yield send(wallet, "farm", farm.place.address, "withdraw", held, tag=_MIGRATION)
    elif world.chance(0.4):
        held = shares(world, farm, wallet.address)
        yield send(wallet, "farm", farm.place.address, "transfer", who.address, held, tag=_MIGRATION)


def _holder(world: World, farm: Farm) -> Part:
    """Return somebody with a stake and some ether, a new staker if need be."""
    for _ in range(3):
        if farm.stakers:
            who: Account = world.pick(farm.stakers)
            if shares(world, farm, who.address) > 0 and world.ether(who.address) > ETH // 2:
                return who
    who = yield from enter(world, farm, world.amount(1.5, 0.6))
    return who


def helper(farm: Farm, selector: bytes, to: bytes, back: bytes, amount: int) -> bytes:
    """Return a contract that harvests to `to` and hands `amount` shares to `back` when it is called."""
    place = farm.place.address
    steps = [step("farm", place, "harvest", to), step("farm", place, "transfer", back, amount)]
    return script_code(selector, steps)


def _automate(world: World, farm: Farm, who: Account) -> Part:
    """Leave shares with a little contract that harvests and returns them when a bot calls it."""
    held = shares(world, farm, who.address)
    if held == 0:
        return
    selector = world.rng.bytes(4)
    code = helper(farm, selector, who.address, who.address, held)
    receipt = yield Send(who, None, code, tag=_SETUP)
    yield send(who, "farm", farm.place.address, "transfer", receipt.made, held, tag=_MIGRATION)
    yield from wait(world, 50)
    caller = who if world.chance(0.5) else world.visitor()
    yield Send(caller, receipt.made, selector, tag=_MIGRATION)


def compound(world: World) -> Session:
    """Through an executor: stake, and later harvest, sell the reward and stake again in one transaction."""
    options = [f for f in farms(world) if f.stake is world.weth]
    farm: Farm = world.pick(options)
    ether = min(world.amount(1.0, 0.5), 3.0)
    who = yield from someone(world, ether + 0.1)
    tool = yield from executor_of(world, who)
    wei, place, weth = int(ether * ETH), farm.place.address, world.weth.address
    steps = [
        step("weth", weth, "deposit", value=wei),
        step("token", weth, "approve", place, FOREVER),
        step("farm", place, "deposit", wei),
    ]
    tag = Tag(kind="automation")
    yield send(who, "executor", tool.address, "run", as_tuples(steps), value=wei, tag=tag)
    yield from wait(world, 60)
    gained = world.view("farm", place, "pendingReward", tool.address)
    if gained == 0:
        return
    gained = min(gained, world.view("farm", place, "reserve"))
    steps = [step("farm", place, "harvest", tool.address)]
    if gained > farm.reward.units(0.0001):
        back = world.quote([farm.reward, world.weth], gained)
        steps += swap_steps(world, [farm.reward, world.weth], gained, tool.address)
        steps.append(step("farm", place, "deposit", back * 99 // 100))
    if world.chance(0.4):
        steps.append(step("farm", place, "withdraw", wei))
        steps.append(step("weth", weth, "transfer", who.address, wei))
    yield send(who, "executor", tool.address, "run", as_tuples(steps), tag=tag)


def fund(world: World, farm: Farm, ether: float) -> Part:
    """The owner pays in rewards."""
    owner, place = farm.place.owner, farm.place.address
    got = yield from stock_up(world, owner, farm.reward, ether)
    yield from allow(world, owner, farm.reward, place, got)
    yield send(owner, "farm", place, "fund", got, tag=_STAKING)


def pay_rewards(world: World) -> Session:
    """The period's rewards of one farm."""
    yield from fund(world, world.pick(farms(world)), world.amount(2.0, 0.6))


def open_farm(world: World, owner: Account, staked: Token, *, settles: bool, ether: float) -> Part:
    """Deploy a farm; the owner stakes first and pays the first rewards."""
    reward: Token = world.pick([t for t in plain_tokens(world)[1:] if t is not staked])
    title = name(world)
    call = (staked.address, reward.address, settles, title, f"f{title[:4].upper()}")
    place = yield from deploy(world, owner, "farm", *call, tokens=(staked, reward))
    farm = Farm(place, settles)
    got = yield from stock_up(world, owner, staked, ether * 1.6)
    yield from allow(world, owner, staked, place.address, got)
    yield send(owner, "farm", place.address, "deposit", got, tag=_STAKING)
    world.notes.setdefault("farms", []).append(farm)
    yield from fund(world, farm, ether * 0.5)


def new_farm(world: World) -> Session:
    """A project opens another farm."""
    owner = yield from someone(world, 9.0, fresh=0.4)
    staked: Token = world.pick(plain_tokens(world)[:7])
    yield from open_farm(world, owner, staked, settles=world.chance(0.35), ether=4.0)


def found(world: World, founders: list[Account]) -> Part:
    """Open six farms, two for WETH."""
    tokens = plain_tokens(world)
    for number, index in enumerate((0, 0, 1, 3, 4, 5)):
        owner = founders[number]
        yield from open_farm(world, owner, tokens[index], settles=number in (1, 4), ether=14.0)


HABITS = (
    (0.44, stake),
    (0.24, harvest),
    (0.28, migrate),
    (0.16, compound),
    (0.096, pay_rewards),
    (0.032, new_farm),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("share_migration",)
