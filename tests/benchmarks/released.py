"""One scoring pass of ours beside the released method's loop, with the same weights, inputs and masks.

    python tests/benchmarks/released.py                       # up to 1,024 tokens, and one of 4,096
    python tests/benchmarks/released.py --cases 1024 --transactions 6 --repeat 5
    python tests/benchmarks/released.py --layers 2 --width 64 --heads 2 --feed-forward 128 --vocabulary 500

The loop is re-created from what the paper and its code do: one transaction at a time with autograd on, a
dense bias given to attention, the vocabulary head over every position, a Python loop over the hidden tokens
that asks whether the truth is among the three likeliest; one random mask of 15 %. Ours: the same tokens
hidden, packed, the head at hidden positions only. All layers are global here, so that both compute the same
thing; how far apart the surprises (nats) of the hidden tokens are is printed beside the ratio.

After that, what a transaction costs in the modes that the product has (every token scored, local layers),
with the size of `--product`. Lengths are lognormal with median 400. Times are CPU seconds of this process,
repetitions interleave and every ratio is taken within one of them, so that other work on the machine matters
little; prints figures, asserts nothing.
"""

import argparse
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blockscan.config import ModelConfig, ScoreConfig, load_config
from blockscan.model.batch import PackedBatch, cut_windows, pack, sorted_batches, window_table
from blockscan.model.encoder import MaskedLM, autocast
from blockscan.model.losses import token_losses
from blockscan.tokens import Field, TokenSequence, VocabularyShape

PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "presets"
RATE, TOP, ROWS = 0.15, 3, 64
CASES = ["1024", "4096", "modes"]
Mask = NDArray[np.bool_]
Result = TypeVar("Result")


def draw(length: int, vocabulary: int, rng: np.random.Generator) -> TokenSequence:
    """A transaction of random tokens, each a value of its own."""
    place = np.arange(length, dtype=np.int32)
    return TokenSequence(
        tx_hash=f"0x{rng.integers(2**62):064x}",
        ids=rng.integers(2, vocabulary, length).astype(np.int32),
        modality=np.zeros(length, dtype=np.uint8),
        field=rng.integers(0, len(Field), length).astype(np.uint8),
        node=place // 12,
        depth=(place // 12 % 6).astype(np.int16),
        unit=place,
        group=np.where(rng.random(length) < 0.4, rng.integers(0, 40, length), -1).astype(np.int32),
        scored=np.ones(length, dtype=np.bool_),
    )


class Answer(NamedTuple):
    """Share of hidden tokens missed per transaction; logits of the hidden tokens, and their places."""

    missed: list[float]
    logits: list[Tensor]
    places: list[NDArray[np.int64]]


def released(model: MaskedLM, sequences: Sequence[TokenSequence], masks: Sequence[Mask]) -> Answer:
    """Share of the hidden tokens of each transaction that are not among the likeliest, its way."""
    answer = Answer([], [], [])
    begin = 0
    for sequence, hidden in zip(sequences, masks, strict=True):
        table = window_table([sequence], model.config.longest, model.vocabulary)
        batch = pack(table, cut_windows(table, np.array([0])), hidden)
        logits = model.logits(_dense_forward(model, batch))
        missed = 0
        for place in np.flatnonzero(hidden).tolist():
            best = torch.topk(logits[place], TOP).indices.tolist()
            missed += int(sequence.ids[place]) not in best
        answer.missed.append(missed / int(hidden.sum()))
        answer.logits.append(logits.detach()[torch.from_numpy(hidden)])
        answer.places.append(begin + np.flatnonzero(hidden))
        begin += len(sequence)
    return answer


def _dense_forward(model: MaskedLM, batch: PackedBatch) -> Tensor:
    """The model's own forward pass, with a dense bias of zeros for every head handed to attention."""

    def dense(q: Tensor, k: Tensor, v: Tensor, layout: object, window: int | None) -> Tensor:
        heads, length = q.shape[1], len(q)
        bias = torch.zeros(1, heads, length, length)
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)[0].transpose(0, 1)

    kernels = [block.kernel for block in model.blocks]
    for block in model.blocks:
        block.kernel = dense
    out: Tensor = model(batch)
    for block, kernel in zip(model.blocks, kernels, strict=True):
        block.kernel = kernel
    return out


@torch.inference_mode()
def packed(
    model: MaskedLM, sequences: Sequence[TokenSequence], masks: Sequence[Mask], *, bf16: bool
) -> Answer:
    """The same share, our way."""
    table = window_table(sequences, model.config.longest, model.vocabulary)
    hidden_T, missed_T = np.concatenate(masks), np.zeros(len(table.ids_T), dtype=np.bool_)
    answer = Answer([], [], [])
    order = np.argsort(table.length_W, kind="stable")
    for rows in sorted_batches(table.length_W[order], ScoreConfig().batch_tokens):
        cut = cut_windows(table, order[rows])
        ask = np.flatnonzero(hidden_T[cut.place_T])
        with autocast(model.device, bf16=bf16):
            x_TE = model(pack(table, cut, hidden_T[cut.place_T]))
            for part in np.array_split(ask, -(-len(ask) // ROWS)):
                place = cut.place_T[part]
                logits = model.logits(x_TE[torch.from_numpy(part)]).float()
                truth = torch.from_numpy(table.ids_T[place].astype(np.int64))[:, None]
                missed_T[place] = ~(logits.topk(TOP).indices == truth).any(1).numpy()
                answer.logits.append(logits)
                answer.places.append(place)
    ends = np.cumsum([len(each) for each in sequences])[:-1]
    pairs = zip(np.split(missed_T, ends), masks, strict=True)
    answer.missed.extend(float(missed.sum() / hidden.sum()) for missed, hidden in pairs)
    return answer


def surprises(answer: Answer, ids_T: NDArray[np.int32]) -> NDArray[np.float64]:
    """-log p of the truth at every hidden token, in the order of the tokens."""
    place = np.concatenate(answer.places)
    logits = torch.cat(answer.logits).double()
    truth = torch.from_numpy(ids_T[place].astype(np.int64))[:, None]
    found = (logits.logsumexp(1, keepdim=True) - logits.gather(1, truth))[:, 0].numpy()
    return found[np.argsort(place)]


def timed(
    paths: Mapping[str, Callable[[], Result]], repeat: int, count: int, tokens: int
) -> dict[str, Result]:
    """Run every path in turn, `repeat` times; print rates and ratios against the first; the last results."""
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    results: dict[str, Result] = {}
    for _ in range(repeat):
        for name, path in paths.items():
            begin = time.process_time()
            results[name] = path()
            seconds[name].append(time.process_time() - begin)
    first, *_ = paths
    for name in paths:
        ratio = statistics.median(a / b for a, b in zip(seconds[first], seconds[name], strict=True))
        typical = statistics.median(seconds[name])
        print(f"  {name:<22}{count / typical:8.2f} tx/s {tokens / typical:9,.0f} tokens/s ", end="")
        print(f"{ratio:7.2f} times as fast", flush=True)
    return results


def compare(model: MaskedLM, lengths: Sequence[int], repeat: int, rng: np.random.Generator) -> None:
    """The released loop and ours on drawn transactions of these lengths."""
    sequences = [draw(length, model.vocabulary.size, rng) for length in lengths]
    masks = [rng.permutation(length) < max(1, round(RATE * length)) for length in lengths]
    few = [draw(8, model.vocabulary.size, rng)]
    for bf16 in (False, True):  # first calls prepare kernels
        packed(model, few, [np.arange(8) < 2], bf16=bf16)
    print(f"{len(lengths)} transactions of {min(lengths)} to {max(lengths)} tokens, {sum(lengths):,} in all")
    results = timed(
        {
            "released loop": lambda: released(model, sequences, masks),
            "packed fp32": lambda: packed(model, sequences, masks, bf16=False),
            "packed bf16": lambda: packed(model, sequences, masks, bf16=True),
        },
        repeat,
        len(lengths),
        sum(lengths),
    )
    ids_T = np.concatenate([each.ids for each in sequences])
    theirs = surprises(results["released loop"], ids_T)
    spread = f"standard deviation {theirs.std():.2f}"
    for name in ("packed fp32", "packed bf16"):
        apart = np.abs(surprises(results[name], ids_T) - theirs).max()
        print(f"  {name}: surprises ({spread}) within {apart:.1e} nats of the released loop's")


def modes(
    reference: MaskedLM, product: ModelConfig, lengths: Sequence[int], repeat: int, rng: np.random.Generator
) -> None:
    """What the product pays for every token of a transaction, beside one masked pass of the released loop."""
    sequences = [draw(length, reference.vocabulary.size, rng) for length in lengths]
    masks = [rng.permutation(length) < max(1, round(RATE * length)) for length in lengths]
    model = MaskedLM(product, reference.vocabulary).eval()

    def scored(config: ScoreConfig) -> Callable[[], object]:
        return lambda: token_losses(model, sequences, config)

    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    print(f"per transaction: {size:.1f} M parameters with local layers, every token scored, bf16")
    paths: dict[str, Callable[[], object]] = {
        "released loop, one mask": lambda: released(reference, sequences, masks)
    }
    for folds in (4, 2):
        paths[f"{folds} folds"] = scored(ScoreConfig(folds=folds, bf16=True))
    timed(paths, repeat, len(lengths), sum(lengths))


def heading() -> str:
    """Commit, machine, threads, load."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    machine = platform.processor() or platform.machine()
    return (
        f"commit {commit.stdout.strip()}, {machine}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, load {load}"
    )


def main() -> None:
    """Measure and print."""
    base = load_config(PRESETS / "base.toml").model
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=base.layers)
    parser.add_argument("--width", type=int, default=base.width)
    parser.add_argument("--heads", type=int, default=base.heads)
    parser.add_argument("--feed-forward", type=int, default=base.feed_forward)
    parser.add_argument("--vocabulary", type=int, default=30_000)
    parser.add_argument("--transactions", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--product", default="base", help="preset of the product's modes: small, tiny ...")
    given = parser.parse_args()
    print(heading())
    shape = VocabularyShape(given.vocabulary, ())
    config = replace(
        base, layers=given.layers, width=given.width, heads=given.heads, feed_forward=given.feed_forward,
        longest=4096, global_every=1, attention="sdpa",
    )  # fmt: skip
    model = MaskedLM(config, shape).eval()
    with torch.no_grad():
        model.token.weight *= 10.0  # as wide apart as trained ones, so that surprises differ
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    print(f"{size:.1f} M parameters, {config.layers} layers x {config.width}, vocabulary {shape.size:,}")
    rng = np.random.default_rng(0)
    drawn = np.exp(rng.normal(np.log(400), 0.9, given.transactions)).astype(int)
    lengths = drawn.clip(8, 1024).tolist()
    if "1024" in given.cases:
        compare(model, lengths, given.repeat, rng)
    if "4096" in given.cases:
        compare(model, [4096], given.repeat, rng)
    if "modes" in given.cases:
        product = replace(load_config(PRESETS / f"{given.product}.toml").model, attention="sdpa")
        modes(model, product, lengths, given.repeat, rng)


if __name__ == "__main__":
    main()
