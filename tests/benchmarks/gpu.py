"""What a GPU does with the model: attention, memory, training MFU, scoring from token shards.

    python tests/benchmarks/gpu.py                 # one CUDA device, some minutes
    python tests/benchmarks/gpu.py --smoke         # toy sizes on a CPU: that it runs, not how fast

attention: varlen (FlashAttention) beside SDPA under a dense bias, one segment of 1k to 16k tokens, forward
and backward, base-size heads. memory: peak of a training step at 2k to 16k tokens in one segment, divided by
the tokens. training: share of the peak matrix rate (MFU) of a base-size step at 1,024 and 8,192 tokens; only
tokens of transactions count, 6 FLOP per weight and token plus attention. scoring: transactions a second of
`small` and `base` from a token shard, 500 tokens on average, in as many passes as `--folds` says; 1 is what a
head that scores every token in one pass costs.

Prints figures with commit and hardware, asserts nothing.
"""

import argparse
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blockscan.config import ModelConfig, ScoreConfig, TrainConfig, load_config
from blockscan.model.attention import KERNELS, layout_of
from blockscan.model.batch import window_table
from blockscan.model.encoder import MaskedLM, autocast, parameter_groups
from blockscan.model.losses import masked_cross_entropy, token_losses
from blockscan.model.masking import training_examples
from blockscan.tokens import TokenSequence, VocabularyShape

RELEASED = runpy.run_path(str(Path(__file__).resolve().with_name("released.py")))
ARRAYS = ("ids", "modality", "field", "node", "depth", "unit", "group", "scored")
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bfloat16 FLOP a second by the makers' sheets."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where to run and how large."""

    device: torch.device
    smoke: bool
    vocabulary: int
    repeat: int

    def preset(self, name: str) -> ModelConfig:
        """The preset, or a toy of as many layers as are needed for both kinds."""
        config = load_config(RELEASED["PRESETS"] / f"{name}.toml").model
        return replace(config, layers=2, width=64, heads=2, feed_forward=96) if self.smoke else config

    def seconds(self, work: Callable[[], object]) -> float:
        """Median time of a call, after one that is not counted."""
        times = []
        for _ in range(self.repeat + 1):
            self.wait()
            begin = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - begin)
        return statistics.median(times[1:])

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak_memory(self, work: Callable[[], object]) -> float:
        """MiB that `work` takes at most on the device; NaN on a CPU."""
        if self.device.type != "cuda":
            work()
            return float("nan")
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) / 2**20


def dense(q: Tensor, k: Tensor, v: Tensor, layout: object, window: int | None) -> Tensor:
    """SDPA under a dense bias for every head, as the released code hands it over."""
    bias = torch.zeros(1, q.shape[1], len(q), len(q), dtype=q.dtype, device=q.device)
    q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)[0].transpose(0, 1)


def attention(bench: Bench) -> None:
    """Forward and backward of one segment, each kernel beside the dense bias."""
    fast = "varlen" if bench.device.type == "cuda" else "sdpa"
    print(f"attention, 12 heads x 64, bf16, one segment: {fast} and flex beside SDPA under a dense bias")
    names = [fast, "flex"] if bench.device.type == "cuda" else [fast]
    for length in (64, 128) if bench.smoke else (1024, 4096, 8192, 16384):
        inputs = torch.randn(3, length, 12, 64, device=bench.device, dtype=torch.bfloat16)
        layout = layout_of([length], bench.device)

        def work(kernel: Callable[..., Tensor], inputs: Tensor = inputs, layout: object = layout) -> None:
            q, k, v = inputs.detach().requires_grad_().unbind()
            kernel(q, k, v, layout, None).sum().backward()

        base = bench.seconds(lambda work=work: work(dense))
        memory = bench.peak_memory(lambda work=work: work(dense))
        print(f"  {length:6,} tokens: dense bias {base * 1e3:8.2f} ms, {memory:8,.0f} MiB")
        for name in names:
            found = bench.seconds(lambda work=work, name=name: work(KERNELS[name]))
            memory = bench.peak_memory(lambda work=work, name=name: work(KERNELS[name]))
            print(f"{name:>16} {found * 1e3:17.2f} ms, {memory:8,.0f} MiB {base / found:8.2f} times as fast")


def trainer(
    bench: Bench, config: ModelConfig, lengths: Sequence[int], tokens: int
) -> tuple[MaskedLM, Callable[[], int]]:
    """A model and its training step on drawn transactions; the step returns the tokens it took."""
    rng = np.random.default_rng(0)
    shape = VocabularyShape(bench.vocabulary, ())
    model = MaskedLM(config, shape, device=bench.device)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=1e-4, fused=True)
    table = window_table([RELEASED["draw"](n, shape.size, rng) for n in lengths], config.longest, shape)
    examples = training_examples(table, shape, TrainConfig(batch_tokens=tokens), device=bench.device)

    def step() -> int:
        example = next(examples)
        optimizer.zero_grad(set_to_none=True)
        with autocast(bench.device, bf16=True):
            x_ME = model(example.batch).index_select(0, example.place_M)
            loss = masked_cross_entropy(model, x_ME, example.target_M) / len(example.target_M)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return len(example.batch.ids_T)

    return model, step


def memory(bench: Bench) -> None:
    """Peak memory of a training step per token, by the length of the one segment in it."""
    print("memory of a base-size training step, one segment, less what the step of 256 tokens takes")
    lengths = (64, 128) if bench.smoke else (2048, 4096, 8192, 16384)
    config = replace(bench.preset("base"), longest=lengths[-1])
    floor = bench.peak_memory(trainer(bench, config, [32 if bench.smoke else 256] * 4, lengths[0])[1])
    for length in lengths:
        _, step = trainer(bench, config, [length] * 4, length)
        step()
        more = bench.peak_memory(step) - floor
        print(f"  {length:6,} tokens: {more:8,.0f} MiB, {more * 1024 / length:8.1f} KiB a token")


def flops_per_token(model: MaskedLM, lengths: Sequence[int]) -> float:
    """Of a training step: 6 per weight of the body and head, 12 per channel and visible key, by layer.

    A token attends to its segment in global layers and to at most the window in local ones; the head counts
    for the hidden share of the tokens only, the embedding not at all.
    """
    body = sum(w.numel() for name, w in model.named_parameters() if w.ndim == 2 and "blocks" in name)
    rate = TrainConfig().mask_rate
    head = rate * (model.token.weight.numel() + model.decoder_dense.weight.numel())
    mean = sum(n * n for n in lengths) / sum(lengths)
    keys = sum(mean if b.window is None else min(mean, b.window + 1) for b in model.blocks)
    return 6 * (body + head) + 12 * model.config.width * keys


def training(bench: Bench) -> None:
    """MFU of the base size; padding does not exist, so every token is a useful one."""
    print("training, base size, bf16, packed")
    peak = PEAK.get(next((name for name in PEAK if name in device_name(bench.device)), ""), float("nan"))
    for longest in (64, 128) if bench.smoke else (1024, 8192):
        rng = np.random.default_rng(1)
        count = 64 if bench.smoke else 2048
        drawn = np.exp(rng.normal(np.log(longest * 0.4), 0.9, count))
        lengths = drawn.astype(int).clip(8, longest).tolist()
        tokens = 512 if bench.smoke else 65_536
        model, step = trainer(bench, replace(bench.preset("base"), longest=longest), lengths, tokens)
        step()
        bench.wait()
        begin = time.perf_counter()
        done = sum(step() for _ in range(bench.repeat))
        bench.wait()
        rate = done / (time.perf_counter() - begin)
        mfu = rate * flops_per_token(model, lengths) / peak
        print(f"  up to {longest:5,} tokens: {rate:12,.0f} tokens/s, ", end="")
        print(f"MFU {mfu:.1%} of {peak / 1e12:,.0f} TFLOP/s")


def scoring(bench: Bench, folds: Sequence[int]) -> None:
    """Transactions a second end to end: read a token shard, pack, score every token, results on the host."""
    print("scoring from a token shard, 500 tokens a transaction on average, bf16")
    rng = np.random.default_rng(2)
    count = 20 if bench.smoke else 20_000
    quick = replace(bench, repeat=min(3, bench.repeat))
    lengths = np.exp(rng.normal(np.log(333), 0.9, count)).astype(int).clip(8, 60 if bench.smoke else 4096)
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "tokens.npz"
        write_shard(shard, [RELEASED["draw"](int(n), bench.vocabulary, rng) for n in lengths])
        for name in ("small", "base"):
            model = MaskedLM(bench.preset(name), VocabularyShape(bench.vocabulary, ()), device=bench.device)
            for each in folds:
                config = ScoreConfig(folds=each, batch_tokens=131_072, bf16=True)
                took = quick.seconds(lambda model=model, config=config: score_shard(shard, model, config))
                print(f"  {name}, {each} folds: {count / took:10,.0f} tx/s, mean length {lengths.mean():.0f}")


def write_shard(path: Path, sequences: Sequence[TokenSequence]) -> None:
    """Sequences end to end, uncompressed."""
    arrays = {name: np.concatenate([getattr(each, name) for each in sequences]) for name in ARRAYS}
    np.savez(path, ends=np.cumsum([len(each) for each in sequences]), **arrays)


def score_shard(path: Path, model: MaskedLM, config: ScoreConfig) -> object:
    """Read and score a shard."""
    with np.load(path) as stored:
        ends = stored["ends"][:-1]
        columns = [np.split(stored[name], ends) for name in ARRAYS]
    sequences = [TokenSequence(f"0x{i:064x}", *row) for i, row in enumerate(zip(*columns, strict=True))]
    return token_losses(model, sequences, config)


def device_name(device: torch.device) -> str:
    """Of the GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="toy sizes on a CPU")
    parser.add_argument("--parts", nargs="*", default=["attention", "memory", "training", "scoring"])
    parser.add_argument("--folds", nargs="*", type=int, default=[1, 2, 4])
    parser.add_argument("--repeat", type=int, default=10)
    given = parser.parse_args()
    if not given.smoke and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --smoke runs toy sizes on a CPU")
    bench = Bench(
        torch.device("cpu" if given.smoke else "cuda"),
        given.smoke,
        500 if given.smoke else 30_000,
        1 if given.smoke else given.repeat,
    )
    print(f"{RELEASED['heading']()}, {device_name(bench.device)}")
    parts = {"attention": attention, "memory": memory, "training": training}
    for name in given.parts:
        if name == "scoring":
            scoring(bench, given.folds)
        else:
            parts[name](bench)


if __name__ == "__main__":
    main()
