"""Bridges: a message that replaces the keepers (Poly Network 2021), a deposit of nothing (Qubit 2022)."""

from __future__ import annotations

from eth_utils.crypto import keccak

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import NATIVE, Account, Receipt
from pipelines.simulation.habits import bridge as bridging
from pipelines.simulation.habits.bridge import Bridge, bridges, other_end, stock
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import ETH, Part, Place, Send, Session, Tag, Token, World

Order = tuple[Token | None, int]
"""(token, or None for ether; amount in base units)."""
_LONGEST = 576
"""Bytes of calldata that a step of an executor may have."""
_PUT_KEYS = keccak(text="putCurEpochConPubKeyBytes(bytes)")[:4]


def worth(world: World, end: Bridge, token: Token | None) -> float:
    """Return what a vault's stock of a token (or ether) is worth, in ether."""
    held = stock(world, end, token)
    return held / ETH if token is None else held * token.price / 10**token.decimals


def _assets(world: World, end: Bridge) -> list[Token | None]:
    """Return what is worth taking from a vault."""
    assets: list[Token | None] = [None, *end.place.tokens]
    return [token for token in assets if worth(world, end, token) > 0.5]


def bridge_selector(world: World, incident: Incident) -> Session:
    """Send a message to the contract that knows the keepers, become keeper, unlock everything."""
    options = [end for end in bridges(world) if _assets(world, end)]
    if not options:
        return
    end: Bridge = world.pick(options)
    who = yield from attacker(world, incident, 0.5)
    tool = None
    if world.chance(0.25):
        tool = yield from runner(world, incident, who)
    keeper = who if world.chance(0.6) else world.account()
    at_once = world.chance(0.2)
    incident.variant.append("at-once" if at_once else "taken-over-first")
    message = yield from _order_keys(world, incident, who, end, keeper)
    yield from wait(world, 60)
    yield from bridging.mend(world, end)
    before = [Step(end.manager, 0, bridging.execution(end, message))]
    if not at_once:
        yield incident.act("exploit", who, end.manager, before.pop().data)
    plan = _choose(world, incident, end)
    if at_once or tool is not None or world.chance(0.15):
        yield from _unlock_bundled(world, incident, who, tool, end, keeper, before, plan)
    else:
        yield from _unlock_by_hand(world, incident, who, end, keeper, plan)
    incident.finish()
    yield from leave(world, incident, who)


def _choose(world: World, incident: Incident, end: Bridge) -> list[Order]:
    """Choose what to take, in how many pieces."""
    assets = _assets(world, end)
    count = int(world.rng.integers(1, len(assets) + 1))
    chosen = [assets[i] for i in sorted(world.rng.choice(len(assets), count, replace=False))]
    incident.assets.extend(t for t in chosen if t is not None and t is not world.weth)
    permille = 1000 if world.chance(0.4) else int(world.rng.integers(50, 950))
    parts = int(world.rng.integers(2, 4)) if world.chance(0.4) else 1
    amounts = [(token, stock(world, end, token) * permille // 1000 // parts) for token in chosen]
    return [order for order in amounts for _ in range(parts)]


def _unlock_bundled(
    world: World,
    incident: Incident,
    who: Account,
    tool: Place | None,
    end: Bridge,
    keeper: Account,
    before: list[Step],
    plan: list[Order],
) -> Part:
    """Unlock everything in one transaction, after the steps that take the bridge over."""
    if not before:
        yield from _stay_keeper(world, incident, who, end, keeper)
    steps = [*before, *(_unlock(world, end, keeper, who, order) for order in plan)]
    if tool is not None and all(len(s.data) <= _LONGEST for s in steps):
        incident.variant.append("executor")
        yield from run_steps(world, incident, who, tool, steps[:11])
        yield from home(world, incident, who, tool)
        return
    incident.variant.append("multicall")
    target = world.the("multicall").address
    bundle = [(s.target, s.data) for s in steps]
    yield incident.call("exploit", who, "multicall", target, "aggregate", bundle)


def _unlock_by_hand(
    world: World, incident: Incident, who: Account, end: Bridge, keeper: Account, plan: list[Order]
) -> Part:
    """Unlock piece by piece; whoever else uses the bridge meanwhile may have it mended."""
    incident.variant.append("by-hand")
    for order in plan:
        yield from _stay_keeper(world, incident, who, end, keeper)
        unlock = _unlock(world, end, keeper, who, order)
        yield incident.act("exploit", who, unlock.target, unlock.data)


def _stay_keeper(world: World, incident: Incident, who: Account, end: Bridge, keeper: Account) -> Part:
    """Take the bridge over again if its owner has put the keepers back."""
    keys = world.view("bridge_data", end.data, "getCurEpochConPubKeyBytes")
    if keys != keeper.address:
        again = bridging.execution(end, _from_afar(world, who, end, keeper))
        yield incident.act("exploit", who, end.manager, again)


def _order_keys(world: World, incident: Incident, who: Account, end: Bridge, keeper: Account) -> Part:
    """Get the message that replaces the keepers signed: sent from the other end, or from out of sight."""
    if world.chance(0.5):
        incident.variant.append("sent-from-here")
        far = other_end(world, end)
        call = ("crossChain", end.chain, end.data, _PUT_KEYS, keeper.address)
        receipt: Receipt = yield incident.call("prep", who, "bridge_manager", far.manager, *call)
        return bridging.sent_messages(receipt)[0]
    incident.variant.append("sent-from-afar")
    return _from_afar(world, who, end, keeper)


def _from_afar(world: World, who: Account, end: Bridge, keeper: Account) -> bytes:
    source = (max(end.peers), who.address, end.data, _PUT_KEYS, keeper.address)
    return bridging.pack(world.rng.bytes(32), source)


def _unlock(world: World, end: Bridge, keeper: Account, who: Account, order: Order) -> Step:
    """Return the execution of an unlocking message that only the attacker's key has signed."""
    token, wanted = order
    amount = min(wanted, stock(world, end, token))
    message = bridging.inbound(world, end, token, who.address, amount)
    return Step(end.manager, 0, bridging.signed_by(end, [keeper], message))


def bridge_fake_deposit(world: World, incident: Incident) -> Session:
    """Lock ether without paying any (the zero address takes every call), get it paid out at the other end."""
    options = [end for end in bridges(world) if worth(world, other_end(world, end), None) > 3]
    if not options:
        return
    end: Bridge = world.pick(options)
    far = other_end(world, end)
    who = yield from attacker(world, incident, 0.4)
    draw = world.rng.random()
    tool = None
    if draw < 0.22:
        tool = yield from runner(world, incident, who)
    count = int(world.rng.choice([1, 1, 2, 2, 3, 5]))
    share = 0.02 + 0.9 * world.rng.random() ** 2
    each = int(stock(world, far, None) * share / count)
    lock = contract("bridge").data("lock", NATIVE, far.chain, who.address, each)
    incident.variant.append(f"deposits-{count}")
    messages: list[bytes] = []
    if tool is not None or draw > 0.9:
        steps = [Step(end.place.address, 0, lock)] * count
        incident.variant.append("multicall" if tool is None else "executor")
        target, data = _bundle(world, steps) if tool is None else _run(tool.address, steps)
        receipt: Receipt = yield incident.act("exploit", who, target, data)
        messages += bridging.sent_messages(receipt)
    else:
        incident.variant.append("by-hand")
        for _ in range(count):
            receipt = yield incident.act("exploit", who, end.place.address, lock)
            messages += bridging.sent_messages(receipt)
    yield from _collect(world, incident, who, far, messages)
    incident.finish()
    yield from leave(world, incident, who)


def _bundle(world: World, steps: list[Step]) -> tuple[bytes, bytes]:
    """Return (target, calldata) of a multicall of steps without ether."""
    data = contract("multicall").data("aggregate", [(s.target, s.data) for s in steps])
    return world.the("multicall").address, data


def _run(tool: bytes, steps: list[Step]) -> tuple[bytes, bytes]:
    """Return (target, calldata) of an executor's run."""
    return tool, contract("executor").data("run", [(s.target, s.value, s.data) for s in steps])


def _collect(world: World, incident: Incident, who: Account, far: Bridge, messages: list[bytes]) -> Part:
    """Get the deposits paid out: an honest relayer does it, or the attacker brings the signed messages.

    What the relayer does is a payout like any other, so it is grey; as preparation its gain is counted.
    """
    own = world.chance(0.35)
    incident.variant.append("collected-himself" if own else "paid-by-relayer")
    for message in messages:
        yield from wait(world, 20)
        yield from bridging.mend(world, far)
        amount = int.from_bytes(message[-32:], "big")
        if stock(world, far, None) < amount:
            yield from bridging.refill(world, far, None, amount * 1.5 / ETH)
        if own:
            yield incident.act("exploit", who, far.manager, bridging.execution(far, message))
            continue
        relayer: Account = world.pick(far.relayers)
        grey = Tag("grey", "prep", incident.family, incident.name, bridging.EXECUTION.kind)
        paid = Send(relayer, far.manager, bridging.execution(far, message), tag=grey)
        yield incident.measured(paid)


FAMILIES = (
    Family(
        name="bridge_selector",
        tier="structural",
        split="eval",
        modelled_on="Poly Network (2021)",
        about="A cross-chain message calls the contract that stores the keepers and names the attacker; "
        "his own signature then unlocks the vault.",
        run=bridge_selector,
    ),
    Family(
        name="bridge_fake_deposit",
        tier="mimicry",
        split="eval",
        modelled_on="Qubit (2022)",
        about="Deposit ether at a bridge without sending any, since a transfer from the zero address "
        "succeeds; relayers pay it out at the other end.",
        run=bridge_fake_deposit,
    ),
)
