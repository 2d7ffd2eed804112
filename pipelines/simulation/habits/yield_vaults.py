"""Yield vaults whose strategy provides one coin to a stable pool: savers, strategists, migrations, zaps."""

from __future__ import annotations

from pipelines.simulation.bytecode import Step
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import name
from pipelines.simulation.habits.bots import encode_steps
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.stable_pools import backer, get, is_open, send_create, stock
from pipelines.simulation.world import (
    Part,
    Place,
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
_VAULT = Tag(kind="vault")
_HARVEST = Tag(kind="strategy_harvest")
_MIGRATION = Tag(kind="vault_migration")
_ZAP = Tag(kind="vault_zap")


def found(world: World, founders: list[Account]) -> Part:
    """Open vaults on the first pools that have no native ether."""
    pools = [p for p in world.places["stable_pool"] if p.tokens[0].kind != "native"]
    for place, index in ((pools[0], 0), (pools[0], 1), (pools[1], 0), (pools[1], 1), (pools[0], 1)):
        yield from open_vault(world, backer(world, founders), place, index, 70.0)


def open_vault(world: World, who: Account, pool: Place, index: int, ether: float) -> Part:
    """Deploy a strategy and its vault, make the first deposit, invest most of it."""
    asset = pool.tokens[index]
    made = yield send_create(who, "strategy", asset.address, pool.address, index, len(pool.tokens))
    title = name(world)
    receipt = yield send_create(who, "yield_vault", asset.address, made.made, title, f"y{title[:4].upper()}")
    place = Place("yield_vault", receipt.made, who, (asset,))
    yield send(who, "strategy", made.made, "setVault", place.address, tag=_SETUP)
    got = yield from stock(world, who, asset, ether * world.amount(1.0, 0.2))
    yield from allow(world, who, asset, place.address, got, _SETUP)
    yield send(who, "yield_vault", place.address, "deposit", got, who.address, tag=_SETUP)
    keep = int(world.rng.integers(800, 3000))
    yield send(who, "yield_vault", place.address, "earn", keep, tag=_SETUP)
    world.notes.setdefault("yield_vaults", []).append((place, pool, index, made.made))
    return world.add(place)


def save(world: World) -> Session:
    """Deposit into a vault; mostly redeem later, wholly or in part."""
    if not is_open(world, "yield_vault"):
        return
    place = world.some("yield_vault", 0.5)
    token = place.tokens[0]
    ether = world.amount(3.0, 1.0)
    who = yield from someone(world, ether)
    got = yield from get(world, who, token, ether)
    yield from allow(world, who, token, place.address, got)
    yield send(who, "yield_vault", place.address, "deposit", got, who.address, tag=_VAULT)
    if world.chance(0.6):
        yield from wait(world, 60)
        share = world.view("yield_vault", place.address, "balanceOf", who.address)
        part = share if world.chance(0.7) else share // 2
        call = ("redeem", part, who.address, who.address)
        yield send(who, "yield_vault", place.address, *call, tag=_VAULT)


def strategist(world: World) -> Session:
    """The vault's owner pays in what the strategy has earned and invests what lies idle."""
    if not is_open(world, "yield_vault"):
        return
    place = world.some("yield_vault", 0.5)
    token, who = place.tokens[0], place.owner
    if world.chance(0.6):
        ether = world.amount(0.4, 0.6)
        got = yield from get(world, who, token, ether)
        yield send(who, "token", token.address, "transfer", place.address, got, tag=_HARVEST)
    keep = int(world.rng.integers(300, 2500))
    idle = world.held(token, place.address)
    if idle * 10_000 > keep * world.view("yield_vault", place.address, "totalAssets"):
        yield send(who, "yield_vault", place.address, "earn", keep, tag=_HARVEST)


def migration(world: World) -> Session:
    """A large saver moves everything from one vault to another of the same asset in one transaction."""
    if not is_open(world, "yield_vault"):
        return
    vaults = world.places["yield_vault"]
    old: Place = world.pick(vaults)
    token = old.tokens[0]
    choices = [p for p in [*vaults, *world.places["vault"]] if p.tokens[0] is token and p is not old]
    if not choices:
        return
    new: Place = world.pick(choices)
    ether = world.amount(12.0, 0.7)
    who = yield from someone(world, ether)
    runner = yield from executor_of(world, who)
    got = yield from get(world, who, token, ether)
    yield from allow(world, who, token, old.address, got)
    yield send(who, "yield_vault", old.address, "deposit", got, runner.address, tag=_VAULT)
    yield from wait(world, 50)
    share = world.view("yield_vault", old.address, "balanceOf", runner.address)
    worth = world.view("yield_vault", old.address, "convertToAssets", share) * 999 // 1000
    steps = [
        step("yield_vault", old.address, "redeem", share, runner.address, runner.address),
        step("token", token.address, "approve", new.address, worth),
        step(new.name, new.address, "deposit", worth, who.address),
    ]
    yield send(who, "executor", runner.address, "run", as_tuples(steps), tag=_MIGRATION)


def zap(world: World) -> Session:
    """Enter a vault with the pool's other coin: swap and deposit in one go; later the way back."""
    if not is_open(world, "yield_vault"):
        return
    notes = world.notes["yield_vaults"]
    vault, pool, index, _ = notes[world.zipf(len(notes), 0.5)]
    other = (index + 1) % len(pool.tokens)
    coin: Token = pool.tokens[other]
    ether = world.amount(6.0, 0.9)
    who = yield from someone(world, ether)
    runner = yield from executor_of(world, who)
    amount = yield from get(world, who, coin, ether)
    yield send(who, "token", coin.address, "transfer", runner.address, amount, tag=_ZAP)
    fetched = world.view("stable_pool", pool.address, "get_dy", other, index, amount)
    steps = _swap_steps(pool, other, index, amount)
    steps.append(step("token", pool.tokens[index].address, "approve", vault.address, fetched))
    steps.append(step("yield_vault", vault.address, "deposit", fetched, runner.address))
    if coin is world.weth and world.chance(0.5):
        # The same on credit: the loan is paid back from what was sent in before.
        lender = world.places["flash_lender"][1].address
        call = ("flash", lender, coin.address, amount, encode_steps(steps))
        yield send(who, "executor", runner.address, *call, tag=_ZAP)
    else:
        yield send(who, "executor", runner.address, "run", as_tuples(steps), tag=_ZAP)
    if world.chance(0.6):
        yield from wait(world, 50)
        share = world.view("yield_vault", vault.address, "balanceOf", runner.address)
        if share == 0:
            return
        worth = world.view("yield_vault", vault.address, "convertToAssets", share) * 998 // 1000
        back = [step("yield_vault", vault.address, "redeem", share, runner.address, runner.address)]
        back += _swap_steps(pool, index, other, worth)
        yield send(who, "executor", runner.address, "run", as_tuples(back), tag=_ZAP)


def _swap_steps(pool: Place, i: int, j: int, amount: int) -> list[Step]:
    return [
        step("token", pool.tokens[i].address, "approve", pool.address, amount),
        step("stable_pool", pool.address, "exchange", i, j, amount, 0),
    ]


def new_vault(world: World) -> Session:
    """A team opens another vault and invests its own money first."""
    if not is_open(world, "yield_vault"):
        return
    pools = [p for p in world.places["stable_pool"] if p.tokens[0].kind != "native"]
    pool: Place = world.pick(pools)
    ether = world.amount(25.0, 0.5)
    who = yield from someone(world, ether * 1.3, fresh=0.4)
    yield from open_vault(world, who, pool, int(world.rng.integers(2)), ether)


HABITS = (
    (0.4, save),
    (0.25, strategist),
    (0.15, migration),
    (0.3, zap),
    (0.06, new_vault),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("vault_migration", "vault_zap")
