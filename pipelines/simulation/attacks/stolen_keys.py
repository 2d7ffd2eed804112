"""Stolen keys of people who run a savings pool: upgrade it to code that empties it, or take the savings."""

from __future__ import annotations

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import Incident, attacker, leave
from pipelines.simulation.bytecode import script_code
from pipelines.simulation.engine import Account, Receipt
from pipelines.simulation.habits.upgrades import Pool, new_pool, operates, pools, recover
from pipelines.simulation.proxies import change_admin, upgrade_and_call, upgrade_to
from pipelines.simulation.world import ETH, Part, Send, Session, World, step


def worth(world: World, pool: Pool) -> float:
    """Return what a pool's savings are worth in ether, at listing prices."""
    return float(world.held(pool.token, pool.address) * pool.token.price / 10**pool.token.decimals)


def afford(world: World, incident: Incident, thief: Account, owner: Account) -> Part:
    """Pay the gas of an account whose key was stolen, if it is empty."""
    if world.ether(owner.address) < ETH // 20:
        yield Send(thief, owner.address, value=ETH // 10, tag=incident.tag("prep"))


def _pick(world: World, incident: Incident) -> Part:
    """Return a pool worth robbing and count its token as gain; wait for its owners if there is none."""
    for attempt in range(2):
        options = [p for p in pools(world) if not p.governed and worth(world, p) > 2 and operates(world, p)]
        if options:
            pool: Pool = world.pick(options)
            if pool.token is not world.weth:
                incident.assets.append(pool.token)
            return pool
        if attempt == 0:
            yield from another_pool(world)
    return None


def another_pool(world: World) -> Part:
    """Let a robbed pool's team recover, or another team open one."""
    yield from recover(world) if world.notes.get("robbed_pool") else new_pool(world)


def malicious_upgrade(world: World, incident: Incident) -> Session:
    """With the admin's stolen key, upgrade a pool to code that sends its savings away."""
    pool = yield from _pick(world, incident)
    if pool is None:
        return
    pool.open = False
    thief = yield from attacker(world, incident, 0.4)
    yield from afford(world, incident, thief, pool.admin)
    admin = pool.admin
    if world.chance(0.3):
        incident.variant.append("hand-over")
        yield incident.act("exploit", admin, pool.address, change_admin(thief.address))
        admin = thief
    selector = world.rng.bytes(4)
    target = yield from _drain_code(world, incident, pool, thief, selector)
    if world.chance(0.6):
        incident.variant.append("one-call")
        yield incident.act("exploit", admin, pool.address, upgrade_and_call(target, selector))
    else:
        incident.variant.append("two-calls")
        yield incident.act("exploit", admin, pool.address, upgrade_to(target))
        yield incident.act("exploit", thief, pool.address, selector)
    if admin is pool.admin:
        world.notes.setdefault("robbed_pool", []).append(pool)
    incident.finish()
    yield from leave(world, incident, thief)


def _drain_code(world: World, incident: Incident, pool: Pool, thief: Account, selector: bytes) -> Part:
    """Deploy an implementation that transfers the savings; one that has become stale is made anew."""
    share = 100 if world.chance(0.5) else int(world.rng.integers(10, 95))
    while True:
        amount = world.held(pool.token, pool.address) * share // 100
        steps = [step("token", pool.token.address, "transfer", thief.address, amount)]
        receipt: Receipt = yield Send(thief, None, script_code(selector, steps), tag=incident.tag("prep"))
        for _ in range(int(world.rng.choice([0, 0, 4, 15]))):
            yield None
        if world.held(pool.token, pool.address) >= amount:
            return receipt.made


def stolen_operator_key(world: World, incident: Incident) -> Session:
    """With the operator's stolen key, "invest" the savings with oneself, or take over the fees."""
    pool = yield from _pick(world, incident)
    if pool is None:
        return
    pool.open = False
    thief = yield from attacker(world, incident, 0.2)
    yield from afford(world, incident, thief, pool.owner)
    owner, draw = pool.owner, world.rng.random()
    if draw < 0.3:
        incident.variant.append("hand-over")
        call = ("transferOwnership", thief.address)
        yield incident.call("exploit", owner, "pool_v1", pool.address, *call)
        owner = thief
    fees = world.view("pool_v1", pool.address, "fees")
    if fees > 0 and draw > 0.8:
        incident.variant.append("fees")
        take = ("setFee", 10_000, thief.address)
        yield incident.call("exploit", owner, "pool_v1", pool.address, *take)
        yield incident.call("exploit", thief, "pool_v1", pool.address, "collectFees")
    else:
        yield from _invest(world, incident, pool, owner, thief)
    pool.open = True
    world.notes.setdefault("robbed_pool", []).append(pool)
    incident.finish()
    yield from leave(world, incident, thief)


def _invest(world: World, incident: Incident, pool: Pool, owner: Account, thief: Account) -> Part:
    """Take the savings at once or in portions."""
    incident.variant.append("invest")
    share = 100 if world.chance(0.4) else int(world.rng.integers(8, 93))
    for _ in range(int(world.rng.choice([1, 1, 2, 3]))):
        amount = world.held(pool.token, pool.address) * share // 100
        call = ("invest", thief.address, amount)
        yield incident.call("exploit", owner, "pool_v1", pool.address, *call)
        share = min(share, 70)


FAMILIES = (
    Family(
        name="malicious_upgrade",
        tier="context",
        split="eval",
        modelled_on="Radiant Capital (2024)",
        about="With an admin's stolen key, upgrade a proxy to an implementation that sends the savings away.",
        run=malicious_upgrade,
    ),
    Family(
        name="stolen_operator_key",
        tier="context",
        split="eval",
        modelled_on="bZx (November 2021) and other operator key thefts",
        about="With an operator's stolen key, move a pool's savings to a new address as an investment, "
        "or claim its fees.",
        run=stolen_operator_key,
    ),
)
