"""Optimistic bridges: an updater posts roots of messages, which are proved and processed one by one."""

from __future__ import annotations

from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bridge import plain_tokens, stock_up
from pipelines.simulation.habits.merkle import layers, proof
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import (
    Part,
    Place,
    Send,
    Session,
    Tag,
    Token,
    World,
    allow,
    deploy,
    newcomer,
    obtain,
    send,
    someone,
)

NO_ROOT = bytes(32)
_SEND = Tag(kind="bridge_lock")
_CLAIM = Tag(kind="bridge_claim")
_ROOT = Tag(kind="root_update")


@dataclass
class Replica:
    """An optimistic bridge of the world."""

    place: Place
    updater: Account
    domain: int
    sent: int = 0
    """Messages made so far; their number is the nonce of the next."""


def replicas(world: World) -> list[Replica]:
    """Return all of them."""
    return world.notes.get("replicas", [])


def message(replica: Replica, token: Token, to: bytes, amount: int) -> bytes:
    """Return the next message that pays out tokens."""
    replica.sent += 1
    types = ["uint32", "uint256", "uint32", "address", "address", "uint256"]
    fields = (replica.domain + 1, replica.sent, replica.domain, token.address, to, amount)
    return encode(types, fields)


def careless(world: World, replica: Replica) -> bool:
    """Return whether messages pass that were never proved."""
    return bool(world.view("replica", replica.place.address, "acceptableRoot", NO_ROOT))


def send_away(world: World) -> Session:
    """Send tokens to the other chain."""
    replica: Replica = world.pick(replicas(world))
    token: Token = world.pick(replica.place.tokens)
    ether = world.amount(0.9, 1.0)
    who = yield from someone(world, ether)
    got = yield from obtain(world, who, token, ether)
    yield from allow(world, who, token, replica.place.address, got)
    to = who.address if world.chance(0.7) else world.visitor().address
    call = ("send", token.address, got, replica.domain + 1, bytes(12) + to)
    yield send(who, "replica", replica.place.address, *call, tag=_SEND)


def arrivals(world: World) -> Session:
    """The updater posts the root of a batch of messages; receivers or a processor bring them in."""
    replica: Replica = world.pick(replicas(world))
    place = replica.place
    batch, receivers = [], []
    for _ in range(int(world.rng.integers(1, 10))):
        token: Token = world.pick(place.tokens)
        amount = min(token.units(world.amount(0.7, 1.0)), world.held(token, place.address) // 12)
        receivers.append(world.visitor())
        batch.append(message(replica, token, receivers[-1].address, amount))
    tree = layers([keccak(item) for item in batch], by_value=False)
    old = world.view("replica", place.address, "committedRoot")
    yield send(replica.updater, "replica", place.address, "update", old, tree[-1][0], tag=_ROOT)
    yield from wait(world, 20)
    if len(batch) > 1 and world.chance(0.25):
        yield from _bring_all(world, replica, batch, tree)
        return
    processor = replica.updater if world.chance(0.5) else None
    for index, item in enumerate(batch):
        if world.chance(0.15):
            continue
        payer = processor or receivers[index]
        path = proof(tree, index)
        if world.chance(0.3):
            call = ("proveAndProcess", item, path, index)
            yield send(payer, "replica", place.address, *call, tag=_CLAIM)
        else:
            call = ("prove", keccak(item), path, index)
            yield send(payer, "replica", place.address, *call, tag=_CLAIM)
            yield from wait(world, 12)
            yield send(payer, "replica", place.address, "process", item, tag=_CLAIM)


def _bring_all(world: World, replica: Replica, batch: list[bytes], tree: list[list[bytes]]) -> Part:
    """Prove messages one by one, process them all at once."""
    who, place, made = replica.updater, replica.place.address, contract("replica")
    for index, item in enumerate(batch):
        yield send(who, "replica", place, "prove", keccak(item), proof(tree, index), index, tag=_CLAIM)
    bundle = [(place, made.data("process", item)) for item in batch]
    target = world.the("multicall").address
    yield send(who, "multicall", target, "aggregate", bundle, tag=Tag(kind="batch_claim"))


def reconfigure(world: World) -> Session:
    """The owner of a replica initialises its roots anew after an upgrade, or revokes one."""
    yield from set_root(world, world.pick(replicas(world)), careless_now=world.chance(0.45))


def set_root(world: World, replica: Replica, *, careless_now: bool) -> Part:
    """Trust the root of a new, still empty chain of messages (zero), or only roots that were posted."""
    place = replica.place
    if careless_now:
        call = ("setConfirmation", NO_ROOT, 1)
    elif careless(world, replica):
        call = ("setConfirmation", NO_ROOT, 0)
    else:
        call = ("setConfirmation", world.rng.bytes(32), 1)
    yield send(place.owner, "replica", place.address, *call, tag=_ROOT)


def refill(world: World, replica: Replica, ether: float) -> Part:
    """A market maker sends much to the other chain, which fills the vault here."""
    exchange = world.exchanges[world.zipf(len(world.exchanges))]
    for token in replica.place.tokens:
        got = yield from stock_up(world, exchange, token, ether * world.amount(1.0, 0.3))
        yield from allow(world, exchange, token, replica.place.address, got)
        call = ("send", token.address, got, replica.domain + 1, bytes(12) + exchange.address)
        yield send(exchange, "replica", replica.place.address, *call, tag=_SEND)


def make_market(world: World) -> Session:
    """A market maker rebalances between the chains."""
    yield from refill(world, world.pick(replicas(world)), world.amount(5.0, 0.6))


def open_replica(world: World, owner: Account, ether: float) -> Part:
    """Deploy a replica with a trusted first root (often none: zero) and fill its vault."""
    updater = yield from newcomer(world, 6.0, source=owner)
    domain = 2000 + 10 * len(replicas(world))
    root = NO_ROOT if world.chance(0.6) else world.rng.bytes(32)
    choice = plain_tokens(world)
    tokens = tuple(choice[i] for i in (0, 1 + int(world.rng.integers(2)), 3 + int(world.rng.integers(4))))
    call = (domain, updater.address, root)
    place = yield from deploy(world, owner, "replica", *call, tokens=tokens)
    made = Replica(place, updater, domain)
    world.notes.setdefault("replicas", []).append(made)
    yield from refill(world, made, ether)


def new_replica(world: World) -> Session:
    """A team opens another one."""
    owner = yield from someone(world, 12.0, fresh=0.5)
    yield from open_replica(world, owner, 6.0)


def top_up_updater(world: World) -> Session:
    """The owner pays the updater's gas."""
    replica: Replica = world.pick(replicas(world))
    yield Send(replica.place.owner, replica.updater.address, value=10**18, tag=Tag(kind="transfer"))


def found(world: World, founders: list[Account]) -> Part:
    """Open four replicas."""
    for index in (0, 3, 4, 5):
        yield from open_replica(world, founders[index], 22.0)


HABITS = (
    (0.32, send_away),
    (0.176, arrivals),
    (0.096, reconfigure),
    (0.032, make_market),
    (0.024, new_replica),
    (0.024, top_up_updater),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("bridge_claim", "root_update")
