"""Savings pools behind upgradeable proxies: savers, operators who invest, upgrades, rescues, new settings."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulation.bytecode import Step, script_code
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, Receipt
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.proxies import (
    ADMIN_SLOT,
    change_admin,
    upgrade_and_call,
    upgrade_to,
    upgradeable,
)
from pipelines.simulation.world import (
    ETH,
    FOREVER,
    Part,
    Send,
    Session,
    Tag,
    Token,
    World,
    allow,
    newcomer,
    obtain,
    send,
    someone,
    step,
)

_POOL = Tag(kind="savings_pool")
_RESERVES = Tag(kind="reserve_management")
_PARAMETERS = Tag(kind="parameter_change")
_PAUSE = Tag(kind="pause")
_FEES = Tag(kind="fee_collection")
_OWNERSHIP = Tag(kind="ownership_transfer")
_UPGRADE = Tag(kind="upgrade")
_MIGRATION = Tag(kind="migration")
_DEPLOYMENT = Tag(kind="deployment")


@dataclass
class Pool:
    """A savings pool: its proxy, who may upgrade it, who operates it, and whether people may use it."""

    address: bytes
    token: Token
    admin: Account
    owner: Account
    collides: bool
    """Whether the proxy keeps its admin in slot 0, where the implementation has a flag."""
    governed: bool = False
    """Whether a timelock has taken the place of `admin` and `owner`."""
    version: int = 1
    open: bool = True


def pools(world: World) -> list[Pool]:
    """Return the pools that are open."""
    return [pool for pool in world.notes.get("pool", []) if pool.open]


def implementation(world: World, version: int) -> bytes:
    """Return the newest deployed implementation of a version (1 or 2)."""
    found: bytes = world.notes[f"pool_v{version}"][-1]
    return found


def endow(world: World, founders: list[Account]) -> Part:
    """Let the richest exchange pay founders who have spent most of what they had."""
    for who in founders:
        if world.ether(who.address) < 800 * ETH:
            payer = max(world.exchanges, key=lambda exchange: world.ether(exchange.address))
            yield Send(payer, who.address, value=1500 * ETH, tag=Tag(kind="transfer"))


def found(world: World, founders: list[Account]) -> Part:
    """Deploy both versions and open five pools, three on proxies of the careless kind."""
    yield from endow(world, founders)
    for version in (1, 2):
        yield from _deploy_implementation(world, founders[3], version)
    for index, collides in ((0, True), (1, False), (3, True), (0, False), (4, True)):
        who = world.pick(founders)
        yield from open_pool(world, who, world.tokens[index], world.amount(35.0, 0.4), collides=collides)


def _deploy_implementation(world: World, who: Account, version: int) -> Part:
    receipt = yield Send(who, None, contract(f"pool_v{version}").create(), tag=_DEPLOYMENT)
    world.notes.setdefault(f"pool_v{version}", []).append(receipt.made)


def open_pool(world: World, who: Account, token: Token, ether: float, *, collides: bool) -> Part:
    """Deploy a proxy, initialise it, make the first deposit; return the Pool."""
    slot = 0 if collides else ADMIN_SLOT
    code = upgradeable(implementation(world, 1), who.address, admin_slot=slot)
    receipt: Receipt = yield Send(who, None, code, tag=_DEPLOYMENT)
    pool = Pool(receipt.made, token, who, who, collides)
    call = ("initialize", token.address, who.address, int(world.rng.integers(2, 30)) * 50)
    yield send(who, "pool_v1", pool.address, *call, tag=_DEPLOYMENT)
    got = yield from bought(world, who, token, ether)
    yield from allow(world, who, token, pool.address, got)
    yield send(who, "pool_v1", pool.address, "deposit", got, tag=_POOL)
    world.notes.setdefault("pool", []).append(pool)
    return pool


def a_pool(world: World, *, governed: bool = False) -> Pool | None:
    """Return an open pool, a young one more often than its age deserves; governed ones only if asked for."""
    options = [pool for pool in pools(world) if governed or not pool.governed]
    if not options:
        return None
    return options[-1] if world.chance(0.2) else options[world.zipf(len(options), 0.5)]


def bought(world: World, who: Account, token: Token, ether: float) -> Part:
    """Obtain a token; return what of it is still there, since the account may be spending elsewhere too."""
    got = yield from obtain(world, who, token, ether)
    return max(0, min(got, world.held(token, who.address)))


def save_in_pool(world: World) -> Session:
    """Deposit, sometimes in somebody else's name; perhaps withdraw later."""
    pool = a_pool(world, governed=True)
    if pool is None:
        return
    ether = world.amount(2.5, 0.9)
    who = yield from someone(world, ether)
    got = yield from bought(world, who, pool.token, ether)
    yield from allow(world, who, pool.token, pool.address, got)
    if not pool.open:
        return
    if pool.version == 2 and world.chance(0.2):
        call = ("depositFor", world.visitor().address, got)
        yield send(who, "pool_v2", pool.address, *call, tag=_POOL)
        return
    yield send(who, "pool_v1", pool.address, "deposit", got, tag=_POOL)
    if world.chance(0.5):
        yield from wait(world, 70)
        if pool.open:
            share = world.view("pool_v1", pool.address, "shares", who.address)
            part = share if world.chance(0.6) else share // int(world.rng.integers(2, 6))
            yield send(who, "pool_v1", pool.address, "withdraw", part, tag=_POOL)


def operates(world: World, pool: Pool) -> bool:
    """Return whether the pool's operator still is who its team believes."""
    owner: str = world.view("pool_v1", pool.address, "owner")
    return bytes.fromhex(owner[2:]) == pool.owner.address


def invest(world: World) -> Session:
    """The operator moves savings to a strategy, often a new account, and brings them back with yield."""
    pool = a_pool(world)
    if pool is None:
        return
    if not operates(world, pool):
        yield from _regain(pool)
        return
    token, owner = pool.token, pool.owner
    strategy = owner
    if world.chance(0.5):
        strategy = yield from newcomer(world, 0.1, source=owner)
    if not pool.open:
        return
    amount = int(world.held(token, pool.address) * (0.1 + 0.75 * world.rng.random()))
    yield send(owner, "pool_v1", pool.address, "invest", strategy.address, amount, tag=_RESERVES)
    yield from wait(world, 40)
    gained = yield from bought(world, owner, token, world.amount(0.3, 0.7))
    if strategy is not owner:
        back = ("transfer", owner.address, amount)
        yield send(strategy, "token", token.address, *back, tag=Tag(kind="token_transfer"))
    yield from allow(world, owner, token, pool.address, FOREVER // 2)
    if pool.open:
        yield send(owner, "pool_v1", pool.address, "harvest", amount, gained, tag=_RESERVES)
        yield from wait(world, 20)
    if pool.open and world.chance(0.6):
        yield send(owner, "pool_v1", pool.address, "collectFees", tag=_FEES)


def _regain(pool: Pool) -> Part:
    """A team that lost its pool to a stranger initialises it anew, where that is possible, or gives it up."""
    if not pool.collides:
        pool.open = False
        return
    call = ("initialize", pool.token.address, pool.owner.address, 500)
    yield send(pool.owner, "pool_v1", pool.address, *call, tag=_MIGRATION)


def settings(world: World) -> Session:
    """The operator changes the fee, pauses for a while, collects fees or hands the pool over."""
    pool = a_pool(world)
    if pool is None or not operates(world, pool):
        return
    draw = world.rng.random()
    if draw < 0.4:
        to = pool.owner if world.chance(0.6) else world.account()
        call = ("setFee", int(world.rng.integers(1, 40)) * 50, to.address)
        yield send(pool.owner, "pool_v1", pool.address, *call, tag=_PARAMETERS)
    elif draw < 0.6:
        yield send(pool.owner, "pool_v1", pool.address, "setPaused", True, tag=_PAUSE)
        yield from wait(world, 8)
        if pool.open and operates(world, pool):
            yield send(pool.owner, "pool_v1", pool.address, "setPaused", False, tag=_PAUSE)
    elif draw < 0.85:
        caller = yield from someone(world, 0.1)
        if pool.open:
            yield send(caller, "pool_v1", pool.address, "collectFees", tag=_FEES)
    else:
        yield from _hand_over(world, pool)


def _hand_over(world: World, pool: Pool) -> Part:
    """The operator, the admin or both become another account of the team."""
    successor = yield from newcomer(world, 5.0)
    if pool.open and world.chance(0.6) and operates(world, pool):
        call = ("transferOwnership", successor.address)
        yield send(pool.owner, "pool_v1", pool.address, *call, tag=_OWNERSHIP)
        pool.owner = successor
    if pool.open and world.chance(0.6):
        yield Send(pool.admin, pool.address, change_admin(successor.address), tag=_OWNERSHIP)
        pool.admin = successor


def upgrade(world: World) -> Session:
    """The admin moves a pool to the next version and migrates it, or to a fresh build of the same."""
    pool = a_pool(world)
    if pool is None:
        return
    if pool.version == 1:
        migrate = contract("pool_v2").data("migrate", int(world.rng.integers(0, 50)))
        target = implementation(world, 2)
        if world.chance(0.6):
            yield Send(pool.admin, pool.address, upgrade_and_call(target, migrate), tag=_UPGRADE)
        else:
            yield Send(pool.admin, pool.address, upgrade_to(target), tag=_UPGRADE)
            if pool.open:
                yield Send(pool.admin, pool.address, migrate, tag=_MIGRATION)
        pool.version = 2
    else:
        yield from _deploy_implementation(world, pool.admin, 2)
        if pool.open:
            yield Send(pool.admin, pool.address, upgrade_to(implementation(world, 2)), tag=_UPGRADE)
    if pool.open and pool.collides and world.chance(0.5) and operates(world, pool):
        fee = int(world.rng.integers(2, 30)) * 50
        call = ("initialize", pool.token.address, pool.owner.address, fee)
        yield send(pool.owner, "pool_v1", pool.address, *call, tag=_MIGRATION)


def migrate(world: World) -> Session:
    """A team moves a pool's savings away by a migrator, repairs the code, and brings them back."""
    pool = a_pool(world)
    if pool is None or not pool.open:
        return
    pool.open = False
    keeper = pool.admin if world.chance(0.4) else pool.owner
    amount = yield from _move_out(world, pool, keeper.address)
    yield from wait(world, 10)
    yield Send(pool.admin, pool.address, upgrade_to(implementation(world, pool.version)), tag=_UPGRADE)
    back = ("transfer", pool.address, amount)
    yield send(keeper, "token", pool.token.address, *back, tag=_MIGRATION)
    pool.open = True


def _move_out(world: World, pool: Pool, to: bytes) -> Part:
    """Upgrade a pool to an implementation made to send the savings to `to`, and run it; return the amount."""
    amount = world.held(pool.token, pool.address)
    selector = world.rng.bytes(4)
    steps = [step("token", pool.token.address, "transfer", to, amount)]
    receipt: Receipt = yield Send(pool.admin, None, script_code(selector, steps), tag=_DEPLOYMENT)
    if world.chance(0.7):
        yield Send(pool.admin, pool.address, upgrade_and_call(receipt.made, selector), tag=_MIGRATION)
    else:
        yield Send(pool.admin, pool.address, upgrade_to(receipt.made), tag=_UPGRADE)
        yield Send(pool.admin, pool.address, selector, tag=_MIGRATION)
    return amount


def new_pool(world: World) -> Session:
    """Another team opens a pool."""
    token = world.tokens[world.zipf(10)]
    if token.kind not in ("weth", "token"):
        return
    ether = world.amount(12.0, 0.5)
    who = yield from someone(world, ether + 1, fresh=0.5)
    yield from open_pool(world, who, token, ether, collides=world.chance(0.5))


def recover(world: World) -> Session:
    """A team whose pool was robbed restores the code and its rights; an investor makes the savers whole."""
    robbed: list[Pool] = world.notes.get("robbed_pool", [])
    if not robbed:
        return
    pool = robbed.pop(0)
    pool.open = False
    yield Send(pool.admin, pool.address, upgrade_to(implementation(world, pool.version)), tag=_UPGRADE)
    if not operates(world, pool):
        if not pool.collides:
            return
        yield from _regain(pool)
    investor = world.exchanges[world.zipf(len(world.exchanges))]
    got = yield from bought(world, investor, pool.token, world.amount(15.0, 0.3))
    yield send(investor, "token", pool.token.address, "transfer", pool.address, got, tag=_MIGRATION)
    pool.open = True


def keep_books(world: World) -> Session:
    """An operator's executor looks at several pools and collects their fees in one go."""
    who = yield from someone(world, 0.3)
    tool = yield from executor_of(world, who)
    steps: list[Step] = []
    for pool in pools(world)[-8:]:
        steps.append(step("pool_v1", pool.address, "totalAssets"))
        if world.chance(0.4):
            steps.append(step("pool_v1", pool.address, "collectFees"))
    if steps:
        yield send(who, "executor", tool.address, "run", as_tuples(steps[:16]), tag=_FEES)


HABITS = (
    (0.8, save_in_pool),
    (0.28, invest),
    (0.22, settings),
    (0.13, upgrade),
    (0.06, migrate),
    (0.11, new_pool),
    (0.12, recover),
    (0.06, keep_books),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = (
    "reserve_management",
    "parameter_change",
    "ownership_transfer",
    "upgrade",
    "migration",
)
"""Kinds of its transactions that look like attacks in one respect or another."""
