"""`blockscan simulate`: two archives and the truth, the same bytes for the same seed, gains that add up."""

import csv
import hashlib
import json
import subprocess
import sys
from collections import defaultdict

import pytest

from blockscan.archive import Archive
from blockscan.chains.ethereum import parse
from blockscan.transaction import Call, Log, walk
from pipelines import simulate
from pipelines.cli_simulate import Size
from pipelines.simulation.chain import Plan
from pipelines.simulation.features import SIDE, TREE

SMALL = Plan(seed=77, split="dev", history=34, test=26, incidents=4, users=400)
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
WRAPPED = {bytes.fromhex("e1fffcc4"): 1, bytes.fromhex("7fcf532c"): -1}
"""WETH's Deposit(address,uint256) and Withdrawal(address,uint256), which are no Transfers."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "bench"
    simulate.simulate(SMALL, out, "py-evm")
    return out


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def transactions(folder):
    return [tx for raw in Archive(folder).raw_blocks() for tx in parse(raw)]


def test_history_is_benign_and_earlier_and_every_transaction_has_a_label(made):
    truth = {row["tx_hash"]: row for row in table(made / "labels.csv")}
    history, test = transactions(made / "history"), transactions(made / "test")
    assert [tx.hash for tx in [*history, *test]] == list(truth)
    assert {truth[tx.hash]["label"] for tx in history} <= {"benign", "grey"}  # sandwiches are grey
    assert not any(truth[tx.hash]["incident"] for tx in history)
    assert max(tx.block_number for tx in history) == SMALL.history < min(tx.block_number for tx in test)
    attacks = [row for row in truth.values() if row["label"] == "attack"]
    assert {row["stage"] for row in attacks} <= {"fund", "prep", "exploit", "exit"}
    assert all(row["tier"] and row["family"] and row["incident"] for row in attacks)
    assert all(row["label"] in ("attack", "grey") for row in truth.values() if row["incident"])
    assert {row["incident"] for row in attacks} == {row["incident"] for row in table(made / "incidents.csv")}


def test_the_same_plan_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    short = Plan(seed=3, split="eval", history=4, test=2, incidents=0, users=40)
    other = Plan(seed=4, split="eval", history=4, test=2, incidents=0, users=40)
    digests = []
    for place, plan in enumerate((short, short, other)):
        out = tmp_path / str(place)
        simulate.simulate(plan, out, "py-evm")
        files = sorted(path for path in out.rglob("*") if path.is_file())
        digests.append(
            {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        )
    assert len(digests[0]) >= 7
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_gains_recomputed_from_the_traces_are_those_on_record(made):
    """Ether and token flows of the exploits, read from traces and events."""
    truth = {row["tx_hash"]: row for row in table(made / "labels.csv")}
    flows = defaultdict(list)
    for raw in Archive(made / "test").raw_blocks():
        fees = fees_of(raw)
        for tx in parse(raw):
            if truth[tx.hash]["incident"]:
                flows[truth[tx.hash]["incident"]].append((truth[tx.hash]["stage"], tx, fees[tx.hash]))
    checked = 0
    for incident in table(made / "incidents.csv"):
        parties = set(incident["parties"].split())
        worth = {
            token: float(price) for token, price in (pair.split("=") for pair in incident["prices"].split())
        }
        gain = 0.0
        for stage, tx, fee in flows[incident["incident"]]:
            if stage in ("prep", "exploit"):
                gain += moved(tx, parties, worth) - fee * (tx.sender in parties)
        recorded = float(incident["gain_ether"])
        assert gain == pytest.approx(recorded, rel=1e-6, abs=1e-5), incident
        checked += 1
    assert checked >= 3


def fees_of(raw):
    receipts = json.loads(raw.bodies["receipts"])["result"]
    return {
        r["transactionHash"]: int(r["gasUsed"], 16) * int(r["effectiveGasPrice"], 16) / 1e18 for r in receipts
    }


def moved(tx, parties, worth):
    """What the parties received less what they paid, in ether."""
    total = 0.0
    failed = set()
    for visit in walk(tx.root):
        step = visit.step
        if isinstance(step, Call):
            if visit.parent in failed or not step.ok:
                failed.add(visit.node)
            else:
                total += step.value / 1e18 * ((step.target in parties) - (step.caller in parties))
        elif isinstance(step, Log) and step.emitter in worth and visit.node not in failed:
            total += token_flow(step, parties) * worth[step.emitter]
    return total


def token_flow(log, parties):
    if log.topics[0] == TRANSFER and len(log.topics) == 3:
        amount = int.from_bytes(log.data[:32], "big")
        return amount * ((party(log, 2) in parties) - (party(log, 1) in parties))
    if log.topics[0][:4] in WRAPPED:
        return WRAPPED[log.topics[0][:4]] * int.from_bytes(log.data[:32], "big") * (party(log, 1) in parties)
    return 0


def party(log, place):
    return "0x" + log.topics[place][-20:].hex()


def test_the_report_covers_shape_and_giveaways(made, cli):
    result = cli("simulate", "--report", made, "--json")
    report = json.loads(result.stdout)
    assert set(report["auroc"]) >= {*TREE, *SIDE, "gas_used"}
    assert all(0 <= value <= 1 for value in report["auroc"].values())
    assert report["short exploits"]["exploits"] == sum(report["families"].values()) > 0
    shown = cli("simulate", "--report", made).stdout
    assert "contract_age" in shown


def test_bad_requests_are_one_line(cli, tmp_path):
    assert cli("simulate").exit_code == 1
    for option, wrong in (("split", "both"), ("preset", "tiny"), ("engine", "geth"), ("chain", "bitcoin")):
        refused = cli("simulate", "--out", tmp_path / "x", f"--{option}", wrong)
        assert refused.exit_code == 2 and f"'{wrong}' is not one of" in refused.stderr
    assert [each.value for each in Size] == list(simulate.PRESETS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    refused = cli("simulate", "--out", tmp_path / "full", "--preset", "small")
    assert refused.exit_code == 1 and "not empty" in refused.stderr
    assert (tmp_path / "full" / "file").read_text() == "kept"
    assert "no simulated benchmark" in cli("simulate", "--report", tmp_path).stderr
    assert not list(tmp_path.glob(".*"))


def test_without_the_extra_it_says_what_to_install(tmp_path):
    probe = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('eth', 'trie', 'eth_bloom', 'vyper')))\n"
        "from pipelines.cli import app\n"
        f"app(['simulate', '--out', {str(tmp_path / 'x')!r}, '--preset', 'small'])\n"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "pip install 'blockscan[sim]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())
