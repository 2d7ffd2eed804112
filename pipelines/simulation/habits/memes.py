"""Deflationary tokens: launches, trades, holders who burn, keepers who burn from the pool, skimming bots."""

from __future__ import annotations

from pipelines.simulation.engine import Account
from pipelines.simulation.founding import name
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.stable_pools import backer, get, is_open, send_create
from pipelines.simulation.habits.trading import sell
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    FOREVER,
    Part,
    Place,
    Session,
    Tag,
    Token,
    World,
    send,
    someone,
    step,
)

_SETUP = Tag(kind="deployment")
_SWAP = Tag(kind="swap")
_BURN = Tag(kind="token_burn")
_KEEPER = Tag(kind="pool_burn")
_SKIM = Tag(kind="pair_maintenance")


def found(world: World, founders: list[Account]) -> Part:
    """Launch the first deflationary tokens."""
    for ether in (70.0, 45.0, 90.0, 35.0, 55.0):
        yield from launch(world, backer(world, founders), ether)


def launch(world: World, who: Account, ether: float) -> Part:
    """Deploy a deflationary token, open its WETH pool, tell the token which pool it burns from."""
    title, decimals = name(world), int(world.pick((9, 18, 18)))
    price = float(f"{10 ** world.rng.uniform(-6, -3):.2g}")
    pooled = int(ether / price * 10**decimals)
    rate = int(world.rng.integers(4, 26))
    call = (title, title[:4].upper(), decimals, pooled * 5 // 4, rate)
    receipt = yield send_create(who, "meme_token", *call)
    token = Token(receipt.made, decimals, price, "meme_token", who)
    router = world.the("router").address
    yield send(who, "token", token.address, "approve", router, FOREVER, tag=_SETUP)
    add = ("addLiquidityETH", token.address, pooled, 0, 0, who.address, DEADLINE)
    yield send(who, "router", router, *add, value=int(ether * ETH), tag=_SETUP)
    pair = world.pair(token, world.weth)
    yield send(who, "meme_token", token.address, "setPair", pair, tag=_SETUP)
    world.tokens.append(token)
    world.add(Place("meme_token", token.address, who, (token,)))


def trade(world: World) -> Session:
    """Buy one, hold it for a while, sell some of it."""
    if not is_open(world, "meme_token"):
        return
    token = world.some("meme_token", 0.3).tokens[0]
    ether = world.amount(0.5, 1.0)
    who = yield from someone(world, ether)
    got = yield from get(world, who, token, ether)
    if world.chance(0.75):
        yield from wait(world, 50)
        part = got if world.chance(0.6) else got // 2
        yield from sell(world, who, [token, world.weth], part, _SWAP)


def burn(world: World) -> Session:
    """A holder burns part of what he has; teams burn a lot of their own on announced dates."""
    if not is_open(world, "meme_token"):
        return
    place = world.some("meme_token", 0.3)
    token = place.tokens[0]
    who = place.owner
    held = world.held(token, who.address)
    part = held // int(world.rng.integers(8, 60))
    if world.chance(0.65) or part == 0:
        ether = world.amount(0.25, 0.8)
        who = yield from someone(world, ether)
        part = yield from get(world, who, token, ether)
    yield send(who, "meme_token", token.address, "burn", who.address, part, tag=_BURN)


def keep(world: World) -> Session:
    """A keeper burns from the pool what sales have earmarked, by hand or with a look at the pool first."""
    if not is_open(world, "meme_token"):
        return
    place = world.some("meme_token", 0.2)
    token = place.tokens[0]
    if world.view("meme_token", token.address, "pending") == 0:
        return
    who = yield from someone(world, 0.4, fresh=0.2)
    if world.chance(0.6):
        yield send(who, "meme_token", token.address, "deflate", tag=_KEEPER)
        return
    runner = yield from executor_of(world, who)
    pair = world.view("meme_token", token.address, "pair")
    steps = [
        step("pair", pair, "getReserves"),
        step("meme_token", token.address, "deflate"),
        step("pair", pair, "getReserves"),
    ]
    yield send(who, "executor", runner.address, "run", as_tuples(steps), tag=_KEEPER)


def lost_and_found(world: World) -> Session:
    """Somebody sends tokens straight to a pool; a bot skims them off or lets the pool have them."""
    if not is_open(world, "meme_token"):
        return
    token = world.some("meme_token", 0.3).tokens[0] if world.chance(0.5) else world.token(start=1)
    who = yield from someone(world, 0.4)
    pair = world.pair(token, world.weth) or b""
    ether = min(world.amount(0.08, 0.6), 0.3)
    got = yield from get(world, who, token, ether)
    yield send(who, "token", token.address, "transfer", pair, got, tag=Tag(kind="token_transfer"))
    bot = yield from someone(world, 0.2, fresh=0.1)
    if world.chance(0.5):
        yield send(bot, "pair", pair, "sync", tag=_SKIM)
    elif world.chance(0.5):
        yield send(bot, "pair", pair, "skim", bot.address, tag=_SKIM)
    else:
        runner = yield from executor_of(world, bot)
        steps = [step("pair", pair, "skim", runner.address), step("pair", pair, "sync")]
        yield send(bot, "executor", runner.address, "run", as_tuples(steps), tag=_SKIM)


def new_token(world: World) -> Session:
    """Somebody launches another one."""
    if not is_open(world, "meme_token"):
        return
    ether = world.amount(25.0, 0.5) + 4
    who = yield from someone(world, ether + 0.3, fresh=0.6)
    yield from launch(world, who, ether)


HABITS = (
    (0.4, trade),
    (0.15, burn),
    (0.25, keep),
    (0.2, lost_and_found),
    (0.14, new_token),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("pool_burn", "pair_maintenance")
