"""Two sparse kinds of attention, tried against the model's own on an archive with labels.

    python tests/benchmarks/attention_sparse.py entity   --archive demo-out/archive --model demo-out/model
    python tests/benchmarks/attention_sparse.py skipping --archive demo-out/archive --model demo-out/model

entity: tokens attend among the visible occurrences of their own value (its value group), by sorting and
segments, in place of or beside the global layers. The idea of dynamic sparse FlashAttention by hashing.
skipping: at inference a global layer leaves out key blocks whose estimated share of the attention lies
under a threshold, which is set on benign transactions so that no surprise moves by more than is allowed.

Both are experiments: the package does not have them. Prints figures, asserts nothing.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blockscan.config import ModelConfig, ScoreConfig, TrainConfig
from blockscan.detect.calibrate import Observed, fit_calibration, judge
from blockscan.detect.facts import FACTS
from blockscan.model.attention import Kernel, Layout, layout_of, sdpa
from blockscan.model.batch import PackedBatch, window_table
from blockscan.model.encoder import MaskedLM, autocast, parameter_groups
from blockscan.model.losses import masked_cross_entropy, token_losses
from blockscan.model.masking import fixed_examples, training_examples
from blockscan.tokens import MASK_ID, TokenSequence
from pipelines.commands import shards_of
from pipelines.encode import Encoded, encode_all
from pipelines.labels import Label, hash_key, read_labels
from pipelines.metrics import rank_metrics
from pipelines.model_dir import ModelDir, load_model
from tokenizer.txtokenizer import TxTokenizer

RECORDING = Path(__file__).resolve().parents[2] / "pipelines" / "simulation" / "recording"
SCORING = ScoreConfig(folds=2)
BLOCK = 64
THRESHOLDS = (0.01, 0.1, 0.3, 1.0)
PLANS = {
    "global, local, local, global (the preset)": "GLLG",
    "local everywhere": "LLLL",
    "entity in place of global": "ELLE",
    "entity beside global": "GELG",
}


class EntityAttention:
    """A kernel for one batch at a time: `look` reads its value groups, a call attends within them."""

    def __init__(self) -> None:
        self.order_T = self.back_T = torch.empty(0, dtype=torch.int64)
        self.layout: Layout = layout_of([1])

    def look(self, batch: PackedBatch) -> None:
        """Sort the tokens so that every value group of a segment is a segment of its own.

        Hidden tokens and tokens without group stay alone: they see themselves only.
        """
        count = len(batch.ids_T)
        segment_T = torch.bucketize(torch.arange(count), batch.layout.cu_seqlens[1:-1], right=True)
        alone_T = (batch.ids_T == MASK_ID) | (batch.group_T < 0)
        span = int(batch.group_T.max()) + 1 if count else 1
        key_T = torch.where(alone_T, -1 - torch.arange(count), segment_T * max(span, 1) + batch.group_T)
        _, which_T, size_N = key_T.unique(return_inverse=True, return_counts=True)
        rank_N = torch.argsort(size_N, stable=True)
        place_N = torch.empty_like(rank_N)
        place_N[rank_N] = torch.arange(len(rank_N))
        self.order_T = torch.argsort(place_N[which_T], stable=True)
        self.back_T = torch.argsort(self.order_T)
        self.layout = layout_of(size_N[rank_N].tolist())

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, window: int | None) -> Tensor:
        """Attend within the value groups of the batch last looked at."""
        order = self.order_T
        return sdpa(q[order], k[order], v[order], self.layout, None)[self.back_T]


def arrange(model: MaskedLM, plan: str) -> None:
    """Make the layers of `model` global, local or entity-sparse, one letter each."""
    entity = EntityAttention()
    model.register_forward_pre_hook(lambda _, given: entity.look(given[0]))
    for block, letter in zip(model.blocks, plan, strict=True):
        block.window = model.config.window if letter == "L" else None
        block.kernel = entity if letter == "E" else sdpa


def learn(
    past: Sequence[Encoded], tokenizer: TxTokenizer, config: ModelConfig, train: TrainConfig, plan: str
) -> tuple[MaskedLM, float, float]:
    """A model trained on all but the last twentieth, its loss there, and the seconds it took."""
    sequences = [each.sequence for each in past]
    held = len(sequences) // 20
    shape = tokenizer.shape
    model = MaskedLM(config, shape, generator=torch.Generator().manual_seed(train.seed))
    arrange(model, plan)
    optimizer = torch.optim.AdamW(parameter_groups(model, train.weight_decay), betas=(0.9, 0.98), fused=True)
    table = window_table(sequences[:-held], config.longest, shape)
    began = time.perf_counter()
    for step, example in enumerate(training_examples(table, shape, train)):
        if step == train.steps:
            break
        rise = (step + 1) / (train.warmup * train.steps)
        fall = (train.steps - step) / (train.decay * train.steps)
        for group in optimizer.param_groups:
            group["lr"] = train.learning_rate * min(1.0, rise, fall)
        optimizer.zero_grad(set_to_none=True)
        with autocast(model.device, bf16=train.bf16):
            x_ME = model(example.batch)[example.place_M]
            loss = masked_cross_entropy(model, x_ME, example.target_M) / len(example.target_M)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip)
        optimizer.step()
    seconds = time.perf_counter() - began
    held_out = list(fixed_examples(sequences[-held:], config.longest, shape, train))
    with torch.inference_mode():
        total = sum(
            float(masked_cross_entropy(model, model(each.batch)[each.place_M], each.target_M))
            for each in held_out
        )
    return model.eval(), total / sum(len(each.target_M) for each in held_out), seconds


def losses_of(model: MaskedLM, part: Sequence[Encoded]) -> list[Observed]:
    """Every scored token's surprise, two folds."""
    losses = token_losses(model, [each.sequence for each in part], SCORING)
    facts = np.zeros(len(FACTS))  # the model alone is compared
    return [
        Observed(e.sequence, loss, facts, e.source, e.status) for e, loss in zip(part, losses, strict=True)
    ]


def detection(
    model: MaskedLM, calibration: Sequence[Encoded], test: Sequence[Encoded], labels: Mapping[str, Label]
) -> str:
    """AUROC and recall on the exploits of the test part, with intervals."""
    fitted = fit_calibration(losses_of(model, calibration), fpr=0.01, parents={}, scoring={})
    rows = []
    for each in losses_of(model, test):
        truth = labels[hash_key(each.sequence.tx_hash)]
        if truth.label == "benign" or (truth.label == "attack" and truth.stage in ("", "exploit")):
            incident = truth.incident or each.sequence.tx_hash
            rows.append((judge(fitted, each).value, truth.label == "attack", incident))
    values, attack, clusters = zip(*rows, strict=True)
    rng = np.random.default_rng(0)
    found = rank_metrics(np.array(values), np.array(attack), rng=rng, resamples=300, clusters=clusters)
    shown = ((name, found[name]) for name in ("auroc", "recall@fpr=0.01"))
    return ", ".join(f"{name} {one.value:.3f} ({one.low:.3f}-{one.high:.3f})" for name, one in shown)


def entity(given: argparse.Namespace) -> None:
    """Train every plan on the benign past; loss on its end, detection on the test part."""
    meta = json.loads((RECORDING / "meta.json").read_text())
    tokenizer = TxTokenizer.load(ModelDir(given.model).tokenizer)
    past, later, test = parts(given.archive, tokenizer, meta)
    labels = read_labels(RECORDING / "labels.csv")
    grouped = np.concatenate([each.sequence.group >= 0 for each in past]).mean()
    print(f"{len(past)}, {len(later)}, {len(test)} transactions; {grouped:.0%} of the tokens have a group")
    for seed in given.seeds:
        train = TrainConfig(steps=given.steps, batch_tokens=2048, learning_rate=3e-3, seed=seed)
        for name, plan in PLANS.items():
            model, loss, seconds = learn(past, tokenizer, ModelConfig(longest=1024), train, plan)
            text = detection(model, later, test, labels)
            print(f"seed {seed}, {name}: validation {loss:.4f}, {seconds:.0f} s; {text}", flush=True)


class SkippingAttention:
    """A kernel for inference that leaves out key blocks whose estimated share is below `threshold`.

    The share is estimated from the means of the blocks of queries and keys, per head. `kept` and `blocks`
    count what was computed and what there was.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold, self.kept, self.blocks = threshold, 0, 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, window: int | None) -> Tensor:
        """sdpa in local layers and short segments."""
        if window is not None:
            return sdpa(q, k, v, layout, window)
        ends = layout.cu_seqlens.tolist()
        outs = []
        for begin, end in pairwise(ends):
            own = slice(begin, end)
            if end - begin < 4 * BLOCK:
                outs.append(sdpa(q[own], k[own], v[own], layout_of([end - begin]), None))
            else:
                outs.append(self.segment(q[own], k[own], v[own]))
        return torch.cat(outs)

    def segment(self, q_LHD: Tensor, k_LHD: Tensor, v_LHD: Tensor) -> Tensor:
        """One segment of many blocks."""
        length, _, width = q_LHD.shape
        blocks = -(-length // BLOCK)
        spare = blocks * BLOCK - length
        q, k, v = (F.pad(x.transpose(0, 1), (0, 0, 0, spare)) for x in (q_LHD, k_LHD, v_LHD))
        q, k, v = (x.unflatten(1, (blocks, BLOCK)) for x in (q, k, v))
        estimate = torch.einsum("hqd,hkd->hqk", q.mean(2), k.mean(2)) * width**-0.5
        keep = estimate.softmax(-1) >= self.threshold / blocks
        keep |= torch.eye(blocks, dtype=torch.bool)
        self.kept += int(keep.sum())
        self.blocks += keep.numel()
        padding = torch.arange(blocks * BLOCK).view(blocks, BLOCK) < length
        count = keep.sum(-1)
        out = torch.empty_like(q)
        for number in count.unique().tolist():
            head, row = torch.nonzero(count == number, as_tuple=True)
            column = keep[head, row].nonzero()[:, 1].view(-1, number)
            keys, values = (x[head[:, None], column].flatten(1, 2) for x in (k, v))
            seen = padding[column].flatten(1)[:, None, :] if bool((column == blocks - 1).any()) else None
            out[head, row] = F.scaled_dot_product_attention(q[head, row], keys, values, attn_mask=seen)
        return out.flatten(1, 2)[:, :length].transpose(0, 1)


def skipping(given: argparse.Namespace) -> None:
    """Calibrate the threshold on benign transactions, then what it saves and moves on the test part."""
    meta = json.loads((RECORDING / "meta.json").read_text())
    tokenizer, model, _ = load_model(ModelDir(given.model), "cpu")
    later, test = (
        [e.sequence for e in part if len(e.sequence) >= 4 * BLOCK][: given.most]
        for part in parts(given.archive, tokenizer, meta)[1:]
    )
    print(f"{len(later)} transactions of {4 * BLOCK} tokens or more to calibrate on, {len(test)} to test on")
    sets = [(name, chosen, *run(model, chosen, sdpa)) for name, chosen in (("benign", later), ("test", test))]
    for threshold in THRESHOLDS:
        shares = []
        for name, chosen, plain, seconds in sets:
            kernel = SkippingAttention(threshold)
            skipped, took = run(model, chosen, kernel)
            moved = np.abs(plain - skipped)
            shares.append(
                f"{name}: {1 - kernel.kept / kernel.blocks:.0%} of the blocks left out, surprise moves by "
                f"{moved.mean():.4f} nats in the mean, p99 {np.quantile(moved, 0.99):.3f}, "
                f"most {moved.max():.2f}, time {took / seconds:.2f}"
            )
        print(f"threshold {threshold:g} / blocks; " + "; ".join(shares), flush=True)
    for length in (1024, 4096, 16384):
        kernel_time(length)


def run(
    model: MaskedLM, chosen: Sequence[TokenSequence], kernel: Kernel
) -> tuple[NDArray[np.float32], float]:
    """All surprises with this kernel, and the CPU seconds they took."""
    for block in model.blocks:
        block.kernel = kernel
    begin = time.process_time()
    losses = token_losses(model, chosen, SCORING)
    seconds = time.process_time() - begin
    return np.concatenate([one.surprise[~np.isnan(one.surprise)] for one in losses]), seconds


def kernel_time(length: int) -> None:
    """The kernel alone, 4 heads x 32, a random half of the blocks left out, beside sdpa."""
    q, k, v = torch.randn(3, length, 4, 32)
    layout = layout_of([length])
    with torch.inference_mode():
        times = {}
        for name, kernel in (("sdpa", sdpa), ("skip", SkippingAttention(1.0))):
            begin = time.process_time()
            kernel(q, k, v, layout, None)
            times[name] = time.process_time() - begin
            kept = 1.0 if name == "sdpa" else kernel.kept / kernel.blocks
    ratio = times["skip"] / times["sdpa"]
    print(f"one segment of {length:,} random tokens: {1 - kept:.0%} left out, time {ratio:.2f}")


def parts(archive: Path, tokenizer: TxTokenizer, meta: dict[str, int]) -> list[list[Encoded]]:
    """Transactions to train, to calibrate and to test on."""
    first, second = meta["train_until_block"] + 1, meta["calibrate_until_block"] + 1
    ranges = (f"1:{first}", f"{first}:{second}", f"{second}:")
    return [encode_all(shards_of(archive, blocks)[0], tokenizer) for blocks in ranges]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["entity", "skipping"])
    parser.add_argument("--archive", type=Path, required=True, help="of `blockscan demo`")
    parser.add_argument("--model", type=Path, required=True, help="of `blockscan demo`")
    parser.add_argument("--steps", type=int, default=640)
    parser.add_argument("--most", type=int, default=1000, help="long transactions to try skipping on")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    given = parser.parse_args()
    {"entity": entity, "skipping": skipping}[given.what](given)


if __name__ == "__main__":
    main()
