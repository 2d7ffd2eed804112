"""The whole road on a recorded chain: exactly the public steps, over HTTP, in a few minutes.

A replay server on loopback answers JSON-RPC from the recording, so ingest takes the same road as with a
node. Labels are read at the end, by the evaluation alone.
"""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from blockscan.artifact import require_empty
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.solana_rpc import SolanaNode
from blockscan.chains.transport import Endpoint
from blockscan.config import Config
from blockscan.findings import Alert
from blockscan.store import open_store
from pipelines import commands
from pipelines.block_writer import Node
from pipelines.evaluate import Evaluation
from pipelines.evaluation.run import Request
from pipelines.evaluation.run import run as evaluate
from pipelines.evaluation.tables import detector_table as metric_table
from pipelines.evaluation.tables import strata_table
from pipelines.ingest import ingest_node
from pipelines.labels import Label, hash_key, read_labels
from pipelines.metrics import Estimate
from pipelines.progress import console
from pipelines.ranges import BlockRange
from pipelines.render import alert_cells, alert_table, pairs, to_stdout
from pipelines.simulation import replay
from pipelines.simulation.solana import server
from pipelines.traffic import Target

FPR = 0.01
TOP = 15
SHOWN = ("auroc", "recall@fpr=0.01", "recall@k=5", "recall@k=10", "recall@k=15")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded chain: its package, which holds a folder `recording`; how to serve and how to ask it."""

    package: str
    serve: Callable[[Path], AbstractContextManager[str]]
    node: Callable[[Endpoint], Node]


CHAINS = {
    "ethereum": Recorded("pipelines.simulation", replay.serve, EthereumNode),
    "solana": Recorded(
        "pipelines.simulation.solana",
        lambda folder: server.serve(server.recorded_blocks(folder)),
        SolanaNode,
    ),
}


def run(
    out: Path, config: Config, chain: str = "ethereum", *, show: Callable[[RenderableType], None] = to_stdout
) -> dict[str, Any]:
    """Run the demo into a new directory and show its result; returns the figures.

    Args:
        out: a new directory.
        config: of tokenizer, model and training.
        chain: which recorded chain, a key of CHAINS.
        show: takes each table for people.

    Raises:
        ArtifactError: `out` is not empty.
    """
    recorded = CHAINS[chain]
    require_empty(out)
    began = time.monotonic()
    with as_file(files(recorded.package) / "recording") as recording:
        meta = json.loads((recording / "meta.json").read_text())
        labels_csv = recording / "labels.csv"
        archive, model, store = out / "archive", out / "model", out / "scores.sqlite"
        with recorded.serve(recording) as url:
            blocks = BlockRange(meta["first_block"], meta["last_block"] + 1)
            report = ingest_node(recorded.node(Endpoint(url)), blocks, archive)
        train, later = meta["train_until_block"], meta["calibrate_until_block"]
        past = f"{blocks.start}:{train + 1}"
        trained = _learn(archive, model, config, past, f"{train + 1}:{later + 1}")
        shards, _ = commands.shards_of(archive, f"{later + 1}:")
        scored = commands.score(shards, model, store, out / "scores", device="auto")
        evaluation = evaluate(Request([store], labels_csv, [archive], past, after=str(later)))
        labels = read_labels(labels_csv)
    summary = {
        "transactions": report.coverage.transactions,
        "trained on (tokens)": trained["tokens seen"],
        "validation loss": trained["validation loss"],
        "scored": scored["scored"],
        "alerts": scored["alerts"],
        f"false alarms at level {FPR:g}": _share(evaluation.alarms.realised_fpr),
        "incidents with an alert": _share(evaluation.alarms.incident_recall),
        "seconds in all": round(time.monotonic() - began),
    }
    for table in _tables(store, labels, evaluation, summary):
        show(table)
    console.print("\nOpen the dashboard:", markup=False)
    console.print(f"  {dashboard_command(store)}", markup=False, soft_wrap=True)
    return summary | {"evaluation": evaluation.to_dict(), "store": str(store)}


def dashboard_command(store: Path) -> str:
    """What opens the dashboard, as a shell takes it: by the program that was called."""
    called = sys.argv[0]
    program = [called] if Path(called).name == "blockscan" else [sys.executable, "-m", "pipelines"]
    return shlex.join([*program, "dashboard", "--store", str(store)])


def _learn(archive: Path, model: Path, config: Config, past: str, later: str) -> Mapping[str, Any]:
    """Tokenizer and model from the benign past, calibration from later benign blocks."""
    shards, _ = commands.shards_of(archive, past)
    commands.fit(shards, model, config, None)
    trained = commands.train(shards, model, config, None, device="auto", resume=False)
    shards, _ = commands.shards_of(archive, later)
    commands.calibrate(shards, model, config, None, target=Target(FPR), device="auto")
    return trained


def _tables(
    store: Path, labels: dict[str, Label], evaluation: Evaluation, summary: dict[str, Any]
) -> Iterator[RenderableType]:
    with open_store(store, read_only=True) as results:
        alerts = results.alerts(limit=TOP)
    title = f"The {len(alerts)} strongest alerts (labels were not known to the detector)"
    names = [alert.score.tx_hash for alert in alerts]
    table = alert_table(title, names, first="transaction", fourth="label")
    for alert in alerts:
        score, label = alert.score, _label_of(alert, labels)
        table.add_row(*alert_cells(score.tx_hash, score.p_value, alert.severity, label, score.reason))
    yield table
    yield metric_table(evaluation, list(SHOWN), title="Detection, beside the baselines")
    yield strata_table(evaluation)
    yield pairs(summary, "Summary")


def _share(estimate: Estimate) -> str:
    return (
        f"{100 * estimate.value:.1f} % of {estimate.n:,} ({100 * estimate.low:.1f}-{100 * estimate.high:.1f})"
    )


def _label_of(alert: Alert, labels: dict[str, Label]) -> str:
    label = labels.get(hash_key(alert.score.tx_hash))
    if label is None:
        return "unknown"
    return " ".join(part for part in (label.label, label.family, label.stage, label.kind) if part)
