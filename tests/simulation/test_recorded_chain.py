"""The committed recording: regenerated from its seed, consistent in itself, and without giveaways."""

import csv
import json
import lzma
import sys
from collections import Counter

import pytest

from pipelines.simulation.attacks.catalogue import families
from pipelines.simulation.chain import CHAIN_ID, START, SimulatedChain
from pipelines.simulation.compile import COMPILED, compile_one, sources
from pipelines.simulation.features import COST, SIDE, TREE, rows
from pipelines.simulation.pyevm import PyEvm
from pipelines.simulation.record import FOLDER, PLAN, line_of
from pipelines.simulation.shape import body, compared, large, separations, short_exploits

SLICE = 22


def blocks(folder):
    """The recording's lines: {"block", "receipts", "traces"}."""
    with lzma.open(folder / "blocks.jsonl.xz", "rb") as file:
        for line in file:
            yield json.loads(line)


def labels(folder):
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return {row["tx_hash"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def meta():
    return json.loads((FOLDER / "meta.json").read_text())


@pytest.fixture(scope="module")
def table():
    return rows(blocks(FOLDER), labels(FOLDER))


@pytest.mark.parametrize("name", list(sources()))
def test_recompiling_gives_the_committed_contract(name):
    assert compile_one(name) == (COMPILED / f"{name}.json").read_text(encoding="utf-8")


def test_there_is_no_compiled_file_without_a_source():
    assert {path.stem for path in COMPILED.glob("*.json")} == {*sources()}


def test_a_slice_regenerated_from_the_seed_is_the_recording_byte_for_byte(meta):
    assert meta["seed"] == PLAN.seed
    made = []
    engine = PyEvm(chain_id=CHAIN_ID, timestamp=START)
    chain = SimulatedChain(PLAN, engine, lambda sealed: made.append(line_of(sealed)))
    chain.run(SLICE)
    with lzma.open(FOLDER / "blocks.jsonl.xz", "rb") as file:
        committed = [line for _, line in zip(range(SLICE), file, strict=False)]
    assert len(made) == SLICE
    assert made == committed
    truth = labels(FOLDER)
    assert all(truth[tx_hash]["kind"] == tag.kind for tx_hash, tag in chain.driver.labels.items())


def test_size_and_counts(meta, table):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8 * 2**20
    count = Counter(row["label"] for row in table)
    assert count["benign"] >= 6000
    assert sum(row["stage"] == "exploit" for row in table) >= 60
    assert len({row["incident"] for row in table if row["label"] == "attack"}) >= 25
    attacking = {row["family"] for row in table if row["label"] == "attack"}
    assert attacking <= {family.name for family in families("dev")}
    assert len(attacking) >= 10
    kinds = Counter(row["kind"] for row in table if row["label"] == "benign")
    for kind in ("flash_arbitrage", "liquidation", "multicall", "large_swap", "batch_payout", "failed"):
        assert kinds[kind] >= 8, kind


def test_labels_cover_exactly_the_recorded_transactions(table):
    truth = labels(FOLDER)
    assert len(truth) == len(table)
    assert {row["label"] for row in table} <= {"benign", "attack", "grey"}
    assert all(
        row["stage"] in ("fund", "prep", "exploit", "exit") for row in table if row["label"] == "attack"
    )
    assert all(not row["incident"] for row in table if row["label"] == "benign")
    assert all((row["kind"] == "failed") == row["failed"] for row in table)


def test_nothing_of_an_attack_happens_before_the_test_period(meta, table):
    assert meta["train_until_block"] < meta["calibrate_until_block"] < meta["last_block"]
    assert all(row["block"] > meta["calibrate_until_block"] for row in table if row["incident"])
    benign = [row["block"] for row in table if row["label"] == "benign"]
    share = [
        sum(b <= meta[k] for b in benign) / len(benign)
        for k in ("train_until_block", "calibrate_until_block")
    ]
    assert share == pytest.approx([0.6, 0.8], abs=0.05)


def test_every_incident_gained_something(table):
    with (FOLDER / "incidents.csv").open(newline="") as file:
        incidents = list(csv.DictReader(file))
    assert len(incidents) >= 25
    for incident in incidents:
        assert float(incident["gain_ether"]) > 0
        mine = [row for row in table if row["incident"] == incident["incident"]]
        assert sum(row["stage"] == "exploit" for row in mine) == int(incident["exploit_transactions"]) >= 1
    assert {i["incident"] for i in incidents} == {r["incident"] for r in table if r["incident"]}


def test_root_frames_agree_with_transactions_and_receipts():
    for entry in blocks(FOLDER):
        for tx, receipt, trace in zip(
            entry["block"]["transactions"], entry["receipts"], entry["traces"], strict=True
        ):
            root = trace["result"]
            assert trace["txHash"] == tx["hash"] == receipt["transactionHash"]
            assert root["from"] == tx["from"] == receipt["from"]
            assert root["gas"] == tx["gas"]
            assert root["gasUsed"] == receipt["gasUsed"]
            assert int(root["gasUsed"], 16) <= int(root["gas"], 16)
            assert root["input"] == tx["input"]
            assert root["value"] == tx["value"]
            assert ("error" in root) == (receipt["status"] == "0x0")
            created = receipt["contractAddress"]
            assert root.get("to") == (tx["to"] or created)


def test_traces_carry_the_receipts_logs_at_their_positions():
    seen = 0
    for entry in blocks(FOLDER):
        for receipt, trace in zip(entry["receipts"], entry["traces"], strict=True):
            ordered = [
                (log["logIndex"], log["address"], log["topics"], log["data"]) for log in receipt["logs"]
            ]
            assert logs_in_order(trace["result"]) == ordered
            seen += len(ordered)
    assert seen > 10_000


def logs_in_order(root):
    """Walk calls and logs as `position` interleaves them."""
    found = []
    stack = [root]
    while stack:
        item = stack.pop()
        if "topics" in item:
            found.append((item["index"], item["address"], item["topics"], item["data"]))
            continue
        if "error" in item:
            assert not item.get("logs")
        children = item.get("calls", [])
        steps = []
        logs = item.get("logs", [])
        for place in range(len(children) + 1):
            steps += [log for log in logs if int(log["position"], 16) == place]
            steps += children[place : place + 1]
        assert len(steps) == len(children) + len(logs)
        stack.extend(reversed(steps))
    return found


def test_frames_have_geths_fields():
    kinds = Counter()
    for entry in blocks(FOLDER):
        for trace in entry["traces"]:
            stack = [trace["result"]]
            while stack:
                frame = stack.pop()
                kinds[frame["type"]] += 1
                assert ("value" in frame) == (frame["type"] != "STATICCALL")
                spent = sum(int(child["gasUsed"], 16) for child in frame.get("calls", ()))
                assert frame is trace["result"] or spent <= int(frame["gasUsed"], 16) <= int(frame["gas"], 16)
                stack.extend(frame.get("calls", ()))
    assert set(kinds) >= {"CALL", "STATICCALL", "DELEGATECALL", "CREATE"}


def test_no_single_feature_gives_the_attacks_away(meta, table, capsys):
    """Wide bounds: with a few dozen incidents an AUROC of .5 comes out anywhere between .4 and .6."""
    calls, exploits = compared(table, meta["calibrate_until_block"])
    found, short = separations(calls, exploits), short_exploits(calls, exploits)
    with capsys.disabled():
        figures = {name: round(value, 3) for name, value in found.items()}
        sys.stdout.write(f"\nAUROC of exploits against benign contract calls: {figures}\n{short}\n")
    assert set(found) == {*TREE, *COST, *SIDE}
    assert all(0.25 < found[name] < 0.75 for name in (*TREE, *COST))
    assert all(0.3 < found[name] < 0.7 for name in SIDE)
    assert short["exploits with fewer"] >= short["exploits"] // 8


def test_the_body_resembles_mainnet(table):
    """Bounds around 27 mainnet blocks: 38 % plain, 5 % failed, calls p50/p90 1/10, long tail of targets."""
    benign = [row for row in table if row["label"] == "benign"]
    shape = body(benign)
    assert 0.32 < shape["plain transfers"] < 0.45
    assert 0.03 < shape["failed"] < 0.07
    assert shape["senders / transactions"] > 0.35
    assert shape["targets called once"] > 0.5
    assert -1.2 < shape["Zipf slope of targets"] < -0.7
    assert shape["root selectors per 6,000"] >= 380
    counts = sorted(row["calls"] for row in benign)
    assert counts[len(counts) // 2] <= 2
    assert 7 <= counts[len(counts) * 9 // 10] <= 15
    assert min(large(benign).values()) >= 1
