"""Each family of attacks, run in a small world of its own: it must pay, and its victims must lose."""

import pytest

from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.driver import Driver
from pipelines.simulation.engine import SimulationError, Tx, Unaffordable
from pipelines.simulation.record import FAMILIES, Recorder
from pipelines.simulation.world import ETH, Tag, send


@pytest.fixture(scope="module")
def recorder():
    recorder = Recorder(seed=11, blocks=32, incidents=0, users=300)
    recorder.run()
    recorder.driver.add(savers(recorder.world), hasty=True)
    while recorder.driver.hasty:
        recorder.block()
    return recorder


def savers(world):
    """Ordinary deposits into every bank, so that there is something to lose."""
    for place in world.places["bank"]:
        who = world.exchanges[0]
        yield send(who, "bank", place.address, "deposit", value=20 * ETH, tag=Tag(kind="bank"))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_an_attack_gains_and_is_measured_from_balances(recorder, family):
    world, driver = recorder.world, recorder.driver
    for attempt in range(6):
        incident = Incident(world, family, f"{family}-{attempt}")
        driver.add(FAMILIES[family](world, incident), hasty=True)
        for _ in range(80):
            if not driver.hasty:
                break
            recorder.block()
        if incident.exploits:
            break
    assert incident in world.incidents
    assert incident.gain > 0
    assert incident.exploits >= 1
    tagged = [tag for tag in driver.labels.values() if tag.incident == incident.name]
    assert {tag.label for tag in tagged} <= {"attack", "grey"}
    assert sum(tag.stage == "exploit" for tag in tagged) == incident.exploits


def test_a_bank_loses_what_a_reentrant_withdrawal_takes(recorder):
    """The victim's side, read from its own balance rather than from the attacker's bookkeeping."""
    world, driver = recorder.world, Driver(recorder.world)
    driver.seal()
    banks = [*world.places["bank"], *world.places["rewards"]]
    before = sum(world.ether(place.address) for place in banks)
    incident = Incident(world, "reentrancy", "victims-side")
    driver.add(FAMILIES["reentrancy"](world, incident))
    while driver.pending:
        driver.turn()
    after = sum(world.ether(place.address) for place in banks)
    assert incident.exploits == 1
    assert (before - after) / ETH >= incident.gain > 0


def test_an_attack_that_does_not_pay_is_an_error(recorder):
    incident = Incident(recorder.world, "reentrancy", "unpaid")
    with pytest.raises(SimulationError, match="gained"):
        incident.finish()


def test_the_engine_refuses_what_no_block_could_include(recorder):
    world = recorder.world
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


def test_a_dry_run_leaves_no_trace(recorder):
    world = recorder.world
    payer, payee = world.exchanges[0], world.account()
    before = world.ether(payer.address)
    assert world.engine.call(payer.address, payee.address, b"", ETH).ok
    assert world.ether(payer.address) == before
    assert world.ether(payee.address) == 0
