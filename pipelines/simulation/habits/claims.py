"""Air drops by Merkle root, vouchers signed by companies, payments by permit: claims of all kinds."""

from __future__ import annotations

from dataclasses import dataclass, field

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import list_token
from pipelines.simulation.habits.bridge import plain_tokens, stock_up
from pipelines.simulation.habits.merkle import layers, proof
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.signing import personal, sign
from pipelines.simulation.world import (
    ETH,
    Part,
    Place,
    Session,
    Tag,
    Token,
    World,
    deploy,
    newcomer,
    send,
    someone,
    step,
)

_CLAIM = Tag(kind="airdrop_claim")
_BATCH = Tag(kind="batch_claim")
_VOUCHER = Tag(kind="voucher_claim")
_RELAYED = Tag(kind="relayed")
_SETUP = Tag(kind="deployment")
_PERMIT = keccak(text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")


@dataclass
class Drop:
    """A distributor with the claims of its present wave."""

    place: Place
    claims: list[tuple[int, Account, int]]
    """(index, account, amount) in the order of the leaves."""
    tree: list[list[bytes]]
    open: list[int]
    """Positions in `claims` that nobody has claimed or planned to claim."""


@dataclass
class Campaign:
    """A contract that pays vouchers; one company signs for several of them."""

    place: Place
    signer: Account
    issued: list[int] = field(default_factory=list)

    @property
    def token(self) -> Token:
        """What it pays in."""
        return self.place.tokens[0]


def leaf(index: int, account: Account, amount: int) -> bytes:
    """Return the distributor's leaf of a claim."""
    return keccak(index.to_bytes(32, "big") + account.address + amount.to_bytes(32, "big"))


def new_claims(world: World, token: Token, first: int, ether: float) -> list[tuple[int, Account, int]]:
    """Invent who gets how much: users, some of them with several accounts."""
    count = int(world.rng.integers(8, 61))
    claims = []
    for index in range(first, first + count):
        account = world.account() if world.chance(0.25) else world.visitor()
        claims.append((index, account, token.units(ether / count * world.amount(1.0, 0.5)) + 1))
    return claims


def open_drop(world: World, owner: Account, ether: float) -> Part:
    """Deploy a distributor for a token that the owner buys."""
    token: Token = world.pick(plain_tokens(world)[1:])
    claims = new_claims(world, token, 0, ether)
    tree = layers([leaf(*claim) for claim in claims], by_value=True)
    call = (token.address, tree[-1][0])
    place = yield from deploy(world, owner, "distributor", *call, tokens=(token,))
    got = yield from stock_up(world, owner, token, ether * 1.6)
    yield send(owner, "token", token.address, "transfer", place.address, got, tag=_SETUP)
    drop = Drop(place, claims, tree, list(range(len(claims))))
    world.notes.setdefault("drops", []).append(drop)


def new_drop(world: World) -> Session:
    """A project announces an air drop."""
    owner = yield from someone(world, 8.0, fresh=0.4)
    yield from open_drop(world, owner, world.amount(3.0, 0.3))


def next_wave(world: World) -> Session:
    """The owner posts the root of another wave, or ends the drop and takes back the rest."""
    drops: list[Drop] = world.notes["drops"]
    drop: Drop = world.pick(drops)
    place, token = drop.place, drop.place.tokens[0]
    if len(drops) > 3 and world.chance(0.3):
        drops.remove(drop)
        yield send(
            place.owner, "distributor", place.address, "withdraw", place.owner.address, tag=Tag(kind="sweep")
        )
        return
    ether = world.amount(2.0, 0.3)
    got = yield from stock_up(world, place.owner, token, ether * 1.6)
    yield send(
        place.owner, "token", token.address, "transfer", place.address, got, tag=Tag(kind="token_transfer")
    )
    claims = new_claims(world, token, drop.claims[-1][0] + 1, ether)
    tree = layers([leaf(*claim) for claim in claims], by_value=True)
    root = tree[-1][0]
    yield send(place.owner, "distributor", place.address, "setMerkleRoot", root, tag=Tag(kind="root_update"))
    drop.claims, drop.tree, drop.open = claims, tree, list(range(len(claims)))


def _take(world: World, drop: Drop, most: int) -> list[tuple[int, Account, int, list[bytes]]]:
    """Return up to `most` claims that nobody else will bring, as arguments of `claim`."""
    taken = []
    for _ in range(min(most, len(drop.open))):
        place = drop.open.pop(int(world.rng.integers(len(drop.open))))
        taken.append((*drop.claims[place], proof(drop.tree, place)))
    return taken


def claim_drop(world: World) -> Session:
    """Claimers come in a wave; newcomers are paid some gas money first."""
    drop: Drop = world.pick(world.notes["drops"])
    for index, account, amount, path in _take(world, drop, int(world.rng.integers(1, 7))):
        payer = account
        if world.ether(account.address) < ETH // 20:
            payer = yield from newcomer(world, 0.1)
        call = ("claim", index, account.address, amount, path)
        yield send(payer, "distributor", drop.place.address, *call, tag=_CLAIM)
        yield from wait(world, 8)


def claim_batch(world: World) -> Session:
    """A farmer of air drops (or a friendly relayer) claims for many accounts at once."""
    drop: Drop = world.pick(world.notes["drops"])
    who = yield from someone(world, 0.5)
    made, place = contract("distributor"), drop.place.address
    bundle = []
    for index, account, amount, path in _take(world, drop, int(world.rng.integers(2, 25))):
        bundle.append((place, made.data("claim", index, account.address, amount, path)))
    if bundle:
        yield send(who, "multicall", world.the("multicall").address, "aggregate", bundle, tag=_BATCH)


def voucher(campaign: Campaign, receiver: bytes, amount: int, number: int) -> tuple[bytes, int, int, bytes]:
    """Return the arguments of `claim` for a voucher that the company signs."""
    content = keccak(encode(["address", "uint256", "uint256"], (receiver, amount, number)))
    return receiver, amount, number, sign(campaign.signer, personal(content))


def issue(world: World, campaign: Campaign, receiver: bytes, ether: float) -> tuple[bytes, int, int, bytes]:
    """Return a new voucher worth `ether`, as far as the campaign can pay it."""
    held = world.held(campaign.token, campaign.place.address)
    amount = min(campaign.token.units(ether), held // 10)
    number = int(world.rng.integers(2**40))
    campaign.issued.append(number)
    return voucher(campaign, receiver, amount, number)


def claim_voucher(world: World) -> Session:
    """A customer brings his voucher, or a relayer brings it for him (or several at once)."""
    campaign: Campaign = world.pick(world.notes["campaigns"])
    place = campaign.place.address
    relayed = world.chance(0.45)
    who = yield from someone(world, 0.1)
    if relayed and world.chance(0.4):
        bundle = []
        for _ in range(int(world.rng.integers(2, 7))):
            order = issue(world, campaign, world.visitor().address, world.amount(0.4, 1.0))
            bundle.append((place, contract("voucher").data("claim", *order)))
        target = world.the("multicall").address
        yield send(who, "multicall", target, "aggregate", bundle, tag=_BATCH)
        return
    for _ in range(int(world.rng.geometric(0.5))):
        receiver = world.visitor().address if relayed else who.address
        order = issue(world, campaign, receiver, world.amount(0.4, 1.0))
        yield send(who, "voucher", place, "claim", *order, tag=_RELAYED if relayed else _VOUCHER)
        yield from wait(world, 20)


def open_campaigns(world: World, owner: Account, count: int, ether: float) -> Part:
    """Open contracts that pay the vouchers of one company in one token."""
    signer = world.account()
    token: Token = world.pick(plain_tokens(world)[:6])
    for _ in range(count):
        call = (token.address, signer.address)
        place = yield from deploy(world, owner, "voucher", *call, tokens=(token,))
        campaign = Campaign(place, signer)
        yield from fund_campaign(world, campaign, ether)
        world.notes.setdefault("campaigns", []).append(campaign)


def fund_campaign(world: World, campaign: Campaign, ether: float) -> Part:
    """The company buys what the vouchers will cost."""
    owner, token = campaign.place.owner, campaign.token
    got = yield from stock_up(world, owner, token, ether * world.amount(1.0, 0.3))
    call = ("transfer", campaign.place.address, got)
    yield send(owner, "token", token.address, *call, tag=Tag(kind="token_transfer"))


def new_campaign(world: World) -> Session:
    """A company starts one or two campaigns, adds to an old one, or takes the rest back."""
    if world.chance(0.35):
        owner = yield from someone(world, 12.0, fresh=0.4)
        yield from open_campaigns(world, owner, 1 + int(world.rng.integers(2)), 4.0)
        return
    campaign: Campaign = world.pick(world.notes["campaigns"])
    if world.chance(0.2):
        owner, place = campaign.place.owner, campaign.place.address
        amount = world.held(campaign.token, place) // int(world.rng.integers(1, 5))
        yield send(owner, "voucher", place, "withdraw", owner.address, amount, tag=Tag(kind="sweep"))
    yield from fund_campaign(world, campaign, world.amount(5.0, 0.5))


def permit(world: World, token: Token, owner: Account, spender: bytes, amount: int) -> tuple[object, ...]:
    """Return the arguments of `permit` (ERC-2612) as the owner signs them now."""
    nonce = world.view("permit_token", token.address, "nonces", owner.address)
    domain = world.view("permit_token", token.address, "DOMAIN_SEPARATOR")
    deadline = 2_000_000_000
    types = ["bytes32", "address", "address", "uint256", "uint256", "uint256"]
    content = keccak(encode(types, (_PERMIT, owner.address, spender, amount, nonce, deadline)))
    signed = sign(owner, keccak(b"\x19\x01" + domain + content))
    return owner.address, spender, amount, deadline, signed[64], signed[:32], signed[32:64]


def pay_by_permit(world: World) -> Session:
    """A holder signs, a relayer brings the permit and moves the tokens, in two transactions or one."""
    token: Token = world.pick([t for t in world.tokens if t.kind == "permit_token"])
    owner = yield from someone(world, 1.0)
    amount = yield from stock_up(world, owner, token, min(world.amount(0.3, 0.8), 0.8))
    relayer = yield from someone(world, 0.2, fresh=0.2)
    to, fee = world.visitor().address, amount // 200
    if world.chance(0.5):
        call = permit(world, token, owner, relayer.address, amount)
        yield send(relayer, "permit_token", token.address, "permit", *call, tag=_RELAYED)
        pull = ("transferFrom", owner.address, to, amount)
        yield send(relayer, "token", token.address, *pull, tag=_RELAYED)
        return
    tool = yield from executor_of(world, relayer)
    call = permit(world, token, owner, tool.address, amount)
    steps = [
        step("permit_token", token.address, "permit", *call),
        step("token", token.address, "transferFrom", owner.address, to, amount - fee),
        step("token", token.address, "transferFrom", owner.address, relayer.address, fee),
    ]
    yield send(relayer, "executor", tool.address, "run", as_tuples(steps), tag=_RELAYED)


def found(world: World, founders: list[Account]) -> Part:
    """List two tokens with permits, open three air drops and the campaigns of three companies."""
    for price, ether in ((1 / 3000, 200.0), (0.008, 90.0)):
        yield from list_token(world, world.pick(founders), 18, price, "permit_token", ether)
    for index in (0, 2, 5):
        yield from open_drop(world, founders[index], 4.0)
    for index, count in ((1, 2), (3, 1), (4, 3)):
        yield from open_campaigns(world, founders[index], count, 14.0)


HABITS = (
    (0.056, new_drop),
    (0.056, next_wave),
    (0.28, claim_drop),
    (0.12, claim_batch),
    (0.44, claim_voucher),
    (0.12, new_campaign),
    (0.28, pay_by_permit),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("batch_claim", "voucher_claim", "relayed", "sweep")
