"""Claims that were never granted: unproven messages (Nomad 2022), signatures used again in another form."""

from __future__ import annotations

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    leave,
    run_script,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits import claims as claiming
from pipelines.simulation.habits import replica as bridging
from pipelines.simulation.habits.claims import Campaign
from pipelines.simulation.habits.replica import Replica, careless, replicas
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.habits.signing import ORDER
from pipelines.simulation.world import Part, Place, Send, Session, Token, World, step

Voucher = tuple[bytes, int, int, bytes]


def worth(world: World, token: Token, account: bytes) -> float:
    """Return what an account's tokens are worth, in ether."""
    return world.held(token, account) * token.price / float(10**token.decimals)


def _loot(world: World, replica: Replica) -> list[Token]:
    return [t for t in replica.place.tokens if worth(world, t, replica.place.address) > 0.4]


def merkle_forgery(world: World, incident: Incident) -> Session:
    """Process messages that nobody has proved; others copy the transaction with their own address."""
    options = [r for r in replicas(world) if _loot(world, r)]
    if not options:
        return
    open_ones = [r for r in options if careless(world, r)]
    replica: Replica = world.pick(open_ones or options)
    if not open_ones:
        yield from bridging.set_root(world, replica, careless_now=True)
        yield from wait(world, 40)
    copies = int(world.rng.integers(1, 6)) if world.chance(0.65) else 0
    incident.variant.append(f"copies-{copies}")
    incident.assets.extend(t for t in replica.place.tokens if t is not world.weth)
    for number in range(copies + 1):
        if not careless(world, replica) or not _loot(world, replica):
            break
        who = yield from attacker(world, incident, 0.2)
        yield from _forge(world, incident, replica, who, copied=number > 0)
        yield from wait(world, 6)
    if not incident.exploits:
        return
    incident.finish()
    yield from leave(world, incident, who)


def _forge(world: World, incident: Incident, replica: Replica, who: Account, *, copied: bool) -> Part:
    """One robber: a message or several, by hand or bundled."""
    place = replica.place.address
    draw = 1.0 if copied else world.rng.random()
    tool = None
    if draw < 0.25:
        tool = yield from runner(world, incident, who)
    if not careless(world, replica) or not (loot := _loot(world, replica)):
        return
    count = int(world.rng.choice([1, 1, 1, 2, 3]))
    share = (0.05 + 0.5 * world.rng.random()) / count
    steps = []
    for _ in range(count):
        token: Token = world.pick(loot)
        amount = int(world.held(token, place) * share)
        message = bridging.message(replica, token, who.address, amount)
        steps.append(step("replica", place, "process", message))
    yield from _bring(world, incident, who, tool, steps, draw)


def _bundle(world: World, incident: Incident, who: Account, steps: list[Step]) -> Send:
    bundle = [(s.target, s.data) for s in steps]
    target = world.the("multicall").address
    return incident.call("exploit", who, "multicall", target, "aggregate", bundle)


def forms(signature: bytes) -> list[bytes]:
    """Return the other encodings of a signature that ecrecover answers alike (v of 0 or 1 is raised)."""
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    other = (ORDER - s).to_bytes(32, "big")
    flipped = [r + other + bytes([55 - v]), r + other + bytes([28 - v])]
    return [flipped[0], r + signature[32:64] + bytes([v - 27]), flipped[1]]


def signature_replay(world: World, incident: Incident) -> Session:
    """Claim a voucher, then claim it again: in another form, or at another campaign of the same company."""
    campaign = _richest(world)
    if campaign is None:
        return
    who = yield from attacker(world, incident, 0.3)
    draw = world.rng.random()
    tool = None
    if draw < 0.25:
        tool = yield from runner(world, incident, who)
    vouchers = []
    for _ in range(int(world.rng.choice([1, 1, 2, 3]))):
        order = claiming.issue(world, campaign, who.address, world.amount(1.2, 0.6))
        call = contract("voucher").data("claim", *order)
        yield Send(who, campaign.place.address, call, tag=incident.tag("fund"))
        vouchers.append(order)
    yield from wait(world, 50)
    if campaign.token is not world.weth:
        incident.assets.append(campaign.token)
    steps = _again(world, incident, campaign, vouchers)
    if not steps:
        return
    yield from _bring(world, incident, who, tool, steps, draw)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _bring(
    world: World, incident: Incident, who: Account, tool: Place | None, steps: list[Step], draw: float
) -> Part:
    """Make the claims through the tool, if there is one, else bundled, scripted or by hand."""
    if tool is not None:
        incident.variant.append("executor")
        yield from run_steps(world, incident, who, tool, steps[:11])
    elif draw < 0.4:
        incident.variant.append("multicall")
        yield _bundle(world, incident, who, steps)
    elif draw < 0.5:
        incident.variant.append("script")
        yield from run_script(world, incident, who, steps)
    else:
        incident.variant.append("by-hand")
        for item in steps:
            if world.engine.call(who.address, item.target, item.data, 0).ok:
                yield incident.act("exploit", who, item.target, item.data)


def _richest(world: World) -> Campaign | None:
    """Return one of the campaigns that can still pay a good deal."""
    options: list[Campaign] = world.notes.get("campaigns", [])
    filled = [c for c in options if worth(world, c.token, c.place.address) > 2]
    return world.pick(filled) if filled else None


def _again(world: World, incident: Incident, campaign: Campaign, vouchers: list[Voucher]) -> list[Step]:
    """Return claims of the same vouchers that the contracts do not recognise, as far as they can pay."""
    sisters = [c for c in world.notes["campaigns"] if c.signer is campaign.signer]
    where = [campaign.place.address]
    if len(sisters) > 1 and world.chance(0.5):
        incident.variant.append("other-campaign")
        where = [c.place.address for c in sisters if c is not campaign]
        malleable = world.chance(0.3)
    else:
        malleable = True
    if malleable:
        incident.variant.append("malleable")
    most = int(world.rng.integers(1, 4))
    left = {place: world.held(campaign.token, place) for place in where}
    steps = []
    for receiver, amount, number, signature in vouchers:
        others = forms(signature)[:most] if malleable else []
        for place in where:
            for form in others if place == campaign.place.address else [signature, *others]:
                if left[place] >= amount:
                    left[place] -= amount
                    steps.append(step("voucher", place, "claim", receiver, amount, number, form))
    return steps


FAMILIES = (
    Family(
        name="merkle_forgery",
        tier="mimicry",
        split="eval",
        modelled_on="Nomad (2022)",
        about="A bridge trusts the root zero, which every unproven message has; "
        "robbers process payouts to themselves and others copy them.",
        run=merkle_forgery,
    ),
    Family(
        name="signature_replay",
        tier="mimicry",
        split="eval",
        modelled_on="TCH (2024, malleable signatures) and replays between contracts of one signer",
        about="Claim a signed voucher again with its signature in another form, "
        "or at another contract of the same signer.",
        run=signature_replay,
    ),
)
