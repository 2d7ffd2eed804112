"""Lending pools used through contracts: flash leverage and deleverage, hooks, liquidations."""

from __future__ import annotations

from pipelines.simulation.bytecode import SELF, Reaction, Step, script_code
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import encode_steps, searcher, swap_steps
from pipelines.simulation.habits.lending_pools import (
    Market,
    Pool,
    cash,
    fund,
    mint_step,
    nudge_factor,
    pools,
    price,
    priced,
    repay_step,
)
from pipelines.simulation.habits.odd_tokens import RECEIVED, register
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
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
    send,
    someone,
    step,
)

_DEPLOYMENT = Tag(kind="deployment")
_LEVERAGE = Tag(kind="flash_leverage")
_DELEVERAGE = Tag(kind="flash_deleverage")
_COLLATERAL = Tag(kind="collateral_swap")
_CONTRACT = Tag(kind="contract_borrower")
_LIQUIDATION = Tag(kind="liquidation")
ETHER_RECEIVED = bytes(4)
"""What a script takes for the selector when it gets plain ether."""


def swappable(world: World, pool: Pool) -> list[tuple[Market, Token]]:
    """Return the markets of tokens whose prices are known and that have something to lend."""
    return [
        (market, market.token)
        for market in pool.markets
        if market.token is not None
        and priced(world, pool, market)
        and cash(world, market) > market.units(4.0)
    ]


def leverage(world: World) -> Session:
    """Multiply an ether position with a flash loan; later change its collateral, or unwind it."""
    pool: Pool = world.pick(pools(world))
    options = swappable(world, pool)
    if not options:
        return
    debt, token = world.pick(options)
    own = min(world.amount(2.0, 0.8), 25.0)
    who = yield from someone(world, own + 0.1, fresh=0.3)
    tool = yield from executor_of(world, who)
    wei = int(own * ETH)
    loan = int(_most(world, pool, own) * (0.25 + 0.7 * world.rng.random()) * ETH)
    borrowed = loan * token.units(1.0) // ETH
    for _ in range(8):
        if world.quote([token, world.weth], borrowed) > loan * 1002 // 1000:
            break
        borrowed = borrowed * 11 // 10
    worth = borrowed * price(world, pool, debt) // ETH
    if borrowed > cash(world, debt) * 6 // 10 or worth > _most(world, pool, own) * ETH:
        return
    steps = [
        step("weth", world.weth.address, "withdraw", loan),
        mint_step(pool.markets[0], loan + wei),
        step("comptroller", pool.place.address, "enterMarkets", [pool.markets[0].address]),
        step("ctoken", debt.address, "borrow", borrowed),
        *swap_steps(world, [token, world.weth], borrowed, tool.address),
    ]
    yield from _flash(world, who, tool, loan, steps, wei, _LEVERAGE)
    if world.chance(0.6):
        yield from wait(world, 60)
        yield from _unwind(world, pool, who, tool, debt, token)


def _most(world: World, pool: Pool, own: float) -> float:
    """Return how much ether may be borrowed at most against itself and `own` ether, with a margin."""
    call = ("collateralFactor", pool.markets[0].address)
    factor = world.view("comptroller", pool.place.address, *call) / ETH * 0.97
    return float(f"{own * factor / (1.13 - factor):.9g}")


def _flash(
    world: World, who: Account, tool: Place, loan: int, steps: list[Step], value: int, tag: Tag
) -> Part:
    lender = world.pick(world.places["flash_lender"]).address
    call = ("flash", lender, world.weth.address, loan, encode_steps(steps))
    yield send(who, "executor", tool.address, *call, value=value, tag=tag)


def _unwind(world: World, pool: Pool, who: Account, tool: Place, debt: Market, token: Token) -> Part:
    """Borrow WETH, buy back the debt, repay it, free the ether, pay the loan."""
    ether = pool.markets[0]
    owed = world.view("ctoken", debt.address, "borrowBalanceStored", tool.address)
    held = world.view("ctoken", ether.address, "balanceOf", tool.address)
    rate = world.view("ctoken", ether.address, "exchangeRateStored")
    loan = ETH // 100
    while loan < 400 * ETH and world.quote([world.weth, token], loan) < owed * 1001 // 1000:
        loan = loan * 5 // 4
    if held * rate // ETH < loan * 101 // 100 or cash(world, ether) < held * rate // ETH:
        return
    if world.chance(0.35):
        yield from _other_collateral(world, pool, who, tool, debt)
        return
    steps = [
        *swap_steps(world, [world.weth, token], loan, tool.address),
        step("token", token.address, "approve", debt.address, FOREVER),
        repay_step(debt, FOREVER),
        step("ctoken", ether.address, "redeem", held),
        step("weth", world.weth.address, "deposit", value=loan * 1002 // 1000),
    ]
    yield from _flash(world, who, tool, loan, steps, 0, _DELEVERAGE)
    rest = world.ether(tool.address)
    if rest > 0:
        home = as_tuples([Step(who.address, rest, b"")])
        yield send(who, "executor", tool.address, "run", home, tag=Tag(kind="automation"))


def _other_collateral(world: World, pool: Pool, who: Account, tool: Place, debt: Market) -> Part:
    """Exchange a part of the ether collateral for a token, within one flash loan."""
    options = [(market, token) for market, token in swappable(world, pool) if market is not debt]
    if not options:
        return
    market, token = world.pick(options)
    ether = pool.markets[0]
    held = world.view("ctoken", ether.address, "balanceOf", tool.address)
    loan = held * world.view("ctoken", ether.address, "exchangeRateStored") // ETH // 8
    got = world.quote([world.weth, token], loan)
    steps = [
        *swap_steps(world, [world.weth, token], loan, tool.address),
        step("token", token.address, "approve", market.address, got),
        mint_step(market, got),
        step("comptroller", pool.place.address, "enterMarkets", [market.address]),
        step("ctoken", ether.address, "redeemUnderlying", loan * 1002 // 1000),
        step("weth", world.weth.address, "deposit", value=loan * 1002 // 1000),
    ]
    yield from _flash(world, who, tool, loan, steps, 0, _COLLATERAL)


def contract_borrower(world: World) -> Session:
    """A contract borrows, or takes collateral out, and acts at once on what it is paid."""
    pool: Pool = world.pick(pools(world))
    hooked = [entry for entry in swappable(world, pool) if entry[1].kind == "hook_token"]
    wei = int(min(world.amount(0.8, 0.7), 4.0) * ETH)
    who = yield from someone(world, wei / ETH + 0.1)
    ether, comptroller = pool.markets[0], pool.place.address
    opening = [mint_step(ether, wei), step("comptroller", comptroller, "enterMarkets", [ether.address])]
    if hooked and world.chance(0.5):
        debt, token = world.pick(hooked)
        amount = wei * (20 + int(world.rng.integers(30))) // 100 * ETH // price(world, pool, debt)
        steps = [register(world, SELF), *opening, step("ctoken", debt.address, "borrow", amount)]
        reaction = Reaction(RECEIVED, _on_token(world, pool, who, token, amount))
    else:
        part = wei * int(world.rng.integers(10, 50)) // 100
        call = "redeemUnderlying" if world.chance(0.4) else "borrow"
        steps = [*opening, step("ctoken", ether.address, call, part)]
        reaction = Reaction(ETHER_RECEIVED, _on_ether(world, pool, who, part))
    if world.chance(0.4):
        tool = yield from executor_of(world, who)
        yield from _through_executor(who, tool, steps, reaction, wei)
        return
    selector = world.rng.bytes(4)
    receipt = yield Send(who, None, script_code(selector, steps, reactions=[reaction]), tag=_DEPLOYMENT)
    yield Send(who, receipt.made, selector, wei, tag=_CONTRACT)


def _on_token(world: World, pool: Pool, who: Account, token: Token, amount: int) -> list[Step]:
    """Return what the contract does when borrowed tokens arrive: pass on, sell, or borrow elsewhere too."""
    if world.chance(0.35):
        return [step("token", token.address, "transfer", who.address, amount)]
    others = [
        (other, market)
        for other in pools(world)
        for market in other.markets
        if other is not pool and market.token is token and priced(world, other, market)
    ]
    if not others or world.chance(0.4):
        return swap_steps(world, [token, world.weth], amount, who.address)
    other, market = world.pick(others)
    ether = amount * price(world, other, market) // ETH * int(world.rng.integers(10, 45)) // 100
    nested = [
        step("token", token.address, "approve", market.address, amount),
        mint_step(market, amount),
        step("comptroller", other.place.address, "enterMarkets", [market.address]),
        step("ctoken", other.markets[0].address, "borrow", ether),
    ]
    return nested if world.chance(0.6) else nested[:2]


def _on_ether(world: World, pool: Pool, who: Account, amount: int) -> list[Step]:
    """Return what the contract does when ether arrives: wrap or save it, pass it on, look at its account."""
    draw = int(world.rng.integers(4))
    if draw == 0:
        return [step("weth", world.weth.address, "deposit", value=amount)]
    if draw == 1:
        return [step("bank", world.some("bank", 0.5).address, "depositFor", who.address, value=amount)]
    if draw == 2:
        other = world.pick(pools(world))
        return (
            [mint_step(other.markets[0], amount)] if other is not pool else [Step(who.address, amount, b"")]
        )
    enter = step("comptroller", pool.place.address, "enterMarkets", [m.address for m in pool.markets[:2]])
    return [enter, Step(who.address, amount, b"")]


def _through_executor(who: Account, tool: Place, steps: list[Step], reaction: Reaction, wei: int) -> Part:
    """The same through an executor, which reacts with one call."""
    last = reaction.steps[0]
    steps = [Step(s.target, s.value, s.data.replace(SELF, tool.address)) for s in steps]
    arm = ("onReceive", last.target, last.data, last.value, 1)
    yield send(who, "executor", tool.address, *arm, tag=_CONTRACT)
    yield send(who, "executor", tool.address, "run", as_tuples(steps), value=wei, tag=_CONTRACT)


def liquidation(world: World) -> Session:
    """Liquidate a borrower beyond his limit; if there is none, an owner may just lower a factor."""
    pool: Pool = world.pick(pools(world))
    found = _unhealthy(world, pool)
    if found is None and pool.borrowers and world.chance(0.5):
        yield from nudge_factor(world, pool, world.pick(pool.borrowers)[0], -int(world.rng.integers(2, 6)))
        found = _unhealthy(world, pool)
    if found is None:
        return
    collateral, debt, account = found
    owed = world.view("ctoken", debt.address, "borrowBalanceStored", account)
    amount = owed * int(world.rng.integers(25, 50)) // 100
    ether = amount / debt.units(1.0)
    if amount == 0 or ether > 40:
        return
    who, _ = yield from searcher(world)
    if world.ether(who.address) < int((ether * 1.2 + 0.2) * ETH):
        who = yield from someone(world, ether * 1.2 + 0.1)
    got = yield from fund(world, who, debt, ether * 1.05)
    amount = min(amount, got)
    value = amount if debt.token is None else 0
    call = ("liquidateBorrow", account, amount, collateral.address)
    yield send(who, "ctoken", debt.address, *call, value=value, tag=_LIQUIDATION)
    seized = world.view("ctoken", collateral.address, "balanceOf", who.address)
    if world.chance(0.6):
        yield send(who, "ctoken", collateral.address, "redeem", seized, tag=Tag(kind="pool_lending"))


def _unhealthy(world: World, pool: Pool) -> tuple[Market, Market, bytes] | None:
    """Return one of the latest borrowers that is beyond his limit, if there is one."""
    for entry in reversed(pool.borrowers[-7:]):
        data = contract("comptroller").data("getAccountLiquidity", entry[2])
        answer = world.engine.call(entry[2], pool.place.address, data, 0)
        if answer.ok and contract("comptroller").result("getAccountLiquidity", answer.output)[2] > 0:
            return entry
    return None


HABITS = (
    (0.35, leverage),
    (0.5, contract_borrower),
    (0.35, liquidation),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = (
    "flash_leverage",
    "flash_deleverage",
    "collateral_swap",
    "contract_borrower",
    "liquidation",
)
