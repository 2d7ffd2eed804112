"""The state of the simulated world as its inhabitants know it, and what they use to act in it.

Everybody who acts is a generator ("session") that yields `Send`s and receives the `Receipt` of each, so
that many of them interleave on one chain and each can react to what happened in between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, Engine, Receipt, SimulationError

ETH = 10**18
FOREVER = 2**256 - 1
DEADLINE = 2_000_000_000


@dataclass(frozen=True)
class Tag:
    """Ground truth of one transaction; the columns of labels.csv behind the hash."""

    label: str = "benign"
    stage: str = ""
    family: str = ""
    incident: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Send:
    """A transaction that a session wants to make; the driver adds gas, fees and nonce."""

    sender: Account
    to: bytes | None
    data: bytes = b""
    value: int = 0
    tag: Tag = Tag()
    fails: str = ""
    """"": it should succeed. "revert": it is meant to fail. "gas": it gets too little gas."""
    audit: Callable[[], None] | None = None
    """Called right after the transaction, before anybody else acts."""


Session = Generator[Send | None, Receipt, None]
Part = Generator[Send | None, Receipt, Any]


@dataclass(frozen=True)
class Token:
    """An ERC-20 of the world; `price` is its price in ether when it was listed."""

    address: bytes
    decimals: int
    price: float
    kind: str
    maker: Account
    """Who listed it and holds most of it."""

    def units(self, ether: float) -> int:
        """Return the amount (base units) that `ether` bought when the token was listed."""
        return int(ether / self.price * 10**self.decimals)


@dataclass(frozen=True)
class Place:
    """A contract that people use, with whoever runs it and what it is about."""

    name: str
    address: bytes
    owner: Account
    tokens: tuple[Token, ...] = ()


@dataclass
class World:
    """Everything that the inhabitants can see: who is there, what has been deployed."""

    engine: Engine
    rng: np.random.Generator
    seed: int
    users: list[Account] = field(default_factory=list)
    exchanges: list[Account] = field(default_factory=list)
    searchers: list[Account] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    places: dict[str, list[Place]] = field(default_factory=dict)
    one_offs: list[Any] = field(default_factory=list)
    """Contracts of the long tail with the functions that they offer (habits/oneoffs.py)."""
    borrowers: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Market -> accounts that have borrowed there, as its events tell."""
    approvals: list[tuple[bytes, Token, bytes]] = field(default_factory=list)
    """(owner, token, spender) of unlimited approvals, as Approval events tell."""
    villains: list[Account] = field(default_factory=list)
    """Accounts that have attacked before."""
    incidents: list[Any] = field(default_factory=list)
    """Finished attacks with what they gained (attacks/incident.py)."""
    notes: dict[str, list[Any]] = field(default_factory=dict)
    """What a group of inhabitants remembers (open proposals, unclaimed airdrops), by a name of its own."""
    created: int = 0

    def account(self) -> Account:
        """Return a fresh account of the world's own sequence."""
        self.created += 1
        return Account.from_seed(f"account {self.seed} {self.created}".encode())

    def add(self, place: Place) -> Place:
        """Make a deployed contract known."""
        self.places.setdefault(place.name, []).append(place)
        return place

    def the(self, name: str) -> Place:
        """Return the first place of a name (there is one router, one factory, one WETH)."""
        return self.places[name][0]

    def some(self, name: str, slope: float = 1.1) -> Place:
        """Return a place of a name, early ones being the more popular (Zipf)."""
        places = self.places[name]
        return places[self.zipf(len(places), slope)]

    def zipf(self, count: int, slope: float = 1.0) -> int:
        """Draw an index below `count` with probability proportional to (index + 1) ** -slope."""
        weights = np.arange(1, count + 1, dtype=np.float64) ** -slope
        return int(np.searchsorted(np.cumsum(weights / weights.sum()), self.rng.random()).clip(0, count - 1))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return bool(self.rng.random() < probability)

    def pick(self, items: Sequence[Any]) -> Any:
        """Return one of the items, all alike."""
        return items[int(self.rng.integers(len(items)))]

    def amount(self, median: float, sigma: float = 1.0) -> float:
        """Draw a heavy-tailed (lognormal) amount, mostly rounded the way people round."""
        value = float(median * np.exp(sigma * self.rng.standard_normal()))
        # Nine digits, because the last bits of exp() differ between processors.
        return float(f"{value:.2g}" if self.chance(0.6) else f"{value:.9g}")

    def view(self, name: str, address: bytes, function: str, *args: Any) -> Any:
        """Read a contract (eth_call); raise SimulationError if it reverts."""
        made = contract(name)
        result = self.engine.read(address, made.data(function, *args))
        if not result.ok or len(result.output) < made.least(function):
            raise SimulationError(f"{name}.{function} at 0x{address.hex()}: the read failed")
        return made.result(function, result.output)

    def held(self, token: Token, account: bytes) -> int:
        """Return a token balance in base units."""
        return int(self.view("token", token.address, "balanceOf", account))

    def ether(self, account: bytes) -> int:
        """Return an ether balance in wei."""
        return int(self.view("multicall", self.the("multicall").address, "getEthBalance", account))

    @property
    def weth(self) -> Token:
        """Wrapped ether, the first token of the world."""
        return self.tokens[0]

    def token(self, slope: float = 1.0, *, start: int = 0) -> Token:
        """Return a token people are interested in: the big ones mostly, the newest now and then."""
        if self.chance(0.14):
            return self.tokens[-1 - int(self.rng.integers(3))]
        return self.tokens[start + self.zipf(len(self.tokens) - start, slope)]

    def pair(self, a: Token, b: Token) -> bytes | None:
        """Return the pool of two tokens, if there is one."""
        found: str = self.view("factory", self.the("factory").address, "getPair", a.address, b.address)
        address = bytes.fromhex(found[2:])
        return address if any(address) else None

    def reserves(self, a: Token, b: Token) -> tuple[int, int]:
        """Return the pool's reserves of `a` and `b` in base units; the pool must exist."""
        pair = self.pair(a, b)
        if pair is None:
            raise SimulationError(f"no pool of 0x{a.address.hex()} and 0x{b.address.hex()}")
        r0, r1, _ = self.view("pair", pair, "getReserves")
        return (r0, r1) if a.address < b.address else (r1, r0)

    def quote(self, path: Sequence[Token], amount: int) -> int:
        """Return what `amount` of path[0] fetches in path[-1] now."""
        for a, b in pairwise(path):
            amount = amount_out(amount, *self.reserves(a, b))
        return amount

    def visitor(self) -> Account:
        """Return an existing user: mostly anybody, else one of the busy ones."""
        if self.chance(0.6):
            return self.users[int(self.rng.integers(len(self.users)))]
        return self.users[self.zipf(len(self.users), 0.8)]


_TRANSFER = Tag(kind="transfer")
_APPROVAL = Tag(kind="approval")
_SWAP = Tag(kind="swap")


def amount_out(amount: int, reserve_in: int, reserve_out: int) -> int:
    """Return the output of a constant-product swap with a fee of 0.3 percent."""
    return amount * 997 * reserve_out // (reserve_in * 1000 + amount * 997)


def send(sender: Account, name: str, to: bytes, function: str, *args: Any, value: int = 0, tag: Tag) -> Send:
    """Return a call of a compiled contract's function as a transaction to make."""
    return Send(sender, to, contract(name).data(function, *args), value, tag)


def step(name: str, to: bytes, function: str, *args: Any, value: int = 0) -> Step:
    """Return the same as a step of an executor or a script."""
    return Step(to, value, contract(name).data(function, *args))


def newcomer(world: World, ether: float, tag: Tag = _TRANSFER, *, source: Account | None = None) -> Part:
    """Make a new account and pay it from an exchange, a friend (or from `source`); return it."""
    account = world.account()
    payer = source or world.exchanges[world.zipf(len(world.exchanges))]
    if source is None and world.chance(0.55):
        friend = world.visitor()
        payer = friend if world.ether(friend.address) > int((ether + 0.1) * ETH) else payer
    yield Send(payer, account.address, value=int(ether * ETH), tag=tag)
    world.users.append(account)
    return account


def someone(world: World, ether: float, *, fresh: float = 0.15) -> Part:
    """Return a user who can pay `ether`: with probability `fresh` a newcomer, else an existing one."""
    if world.chance(fresh):
        account = yield from newcomer(world, ether * 1.3 + 0.05)
        return account
    for _ in range(6):
        account = world.visitor()
        if world.ether(account.address) > int((ether + 0.02) * ETH):
            return account
    account = world.visitor()
    payer = world.exchanges[world.zipf(len(world.exchanges))]
    yield Send(payer, account.address, value=int((ether * 1.2 + 0.1) * ETH), tag=_TRANSFER)
    return account


def allow(
    world: World, who: Account, token: Token, spender: bytes, amount: int, tag: Tag = _APPROVAL
) -> Part:
    """Approve a spender unless it may already take `amount`; most wallets approve without a limit."""
    if world.view("token", token.address, "allowance", who.address, spender) < amount:
        limit = FOREVER if world.chance(0.65) else amount
        yield send(who, "token", token.address, "approve", spender, limit, tag=tag)
        if limit == FOREVER:
            world.approvals.append((who.address, token, spender))


def deploy(world: World, who: Account, name: str, *args: Any, tokens: tuple[Token, ...] = ()) -> Part:
    """Deploy a compiled contract and make it known; return the Place."""
    receipt = yield Send(who, None, contract(name).create(*args), tag=Tag(kind="deployment"))
    return world.add(Place(name, receipt.made, who, tokens))


def obtain(world: World, who: Account, token: Token, ether: float, tag: Tag = _SWAP) -> Part:
    """Buy `ether` worth of a token on the WETH pool (or wrap it); return the amount received."""
    before = world.held(token, who.address)
    wei = int(ether * ETH)
    if token is world.weth:
        yield send(who, "weth", token.address, "deposit", value=wei, tag=tag)
    else:
        least = world.quote([world.weth, token], wei) * 97 // 100
        path = [world.weth.address, token.address]
        call = ("swapExactETHForTokens", least, path, who.address, DEADLINE)
        yield send(who, "router", world.the("router").address, *call, value=wei, tag=tag)
    # Another session of the same account may have spent some in between.
    return max(0, world.held(token, who.address) - before)
