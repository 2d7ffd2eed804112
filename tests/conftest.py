"""Fixtures of the whole suite: the recorded chain as an archive, and a small model of it."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "pipelines" / "simulation" / "recording"

TRAIN, CALIBRATE, TEST = "1:90", "90:150", "377:400"
TINY = ["--set", "train.steps=12", "--set", "train.batch_tokens=2048", "--set", "train.checkpoint_every=4"]

Cli = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class Road:
    """A finished small road: the archive of the recorded chain, a model directory, a scored store."""

    archive: Path
    model: Path
    store: Path
    parquet: Path


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run the command line in this process; an unexpected exception is raised, not hidden."""

    def run(*arguments: object) -> Result:
        from pipelines.cli import app

        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def node() -> Iterator[str]:
    """URL of a JSON-RPC server that replays the recorded chain."""
    from pipelines.simulation.replay import serve

    with serve(RECORDING) as url:
        yield url


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, node: str, cli: Cli) -> Path:
    """The recorded chain's first 150 blocks and a part with attacks, ingested over HTTP."""
    path = tmp_path_factory.mktemp("recorded") / "archive"
    for blocks in ("1:150", TEST):
        result = cli("ingest", "ethereum", "--rpc", node, "--blocks", blocks, "--out", path, "--json")
        assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory, archive: Path, cli: Cli) -> Road:
    """Every step of the road once, with a model too small to be good."""
    base = tmp_path_factory.mktemp("road")
    made = Road(archive, base / "model", base / "scores.sqlite", base / "scores")
    steps: list[list[object]] = [
        ["tokenizer", "fit", archive, "--model", made.model, "--blocks", TRAIN, "--preset", "debug"],
        ["pretrain", archive, "--model", made.model, "--blocks", TRAIN, "--preset", "debug", *TINY],
        ["calibrate", archive, "--model", made.model, "--blocks", CALIBRATE, "--preset", "debug"],
        ["score", archive, "--model", made.model, "--blocks", TEST, "--store", made.store],
    ]
    steps[-1] += ["--parquet", made.parquet]
    for step in steps:
        result = cli(*step, "--json")
        assert result.exit_code == 0, result.output
        json.loads(result.stdout)
    return made
