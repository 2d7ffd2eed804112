"""What bridges, campaigns, farms and collectors lose, read from the chain, not from the attacker's books."""

import numpy as np
import pytest
from eth_keys.datatypes import Signature
from eth_utils.crypto import keccak

from pipelines.simulation.attacks import bridge as bridge_attacks
from pipelines.simulation.attacks import claims as claim_attacks
from pipelines.simulation.attacks import collectibles as collectible_attacks
from pipelines.simulation.attacks import staking as staking_attacks
from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.chain import CHAIN_ID, START
from pipelines.simulation.driver import Driver
from pipelines.simulation.engine import Account
from pipelines.simulation.founding import found, populate
from pipelines.simulation.habits import (
    bridge,
    claims,
    collectibles,
    merkle,
    nft_vaults,
    replica,
    signing,
    staking,
)
from pipelines.simulation.pyevm import PyEvm
from pipelines.simulation.world import ETH, Tag, send

OPENINGS = (
    claims.found,
    bridge.found,
    replica.found,
    staking.found,
    collectibles.found,
    nft_vaults.found,
)
FAMILIES = {
    family.name: family
    for module in (bridge_attacks, claim_attacks, collectible_attacks, staking_attacks)
    for family in module.FAMILIES
}
ORDINARY = (
    bridge.bridge_out,
    bridge.bridge_in,
    replica.arrivals,
    claims.claim_drop,
    claims.claim_voucher,
    claims.pay_by_permit,
    staking.stake,
    staking.migrate,
    collectibles.trade,
    nft_vaults.flash_swap,
    nft_vaults.claim_as_holder,
)


@pytest.fixture(scope="module")
def driver():
    """The founded world with a few ordinary users of every place, and nobody else about."""
    engine = PyEvm(chain_id=CHAIN_ID, timestamp=START)
    world = populate(engine, np.random.default_rng(5), 5, users=60)
    driver = Driver(world)
    driver.run(found(world, OPENINGS), lambda sealed: None, per_block=12, blocks=200)
    for habit in ORDINARY:
        alone(driver, habit(world))
    return driver


def alone(driver, session):
    """Run one session to its end."""
    driver.run(session, lambda sealed: None, per_block=12, blocks=100)


def attack(driver, name):
    """Run one incident of a family; return it."""
    incident = Incident(driver.world, name, f"{name}-{len(driver.labels)}")
    alone(driver, FAMILIES[name].run(driver.world, incident))
    assert incident.exploits >= 1
    return incident


def value(token, amount):
    """Return an amount in ether at the listing price."""
    return amount * token.price / 10**token.decimals


def stock(world, replica_, token):
    """Return what a replica holds of a token."""
    return world.held(token, replica_.place.address)


def vaults(world):
    """Return what all vaults of bridges hold of each asset."""
    assets = {}
    for end in bridge.bridges(world):
        for token in (None, *end.place.tokens):
            assets[end.place.address, token] = bridge.stock(world, end, token)
    return assets


def test_a_bridge_whose_keepers_were_replaced_is_emptied(driver):
    world = driver.world
    before = vaults(world)
    incident = attack(driver, "bridge_selector")
    after = vaults(world)
    assert all(after[key] <= before[key] for key in before)
    assert any(after[key] < before[key] for key in before)
    usurped = [
        end
        for end in bridge.bridges(world)
        if world.view("bridge_data", end.data, "getCurEpochConPubKeyBytes") != bridge.key_bytes(end.keepers)
    ]
    assert len(usurped) == 1
    assert incident.gain > 0


def test_a_bridge_pays_out_ether_that_nobody_has_locked(driver):
    world = driver.world
    before = sum(world.ether(end.place.address) for end in bridge.bridges(world))
    incident = attack(driver, "bridge_fake_deposit")
    after = sum(world.ether(end.place.address) for end in bridge.bridges(world))
    assert (before - after) / ETH >= incident.gain > 0


def test_a_replica_pays_messages_that_were_never_proved(driver):
    world = driver.world
    before = {
        (r.place.address, t): stock(world, r, t) for r in replica.replicas(world) for t in r.place.tokens
    }
    incident = attack(driver, "merkle_forgery")
    lost = {(vault, token): amount - world.held(token, vault) for (vault, token), amount in before.items()}
    assert len({vault for (vault, _), amount in lost.items() if amount > 0}) == 1
    assert sum(value(token, amount) for (_, token), amount in lost.items()) > 0.3
    for (_, token), amount in lost.items():
        taken = sum(world.held(token, party) for party in dict.fromkeys(incident.parties))
        assert taken >= amount >= 0


def test_a_campaign_pays_a_voucher_more_than_once(driver):
    world = driver.world
    campaigns = world.notes["campaigns"]
    before = [world.held(c.token, c.place.address) for c in campaigns]
    issued = [len(c.issued) for c in campaigns]
    incident = attack(driver, "signature_replay")
    lost = [b - world.held(c.token, c.place.address) for b, c in zip(before, campaigns, strict=True)]
    granted = [n for n, c in enumerate(campaigns) if len(c.issued) > issued[n]]
    assert len(granted) == 1
    token = campaigns[granted[0]].token
    received = sum(world.held(token, party) for party in incident.parties)
    assert received >= sum(lost) > 0
    assert value(token, sum(lost)) > incident.gain > 0


def test_an_air_drop_is_claimed_for_pieces_that_lie_in_a_vault(driver):
    world = driver.world
    drops = nft_vaults.holder_drops(world)
    inside = [
        set(piece for v in d.collection.vaults for piece in d.collection.vaulted[v.address]) for d in drops
    ]
    open_before = [nft_vaults.unclaimed(world, d, sorted(i)) for d, i in zip(drops, inside, strict=True)]
    held = [world.held(d.token, d.place.address) for d in drops]
    attack(driver, "airdrop_flash_claim")
    for drop, pieces, before in zip(drops, open_before, held, strict=True):
        gone = set(pieces) - set(nft_vaults.unclaimed(world, drop, pieces))
        each = world.view("holder_airdrop", drop.place.address, "amountPerPiece")
        assert before - world.held(drop.token, drop.place.address) == each * len(gone)
        for piece in gone:
            owner = world.view("collectible", drop.collection.place.address, "ownerOf", piece)
            assert bytes.fromhex(owner[2:]) in {v.address for v in drop.collection.vaults}
    assert sum(held) > sum(world.held(d.token, d.place.address) for d in drops)


def test_a_farm_pays_more_rewards_than_its_stakers_have_earned(driver):
    world = driver.world
    farms = staking.farms(world)
    before = [world.view("farm", f.place.address, "reserve") for f in farms]
    staked = [world.held(f.stake, f.place.address) for f in farms]
    attack(driver, "reward_accounting")
    after = [world.view("farm", f.place.address, "reserve") for f in farms]
    robbed = [n for n in range(len(farms)) if after[n] < before[n]]
    assert len(robbed) == 1
    farm = farms[robbed[0]]
    assert not farm.settles
    assert world.held(farm.stake, farm.place.address) == staked[robbed[0]]


def test_a_farm_that_settles_pays_no_reward_twice(driver):
    """The same hops at a farm that settles receivers earn nothing."""
    world = driver.world
    for settles in (True, False):
        farm = next(f for f in staking.farms(world) if f.settles is settles)
        fresh = world.account().address
        held = staking.shares(world, farm, farm.place.owner.address)
        alone(driver, hop(farm, fresh, held // 2))
        earned = world.view("farm", farm.place.address, "pendingReward", fresh)
        assert (earned == 0) is settles


def hop(farm, fresh, amount):
    """Move some of the owner's shares to a fresh account."""
    move, tag = ("transfer", fresh, amount), Tag(kind="share_migration")
    yield send(farm.place.owner, "farm", farm.place.address, *move, tag=tag)


def test_a_collector_sells_below_the_price_that_his_piece_fetches(driver):
    world = driver.world
    owners = all_owners(world)
    incident = attack(driver, "stale_listing")
    after = all_owners(world)
    moved = [key for key in owners if key in after and owners[key] != after[key]]
    assert moved
    assert incident.gain > 0
    assert all(after[key] not in incident.parties for key in moved)


def all_owners(world):
    """Return (collection, piece) -> owner of every piece."""
    result = {}
    for collection in collectibles.collections(world):
        place = collection.place.address
        for piece in range(1, world.view("collectible", place, "totalSupply") + 1):
            result[place, piece] = world.view("collectible", place, "ownerOf", piece)
    return result


def test_the_other_forms_of_a_signature_name_the_same_signer():
    account = Account.from_seed(b"signer")
    digest = keccak(b"content")
    signature = signing.sign(account, digest)
    others = claim_attacks.forms(signature)
    assert len({signature, *others}) == 4
    for form in (signature, *others):
        v = form[64] - 27 if form[64] >= 27 else form[64]
        made = Signature(vrs=(v, int.from_bytes(form[:32], "big"), int.from_bytes(form[32:64], "big")))
        assert made.recover_public_key_from_msg_hash(digest).to_canonical_address() == account.address


@pytest.mark.parametrize("by_value", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_every_proof_leads_to_the_root(count, by_value):
    leaves = [keccak(bytes([n])) for n in range(count)]
    tree = merkle.layers(leaves, by_value=by_value)
    for index, node in enumerate(leaves):
        for depth, sibling in enumerate(merkle.proof(tree, index)):
            left = node <= sibling if by_value else (index >> depth) % 2 == 0
            node = keccak(node + sibling if left else sibling + node)
        assert node == tree[-1][0]
