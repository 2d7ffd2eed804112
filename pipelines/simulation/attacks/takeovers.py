"""Becoming master of somebody else's contract: modules, foreign code by delegatecall, slot collisions."""

from __future__ import annotations

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    run_script,
    run_steps,
    runner,
)
from pipelines.simulation.attacks.stolen_keys import another_pool, worth
from pipelines.simulation.bytecode import SELF, Step, script_code
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, Receipt
from pipelines.simulation.habits.safes import Safe, confirmed, new_safe, safes
from pipelines.simulation.habits.upgrades import Pool, pools
from pipelines.simulation.proxies import slot_writer
from pipelines.simulation.world import ETH, Part, Send, Session, Token, World, step


def module_takeover(world: World, incident: Incident) -> Session:
    """Become a wallet's module, or its code, and empty it."""
    rich = _rich(world)
    if not rich:
        yield from new_safe(world)
        rich = _rich(world)
    if not rich:
        return
    naive = [safe for safe in rich if not safe.guarded]
    blind = not naive or world.chance(0.35)
    safe: Safe = world.pick(rich if blind else naive)
    safe.open = False
    who = yield from attacker(world, incident, 0.3)
    if blind:
        yield from _replace_code(world, incident, who, safe)
    else:
        yield from _become_module(world, incident, who, safe)
        safe.open = True
    if not incident.exploits:
        return
    incident.finish()
    yield from leave(world, incident, who)


def _rich(world: World) -> list[Safe]:
    return [safe for safe in safes(world) if world.ether(safe.address) > ETH]


def _holdings(world: World, incident: Incident, safe: Safe) -> list[tuple[Token, int]]:
    """Return the tokens that the wallet holds, and count them as gain."""
    found = []
    for token in safe.tokens:
        held = world.held(token, safe.address)
        if held > 0:
            found.append((token, held))
            if token is not world.weth and token not in incident.assets:
                incident.assets.append(token)
    return found


def _spoils(world: World, incident: Incident, safe: Safe, to: bytes) -> list[Step]:
    """Return the calls by which the wallet itself gives away what it holds, or part of its ether."""
    share = 100 if world.chance(0.5) else int(world.rng.integers(10, 95))
    steps = [Step(to, world.ether(safe.address) * share // 100, b"")]
    for token, held in _holdings(world, incident, safe):
        steps.append(step("token", token.address, "transfer", to, held))
    return steps


def _become_module(world: World, incident: Incident, who: Account, safe: Safe) -> Part:
    """Enable oneself as a module of a wallet that lets anybody do so; pay oneself."""
    draw = world.rng.random()
    pays = world.chance(0.65)
    if draw < 0.5:
        incident.variant.append("module-by-hand")
        stage = "prep" if world.chance(0.3) else "exploit"
        enable = ("enableModule", who.address)
        yield incident.call(stage, who, "safe", safe.address, *enable)
        for _ in range(int(world.rng.integers(0, 15))):
            yield None
        for call in (yield from _orders(world, incident, who, safe, pays=pays)):
            yield incident.call("exploit", who, "safe", safe.address, *call)
        return
    tool = None
    if draw < 0.8:
        tool = yield from runner(world, incident, who)
    incident.variant.append("module-script" if tool is None else "module-executor")
    orders = yield from _orders(world, incident, who, safe, pays=pays)
    steps = [step("safe", safe.address, "enableModule", SELF if tool is None else tool.address)]
    steps += [step("safe", safe.address, *order) for order in orders]
    if tool is None:
        yield from run_script(world, incident, who, steps)
    else:
        yield from run_steps(world, incident, who, tool, steps)
        yield from home(world, incident, who, tool)


def _orders(world: World, incident: Incident, who: Account, safe: Safe, *, pays: bool) -> Part:
    """Return the module's calls: plain payments, or one delegatecall of a script that makes them."""
    spoils = _spoils(world, incident, safe, who.address)
    if pays:
        return [("execTransactionFromModule", s.target, s.value, s.data, 0) for s in spoils]
    incident.variant.append("delegatecall")
    selector = world.rng.bytes(4)
    code = script_code(selector, spoils)
    receipt: Receipt = yield Send(who, None, code, tag=incident.tag("prep"))
    return [("execTransactionFromModule", receipt.made, 0, selector, 1)]


def _replace_code(world: World, incident: Incident, who: Account, safe: Safe) -> Part:
    """The owners sign a delegatecall without reading it; it names new code for the wallet, which pays out."""
    incident.variant.append("blind-signature")
    writes, sweeps = world.rng.bytes(4), world.rng.bytes(4)
    spoils = _spoils(world, incident, safe, who.address)
    code: Receipt = yield Send(who, None, script_code(sweeps, spoils), tag=incident.tag("prep"))
    writer: Receipt = yield Send(who, None, slot_writer(writes, code.made), tag=incident.tag("prep"))
    for _ in range(int(world.rng.integers(0, 30))):
        yield None
    data = confirmed(world, safe, writer.made, 0, writes, 1)
    yield incident.act("exploit", who, safe.address, data)
    yield incident.act("exploit", who, safe.address, sweeps)


def storage_collision_init(world: World, incident: Incident) -> Session:
    """Initialise a pool again, which its proxy's admin in slot 0 makes possible, and take the savings."""
    if not _colliding(world):
        yield from another_pool(world)
    chosen = _colliding(world)
    if not chosen:
        return
    count = min(len(chosen), int(world.rng.choice([1, 1, 1, 2])))
    chosen = [chosen[i] for i in sorted(world.rng.choice(len(chosen), count, replace=False))]
    for pool in chosen:
        pool.open = False
        if pool.token is not world.weth:
            incident.assets.append(pool.token)
    who = yield from attacker(world, incident, 0.3)
    yield from _initialise(world, incident, who, chosen)
    for pool in chosen:
        pool.open = True
    if not incident.exploits:
        return
    world.notes.setdefault("robbed_pool", []).extend(chosen)
    incident.finish()
    yield from leave(world, incident, who)


def _initialise(world: World, incident: Incident, who: Account, chosen: list[Pool]) -> Part:
    """Become the operator of the pools and move their savings, by hand or by a contract."""
    draw = world.rng.random()
    if draw < 0.5:
        incident.variant.append("by-hand")
        for pool in chosen:
            for call in _orders_to_pool(world, pool, who.address, who.address):
                yield incident.call("exploit", who, "pool_v1", pool.address, *call)
    elif draw < 0.8:
        tool = yield from runner(world, incident, who)
        incident.variant.append("executor")
        to = tool.address if world.chance(0.3) else who.address
        yield from run_steps(world, incident, who, tool, _steps(world, chosen, tool.address, to))
        if to == tool.address:
            yield from home(world, incident, who, tool)
    else:
        incident.variant.append("script")
        yield from run_script(world, incident, who, _steps(world, chosen, SELF, who.address))


def _colliding(world: World) -> list[Pool]:
    return [p for p in pools(world) if p.collides and not p.governed and worth(world, p) > 1]


Order = tuple[str, bytes, bytes | int, int] | tuple[str, bytes, int]


def _orders_to_pool(world: World, pool: Pool, master: bytes, to: bytes) -> list[Order]:
    """Return the calls that make `master` the operator and send (part of) the savings to `to`."""
    share = 100 if world.chance(0.5) else int(world.rng.integers(8, 97))
    amount = world.held(pool.token, pool.address) * share // 100
    fee = int(world.rng.integers(2, 30)) * 50
    return [("initialize", pool.token.address, master, fee), ("invest", to, amount)]


def _steps(world: World, chosen: list[Pool], me: bytes, to: bytes) -> list[Step]:
    steps = []
    for pool in chosen:
        for order in _orders_to_pool(world, pool, me, to):
            steps.append(Step(pool.address, 0, contract("pool_v1").data(*order)))
    return steps


FAMILIES = (
    Family(
        name="module_takeover",
        tier="structural",
        split="eval",
        modelled_on="Parity (November 2017) and Bybit (2025)",
        about="Enable oneself as a wallet's module, or have its owners sign a delegatecall that replaces "
        "its code; then empty it.",
        run=module_takeover,
    ),
    Family(
        name="storage_collision_init",
        tier="structural",
        split="eval",
        modelled_on="Audius (2022)",
        about="A proxy keeps its admin where its implementation keeps a flag, so the initialiser runs again: "
        "become the operator, take the savings.",
        run=storage_collision_init,
    ),
)
