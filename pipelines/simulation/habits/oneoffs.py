"""The long tail: little contracts that somebody deploys and a few people call, no two alike."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulation import bytecode as evm
from pipelines.simulation.bytecode import Assembler, Body
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import ETH, FOREVER, Send, Session, Tag, Token, World, obtain, send, someone

_DEPLOYMENT = Tag(kind="deployment")
_ONE_OFF = Tag(kind="one_off")


@dataclass(frozen=True)
class Function:
    """A public function of a one-off contract: what it is called by and how to call it sensibly."""

    selector: bytes
    action: str
    words: int
    payable: bool
    frames: int = 1
    """How many calls one use of it makes, itself included, where others may build on it."""


Peer = tuple[bytes, Function]
"""(contract, its function) that another contract calls."""
_MOST_FRAMES = 900


@dataclass
class OneOff:
    """A deployed one-off contract."""

    address: bytes
    functions: list[Function]
    token: Token


def build(world: World, who: Account, token: Token, peer: Peer | None) -> tuple[bytes, list[Function]]:
    """Assemble a contract of 2 to 8 functions; return its creation code and its functions."""
    actions = ["count", "register", "deposit", "refund", "forward", "look", "note", "roll", "split"]
    actions += ["pull"] if world.chance(0.5) else []
    actions += ["ping"] if peer is not None else []
    chosen = [str(world.pick(actions)) for _ in range(int(world.rng.integers(2, 9)))]
    functions, bodies = [], []
    for action in chosen:
        selector = world.rng.bytes(4)
        topic = world.rng.bytes(32)
        if action == "ping" and peer is not None:
            target, below = peer
            times = min(_MOST_FRAMES // below.frames, int(world.amount(3.0, 1.4)) + 1)
            body, words, payable = _ping(target, below.selector, times), 1, False
            frames = 1 + times * below.frames
        else:
            body, words, payable = _body(world, action, who, token, topic)
            frames = 1
        functions.append(Function(selector, action, words, payable=payable, frames=frames))
        bodies.append((selector, body))
    return evm.deploy_code(evm.contract_code(bodies)), functions


def _body(world: World, action: str, who: Account, token: Token, topic: bytes) -> tuple[Body, int, bool]:
    """Return (code of the body, number of argument words, whether it takes ether)."""
    slot = int(world.rng.integers(0, 200))
    times = int(world.rng.geometric(0.3))
    if action == "count":
        return _count(slot, topic), 1, False
    if action == "register":
        return _register(topic), 2, False
    if action == "deposit":
        return _deposit(topic), 0, True
    if action == "refund":
        return _refund(), 0, False
    if action in ("forward", "split"):
        people = [who.address] if action == "forward" else [world.visitor().address for _ in range(1 + times)]
        return _split(people), 0, True
    if action == "note":
        return _note(topic), int(world.rng.integers(1, 12)), False
    if action == "roll":
        return _roll(topic), 1, True
    if action == "pull":
        return _pull(token, topic), 1, False
    return _look(world, who, times, slot), 0, False


def _count(slot: int, topic: bytes) -> Body:
    def body(asm: Assembler) -> None:
        asm.push(4).op(evm.CALLDATALOAD).push(slot).op(evm.SLOAD, evm.ADD, evm.DUP1).push(slot).op(evm.SSTORE)
        asm.op(evm.PUSH0, evm.MSTORE).push(topic).push(32).op(evm.PUSH0, evm.LOG1)

    return body


def _register(topic: bytes) -> Body:
    def body(asm: Assembler) -> None:
        asm.op(evm.CALLER, evm.PUSH0, evm.MSTORE).push(4).op(evm.CALLDATALOAD).push(32).op(evm.MSTORE)
        asm.push(36).op(evm.CALLDATALOAD).push(64).op(evm.PUSH0, evm.SHA3, evm.SSTORE)
        asm.op(evm.CALLER).push(topic).push(64).op(evm.PUSH0, evm.LOG2)

    return body


def _mine(asm: Assembler) -> Assembler:
    """Push the storage slot of the caller."""
    return asm.op(evm.CALLER, evm.PUSH0, evm.MSTORE).push(32).op(evm.PUSH0, evm.SHA3)


def _deposit(topic: bytes) -> Body:
    def body(asm: Assembler) -> None:
        _mine(asm).op(evm.DUP1, evm.SLOAD, evm.CALLVALUE, evm.ADD, evm.SWAP1, evm.SSTORE)
        asm.op(evm.CALLVALUE, evm.PUSH0, evm.MSTORE, evm.CALLER).push(topic).push(32).op(evm.PUSH0, evm.LOG2)

    return body


def _refund() -> Body:
    def body(asm: Assembler) -> None:
        _mine(asm).op(evm.DUP1, evm.SLOAD, evm.SWAP1, evm.PUSH0, evm.SWAP1, evm.SSTORE)
        asm.op(evm.PUSH0, evm.PUSH0, evm.PUSH0, evm.PUSH0, evm.DUP5, evm.CALLER, evm.GAS, evm.CALL)
        asm.require_call()

    return body


def _split(people: list[bytes]) -> Body:
    def body(asm: Assembler) -> None:
        for person in people:
            asm.op(evm.PUSH0, evm.PUSH0, evm.PUSH0, evm.PUSH0).push(len(people)).op(evm.CALLVALUE, evm.DIV)
            asm.push(person).op(evm.GAS, evm.CALL)
            asm.require_call()

    return body


def _note(topic: bytes) -> Body:
    def body(asm: Assembler) -> None:
        asm.op(evm.CALLDATASIZE, evm.PUSH0, evm.PUSH0, evm.CALLDATACOPY, evm.CALLER).push(topic)
        asm.op(evm.CALLDATASIZE, evm.PUSH0, evm.LOG2)

    return body


def _roll(topic: bytes) -> Body:
    def body(asm: Assembler) -> None:
        lost = asm.label()
        asm.op(evm.TIMESTAMP, evm.PUSH0, evm.MSTORE, evm.CALLER).push(32).op(evm.MSTORE)
        asm.push(64).op(evm.PUSH0, evm.SHA3).push(3).op(evm.AND, evm.DUP1, evm.PUSH0, evm.MSTORE)
        asm.push_label(lost).op(evm.JUMPI)
        asm.op(evm.PUSH0, evm.PUSH0, evm.PUSH0, evm.PUSH0, evm.CALLVALUE, evm.CALLER, evm.GAS, evm.CALL)
        asm.require_call()
        asm.place(lost).op(evm.CALLER).push(topic).push(32).op(evm.PUSH0, evm.LOG2)

    return body


def _pull(token: Token, topic: bytes) -> Body:
    head = bytes.fromhex("23b872dd")

    def body(asm: Assembler) -> None:
        asm.push(head + bytes(28)).op(evm.PUSH0, evm.MSTORE, evm.CALLER).push(4).op(evm.MSTORE, evm.ADDRESS)
        asm.push(36).op(evm.MSTORE).push(4).op(evm.CALLDATALOAD).push(68).op(evm.MSTORE)
        asm.op(evm.PUSH0, evm.PUSH0).push(100).op(evm.PUSH0, evm.PUSH0).push(token.address).op(
            evm.GAS, evm.CALL
        )
        asm.require_call()
        asm.op(evm.CALLER).push(topic).push(32).push(68).op(evm.LOG2)

    return body


def _ping(peer: bytes, selector: bytes, times: int) -> Body:
    def body(asm: Assembler) -> None:
        asm.push(selector + bytes(28)).op(evm.PUSH0, evm.MSTORE).push(4).op(evm.CALLDATALOAD).push(4).op(
            evm.MSTORE
        )
        for _ in range(times):
            asm.op(evm.PUSH0, evm.PUSH0).push(36).op(evm.PUSH0, evm.PUSH0).push(peer).op(evm.GAS, evm.CALL)
            asm.require_call()

    return body


def _look(world: World, who: Account, times: int, slot: int) -> Body:
    seen = [world.token().address for _ in range(times)]

    def body(asm: Assembler) -> None:
        asm.push(bytes.fromhex("70a08231") + bytes(28)).op(evm.PUSH0, evm.MSTORE).push(who.address)
        asm.push(4).op(evm.MSTORE)
        for token in seen:
            asm.push(32).push(64).push(36).op(evm.PUSH0).push(token).op(evm.GAS, evm.STATICCALL)
            asm.require_call()
            asm.push(64).op(evm.MLOAD).push(slot).op(evm.SSTORE)

    return body


def one_off(world: World) -> Session:
    """Deploy a one-off contract, then let its maker and some others use it."""
    who = yield from someone(world, 0.6, fresh=0.4)
    token = world.token()
    peer = _peer(world)
    code, functions = build(world, who, token, peer)
    receipt = yield Send(who, None, code, tag=_DEPLOYMENT)
    made = OneOff(receipt.made, functions, token)
    world.one_offs.append(made)
    yield from _use(world, who, made)
    for _ in range(int(world.rng.geometric(0.55)) - 1):
        yield from wait(world, 25)
        user = yield from someone(world, 0.5, fresh=0.35)
        yield from _use(world, user, made)


def visit_one_off(world: World) -> Session:
    """Somebody uses a one-off contract that has been there for a while."""
    if world.one_offs:
        user = yield from someone(world, 0.5, fresh=0.3)
        yield from _use(world, user, world.one_offs[world.zipf(len(world.one_offs), 0.9)])


def _peer(world: World) -> Peer | None:
    """Return some contract's counting function, if there is one that is not too long already."""
    for _ in range(4):
        if world.one_offs:
            made = world.pick(world.one_offs)
            for function in made.functions:
                if function.action in ("count", "ping") and function.frames <= _MOST_FRAMES // 2:
                    return made.address, function
    return None


def _use(world: World, user: Account, made: OneOff) -> Session:
    function: Function = world.pick(made.functions)
    data = function.selector
    for _ in range(function.words):
        data += _word(world)
    if function.action == "pull":
        amount = yield from obtain(world, user, made.token, 0.05)
        yield send(
            user, "token", made.token.address, "approve", made.address, FOREVER, tag=Tag(kind="approval")
        )
        data = function.selector + amount.to_bytes(32, "big")
    value = int(world.amount(0.03, 0.8) * ETH) if function.payable else 0
    yield Send(user, made.address, data, min(value, ETH // 3), tag=_ONE_OFF)


def _word(world: World) -> bytes:
    """Return an argument: a small number, an amount, an address, a hash or a short text."""
    draw = int(world.rng.integers(5))
    if draw == 0:
        return int(world.rng.integers(1, 500)).to_bytes(32, "big")
    if draw == 1:
        return int(world.amount(1.0, 1.0) * ETH).to_bytes(32, "big")
    if draw == 2:
        return world.visitor().address.rjust(32, b"\0")
    if draw == 3:
        return world.rng.bytes(32)
    return world.rng.bytes(int(world.rng.integers(2, 12))).hex().encode().ljust(32, b"\0")


def relay(world: World) -> Session:
    """A stack of contracts that hand every call down, as routers, proxies and registries do."""
    who = yield from someone(world, 0.8, fresh=0.4)
    below = _peer(world)
    made = None
    for _ in range(int(world.rng.integers(3, 13))):
        if below is None:
            return
        selector = world.rng.bytes(4)
        address, function = below
        times = 2 if function.frames <= _MOST_FRAMES // 2 and world.chance(0.2) else 1
        bodies = [(selector, _ping(address, function.selector, times))]
        receipt = yield Send(who, None, evm.deploy_code(evm.contract_code(bodies)), tag=_DEPLOYMENT)
        top = Function(selector, "ping", 1, payable=False, frames=1 + times * function.frames)
        made = OneOff(receipt.made, [top], world.weth)
        below = (made.address, top)
    for _ in range(int(world.rng.integers(1, 6))):
        user = yield from someone(world, 0.5, fresh=0.35)
        if made is not None:
            yield from _use(world, user, made)
        yield from wait(world, 20)


HABITS = (
    (14.0, one_off),
    (3.0, visit_one_off),
    (0.5, relay),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ()
