"""Takeovers, stolen keys and votes seen from the victims: balances, owners and supply on the chain."""

import numpy as np
import pytest

from pipelines.simulation.attacks.governance import governance_flash_loan
from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.attacks.minting import leaked_key_mint, unprotected_mint
from pipelines.simulation.attacks.stolen_keys import malicious_upgrade, stolen_operator_key
from pipelines.simulation.attacks.takeovers import module_takeover, storage_collision_init
from pipelines.simulation.bytecode import SELF
from pipelines.simulation.chain import CHAIN_ID, START
from pipelines.simulation.compile import contract
from pipelines.simulation.driver import Driver
from pipelines.simulation.founding import found, populate
from pipelines.simulation.habits import governance, minting, safes, upgrades
from pipelines.simulation.habits.governance import organisations
from pipelines.simulation.habits.minting import issuers
from pipelines.simulation.habits.safes import confirmed
from pipelines.simulation.habits.upgrades import implementation, pools
from pipelines.simulation.proxies import upgrade_to
from pipelines.simulation.pyevm import PyEvm
from pipelines.simulation.world import ETH

OPENINGS = (minting.found, upgrades.found, safes.found, governance.found)
HABITS = [habit for group in (minting, upgrades, safes, governance) for _, habit in group.HABITS]


@pytest.fixture(scope="module")
def quiet():
    """A world with these groups and nobody else about, some of whose habits have been at work."""
    engine = PyEvm(chain_id=CHAIN_ID, timestamp=START)
    world = populate(engine, np.random.default_rng(5), 5, users=80)
    driver = Driver(world)
    driver.run(found(world, OPENINGS), lambda sealed: None, per_block=12, blocks=400)
    for habit in HABITS:
        driver.add(habit(world))
    settle(driver)
    return world, driver


def settle(driver):
    """Run all sessions to their end; a block passes now and then."""
    while driver.pending:
        for _ in range(12):
            if driver.pending:
                driver.turn()
        driver.seal()


def attack(quiet, run):
    """Carry out one incident of a family with nobody else about."""
    world, driver = quiet
    for attempt in range(6):
        incident = Incident(world, run.__name__, f"{run.__name__}-{attempt}")
        driver.add(run(world, incident))
        settle(driver)
        if incident.exploits:
            return incident
    raise AssertionError(f"{run.__name__}: no opportunity in six attempts")


def worth(incident, token, amount):
    return amount * incident.prices.get(token.address, 0)


def is_but_for_gas(loss, gain):
    """Whether the attackers gained what the victims lost, less the gas that they paid."""
    return gain <= loss < gain + 0.05


def supply(world, token):
    return world.view("token", token.address, "totalSupply")


def test_every_habit_of_these_groups_is_carried_out(quiet):
    _, driver = quiet
    kinds = {tag.kind for tag in driver.labels.values()}
    assert kinds >= {"owner_mint", "upgrade", "multisig_batch", "module_use", "savings_pool"}
    assert kinds >= {"proposal", "vote", "governance", "treasury_funding"}
    assert sum(driver.dropped.values()) <= 6


@pytest.mark.parametrize("run", [unprotected_mint, leaked_key_mint])
def test_a_mint_inflates_the_supply_and_empties_the_pool(quiet, run):
    world, _ = quiet
    tokens = [token for token in world.tokens if token.kind in ("token", "role_token")]
    before = [(supply(world, token), world.reserves(world.weth, token)[0]) for token in tokens]
    owners = [i.owner.address for i in issuers(world)]
    incident = attack(quiet, run)
    after = [(supply(world, token), world.reserves(world.weth, token)[0]) for token in tokens]
    hit = [i for i in range(len(tokens)) if before[i] != after[i]]
    assert len(hit) == 1
    (old_supply, old_weth), (new_supply, new_weth) = before[hit[0]], after[hit[0]]
    assert new_supply > old_supply
    assert is_but_for_gas((old_weth - new_weth) / ETH, incident.gain)
    open_ones = {i.token.address for i in issuers(world) if not i.enforced}
    assert (tokens[hit[0]].address in open_ones) == (run is unprotected_mint)
    assert owners == [i.owner.address for i in issuers(world)]


@pytest.mark.parametrize("run", [malicious_upgrade, stolen_operator_key, storage_collision_init])
def test_a_pool_loses_the_savings_that_a_thief_gains(quiet, run):
    world, _ = quiet
    all_pools = list(world.notes["pool"])
    before = [world.held(pool.token, pool.address) for pool in all_pools]
    masters = [master(world, pool) for pool in all_pools]
    incident = attack(quiet, run)
    after = [world.held(pool.token, pool.address) for pool in all_pools]
    lost = [worth(incident, pool.token, b - a) for pool, b, a in zip(all_pools, before, after, strict=True)]
    assert is_but_for_gas(sum(lost), incident.gain)
    assert max(lost) > 0
    assert min(lost) >= 0
    robbed = [pool for pool, loss in zip(all_pools, lost, strict=True) if loss > 0]
    now = [master(world, pool) for pool in all_pools]
    changed = [p for p, was, new in zip(all_pools, masters, now, strict=True) if p.open and was != new]
    if run is storage_collision_init:
        assert changed == robbed
        assert all(pool.collides for pool in robbed)
    if run is malicious_upgrade:
        assert not any(pool.open for pool in robbed)


def master(world, pool):
    return world.view("pool_v1", pool.address, "owner") if pool.open else None


def test_a_wallet_loses_what_its_new_module_or_code_gives_away(quiet):
    world, _ = quiet
    held = [(safe, possessions(world, safe)) for safe in world.notes["safe"]]
    incident = attack(quiet, module_takeover)
    lost = []
    for safe, before in held:
        gone = {token: before[token] - now for token, now in possessions(world, safe).items()}
        lost.append(gone.pop(None) / ETH + sum(worth(incident, t, n) for t, n in gone.items()))
    assert sum(loss > 0 for loss in lost) == 1
    assert is_but_for_gas(max(lost), incident.gain)


def possessions(world, safe):
    held = {token: world.held(token, safe.address) for token in safe.tokens}
    return {None: world.ether(safe.address), **held}


def test_a_treasury_pays_out_by_the_votes_of_one_transaction(quiet):
    world, _ = quiet
    bodies = list(organisations(world))
    before = [world.held(world.weth, b.timelock) + world.ether(b.timelock) for b in bodies]
    incident = attack(quiet, governance_flash_loan)
    after = [world.held(world.weth, b.timelock) + world.ether(b.timelock) for b in bodies]
    robbed = [i for i in range(len(bodies)) if after[i] < before[i]]
    assert len(robbed) == 1
    body = bodies[robbed[0]]
    loss = (before[robbed[0]] - after[robbed[0]]) / ETH
    assert loss >= incident.gain > 0
    number = world.view("governor", body.governor, "count")
    assert world.view("governor", body.governor, "proposals", number)[5]
    members = [*body.team, *body.members]
    mine = sum(world.view("governor", body.governor, "getVotes", who.address) for who in members)
    assert mine * 2 < world.view("governor", body.governor, "proposals", number)[2]


def test_only_the_admin_upgrades_and_only_a_collision_initialises_twice(quiet):
    world, _ = quiet
    stranger = world.account().address
    again = contract("pool_v1").data("initialize", world.weth.address, stranger, 100)
    for pool in pools(world):
        data = upgrade_to(implementation(world, 2))
        assert not world.engine.call(stranger, pool.address, data, 0).ok
        if not pool.governed:
            assert world.engine.call(pool.admin.address, pool.address, data, 0).ok
        assert world.engine.call(stranger, pool.address, again, 0).ok == pool.collides


def test_a_wallet_wants_enough_signatures_of_its_owners(quiet):
    world, _ = quiet
    safe = next(s for s in safes.safes(world) if s.threshold >= 2)
    payee = world.account().address
    good = confirmed(world, safe, payee, 1, b"", 0)
    assert world.engine.call(payee, safe.address, good, 0).ok
    assert not world.engine.call(payee, safe.address, good[:-33] + bytes(33), 0).ok
    honest, safe.owners = safe.owners, [world.account() for _ in safe.owners]
    forged = confirmed(world, safe, payee, 1, b"", 0)
    safe.owners = honest
    assert not world.engine.call(payee, safe.address, forged, 0).ok


def test_only_the_older_wallets_let_a_stranger_enable_a_module(quiet):
    world, _ = quiet
    stranger = world.account().address
    enable = contract("safe").data("enableModule", SELF)
    for safe in safes.safes(world):
        assert world.engine.call(stranger, safe.address, enable, 0).ok != safe.guarded
