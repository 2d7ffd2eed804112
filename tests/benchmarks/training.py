"""A training step of ours beside the released one: tokens of real text a second, the same weights and data.

    python tests/benchmarks/training.py                                       # base size: many minutes
    python tests/benchmarks/training.py --preset small --repeat 5
    python tests/benchmarks/training.py --archive demo-out/archive --model demo-out/model   # its lengths

Released: batches of 8 transactions, each padded (or cut) to 1,024 tokens, float32, a dense bias of the
padding handed to attention, the vocabulary head over every position. Beside it, what single changes give:
bfloat16, and padding to the longest of the batch. Ours: the same transactions packed, the loss at hidden
positions only, in float32 and bfloat16, with all layers global (the same arithmetic) and with local layers.

A step is forward, backward, clipping and AdamW, at a learning rate of zero, so that every way has the same
loss. Only tokens of transactions count. Times are CPU seconds of this process, repetitions interleave, ratios
are taken within one of them; prints figures, asserts nothing.
"""

import argparse
import os
import runpy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blockscan.config import ModelConfig, load_config
from blockscan.model.attention import Layout
from blockscan.model.batch import PackedBatch, cut_windows, pack, window_table
from blockscan.model.encoder import MaskedLM, autocast, parameter_groups
from blockscan.model.losses import masked_cross_entropy
from blockscan.tokens import TokenSequence, VocabularyShape

HERE = Path(__file__).resolve()
RELEASED = runpy.run_path(str(HERE.with_name("released.py")))
PADDED, RATE = 1024, 0.15
IGNORED = -100


def packed_batch(
    sequences: Sequence[TokenSequence], hidden: Sequence[np.ndarray], model: MaskedLM
) -> tuple[PackedBatch, Tensor, Tensor]:
    """The sequences packed, shortest first, with the places and ids of the hidden tokens."""
    table = window_table(sequences, model.config.longest, model.vocabulary)
    order = np.argsort(table.length_W, kind="stable")
    cut = cut_windows(table, order)
    hidden_T = np.concatenate(hidden)[cut.place_T]
    place_M = torch.from_numpy(np.flatnonzero(hidden_T))
    target_M = torch.from_numpy(table.ids_T[cut.place_T][hidden_T].astype(np.int64))
    return pack(table, cut, hidden_T), place_M, target_M


def padded_loss(
    model: MaskedLM, batch: PackedBatch, targets_T: Tensor, lengths: Sequence[int], *, width: int, bf16: bool
) -> Tensor:
    """The released step: rows of `width` tokens, attention under a dense bias, logits of every position."""
    rows = len(lengths)
    real_NL = torch.arange(width) < torch.tensor(lengths)[:, None]
    flat = torch.zeros(rows * width, dtype=torch.int64).masked_scatter(
        real_NL.flatten(), torch.arange(sum(lengths))
    )
    fields = (batch.ids_T, batch.field_T, batch.depth_T, batch.group_T)
    ids, field, depth, group = (x_T[flat] for x_T in fields)
    place = torch.arange(width).repeat(rows)
    bias = torch.zeros(rows, 1, width, width).masked_fill(~real_NL[:, None, None, :], -1e9)

    def dense(q: Tensor, k: Tensor, v: Tensor, layout: Layout, window: int | None) -> Tensor:
        q, k, v = (x.unflatten(0, (rows, width)).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias.to(q.dtype).expand(-1, q.shape[1], -1, -1)
        )
        return out.transpose(1, 2).flatten(0, 1)

    kernels = [block.kernel for block in model.blocks]
    for block in model.blocks:
        block.kernel = dense
    with autocast(model.device, bf16=bf16):
        logits = model.logits(model(PackedBatch(ids, field, depth, group, place, batch.layout)))
    for block, kernel in zip(model.blocks, kernels, strict=True):
        block.kernel = kernel
    targets = torch.where(real_NL.flatten(), targets_T[flat], IGNORED)
    return F.cross_entropy(logits.float(), targets, ignore_index=IGNORED)


def packed_loss(model: MaskedLM, example: tuple[PackedBatch, Tensor, Tensor], *, bf16: bool) -> Tensor:
    """Our step, as pretraining takes it."""
    batch, place_M, target_M = example
    with autocast(model.device, bf16=bf16):
        return masked_cross_entropy(model, model(batch)[place_M], target_M) / len(target_M)


def step(model: MaskedLM, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> float:
    """Forward, backward, clip, update; the loss."""
    optimizer.zero_grad(set_to_none=True)
    found = loss()
    found.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(found.detach())


def ways(
    model: MaskedLM, sequences: Sequence[TokenSequence], hidden: Sequence[np.ndarray]
) -> dict[str, Callable]:
    """Every way to compute the loss of these transactions, the released one first."""
    example = packed_batch(sequences, hidden, model)
    batch, place_M, target_M = example
    targets_T = torch.full_like(batch.ids_T, IGNORED).scatter(0, place_M, target_M)
    lengths = sorted(len(each) for each in sequences)

    def padded(width: int, *, bf16: bool) -> Callable[[], Tensor]:
        return lambda: padded_loss(model, batch, targets_T, lengths, width=width, bf16=bf16)

    def ours(*, local: bool, bf16: bool) -> Callable[[], Tensor]:
        def loss() -> Tensor:
            for layer, block in enumerate(model.blocks):
                block.window = model.config.window if local and layer % 3 else None
            found = packed_loss(model, example, bf16=bf16)
            for block in model.blocks:
                block.window = None
            return found

        return loss

    return {
        f"released (pad to {PADDED:,}, fp32)": padded(PADDED, bf16=False),
        f"pad to {PADDED:,}, bf16": padded(PADDED, bf16=True),
        "pad to the longest, fp32": padded(lengths[-1], bf16=False),
        "packed fp32": ours(local=False, bf16=False),
        "packed bf16": ours(local=False, bf16=True),
        "packed bf16, local layers": ours(local=True, bf16=True),
    }


def recorded(archive: Path, model: Path, rows: int, rng: np.random.Generator) -> tuple[list[int], int]:
    """Lengths of a random batch of an archive's transactions, cut to PADDED; the vocabulary's size."""
    from pipelines.commands import shards_of  # only this option needs the pipelines
    from pipelines.encode import encode_all
    from tokenizer.txtokenizer import TxTokenizer

    tokenizer = TxTokenizer.load(model / "tokenizer")
    found = [each.sequence for each in encode_all(shards_of(archive, None)[0], tokenizer)]
    lengths = [min(len(found[i]), PADDED) for i in rng.permutation(len(found))[:rows]]
    return lengths, tokenizer.shape.size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="base")
    parser.add_argument("--vocabulary", type=int, default=30_000)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--rows", type=int, default=8, help="transactions in a batch")
    parser.add_argument("--archive", type=Path, help="take lengths and vocabulary size from it, with --model")
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(np.log(400), 0.9, given.rows)).astype(int).clip(8, PADDED).tolist()
    size = given.vocabulary
    if given.archive:
        lengths, size = recorded(given.archive, given.model, given.rows, rng)
    sequences = [RELEASED["draw"](length, size, rng) for length in lengths]
    config: ModelConfig = load_config(RELEASED["PRESETS"] / f"{given.preset}.toml").model
    config = replace(config, longest=PADDED, global_every=1, attention="sdpa")
    model = MaskedLM(config, VocabularyShape(size, ()))
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=0.0, fused=True)
    hidden = [rng.permutation(length) < max(1, round(RATE * length)) for length in lengths]
    real = sum(lengths)
    print(RELEASED["heading"]())
    print(
        f"{sum(w.numel() for w in model.parameters()) / 1e6:.1f} M parameters, vocabulary {size:,}; ", end=""
    )
    padded = given.rows * PADDED
    print(f"{given.rows} transactions, {real:,} real tokens of {padded:,} padded ({real / padded:.0%})")
    measure(model, optimizer, ways(model, sequences, hidden), given.repeat, real)


def measure(
    model: MaskedLM, optimizer: torch.optim.Optimizer, losses: dict[str, Callable], repeat: int, real: int
) -> None:
    """Take every kind of step in turn, `repeat` times, and print the rates."""
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    found: dict[str, float] = {}
    for _ in range(repeat):
        for name, loss in losses.items():
            begin = time.process_time()
            found[name] = step(model, optimizer, loss)
            seconds[name].append(time.process_time() - begin)
    first, *_ = losses
    for name in losses:
        ratio = statistics.median(a / b for a, b in zip(seconds[first], seconds[name], strict=True))
        rate = real / statistics.median(seconds[name])
        print(f"  {name:<30}{rate:8,.0f} tokens/s {ratio:6.2f} times as fast, loss {found[name]:.5f}")


if __name__ == "__main__":
    main()
