"""Credit desks: deposits, leverage in sub-accounts, borrowing across assets, discounted liquidations."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.simulation.bytecode import SELF, script_code
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import searcher
from pipelines.simulation.habits.lending_pools import sample
from pipelines.simulation.habits.odd_tokens import bought
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
    send,
    someone,
    step,
)

_SETUP = Tag(kind="deployment")
_CREDIT = Tag(kind="credit")
_LEVERED = Tag(kind="levered_deposit")
_PARAMETER = Tag(kind="parameter_change")


@dataclass
class Desk:
    """A credit contract with its oracle; `borrowers` is what its events tell."""

    place: Place
    oracle: bytes
    borrowers: list[tuple[bytes, Token, Token]] = field(default_factory=list)
    """(account, collateral, debt)."""


def desks(world: World) -> list[Desk]:
    """Return the credit desks, oldest first."""
    return world.notes["credit_desks"]


def sub_account(owner: bytes, number: int) -> bytes:
    """Return the address of one of the 256 sub-accounts of an owner."""
    return owner[:-1] + bytes((owner[-1] ^ number,))


def balance(world: World, desk: Desk, token: Token, account: bytes) -> int:
    """Return a deposit in base units."""
    return int(world.view("credit", desk.place.address, "balanceOf", token.address, account))


def debt(world: World, desk: Desk, token: Token, account: bytes) -> int:
    """Return a debt in base units."""
    return int(world.view("credit", desk.place.address, "debtOf", token.address, account))


def found(world: World, founders: list[Account]) -> Part:
    """Open three desks."""
    world.notes["credit_desks"] = []
    for indices in ((1, 3), (1, 4), (2,)):
        yield from open_desk(world, world.pick(founders), [world.tokens[i] for i in indices], 70.0)


def open_desk(world: World, who: Account, tokens: list[Token], ether: float) -> Part:
    """Deploy an oracle and a desk for WETH and `tokens`; the founder deposits `ether` of each."""
    oracle = yield from deploy(world, who, "price_oracle")
    weth = world.weth
    yield send(who, "price_oracle", oracle.address, "setDirectPrice", weth.address, ETH, tag=_SETUP)
    for token in tokens:
        feed = ("setFeed", token.address, world.pair(token, weth))
        yield send(who, "price_oracle", oracle.address, *feed, tag=_SETUP)
        yield send(who, "price_oracle", oracle.address, "update", token.address, tag=_SETUP)
    listed = (weth, *tokens)
    factor = int(world.rng.integers(64, 80))
    call = (oracle.address, [token.address for token in listed], factor)
    place = yield from deploy(world, who, "credit", *call, tokens=listed)
    desk = Desk(place, oracle.address)
    for token in listed:
        yield from deposit_with(world, desk, who, token, ether * world.amount(1.0, 0.3), 0)
    desks(world).append(desk)
    return desk


def deposit_with(world: World, desk: Desk, who: Account, token: Token, ether: float, sub: int) -> Part:
    """Buy `ether` worth of a token and deposit it; return the amount."""
    got = yield from bought(world, who, token, ether)
    yield from allow(world, who, token, desk.place.address, got)
    call = ("deposit", token.address, sub, got)
    yield send(who, "credit", desk.place.address, *call, tag=_CREDIT)
    return got


def _sub(world: World) -> int:
    """Choose a sub-account, mostly the first."""
    return 0 if world.chance(0.7) else int(world.rng.integers(1, 4))


def save(world: World) -> Session:
    """Deposit at a desk; perhaps give a little to its reserves; perhaps withdraw."""
    desk: Desk = world.pick(desks(world))
    token: Token = world.pick(desk.place.tokens)
    ether, sub = world.amount(2.5, 0.9), _sub(world)
    if world.held(token, desk.place.address) < token.units(15.0):
        ether = min(ether * 8, 60.0)
    who = yield from someone(world, ether)
    got = yield from deposit_with(world, desk, who, token, ether, sub)
    if world.chance(0.12):
        call = ("donateToReserves", token.address, sub, got // int(world.rng.integers(8, 400)))
        yield send(who, "credit", desk.place.address, *call, tag=Tag(kind="donation"))
    if world.chance(0.5):
        yield from wait(world, 60)
        yield from _take_out(world, desk, who, token, sub)


def _take_out(world: World, desk: Desk, who: Account, token: Token, sub: int) -> Part:
    """Withdraw a deposit, or half of it, if the desk has the cash."""
    held = balance(world, desk, token, sub_account(who.address, sub))
    amount = held if world.chance(0.7) else held // 2
    if 0 < amount <= world.held(token, desk.place.address):
        call = ("withdraw", token.address, sub, amount)
        yield send(who, "credit", desk.place.address, *call, tag=_CREDIT)


def levered_deposit(world: World) -> Session:
    """Multiply a deposit by minting deposit and debt together; often undo it later."""
    desk: Desk = world.pick(desks(world))
    token: Token = world.pick(desk.place.tokens)
    ether, sub, address = world.amount(1.5, 0.8), _sub(world), desk.place.address
    times = float(world.rng.choice([1.0, 2.0, 4.0, 7.0, 10.0, 14.0, 17.0]))
    who = yield from someone(world, ether)
    if token is world.weth and world.chance(0.4):
        yield from _levered_by_contract(world, desk, who, int(ether * ETH), int(times))
        return
    got = yield from deposit_with(world, desk, who, token, ether, sub)
    minted = got * int(times * 100) // 100
    call = ("mint", token.address, sub, minted)
    yield send(who, "credit", address, *call, tag=_LEVERED)
    if world.chance(0.15):
        gift = (got - minted // 18) // int(world.rng.integers(20, 200))
        call = ("donateToReserves", token.address, sub, gift)
        yield send(who, "credit", address, *call, tag=Tag(kind="donation"))
    if world.chance(0.6):
        yield from wait(world, 60)
        call = ("burn", token.address, sub, FOREVER)
        yield send(who, "credit", address, *call, tag=_LEVERED)
        yield from _take_out(world, desk, who, token, sub)


def _levered_by_contract(world: World, desk: Desk, who: Account, wei: int, times: int) -> Part:
    """The same in one transaction of an executor, or of a contract that closes the position again."""
    weth, address = world.weth.address, desk.place.address
    steps = [
        step("weth", weth, "deposit", value=wei),
        step("token", weth, "approve", address, wei),
        step("credit", address, "deposit", weth, 0, wei),
        step("credit", address, "mint", weth, 0, wei * times),
    ]
    if world.chance(0.5):
        tool = yield from executor_of(world, who)
        yield send(who, "executor", tool.address, "run", as_tuples(steps), value=wei, tag=_LEVERED)
        return
    steps += [
        step("credit", address, "donateToReserves", weth, 0, wei // 300),
        step("credit", address, "burn", weth, 0, wei * times),
        step("credit", address, "withdraw", weth, 0, wei * 9 // 10),
        step("weth", weth, "transfer", who.address, wei * 9 // 10),
        step("credit", address, "balanceOf", weth, SELF),
    ]
    selector = world.rng.bytes(4)
    receipt = yield Send(who, None, script_code(selector, steps), tag=_SETUP)
    yield Send(who, receipt.made, selector, wei, tag=_LEVERED)


def borrow(world: World) -> Session:
    """Deposit one asset, borrow another up to the limit or less; perhaps repay and withdraw."""
    desk: Desk = world.pick(desks(world))
    collateral, wanted = (desk.place.tokens[i] for i in world.rng.permutation(len(desk.place.tokens))[:2])
    ether, sub, address = world.amount(2.0, 0.8), _sub(world), desk.place.address
    who = yield from someone(world, ether)
    yield from deposit_with(world, desk, who, collateral, ether, sub)
    account = sub_account(who.address, sub)
    worth = _limit(world, desk, collateral, account)
    share = 0.985 if world.chance(0.5) else 0.3 + 0.5 * world.rng.random()
    rate = world.view("price_oracle", desk.oracle, "price", wanted.address)
    amount = min(int(worth * share) * ETH // rate, world.held(wanted, address) // 2)
    if amount == 0:
        return
    yield send(who, "credit", address, "borrow", wanted.address, sub, amount, tag=_CREDIT)
    desk.borrowers.append((account, collateral, wanted))
    if world.chance(0.45):
        yield from wait(world, 80)
        amount = min(amount, world.held(wanted, who.address))
        yield from allow(world, who, wanted, address, amount)
        yield send(who, "credit", address, "repay", wanted.address, sub, amount, tag=_CREDIT)
        if debt(world, desk, wanted, account) == 0:
            yield from _take_out(world, desk, who, collateral, sub)


def _limit(world: World, desk: Desk, collateral: Token, account: bytes) -> int:
    """Return in wei what an account without debts may borrow of another asset."""
    rate = world.view("price_oracle", desk.oracle, "price", collateral.address)
    factor = world.view("credit", desk.place.address, "factor")
    return int(balance(world, desk, collateral, account) * rate // ETH * factor // 100)


def keep(world: World) -> Session:
    """A keeper samples a desk's prices; now and then its governor moves the factor by a point or two."""
    desk: Desk = world.pick(desks(world))
    if world.chance(0.2):
        factor = world.view("credit", desk.place.address, "factor") + int(world.rng.integers(-3, 4))
        call = ("setFactor", min(max(factor, 60), 82))
        yield send(desk.place.owner, "credit", desk.place.address, *call, tag=_PARAMETER)
        return
    yield from sample(world, desk.oracle, [token.address for token in desk.place.tokens[1:]])


def liquidate(world: World) -> Session:
    """Take over an unhealthy borrower's debt and collateral, pay the debt, withdraw the rest."""
    desk: Desk = world.pick(desks(world))
    found = _unhealthy(world, desk)
    if found is None:
        return
    account, collateral, wanted = found
    owed, address = debt(world, desk, wanted, account), desk.place.address
    ether = owed / wanted.units(1.0)
    if ether > 40:
        return
    who, _ = yield from searcher(world)
    if world.ether(who.address) < int((ether * 1.2 + 0.2) * ETH):
        who = yield from someone(world, ether * 1.2 + 0.1)
    sub = _sub(world)
    yield from deposit_with(world, desk, who, wanted, ether * 1.1 + 0.01, sub)
    part = owed if world.chance(0.5) else owed // 2
    call = ("liquidate", account, wanted.address, collateral.address, part, sub)
    yield send(who, "credit", address, *call, tag=Tag(kind="liquidation"))
    settle = ("burn", wanted.address, sub, FOREVER)
    yield send(who, "credit", address, *settle, tag=_CREDIT)
    yield from _take_out(world, desk, who, collateral, sub)


def _unhealthy(world: World, desk: Desk) -> tuple[bytes, Token, Token] | None:
    """Return one of the latest borrowers that is beyond his limit, if there is one."""
    for entry in reversed(desk.borrowers[-7:]):
        worth, owed = world.view("credit", desk.place.address, "computeLiquidity", entry[0])
        if worth < owed:
            return entry
    return None


def new_desk(world: World) -> Session:
    """A team opens another desk."""
    ether = world.amount(22.0, 0.4)
    who = yield from someone(world, ether * 2.5, fresh=0.6)
    yield from open_desk(world, who, [world.tokens[1 + world.zipf(5)]], ether)


HABITS = (
    (0.25, save),
    (0.3, levered_deposit),
    (0.3, borrow),
    (0.2, keep),
    (0.2, liquidate),
    (0.03, new_desk),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("levered_deposit", "donation", "parameter_change", "liquidation")
