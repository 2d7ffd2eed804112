"""Attacks on lending pools, credit desks and odd tokens: what the chain says that the victims lost."""

import numpy as np
import pytest

from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.attacks.lending_pools import lending_reentrancy
from pipelines.simulation.attacks.market_donation import market_donation
from pipelines.simulation.attacks.odd_tokens import token_duplication
from pipelines.simulation.attacks.self_liquidation import self_liquidation
from pipelines.simulation.attacks.thin_oracle import bad_debt_oracle
from pipelines.simulation.chain import CHAIN_ID, START
from pipelines.simulation.driver import Driver
from pipelines.simulation.founding import found, populate
from pipelines.simulation.habits import credit, lending_pools, odd_tokens
from pipelines.simulation.habits.credit import balance, debt, desks
from pipelines.simulation.habits.lending_pools import cash, pools, price, priced
from pipelines.simulation.pyevm import PyEvm
from pipelines.simulation.world import ETH, Tag, deploy, send

OPENINGS = (odd_tokens.found, lending_pools.found, credit.found)
TAG = Tag(kind="test")


@pytest.fixture(scope="module")
def quiet():
    """A world with these groups and nobody else about."""
    engine = PyEvm(chain_id=CHAIN_ID, timestamp=START)
    world = populate(engine, np.random.default_rng(8), 8, users=60)
    driver = Driver(world)
    driver.run(found(world, OPENINGS), lambda sealed: None, per_block=12, blocks=400)
    return world, driver


def settle(driver):
    """Run all sessions to their end; a block passes now and then."""
    while driver.pending:
        for _ in range(12):
            if driver.pending:
                driver.turn()
        driver.seal()


def attack(quiet, run, *, look):
    """Carry out an incident; return it with what `look()` said right before and after."""
    world, driver = quiet
    for attempt in range(10):
        incident = Incident(world, run.__name__, f"{run.__name__}-{attempt}")
        before = look()
        driver.add(run(world, incident))
        settle(driver)
        if incident.exploits:
            return incident, before, look()
    raise AssertionError(f"{run.__name__}: no opportunity in ten attempts")


def equity(world, pool):
    """What a pool's own suppliers could be paid, in ether: cash and the debts that collateral covers.

    Every borrower of these tests is an attacker who walks away, so only the cash counts.
    """
    return sum(
        cash(world, market) * price(world, pool, market) / ETH / ETH
        for market in pool.markets
        if priced(world, pool, market)
    )


@pytest.mark.parametrize("family", [lending_reentrancy, market_donation])
def test_a_pool_is_left_with_less_cash_than_its_savers_put_in(quiet, family):
    world, _ = quiet
    old = [market for pool in pools(world) for market in pool.markets]

    def look():
        return [sum(equity(world, pool) for pool in pools(world)), len(world.incidents)]

    incident, before, after = attack(quiet, family, look=look)
    assert after[1] == before[1] + 1
    assert before[0] - after[0] > 0.5 * incident.gain > 0
    poorer = [m for pool in pools(world) for m in pool.markets if m in old]
    assert all(world.view("ctoken", m.address, "totalSupply") > 0 for m in poorer)


def test_a_worthless_collateral_leaves_a_debt_that_it_does_not_cover(quiet):
    world, _ = quiet

    def look():
        return [[world.view("ctoken", m.address, "totalBorrows") for m in p.markets] for p in pools(world)]

    incident, before, after = attack(quiet, bad_debt_oracle, look=look)
    grown = [
        (pool, i)
        for pool, old, new in zip(pools(world), before, after, strict=True)
        for i in range(len(old))
        if new[i] > old[i] * 101 // 100 + 1000
    ]
    (pool, index), *rest = grown
    assert not rest
    loot, fresh = pool.markets[index], pool.markets[-1]
    owed = (after[pools(world).index(pool)][index] - before[pools(world).index(pool)][index]) * price(
        world, pool, loot
    )
    held = world.quote([fresh.token, world.weth], cash(world, fresh))
    assert owed // ETH > held
    assert incident.gain > 0


def test_a_desk_is_left_with_a_debtor_who_has_nothing(quiet):
    world, _ = quiet

    def look():
        return {
            (i, t): world.held(t, d.place.address) for i, d in enumerate(desks(world)) for t in d.place.tokens
        }

    incident, before, after = attack(quiet, self_liquidation, look=look)
    ((_, token), lost), *rest = [(at, before[at] - after[at]) for at in before if before[at] > after[at]]
    assert not rest
    assert lost * incident.prices[token.address] == pytest.approx(incident.gain, rel=0.35)
    accounts = [credit.sub_account(party, n) for party in incident.parties for n in range(5)]
    bad = [
        debt(world, desk, token, account)
        for desk in desks(world)
        for token in desk.place.tokens
        for account in accounts
        if balance(world, desk, token, account) == 0
    ]
    assert max(bad) > 0


def owed_to_savers(world, place):
    """What the founder's balance of an interest-bearing token entitles him to, and what there is."""
    share = world.view("itoken", place.address, "balanceOf", place.owner.address)
    value = share * world.view("itoken", place.address, "tokenPrice") // ETH
    return value, world.held(place.tokens[0], place.address)


def test_a_doubled_token_is_paid_out_of_the_savers_deposits(quiet):
    world, _ = quiet
    places = world.places["itoken"]

    def look():
        return [owed_to_savers(world, place) for place in places]

    incident, before, after = attack(quiet, token_duplication, look=look)
    hit = [i for i in range(len(places)) if after[i][1] < before[i][1]]
    assert len(hit) == 1
    assert before[hit[0]][0] == pytest.approx(before[hit[0]][1], rel=1e-6)
    assert after[hit[0]][1] < before[hit[0]][1] * 0.99
    supply = world.view("itoken", places[hit[0]].address, "totalSupply")
    assert supply < world.view("itoken", places[hit[0]].address, "balanceOf", places[hit[0]].owner.address)
    assert incident.gain > 0


def test_ordinary_loans_are_refused_beyond_the_limit(quiet):
    """The pool's check works outside a hook, so that the losses above are the attacks' doing."""
    world, driver = quiet
    pool = pools(world)[0]
    who, ether, usd = world.exchanges[0], pool.markets[0], pool.markets[1]

    def session():
        made = lending_pools.mint_step(ether, 10 * ETH)
        yield from lending_pools.supply_to(world, who, ether, 10.0, TAG)
        assert made.value == 10 * ETH
        yield send(who, "comptroller", pool.place.address, "enterMarkets", [ether.address], tag=TAG)

    driver.add(session())
    settle(driver)
    _, spare, short = world.view("comptroller", pool.place.address, "getAccountLiquidity", who.address)
    assert spare > 0
    assert short == 0
    amount = spare * ETH // price(world, pool, usd)
    for factor, fine in ((99, True), (102, False)):
        call = send(who, "ctoken", usd.address, "borrow", amount * factor // 100, tag=TAG)
        if cash(world, usd) > amount * factor // 100:
            assert world.engine.call(who.address, usd.address, call.data, 0).ok is fine


def test_a_pumped_pool_moves_an_old_feed_only_slowly(quiet):
    world, driver = quiet
    token, maker = world.tokens[4], world.exchanges[1]
    made = []

    def session():
        oracle = yield from deploy(world, maker, "price_oracle")
        pair = world.pair(token, world.weth)
        yield send(maker, "price_oracle", oracle.address, "setFeed", token.address, pair, tag=TAG)
        yield send(maker, "price_oracle", oracle.address, "update", token.address, tag=TAG)
        made.append(oracle.address)

    driver.add(session())
    settle(driver)
    for _ in range(60):
        driver.seal()
    old = world.view("price_oracle", made[0], "price", token.address)

    def pump():
        yield from odd_tokens.bought(world, maker, token, 400.0)
        yield send(maker, "price_oracle", made[0], "update", token.address, tag=TAG)

    driver.add(pump())
    settle(driver)
    weth, other = world.reserves(world.weth, token)
    assert weth * ETH // other > old * 3
    assert world.view("price_oracle", made[0], "price", token.address) < old * 103 // 100
