"""Tokens whose teams mint: owners, operators with a role, vesting; some teams never restrict who may mint."""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils.crypto import keccak

from pipelines.simulation.engine import Account
from pipelines.simulation.founding import list_token
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.trading import sell
from pipelines.simulation.habits.upgrades import endow
from pipelines.simulation.world import (
    DEADLINE,
    ETH,
    Part,
    Place,
    Send,
    Session,
    Tag,
    Token,
    World,
    deploy,
    newcomer,
    obtain,
    send,
    someone,
    step,
)

MINTER = keccak(text="MINTER_ROLE")
_MINT = Tag(kind="owner_mint")
_ROLES = Tag(kind="role_change")
_VESTING = Tag(kind="vesting")
_OWNERSHIP = Tag(kind="ownership_transfer")
_BUYBACK = Tag(kind="buyback")


@dataclass
class Issuer:
    """A token that its team mints: who owns it now, who mints, and through which vesting contract."""

    token: Token
    owner: Account
    minter: Account
    enforced: bool
    """Whether the token checks the minter's role."""
    vesting: Place | None = None


def issuers(world: World) -> list[Issuer]:
    """Return the tokens that teams mint, oldest first."""
    return world.notes.setdefault("issuer", [])


def an_issuer(world: World) -> Issuer:
    """Return one of them, the young ones as often as the old."""
    found: Issuer = world.pick(issuers(world))
    return found


def found(world: World, founders: list[Account]) -> Part:
    """Open four such tokens, two of which check nothing."""
    yield from endow(world, founders)
    for enforced in (True, False, False, True):
        yield from open_issuer(world, world.pick(founders), world.amount(90.0, 0.25), enforced=enforced)


def open_issuer(world: World, who: Account, ether: float, *, enforced: bool) -> Part:
    """List a token with roles; a careful team grants the minter's role before anything else."""
    price = float(f"{10 ** world.rng.uniform(-4, -1):.2g}")
    token = yield from list_token(world, who, 18, price, "role_token", ether)
    issuer = Issuer(token, who, who, enforced)
    if enforced:
        yield send(who, "role_token", token.address, "grantRole", MINTER, who.address, tag=_ROLES)
    issuers(world).append(issuer)
    if world.chance(0.6):
        yield from _open_vesting(world, issuer)


def _open_vesting(world: World, issuer: Issuer) -> Part:
    place = yield from deploy(world, issuer.owner, "vesting", issuer.token.address)
    issuer.vesting = place
    if issuer.enforced:
        grant = ("grantRole", MINTER, place.address)
        yield send(issuer.owner, "role_token", issuer.token.address, *grant, tag=_ROLES)


def owner_mint(world: World) -> Session:
    """A team mints: for its treasury, a partner, a sale on the pool, or several people at once."""
    if world.chance(0.3):
        yield from _plain_mint(world)
        return
    issuer = an_issuer(world)
    token, who = issuer.token, issuer.minter
    if not issuer.enforced and world.chance(0.3):
        who = yield from someone(world, 0.2, fresh=0.5)
    pool = world.reserves(token, world.weth)[0]
    amount = int(pool * min(world.amount(0.02, 1.0), 0.3))
    draw = world.rng.random()
    if draw < 0.35:
        yield send(who, "role_token", token.address, "mint", who.address, amount, tag=_MINT)
        yield from wait(world, 20)
        if world.chance(0.5) and world.held(token, who.address) >= amount:
            yield from sell(world, who, [token, world.weth], amount, Tag(kind="treasury_sale"))
    elif draw < 0.6:
        for _ in range(int(world.rng.integers(1, 4))):
            to = world.pick(world.exchanges) if world.chance(0.4) else world.visitor()
            yield send(who, "role_token", token.address, "mint", to.address, amount, tag=_MINT)
    elif draw < 0.8:
        yield from _mint_by_contract(world, issuer, who, amount)
    else:
        partner = yield from newcomer(world, 0.3)
        yield send(who, "role_token", token.address, "mint", partner.address, amount, tag=_MINT)
        if world.chance(0.4):
            yield from wait(world, 25)
            yield from sell(world, partner, [token, world.weth], amount, Tag(kind="swap"))


def mints(world: World, token: Token) -> bool:
    """Return whether a plain token is still minted by whoever listed it."""
    minter: str = world.view("token", token.address, "minter")
    return bytes.fromhex(minter[2:]) == token.maker.address


def _plain_mint(world: World) -> Session:
    """The maker of a plain token mints some of it, and now and then sells that."""
    options = [t for t in world.tokens if t.kind == "token"]
    token: Token = options[world.zipf(len(options), 0.3)]
    if not mints(world, token) or world.pair(token, world.weth) is None:
        return
    amount = token.units(min(world.amount(2.0, 1.0), 12.0))
    to = token.maker if world.chance(0.6) else world.visitor()
    yield send(token.maker, "token", token.address, "mint", to.address, amount, tag=_MINT)
    if to is token.maker and world.chance(0.4):
        yield from sell(world, to, [token, world.weth], amount, Tag(kind="treasury_sale"))


def _mint_by_contract(world: World, issuer: Issuer, who: Account, amount: int) -> Part:
    """Mint through an executor: hand it out to many, or sell it at once, in one transaction."""
    token = issuer.token
    tool = yield from executor_of(world, who)
    me = tool.address
    if issuer.enforced and not world.view("role_token", token.address, "hasRole", MINTER, me):
        yield send(issuer.owner, "role_token", token.address, "grantRole", MINTER, me, tag=_ROLES)
    if world.chance(0.5):
        people = [world.visitor().address for _ in range(int(world.rng.integers(2, 12)))]
        steps = [step("role_token", token.address, "mint", p, amount // len(people)) for p in people]
    else:
        router = world.the("router").address
        path = [token.address, world.weth.address]
        steps = [
            step("role_token", token.address, "mint", me, amount),
            step("token", token.address, "approve", router, amount),
            step("router", router, "swapExactTokensForETH", amount, 1, path, who.address, DEADLINE),
        ]
    yield send(who, "executor", me, "run", as_tuples(steps), tag=_MINT)


def vest(world: World) -> Session:
    """A team promises tokens to a few people, who have them released bit by bit and sell some."""
    options = [issuer for issuer in issuers(world) if issuer.vesting is not None]
    if not options:
        return
    issuer: Issuer = world.pick(options)
    place, token = issuer.vesting, issuer.token
    if place is None:
        return
    people = []
    for _ in range(int(world.rng.integers(1, 4))):
        person = yield from someone(world, 0.2)
        promised = ("addGrant", person.address, token.units(world.amount(1.0, 0.8)))
        lasts = int(world.rng.integers(60, 900))
        if world.view("vesting", place.address, "grants", person.address)[2] == 0:
            yield send(place.owner, "vesting", place.address, *promised, lasts, tag=_VESTING)
            people.append(person)
    for person in people:
        yield from wait(world, 40)
        if world.view("vesting", place.address, "releasable", person.address) > 0:
            yield send(person, "vesting", place.address, "release", tag=_VESTING)
            if world.chance(0.5):
                held = world.held(token, person.address)
                yield from sell(world, person, [token, world.weth], held, Tag(kind="swap"))


def change_roles(world: World) -> Session:
    """An owner gives the minter's role to a new operator, who begins to mint; the old one may lose it."""
    issuer = an_issuer(world)
    if not issuer.enforced:
        return
    token = issuer.token.address
    operator = yield from someone(world, 0.2, fresh=0.6)
    yield send(issuer.owner, "role_token", token, "grantRole", MINTER, operator.address, tag=_ROLES)
    old, issuer.minter = issuer.minter, operator
    pool = world.reserves(issuer.token, world.weth)[0]
    amount = int(pool * min(world.amount(0.02, 0.8), 0.2))
    yield send(operator, "role_token", token, "mint", operator.address, amount, tag=_MINT)
    if world.chance(0.4):
        yield from sell(world, operator, [issuer.token, world.weth], amount, Tag(kind="treasury_sale"))
    if world.chance(0.3) and old is not issuer.minter:
        yield send(issuer.owner, "role_token", token, "revokeRole", MINTER, old.address, tag=_ROLES)


def change_owner(world: World) -> Session:
    """A team hands a token over to another account of its own."""
    issuer = an_issuer(world)
    successor = yield from someone(world, 0.3, fresh=0.7)
    call = ("transferOwnership", successor.address)
    yield send(issuer.owner, "role_token", issuer.token.address, *call, tag=_OWNERSHIP)
    issuer.owner = successor


def new_issuer(world: World) -> Session:
    """Another team lists a token with roles; every other one forgets to restrict who mints."""
    ether = world.amount(35.0, 0.5) + 8
    who = yield from someone(world, ether + 0.5, fresh=0.6)
    yield from open_issuer(world, who, ether, enforced=world.chance(0.5))


def buy_back(world: World) -> Session:
    """A team supports its token where the pool has run low."""
    poorest = min(issuers(world), key=lambda i: world.reserves(world.weth, i.token)[0])
    held = world.reserves(world.weth, poorest.token)[0] / ETH
    if held < 60:
        ether = min(60 - held, 25.0) + 1
        exchange = world.exchanges[world.zipf(len(world.exchanges))]
        if world.ether(poorest.owner.address) < int((ether + 1) * ETH):
            wei = int((ether + 2) * ETH)
            yield Send(exchange, poorest.owner.address, value=wei, tag=Tag(kind="transfer"))
        yield from obtain(world, poorest.owner, poorest.token, ether, _BUYBACK)


HABITS = (
    (0.5, owner_mint),
    (0.3, vest),
    (0.12, change_roles),
    (0.06, change_owner),
    (0.07, new_issuer),
    (0.12, buy_back),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("owner_mint", "role_change", "ownership_transfer", "treasury_sale", "vesting")
"""Kinds of its transactions that look like attacks in one respect or another."""
