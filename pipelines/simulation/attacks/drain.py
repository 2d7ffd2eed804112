"""Approval drains: an aggregator that calls anything (Multichain 2022), phishing (BadgerDAO 2021)."""

from __future__ import annotations

from typing import Any

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import Incident, attacker, leave, run_steps, runner
from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.world import (
    DEADLINE,
    FOREVER,
    Part,
    Session,
    Tag,
    Token,
    World,
    obtain,
    send,
    someone,
    step,
)

Prey = tuple[bytes, Token, int]
"""(owner, token, amount that may be taken now)."""


def approval_drain(world: World, incident: Incident) -> Session:
    """Take the tokens of people who approved a careless contract or the attacker himself."""
    who = yield from attacker(world, incident, 0.4)
    place = world.pick(world.places["aggregator"])
    if len(victims(world, place.address)) < 3 or world.chance(0.4):
        yield from _phish(world, incident, who)
    else:
        incident.variant.append("aggregator")
        yield from _through_aggregator(world, incident, who, place.address)
    incident.finish()
    yield from _sell(world, incident, who)
    yield from leave(world, incident, who)


def victims(world: World, spender: bytes) -> list[Prey]:
    """Return who can be robbed through `spender` now, richest first."""
    found: dict[tuple[bytes, bytes], Prey] = {}
    for owner, token, approved in world.approvals:
        if approved != spender or token.kind == "proxy_token":
            continue
        amount = world.held(token, owner)
        if amount * token.price / 10**token.decimals > 0.05:
            found[owner, token.address] = (owner, token, amount)
    return sorted(found.values(), key=lambda p: -p[2] * p[1].price / 10 ** p[1].decimals)


def _distinct(tokens: list[Token]) -> list[Token]:
    return list({token.address: token for token in tokens if token.kind != "weth"}.values())


def _through_aggregator(world: World, incident: Incident, who: Account, place: bytes) -> Part:
    """Name the token itself as the exchange to call, with a transferFrom as the order."""
    most = int(world.rng.integers(2, 9))
    draw = world.rng.random()
    if draw < 0.5:
        prey = _chosen(world, incident, place, most)
        for owner, token, _ in prey:
            call = _order(owner, who.address, token, world.held(token, owner))
            yield incident.call("exploit", who, "aggregator", place, *call)
        return
    if draw < 0.75:
        incident.variant.append("multicall")
        prey = _chosen(world, incident, place, most)
        aggregator = contract("aggregator")
        bundle = [(place, aggregator.data(*_order(o, who.address, t, n))) for o, t, n in prey]
        target = world.the("multicall").address
        yield incident.call("exploit", who, "multicall", target, "aggregate", bundle)
        return
    tool = yield from runner(world, incident, who)
    incident.variant.append("executor")
    to = place if world.chance(0.5) else who.address
    prey = _chosen(world, incident, place, most)
    steps = [step("aggregator", place, *_order(owner, to, token, held)) for owner, token, held in prey]
    yield from run_steps(world, incident, who, tool, steps)


def _chosen(world: World, incident: Incident, place: bytes, most: int) -> list[Prey]:
    """Return up to `most` people to rob now, and count their tokens as gain."""
    prey = victims(world, place)[:most]
    incident.assets.extend(_distinct([token for _, token, _ in prey]))
    return prey


def _order(owner: bytes, to: bytes, token: Token, amount: int) -> tuple[Any, ...]:
    """Return the aggregator's `swap` that moves an owner's tokens; what reaches it goes to the caller."""
    data = contract("token").data("transferFrom", owner, to, amount)
    return "swap", token.address, token.address, 0, 0, token.address, data


def _phish(world: World, incident: Incident, who: Account) -> Part:
    """Talk several people into approving the attacker; take what they have, at once or one by one."""
    token: Token = world.tokens[world.zipf(4)]
    incident.assets.extend(_distinct([token]))
    spender = who.address
    tool = None
    if world.chance(0.5):
        tool = yield from runner(world, incident, who)
        spender = tool.address
    incident.variant.append("phishing")
    owners = []
    for _ in range(int(world.rng.integers(2, 6))):
        owner = yield from someone(world, 1.0)
        yield from obtain(world, owner, token, min(max(world.amount(0.4, 0.7), 0.1), 0.8))
        mark = Tag("grey", "prep", incident.family, incident.name, "approval")
        yield send(owner, "token", token.address, "approve", spender, FOREVER, tag=mark)
        owners.append(owner.address)
    if tool is None:
        for owner in owners:
            call = ("transferFrom", owner, who.address, world.held(token, owner))
            yield incident.call("exploit", who, "token", token.address, *call)
        return
    incident.variant.append("executor")
    steps: list[Step] = []
    for owner in owners:
        amount = world.held(token, owner)
        steps.append(step("token", token.address, "transferFrom", owner, who.address, amount))
    yield from run_steps(world, incident, who, tool, steps)


def _sell(world: World, incident: Incident, who: Account) -> Part:
    """Turn one of the stolen tokens into ether."""
    router = world.the("router").address
    for token in incident.assets[:1]:
        held = world.held(token, who.address)
        if held == 0 or token.kind == "fee_token" or world.chance(0.3):
            continue
        tag = incident.tag("exit")
        yield send(who, "token", token.address, "approve", router, held, tag=tag)
        path = [token.address, world.weth.address]
        call = ("swapExactTokensForETH", held, 1, path, who.address, DEADLINE)
        yield send(who, "router", router, *call, tag=tag)


FAMILIES = (
    Family(
        name="approval_drain",
        tier="mimicry",
        split="dev",
        modelled_on="BadgerDAO (2021) and Multichain (2022)",
        about="Take the tokens of people who approved a careless aggregator, or the attacker himself.",
        run=approval_drain,
    ),
)
