"""Votes for the length of one transaction: pass a proposal that empties the treasury (Beanstalk, 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import Incident, attacker, home, leave, padded, runner
from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import encode_steps, swap_steps
from pipelines.simulation.habits.governance import (
    ACTIVE,
    Organisation,
    fund_treasury,
    majority_at,
    organisations,
    proposal,
    reached,
    state,
)
from pipelines.simulation.habits.saving import as_tuples, wait
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    Part,
    Place,
    Session,
    World,
    amount_out,
    send,
    step,
)

_MOST_LOAN = 3000 * ETH
_MOST_OWN = 700 * ETH
_UNHURRIED = 150
"""Seconds that buying, locking and voting one after another may take."""


@dataclass(frozen=True)
class _Coup:
    """What it takes to outvote everybody in an organisation, and what there is to gain."""

    body: Organisation
    spent: int
    """WETH that buys the votes."""
    bought: int
    """Tokens that it buys."""


def _coup(world: World, body: Organisation) -> _Coup | None:
    """Return how to buy twice the votes that are there, a little more than two thirds of all then."""
    wanted = world.view("governor", body.governor, "total") * 205 // 100
    weth, pool = world.reserves(world.weth, body.token)
    if wanted * 10 > pool * 8:
        return None
    spent = weth * wanted * 1000 // ((pool - wanted) * 997) + 10**12
    return _Coup(body, spent, amount_out(spent, weth, pool))


def _options(world: World, *, most: int, ratio: float) -> list[_Coup]:
    """Return the coups that cost at most `most` and whose treasury is worth `ratio` of the cost."""
    found = []
    for body in organisations(world):
        coup = _coup(world, body)
        if coup is None or coup.spent > most:
            continue
        if world.held(world.weth, body.timelock) > 4 * ETH + int(coup.spent * ratio):
            found.append(coup)
    return found


def governance_flash_loan(world: World, incident: Incident) -> Session:
    """Propose to pay oneself the treasury; buy two thirds of the votes for a moment; execute at once."""
    own_money = world.chance(0.5)
    most, ratio = (_MOST_OWN, 0.6) if own_money else (_MOST_LOAN, 0.04)
    if not _options(world, most=most, ratio=ratio):
        yield from fund_treasury(world)
    options = _options(world, most=most, ratio=ratio)
    if not options:
        return
    coup: _Coup = world.pick(options)
    budget = coup.spent / ETH * (1.2 if own_money else 0.02) + 1.5
    who = yield from attacker(world, incident, budget)
    incident.variant.append("own-money" if own_money else "flash-loan")
    if own_money and world.chance(0.55):
        yield from _by_hand(world, incident, who, coup.body)
    else:
        yield from _by_executor(world, incident, who, coup.body, own_money=own_money)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _propose(world: World, incident: Incident, who: Account, body: Organisation, to: bytes) -> Part:
    """Lock just enough to be allowed to propose, and propose a payment to `to`; return its number."""
    tag = incident.tag("prep")
    pool, weth = world.reserves(body.token, world.weth)
    need = world.view("governor", body.governor, "total") // 900
    wei = max(weth * need // (pool - need) * 11 // 10, ETH // 50)
    path = [world.weth.address, body.token.address]
    buy = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    yield incident.call("prep", who, "router", world.the("router").address, *buy, value=wei)
    held = world.held(body.token, who.address)
    yield send(who, "token", body.token.address, "approve", body.governor, held, tag=tag)
    yield send(who, "governor", body.governor, "deposit", held, tag=tag)
    share = int(world.rng.integers(50, 98)) if world.chance(0.7) else int(world.rng.integers(75, 98))
    steps = [_payment(world, body, to, share)]
    if world.chance(0.4):
        steps.append(Step(to, world.ether(body.timelock) * share // 100, b""))
    number = yield from proposal(world, body, who, steps, tag=tag)
    return number


def _payment(world: World, body: Organisation, to: bytes, share: int) -> Step:
    amount = world.held(world.weth, body.timelock) * share // 100
    return step("token", world.weth.address, "transfer", to, amount)


def _by_executor(
    world: World, incident: Incident, who: Account, body: Organisation, *, own_money: bool
) -> Part:
    """Buy, lock, vote, execute, unlock and sell in one transaction, as soon as that is possible."""
    tool = yield from runner(world, incident, who)
    number = yield from _propose(world, incident, who, body, tool.address)
    yield from reached(world, body, majority_at(world, body, number))
    for _ in range(12):
        yield from wait(world, 12)
        coup = _coup(world, body)
        if coup is None:
            continue
        steps = _steps(world, coup, number, tool)
        value = coup.spent if own_money else 0
        if own_money:
            steps.insert(0, step("weth", world.weth.address, "deposit", value=coup.spent))
            data = contract("executor").data("run", as_tuples(steps))
        else:
            lender = world.pick(world.places["flash_lender"]).address
            loan = (lender, world.weth.address, coup.spent, encode_steps(steps))
            data = contract("executor").data("flash", *loan)
        if world.engine.call(who.address, tool.address, data, value).ok:
            yield incident.act("exploit", who, tool.address, data, value)
            yield from home(world, incident, who, tool)
            return


def _steps(world: World, coup: _Coup, number: int, tool: Place) -> list[Step]:
    body, weth, governor = coup.body, world.weth, coup.body.governor
    steps = swap_steps(world, [weth, body.token], coup.spent, tool.address)
    steps += [
        step("token", body.token.address, "approve", governor, coup.bought),
        step("governor", governor, "deposit", coup.bought),
        step("governor", governor, "castVote", number, 1),
        step("governor", governor, "emergencyCommit", number),
        step("governor", governor, "withdraw", coup.bought),
    ]
    steps += swap_steps(world, [body.token, weth], coup.bought, tool.address)
    return padded(world, steps)


def _by_hand(world: World, incident: Incident, who: Account, body: Organisation) -> Part:
    """The same in ordinary-looking transactions; only the votes' number is out of the ordinary."""
    incident.variant.append("by-hand")
    number = yield from _propose(world, incident, who, body, who.address)
    governor, token, router = body.governor, body.token.address, world.the("router").address
    commit = contract("governor").data("emergencyCommit", number)
    yield from reached(world, body, majority_at(world, body, number))
    coup = _coup(world, body)
    left = world.view("governor", governor, "proposals", number)[1] - world.view(
        "governor", governor, "clock"
    )
    if coup is None or left < _UNHURRIED or world.ether(who.address) < coup.spent + ETH // 5:
        return
    held = yield from _buy_votes(world, incident, who, coup)
    yield incident.call("prep", who, "governor", governor, "castVote", number, 1)
    before = incident.gain
    stage = "exit"
    if world.engine.call(who.address, governor, commit, 0).ok:
        stage = "exploit"
        yield incident.act(stage, who, governor, commit)
    loot = incident.gain - before
    while state(world, body, number) == ACTIVE:
        yield from wait(world, 12)
    yield incident.call(stage, who, "governor", governor, "withdraw", held)
    yield incident.call("prep", who, "token", token, "approve", router, held)
    sell = ("swapExactTokensForETH", held, 1, [token, world.weth.address], who.address, DEADLINE)
    yield incident.call(stage, who, "router", router, *sell)
    if incident.gain <= 0:
        incident.damage = loot


def _buy_votes(world: World, incident: Incident, who: Account, coup: _Coup) -> Part:
    """Buy and lock the tokens; return how many."""
    body, token = coup.body, coup.body.token.address
    path = [world.weth.address, token]
    buy = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    yield incident.call("prep", who, "router", world.the("router").address, *buy, value=coup.spent)
    held = world.held(body.token, who.address)
    yield incident.call("prep", who, "token", token, "approve", body.governor, held)
    yield incident.call("prep", who, "governor", body.governor, "deposit", held)
    return held


FAMILIES = (
    Family(
        name="governance_flash_loan",
        tier="structural",
        split="eval",
        modelled_on="Beanstalk (2022)",
        about="Propose to pay oneself the treasury, buy two thirds of the votes for a moment, "
        "execute at once.",
        run=governance_flash_loan,
    ),
)
