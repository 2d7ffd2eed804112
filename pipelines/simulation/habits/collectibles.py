"""Collectibles on the secondary market: listings, offers, bargains, cold wallets, loans against a floor."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.simulation.engine import Account
from pipelines.simulation.founding import name
from pipelines.simulation.habits.saving import wait
from pipelines.simulation.world import (
    ETH,
    Part,
    Place,
    Session,
    Tag,
    World,
    deploy,
    newcomer,
    send,
    someone,
)

_NFT = Tag(kind="nft")
_OFFER = Tag(kind="nft_offer")
_LOAN = Tag(kind="nft_loan")
_SETUP = Tag(kind="deployment")


@dataclass
class Collection:
    """A collection and what its followers know about it."""

    place: Place
    floor: int
    """What a piece is worth, in wei."""
    owners: dict[int, Account] = field(default_factory=dict)
    """Pieces at rest, by number; whoever is busy with a piece takes it out meanwhile."""
    offers: dict[int, tuple[Account, int]] = field(default_factory=dict)
    """Standing offers on the market: index -> (bidder, wei)."""
    listings: list[tuple[Account, int, int]] = field(default_factory=list)
    """(seller, piece, wei) of listings that were never cancelled."""
    vaults: list[Place] = field(default_factory=list)
    vaulted: dict[bytes, list[int]] = field(default_factory=dict)
    """Vault -> pieces in it."""


def collections(world: World) -> list[Collection]:
    """Return all collections."""
    return world.notes.get("collections", [])


def market(world: World) -> bytes:
    """Return one of the markets; most people use the first one."""
    return world.the("nft_market").address


def take_piece(world: World, collection: Collection) -> Part:
    """Return (owner, piece) of somebody who wants to do something with it and has some ether."""
    for _ in range(6):
        if not collection.owners:
            break
        piece = world.pick(list(collection.owners))
        if world.ether(collection.owners[piece].address) > ETH // 10:
            return collection.owners.pop(piece), piece
    buyer = yield from someone(world, collection.floor / ETH * 1.3 + 0.1)
    piece = yield from buy_from_creator(world, collection, buyer)
    return buyer, piece


def buy_from_creator(world: World, collection: Collection, buyer: Account) -> Part:
    """Mint a piece, or buy one that the creator kept and lists now; return its number."""
    place = collection.place
    sold, cap = (world.view("collectible", place.address, f) for f in ("totalSupply", "cap"))
    if sold < cap:
        price = world.view("collectible", place.address, "price")
        yield send(buyer, "collectible", place.address, "mint", 1, value=price, tag=_NFT)
        return sold + 1
    kept = [piece for piece, owner in collection.owners.items() if owner is place.owner]
    piece = kept[0] if kept else world.pick(list(collection.owners))
    seller = collection.owners.pop(piece)
    price = int(collection.floor * (0.97 + 0.2 * world.rng.random()))
    yield from put_up(world, collection, seller, piece, price)
    yield send(
        buyer, "nft_market", market(world), "buy", place.address, piece, seller.address, value=price, tag=_NFT
    )
    return piece


def consent(world: World, collection: Collection, who: Account, operator: bytes, tag: Tag) -> Part:
    """Let an operator move all pieces of somebody, unless it may already."""
    place = collection.place.address
    if not world.view("collectible", place, "isApprovedForAll", who.address, operator):
        yield send(who, "collectible", place, "setApprovalForAll", operator, True, tag=tag)


def put_up(world: World, collection: Collection, seller: Account, piece: int, price: int) -> Part:
    """List a piece on the market."""
    yield from consent(world, collection, seller, market(world), Tag(kind="approval"))
    yield send(seller, "nft_market", market(world), "list", collection.place.address, piece, price, tag=_NFT)


def trade(world: World) -> Session:
    """List a piece; somebody buys it, or the seller changes his mind and cancels."""
    collection: Collection = world.pick(collections(world))
    seller, piece = yield from take_piece(world, collection)
    price = int(collection.floor * (0.95 + 0.4 * world.rng.random()))
    yield from put_up(world, collection, seller, piece, price)
    yield from wait(world, 50)
    place = collection.place.address
    if world.chance(0.2):
        yield send(seller, "nft_market", market(world), "cancel", place, piece, tag=_NFT)
        collection.owners[piece] = seller
        return
    if world.chance(0.15):
        collection.listings.append((seller, piece, price))
        collection.owners[piece] = seller
        return
    buyer = yield from someone(world, price / ETH)
    yield send(buyer, "nft_market", market(world), "buy", place, piece, seller.address, value=price, tag=_NFT)
    collection.owners[piece] = buyer
    collection.floor = (collection.floor * 4 + price) // 5


def offer(world: World, collection: Collection, price: int) -> Part:
    """Offer a price for any piece of a collection."""
    bidder = yield from someone(world, price / ETH)
    place = collection.place.address
    receipt = yield send(bidder, "nft_market", market(world), "makeOffer", place, value=price, tag=_OFFER)
    collection.offers[int.from_bytes(receipt.logs[0].topics[1], "big")] = (bidder, price)


def bid(world: World) -> Session:
    """Make an offer below the floor; sometimes take back an old one; some holder may accept."""
    collection: Collection = world.pick(collections(world))
    yield from offer(world, collection, int(collection.floor * (0.75 + 0.2 * world.rng.random())))
    if len(collection.offers) > 4 and world.chance(0.6):
        index = next(iter(collection.offers))
        bidder, _ = collection.offers.pop(index)
        yield send(bidder, "nft_market", market(world), "withdrawOffer", index, tag=_OFFER)
    elif world.chance(0.4):
        yield from wait(world, 40)
        yield from accept_best(world, collection)


def best_offer(collection: Collection) -> tuple[int, int]:
    """Return (index, wei) of the best standing offer; (0, 0) if there is none."""
    return max(
        ((i, price) for i, (_, price) in collection.offers.items()), key=lambda o: o[1], default=(0, 0)
    )


def accept_best(world: World, collection: Collection) -> Part:
    """A holder takes the best offer."""
    seller, piece = yield from take_piece(world, collection)
    yield from consent(world, collection, seller, market(world), Tag(kind="approval"))
    index, _ = best_offer(collection)
    if index:
        bidder, _ = collection.offers.pop(index)
        yield send(seller, "nft_market", market(world), "acceptOffer", index, piece, tag=_NFT)
        collection.owners[piece] = bidder
    else:
        collection.owners[piece] = seller


def bargain(world: World) -> Session:
    """A trader buys a cheap listing and sells into an offer at once, or keeps it."""
    collection: Collection = world.pick(collections(world))
    seller, piece = yield from take_piece(world, collection)
    price = int(collection.floor * (0.55 + 0.35 * world.rng.random()))
    yield from put_up(world, collection, seller, piece, price)
    if best_offer(collection)[1] < price * 11 // 10:
        yield from offer(world, collection, int(collection.floor * 0.97))
    trader = yield from someone(world, price / ETH)
    tag, place = Tag(kind="nft_flip"), collection.place.address
    yield send(trader, "nft_market", market(world), "buy", place, piece, seller.address, value=price, tag=tag)
    collection.owners[piece] = trader
    index, best = best_offer(collection)
    if best > price:
        del collection.owners[piece]
        yield from consent(world, collection, trader, market(world), Tag(kind="approval"))
        if index in collection.offers:
            bidder, _ = collection.offers.pop(index)
            yield send(trader, "nft_market", market(world), "acceptOffer", index, piece, tag=tag)
            collection.owners[piece] = bidder


def cold_storage(world: World) -> Session:
    """List a piece, move it to another wallet instead of cancelling, and bring it back later."""
    yield from store_cold(world, world.pick(collections(world)))


def store_cold(world: World, collection: Collection) -> Part:
    """The same for a piece of a given collection."""
    owner, piece = yield from take_piece(world, collection)
    price = int(collection.floor * (0.9 + 0.2 * world.rng.random()))
    yield from put_up(world, collection, owner, piece, price)
    yield from wait(world, 20)
    place = collection.place.address
    wallet = yield from newcomer(world, 0.05, source=owner)
    yield send(owner, "collectible", place, "transferFrom", owner.address, wallet.address, piece, tag=_NFT)
    yield from wait(world, 30)
    yield send(wallet, "collectible", place, "transferFrom", wallet.address, owner.address, piece, tag=_NFT)
    collection.listings.append((owner, piece, price))
    collection.owners[piece] = owner


def fashion(world: World) -> Session:
    """A collection comes into fashion or goes out of it: offers and the posted floor follow."""
    collection: Collection = world.pick(collections(world))
    start = world.view("collectible", collection.place.address, "price")
    if collection.floor > 12 * start or (collection.floor > 3 * start and world.chance(0.4)):
        yield from lower(world, collection)
    else:
        yield from boom(world, collection)


def boom(world: World, collection: Collection) -> Part:
    """Some collectors offer much more than anybody has so far."""
    collection.floor = int(collection.floor * (1.5 + 1.5 * world.rng.random()))
    for _ in range(int(world.rng.integers(1, 4))):
        yield from offer(world, collection, int(collection.floor * (0.85 + 0.1 * world.rng.random())))
    yield from _post_floor(world, collection)


def lower(world: World, collection: Collection) -> Part:
    """Bidders withdraw and the floor falls."""
    collection.floor = int(collection.floor * (0.35 + 0.3 * world.rng.random()))
    for index, (bidder, price) in list(collection.offers.items()):
        if price > collection.floor and collection.offers.pop(index, None) is not None:
            yield send(bidder, "nft_market", market(world), "withdrawOffer", index, tag=_OFFER)
    yield from _post_floor(world, collection)


def _post_floor(world: World, collection: Collection) -> Part:
    """The lending pools' owners post the floor price."""
    for pool in world.places["nft_pool"]:
        call = ("setFloor", collection.place.address, collection.floor)
        yield send(pool.owner, "nft_pool", pool.address, *call, tag=Tag(kind="parameter_change"))


def pawn(world: World) -> Session:
    """Borrow against a piece; repay in time, or somebody buys it from the pool afterwards."""
    collection: Collection = world.pick(collections(world))
    pool: Place = world.pick(world.places["nft_pool"])
    owner, piece = yield from take_piece(world, collection)
    place = collection.place.address
    yield from consent(world, collection, owner, pool.address, Tag(kind="approval"))
    limit = world.view("nft_pool", pool.address, "floorPrice", place) * 6 // 10
    amount = min(int(limit * (0.5 + 0.49 * world.rng.random())), world.ether(pool.address) // 3)
    yield send(owner, "nft_pool", pool.address, "borrow", place, piece, amount, tag=_LOAN)
    yield from wait(world, 120)
    if world.chance(0.6):
        call = ("repay", place, piece)
        yield send(owner, "nft_pool", pool.address, *call, value=amount * 101 // 100, tag=_LOAN)
        collection.owners[piece] = owner
        return
    for _ in range(8):
        yield from wait(world, 500)
    buyer = yield from someone(world, amount / ETH)
    yield send(buyer, "nft_pool", pool.address, "auction", place, piece, value=amount, tag=_LOAN)
    collection.owners[piece] = buyer


def lend_ether(world: World) -> Session:
    """Supply a pool with ether."""
    pool: Place = world.pick(world.places["nft_pool"])
    ether = world.amount(2.0, 0.7)
    who = yield from someone(world, ether)
    yield send(who, "nft_pool", pool.address, "supply", value=int(ether * ETH), tag=_LOAN)


def open_collection(world: World, creator: Account, cap: int, kept: int) -> Part:
    """Deploy a collection; the creator mints some of it for himself."""
    price = int(world.amount(0.12, 0.5) * 1000) * 10**15 + 10**16
    title = name(world)
    call = (title, title[:4].upper(), price, cap)
    place = yield from deploy(world, creator, "collectible", *call)
    yield send(creator, "collectible", place.address, "mint", kept, value=price * kept, tag=_SETUP)
    owners = dict.fromkeys(range(1, kept + 1), creator)
    collection = Collection(place, int(price * (2 + 2 * world.rng.random())), owners)
    world.notes.setdefault("collections", []).append(collection)
    yield from _post_floor(world, collection)
    return collection


def new_collection(world: World) -> Session:
    """An artist opens a collection, gives some pieces away and collects the proceeds."""
    creator = yield from someone(world, 4.0, fresh=0.5)
    collection = yield from open_collection(world, creator, int(world.rng.integers(15, 60)), 6)
    place = collection.place.address
    for _ in range(2):
        piece = next(iter(collection.owners))
        friend: Account = world.visitor()
        del collection.owners[piece]
        yield send(
            creator, "collectible", place, "transferFrom", creator.address, friend.address, piece, tag=_NFT
        )
        collection.owners[piece] = friend
    for _ in range(3):
        yield from wait(world, 200)
        if world.ether(place) > ETH // 5:
            yield send(creator, "collectible", place, "withdraw", tag=_NFT)


def found(world: World, founders: list[Account]) -> Part:
    """Open a market, two lending pools and four collections with their first offers."""
    yield from deploy(world, founders[1], "nft_market")
    for index in (2, 5):
        pool = yield from deploy(world, founders[index], "nft_pool")
        yield send(founders[index], "nft_pool", pool.address, "supply", value=60 * ETH, tag=_LOAN)
    for index, kept in enumerate((20, 16, 20, 12)):
        collection = yield from open_collection(world, founders[index], kept + 12, kept)
        yield from offer(world, collection, collection.floor * 8 // 10)


HABITS = (
    (0.32, trade),
    (0.2, bid),
    (0.16, bargain),
    (0.096, cold_storage),
    (0.048, fashion),
    (0.16, pawn),
    (0.064, lend_ether),
    (0.024, new_collection),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("nft_flip", "nft_loan", "parameter_change")
