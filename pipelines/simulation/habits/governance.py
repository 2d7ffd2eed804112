"""Organisations that decide by vote: members lock tokens, propose, vote, execute; a treasury pays grants."""

from __future__ import annotations

from dataclasses import dataclass, field

from eth_utils.crypto import keccak

from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, Receipt
from pipelines.simulation.founding import list_token, name
from pipelines.simulation.habits.bots import swap_steps
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.upgrades import Pool, bought, endow, implementation, open_pool
from pipelines.simulation.proxies import change_admin, upgrade_to
from pipelines.simulation.world import (
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
    deploy,
    send,
    someone,
    step,
)

ACTIVE, SUCCEEDED = 1, 4
_GOVERNANCE = Tag(kind="governance")
_DELEGATION = Tag(kind="delegation")
_VOTE = Tag(kind="vote")
_PROPOSAL = Tag(kind="proposal")
_EXECUTION = Tag(kind="governance_execution")
_EMERGENCY = Tag(kind="emergency_commit")
_TREASURY = Tag(kind="treasury_funding")
_DEPLOYMENT = Tag(kind="deployment")
_CREATED = keccak(text="ProposalCreated(uint256,address,address[],uint256[],bytes[],uint256,string)")
_PURPOSES = ("grant", "fee", "period", "delay", "upgrade", "refund", "work")


@dataclass
class Organisation:
    """A governor with its timelock (which holds the treasury), its token and the people in it."""

    governor: bytes
    timelock: bytes
    token: Token
    team: list[Account]
    pool: Pool | None = None
    members: list[Account] = field(default_factory=list)


def organisations(world: World) -> list[Organisation]:
    """Return the organisations, oldest first."""
    found: list[Organisation] = world.notes.setdefault("organisation", [])
    return found


def found(world: World, founders: list[Account]) -> Part:
    """Open three organisations, two of which run a savings pool."""
    yield from endow(world, founders)
    for index in range(3):
        team = [founders[(index + offset) % len(founders)] for offset in range(3)]
        yield from open_organisation(world, team, world.amount(110.0, 0.2), governs=index < 2)


def open_organisation(world: World, team: list[Account], ether: float, *, governs: bool) -> Part:
    """List a token, deploy governor and timelock, fill the treasury, lock the team's votes."""
    first = team[0]
    price = float(f"{10 ** world.rng.uniform(-3.5, -1):.2g}")
    token = yield from list_token(world, first, 18, price, "token", ether)
    delay, period = int(world.rng.integers(60, 200)), int(world.rng.integers(320, 600))
    timelock = yield from deploy(world, first, "timelock", delay)
    emergency = int(world.rng.integers(24, 90))
    terms = (token.address, timelock.address, period, emergency, int(world.rng.integers(4, 20)) * 100)
    governor: Place = yield from deploy(world, first, "governor", *terms)
    yield send(first, "timelock", timelock.address, "setGovernor", governor.address, tag=_DEPLOYMENT)
    made = Organisation(governor.address, timelock.address, token, team)
    for person in team:
        yield from _lock(world, made, person, ether * 0.03)
    yield from _fill(world, made, first, ether * 0.5)
    if governs:
        made.pool = yield from open_pool(world, first, world.weth, ether * 0.2, collides=False)
        made.pool.governed = True
        handed = contract("pool_v1").data("transferOwnership", timelock.address)
        for data in (handed, change_admin(timelock.address)):
            yield Send(first, made.pool.address, data, tag=Tag(kind="ownership_transfer"))
    organisations(world).append(made)


def _lock(world: World, body: Organisation, who: Account, ether: float) -> Part:
    """Buy votes and lock them."""
    got = yield from bought(world, who, body.token, ether)
    yield from allow(world, who, body.token, body.governor, got)
    yield send(who, "governor", body.governor, "deposit", got, tag=_GOVERNANCE)


def _fill(world: World, body: Organisation, who: Account, ether: float) -> Part:
    """Pay ether and wrapped ether into the treasury."""
    got = yield from bought(world, who, world.weth, ether * 0.7)
    paid = ("transfer", body.timelock, got)
    yield send(who, "token", world.weth.address, *paid, tag=_TREASURY)
    yield Send(who, body.timelock, value=int(ether * 0.3 * ETH), tag=_TREASURY)


def an_organisation(world: World) -> Organisation:
    """Return an organisation, the newest a little more often."""
    options = organisations(world)
    return options[-1] if world.chance(0.2) else options[world.zipf(len(options), 0.4)]


def votes(world: World, body: Organisation, who: Account) -> int:
    """Return the votes of an account, delegated ones included."""
    return int(world.view("governor", body.governor, "getVotes", who.address))


def state(world: World, body: Organisation, proposal: int) -> int:
    """Return the state of a proposal as the governor numbers them."""
    return int(world.view("governor", body.governor, "state", proposal))


def until(world: World, body: Organisation, proposal: int, passed: int) -> Part:
    """Wait until a proposal is no longer in the state `passed`."""
    for _ in range(60):
        yield from wait(world, 16)
        if state(world, body, proposal) != passed:
            return


def reached(world: World, body: Organisation, when: int) -> Part:
    """Wait until the chain's time (Unix seconds) is `when`."""
    for _ in range(100):
        if world.view("governor", body.governor, "clock") >= when:
            return
        yield from wait(world, 12)


def majority_at(world: World, body: Organisation, number: int) -> int:
    """Return when two thirds of all votes may first carry out a proposal (Unix seconds)."""
    start = world.view("governor", body.governor, "proposals", number)[0]
    return int(start + world.view("governor", body.governor, "emergencyPeriod"))


def join(world: World) -> Session:
    """Lock tokens for votes, perhaps delegate them; perhaps leave later."""
    body = an_organisation(world)
    who = yield from someone(world, 3.0)
    yield from _lock(world, body, who, min(world.amount(0.7, 0.8), 2.5))
    body.members.append(who)
    if world.chance(0.45):
        to = world.pick(body.team if world.chance(0.7) else body.members)
        yield send(who, "governor", body.governor, "delegate", to.address, tag=_DELEGATION)
    if world.chance(0.45):
        yield from wait(world, 90)
        held = world.view("governor", body.governor, "deposits", who.address)
        yield send(who, "governor", body.governor, "withdraw", held, tag=_GOVERNANCE)


def join_and_vote(world: World) -> Session:
    """Buy, lock and vote in one transaction of an executor; sometimes leave again in another one."""
    body = an_organisation(world)
    who = yield from someone(world, 3.0, fresh=0.3)
    tool = yield from executor_of(world, who)
    me, governor, weth = tool.address, body.governor, world.weth
    wei = int(min(world.amount(0.8, 0.7), 2.5) * ETH)
    got = world.quote([weth, body.token], wei) * 98 // 100
    steps = [step("weth", weth.address, "deposit", value=wei)]
    steps += swap_steps(world, [weth, body.token], wei, me)
    steps.append(step("token", body.token.address, "approve", governor, FOREVER))
    steps.append(step("governor", governor, "deposit", got))
    last = world.view("governor", governor, "count")
    if last > 0 and state(world, body, last) == ACTIVE:
        steps.append(step("governor", governor, "castVote", last, 1))
    yield send(who, "executor", me, "run", as_tuples(steps), value=wei, tag=_GOVERNANCE)
    if world.chance(0.5):
        yield from wait(world, 90)
        steps = [step("governor", governor, "withdraw", got)]
        steps += swap_steps(world, [body.token, weth], got, me)
        yield send(who, "executor", me, "run", as_tuples(steps), tag=_GOVERNANCE)


def _actions(world: World, body: Organisation) -> list[Step]:
    """Return what a proposal is to do: one to three payments, another setting, or an upgrade."""
    purpose = world.pick(_PURPOSES)
    if purpose == "fee" and body.pool is not None:
        fee = int(world.rng.integers(1, 30)) * 50
        return [step("pool_v1", body.pool.address, "setFee", fee, body.timelock)]
    if purpose == "upgrade" and body.pool is not None:
        return [Step(body.pool.address, 0, upgrade_to(implementation(world, 2)))]
    if purpose == "period":
        period = int(world.rng.integers(320, 600))
        return [step("governor", body.governor, "setVotingPeriod", period)]
    if purpose == "delay":
        return [step("timelock", body.timelock, "updateDelay", int(world.rng.integers(60, 200)))]
    share = 0.85 if purpose == "refund" and world.chance(0.3) else 0.02 + 0.2 * world.rng.random()
    count = int(world.rng.choice([1, 1, 1, 2, 3]))
    return [_grant(world, body, share / count) for _ in range(count)]


def _grant(world: World, body: Organisation, share: float) -> Step:
    """Return a payment of a share of the treasury's ether or wrapped ether to somebody."""
    to = world.visitor().address if world.chance(0.5) else world.account().address
    if world.chance(0.7):
        amount = int(world.held(world.weth, body.timelock) * share)
        return step("token", world.weth.address, "transfer", to, amount)
    return Step(to, int(world.ether(body.timelock) * share), b"")


def proposal(world: World, body: Organisation, who: Account, steps: list[Step], *, tag: Tag) -> Part:
    """Propose; return the number of the proposal."""
    targets = [each.target for each in steps]
    calls = [each.data for each in steps]
    about = " ".join(name(world) for _ in range(int(world.rng.integers(2, 7))))
    call = ("propose", targets, [each.value for each in steps], calls, about)
    receipt: Receipt = yield send(who, "governor", body.governor, *call, tag=tag)
    created = next(log for log in receipt.logs if log.topics[0] == _CREATED)
    return int.from_bytes(created.data[:32], "big")


def _voters(world: World, body: Organisation) -> list[Account]:
    """Return the team and some of the members."""
    some = [world.pick(body.members) for _ in range(int(world.rng.integers(0, 4)))] if body.members else []
    return list({who.address: who for who in [*body.team, *some]}.values())


def propose(world: World) -> Session:
    """Propose something, let people vote, and carry it out after the delay if it passes."""
    body = an_organisation(world)
    who = world.pick(body.team)
    if votes(world, body, who) == 0:
        yield from _lock(world, body, who, 2.0)
    number = yield from proposal(world, body, who, _actions(world, body), tag=_PROPOSAL)
    popular = world.chance(0.8)
    for voter in _voters(world, body):
        yield from wait(world, 4)
        support = 1 if popular or world.chance(0.2) else 0
        if state(world, body, number) == ACTIVE and votes(world, body, voter) > 0:
            yield send(voter, "governor", body.governor, "castVote", number, support, tag=_VOTE)
    yield from until(world, body, number, ACTIVE)
    if state(world, body, number) != SUCCEEDED:
        return
    runner = yield from someone(world, 0.1)
    yield send(runner, "governor", body.governor, "queue", number, tag=_GOVERNANCE)
    yield from reached(world, body, world.view("governor", body.governor, "proposals", number)[4])
    yield send(runner, "governor", body.governor, "execute", number, tag=_EXECUTION)


def emergency(world: World) -> Session:
    """The team proposes and, with two thirds of all votes, carries it out at once."""
    body = an_organisation(world)
    first = body.team[0]
    number = yield from proposal(world, body, first, _actions(world, body), tag=_PROPOSAL)
    for voter in [*body.team[1:], *body.members[:2]]:
        if votes(world, body, voter) > 0 and not _voted(world, body, number, voter):
            yield send(voter, "governor", body.governor, "castVote", number, 1, tag=_VOTE)
    yield from _reach_majority(world, body, number)
    if _voted(world, body, number, first):
        return
    yield send(first, "governor", body.governor, "castVote", number, 1, tag=_VOTE)
    yield from reached(world, body, majority_at(world, body, number))
    backing = world.view("governor", body.governor, "proposals", number)[2]
    if backing * 3 >= world.view("governor", body.governor, "total") * 2:
        yield send(first, "governor", body.governor, "emergencyCommit", number, tag=_EMERGENCY)


def _voted(world: World, body: Organisation, number: int, who: Account) -> bool:
    return bool(world.view("governor", body.governor, "hasVoted", number, who.address))


def _reach_majority(world: World, body: Organisation, number: int) -> Part:
    """Let the first of the team lock what is missing to two thirds, if that is not too dear."""
    first = body.team[0]
    total = world.view("governor", body.governor, "total")
    backing = world.view("governor", body.governor, "proposals", number)[2] + votes(world, body, first)
    missing = 2 * total - 3 * backing
    pool, ether = world.reserves(body.token, world.weth)
    if 0 < missing < pool // 2:
        cost = missing * ether / (pool - missing) / ETH * 1.03
        if cost < 40 and world.ether(first.address) > int((cost + 1) * ETH):
            yield from _lock(world, body, first, cost)


def fund_treasury(world: World) -> Session:
    """An organisation with little money receives revenue, paid in through a friendly exchange."""
    body = min(organisations(world), key=lambda each: world.held(world.weth, each.timelock))
    payer = world.exchanges[world.zipf(len(world.exchanges))]
    yield from _fill(world, body, payer, world.amount(22.0, 0.5))


def new_organisation(world: World) -> Session:
    """Three people found an organisation."""
    first = yield from someone(world, 75.0, fresh=0.8)
    team = [first]
    for _ in range(2):
        other = yield from someone(world, 4.0, fresh=0.6)
        if other not in team:
            team.append(other)
    yield from open_organisation(world, team, 30.0 + 12.0 * world.rng.random(), governs=False)


HABITS = (
    (0.4, join),
    (0.15, join_and_vote),
    (0.25, propose),
    (0.09, emergency),
    (0.12, fund_treasury),
    (0.025, new_organisation),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("governance", "governance_execution", "emergency_commit")
"""Kinds of its transactions that look like attacks in one respect or another."""
