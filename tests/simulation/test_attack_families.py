"""Each family of attacks, run in a small world of its own: it must pay, and its victims must lose."""

import pytest

from pipelines.simulation.attacks.catalogue import FAMILIES
from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.attacks.reentrancy import reentrancy
from pipelines.simulation.chain import CHAIN_ID, START, Plan, SimulatedChain
from pipelines.simulation.driver import Driver
from pipelines.simulation.engine import SimulationError, Tx, Unaffordable
from pipelines.simulation.pyevm import PyEvm
from pipelines.simulation.world import ETH, Tag, send


@pytest.fixture(scope="module")
def small_chain():
    plan = Plan(seed=11, split="dev", history=90, test=0, incidents=0, users=500)
    small_chain = SimulatedChain(plan, PyEvm(chain_id=CHAIN_ID, timestamp=START), keep=lambda sealed: None)
    small_chain.run()
    small_chain.driver.add(savers(small_chain.world), hasty=True)
    while small_chain.driver.hasty:
        small_chain.block()
    return small_chain


def savers(world):
    """Ordinary deposits into every bank, so that there is something to lose."""
    for place in world.places["bank"]:
        who = world.exchanges[0]
        yield send(who, "bank", place.address, "deposit", value=20 * ETH, tag=Tag(kind="bank"))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_attack_gains_and_is_measured_from_balances(small_chain, family):
    world, driver = small_chain.world, small_chain.driver
    for attempt in range(6):
        incident = Incident(world, family.name, f"{family.name}-{attempt}")
        driver.add(family.run(world, incident), hasty=True)
        for _ in range(80):
            if not driver.hasty:
                break
            small_chain.block()
        if incident.exploits:
            break
    assert incident in world.incidents
    assert incident.gain > 0
    assert incident.exploits >= 1
    tagged = [tag for tag in driver.labels.values() if tag.incident == incident.name]
    assert {tag.label for tag in tagged} <= {"attack", "grey"}
    assert sum(tag.stage == "exploit" for tag in tagged) == incident.exploits


def test_a_bank_loses_what_a_reentrant_withdrawal_takes(small_chain):
    """The victim's side, read from its own balance rather than from the attacker's bookkeeping."""
    world, driver = small_chain.world, Driver(small_chain.world)
    driver.seal()
    banks = [*world.places["bank"], *world.places["rewards"]]
    before = sum(world.ether(place.address) for place in banks)
    incident = Incident(world, "reentrancy", "victims-side")
    driver.add(reentrancy(world, incident))
    while driver.pending:
        driver.turn()
    after = sum(world.ether(place.address) for place in banks)
    assert incident.exploits == 1
    assert (before - after) / ETH >= incident.gain > 0


def test_an_attack_that_does_not_pay_is_an_error(small_chain):
    incident = Incident(small_chain.world, "reentrancy", "unpaid")
    with pytest.raises(SimulationError, match="gained"):
        incident.finish()


def test_the_engine_refuses_what_no_block_could_include(small_chain):
    world = small_chain.world
    poor = world.account()
    with pytest.raises(Unaffordable, match="insufficient funds"):
        world.engine.tx(Tx(poor, poor.address, b"", 1, 21_000, 10**12, 1))
    rich = world.exchanges[0]
    with pytest.raises(SimulationError, match="base fee"):
        world.engine.tx(Tx(rich, poor.address, b"", 1, 21_000, 1, 1))
    with pytest.raises(SimulationError, match="gas limit"):
        world.engine.tx(Tx(rich, poor.address, b"", 1, 20_000, 10**12, 1))
    with pytest.raises(SimulationError, match="genesis is over"):
        world.engine.fund(poor.address, 1, 0)


def test_a_dry_run_leaves_no_trace(small_chain):
    world = small_chain.world
    payer, payee = world.exchanges[0], world.account()
    before = world.ether(payer.address)
    assert world.engine.call(payer.address, payee.address, b"", ETH).ok
    assert world.ether(payer.address) == before
    assert world.ether(payee.address) == 0
