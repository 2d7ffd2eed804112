"""One process of a small training run, for tests: python train_child.py OUT REPORTS OPTIONS (JSON).

OPTIONS: `train`, options of the section; `model`, likewise; `stop`, a step after which the process kills
itself; `resume`; `device`; `late`, seconds that the first process comes after the others, twice as many as
torch would by itself wait for it. Reports go into the file REPORTS, one JSON line each, of the first process.
"""

import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch.distributed import distributed_c10d

from blockscan.config import Config, ModelConfig, TrainConfig
from blockscan.tokens import TokenSequence, VocabularyShape
from pipelines.pretrain import StepReport, pretrain

SHAPE = VocabularyShape(size=120, alias_spans=((100, 116),))
MODEL = {"layers": 3, "width": 48, "heads": 3, "feed_forward": 64, "longest": 64, "window": 16}
TRAIN = {"steps": 12, "batch_tokens": 256, "accumulate": 2, "checkpoint_every": 3, "bf16": False}
FINGERPRINT = "c3" * 32


def sequences(count: int) -> list[TokenSequence]:
    """Transactions that repeat a few phrases, so that there is something to learn."""
    rng = np.random.default_rng(0)
    phrases = rng.integers(2, 116, (5, 8))
    found = []
    for which in range(count):
        ids = np.concatenate([phrases[i] for i in rng.integers(0, 5, rng.integers(1, 14))])
        place = np.arange(len(ids))
        found.append(
            TokenSequence(
                tx_hash=f"0x{which:064x}",
                ids=ids.astype(np.int32),
                modality=np.zeros(len(ids), dtype=np.uint8),
                field=(place % 8).astype(np.uint8),
                node=(place // 8).astype(np.int32),
                depth=(place // 8 % 3).astype(np.int16),
                unit=(place // 2).astype(np.int32),
                group=np.full(len(ids), -1, dtype=np.int32),
                scored=np.ones(len(ids), dtype=np.bool_),
            )
        )
    return found


def main(out: str, reports: str, given: str) -> None:
    """Train and write reports."""
    torch.set_num_threads(1)
    options = json.loads(given)
    if late := options.get("late"):
        distributed_c10d._get_default_timeout = lambda backend: timedelta(seconds=late / 2)
        time.sleep(late if os.environ["RANK"] == "0" else 0)

    def on_step(report: StepReport) -> None:
        with Path(reports).open("a") as file:
            row = [report.step, report.loss, report.gradient_norm, report.validation]
            file.write(json.dumps(row) + "\n")
        if report.step == options.get("stop"):
            os.kill(os.getpid(), signal.SIGKILL)

    config = Config(
        model=ModelConfig(**MODEL, **options.get("model", {})),
        train=TrainConfig(**{**TRAIN, **options.get("train", {})}),
    )
    pretrain(
        sequences(60),
        SHAPE,
        config=config,
        out=Path(out),
        tokenizer_fingerprint=FINGERPRINT,
        device=options.get("device", "cpu"),
        on_step=on_step,
        resume=options.get("resume", False),
    )
    if config.train.compile:
        from torch._dynamo.utils import counters

        sys.stdout.write(f"graphs: {counters['stats']['unique_graphs']}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
