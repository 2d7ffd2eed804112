"""What all attacks share: who attacks, through which contract, how the gain is measured, how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.simulation.bytecode import Reaction, Step, script_code
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, SimulationError
from pipelines.simulation.habits.bots import encode_steps
from pipelines.simulation.habits.saving import as_tuples
from pipelines.simulation.world import ETH, Part, Place, Send, Tag, Token, World, step


@dataclass
class Incident:
    """One attack: its transactions' tags and what it has gained so far."""

    world: World
    family: str
    name: str
    variant: list[str] = field(default_factory=list)
    assets: list[Token] = field(default_factory=list)
    """Tokens that count as gain besides ether and WETH, at the price that they had when first counted."""
    prices: dict[bytes, float] = field(default_factory=dict)
    """Token -> ether per base unit, of the assets counted so far."""
    parties: list[bytes] = field(default_factory=list)
    """The attacker's accounts and contracts."""
    gain: float = 0.0
    """Ether, gas paid."""
    damage: float = 0.0
    """What others lost that the attacker did not gain, in ether; for attacks that destroy or lock."""
    exploits: int = 0

    def tag(self, stage: str) -> Tag:
        """Return the label of a transaction of this incident."""
        return Tag("attack", stage, self.family, self.name, "")

    def wealth(self) -> float:
        """Return what the attacker's parties hold, in ether."""
        total = 0.0
        counted = {token.address: token for token in [self.world.weth, *self.assets]}
        for party in dict.fromkeys(self.parties):
            total += self.world.ether(party) / ETH
            for token in counted.values():
                total += self.world.held(token, party) * self._price(token)
        return total

    def _price(self, token: Token) -> float:
        """Return a token's price in ether per base unit as the WETH pool gave it when first asked."""
        if token.address not in self.prices:
            pool = token is not self.world.weth and self.world.pair(self.world.weth, token) is not None
            weth, other = self.world.reserves(self.world.weth, token) if pool else (0, 0)
            listed = token.price / 10**token.decimals
            self.prices[token.address] = weth / ETH / other if other else listed
        return self.prices[token.address]

    def measured(self, wanted: Send) -> Send:
        """Return a transaction of this incident such that its effect on the attacker's wealth is measured."""
        if wanted.audit is not None or wanted.tag.stage not in ("prep", "exploit"):
            return wanted
        before = self.wealth()

        def audit() -> None:
            self.gain += self.wealth() - before
            self.exploits += wanted.tag.stage == "exploit"

        return replace(wanted, audit=audit)

    def act(self, stage: str, who: Account, to: bytes | None, data: bytes, value: int = 0) -> Send:
        """Return a transaction whose effect on the attacker's wealth is measured right after it."""
        return self.measured(Send(who, to, data, value, self.tag(stage)))

    def call(self, stage: str, who: Account, name: str, to: bytes, *call: Any, value: int = 0) -> Send:
        """Return a call of a compiled contract's function as such a transaction."""
        return self.act(stage, who, to, contract(name).data(*call), value)

    def finish(self) -> None:
        """Check that the attack paid, or did damage, and put it on record."""
        if self.gain <= 0 and self.damage <= 0:
            raise SimulationError(f"{self.name} ({' '.join(self.variant)}): gained {self.gain:.4f} ether")
        self.world.incidents.append(self)


def attacker(world: World, incident: Incident, ether: float) -> Part:
    """Return the attacking account with `ether` to spend: new, or an old user or searcher gone bad."""
    stage = incident.tag("fund")
    payer = world.exchanges[world.zipf(len(world.exchanges))]
    draw = world.rng.random()
    if draw < 0.43:
        account = world.account()
        incident.variant.append("new-account")
        yield Send(payer, account.address, value=int((ether * 1.2 + 0.3) * ETH), tag=stage)
    else:
        account = _known(world, draw)
        incident.variant.append("old-account")
        if world.ether(account.address) < int((ether + 0.3) * ETH):
            yield Send(payer, account.address, value=int((ether * 1.2 + 0.5) * ETH), tag=stage)
    if account not in world.villains:
        world.villains.append(account)
    incident.parties.append(account.address)
    return account


def _known(world: World, draw: float) -> Account:
    """Return somebody who has been about: an attacker of before, a searcher, the owner of a tool, a user."""
    if draw < 0.46 and world.villains:
        return world.villains[int(world.rng.integers(len(world.villains)))]
    if draw < 0.47:
        return world.searchers[world.zipf(len(world.searchers), 0.5)]
    if draw < 0.75 and world.places.get("executor"):
        owners = {place.owner.address: place.owner for place in world.places["executor"]}
        return list(owners.values())[int(world.rng.integers(len(owners)))]
    return world.visitor()


def runner(world: World, incident: Incident, who: Account) -> Part:
    """Return an executor of the attacker: one that he has used before, or a new one.

    A new one may lie idle for a while, so whatever depends on the state is to be read afterwards.
    """
    for place in world.places.get("executor", []):
        if place.owner is who:
            incident.parties.append(place.address)
            return place
    receipt = yield Send(who, None, contract("executor").create(), tag=incident.tag("prep"))
    incident.parties.append(receipt.made)
    if world.chance(0.8):
        for _ in range(int(world.rng.integers(60))):
            yield None
    return world.add(Place("executor", receipt.made, who))


def padded(world: World, steps: list[Step]) -> list[Step]:
    """Return the steps, now and then with harmless reads strewn in."""
    if not world.chance(0.4):
        return steps
    result = list(steps)
    for _ in range(int(world.rng.integers(1, 6))):
        token = world.tokens[world.zipf(len(world.tokens))]
        read = step("token", token.address, "balanceOf", world.visitor().address)
        result.insert(int(world.rng.integers(len(result) + 1)), read)
    return result


def run_steps(world: World, incident: Incident, who: Account, tool: Place, steps: list[Step]) -> Part:
    """Run steps through an executor in one exploiting transaction."""
    value = max(0, sum(s.value for s in steps if s.target != tool.address))
    data = contract("executor").data("run", as_tuples(padded(world, steps)))
    yield incident.act("exploit", who, tool.address, data, value)


def run_flash(
    world: World,
    incident: Incident,
    who: Account,
    tool: Place,
    steps: list[Step],
    loan: int,
    *,
    value: int = 0,
) -> Part:
    """Run steps through an executor inside a flash loan of WETH."""
    lender = world.pick(world.places["flash_lender"]).address
    data = encode_steps(padded(world, steps))
    call = contract("executor").data("flash", lender, world.weth.address, loan, data)
    yield incident.act("exploit", who, tool.address, call, value)


def run_script(
    world: World,
    incident: Incident,
    who: Account,
    steps: list[Step],
    *,
    inner: list[Step] | None = None,
    reenter: Step | None = None,
    floor: int = 0,
    reactions: Sequence[Reaction] = (),
    value: int = 0,
) -> Part:
    """Deploy a contract written for this one purpose, then call it; steps name it as SELF.

    Returns:
        Whether it was called: its constants are stale if somebody else was faster.
    """
    selector = world.rng.bytes(4)
    code = script_code(selector, steps, inner or [], reenter=reenter, floor=floor, reactions=reactions)
    receipt = yield Send(who, None, code, tag=incident.tag("prep"))
    incident.parties.append(receipt.made)
    if world.chance(0.6):
        for _ in range(int(world.rng.integers(25))):
            yield None
    if not world.engine.call(who.address, receipt.made, selector, value).ok:
        return False
    yield incident.act("exploit", who, receipt.made, selector, value)
    return True


def home(world: World, incident: Incident, who: Account, tool: Place) -> Part:
    """Bring ether and WETH from an executor back to its owner (exit)."""
    steps = []
    held = world.held(world.weth, tool.address)
    if held > 0:
        steps.append(step("weth", world.weth.address, "transfer", who.address, held))
    ether = world.ether(tool.address)
    if ether > 0:
        steps.append(Step(who.address, ether, b""))
    if steps:
        data = contract("executor").data("run", as_tuples(steps))
        yield Send(who, tool.address, data, tag=incident.tag("exit"))


def leave(world: World, incident: Incident, who: Account) -> Part:
    """Move part of the loot on: to an exchange, to new accounts, or nowhere yet."""
    amount = int(max(0.0, min(incident.gain, world.ether(who.address) / ETH - 0.2)) * 0.9 * ETH)
    if amount <= 0 or world.chance(0.25):
        return
    count = int(world.rng.integers(1, 4))
    for _ in range(count):
        to = world.exchanges[world.zipf(len(world.exchanges))] if world.chance(0.3) else world.account()
        if world.ether(who.address) > amount // count + ETH // 10:
            yield Send(who, to.address, value=amount // count, tag=incident.tag("exit"))
