"""Transactions that fail, as about one in twenty on a real chain does."""

from __future__ import annotations

from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import best_cycle, encode_steps, searcher, swap_steps
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    Send,
    Session,
    Tag,
    World,
    newcomer,
    obtain,
    send,
    someone,
)

_SWAP = Tag(kind="swap")


def mistake(world: World) -> Session:
    """One of many ways to get it wrong."""
    who = yield from someone(world, 1.0, fresh=0.3)
    draw = int(world.rng.integers(8))
    if draw < 2:
        yield _impatient_swap(world, who, late=draw == 0)
    elif draw == 2:
        place = world.some("bank")
        yield _fail(send(who, "bank", place.address, "withdraw", ETH, tag=Tag(kind="bank")))
    elif draw == 3:
        token = world.token()
        amount = world.held(token, who.address) + token.units(0.5)
        yield _fail(
            send(
                who,
                "token",
                token.address,
                "transfer",
                world.visitor().address,
                amount,
                tag=Tag(kind="token_transfer"),
            )
        )
    elif draw == 4:
        place = world.some("sale")
        yield _fail(send(who, "sale", place.address, "mint", 1, value=10**15, tag=Tag(kind="nft")))
    elif draw == 5:
        yield from _out_of_gas(world, who)
    elif draw == 6:
        yield from _late_arbitrage(world)
    else:
        place = world.some("market", 0.5)
        yield _fail(send(who, "market", place.address, "borrow", ETH, tag=Tag(kind="lending")))


def _fail(wanted: Send) -> Send:
    return Send(wanted.sender, wanted.to, wanted.data, wanted.value, wanted.tag, fails="revert")


def _impatient_swap(world: World, who: Account, *, late: bool) -> Send:
    """A swap whose price has moved away or whose deadline has passed."""
    token = world.token(start=1)
    wei = int(min(world.amount(0.3, 0.6), 0.9) * ETH)
    least = world.quote([world.weth, token], wei) * int(world.rng.integers(1005, 1100)) // 1000
    deadline = 1_690_000_000 if late else DEADLINE
    path = [world.weth.address, token.address]
    call = ("swapExactETHForTokens", least, path, who.address, deadline)
    return _fail(send(who, "router", world.the("router").address, *call, value=wei, tag=_SWAP))


def _out_of_gas(world: World, who: Account) -> Session:
    token = world.token(start=1)
    path = [world.weth.address, token.address]
    call = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    wanted = send(who, "router", world.the("router").address, *call, value=ETH // 10, tag=_SWAP)
    yield Send(wanted.sender, wanted.to, wanted.data, wanted.value, wanted.tag, fails="gas")


def _late_arbitrage(world: World) -> Session:
    """A searcher's flash loan that finds the price difference gone and cannot be paid back."""
    path, stake, _ = best_cycle(world)
    who, runner = yield from searcher(world)
    steps = swap_steps(world, path[::-1], stake, runner.address)
    lender = world.places["flash_lender"][0].address
    call = ("flash", lender, world.weth.address, stake, encode_steps(steps))
    yield _fail(send(who, "executor", runner.address, *call, tag=Tag(kind="flash_arbitrage")))


def retry(world: World) -> Session:
    """Too little gas first, then again with enough."""
    who = yield from newcomer(world, 1.0)
    yield from _out_of_gas(world, who)
    token = world.token(start=1)
    yield from obtain(world, who, token, 0.1)


HABITS = (
    (20.0, mistake),
    (1.5, retry),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ()
