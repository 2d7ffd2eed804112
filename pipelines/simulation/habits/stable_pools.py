"""Stable-swap pools: dollars, ether and staked ether; traders, arbitrageurs, whales, liquidity providers."""

from __future__ import annotations

from typing import Any

from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import list_token, name
from pipelines.simulation.habits.bots import encode_steps, searcher, swap_steps
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.stable_math import NATIVE, StableState
from pipelines.simulation.world import (
    ETH,
    Part,
    Place,
    Send,
    Session,
    Tag,
    Token,
    World,
    allow,
    amount_out,
    obtain,
    send,
    someone,
    step,
)

_SETUP = Tag(kind="deployment")
_SWAP = Tag(kind="swap")
_LIQUIDITY = Tag(kind="liquidity")
_WHALE = Tag(kind="large_stable_swap")
_ARBITRAGE = Tag(kind="flash_arbitrage")
_AUTOMATION = Tag(kind="lp_automation")


def found(world: World, founders: list[Account]) -> Part:
    """List staked ether and a third dollar, then open the first pools."""
    staked = []
    for depth in (340.0, 220.0):
        token = yield from list_token(world, backer(world, founders), 18, 1.0, "token", depth)
        staked.append(token)
    third = yield from list_token(world, backer(world, founders), 6, 1 / 3000, "token", 260.0)
    native = Token(NATIVE, 18, 1.0, "native", founders[0])
    one, two = world.tokens[1:3]
    first: tuple[tuple[tuple[Token, ...], tuple[float, ...], int], ...] = (
        ((native, staked[0]), (200.0, 310.0), 40),
        ((one, two), (260.0, 260.0), 90),
        ((world.weth, staked[0]), (150.0, 160.0), 30),
        ((native, staked[1]), (130.0, 190.0), 60),
        ((one, two, third), (140.0, 140.0, 140.0), 60),
        ((native, staked[0]), (120.0, 190.0), 50),
        ((native, staked[1]), (100.0, 155.0), 40),
    )
    for coins, ether, amplification in first:
        who = backer(world, founders)
        for token, worth in zip(coins, ether, strict=True):
            yield from stock(world, who, token, worth)
        yield from open_pool(world, who, coins, ether, amplification)


def backer(world: World, founders: list[Account]) -> Account:
    """Return one of the founders who can still afford to open something."""
    solvent = [founder for founder in founders if world.ether(founder.address) > 600 * ETH]
    chosen: Account = world.pick(solvent or founders)
    return chosen


def stock(world: World, who: Account, token: Token, ether: float) -> Part:
    """Let a team get `ether` worth of a token from whoever listed it, else from the pool; return the amount.

    Large purchases by every team that opens something would drive the pools far from the listing prices.
    """
    amount = token.units(ether)
    if token.kind in ("native", "weth") or world.held(token, token.maker.address) < amount:
        amount = yield from get(world, who, token, ether)
    elif token.maker is not who:
        yield send(token.maker, "token", token.address, "transfer", who.address, amount, tag=_SETUP)
    return amount if token.kind != "fee_token" else amount * 99 // 100


def open_pool(
    world: World, who: Account, coins: tuple[Token, ...], ether: tuple[float, ...], amplification: int
) -> Part:
    """Deploy a pool of coins that `who` holds and put in `ether` worth of each; return its Place."""
    fee = int(world.rng.integers(2, 8))
    call = (name(world), [coin.address for coin in coins], amplification, fee)
    receipt = yield send_create(who, "stable_pool", *call)
    place = Place("stable_pool", receipt.made, who, coins)
    amounts = [coin.units(worth) for coin, worth in zip(coins, ether, strict=True)]
    yield from add(world, who, place, amounts, _SETUP)
    return world.add(place)


def send_create(who: Account, kind: str, *args: object) -> Send:
    """Return the deployment of a compiled contract."""
    return Send(who, None, contract(kind).create(*args), tag=_SETUP)


def is_open(world: World, name: str) -> bool:
    """Say whether there is a place of that name: the founders may still be at work."""
    return bool(world.places.get(name))


def share_of(place: Place) -> Token:
    """Return a pool's share as a token; its price is what it was worth at the start."""
    return Token(place.address, 18, place.tokens[0].price, "pool_share", place.owner)


def get(world: World, who: Account, coin: Token, ether: float) -> Part:
    """Buy `ether` worth of a coin (nothing to do for ether itself); return the amount."""
    if coin.kind == "native":
        return int(ether * ETH)
    amount = yield from obtain(world, who, coin, ether)
    return max(0, amount)  # somebody else may act for the same account meanwhile


def add(world: World, who: Account, place: Place, amounts: list[int], tag: Tag) -> Part:
    """Approve the coins and add liquidity."""
    value = 0
    for coin, amount in zip(place.tokens, amounts, strict=True):
        if coin.kind == "native":
            value = amount
        elif amount:
            yield from allow(world, who, coin, place.address, amount)
    yield send(who, "stable_pool", place.address, "add_liquidity", amounts, 0, value=value, tag=tag)


def exchange(world: World, who: Account, place: Place, i: int, j: int, amount: int, tag: Tag) -> Part:
    """Swap coin `i` for coin `j` with a limit on the slippage."""
    native = place.tokens[i].kind == "native"
    if not native:
        yield from allow(world, who, place.tokens[i], place.address, amount)
    least = world.view("stable_pool", place.address, "get_dy", i, j, amount)
    least = least * int(world.rng.integers(970, 999)) // 1000 if world.chance(0.85) else 1
    call = ("exchange", i, j, amount, least)
    yield send(who, "stable_pool", place.address, *call, value=amount if native else 0, tag=tag)


def stable_swap(world: World) -> Session:
    """Swap one coin of a pool for another, some of them more than once."""
    if not is_open(world, "stable_pool"):
        return
    place = world.some("stable_pool", 0.7)
    i, j = (int(n) for n in world.rng.permutation(len(place.tokens))[:2])
    ether = world.amount(0.8, 1.1)
    who = yield from someone(world, ether)
    amount = yield from get(world, who, place.tokens[i], ether)
    yield from exchange(world, who, place, i, j, amount, _SWAP)
    if world.chance(0.25):
        yield from wait(world, 40)
        out = place.tokens[j]
        back = amount if out.kind == "native" else world.held(out, who.address)
        yield from exchange(world, who, place, j, i, back * 9 // 10, _SWAP)


def whale(world: World) -> Session:
    """A wealthy holder pushes a pool by far and, mostly, takes it back some time later."""
    if not is_open(world, "stable_pool"):
        return
    place = world.some("stable_pool", 0.6)
    i, j = (int(n) for n in world.rng.permutation(len(place.tokens))[:2])
    coin, out = place.tokens[i], place.tokens[j]
    depth = world.view("stable_pool", place.address, "balances", j) * out.price / 10**out.decimals
    ether = max(depth * (0.2 + 0.6 * world.rng.random()), 1.0)
    who = yield from someone(world, ether, fresh=0.7)
    amount = yield from get(world, who, coin, ether)
    before = held_of(world, who, out)
    yield from exchange(world, who, place, i, j, amount, _WHALE)
    if world.chance(0.75):
        yield from wait(world, 16)
        got = max(0, held_of(world, who, out) - before) * 99 // 100
        yield from exchange(world, who, place, j, i, got, _WHALE)


def held_of(world: World, who: Account, coin: Token) -> int:
    """Return a balance of a coin, ether included."""
    return world.ether(who.address) if coin.kind == "native" else world.held(coin, who.address)


def arbitrage(world: World) -> Session:
    """Trade a pool against the WETH pairs of its coins, inside a flash loan or with own money."""
    if not is_open(world, "stable_pool"):
        return
    place: Place = world.pick(world.places["stable_pool"])
    gain, i, j, stake, amount = _best_round(world, place)
    if gain < ETH // 500:
        return
    coin, out = place.tokens[i], place.tokens[j]
    fetched = world.view("stable_pool", place.address, "get_dy", i, j, amount)
    who, runner = yield from searcher(world)
    steps = []
    if coin.kind == "native":
        steps.append(step("weth", world.weth.address, "withdraw", stake))
    elif coin.kind != "weth":
        steps += swap_steps(world, [world.weth, coin], stake, runner.address)
    native = coin.kind == "native"
    if not native:
        steps.append(step("token", coin.address, "approve", place.address, amount))
    call = ("exchange", i, j, amount, 0)
    steps.append(step("stable_pool", place.address, *call, value=amount if native else 0))
    if out.kind == "native":
        steps.append(step("weth", world.weth.address, "deposit", value=fetched))
    elif out.kind != "weth":
        steps += swap_steps(world, [out, world.weth], fetched, runner.address)
    if stake < world.ether(who.address) // 2 and world.chance(0.4):
        steps.insert(0, step("weth", world.weth.address, "deposit", value=stake))
        kind = Tag(kind="arbitrage")
        yield send(who, "executor", runner.address, "run", as_tuples(steps), value=stake, tag=kind)
        return
    lender = world.places["flash_lender"][1].address
    loan = ("flash", lender, world.weth.address, stake, encode_steps(steps))
    yield send(who, "executor", runner.address, *loan, tag=_ARBITRAGE)


def _best_round(world: World, place: Place) -> tuple[int, int, int, int, int]:
    """Return the best round over WETH, coin i, coin j, WETH: (gain, i, j, stake, amount of coin i)."""
    state = StableState.read(world, place)
    ether = ("weth", "native")
    pairs = [None if t.kind in ether else world.reserves(world.weth, t) for t in place.tokens]
    best = (0, 0, 0, 0, 0)
    for i, first in enumerate(pairs):
        for j, second in enumerate(pairs):
            for stake in (ETH // 2, 3 * ETH, 12 * ETH, 40 * ETH):
                amount = stake if first is None else amount_out(stake, *first)
                if i == j or amount == 0:
                    continue
                fetched = state.quote(i, j, amount)
                back = fetched if second is None else amount_out(fetched, second[1], second[0])
                best = max(best, (back - stake, i, j, stake, amount))
    return best


def provide(world: World) -> Session:
    """Add liquidity in one coin or all, stay for a while, leave in one coin or all."""
    if not is_open(world, "stable_pool"):
        return
    place = world.some("stable_pool", 0.6)
    ether = world.amount(2.5, 0.9)
    who = yield from someone(world, ether * 1.2)
    only = int(world.rng.integers(len(place.tokens))) if world.chance(0.4) else -1
    amounts = []
    for index, coin in enumerate(place.tokens):
        part = ether if index == only else 0.0 if only >= 0 else ether / len(place.tokens)
        amount = 0
        if part > 0:
            amount = yield from get(world, who, coin, part)
        amounts.append(amount)
    yield from add(world, who, place, amounts, _LIQUIDITY)
    if world.chance(0.6):
        yield from wait(world, 60)
        share = world.view("stable_pool", place.address, "balanceOf", who.address)
        call: tuple[Any, ...] = ("remove_liquidity", share, [0] * len(place.tokens))
        if world.chance(0.4):
            call = ("remove_liquidity_one_coin", share, int(world.rng.integers(len(place.tokens))), 0)
        yield send(who, "stable_pool", place.address, *call, tag=_LIQUIDITY)


def automatic_provider(world: World) -> Session:
    """A contract that provides ether and, when it leaves, reacts to the ether that it is paid."""
    if not is_open(world, "stable_pool"):
        return
    places = [p for p in world.places["stable_pool"] if p.tokens[0].kind == "native"]
    place: Place = world.pick(places)
    who = yield from someone(world, 4.0)
    runner = yield from executor_of(world, who)
    wei = int(min(world.amount(1.5, 0.7), 3.4) * ETH)
    put = [step("stable_pool", place.address, "add_liquidity", [wei, 0], 0, value=wei)]
    yield send(who, "executor", runner.address, "run", as_tuples(put), value=wei, tag=_AUTOMATION)
    yield from wait(world, 40)
    share = world.view("stable_pool", place.address, "balanceOf", runner.address)
    if share == 0:
        return
    target, data, value = _on_ether(world, who, place, wei // 10)
    arm = ("onReceive", target, data, value, 1)
    leave = step("stable_pool", place.address, "remove_liquidity", share, [0, 0])
    steps = [leave, step("token", place.tokens[1].address, "balanceOf", runner.address)]
    if world.chance(0.5):
        yield send(who, "executor", runner.address, *arm, tag=_AUTOMATION)
    else:
        steps.insert(0, step("executor", runner.address, *arm))
    yield send(who, "executor", runner.address, "run", as_tuples(steps), tag=_AUTOMATION)


def _on_ether(world: World, who: Account, place: Place, wei: int) -> tuple[bytes, bytes, int]:
    """Return what to call on the receipt of ether: wrap it, bank it, look at the price, or reinvest."""
    draw = world.rng.random()
    if draw < 0.35:
        return world.weth.address, contract("weth").data("deposit"), wei
    if draw < 0.6:
        return world.some("bank", 0.5).address, contract("bank").data("depositFor", who.address), wei
    if draw < 0.8:
        return place.address, contract("stable_pool").data("get_virtual_price"), 0
    others = [p for p in world.places["stable_pool"] if p.tokens[0].kind == "native" and p is not place]
    if not others:
        return place.address, contract("stable_pool").data("get_dy", 0, 1, wei), 0
    return world.pick(others).address, contract("stable_pool").data("add_liquidity", [wei, 0], 0), wei


def new_pool(world: World) -> Session:
    """A team opens a pool of two dollars or of ether and a staked ether."""
    if not is_open(world, "stable_pool"):
        return
    ether = world.amount(45.0, 0.4)
    who = yield from someone(world, ether * 3, fresh=0.4)
    template: Place = world.pick(world.places["stable_pool"][:5])
    for coin in template.tokens:
        yield from get(world, who, coin, ether * 1.05)
    parts = tuple(ether * (0.7 + 0.25 * world.rng.random()) for _ in template.tokens)
    held = tuple(
        min(part, held_of(world, who, coin) * coin.price / 10**coin.decimals)
        for part, coin in zip(parts, template.tokens, strict=True)
    )
    yield from open_pool(world, who, template.tokens, held, int(world.rng.integers(20, 120)))


HABITS = (
    (0.7, stable_swap),
    (0.25, whale),
    (0.5, arbitrage),
    (0.35, provide),
    (0.3, automatic_provider),
    (0.1, new_pool),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("large_stable_swap", "lp_automation")
