"""Encoding and scoring speed on your own archive, each beside a named baseline in the same run.

    python tests/benchmarks/road.py --archive demo-out/archive --model demo-out/model
    python tests/benchmarks/road.py --archive ARCHIVE --model MODEL --processes 2

Prints ratios, asserts nothing. Baselines: decoding the same stored bodies with json (for encoding), and
scoring one transaction at a time (for packed scoring); beside it what scoring costs where every token is
asked for and not names only. With --processes it compares reading, parsing and encoding whole shards by one
process and by that many, and stops: wall-clock and CPU seconds, since on a busy machine only the latter say
what the division costs.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch

from blockscan.archive import Archive
from blockscan.chains.ethereum import parse
from blockscan.config import ScoreConfig
from blockscan.model.losses import token_losses
from pipelines.encode import encode_all
from pipelines.model_dir import ModelDir, load_model
from pipelines.sources import Rejects, open_shards
from tokenizer.txtokenizer import TxTokenizer
from tokenizer.vocabulary import Vocabulary


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall-clock seconds of one call, and what it returned."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def cpu_seconds() -> float:
    """Of this process and of the children that it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def scaling(archive: Path, vocabulary: Vocabulary, processes: int) -> None:
    """One process against several, from the archive's parts to sequences."""
    alone = 0.0
    for count in (1, processes):
        shards = open_shards(archive, Rejects())
        tokenizer, before = TxTokenizer(vocabulary), cpu_seconds()
        wall, found = seconds(
            lambda shards=shards, tokenizer=tokenizer, count=count: encode_all(
                shards, tokenizer, processes=count
            )
        )
        alone = alone or wall
        print(f"encode_all, {count} processes, {len(shards)} shards {len(found) / wall:10,.0f} tx/s", end="")
        print(f"  {wall:.2f} s, {cpu_seconds() - before:.2f} CPU s, {alone / wall:.2f} times as fast")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--transactions", type=int, default=2000, help="scored; all of them are encoded")
    parser.add_argument("--processes", type=int, default=1, help="more than 1: measure only their scaling")
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(f"commit {commit.stdout.strip()}, {platform.processor() or platform.machine()}, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")

    if given.processes > 1:
        scaling(given.archive, TxTokenizer.load(ModelDir(given.model).tokenizer).vocabulary, given.processes)
        return
    tokenizer, model, _ = load_model(ModelDir(given.model), "cpu")
    raws = list(Archive(given.archive).raw_blocks())
    json_s, _ = seconds(lambda: [json.loads(body) for raw in raws for body in raw.bodies.values()])
    parse_s, blocks = seconds(lambda: [parse(raw) for raw in raws])
    transactions = [transaction for block in blocks for transaction in block]
    encode_s, sequences = seconds(lambda: [tokenizer.encode(each) for each in transactions])
    count = len(transactions)
    print(f"json.loads       {count / json_s:10,.0f} tx/s  1.00 (baseline)")
    print(f"parse            {count / parse_s:10,.0f} tx/s  {parse_s / json_s:.2f} times its time")
    print(f"encode           {count / encode_s:10,.0f} tx/s  {encode_s / json_s:.2f} times its time")

    chosen = sequences[-given.transactions :]
    tokens = sum(map(len, chosen))
    few = chosen[:: max(1, len(chosen) // 200)]
    alone_s, _ = seconds(lambda: [token_losses(model, [one], ScoreConfig()) for one in few])
    alone = sum(map(len, few)) / alone_s
    print(f"score, one by one            {alone:9,.0f} tokens/s  1.00 (baseline, {len(few)} transactions)")
    every = [replace(one, scored=np.ones(len(one), dtype=np.bool_)) for one in chosen]
    for name, some, config in (
        ("all tokens, 4 folds, fp32", every, ScoreConfig(folds=4)),
        ("packed, fp32", chosen, ScoreConfig()),
        ("packed, bf16", chosen, ScoreConfig(bf16=True)),
    ):
        took_s, _ = seconds(lambda some=some, config=config: token_losses(model, some, config))
        print(
            f"score, {name:<25} {tokens / took_s:6,.0f} tokens/s, {len(chosen) / took_s:,.0f} tx/s  ", end=""
        )
        print(f"{tokens / took_s / alone:.2f} times as fast")


if __name__ == "__main__":
    main()
