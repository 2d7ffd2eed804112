"""How long a fresh process takes to load a model and score its first transaction, and where the time goes.

    python tests/benchmarks/load.py                      # a `small` model with random weights, made for it
    python tests/benchmarks/load.py --model model --archive archive

Every run is a process of its own; the files are in the page cache from the second one on, and the fastest
run counts. Wall-clock and CPU seconds are printed: on a busy machine the latter say what the work costs.
Asserts nothing. Without --model it fits a tokenizer on the recorded chain, fills its vocabulary up with
addresses to 15,000 pieces, and calibrates a model with random weights on a few transactions.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from blockscan.artifact import read_manifest
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.transport import Endpoint
from blockscan.config import load_config
from blockscan.detect.calibrate import Observed, fit_calibration
from blockscan.detect.calibration_file import save_calibration
from blockscan.detect.facts import FACTS
from blockscan.detect.history import history_of
from blockscan.detect.history_file import KIND as HISTORY
from blockscan.detect.history_file import save_history
from blockscan.model.checkpoint import KIND, save_checkpoint
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import token_losses
from pipelines.encode import encode_all
from pipelines.ingest import ingest_node
from pipelines.model_dir import ModelDir
from pipelines.ranges import BlockRange
from pipelines.simulation.replay import serve
from pipelines.sources import Rejects, open_shards, read_transactions
from tokenizer.modalities.address import WHOLE
from tokenizer.txtokenizer import TxTokenizer
from tokenizer.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
PIECES = 15_000
CALIBRATED = 60
STAGES = ("imports", "tokenizer", "weights", "calibration", "first score")

_CHILD = """
import json, sys, time
from pathlib import Path
marks = [(time.perf_counter(), time.process_time())]
def mark():
    marks.append((time.perf_counter(), time.process_time()))
from blockscan.artifact import read_manifest
from blockscan.config import config_from
from blockscan.detect.calibration_file import fingerprint, load_calibration
from blockscan.detect.history_file import load_history
from blockscan.model.checkpoint import KIND, load_checkpoint
from pipelines.model_dir import Detector, ModelDir
from pipelines.score import judge_all
from pipelines.sources import Rejects, open_shards
from tokenizer.txtokenizer import TxTokenizer
mark()
directory = ModelDir(Path(sys.argv[1]))
tokenizer = TxTokenizer.load(directory.tokenizer)
mark()
manifest = read_manifest(directory.checkpoint, KIND)
model = load_checkpoint(
    directory.checkpoint, tokenizer_fingerprint=tokenizer.fingerprint, manifest=manifest
)
mark()
calibration, history = load_calibration(directory.calibration), load_history(directory.history)
scoring = config_from({"score": calibration.scoring}, "calibration").score
names = manifest.fingerprint, fingerprint(calibration)
detector = Detector(tokenizer, model, history, calibration, scoring, *names)
mark()
shards = open_shards(Path(sys.argv[2]), Rejects())
transaction = next(each for each in shards[-1].read() if len(each.root.steps) > 2)
before = time.perf_counter(), time.process_time()
(scored,) = judge_all([transaction], detector)
spent = time.perf_counter() - before[0], time.process_time() - before[1]
stages = [[b - a for a, b in zip(*pair)] for pair in zip(marks, marks[1:])] + [list(spent)]
print(json.dumps({"stages": stages, "tokens": scored.score.tokens}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a calibrated model directory; made if left out")
    parser.add_argument("--archive", type=Path, help="where the transaction comes from; made if left out")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    if (given.model is None) != (given.archive is None):
        parser.error("give both --model and --archive, or neither")
    with tempfile.TemporaryDirectory() as scratch:
        model, archive = given.model, given.archive
        if model is None:
            model, archive = _make(Path(scratch))
        runs = [_run(model, archive) for _ in range(given.runs)]
    _show(runs)


def _run(model: Path, archive: Path) -> dict[str, list[float] | int]:
    """Seconds of the stages in a fresh process."""
    command = [sys.executable, "-c", _CHILD, str(model), str(archive)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    answer: dict[str, list[float] | int] = json.loads(done.stdout)
    return answer


def _show(runs: list[dict[str, list[float] | int]]) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(f"commit {commit.stdout.strip()}, {platform.processor() or platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores, {len(runs)} processes, a transaction of {runs[0]['tokens']} tokens")
    print(f"{'seconds':14}{'wall, best':>12}{'CPU, best':>12}")
    for place, name in enumerate(STAGES):
        wall, cpu = (min(run["stages"][place][kind] for run in runs) for kind in (0, 1))
        print(f"{name:14}{wall:12.3f}{cpu:12.3f}")
    wall, cpu = (min(sum(stage[kind] for stage in run["stages"]) for run in runs) for kind in (0, 1))
    print(f"{'in all':14}{wall:12.3f}{cpu:12.3f}")


def _make(scratch: Path) -> tuple[Path, Path]:
    """A model directory of the preset `small` with random weights, and the archive of the recorded chain."""
    archive, directory = scratch / "archive", ModelDir(scratch / "model")
    with serve(ROOT / "pipelines" / "simulation" / "recording") as url:
        ingest_node(EthereumNode(Endpoint(url)), BlockRange(1, 61), archive)
    config = load_config(ROOT / "pipelines" / "presets" / "small.toml")
    shards = open_shards(archive, Rejects())
    fitted = TxTokenizer.fit(read_transactions(shards), config.tokenizer).vocabulary
    more = tuple(f"{WHOLE}0x{number:040x}" for number in range(1 << 80, (1 << 80) + PIECES - len(fitted)))
    tokenizer = TxTokenizer(Vocabulary(fitted.config, (*fitted.pieces, *more), fitted.codes, fitted.merges))
    tokenizer.save(directory.tokenizer)
    model = MaskedLM(config.model, tokenizer.shape, generator=torch.Generator().manual_seed(0))
    parents = {"tokenizer": tokenizer.fingerprint}
    save_checkpoint(
        directory.checkpoint, model, train=config.train, tokenizer_fingerprint=tokenizer.fingerprint, data={}
    )
    save_history(history_of([]), directory.history)
    parents["history"] = read_manifest(directory.history, HISTORY).fingerprint
    parents["checkpoint"] = read_manifest(directory.checkpoint, KIND).fingerprint
    encoded = encode_all(shards, tokenizer)[:CALIBRATED]
    losses = token_losses(model, [each.sequence for each in encoded], config.score)
    observed = [
        Observed(each.sequence, loss, np.zeros(len(FACTS)), each.source, each.status)
        for each, loss in zip(encoded, losses, strict=True)
    ]
    calibration = fit_calibration(observed, fpr=0.2, parents=parents, scoring=asdict(config.score))
    save_calibration(calibration, directory.calibration)
    return directory.path, archive


if __name__ == "__main__":
    main()
