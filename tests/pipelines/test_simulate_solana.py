"""`blockscan simulate --chain solana`: two archives as a node ingest would store them, and the truth."""

import csv
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("solders", reason="solders, which contains LiteSVM, is not installed")

from blockscan.archive import Archive
from blockscan.chains.decode import decode
from blockscan.chains.solana import parse
from blockscan.chains.solana_rpc import SolanaNode
from blockscan.chains.transport import Endpoint
from blockscan.transaction import Transaction
from pipelines import simulate_solana
from pipelines.cli_simulate import Size
from pipelines.ingest import ingest_node
from pipelines.labels import COLUMNS, read_labels
from pipelines.ranges import BlockRange
from pipelines.simulation.solana.attacks import DEV, EVAL, TIERS
from pipelines.simulation.solana.server import serve
from pipelines.simulation.solana_world import build

SMALL = simulate_solana.SolanaPlan(seed=5, split="dev", transactions=300, incidents=6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("solana") / "bench"
    simulate_solana.simulate(SMALL, out)
    return out


def transactions(folder: Path) -> list[Transaction]:
    return [one for raw in Archive(folder).raw_blocks() for one in parse(raw)]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_history_is_benign_and_earlier_and_every_transaction_has_a_label(made: Path) -> None:
    truth = read_labels(made / "labels.csv")
    assert tuple(rows(made / "labels.csv")[0]) == COLUMNS
    meta = json.loads((made / "meta.json").read_text())
    history, test = transactions(made / "history"), transactions(made / "test")
    assert sorted(one.hash for one in [*history, *test]) == sorted(truth)
    assert {truth[one.hash].label for one in history} == {"benign"}
    cut = meta["calibrate_until_block"]
    assert max(one.block_number for one in history) <= cut < min(one.block_number for one in test)
    assert Archive(made / "history").coverage().blocks == ((meta["first_block"], cut),)
    assert Archive(made / "test").coverage().blocks == ((cut + 1, meta["last_block"]),)
    attacks = [label for label in truth.values() if label.label == "attack"]
    assert all(label.tier == TIERS[label.family] and label.incident for label in attacks)
    hard = [label for label in truth.values() if label.hard_benign]
    assert hard and all(label.hard_benign == label.kind and label.label == "benign" for label in hard)
    assert {row["incident"] for row in rows(made / "incidents.csv")} == {label.incident for label in attacks}


def test_every_family_has_a_tier() -> None:
    assert TIERS.keys() == DEV.keys() | EVAL.keys()
    assert set(TIERS.values()) == {"structural", "mimicry", "context"}


def test_the_rows_are_those_of_an_ingest_from_a_node(made: Path, tmp_path: Path) -> None:
    chain = build(SMALL.seed, transactions=SMALL.transactions, incidents=SMALL.incidents, split="dev")
    with serve(chain.blocks) as url:
        ingest_node(SolanaNode(Endpoint(url)), BlockRange(chain.first, chain.last + 1), tmp_path / "a")
    fetched = list(Archive(tmp_path / "a").raw_blocks())
    ours = [raw for part in ("history", "test") for raw in Archive(made / part).raw_blocks()]
    assert len(ours) == chain.last - chain.first + 1 > len(chain.blocks)
    for mine, theirs in zip(ours, fetched, strict=True):
        assert dataclasses.replace(mine, bodies={}) == dataclasses.replace(theirs, bodies={})
        results = [decode(raw.bodies["block"])["result"] for raw in (mine, theirs)]
        assert results[0] == results[1]


def test_the_same_plan_gives_the_same_bytes_and_another_seed_does_not(made: Path, tmp_path: Path) -> None:
    digests = []
    for place, plan in enumerate((SMALL, dataclasses.replace(SMALL, seed=6))):
        simulate_solana.simulate(plan, tmp_path / str(place))
    for out in (made, tmp_path / "0", tmp_path / "1"):
        files = sorted(path for path in out.rglob("*") if path.is_file())
        digests.append(
            {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        )
    assert len(digests[0]) >= 7 and digests[0] == digests[1] != digests[2]


def test_the_report_tells_what_single_facts_give_away(made: Path, cli: Any) -> None:
    report = json.loads(cli("simulate", "--report", made, "--json").stdout)
    assert {"input bytes", "instructions", "accounts", "fee", "sender's earlier transactions"} <= set(
        report["auroc"]
    )
    assert all(0 <= low <= value <= high <= 1 for value, low, high in report["auroc"].values())
    assert report["exploits"] == sum(report["families"].values()) == sum(report["tiers"].values()) >= 6
    assert "95 % interval" in cli("simulate", "--report", made).stdout
    refused = cli("simulate", "--report", made, "--reference", made / "labels.csv")
    assert refused.exit_code == 1 and "--reference is for ethereum" in refused.stderr


def test_the_report_ranks_by_the_fact(made: Path, tmp_path: Path) -> None:
    """With the labels set by one fact alone, that fact separates perfectly."""
    after = json.loads((made / "meta.json").read_text())["calibrate_until_block"]
    later = [one for one in transactions(made / "test") if one.block_number > after]
    cut = sorted(one.root.value for one in later)[-20]
    copy = tmp_path / "copy"
    copy.mkdir()
    for part in ("history", "test", "meta.json"):
        (copy / part).symlink_to(made / part)
    lines = [
        f"{one.hash},attack,exploit,f,i{place},,,context"
        if one.root.value >= cut
        else f"{one.hash},benign,,,,,,"
        for place, one in enumerate(later)
    ]
    (copy / "labels.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    assert simulate_solana.read_report(copy)["auroc"]["fee"][0] == 1.0


def test_the_command_says_what_does_not_apply(cli: Any, tmp_path: Path) -> None:
    solana = ["simulate", "--chain", "solana", "--out", tmp_path / "x"]
    assert "always runs on LiteSVM" in cli(*solana, "--engine", "anvil").stderr
    assert [each.value for each in Size] == list(simulate_solana.PRESETS)
    assert "6,000 transactions with 60 incidents" in cli(*solana, "--dry-run").stderr
    assert not list(tmp_path.iterdir())
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "file").write_text("kept")
    refused = cli(*solana, "--preset", "small")
    assert refused.exit_code == 1 and "not empty" in refused.stderr
