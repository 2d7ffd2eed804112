"""Searchers and power users: arbitrage with flash loans, liquidations, many calls in one."""

from __future__ import annotations

from itertools import pairwise

from eth_abi.abi import encode

from pipelines.simulation.bytecode import SELF, Step, script_code
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.saving import as_tuples, executor_of
from pipelines.simulation.habits.trading import sell
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
    obtain,
    send,
    someone,
    step,
)

_ARBITRAGE = Tag(kind="flash_arbitrage")
_LIQUIDATION = Tag(kind="liquidation")
_MULTICALL = Tag(kind="multicall")
_DEPLOYMENT = Tag(kind="deployment")


def encode_steps(steps: list[Step]) -> bytes:
    """Encode steps as the data of a flash loan or flash swap to an executor."""
    return encode(["(address,uint256,bytes)[]"], [as_tuples(steps)])


def cycles(world: World) -> list[list[Token]]:
    """Return the closed paths over WETH, a hub token and a third token that have all three pools."""
    found = []
    for hub in world.tokens[1:4]:
        for third in world.tokens[1:8]:
            if hub is not third and world.pair(hub, third) is not None:
                found.append([world.weth, hub, third, world.weth])
                found.append([world.weth, third, hub, world.weth])
    return found


def best_cycle(world: World) -> tuple[list[Token], int, int]:
    """Return the most profitable cycle now, the stake in wei, and the gain (may be negative)."""
    best: tuple[list[Token], int, int] = ([], 0, -FOREVER)
    for path in cycles(world):
        pools = [world.reserves(a, b) for a, b in pairwise(path)]
        for stake in (ETH // 5, ETH, 4 * ETH, 15 * ETH, 40 * ETH):
            amount = stake
            for reserve_in, reserve_out in pools:
                amount = amount * 997 * reserve_out // (reserve_in * 1000 + amount * 997)
            if amount - stake > best[2]:
                best = (path, stake, amount - stake)
    return best


def swap_steps(world: World, path: list[Token], amount: int, to: bytes) -> list[Step]:
    """Return the steps that swap along `path` through the router, each hop's output being exact."""
    router = world.the("router").address
    addresses = [token.address for token in path]
    approve = step("token", path[0].address, "approve", router, FOREVER)
    swap = step("router", router, "swapExactTokensForTokens", amount, 1, addresses, to, DEADLINE)
    return [approve, swap]


def arbitrage(world: World) -> Session:
    """Take out a price difference around a triangle; with a flash loan, a flash swap or own money."""
    path, stake, gain = best_cycle(world)
    if gain < ETH // 2000:
        if not world.chance(0.3):
            return
        stake = ETH // 5
    who, runner = yield from searcher(world)
    steps = swap_steps(world, path, stake, runner.address)
    lender = world.pick(world.places["flash_lender"]).address
    fee = 0 if lender == world.places["flash_lender"][1].address else stake * 9 // 10_000
    if gain <= fee:
        top_up = step("weth", world.weth.address, "deposit", value=stake // 50 + fee)
        steps.insert(0, top_up)
    value = sum(s.value for s in steps)
    if world.chance(0.4):
        yield from scripted_arbitrage(world, who, lender, path, stake)
        return
    call = ("flash", lender, world.weth.address, stake, encode_steps(steps))
    yield send(who, "executor", runner.address, *call, value=value, tag=_ARBITRAGE)
    if world.chance(0.3):
        held = world.held(world.weth, runner.address)
        home = [step("weth", world.weth.address, "transfer", who.address, held)]
        yield send(who, "executor", runner.address, "run", as_tuples(home), tag=Tag(kind="automation"))


def scripted_arbitrage(world: World, who: Account, lender: bytes, path: list[Token], stake: int) -> Part:
    """Do it with a contract written for this one trade: deploy it, give it the fee, call it."""
    weth, router = world.weth.address, world.the("router").address
    top_up = stake // 40
    addresses = [token.address for token in path]
    inner = [
        step("token", weth, "approve", router, stake),
        step("router", router, "swapExactTokensForTokens", stake, 1, addresses, SELF, DEADLINE),
        step("token", weth, "approve", lender, stake + top_up),
    ]
    outer = [
        step("weth", weth, "deposit", value=top_up),
        step("flash_lender", lender, "flashLoan", SELF, weth, stake, b""),
    ]
    selector = world.rng.bytes(4)
    receipt = yield Send(who, None, script_code(selector, outer, inner), tag=_DEPLOYMENT)
    yield Send(who, receipt.made, selector, value=top_up, tag=_ARBITRAGE)


def searcher(world: World) -> Part:
    """Return a searcher and his executor; new searchers turn up, some with a fresh account."""
    if world.chance(0.25):
        who = yield from someone(world, 3.0, fresh=0.5)
        world.searchers.append(who)
    else:
        who = world.searchers[world.zipf(len(world.searchers), 0.8)]
    if world.chance(0.3):
        place = yield from deploy_executor(world, who)
    else:
        place = yield from executor_of(world, who)
    return who, place


def deploy_executor(world: World, who: Account) -> Part:
    """Deploy another executor for `who`; return its Place."""
    receipt = yield Send(who, None, contract("executor").create(), tag=_DEPLOYMENT)
    return world.add(Place("executor", receipt.made, who))


def liquidation(world: World) -> Session:
    """Liquidate an unhealthy borrower with own money or a flash loan."""
    found = unhealthy(world)
    if found is None:
        yield from squeeze(world)
        found = unhealthy(world)
    if found is None:
        return
    place, account, debt = found
    collateral, token = place.tokens
    who, runner = yield from searcher(world)
    if world.chance(0.4) or token is not world.weth:
        price = token.price * 10**-token.decimals
        if debt * price > 80:
            return
        yield from obtain(world, who, token, debt * price * 1.05 + 0.01)
        yield from allow(world, who, token, place.address, debt)
        yield send(who, "market", place.address, "liquidate", account, debt, tag=_LIQUIDATION)
        return
    before = [
        step("token", token.address, "approve", place.address, FOREVER),
        step("market", place.address, "liquidate", account, debt),
    ]
    value = world.view("market", place.address, "price")
    seized = min(debt * 108 // 100 * ETH // value, world.view("market", place.address, "collateral", account))
    steps = before + swap_steps(world, [collateral, token], seized, runner.address)
    lender = world.pick(world.places["flash_lender"]).address
    top_up = int(debt * 0.04)
    steps.insert(0, step("weth", world.weth.address, "deposit", value=top_up))
    call = ("flash", lender, token.address, debt, encode_steps(steps))
    yield send(who, "executor", runner.address, *call, value=top_up, tag=_LIQUIDATION)


def squeeze(world: World) -> Part:
    """A large holder sells a collateral token until the borrower nearest to his limit is beyond it."""
    riskiest: tuple[float, Place] | None = None
    for place in world.places["market"]:
        for account in world.borrowers.get(place.address, []):
            limit = world.view("market", place.address, "limit", account)
            ratio = world.view("market", place.address, "debt", account) / max(1, limit)
            if place.tokens[1] is world.weth and (riskiest is None or ratio > riskiest[0]):
                riskiest = (ratio, place)
    if riskiest is None or riskiest[0] < 0.55:
        return
    collateral = riskiest[1].tokens[0]
    reserve = world.reserves(collateral, world.weth)[0]
    amount = int(reserve * (riskiest[0] ** -0.5 - 1 + 0.02 + 0.08 * world.rng.random()))
    seller = collateral.maker
    if world.held(collateral, seller.address) >= amount:
        yield from sell(world, seller, [collateral, world.weth], amount, Tag(kind="large_swap"))


def unhealthy(world: World) -> tuple[Place, bytes, int] | None:
    """Return a market, a borrower beyond his limit and his debt, if there is one."""
    for place in world.places["market"]:
        for account in world.borrowers.get(place.address, []):
            debt = world.view("market", place.address, "debt", account)
            if debt > world.view("market", place.address, "limit", account):
                return place, account, debt
    return None


def many_reads(world: World) -> Session:
    """Read balances, reserves and prices of many contracts in one transaction, as dashboards do."""
    who = yield from someone(world, 0.3)
    count = min(150, 3 + int(world.amount(16.0, 1.0)))
    calls = []
    for _ in range(count):
        token = world.token()
        if world.chance(0.3) and token is not world.weth:
            calls.append((world.pair(token, world.weth), contract("pair").data("getReserves")))
        elif world.chance(0.2):
            path = [token.address, (world.tokens[1] if token is world.weth else world.weth).address]
            data = contract("router").data("getAmountsOut", 10**token.decimals, path)
            calls.append((world.the("router").address, data))
        else:
            data = contract("token").data("balanceOf", world.visitor().address)
            calls.append((token.address, data))
    place = world.the("multicall").address
    if count <= 64 and world.chance(0.5):
        call3 = [(target, world.chance(0.3), data) for target, data in calls]
        yield send(who, "multicall", place, "aggregate3", call3, tag=_MULTICALL)
    else:
        yield send(who, "multicall", place, "aggregate", calls, tag=_MULTICALL)


def many_steps(world: World) -> Session:
    """A power user does several things at once through a contract: wrap, swap, lend, save, look."""
    who = yield from someone(world, 4.0, fresh=0.3)
    scripted = world.chance(0.5)
    runner = None
    if not scripted:
        runner = yield from executor_of(world, who)
    me = SELF if runner is None else runner.address
    wei = int(min(world.amount(1.0, 0.6), 3.0) * ETH)
    weth = world.weth
    steps = [step("weth", weth.address, "deposit", value=wei)]
    token = world.token(start=1)
    if world.chance(0.7):
        steps += swap_steps(world, [weth, token], wei // 3, me)
    if world.chance(0.5):
        place = world.pick([p for p in world.places["market"] if p.tokens[1] is weth])
        steps.append(step("token", weth.address, "approve", place.address, wei // 3))
        steps.append(step("market", place.address, "supply", wei // 3))
    if world.chance(0.5):
        place = world.pick([p for p in world.places["vault"] if p.tokens[0] is weth])
        steps.append(step("token", weth.address, "approve", place.address, wei // 4))
        steps.append(step("vault", place.address, "deposit", wei // 4, me))
    for _ in range(int(world.rng.integers(0, 4))):
        seen = world.token()
        steps.append(step("token", seen.address, "balanceOf", me))
    if runner is None:
        selector = world.rng.bytes(4)
        receipt = yield Send(who, None, script_code(selector, steps), tag=_DEPLOYMENT)
        yield Send(who, receipt.made, selector, value=wei, tag=_MULTICALL)
        return
    yield send(who, "executor", runner.address, "run", as_tuples(steps), value=wei, tag=_MULTICALL)


HABITS = (
    (4.5, arbitrage),
    (3.2, liquidation),
    (0.8, many_reads),
    (7.5, many_steps),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("flash_arbitrage", "liquidation", "multicall")
