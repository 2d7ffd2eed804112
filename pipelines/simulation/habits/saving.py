"""Lending, vaults, banks and reward pools: putting money away, taking it back, borrowing against it."""

from __future__ import annotations

from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import open_market, open_vault
from pipelines.simulation.world import (
    ETH,
    FOREVER,
    Part,
    Place,
    Send,
    Session,
    Tag,
    World,
    allow,
    deploy,
    obtain,
    send,
    someone,
    step,
)

_LENDING = Tag(kind="lending")
_VAULT = Tag(kind="vault")
_BANK = Tag(kind="bank")
_REWARDS = Tag(kind="rewards")


def wait(world: World, longest: int) -> Part:
    """Let some turns pass."""
    for _ in range(int(world.rng.integers(longest))):
        yield None


def lend(world: World) -> Session:
    """Supply a market's debt token; perhaps redeem it later."""
    place = world.some("market", 0.6)
    debt = place.tokens[1]
    ether = world.amount(4.0, 0.9)
    who = yield from someone(world, ether)
    got = yield from obtain(world, who, debt, ether)
    yield from allow(world, who, debt, place.address, got)
    yield send(who, "market", place.address, "supply", got, tag=_LENDING)
    if world.chance(0.4):
        yield from wait(world, 60)
        share = world.view("market", place.address, "shares", who.address)
        yield send(who, "market", place.address, "redeem", share, tag=_LENDING)


def borrow(world: World) -> Session:
    """Deposit collateral, borrow against it, sometimes up to the limit; perhaps repay."""
    place = world.some("market", 0.6)
    collateral, debt = place.tokens
    ether = world.amount(2.0, 0.8)
    who = yield from someone(world, ether)
    got = yield from obtain(world, who, collateral, ether)
    yield from allow(world, who, collateral, place.address, got)
    yield send(who, "market", place.address, "deposit", got, tag=_LENDING)
    limit = world.view("market", place.address, "limit", who.address)
    share = 0.995 if world.chance(0.5) else 0.3 + 0.5 * world.rng.random()
    amount = min(int(limit * share), world.view("market", place.address, "cash"))
    yield send(who, "market", place.address, "borrow", amount, tag=_LENDING)
    world.borrowers.setdefault(place.address, []).append(who.address)
    if world.chance(0.45):
        yield from wait(world, 80)
        yield from allow(world, who, debt, place.address, FOREVER // 2)
        yield send(who, "market", place.address, "repay", who.address, amount, tag=_LENDING)
        yield send(who, "market", place.address, "withdraw", got, tag=_LENDING)


def new_market(world: World) -> Session:
    """A team opens another lending market."""
    collateral = world.tokens[3 + int(world.rng.integers(len(world.tokens) - 3))]
    if collateral.kind == "fee_token":
        return
    ether = world.amount(90.0, 0.4)
    who = yield from someone(world, ether * 2, fresh=0.5)
    yield from open_market(world, who, collateral, world.weth, ether)


def save_in_vault(world: World) -> Session:
    """Deposit into a vault, a young one now and then; perhaps redeem."""
    places = world.places["vault"]
    place: Place = places[-1] if world.chance(0.2) else world.some("vault", 0.7)
    token = place.tokens[0]
    ether = world.amount(2.0, 1.0)
    who = yield from someone(world, ether)
    got = yield from obtain(world, who, token, ether)
    yield from allow(world, who, token, place.address, got)
    yield send(who, "vault", place.address, "deposit", got, who.address, tag=_VAULT)
    if world.chance(0.55):
        yield from wait(world, 70)
        share = world.view("vault", place.address, "balanceOf", who.address)
        yield send(who, "vault", place.address, "redeem", share, who.address, who.address, tag=_VAULT)


def harvest(world: World) -> Session:
    """A strategist hands yield to a vault by sending it tokens."""
    place = world.some("vault", 0.5)
    token = place.tokens[0]
    if world.view("vault", place.address, "totalSupply") == 0:
        return
    got = yield from obtain(world, place.owner, token, world.amount(0.5, 0.8))
    yield send(place.owner, "token", token.address, "transfer", place.address, got, tag=_VAULT)


def new_vault(world: World) -> Session:
    """A team opens a vault, tries it with a tiny deposit, then waits for savers."""
    who = yield from someone(world, 12.0, fresh=0.5)
    token = world.tokens[world.zipf(len(world.tokens))]
    if token.kind == "fee_token":
        return
    place = yield from open_vault(world, who, token, seeded=0.4)
    if world.chance(0.5) and world.view("vault", place.address, "totalSupply") == 0:
        got = yield from obtain(world, who, token, 0.02)
        yield from allow(world, who, token, place.address, got)
        tiny = int(world.rng.integers(1, 2000))
        yield send(who, "vault", place.address, "deposit", tiny, who.address, tag=_VAULT)
        yield from wait(world, 30)
        yield send(who, "vault", place.address, "redeem", tiny, who.address, who.address, tag=_VAULT)


def bank(world: World) -> Session:
    """Deposit ether and take some or all of it back, in one go or several."""
    place = world.places["bank"][-1] if world.chance(0.2) else world.some("bank", 0.6)
    ether = world.amount(3.0, 1.0)
    who = yield from someone(world, ether)
    wei = int(ether * ETH)
    if world.chance(0.2):
        yield Send(who, place.address, value=wei, tag=_BANK)
    elif world.chance(0.1):
        friend = world.visitor().address
        yield send(who, "bank", place.address, "depositFor", friend, value=wei, tag=_BANK)
        return
    else:
        yield send(who, "bank", place.address, "deposit", value=wei, tag=_BANK)
    parts = int(world.rng.integers(0, 3))
    for part in range(parts):
        yield from wait(world, 50)
        amount = wei if part == parts - 1 else wei // 3
        wei -= amount
        yield send(who, "bank", place.address, "withdraw", amount, tag=_BANK)


def new_bank(world: World) -> Session:
    """Somebody opens another bank or reward pool."""
    who = yield from someone(world, 0.6, fresh=0.5)
    kind = "bank" if world.chance(0.65) else "rewards"
    place = yield from deploy(world, who, kind)
    if kind == "bank":
        yield send(who, kind, place.address, "deposit", value=ETH // 10, tag=_BANK)


def rewards(world: World) -> Session:
    """Stake, wait for rewards, claim, unstake."""
    place = world.places["rewards"][-1] if world.chance(0.2) else world.some("rewards", 0.5)
    ether = world.amount(2.5, 0.9)
    who = yield from someone(world, ether)
    wei = int(ether * ETH)
    yield send(who, "rewards", place.address, "stake", value=wei, tag=_REWARDS)
    if world.chance(0.5):
        yield from wait(world, 60)
        yield send(who, "rewards", place.address, "getReward", tag=_REWARDS)
    if world.chance(0.5):
        yield from wait(world, 40)
        yield send(who, "rewards", place.address, "unstake", wei, tag=_REWARDS)


def notify_rewards(world: World) -> Session:
    """The pool's owner pays in the period's rewards."""
    place = world.some("rewards", 0.5)
    wei = int(world.amount(1.5, 0.6) * ETH)
    yield send(place.owner, "rewards", place.address, "notifyReward", value=wei, tag=_REWARDS)


def reacting_contract(world: World) -> Session:
    """A contract that passes on whatever ether it receives: withdrawals from a bank go straight on."""
    who = yield from someone(world, 3.0)
    runner = yield from executor_of(world, who)
    place = world.some("bank", 0.5)
    wei = int(min(world.amount(1.0, 0.6), 2.0) * ETH)
    automation = Tag(kind="automation")
    onward, data = world.weth.address, contract("weth").data("deposit")
    if world.chance(0.5):
        onward, data = world.some("bank", 0.5).address, contract("bank").data("depositFor", who.address)
    times = int(world.rng.integers(1, 4))
    part = wei // times
    yield send(who, "executor", runner.address, "onReceive", onward, data, part, times, tag=automation)
    steps = [step("bank", place.address, "deposit", value=part * times)]
    steps += [step("bank", place.address, "withdraw", part)] * times
    yield send(who, "executor", runner.address, "run", as_tuples(steps), value=part * times, tag=automation)


def executor_of(world: World, who: Account) -> Part:
    """Return an executor that `who` owns, deploying one if need be."""
    for place in world.places.get("executor", []):
        if place.owner is who:
            return place
    place = yield from deploy(world, who, "executor")
    return place


def as_tuples(steps: list[Step]) -> list[tuple[bytes, int, bytes]]:
    """Return steps as the executor's `run` takes them."""
    return [(step.target, step.value, step.data) for step in steps]


HABITS = (
    (0.6, lend),
    (1.5, borrow),
    (0.05, new_market),
    (0.9, save_in_vault),
    (0.25, harvest),
    (0.35, new_vault),
    (1.1, bank),
    (0.25, new_bank),
    (0.7, rewards),
    (0.2, notify_rewards),
    (0.8, reacting_contract),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("automation",)
