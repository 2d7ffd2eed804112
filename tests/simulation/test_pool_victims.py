"""Attacks on pools, vaults and funds seen from the victims' side: what the chain says that they lost."""

import pytest

from pipelines.simulation import chain as chain_module
from pipelines.simulation.attacks import lp_lending as lp_attack
from pipelines.simulation.attacks import memes as meme_attack
from pipelines.simulation.attacks import seat_funds as fund_attack
from pipelines.simulation.attacks import stable_pools as stable_attack
from pipelines.simulation.attacks import weighted_pools as weighted_attack
from pipelines.simulation.attacks import yield_vaults as vault_attack
from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.chain import CHAIN_ID, START, Plan, SimulatedChain
from pipelines.simulation.compile import contract
from pipelines.simulation.driver import Driver
from pipelines.simulation.habits import (
    lp_lending,
    memes,
    seat_funds,
    stable_pools,
    weighted_pools,
    yield_vaults,
)
from pipelines.simulation.habits.stable_math import StableState
from pipelines.simulation.pyevm import PyEvm
from pipelines.simulation.world import ETH

_GROUPS = (stable_pools, lp_lending, yield_vaults, seat_funds, weighted_pools, memes)


@pytest.fixture(scope="module")
def world():
    """The founders' world: no traffic, so that every change is the attack's."""
    plan = Plan(seed=5, split="dev", history=60, test=0, incidents=0, users=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_module, "OPENINGS", tuple(group.found for group in _GROUPS))
        small = SimulatedChain(plan, PyEvm(chain_id=CHAIN_ID, timestamp=START), keep=lambda sealed: None)
        small.driver.run(chain_module.found(small.world, chain_module.OPENINGS), small.keep, 12, 60)
    assert small.world.places["meme_token"]
    return small.world


def carry_out(world, family, tries=8):
    """Run one family with nobody else about until an incident takes place; return it."""
    driver = Driver(world)
    for attempt in range(tries):
        driver.seal()
        incident = Incident(world, family.__name__, f"{family.__name__}-{attempt}")
        driver.add(family(world, incident))
        while driver.pending:
            driver.turn()
            if len(driver.labels) % 8 == 7:
                driver.seal()
        if incident.exploits:
            return incident
    raise AssertionError(f"{family.__name__} found no opportunity in {tries} tries")


def worth(world, token, account):
    return world.held(token, account) * token.price / 10**token.decimals


def vault_assets(world):
    """Ether per share of each vault, its strategy counted by the pool's virtual price, not the spot price."""
    total = {}
    for vault, pool, index, strategy in world.notes["yield_vaults"]:
        token = pool.tokens[index]
        state = StableState.read(world, pool)
        share = world.view("token", pool.address, "balanceOf", strategy)
        invested = state.virtual_price() * share / 10**36 * token.price
        supply = world.view("yield_vault", vault.address, "totalSupply")
        total[vault.address] = (worth(world, token, vault.address) + invested) / supply
    return total


def test_a_vaults_share_is_worth_less_after_a_share_arbitrage(world):
    before = vault_assets(world)
    incident = carry_out(world, vault_attack.vault_share_arbitrage)
    after = vault_assets(world)
    ratios = [after[vault] / before[vault] for vault in before]
    assert min(ratios) < 0.999
    assert incident.gain > 0.1


def lending_gaps(world):
    """Debt that the pledged shares do not cover at fair prices, per market, in ether."""
    gaps = {}
    for market in world.places["lp_market"]:
        share, debt = market.tokens
        pool = lp_lending.pool_of(world, market)
        pledged = world.held(share, market.address)
        if pool is not None:
            value = StableState.read(world, pool).virtual_price() * pledged / 10**36 * share.price
        else:
            token = lp_lending.paired_token(world, market)
            supply = world.view("pair", share.address, "totalSupply")
            value = 2 * world.reserves(world.weth, token)[0] * pledged / supply / ETH
        owed = world.view("lp_market", market.address, "total_debt") * debt.price / 10**debt.decimals
        gaps[market.address] = owed - value
    return gaps


@pytest.mark.parametrize("family", [stable_attack.read_only_reentrancy, lp_attack.lp_oracle])
def test_a_market_is_left_with_debt_that_its_collateral_does_not_cover(world, family):
    before = lending_gaps(world)
    incident = carry_out(world, family)
    after = lending_gaps(world)
    lost = max(after[market] - before[market] for market in before)
    assert lost > 0.3
    assert incident.gain < lost * 1.2 + 1.0


def test_the_collateral_is_overvalued_only_while_ether_is_paid_out(world):
    pool = next(p for p in world.places["stable_pool"] if p.tokens[0].kind == "native")
    state = StableState.read(world, pool)
    assert state.virtual_price() == world.view("stable_pool", pool.address, "get_virtual_price")
    removed = state.supply // 2
    during, _, _ = stable_attack.borrowable(state, removed, 10**18, 100)
    assert during > 1.2 * 10**18
    assert state.virtual_price() < 1.01 * 10**18


def test_a_weighted_pool_loses_all_its_ether_for_dust(world):
    before = {p.address: worth(world, world.weth, p.address) for p in world.places["weighted_pool"]}
    incident = carry_out(world, weighted_attack.deflationary_pool)
    lost = [held - worth(world, world.weth, pool) for pool, held in before.items()]
    emptied = [pool for pool, held in before.items() if worth(world, world.weth, pool) < held * 0.1]
    assert len(emptied) == 1
    assert max(lost) > 5
    assert emptied[0] not in [p.address for p in world.places["weighted_pool"]]
    assert incident.gain > 5


def test_a_deflationary_tokens_pool_loses_tokens_to_a_burn_and_its_ether_to_the_attacker(world):
    places = list(world.places["meme_token"])
    before = {p.address: world.reserves(world.weth, p.tokens[0])[0] / ETH for p in places}
    supplies = {p.address: world.view("meme_token", p.address, "totalSupply") for p in places}
    incident = carry_out(world, meme_attack.pair_burn_sync)
    lost = {p.address: before[p.address] - world.reserves(world.weth, p.tokens[0])[0] / ETH for p in places}
    victim = max(lost, key=lost.__getitem__)
    assert lost[victim] == pytest.approx(incident.gain, abs=0.06 * before[victim] + 5)
    assert lost[victim] > 0.4
    assert world.view("meme_token", victim, "totalSupply") < supplies[victim]


def fund_shares(world):
    """Ether per seat of every fund."""
    found = {}
    for place in world.places["seat_fund"]:
        supply = world.view("seat_fund", place.address, "totalSupply")
        found[place.address] = worth(world, place.tokens[0], place.address) / supply
    return found


def test_every_other_members_seat_loses_value_to_rounding(world):
    before = fund_shares(world)
    carry_out(world, fund_attack.rounding)
    after = fund_shares(world)
    assert min(after[fund] / before[fund] for fund in before) < 0.995


def test_a_fund_pays_whoever_asks_for_less_than_a_seat(world):
    """What makes the rounding worth anything: no share is burned for such a sum."""
    place = world.places["seat_fund"][0]
    amount = fund_attack.series(world, place, 1, 0)[0]
    stranger = world.account().address
    made = contract("seat_fund").data("withdraw", amount, stranger, stranger)
    assert world.engine.call(stranger, place.address, made, 0).ok
    more = contract("seat_fund").data("withdraw", amount + 1, stranger, stranger)
    assert not world.engine.call(stranger, place.address, more, 0).ok
