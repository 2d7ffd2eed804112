"""The demo on the recorded Solana chain, with a model too small to be good, and `explain` on its result."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import Archive
from blockscan.store import open_store
from pipelines import demo
from pipelines.options import ChainFamily

TINY = ["--preset", "debug", "--set", "train.steps=6", "--set", "train.batch_tokens=2048"]
RECORDING = Path(__file__).resolve().parents[2] / "pipelines" / "simulation" / "solana" / "recording"


@pytest.mark.slow
def test_the_demo_runs_the_whole_road(cli: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli("demo", "--chain", "solana", "--out", out, *TINY, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    meta = json.loads((RECORDING / "meta.json").read_text())
    archive = Archive(out / "archive")
    assert archive.family == "solana"
    assert archive.coverage().blocks == ((meta["first_block"], meta["last_block"]),)
    later = [raw for raw in archive.raw_blocks() if (raw.number or 0) > meta["calibrate_until_block"]]
    assert figures["scored"] == sum(len(raw.tx_hashes) for raw in later) > 500
    assert {"BlockScan", "length", "calls"} < set(figures["evaluation"]["detectors"])
    with open_store(out / "scores.sqlite", read_only=True) as results:
        strongest = min(results.iter_scores(), key=lambda score: (score.p_value, -score.value, score.tx_hash))
    assert strongest.source == "solana+logs" and strongest.target != strongest.sender
    shown = cli("explain", strongest.tx_hash, "--store", out / "scores.sqlite", "--all").stdout
    assert strongest.tx_hash in shown and "INSTRUCTION" in shown and "balance " in shown
    again = cli("explain", strongest.tx_hash, "--source", out / "archive", "--model", out / "model", "--json")
    assert json.loads(again.stdout)["score"]["tx_hash"] == strongest.tx_hash


def test_the_demo_ends_with_a_command_that_a_shell_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for called in (".venv/bin/blockscan", "/some where/blockscan"):
        monkeypatch.setattr("sys.argv", [called, "demo"])
        told = shlex.split(demo.dashboard_command(Path("my out/scores.sqlite")))
        assert told == [called, "dashboard", "--store", "my out/scores.sqlite"]
    monkeypatch.setattr("sys.argv", ["/x/pipelines/__main__.py", "demo"])
    told = shlex.split(demo.dashboard_command(Path("s")))
    assert told == [sys.executable, "-m", "pipelines", "dashboard", "--store", "s"]


def test_an_unknown_chain_is_wrong_usage(cli: Any, tmp_path: Path) -> None:
    refused = cli("demo", "--chain", "bitcoin", "--out", tmp_path / "out")
    assert refused.exit_code == 2 and "'bitcoin' is not one of" in refused.stderr
    assert sorted(demo.CHAINS) == sorted(ChainFamily) and not (tmp_path / "out").exists()
