"""What all attacks of the Solana world share: who attacks, how the loot leaves, how damage is verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from blockscan.chains.solana_layouts import TOKEN
from pipelines.simulation.engine import SimulationError
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana.actors import Label, Token, User
from pipelines.simulation.solana.daily import deposit_address, newcomer
from pipelines.simulation.solana.world import SOL, Session, World


@dataclass
class Incident:
    """One attack: its name and family, the choices made, and what it took, from balances.

    `taken` sums the base units (or lamports, or accounts frozen) that victims lost in exploit
    transactions; `unit` says which.
    """

    name: str
    family: str
    unit: str = "tokens"
    variant: list[str] = field(default_factory=list)
    taken: int = 0
    victims: int = 0

    def label(self, stage: str) -> Label:
        """The label of a transaction of this attack: fund, prep, exploit or exit."""
        return Label("attack", stage, self.family, self.name)

    def choose(self, world: World, *options: str) -> str:
        """Take one of some options, and remember it."""
        chosen = world.pick(options)
        self.variant.append(chosen)
        return chosen

    def verify(self, lost: int, gained: int | None = None) -> None:
        """Count what an exploit took.

        Raises:
            SimulationError: nobody lost anything, or the attacker did not get what was lost.
        """
        if lost <= 0 or (gained is not None and gained != lost):
            raise SimulationError(f"{self.name}: lost {lost}, gained {gained}")
        self.taken += lost


_FRESH = 0.12
"""Share of attackers with a new wallet; at this one the age of a sender tells little."""
_BUSY = 0.3
"""Share of old attackers who issue a token, and so have sent more than most."""
Family = Callable[[World, Incident], Session]


def attacker(world: World, incident: Incident) -> User:
    """An old wallet with a history, or a new one that an exchange pays like any other newcomer."""
    incident.variant.append("fresh" if world.chance(_FRESH) else "old")
    if incident.variant[-1] == "old":
        for _ in range(30):
            user = world.popular(world.tokens).issuer if world.chance(_BUSY) else world.someone()
            if world.spare(user) > SOL // 10:
                return user
    user = newcomer(world)
    exchange = world.popular(world.exchanges)
    amount = world.sol_amount(1.5) + SOL // 5
    world.must(exchange, [ix.pay(exchange.address, user.address, amount)], incident.label("fund"))
    return user


def holders(world: World, token: Token, count: int, *without: User) -> list[User]:
    """Up to `count` people who hold a token and can sign, one at least.

    Raises:
        SimulationError: nobody holds it.
    """
    found: list[User] = []
    for _ in range(count * 6):
        user = world.holder(token, above=100)
        if user is not None and user not in found and user not in without and user is not token.issuer:
            found.append(user)
        if len(found) == count:
            break
    if not found:
        raise SimulationError("nobody holds the token that was to be stolen")
    return found


def target_token(world: World) -> Token:
    """A popular token of SPL Token, not of Token-2022, with a good number of holders."""
    fit = [token for token in world.tokens if len(token.holders) >= 4 and token.program == TOKEN]
    return world.popular(fit)


def cash_out(world: World, incident: Incident, thief: User, token: Token) -> Session:
    """Loot to a deposit address at an exchange, or spread over new wallets; or it stays."""
    way = incident.choose(world, "deposit", "spread", "keep")
    if way == "keep":
        return
    yield world.wait(20)
    targets = [deposit_address(world, thief)] if way == "deposit" else [newcomer(world) for _ in range(3)]
    for target in targets:
        held = world.balance(thief, token)
        if held < len(targets) or world.spare(thief) < 5_000_000:
            return
        amount = held if way == "deposit" else held // 3
        move = world.transfer(token, thief.account(token), target.account(token), thief.address, amount)
        world.must(thief, [*world.opening(thief, target, token), move], incident.label("exit"))
        yield world.wait(4)


def rich(world: World, *without: User) -> User:
    """Somebody with at least one token besides lamports."""
    for _ in range(200):
        user = world.someone()
        held = any(world.balance(user, token) for token in user.tokens)
        if held and user not in without and world.spare(user) > 30_000_000:
            return user
    raise SimulationError("nobody holds anything")
