"""The two engines write the same bytes; anvil's process never outlives its owner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.simulation import bytecode as evm
from pipelines.simulation.anvil import Anvil, tidy
from pipelines.simulation.anvil_node import BINARY, find_anvil
from pipelines.simulation.anvil_state import MirroredState
from pipelines.simulation.bytecode import contract_code, deploy_code
from pipelines.simulation.driver import Driver
from pipelines.simulation.engine import NATIVE, Account, SimulationError, Tx, Unaffordable
from pipelines.simulation.founding import found, populate
from pipelines.simulation.pyevm import PyEvm
from pipelines.simulation.traffic import OPENINGS, Traffic

ETH = 10**18
ALICE = Account.from_seed(b"alice")
FRESH = bytes.fromhex("00000000000000000000000000000000000fee15")
SELECTOR = b"\x01\x02\x03\x04"
TRAFFIC_BLOCKS = 6


def _why_not():
    try:
        find_anvil()
    except SimulationError as error:
        return str(error)
    return None


MISSING = _why_not()


def node_test(test):
    return pytest.mark.node(pytest.mark.skipif(MISSING is not None, reason=str(MISSING))(test))


@pytest.fixture
def engines():
    """Both engines with the same genesis."""
    with Anvil(chain_id=1234, timestamp=1_700_000_000) as anvil:
        pair = (PyEvm(chain_id=1234, timestamp=1_700_000_000), anvil)
        for engine in pair:
            engine.fund(ALICE.address, 1000 * ETH, 5)
        yield pair


def both(engines, act):
    """Do the same on both engines and return the one result."""
    first, second = (act(engine) for engine in engines)
    assert second == first
    return first


def do(engines, to, data=b"", *, value=0, gas=500_000, tip=10**9):
    """Dry-run and make a transaction on both, seal, and return the sealed block."""
    tx = Tx(ALICE, to, data, value, gas, 50 * 10**9, tip)
    both(engines, lambda engine: engine.call(ALICE.address, to, data, value))
    receipt = both(engines, lambda engine: engine.tx(tx))
    sealed = both(engines, lambda engine: engine.next_block())
    return receipt, sealed


def deployed(engines, code, *, value=0):
    """Deploy raw runtime code and return its address."""
    creation = bytes.fromhex("61") + len(code).to_bytes(2, "big") + bytes.fromhex("80600a3d393df3") + code
    receipt, _ = do(engines, None, creation, value=value, gas=3_000_000)
    return receipt.made


def call(target, *, op="f1", value=0, gas="5a"):
    """Return code that calls `target` without data and drops the result."""
    pushed = f"61{value:04x}" if op in ("f1", "f2") else ""
    return bytes.fromhex(f"5f5f5f5f{pushed}73{target.hex()}{gas}{op}50")


TO_FRESH = "73" + FRESH.hex()
RETURN_TOP = "5f5260205ff3"
# What each program does; "@call" and the like reach a contract that logs and then fails.
PROGRAMS = {
    "stops": "00",
    "refused call": "5f5f60205f6005" + TO_FRESH + "5af1" + RETURN_TOP,
    "refused callcode": "5f5f5f5f6005" + TO_FRESH + "5af2" + RETURN_TOP,
    "refused create": "60035f6005f0" + RETURN_TOP,
    "refused create2": "600760035f6005f5" + RETURN_TOP,
    "reverts with data": "602a5f5260205ffd",
    "reverts with a reason": "6308c379a05f52602060205260056040526468656c6c6f60d81b6060526064601cfd",
    "reverts with a broken reason": "6308c379a05f526014601cfd",
    "invalid": "fe",
    "undefined opcode": "0c",
    "runs out of gas": "5f63ffffffff52",
    "stack underflow": "01",
    "stack overflow": "5b5f5f56",
    "bad jump": "600556",
    "return data out of bounds": "60205f5f3e",
    "identity precompile": "60205f60205f60045afa00",
    "a precompile that fails": "60015f5260016020526040604060405f60065afa5f5260205ff3",
    "a precompile without gas": "60205f60205f60045ffa5f5260205ff3",
    "stores on a stipend": "5f5f5f5f6001305af1" + "600160205500",
    "memory at an impossible offset": "5f7f" + "ff" * 32 + "52",
    "recovers nobody": "60205f60805f60015afa00",
    "pays a new account nothing": "5f5f5f5f5f" + TO_FRESH + "5af100",
    "destroys itself": TO_FRESH + "ff",
    "logs around a failing call": "5f5fa0" + "@call" + "5f5fa0" + "60015f5fa1",
    "static call of a logging contract": "@static" + "00",
    "delegates to a failing contract": "@delegate" + "5f5fa000",
    "calls itself until the gas is gone": "5f5f5f5f5f305af100",
    "writes, clears and restores slots": "60015f555f5f5560076001555f600155600560025500",
    "creates a contract that destroys itself": "6133ff5f526002601e5ff000",
    "creates at an address that is taken": "5f5f5f5ff5505f5f5f5ff5" + RETURN_TOP,
    "creates an empty contract with a slot": "6460015f55005f526005601b5ff0" + RETURN_TOP,
    "creates code that begins with EF": "6760ef5f5360015ff35f52600860185ff0" + RETURN_TOP,
    "reads its environment": "435f5242602052446040524160605248608052"
    + "4560a0524660c0523260e05261010"
    + "05ff3",
    "reads its sender's balance": "3331" + RETURN_TOP,
}


@node_test
@pytest.mark.filterwarnings("ignore:SELFDESTRUCT opcode present:DeprecationWarning")  # py-evm's own
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_does_the_same_on_both(engines, program):
    noisy = deployed(engines, bytes.fromhex("5f5fa0fe"))
    text = PROGRAMS[program]
    for name, op in (("@call", "f1"), ("@static", "fa"), ("@delegate", "f4")):
        text = text.replace(name, call(noisy, op=op, gas="61ffff").hex())
    target = deployed(engines, bytes.fromhex(text))
    first, _ = do(engines, target, b"\x00\x01")
    _, sealed = do(engines, target, gas=900_000, tip=None)
    assert first.hash != sealed["block"]["transactions"][0]["hash"]
    if program.startswith("refused"):
        (frame,) = sealed["traces"][0]["result"]["calls"]
        assert frame["error"] == "insufficient balance for transfer"
        assert frame["gasUsed"] == "0x0"


@node_test
def test_refunds_do_not_enter_a_dry_run_but_do_enter_the_receipt(engines):
    def put(asm):
        asm.push(9).op(evm.PUSH0, evm.SSTORE)

    def clear(asm):
        asm.op(evm.PUSH0, evm.PUSH0, evm.SSTORE)

    other = b"\x05\x06\x07\x08"
    target, _ = do(engines, None, deploy_code(contract_code([(SELECTOR, put), (other, clear)])))
    do(engines, target.made, SELECTOR)
    dry = both(engines, lambda engine: engine.call(ALICE.address, target.made, other, 0))
    receipt, _ = do(engines, target.made, other)
    assert dry.gas_used - receipt.gas_used == 4800


@node_test
def test_state_is_visible_at_once_and_dry_runs_leave_none(engines):
    counter = deployed(engines, bytes.fromhex("5f546001015f555f545f5260205ff3"))
    tx = Tx(ALICE, counter, b"", 0, 100_000, 50 * 10**9, 10**9)
    for expected in (1, 2, 3):
        dry = both(engines, lambda engine: engine.call(ALICE.address, counter, b"", 0))
        assert int.from_bytes(dry.output, "big") == expected
        assert int.from_bytes(both(engines, lambda engine: engine.tx(tx)).output, "big") == expected
    assert int.from_bytes(both(engines, lambda engine: engine.read(counter, b"")).output, "big") == 4
    sealed = both(engines, lambda engine: engine.next_block())
    assert [int(r["cumulativeGasUsed"], 16) for r in sealed["receipts"]] == sorted(
        int(r["cumulativeGasUsed"], 16) for r in sealed["receipts"]
    )
    assert len(sealed["receipts"]) == 3


@node_test
def test_what_no_block_could_include_is_refused_alike(engines):
    poor = Account.from_seed(b"poor")
    for tx, kind in (
        (Tx(poor, NATIVE, b"", 0, 21_000, 50 * 10**9, 10**9), Unaffordable),
        (Tx(ALICE, NATIVE, b"", 0, 20_999, 50 * 10**9, 10**9), SimulationError),
        (Tx(ALICE, NATIVE, b"", 0, 21_000, 10**9, 0), SimulationError),
        (Tx(ALICE, NATIVE, b"", 0, 30_000_001, 50 * 10**9, 0), SimulationError),
    ):
        said = set()
        for engine in engines:
            with pytest.raises(kind) as refusal:
                engine.tx(tx)
            said.add(str(refusal.value))
        assert len(said) == 1
    assert not both(engines, lambda engine: engine.call(poor.address, NATIVE, b"", 1)).ok
    do(engines, FRESH, value=1, gas=21_000)
    for engine in engines:
        with pytest.raises(SimulationError, match="genesis is over"):
            engine.fund(FRESH, 1, 0)


@node_test
def test_what_anvil_cannot_tell_is_an_error(engines):
    _, anvil = engines
    reader = deployed(engines, bytes.fromhex("43600190034000"))
    with pytest.raises(SimulationError, match="BLOCKHASH"):
        anvil.call(ALICE.address, reader, b"", 0)
    selfish = deployed(engines, bytes.fromhex("30ff"))
    with pytest.raises(SimulationError, match="own favour"):
        anvil.tx(Tx(ALICE, selfish, b"", 0, 100_000, 50 * 10**9, 10**9))


def small_world(engine):
    """Found a world, let it trade; return the sealed blocks and the labels."""
    world = populate(engine, np.random.default_rng(11), 11, users=60)
    driver = Driver(world)
    traffic = Traffic(driver)
    sealed = []
    driver.run(found(world, OPENINGS), sealed.append, 12, 400)
    for _ in range(TRAFFIC_BLOCKS):
        traffic.transactions(14)
        sealed.append(driver.seal())
    return sealed, driver.labels


@node_test
@pytest.mark.slow
def test_a_world_is_the_same_to_the_byte():
    expected, labels = small_world(PyEvm(chain_id=7001, timestamp=1_700_000_003))
    with Anvil(chain_id=7001, timestamp=1_700_000_003) as engine:
        found_blocks, found_labels = small_world(engine)
    assert found_labels == labels
    assert found_blocks == expected
    frames = [trace["result"] for block in expected for trace in block["traces"]]
    assert len(frames) > 14 * TRAFFIC_BLOCKS
    assert any("error" in frame for frame in frames)
    assert sum(len(r["logs"]) for block in expected for r in block["receipts"]) > 100


def children(pid):
    found_pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found_pids.append(int(folder.name))
    return found_pids


def node_pid(keeper):
    (pid,) = [p for p in children(keeper) if Path(f"/proc/{p}/comm").read_text().strip() == "anvil"]
    return pid


def gone(pid):
    give_up = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


@node_test
def test_a_node_that_is_killed_gives_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Anvil(chain_id=1234, timestamp=1_700_000_000) as engine:
        engine.fund(ALICE.address, ETH, 0)
        engine.tx(Tx(ALICE, NATIVE, b"", 1, 21_000, 50 * 10**9, 10**9))
        os.kill(node_pid(engine._node._process.pid), signal.SIGKILL)
        with pytest.raises(SimulationError, match=r"anvil stopped answering .*exit status 137.*run again"):
            engine.call(ALICE.address, NATIVE, b"", 1)
    assert list(tmp_path.iterdir()) == []


OWNER = """
import sys, time
from pipelines.simulation.anvil import Anvil
engine = Anvil(chain_id=1234, timestamp=1_700_000_000)
print(engine._node._process.pid, flush=True)
time.sleep(60)
"""


@node_test
def test_the_node_dies_with_its_owner_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", OWNER]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as owner:
        assert owner.stdout is not None
        keeper = int(owner.stdout.readline())
        pid = node_pid(keeper)
        owner.kill()
    assert gone(pid)
    assert gone(keeper)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_anvil_is_one_line_that_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(BINARY, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SimulationError, match=r"anvil is not installed; run \.ci/install-anvil") as refusal:
        Anvil(chain_id=1, timestamp=0)
    assert "\n" not in str(refusal.value)
    monkeypatch.setenv(BINARY, str(tmp_path / "nowhere"))
    with pytest.raises(SimulationError, match="nowhere: no such program"):
        Anvil(chain_id=1, timestamp=0)


def test_a_program_that_is_no_node_does_not_start(monkeypatch, tmp_path):
    fake = tmp_path / "anvil"
    fake.write_text("#!/bin/sh\necho 'wrong machine' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv(BINARY, str(fake))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SimulationError, match="does not start: wrong machine"):
        Anvil(chain_id=1, timestamp=0)
    assert list(tmp_path.iterdir()) == [fake]


def test_an_account_that_came_and_went_is_cleared():
    state = MirroredState()
    empty = state.root()
    state.set("0x" + "11" * 20, {"balance": "0x5", "nonce": 0})
    assert state.root() != empty
    commands = state.apply({"pre": {"0x" + "11" * 20: {"balance": "0x5"}}, "post": {}})
    assert ("anvil_setBalance", ["0x" + "11" * 20, "0x0"]) in commands
    assert state.root() == empty


def test_logs_below_a_failed_frame_are_dropped_and_the_rest_renumbered():
    def log(index):
        return {
            "address": "0x" + "22" * 20,
            "topics": [],
            "data": "0x",
            "index": hex(index),
            "position": "0x0",
        }

    deep = {"type": "CALL", "logs": [log(2)]}
    failed = {"type": "CALL", "error": "StackUnderflow", "logs": [log(1)], "calls": [deep]}
    root = {"type": "CALL", "logs": [log(0), log(3)], "calls": [failed]}
    assert len(tidy(root, 7)) == 2
    assert [entry["index"] for entry in root["logs"]] == ["0x7", "0x8"]
    assert failed["error"] == "stack underflow"
    assert "logs" not in failed
    assert "logs" not in deep
