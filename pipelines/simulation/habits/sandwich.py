"""Sandwichers: a searcher buys before and sells after somebody's large swap."""

from __future__ import annotations

from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import searcher
from pipelines.simulation.habits.saving import as_tuples
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    Place,
    Send,
    Session,
    Tag,
    Token,
    World,
    allow,
    amount_out,
    send,
    someone,
    step,
)

_GREY = Tag("grey", kind="sandwich")
_VICTIM = Tag(kind="large_swap")
_RESERVE = ETH


def sandwich(world: World) -> Session:
    """Put a purchase before and a sale after the swap of somebody who tolerates much slippage."""
    token = world.token(0.6, start=1)
    if token.kind not in ("token", "proxy_token"):
        return
    depth = world.reserves(world.weth, token)[0]
    wei = int(depth * (0.02 + 0.06 * world.rng.random()))
    victim = yield from someone(world, wei / ETH * 1.05, fresh=0.5)
    who, runner = yield from searcher(world)
    stake = min(int(depth * (0.01 + 0.05 * world.rng.random())), world.ether(who.address) - 2 * _RESERVE)
    if stake < ETH // 10 or world.pair(token, world.weth) is None:
        return
    by_hand = world.chance(0.3)
    if by_hand:
        yield from allow(world, who, token, world.the("router").address, 2**200)
    if stake > world.ether(who.address) - _RESERVE:
        return
    bought = world.quote([world.weth, token], stake)
    buy = _buy(world, who, runner, token, stake, by_hand=by_hand)
    if not world.engine.call(buy.sender.address, buy.to, buy.data, buy.value).ok:
        return
    yield buy
    path = [world.weth.address, token.address]
    call = ("swapExactETHForTokens", 1, path, victim.address, DEADLINE)
    yield send(victim, "router", world.the("router").address, *call, value=wei, tag=_VICTIM)
    holder = who.address if by_hand else runner.address
    bought = min(bought, world.held(token, holder))
    if bought > 0 and world.ether(who.address) > _RESERVE // 4:
        sale = _sell(world, who, runner, token, bought, by_hand=by_hand)
        if world.engine.call(sale.sender.address, sale.to, sale.data, 0).ok:
            yield sale


def _buy(world: World, who: Account, runner: Place, token: Token, stake: int, *, by_hand: bool) -> Send:
    if by_hand:
        path = [world.weth.address, token.address]
        call = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
        return send(who, "router", world.the("router").address, *call, value=stake, tag=_GREY)
    weth = world.weth.address
    pair = world.pair(token, world.weth) or b""
    out = world.quote([world.weth, token], stake)
    amounts = (out, 0) if token.address < weth else (0, out)
    steps = [
        step("weth", weth, "deposit", value=stake),
        step("token", weth, "transfer", pair, stake),
        step("pair", pair, "swap", *amounts, runner.address, b""),
    ]
    return send(who, "executor", runner.address, "run", as_tuples(steps), value=stake, tag=_GREY)


def _sell(world: World, who: Account, runner: Place, token: Token, amount: int, *, by_hand: bool) -> Send:
    weth = world.weth.address
    if by_hand:
        call = ("swapExactTokensForETH", amount, 1, [token.address, weth], who.address, DEADLINE)
        return send(who, "router", world.the("router").address, *call, tag=_GREY)
    pair = world.pair(token, world.weth) or b""
    mine, theirs = world.reserves(token, world.weth)
    out = amount_out(amount, mine, theirs)
    amounts = (0, out) if token.address < weth else (out, 0)
    steps = [
        step("token", token.address, "transfer", pair, amount),
        step("pair", pair, "swap", *amounts, runner.address, b""),
    ]
    if world.chance(0.5):
        steps.append(step("weth", weth, "transfer", who.address, out))
    return send(who, "executor", runner.address, "run", as_tuples(steps), tag=_GREY)


HABITS = ((0.3, sandwich),)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ()
