"""Tokens that are not plain: with hooks, rebasing, pausable, interest-bearing; and who looks after them."""

from __future__ import annotations

from eth_utils.crypto import keccak

from pipelines.simulation.bytecode import SELF, Reaction, Step, script_code
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import name
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.world import (
    DEADLINE,
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
    obtain,
    send,
    someone,
    step,
)

RECIPIENT = keccak(text="ERC777TokensRecipient")
RECEIVED = keccak(text="tokensReceived(address,address,address,uint256,bytes,bytes)")[:4]
_SETUP = Tag(kind="deployment")
_HOOK = Tag(kind="token_hook")
_STABLE = Tag(kind="stablecoin_admin")
_SAVING = Tag(kind="interest_token")
_DESK = Tag(kind="lending_desk")


def found(world: World, founders: list[Account]) -> Part:
    """List two tokens with hooks, a rebasing one and a stablecoin; open three interest-bearing ones."""
    yield from deploy(world, founders[0], "hook_registry")
    for price, ether in ((0.0006, 260.0), (0.02, 180.0)):
        yield from _list(world, world.pick(founders), 18, price, "hook_token", ether)
    yield from _list(world, world.pick(founders), 9, 0.0013, "rebasing_token", 130.0)
    yield from _list(world, world.pick(founders), 6, 1 / 3000, "stable_token", 600.0)
    for index in (0, 1, 5):
        yield from open_itoken(world, world.pick(founders), world.tokens[index], 40.0)


def _list(world: World, who: Account, decimals: int, price: float, kind: str, ether: float) -> Part:
    """Deploy a token of an odd kind and open its pool against WETH."""
    title = name(world)
    extra = (world.the("hook_registry").address,) if kind == "hook_token" else ()
    supply = int(ether / price * 10**decimals) * 4
    place = yield from deploy(world, who, kind, title, title[:4].upper(), decimals, supply, *extra)
    if kind == "stable_token":
        yield send(who, kind, place.address, "unpause", tag=_STABLE)
    token = Token(place.address, decimals, price, kind, who)
    router = world.the("router").address
    yield send(who, "token", token.address, "approve", router, FOREVER, tag=_SETUP)
    call = ("addLiquidityETH", token.address, token.units(ether), 0, 0, who.address, DEADLINE)
    yield send(who, "router", router, *call, value=int(ether * ETH), tag=_SETUP)
    world.tokens.append(token)


def open_itoken(world: World, who: Account, asset: Token, ether: float) -> Part:
    """Open a lending desk's interest-bearing token; its founder is the first saver."""
    title = name(world)
    call = (f"{title} Interest", f"i{title[:4].upper()}", asset.decimals, asset.address)
    place: Place = yield from deploy(world, who, "itoken", *call, tokens=(asset,))
    got = yield from bought(world, who, asset, ether)
    yield from allow(world, who, asset, place.address, got)
    yield send(who, "itoken", place.address, "mint", who.address, got, tag=_SAVING)
    return place


def bought(world: World, who: Account, token: Token, ether: float) -> Part:
    """Buy as `obtain` does; return at least 0, though the buyer may meanwhile spend tokens elsewhere."""
    got = yield from obtain(world, who, token, ether)
    return max(0, got)


def rebase(world: World) -> Session:
    """The owner of a rebasing token lets every balance grow a little."""
    place = world.some("rebasing_token")
    epoch = world.view("rebasing_token", place.address, "epoch") + 1
    supply = world.view("rebasing_token", place.address, "totalSupply")
    extra = supply * int(world.rng.integers(1, 40)) // 10_000
    tag = Tag(kind="rebase")
    yield send(place.owner, "rebasing_token", place.address, "rebase", epoch, extra, tag=tag)


def hook_token(world: World) -> Token:
    """Return one of the tokens with hooks."""
    token: Token = world.pick([token for token in world.tokens if token.kind == "hook_token"])
    return token


def register(world: World, me: bytes) -> Step:
    """Return the step with which a contract asks to be told about tokens that it receives."""
    registry = world.the("hook_registry").address
    return step("hook_registry", registry, "setInterfaceImplementer", me, RECIPIENT, me)


def hooked_contract(world: World) -> Session:
    """A contract that passes tokens on, or saves them, as soon as it is told that it got some."""
    token = hook_token(world)
    ether = min(world.amount(0.5, 0.6), 2.0)
    who = yield from someone(world, ether + 0.3)
    got = yield from bought(world, who, token, ether)
    times = int(world.rng.integers(1, 4))
    part = got // (times + 1)
    onward = step("token", token.address, "transfer", world.visitor().address, part)
    if world.chance(0.5):
        tool = yield from executor_of(world, who)
        arm = ("onReceive", onward.target, onward.data, 0, times)
        yield send(who, "executor", tool.address, *arm, tag=_HOOK)
        steps = as_tuples([register(world, tool.address)])
        yield send(who, "executor", tool.address, "run", steps, tag=_HOOK)
        target = tool.address
    else:
        reaction = Reaction(RECEIVED, _reaction(world, token, who, part), times=times)
        selector = world.rng.bytes(4)
        code = script_code(selector, [register(world, SELF)], reactions=[reaction])
        receipt = yield Send(who, None, code, tag=_SETUP)
        yield Send(who, receipt.made, selector, tag=_HOOK)
        target = receipt.made
    for _ in range(times):
        yield from wait(world, 25)
        yield send(who, "token", token.address, "transfer", target, part, tag=_HOOK)


def _reaction(world: World, token: Token, who: Account, part: int) -> list[Step]:
    """Return what a hooked contract does with `part` of a token: hand it out, or sell it."""
    if world.chance(0.5):
        people = [who.address, world.visitor().address][: int(world.rng.integers(1, 3))]
        return [step("token", token.address, "transfer", person, part // len(people)) for person in people]
    router = world.the("router").address
    call = ("swapExactTokensForETH", part, 1, [token.address, world.weth.address], who.address, DEADLINE)
    return [step("token", token.address, "approve", router, part), step("router", router, *call)]


def stablecoin(world: World) -> Session:
    """The issuer lets a partner mint for a customer, or bars an account that scammed somebody."""
    place = world.the("stable_token")
    token = next(token for token in world.tokens if token.address == place.address)
    owner, amount = place.owner, token.units(world.amount(8.0, 0.8))
    if world.chance(0.6):
        partner = world.exchanges[world.zipf(len(world.exchanges))]
        allowed = world.view("stable_token", place.address, "minterAllowance", partner.address)
        if allowed < amount:
            call = ("configureMinter", partner.address, amount * 5)
            yield send(owner, "stable_token", place.address, *call, tag=_STABLE)
        to = partner.address if world.chance(0.5) else world.visitor().address
        yield send(partner, "stable_token", place.address, "mint", to, amount, tag=Tag(kind="token_mint"))
        if to == partner.address and world.chance(0.5):
            yield from wait(world, 40)
            burn = min(amount // 2, world.held(token, to))
            yield send(partner, "stable_token", place.address, "burn", burn, tag=Tag(kind="token_mint"))
        return
    scammer = world.account()
    victim = yield from someone(world, 1.0)
    got = yield from bought(world, victim, token, 0.4)
    yield send(
        victim, "token", token.address, "transfer", scammer.address, got, tag=Tag(kind="token_transfer")
    )
    yield from wait(world, 40)
    yield send(owner, "stable_token", place.address, "blacklist", scammer.address, tag=_STABLE)
    if world.chance(0.3):
        yield from wait(world, 60)
        yield send(owner, "stable_token", place.address, "unBlacklist", scammer.address, tag=_STABLE)


def save_with_desk(world: World) -> Session:
    """Buy an interest-bearing token; perhaps hand some on; perhaps cash it in again."""
    place = world.places["itoken"][-1] if world.chance(0.2) else world.some("itoken", 0.6)
    asset = place.tokens[0]
    ether = world.amount(2.0, 0.9)
    who = yield from someone(world, ether)
    got = yield from bought(world, who, asset, ether)
    yield from allow(world, who, asset, place.address, got)
    yield send(who, "itoken", place.address, "mint", who.address, got, tag=_SAVING)
    if world.chance(0.3):
        yield from wait(world, 30)
        held = world.view("itoken", place.address, "balanceOf", who.address)
        call = ("transfer", world.visitor().address, held // int(world.rng.integers(2, 9)))
        yield send(who, "itoken", place.address, *call, tag=Tag(kind="token_transfer"))
    if world.chance(0.55):
        yield from wait(world, 70)
        held = world.view("itoken", place.address, "balanceOf", who.address)
        amount = held if world.chance(0.6) else held // 2
        if 0 < amount <= redeemable(world, place):
            yield send(who, "itoken", place.address, "burn", who.address, amount, tag=_SAVING)


def redeemable(world: World, place: Place) -> int:
    """Return how much of an interest-bearing token its desk could pay out now."""
    price = world.view("itoken", place.address, "tokenPrice")
    cash = world.held(place.tokens[0], place.address)
    supply = world.view("itoken", place.address, "totalSupply")
    return int(min(supply, cash * ETH // max(price, 1)))


def desk_business(world: World) -> Session:
    """A desk lends deposits out and brings them back with interest."""
    place = world.some("itoken", 0.4)
    asset, desk = place.tokens[0], place.owner
    amount = int(world.held(asset, place.address) * (0.1 + 0.3 * world.rng.random()))
    if amount == 0:
        return
    yield send(desk, "itoken", place.address, "lend", amount, tag=_DESK)
    yield from wait(world, 80)
    interest = amount // int(world.rng.integers(60, 400))
    if world.held(asset, desk.address) < amount + interest:
        yield from bought(world, desk, asset, interest / asset.units(1.0) * 1.2 + 0.01)
    yield from allow(world, desk, asset, place.address, amount + interest)
    yield send(desk, "itoken", place.address, "giveBack", amount, interest, tag=_DESK)


def new_itoken(world: World) -> Session:
    """A team opens another interest-bearing token."""
    asset = world.tokens[world.zipf(8)]
    if asset.kind == "fee_token":
        return
    ether = world.amount(14.0, 0.5)
    who = yield from someone(world, ether * 1.3, fresh=0.5)
    yield from open_itoken(world, who, asset, ether)


def self_transfer(world: World) -> Session:
    """Somebody sends tokens to himself: to test a wallet, or by mistake."""
    tag = Tag(kind="self_transfer")
    who = yield from someone(world, 1.2)
    if world.chance(0.4):
        place = world.some("itoken", 0.5)
        asset = place.tokens[0]
        got = yield from bought(world, who, asset, min(world.amount(0.5, 0.6), 1.0))
        yield from allow(world, who, asset, place.address, got)
        yield send(who, "itoken", place.address, "mint", who.address, got, tag=_SAVING)
        amount = 0 if world.chance(0.3) else got // int(world.rng.integers(30, 400))
        yield send(who, "itoken", place.address, "transfer", who.address, amount, tag=tag)
        return
    token = world.token()
    held = world.held(token, who.address)
    if held == 0:
        held = yield from bought(world, who, token, min(world.amount(0.3, 0.6), 0.8))
    amount = held if world.chance(0.4) else held // int(world.rng.integers(2, 200))
    for _ in range(int(world.rng.integers(1, 3))):
        yield send(who, "token", token.address, "transfer", who.address, amount, tag=tag)


HABITS = (
    (0.12, rebase),
    (0.4, hooked_contract),
    (0.25, stablecoin),
    (0.5, save_with_desk),
    (0.15, desk_business),
    (0.06, new_itoken),
    (0.35, self_transfer),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("self_transfer", "rebase", "token_hook")
