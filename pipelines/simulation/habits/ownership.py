"""Wallets of several owners, and collectibles."""

from __future__ import annotations

from eth_utils.crypto import keccak

from pipelines.simulation.bytecode import deploy_code
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, Receipt
from pipelines.simulation.founding import open_sale
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import (
    ETH,
    Part,
    Place,
    Send,
    Session,
    Tag,
    World,
    send,
    someone,
)

_WALLET = Tag(kind="multisig")
_SALE = Tag(kind="nft")
_SUBMISSION = keccak(text="Submission(uint256,address)")
_CREATED = keccak(text="WalletCreated(address,address)")
_PROXY = (bytes.fromhex("363d3d373d3d3d363d73"), bytes.fromhex("5af43d82803e903d91602b57fd5bf3"))
_TRANSFER = keccak(text="Transfer(address,address,uint256)")


def new_wallet(world: World) -> Session:
    """Friends or a company create a wallet, pay into it, and later pay out of it."""
    owners: list[Account] = []
    for _ in range(int(world.rng.integers(1, 4))):
        owner = yield from someone(world, 1.0, fresh=0.3)
        owners.append(owner)
    make = create_wallet if world.chance(0.6) else install_wallet
    place = yield from make(world, owners)
    ether = world.amount(9.0, 0.8)
    payer = yield from someone(world, ether, fresh=0.3)
    yield Send(payer, place.address, value=int(ether * ETH), tag=_WALLET)
    left = ether
    for _ in range(int(world.rng.integers(0, 4))):
        yield from wait(world, 60)
        left *= 0.7
        yield from wallet_payment(world, place, owners, int(left * 0.3 * ETH))


def install_wallet(world: World, owners: list[Account]) -> Part:
    """Deploy a minimal proxy (EIP-1167) by hand and initialise it in a second transaction."""
    factory = world.the("wallet_factory").address
    implementation = bytes.fromhex(world.view("wallet_factory", factory, "implementation")[2:])
    runtime = _PROXY[0] + implementation + _PROXY[1]
    receipt: Receipt = yield Send(owners[0], None, deploy_code(runtime), tag=Tag(kind="deployment"))
    addresses = [owner.address for owner in owners]
    call = ("initWallet", addresses, min(2, len(owners)))
    yield send(owners[0], "wallet", receipt.made, *call, tag=_WALLET)
    return world.add(Place("wallet", receipt.made, owners[0]))


def create_wallet(world: World, owners: list[Account]) -> Part:
    """Let the factory make a wallet proxy for `owners`; return its Place."""
    factory = world.the("wallet_factory").address
    addresses = [owner.address for owner in owners]
    receipt: Receipt = yield send(
        owners[0], "wallet_factory", factory, "createWallet", addresses, min(2, len(owners)), tag=_WALLET
    )
    event = next(log for log in receipt.logs if log.topics[0] == _CREATED)
    return world.add(Place("wallet", event.topics[1][-20:], owners[0]))


def wallet_payment(world: World, place: Place, owners: list[Account], wei: int) -> Part:
    """Submit a payment (or a deposit into a bank), confirm it as another owner."""
    if world.chance(0.7):
        call = ("submitTransaction", world.visitor().address, wei, b"")
    else:
        call = ("submitTransaction", world.some("bank").address, wei, contract("bank").data("deposit"))
    receipt: Receipt = yield send(owners[0], "wallet", place.address, *call, tag=_WALLET)
    event = next(log for log in receipt.logs if log.topics[0] == _SUBMISSION)
    index = int.from_bytes(event.topics[1], "big")
    if len(owners) == 1:
        return
    yield from wait(world, 12)
    yield send(owners[1], "wallet", place.address, "confirmTransaction", index, tag=_WALLET)


def top_up_wallet(world: World) -> Session:
    """Somebody pays into an existing wallet."""
    if world.places.get("wallet"):
        place = world.pick(world.places["wallet"])
        ether = world.amount(2.0, 0.9)
        who = yield from someone(world, ether)
        yield Send(who, place.address, value=int(ether * ETH), tag=_WALLET)


def mint_collectibles(world: World) -> Session:
    """Buy new collectibles, perhaps list one for sale, which somebody may buy."""
    place = world.places["sale"][-1] if world.chance(0.4) else world.some("sale", 0.6)
    price = world.view("sale", place.address, "price")
    count = int(world.rng.geometric(0.5))
    who = yield from someone(world, count * price / ETH)
    call = ("mint", min(count, 20))
    receipt = yield send(who, "sale", place.address, *call, value=price * min(count, 20), tag=_SALE)
    ids = [int.from_bytes(log.topics[3], "big") for log in receipt.logs if log.topics[0] == _TRANSFER]
    if world.chance(0.35):
        yield from wait(world, 40)
        asked = int(price * (1.1 + 2 * world.rng.random()))
        yield send(who, "sale", place.address, "list", ids[0], asked, tag=_SALE)
        yield from wait(world, 40)
        buyer = yield from someone(world, asked / ETH)
        yield send(buyer, "sale", place.address, "buy", ids[0], value=asked, tag=_SALE)
    elif world.chance(0.3):
        friend = world.visitor().address
        yield send(who, "sale", place.address, "transferFrom", who.address, friend, ids[-1], tag=_SALE)


def new_sale(world: World) -> Session:
    """An artist opens a sale and collects the proceeds now and then."""
    who = yield from someone(world, 0.8, fresh=0.5)
    place = yield from open_sale(world, who)
    for _ in range(int(world.rng.integers(0, 3))):
        yield from wait(world, 150)
        yield send(who, "sale", place.address, "withdraw", tag=_SALE)


HABITS = (
    (0.45, new_wallet),
    (0.5, top_up_wallet),
    (0.9, mint_collectibles),
    (0.2, new_sale),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ()
