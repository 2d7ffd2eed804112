"""Memory of what a training reads, by its steps, as objects or in mapped files.

    python tests/benchmarks/corpus.py archive model --times 10
    python tests/benchmarks/corpus.py archive model --times 10 --objects

Every transaction of the archive comes --times times, with other hashes and blocks; it is encoded once.
Prints bytes a transaction above what the process had before: its own (RssAnon), those of mapped files that
the system may take back (RssFile), and the most of both. The files lie beside the model and leave nothing.
Asserts nothing.
"""

import argparse
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from blockscan.config import Config, TrainConfig
from blockscan.corpus import COLUMNS
from blockscan.model.batch import window_table
from blockscan.model.masking import training_examples
from pipelines.encode import Encoded, encode_all
from pipelines.model_dir import ModelDir
from pipelines.sources import Rejects, open_shards
from pipelines.spool import spooled
from pipelines.training.processes import World
from pipelines.training.resume import identity_of
from tokenizer.txtokenizer import TxTokenizer

APART = 100_000_000  # blocks


def multiplied(once: list[Encoded], times: int) -> Iterator[Encoded]:
    """Each transaction so many times, with arrays of its own."""
    for turn in range(times):
        for each in once:
            block, when, index, tx_hash, chain = each.order
            tx_hash = f"0x{turn:04x}{tx_hash[6:]}"
            own = {name: getattr(each.sequence, name).copy() for name in COLUMNS}
            sequence = replace(each.sequence, tx_hash=tx_hash, **own)
            yield replace(each, order=(block + turn * APART, when, index, tx_hash, chain), sequence=sequence)


def resident() -> np.ndarray:
    """RssAnon, RssFile and VmHWM in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return np.array([int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile", "VmHWM")])


def main() -> None:
    """Go through the steps of a training before its first step, and into its second epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--objects", action="store_true")
    given = parser.parse_args()
    tokenizer = TxTokenizer.load(ModelDir(given.model).tokenizer)
    once = encode_all(open_shards(given.archive, Rejects()), tokenizer, processes=1)
    count = given.times * len(once)
    tokens = given.times * sum(len(each.sequence) for each in once)
    print(f"{count:,} transactions, {tokens / count:.0f} tokens each")
    before, began = resident(), time.perf_counter()

    def tell(step: str) -> None:
        own, mapped, most = (resident() - before) / count
        seconds = time.perf_counter() - began
        print(f"{step:<14} {own:7,.0f} own {mapped:7,.0f} mapped {most:7,.0f} at most {seconds:7.1f} s")

    if given.objects:
        encoded = sorted(multiplied(once, given.times), key=lambda each: each.order)
        sequences = [each.sequence for each in encoded]
    else:
        alone = World(0, 1, torch.device("cpu"))
        sequences = spooled(lambda: multiplied(once, given.times), given.model, alone)
    tell("encoded")
    identity_of(Config().model, TrainConfig(), tokenizer.shape, sequences, {})
    tell("identity")
    table = window_table(sequences, Config().model.longest, tokenizer.shape)
    tell("windows")
    train = TrainConfig(batch_tokens=16384)
    batches = training_examples(table, tokenizer.shape, train)
    next(batches)
    tell("first epoch")
    deque(islice(batches, 1 + int(1.05 * tokens / train.batch_tokens)), maxlen=0)
    tell("second epoch")


if __name__ == "__main__":
    main()
