"""Trading on the pools: swaps of all sizes, liquidity, new listings, the aggregator."""

from __future__ import annotations

from itertools import pairwise

from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import list_token
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    Part,
    Session,
    Tag,
    Token,
    World,
    allow,
    obtain,
    send,
    someone,
)

_REGULARS = "sellers"
"""Notes: (account, token) of those who have sold a token through the router."""
SWAP = Tag(kind="swap")
_LARGE = Tag(kind="large_swap")
_LIQUIDITY = Tag(kind="liquidity")
_APPROVAL = Tag(kind="approval")


def route(world: World) -> list[Token]:
    """Choose a path of one to three pools between two tokens other than WETH-first."""
    a = world.token(start=1)
    b = world.token(start=1)
    if a is b:
        return [a, world.weth]
    if world.pair(a, b) is not None and world.chance(0.6):
        return [a, b]
    path = [a, world.weth, b]
    hub = world.tokens[1]
    if hub not in path and world.chance(0.3) and world.pair(hub, b) is not None:
        path = [a, world.weth, hub, b]
    return path


def sell(world: World, who: Account, path: list[Token], amount: int, tag: Tag) -> Part:
    """Sell `amount` of path[0] through the router, approving it first if need be."""
    router = world.the("router").address
    yield from allow(world, who, path[0], router, amount, _APPROVAL if tag.label == "benign" else tag)
    addresses = [token.address for token in path]
    least = world.quote(path, amount) * int(world.rng.integers(940, 996)) // 1000 if world.chance(0.85) else 1
    deadline = DEADLINE if world.chance(0.5) else DEADLINE + int(world.rng.integers(10**6))
    name = "swapExactTokensForTokens"
    if path[0].kind == "fee_token":
        name, least = "swapExactTokensForTokensSupportingFeeOnTransferTokens", least * 9 // 10
    elif path[-1] is world.weth:
        name = "swapExactTokensForETH"
    call = (name, amount, least, addresses, who.address, deadline)
    yield send(who, "router", router, *call, tag=tag)


def buy_with_ether(world: World) -> Session:
    """Swap ether for a token, sometimes through a second pool; half of the buyers trade all the time."""
    ether = world.amount(0.35, 1.1)
    regulars = world.notes.get(_REGULARS, [])
    who, _ = regulars[int(world.rng.integers(len(regulars)))] if regulars else (None, None)
    if who is None or world.chance(0.5) or world.ether(who.address) < int((ether + 0.05) * ETH):
        who = yield from someone(world, ether)
    token = world.token(start=1)
    path = [world.weth, token]
    if world.chance(0.25) and token is not world.tokens[1] and world.pair(world.tokens[1], token) is not None:
        path = [world.weth, world.tokens[1], token]
    wei = int(ether * ETH)
    least = world.quote(path, wei) * int(world.rng.integers(930, 996)) // 1000 if world.chance(0.85) else 1
    call = ("swapExactETHForTokens", least, [t.address for t in path], who.address, DEADLINE)
    yield send(who, "router", world.the("router").address, *call, value=wei, tag=SWAP)


def swap_tokens(world: World) -> Session:
    """Swap a token that was bought before, wholly or in part; most sellers have sold it before."""
    path = route(world)
    regulars = world.notes.setdefault(_REGULARS, [])
    if regulars and world.chance(0.7):
        who, token = regulars[int(world.rng.integers(len(regulars)))]
        path = [token, world.weth] if token in path[1:] else [token, *path[1:]]
        if any(world.pair(a, b) is None for a, b in pairwise(path)):
            path = [token, world.weth]
    else:
        who = yield from someone(world, 1.2, fresh=0.25)
        regulars.append((who, path[0]))
    held = world.held(path[0], who.address)
    if held < path[0].units(0.01):
        held = yield from obtain(world, who, path[0], min(world.amount(0.4, 0.7), 1.0))
    amount = held if world.chance(0.5) else int(held * (0.2 + 0.7 * world.rng.random()))
    yield from sell(world, who, path, amount, SWAP)


def large_swap(world: World) -> Session:
    """A wealthy trader moves a pool by several percent, some of them in and out again."""
    token = world.token(0.6, start=1)
    depth = world.reserves(world.weth, token)[0] / ETH
    ether = depth * (0.04 + 0.25 * world.rng.random())
    who = world.exchanges[-1 - int(world.rng.integers(3))] if world.chance(0.3) else world.account()
    if who not in world.exchanges:
        who = yield from someone(world, ether, fresh=0.8)
    bought = yield from obtain(world, who, token, ether, _LARGE)
    if world.chance(0.6):
        for _ in range(int(world.rng.integers(0, 12))):
            yield None
        yield from sell(world, who, [token, world.weth], bought * 99 // 100, _LARGE)


def provide_liquidity(world: World) -> Session:
    """Add liquidity to a pool against ether; often take it out later."""
    ether = world.amount(1.5, 0.8)
    who = yield from someone(world, ether * 2.2)
    token = world.token(start=1)
    if token.kind == "fee_token":
        return
    router = world.the("router").address
    got = yield from obtain(world, who, token, ether)
    yield from allow(world, who, token, router, got)
    call = ("addLiquidityETH", token.address, got, 0, 0, who.address, DEADLINE)
    yield send(who, "router", router, *call, value=int(ether * ETH), tag=_LIQUIDITY)
    if world.chance(0.4):
        return
    for _ in range(int(world.rng.integers(3, 40))):
        yield None
    pair = world.pair(token, world.weth) or b""
    share = world.view("pair", pair, "balanceOf", who.address)
    yield send(who, "pair", pair, "approve", router, share, tag=_APPROVAL)
    leave = ("removeLiquidity", token.address, world.weth.address, share, 0, 0, who.address, DEADLINE)
    yield send(who, "router", router, *leave, tag=_LIQUIDITY)


def new_listing(world: World) -> Session:
    """Somebody launches a token with a pool of its own; traders find it through the token list."""
    ether = world.amount(35.0, 0.6) + 5
    who = yield from someone(world, ether + 0.3, fresh=0.6)
    decimals = int(world.pick((6, 9, 18, 18, 18)))
    kind = "proxy_token" if world.chance(0.4) else "token"
    price = float(f"{10 ** world.rng.uniform(-5, -1):.2g}")
    yield from list_token(world, who, decimals if kind == "token" else 18, price, kind, ether)


def aggregated_swap(world: World) -> Session:
    """Approve an aggregator without a limit and swap through it; the approval stays."""
    place = world.some("aggregator")
    path = route(world)
    if path[0].kind == "fee_token" or path[-1].kind == "fee_token":
        return
    who = yield from someone(world, 1.5, fresh=0.3)
    held = world.held(path[0], who.address)
    if held < path[0].units(0.05):
        held = yield from obtain(world, who, path[0], min(world.amount(0.7, 0.6), 1.3))
    amount = int(held * (0.15 + 0.6 * world.rng.random()))
    yield from allow(world, who, path[0], place.address, amount)
    least = world.quote(path, amount) * 97 // 100
    addresses = [token.address for token in path]
    inner = contract("router").data(
        "swapExactTokensForTokens", amount, least, addresses, place.address, DEADLINE
    )
    call = ("swap", path[0].address, path[-1].address, amount, least, world.the("router").address, inner)
    yield send(who, "aggregator", place.address, *call, tag=SWAP)


HABITS = (
    (31.0, buy_with_ether),
    (6.0, swap_tokens),
    (1.8, large_swap),
    (0.7, provide_liquidity),
    (0.3, new_listing),
    (1.6, aggregated_swap),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("large_swap",)
