"""Weighted pools that keep records of their balances: traders, providers, rebalancers, market makers."""

from __future__ import annotations

from pipelines.simulation.bytecode import Step
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import list_token, name
from pipelines.simulation.habits.bots import searcher
from pipelines.simulation.habits.saving import as_tuples, wait
from pipelines.simulation.habits.stable_pools import backer, get, is_open, send_create, stock
from pipelines.simulation.world import (
    DEADLINE,
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
    send,
    someone,
    step,
)

_SETUP = Tag(kind="deployment")
_SWAP = Tag(kind="swap")
_LIQUIDITY = Tag(kind="liquidity")
_GULP = Tag(kind="record_update")
_REBALANCE = Tag(kind="rebalancing")
_QUOTES = Tag(kind="market_making")
_SHARES = 100 * 10**18


def found(world: World, founders: list[Account]) -> Part:
    """List two more tokens with a fee on transfer, then open the first pools."""
    fees = [world.tokens[7]]
    for price, ether in ((0.0012, 120.0), (0.00004, 90.0)):
        token = yield from list_token(world, backer(world, founders), 18, price, "fee_token", ether)
        fees.append(token)
    weth, tokens = world.weth, world.tokens
    for members, weights, ether in (
        ((weth, fees[0], tokens[4]), (2, 1, 1), 70.0),
        ((weth, fees[1], tokens[3], tokens[1]), (1, 1, 1, 1), 90.0),
        ((weth, tokens[5], fees[2]), (1, 1, 1), 45.0),
        ((tokens[1], weth, fees[1]), (2, 4, 2), 80.0),
        ((weth, tokens[2], fees[0], tokens[6]), (1, 2, 1, 1), 60.0),
    ):
        who = backer(world, founders)
        for token, weight in zip(members, weights, strict=True):
            yield from stock(world, who, token, ether * weight / sum(weights) * 1.02)
        yield from open_pool(world, who, members, weights, ether)


def open_pool(
    world: World, who: Account, tokens: tuple[Token, ...], weights: tuple[int, ...], ether: float
) -> Part:
    """Deploy a pool of tokens that `who` holds and put in `ether` worth of them in all; return its Place."""
    call = (name(world), [token.address for token in tokens], list(weights))
    receipt = yield send_create(who, "weighted_pool", *call)
    place = Place("weighted_pool", receipt.made, who, tokens)
    worth = [ether * weight / sum(weights) for weight in weights]
    amounts = [min(t.units(w), world.held(t, who.address)) for t, w in zip(tokens, worth, strict=True)]
    for token, amount in zip(tokens, amounts, strict=True):
        yield from allow(world, who, token, place.address, amount, _SETUP)
    yield send(who, "weighted_pool", place.address, "joinPool", _SHARES, amounts, tag=_SETUP)
    for token in tokens:
        if token.kind == "fee_token":
            yield send(who, "weighted_pool", place.address, "gulp", token.address, tag=_SETUP)
    return world.add(place)


def record(world: World, place: Place, token: Token) -> int:
    """Return the balance that a pool believes to have."""
    return int(world.view("weighted_pool", place.address, "getBalance", token.address))


def _two(world: World, place: Place) -> tuple[Token, Token]:
    i, j = (int(n) for n in world.rng.permutation(len(place.tokens))[:2])
    return place.tokens[i], place.tokens[j]


def weighted_swap(world: World) -> Session:
    """Swap one member for another, naming what goes in or what comes out."""
    if not is_open(world, "weighted_pool"):
        return
    place = world.some("weighted_pool", 0.4)
    coin, out = _two(world, place)
    ether = world.amount(0.5, 1.0)
    who = yield from someone(world, ether)
    got = yield from get(world, who, coin, ether)
    yield from allow(world, who, coin, place.address, got)
    yield _swap(world, who, place, coin, out, got)
    if world.chance(0.2):
        yield from wait(world, 30)
        back = world.held(out, who.address) * 9 // 10
        yield from allow(world, who, out, place.address, back)
        yield _swap(world, who, place, out, coin, back)


def _swap(world: World, who: Account, place: Place, coin: Token, out: Token, amount: int) -> Send:
    fetched = world.view("weighted_pool", place.address, "calcOutGivenIn", coin.address, amount, out.address)
    call = ("swapExactAmountIn", coin.address, amount, out.address, fetched * 98 // 100)
    if world.chance(0.3):
        call = ("swapExactAmountOut", coin.address, amount, out.address, fetched * 97 // 100)
    return send(who, "weighted_pool", place.address, *call, tag=_SWAP)


def provide(world: World) -> Session:
    """Join with all members; mostly exit some time later."""
    if not is_open(world, "weighted_pool"):
        return
    place = world.some("weighted_pool", 0.4)
    ether = world.amount(3.0, 0.7)
    who = yield from someone(world, ether * 1.2)
    first = place.tokens[0]
    pooled = record(world, place, first) * first.price / 10**first.decimals * len(place.tokens)
    supply = world.view("weighted_pool", place.address, "totalSupply")
    share = int(supply * min(0.2, ether / max(pooled, 1.0)))
    most = []
    for token in place.tokens:
        needed = record(world, place, token) * share // supply * 103 // 100
        got = yield from get(world, who, token, _ether_for(world, token, needed))
        yield from allow(world, who, token, place.address, got)
        most.append(got)
    yield send(who, "weighted_pool", place.address, "joinPool", share, most, tag=_LIQUIDITY)
    if world.chance(0.6):
        yield from wait(world, 60)
        call = ("exitPool", share, [0] * len(place.tokens))
        yield send(who, "weighted_pool", place.address, *call, tag=_LIQUIDITY)


def _ether_for(world: World, token: Token, units: int) -> float:
    """Return what buying `units` of a token costs now, with a margin."""
    if token is world.weth:
        return units / ETH
    weth, other = world.reserves(world.weth, token)
    units = min(units, other // 2)
    return weth * units / (other - units) / ETH * 1.02 + 0.001


def update_record(world: World) -> Session:
    """A bot brings a record up to date, after a fee on transfer or a gift has made it wrong."""
    if not is_open(world, "weighted_pool"):
        return
    place: Place = world.pick(world.places["weighted_pool"])
    who = yield from someone(world, 0.2, fresh=0.2)
    token = world.pick(place.tokens)
    if world.chance(0.2):
        ether = min(world.amount(0.1, 0.5), 0.3)
        got = yield from get(world, who, token, ether)
        yield send(
            who, "token", token.address, "transfer", place.address, got, tag=Tag(kind="token_transfer")
        )
    yield send(who, "weighted_pool", place.address, "gulp", token.address, tag=_GULP)


def rebalance(world: World) -> Session:
    """A searcher trades a pool back towards the price of the pair that trades the same token."""
    if not is_open(world, "weighted_pool"):
        return
    place: Place = world.pick(world.places["weighted_pool"])
    token = world.pick([t for t in place.tokens if t is not world.weth])
    mine, theirs = record(world, place, world.weth), record(world, place, token)
    weights = [
        world.view("weighted_pool", place.address, "getWeight", t.address) for t in (world.weth, token)
    ]
    weth, other = world.reserves(world.weth, token)
    inside, outside = mine * weights[1] / (theirs * weights[0]), weth / other
    if max(inside, outside) < 1.04 * min(inside, outside):
        return
    who, runner = yield from searcher(world)
    wei = min(mine // 12, 4 * ETH)
    if world.ether(who.address) < wei + ETH // 10:
        return
    router, weth_address = world.the("router").address, world.weth.address
    steps = [step("weth", weth_address, "deposit", value=wei)]
    buy = "swapExactTokensForTokensSupportingFeeOnTransferTokens"
    fee = 98 if token.kind == "fee_token" else 100
    if inside < outside:
        call = ("calcOutGivenIn", weth_address, wei, token.address)
        got = world.view("weighted_pool", place.address, *call) * fee // 100
        steps += _through_pool(place, world.weth, token, wei)
        path, amount = [token.address, weth_address], got
        steps.append(step("token", token.address, "approve", router, got))
        steps.append(step("router", router, buy, amount, 1, path, runner.address, DEADLINE))
    else:
        got = world.quote([world.weth, token], wei) * fee // 100
        path = [weth_address, token.address]
        steps.append(step("token", weth_address, "approve", router, wei))
        steps.append(step("router", router, buy, wei, 1, path, runner.address, DEADLINE))
        steps += _through_pool(place, token, world.weth, got)
    yield send(who, "executor", runner.address, "run", as_tuples(steps), value=wei, tag=_REBALANCE)


def _through_pool(place: Place, coin: Token, out: Token, amount: int) -> list[Step]:
    call = ("swapExactAmountIn", coin.address, amount, out.address, 1)
    return [
        step("token", coin.address, "approve", place.address, amount),
        step("weighted_pool", place.address, *call),
    ]


def market_maker(world: World) -> Session:
    """A market maker quotes on several pools: small swaps there and back, in one transaction or many."""
    if not is_open(world, "weighted_pool"):
        return
    place: Place = world.pick(world.places["weighted_pool"])
    coins = [t for t in place.tokens if t.kind != "fee_token"]
    coin, out = coins[0], coins[1 % len(coins)]
    if coin is out:
        return
    ether = min(world.amount(0.8, 0.5), 2.0)
    who, runner = yield from searcher(world)
    if world.ether(who.address) < int(ether * 1.3 * ETH):
        return
    amount = yield from get(world, who, coin, ether)
    count = int(world.rng.integers(2, 6))
    part = amount // count
    if world.chance(0.5):
        yield from allow(world, who, coin, place.address, amount)
        for _ in range(count):
            yield _swap(world, who, place, coin, out, part)
            yield from wait(world, 8)
        return
    yield send(who, "token", coin.address, "transfer", runner.address, amount, tag=_QUOTES)
    steps = [step("token", coin.address, "approve", place.address, FOREVER)]
    for _ in range(count):
        steps += _through_pool(place, coin, out, part)[1:]
        if world.chance(0.5):
            read = ("calcOutGivenIn", coin.address, part, out.address)
            steps.append(step("weighted_pool", place.address, *read))
    yield send(who, "executor", runner.address, "run", as_tuples(steps), tag=_QUOTES)


def new_pool(world: World) -> Session:
    """A team opens a pool of three tokens."""
    if not is_open(world, "weighted_pool"):
        return
    ether = world.amount(30.0, 0.4)
    who = yield from someone(world, ether * 1.5, fresh=0.5)
    fees = [t for t in world.tokens if t.kind == "fee_token"]
    others = [t for t in world.tokens[1:9] if t.kind != "fee_token"]
    tokens = (world.weth, world.pick(fees), world.pick(others))
    weights = tuple(int(world.pick((1, 1, 2))) for _ in tokens)
    for token, weight in zip(tokens, weights, strict=True):
        yield from get(world, who, token, ether * weight / sum(weights) * 1.05)
    yield from open_pool(world, who, tokens, weights, ether)


def restock(world: World) -> Session:
    """The team behind a pool that was emptied fills it again and has the records corrected."""
    if not is_open(world, "weighted_pool"):
        return
    emptied: list[Place] = world.notes.get("drained_pools", [])
    if not emptied:
        return
    place = emptied.pop(0)
    who = place.owner
    for token in place.tokens:
        got = yield from stock(world, who, token, world.amount(16.0, 0.2))
        yield send(who, "token", token.address, "transfer", place.address, got, tag=_LIQUIDITY)
        yield send(who, "weighted_pool", place.address, "gulp", token.address, tag=_GULP)
    world.add(place)


HABITS = (
    (0.35, weighted_swap),
    (0.15, provide),
    (0.15, update_record),
    (0.15, rebalance),
    (0.25, market_maker),
    (0.1, new_pool),
    (0.1, restock),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("market_making", "rebalancing")
