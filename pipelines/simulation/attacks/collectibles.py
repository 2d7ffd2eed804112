"""Collectibles: air drops claimed with borrowed pieces (ApeCoin 2022), forgotten listings (OpenSea 2022)."""

from __future__ import annotations

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    padded,
    run_script,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits import collectibles as trading
from pipelines.simulation.habits import nft_vaults
from pipelines.simulation.habits.bots import encode_steps
from pipelines.simulation.habits.collectibles import Collection, best_offer, collections, market
from pipelines.simulation.habits.nft_vaults import SHARE, HolderDrop, holder_drops, payable, unclaimed
from pipelines.simulation.world import ETH, Part, Place, Send, Session, World, send, step

Chance = tuple[HolderDrop, Place, list[int]]
"""(air drop, vault, pieces in the vault that can still be claimed for)."""
Bargain = tuple[Collection, Account, int, int]
"""(collection, seller, piece, price of the stale listing)."""


def chances(world: World) -> list[Chance]:
    """Return which vaults hold pieces that an air drop would still pay for."""
    found = []
    for drop in holder_drops(world):
        left = payable(world, drop)
        for vault in drop.collection.vaults:
            inside = drop.collection.vaulted[vault.address]
            if left and inside:
                pieces = unclaimed(world, drop, inside[:8])[:left]
                found += [(drop, vault, pieces)] if pieces else []
    return found


def airdrop_flash_claim(world: World, incident: Incident) -> Session:
    """Borrow vault shares, take the pieces out, claim the air drop, put them back, return the shares."""
    found = chances(world)
    if not found:
        yield from nft_vaults.announce(world)
        found = chances(world)
    if not found:
        return
    own = [chance for chance in found if _worth(world, chance) > chance[0].collection.floor * 1.2 / ETH]
    draw = world.rng.random()
    if draw < 0.3 and own:
        chosen: Chance = world.pick(own)
        who = yield from attacker(world, incident, chosen[0].collection.floor / ETH * 1.1 + 0.4)
        yield from _with_own_share(world, incident, who, chosen)
    else:
        who = yield from attacker(world, incident, 0.4)
        yield from _with_flash_shares(world, incident, who, scripted=draw > 0.65)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _worth(world: World, chance: Chance) -> float:
    """Return what can be claimed, in ether."""
    drop, _, pieces = chance
    each = world.view("holder_airdrop", drop.place.address, "amountPerPiece")
    return len(pieces) * int(each) * drop.token.price / float(10**drop.token.decimals)


def _plan(world: World, incident: Incident) -> Chance | None:
    found = chances(world)
    if not found:
        return None
    drop, vault, pieces = world.pick(found)
    if drop.token not in incident.assets and drop.token is not world.weth:
        incident.assets.append(drop.token)
    return drop, vault, pieces[: int(world.rng.integers(1, len(pieces) + 1))]


def _claiming(found: Chance, *, split: bool) -> list[Step]:
    """Return the steps from redeeming to putting back, all pieces at once or one after another."""
    drop, vault, pieces = found
    collection = drop.collection.place.address
    steps = [step("collectible", collection, "setApprovalForAll", vault.address, True)]
    for group in [[piece] for piece in pieces] if split else [pieces]:
        steps.append(step("nft_vault", vault.address, "redeem", group))
        steps.append(step("holder_airdrop", drop.place.address, "claimTokens", group))
        steps.append(step("nft_vault", vault.address, "mint", group))
    return steps


def _proceeds(world: World, found: Chance, to: bytes) -> Step:
    drop, _, pieces = found
    each = world.view("holder_airdrop", drop.place.address, "amountPerPiece")
    return step("token", drop.token.address, "transfer", to, each * len(pieces))


def _with_flash_shares(world: World, incident: Incident, who: Account, *, scripted: bool) -> Part:
    incident.variant.append("script" if scripted else "executor")
    tool = None
    if not scripted:
        tool = yield from runner(world, incident, who)
    for _ in range(4):
        found = _plan(world, incident)
        if found is None:
            return
        _, vault, pieces = found
        split = len(pieces) <= 3 and world.chance(0.3)
        steps = padded(world, _claiming(found, split=split))
        if tool is None or world.chance(0.5):
            steps.append(_proceeds(world, found, who.address))
        loan = SHARE * (1 if split else len(pieces))
        if tool is not None:
            call = ("flash", vault.address, vault.address, loan, encode_steps(steps[:16]))
            yield incident.call("exploit", who, "executor", tool.address, *call)
            return
        inner = [*steps, step("nft_vault", vault.address, "approve", vault.address, loan)]
        call = ("flashLoan", SELF, vault.address, loan, b"")
        outer = [step("nft_vault", vault.address, *call)]
        done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


def _with_own_share(world: World, incident: Incident, who: Account, found: Chance) -> Part:
    """One share suffices: take a piece out, claim, put it back, take out the next."""
    incident.variant.append("own-share")
    drop, vault, pieces = found
    collection, inside = drop.collection, drop.collection.vaulted[vault.address]
    prep, vaulting = incident.tag("prep"), contract("nft_vault")
    seller, bought = yield from trading.take_piece(world, collection)
    price = collection.floor
    yield from trading.put_up(world, collection, seller, bought, price)
    call = ("buy", collection.place.address, bought, seller.address)
    yield send(who, "nft_market", market(world), *call, value=price, tag=prep)
    yield from trading.consent(world, collection, who, vault.address, prep)
    yield Send(who, vault.address, vaulting.data("mint", [bought]), tag=prep)
    inside.append(bought)
    if drop.token is not world.weth:
        incident.assets.append(drop.token)
    for piece in pieces:
        if piece not in inside or not unclaimed(world, drop, [piece]) or not payable(world, drop):
            continue
        inside.remove(piece)
        yield Send(who, vault.address, vaulting.data("redeem", [piece]), tag=prep)
        yield incident.call("exploit", who, "holder_airdrop", drop.place.address, "claimTokens", [piece])
        yield Send(who, vault.address, vaulting.data("mint", [piece]), tag=prep)
        inside.append(piece)
    if bought in inside:
        inside.remove(bought)
        redeem = vaulting.data("redeem", [bought])
        yield Send(who, vault.address, redeem, tag=incident.tag("exit"))
        collection.owners[bought] = who


def stale_listings(world: World) -> list[Bargain]:
    """Return the listings that are still valid and far below what a piece fetches now."""
    found = []
    for collection in collections(world):
        best = max(best_offer(collection)[1], _loan(world, collection)[1])
        for seller, piece, price in collection.listings[-4:]:
            if price * 115 // 100 > best or collection.owners.get(piece) is not seller:
                continue
            place = collection.place.address
            if world.view("nft_market", market(world), "listing", seller.address, place, piece) == price:
                found.append((collection, seller, piece, price))
    return found


def _loan(world: World, collection: Collection) -> tuple[Place, int]:
    """Return the pool that lends most against a piece, and how much."""
    options = []
    for pool in world.places["nft_pool"]:
        limit = world.view("nft_pool", pool.address, "floorPrice", collection.place.address) * 6 // 10
        options.append((pool, min(int(limit), world.ether(pool.address))))
    return max(options, key=lambda option: option[1])


def stale_listing(world: World, incident: Incident) -> Session:
    """Buy pieces from forgotten listings at yesterday's price, turn them into money at today's."""
    if not stale_listings(world):
        collection: Collection = world.pick(collections(world))
        yield from trading.store_cold(world, collection)
        yield from trading.boom(world, collection)
    found = stale_listings(world)
    if not found:
        return
    budget = max(price for *_, price in found) / ETH
    who = yield from attacker(world, incident, budget * 1.2 + 0.2)
    draw = world.rng.random()
    tool = None
    if draw < 0.3:
        tool = yield from runner(world, incident, who)
        incident.variant.append("executor")
    for _ in range(int(world.rng.integers(1, 4))):
        found = [b for b in stale_listings(world) if b[3] < world.ether(who.address) - ETH // 10]
        if not found:
            break
        if tool is not None:
            yield from _at_once(world, incident, who, tool, world.pick(found))
        else:
            yield from _by_hand(world, incident, who, world.pick(found))
    if tool is not None:
        yield from home(world, incident, who, tool)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _venue(world: World, found: Bargain) -> tuple[str, bytes, bytes]:
    """Return (how, contract to approve, calldata) of the best way to turn the piece into money."""
    collection, _, piece, _ = found
    index, best = best_offer(collection)
    pool, loan = _loan(world, collection)
    if loan > best * 39 // 40 or (loan > found[3] * 115 // 100 and world.chance(0.3)):
        call = ("borrow", collection.place.address, piece, loan)
        return "pawned", pool.address, contract("nft_pool").data(*call)
    return "sold", market(world), contract("nft_market").data("acceptOffer", index, piece)


def _book(found: Bargain, how: str) -> None:
    """Note who has the piece now."""
    collection, seller, piece, price = found
    collection.owners.pop(piece, None)
    collection.listings.remove((seller, piece, price))
    if how == "sold":
        collection.owners[piece] = collection.offers.pop(best_offer(collection)[0])[0]


def _at_once(world: World, incident: Incident, who: Account, tool: Place, found: Bargain) -> Part:
    collection, seller, piece, price = found
    how, operator, sale = _venue(world, found)
    incident.variant.append(how)
    place = collection.place.address
    steps = [
        step("nft_market", market(world), "buy", place, piece, seller.address, value=price),
        step("collectible", place, "setApprovalForAll", operator, True),
        Step(operator, 0, sale),
    ]
    _book(found, how)
    yield from run_steps(world, incident, who, tool, steps)


def _by_hand(world: World, incident: Incident, who: Account, found: Bargain) -> Part:
    """Buy and sell in transactions of their own; the sale is at whatever is best by then."""
    collection, seller, piece, price = found
    place = collection.place.address
    del collection.owners[piece]
    call = ("buy", place, piece, seller.address)
    yield incident.call("exploit", who, "nft_market", market(world), *call, value=price)
    for operator in (market(world), *(pool.address for pool in world.places["nft_pool"])):
        yield from trading.consent(world, collection, who, operator, incident.tag("prep"))
    how, operator, sale = _venue(world, found)
    incident.variant.append(how)
    _book(found, how)
    yield incident.act("exploit", who, operator, sale)


FAMILIES = (
    Family(
        name="airdrop_flash_claim",
        tier="structural",
        split="dev",
        modelled_on="ApeCoin (2022)",
        about="Borrow vault shares, redeem the collectibles, claim an air drop meant for holders, "
        "put them back.",
        run=airdrop_flash_claim,
    ),
    Family(
        name="stale_listing",
        tier="context",
        split="dev",
        modelled_on="OpenSea (2022)",
        about="Buy collectibles from old listings that were never cancelled, sell or pawn them "
        "at today's price.",
        run=stale_listing,
    ),
)
