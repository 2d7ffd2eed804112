"""Bridges between chains: people lock tokens or ether, keepers sign, relayers execute what arrives.

Both ends of a bridge are on the simulated chain, besides chains that nobody here can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from pipelines.simulation.compile import contract
from pipelines.simulation.engine import NATIVE, Account, Receipt
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.habits.signing import sign
from pipelines.simulation.world import (
    ETH,
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

EXECUTION = Tag(kind="bridge_execution")
_LOCK = Tag(kind="bridge_lock")
_TENDING = Tag(kind="bridge_tending")
_SETUP = Tag(kind="deployment")
_SENT = keccak(text="CrossChainEvent(address,bytes32,uint64,bytes)")
_UNLOCK = keccak(text="unlock(bytes,bytes,uint64)")[:4]
_MESSAGE = ["bytes32", "uint64", "address", "address", "bytes4", "bytes"]
_PLAIN_KINDS = ("weth", "token", "permit_token")
Message = tuple[int, bytes, bytes, bytes, bytes]
"""(source chain, sending contract, target contract, method, arguments)."""


@dataclass
class Bridge:
    """One end of a bridge."""

    place: Place
    manager: bytes
    data: bytes
    chain: int
    keepers: list[Account]
    relayers: list[Account]
    peers: dict[int, bytes]
    """Vault on each other chain that may send messages; only one of them is on this chain."""


def plain_tokens(world: World) -> list[Token]:
    """Return the tokens that move exactly what they are told to move."""
    return [token for token in world.tokens if token.kind in _PLAIN_KINDS]


def bridges(world: World) -> list[Bridge]:
    """Return every end of every bridge."""
    return world.notes.get("bridges", [])


def other_end(world: World, end: Bridge) -> Bridge:
    """Return the end that `end` is connected with on this chain."""
    return next(b for b in bridges(world) if b.chain in end.peers and b is not end)


def stock(world: World, end: Bridge, token: Token | None) -> int:
    """Return what the vault of an end holds of a token, or of ether (None), in base units."""
    vault = end.place.address
    return world.ether(vault) if token is None else world.held(token, vault)


def pack(rng_id: bytes, message: Message) -> bytes:
    """Encode a message as the manager does; `rng_id` are its 32 bytes of identity."""
    return encode(_MESSAGE, (rng_id, *message))


def unlock_args(token: Token | None, to: bytes, amount: int) -> bytes:
    """Return the arguments of a vault's `unlock`."""
    asset = NATIVE if token is None else token.address
    return encode(["address", "address", "uint256"], (asset, to, amount))


def inbound(world: World, end: Bridge, token: Token | None, to: bytes, amount: int) -> bytes:
    """Return a message that unlocks tokens, from a chain that is not simulated."""
    ends = {b.chain for b in bridges(world)}
    chain = next(c for c in end.peers if c not in ends)
    args = unlock_args(token, to, amount)
    source = (chain, end.peers[chain], end.place.address, _UNLOCK, args)
    return pack(world.rng.bytes(32), source)


def sent_messages(receipt: Receipt) -> list[bytes]:
    """Return the messages that a transaction sent, as its events tell."""
    return [decode(["bytes32", "uint64", "bytes"], log.data)[2] for log in receipt.logs if _sent(log.topics)]


def _sent(topics: Sequence[bytes]) -> bool:
    return bool(topics) and topics[0] == _SENT


def signatures(keepers: list[Account], digest: bytes) -> bytes:
    """Return the signatures of as many keepers as are needed."""
    needed = len(keepers) - (len(keepers) - 1) // 3
    return b"".join(sign(keeper, digest) for keeper in keepers[:needed])


def key_bytes(keepers: list[Account]) -> bytes:
    """Return the keepers' addresses as the data contract stores them."""
    return b"".join(keeper.address for keeper in keepers)


def execution(end: Bridge, message: bytes) -> bytes:
    """Return the calldata that executes a message signed by the keepers."""
    return signed_by(end, end.keepers, message)


def signed_by(end: Bridge, keepers: list[Account], message: bytes) -> bytes:
    """Return the calldata that executes a message at an end, signed by whichever keepers."""
    signed = signatures(keepers, keccak(message + end.chain.to_bytes(32, "big")))
    return contract("bridge_manager").data("verifyHeaderAndExecuteTx", message, signed)


def execute(world: World, end: Bridge, messages: list[bytes], who: Account | None = None) -> Part:
    """Let a relayer (or `who`) execute messages, several at once now and then."""
    yield from mend(world, end)
    payer = who or world.pick(end.relayers)
    orders = [execution(end, message) for message in messages]
    if len(orders) > 1 and world.chance(0.6):
        target = world.the("multicall").address
        bundle = [(end.manager, order) for order in orders]
        yield send(payer, "multicall", target, "aggregate", bundle, tag=EXECUTION)
        return
    for order in orders:
        yield Send(payer, end.manager, order, tag=EXECUTION)


def mend(world: World, end: Bridge) -> Part:
    """The owner puts the keepers back if somebody has replaced them."""
    if world.view("bridge_data", end.data, "getCurEpochConPubKeyBytes") != key_bytes(end.keepers):
        call = ("resetBookKeeper", key_bytes(end.keepers))
        yield send(end.place.owner, "bridge_manager", end.manager, *call, tag=_TENDING)


def stock_up(world: World, who: Account, token: Token, ether: float) -> Part:
    """Buy tokens; return how many of them are still there for somebody who does several things at once."""
    got = yield from obtain(world, who, token, ether)
    return max(0, min(got, world.held(token, who.address)))


def refill(world: World, end: Bridge, token: Token | None, ether: float) -> Part:
    """The owner adds liquidity to the vault."""
    owner, vault = end.place.owner, end.place.address
    if world.ether(owner.address) < int((ether * 1.1 + 0.5) * ETH):
        payer = world.exchanges[world.zipf(len(world.exchanges))]
        yield Send(payer, owner.address, value=int((ether * 1.3 + 1) * ETH), tag=Tag(kind="transfer"))
    if token is None:
        yield Send(owner, vault, value=int(ether * ETH), tag=_TENDING)
        return
    got = yield from stock_up(world, owner, token, ether)
    yield send(owner, "token", token.address, "transfer", vault, got, tag=_TENDING)


def bridge_out(world: World) -> Session:
    """Lock tokens or ether for another chain; if that chain is this one too, a relayer pays them out."""
    end: Bridge = world.pick(bridges(world))
    token: Token | None = None if world.chance(0.45) else world.pick(end.place.tokens)
    ether = world.amount(0.8, 1.0)
    who = yield from someone(world, ether)
    amount = int(ether * ETH)
    if token is not None:
        amount = yield from obtain(world, who, token, ether)
        yield from allow(world, who, token, end.place.address, amount)
    chain = world.pick(list(end.peers))
    to = who.address if world.chance(0.7) else world.account().address
    asset = NATIVE if token is None else token.address
    call = ("lock", asset, chain, to, amount)
    value = amount if token is None else 0
    receipt = yield send(who, "bridge", end.place.address, *call, value=value, tag=_LOCK)
    far = other_end(world, end)
    if chain != far.chain:
        return
    yield from wait(world, 25)
    if stock(world, far, token) < amount:
        yield from refill(world, far, token, ether * 3)
    yield from execute(world, far, sent_messages(receipt), who if world.chance(0.2) else None)


def bridge_in(world: World) -> Session:
    """Tokens arrive from a chain out of sight, one transfer or a batch of them."""
    end: Bridge = world.pick(bridges(world))
    messages = []
    own = world.chance(0.3)
    who = yield from someone(world, 0.1)
    for _ in range(1 if own or world.chance(0.6) else int(world.rng.integers(2, 6))):
        token: Token | None = None if world.chance(0.45) else world.pick(end.place.tokens)
        ether = world.amount(0.8, 1.0)
        wanted = int(ether * ETH) if token is None else token.units(ether)
        amount = min(wanted, stock(world, end, token) // 8)
        to = who if own else world.visitor()
        messages.append(inbound(world, end, token, to.address, amount))
    yield from execute(world, end, messages, who if own else None)


def bridge_message(world: World) -> Session:
    """Call a contract on the other end with an arbitrary method, as cross-chain applications do."""
    fine = ("count", "register", "note", "look")
    options = [(m, f) for m in world.one_offs[-60:] for f in m.functions if f.action in fine]
    if not options:
        return
    target, function = world.pick(options)
    end: Bridge = world.pick(bridges(world))
    far = other_end(world, end)
    who = yield from someone(world, 0.2)
    args = world.rng.bytes(int(world.rng.integers(1, 8)) * 20)
    call = ("crossChain", far.chain, target.address, function.selector, args)
    receipt = yield send(who, "bridge_manager", end.manager, *call, tag=Tag(kind="bridge_message"))
    yield from wait(world, 20)
    yield from execute(world, far, sent_messages(receipt), who if world.chance(0.35) else None)


def rotate_keepers(world: World) -> Session:
    """The keepers of both ends hand over to others, one or all of them."""
    end: Bridge = world.pick(bridges(world))
    after = list(end.keepers)
    after[int(world.rng.integers(len(after)))] = world.account()
    for side in (end, other_end(world, end)):
        yield from mend(world, side)
        content = keccak(side.chain.to_bytes(32, "big") + key_bytes(after))
        call = ("changeBookKeeper", key_bytes(after), signatures(side.keepers, content))
        tag = Tag(kind="keeper_rotation")
        yield send(world.pick(side.relayers), "bridge_manager", side.manager, *call, tag=tag)
        side.keepers = list(after)


def tend_bridge(world: World) -> Session:
    """The owner looks after the vault: more liquidity, another asset."""
    end: Bridge = world.pick(bridges(world))
    yield from mend(world, end)
    token: Token | None = None if world.chance(0.4) else world.pick(end.place.tokens)
    if world.chance(0.25):
        token = world.pick(plain_tokens(world))
        call = ("bindAssetHash", token.address, True)
        yield send(end.place.owner, "bridge", end.place.address, *call, tag=_TENDING)
    yield from refill(world, end, token, world.amount(8.0, 0.7))


def open_bridge(world: World, owner: Account, ether: float) -> Part:
    """Deploy both ends of a bridge, connect them and fill their vaults; each has an unseen peer too."""
    keepers = [world.account() for _ in range(int(world.rng.integers(1, 5)))]
    relayers = []
    for _ in range(2):
        relayer = yield from newcomer(world, 12.0, source=owner)
        relayers.append(relayer)
    first = 100 + 2 * len(bridges(world))
    ends = []
    for chain in (first, first + 1):
        tokens = tuple(plain_tokens(world)[i] for i in (0, 1, 2 + int(world.rng.integers(4))))
        place, manager, data = yield from _deploy_end(world, owner, chain, keepers, tokens)
        ends.append(Bridge(place, manager, data, chain, list(keepers), relayers, {}))
    for end, far in (ends, ends[::-1]):
        for chain, vault in ((far.chain, far.place.address), (end.chain + 9000, world.account().address)):
            end.peers[chain] = vault
            call = ("bindProxyHash", chain, vault)
            yield send(owner, "bridge", end.place.address, *call, tag=_SETUP)
    world.notes.setdefault("bridges", []).extend(ends)
    for end in ends:
        for token in (None, *end.place.tokens):
            yield from refill(world, end, token, ether * world.amount(1.0, 0.3))


def _deploy_end(
    world: World, owner: Account, chain: int, keepers: list[Account], tokens: tuple[Token, ...]
) -> Part:
    """Deploy data, manager and vault; return (Place of the vault, manager, data)."""
    data = yield Send(owner, None, contract("bridge_data").create(key_bytes(keepers)), tag=_SETUP)
    manager = yield Send(owner, None, contract("bridge_manager").create(data.made, chain), tag=_SETUP)
    yield send(owner, "bridge_data", data.made, "transferOwnership", manager.made, tag=_SETUP)
    place = yield from deploy(world, owner, "bridge", manager.made, tokens=tokens)
    for token in tokens:
        yield send(owner, "bridge", place.address, "bindAssetHash", token.address, True, tag=_SETUP)
    return place, manager.made, data.made


def new_bridge(world: World) -> Session:
    """A team opens another bridge."""
    owner = yield from someone(world, 150.0, fresh=0.5)
    yield from open_bridge(world, owner, 8.0)


def found(world: World, founders: list[Account]) -> Part:
    """Open two bridges, four ends in all."""
    for index in (2, 4):
        yield from open_bridge(world, founders[index], 45.0)


HABITS = (
    (0.44, bridge_out),
    (0.44, bridge_in),
    (0.24, bridge_message),
    (0.08, rotate_keepers),
    (0.08, tend_bridge),
    (0.012, new_bridge),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("bridge_execution", "keeper_rotation")
