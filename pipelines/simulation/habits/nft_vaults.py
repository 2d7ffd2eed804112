"""Vaults that turn collectibles into fungible shares, and air drops to whoever holds a collectible."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulation.engine import Account
from pipelines.simulation.founding import name
from pipelines.simulation.habits.bots import encode_steps
from pipelines.simulation.habits.bridge import plain_tokens, stock_up
from pipelines.simulation.habits.collectibles import Collection, collections, consent, take_piece
from pipelines.simulation.habits.saving import executor_of, wait
from pipelines.simulation.world import (
    Part,
    Place,
    Session,
    Tag,
    Token,
    World,
    deploy,
    send,
    someone,
    step,
)

_VAULT = Tag(kind="nft_vault")
_CLAIM = Tag(kind="airdrop_claim")
_SETUP = Tag(kind="deployment")
SHARE = 10**18


@dataclass
class HolderDrop:
    """An air drop to the holders of a collection."""

    place: Place
    collection: Collection

    @property
    def token(self) -> Token:
        """What is given away."""
        return self.place.tokens[0]


def holder_drops(world: World) -> list[HolderDrop]:
    """Return the air drops that are under way."""
    return world.notes.get("holder_drops", [])


def unclaimed(world: World, drop: HolderDrop, pieces: list[int]) -> list[int]:
    """Return the pieces for which nobody has claimed yet."""
    place = drop.place.address
    return [piece for piece in pieces if not world.view("holder_airdrop", place, "claimed", piece)]


def payable(world: World, drop: HolderDrop) -> int:
    """Return for how many pieces the drop can still pay."""
    each = int(world.view("holder_airdrop", drop.place.address, "amountPerPiece"))
    return world.held(drop.token, drop.place.address) // each if each else 0


def _with_vault(world: World) -> tuple[Collection, Place]:
    options = [(c, v) for c in collections(world) for v in c.vaults]
    chosen: tuple[Collection, Place] = world.pick(options)
    return chosen


def deposit_pieces(world: World) -> Session:
    """Put a piece into a vault for a share; perhaps take another piece out for it later."""
    collection, vault = _with_vault(world)
    who, piece = yield from take_piece(world, collection)
    yield from consent(world, collection, who, vault.address, Tag(kind="approval"))
    yield send(who, "nft_vault", vault.address, "mint", [piece], tag=_VAULT)
    collection.vaulted[vault.address].append(piece)
    if world.chance(0.5):
        yield from wait(world, 50)
        yield from _take_out(world, collection, vault, who)
    elif world.chance(0.3):
        call = ("transfer", world.visitor().address, SHARE // int(world.rng.integers(1, 5)))
        yield send(who, "nft_vault", vault.address, *call, tag=Tag(kind="token_transfer"))


def _take_out(world: World, collection: Collection, vault: Place, who: Account) -> Part:
    inside = collection.vaulted[vault.address]
    piece = inside.pop(int(world.rng.integers(len(inside))))
    yield send(who, "nft_vault", vault.address, "redeem", [piece], tag=_VAULT)
    collection.owners[piece] = who


def flash_swap(world: World) -> Session:
    """Swap one's own piece for a chosen one of a vault, with a share borrowed for the moment."""
    collection, vault = _with_vault(world)
    inside = collection.vaulted[vault.address]
    who, piece = yield from take_piece(world, collection)
    tool = yield from executor_of(world, who)
    place = collection.place.address
    call = ("transferFrom", who.address, tool.address, piece)
    yield send(who, "collectible", place, *call, tag=Tag(kind="nft"))
    if not inside:
        return
    wanted = inside.pop(int(world.rng.integers(len(inside))))
    steps = [
        step("nft_vault", vault.address, "redeem", [wanted]),
        step("collectible", place, "setApprovalForAll", vault.address, True),
        step("nft_vault", vault.address, "mint", [piece]),
    ]
    options = [d for d in holder_drops(world) if d.collection is collection and payable(world, d) > 0]
    own = [d for d in options if unclaimed(world, d, [piece])]
    if own and world.chance(0.5):
        drop = own[0].place
        steps.insert(0, step("holder_airdrop", drop.address, "claimTokens", [piece]))
    steps.append(step("collectible", place, "transferFrom", tool.address, who.address, wanted))
    flash = ("flash", vault.address, vault.address, SHARE, encode_steps(steps))
    yield send(who, "executor", tool.address, *flash, tag=Tag(kind="nft_flash_swap"))
    inside.append(piece)
    collection.owners[wanted] = who


def claim_as_holder(world: World) -> Session:
    """Holders claim an air drop, for one piece or for all that they have."""
    drop: HolderDrop = world.pick(holder_drops(world))
    collection = drop.collection
    for _ in range(int(world.rng.integers(1, 4))):
        who, piece = yield from take_piece(world, collection)
        pieces = [piece]
        if world.chance(0.5):
            pieces += [p for p, owner in collection.owners.items() if owner is who][:4]
        for number in pieces[1:]:
            del collection.owners[number]
        mine = unclaimed(world, drop, pieces)[: payable(world, drop)]
        if mine:
            yield send(who, "holder_airdrop", drop.place.address, "claimTokens", mine, tag=_CLAIM)
        collection.owners.update(dict.fromkeys(pieces, who))
        yield from wait(world, 15)


def open_vault(world: World, owner: Account, collection: Collection) -> Part:
    """Deploy a vault; its founder deposits eight of his pieces."""
    title = name(world)
    call = (collection.place.address, title, f"x{title[:4].upper()}")
    vault = yield from deploy(world, owner, "nft_vault", *call)
    mine = [piece for piece, holder in collection.owners.items() if holder is owner][:8]
    for piece in mine:
        del collection.owners[piece]
    yield from consent(world, collection, owner, vault.address, Tag(kind="approval"))
    yield send(owner, "nft_vault", vault.address, "mint", mine, tag=_VAULT)
    collection.vaults.append(vault)
    collection.vaulted[vault.address] = mine


def open_holder_drop(world: World, owner: Account, collection: Collection, ether: float) -> Part:
    """Deploy an air drop to a collection's holders and pay in what it gives away."""
    token: Token = world.pick(plain_tokens(world)[1:])
    supply = world.view("collectible", collection.place.address, "totalSupply")
    got = yield from stock_up(world, owner, token, ether)
    call = (token.address, collection.place.address, got // int(supply))
    place = yield from deploy(world, owner, "holder_airdrop", *call, tokens=(token,))
    yield send(owner, "token", token.address, "transfer", place.address, got, tag=_SETUP)
    world.notes.setdefault("holder_drops", []).append(HolderDrop(place, collection))


def announce(world: World) -> Session:
    """A collection's creator announces another air drop, or ends an old one."""
    drops = holder_drops(world)
    if len(drops) > 5 and world.chance(0.6):
        drop = drops.pop(0)
        place = drop.place
        yield send(
            place.owner, "holder_airdrop", place.address, "claimUnclaimedTokens", tag=Tag(kind="sweep")
        )
        return
    collection, _ = _with_vault(world)
    owner = yield from someone(world, 5.0, fresh=0.2)
    yield from open_holder_drop(world, owner, collection, world.amount(3.0, 0.3))


def new_nft_vault(world: World) -> Session:
    """A creator or a collector opens a vault for a collection."""
    collection: Collection = world.pick(collections(world))
    who, piece = yield from take_piece(world, collection)
    collection.owners[piece] = who
    yield from open_vault(world, who, collection)


def found(world: World, founders: list[Account]) -> Part:
    """Open vaults for three collections, and air drops to their holders."""
    for collection in collections(world)[:3]:
        yield from open_vault(world, collection.place.owner, collection)
        yield from open_holder_drop(world, founders[4], collection, 10.0)


HABITS = (
    (0.16, deposit_pieces),
    (0.12, flash_swap),
    (0.16, claim_as_holder),
    (0.04, announce),
    (0.016, new_nft_vault),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("nft_flash_swap",)
