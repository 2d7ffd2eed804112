"""BlockGPT (arXiv 2304.12749): how unlikely a trace is under a causal language model of benign traces.

Its scores are the summed and the mean -log likelihood. A trace longer than the context is cut off.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blockscan.errors import ConfigError
from blockscan.model.attention import Layout, layout_of
from blockscan.model.batch import epoch_batches, sorted_batches
from blockscan.model.encoder import autocast
from blockscan.transaction import Transaction
from pipelines.baselines.causal_lm import CausalLM
from pipelines.baselines.setting import Score, Setting
from pipelines.baselines.trace_words import START, Placed, TraceReader, TraceVocabulary
from pipelines.pretrain import BETAS, learning_rate

COLUMNS = ("blockgpt_sum", "blockgpt_mean")


@dataclass(frozen=True, slots=True)
class Trace:
    """One transaction as ids, int64 (M,), each with depth and sibling (M,)."""

    ids: NDArray[np.int64]
    depth: NDArray[np.int64]
    sibling: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CausalBatch:
    """Traces end to end, each shifted by one: position t holds word t - 1 and asks for word t; all (T,)."""

    ids_T: Tensor
    depth_T: Tensor
    sibling_T: Tensor
    position_T: Tensor
    target_T: Tensor
    layout: Layout


def fit_blockgpt(train: Sequence[Transaction], setting: Setting) -> Score:
    """Train next-word prediction with the preset's size, steps and rates; as many words as our vocabulary.

    Raises:
        ConfigError: training broke: its loss is not finite.
    """
    reader = TraceReader(setting.config.model.longest)
    placed = [reader.read(transaction.root) for transaction in train]
    vocabulary = TraceVocabulary(
        (word for each in placed for word in each.words), setting.tokenizer.shape.size
    )
    generator = torch.Generator().manual_seed(int(setting.rng.integers(2**31)))
    model = CausalLM(setting.config.model, len(vocabulary), generator).to(setting.device)
    learn(model, [_trace(each, vocabulary) for each in placed], setting)

    def score(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
        traces = [_trace(reader.read(transaction.root), vocabulary) for transaction in transactions]
        return likelihoods(model, traces, setting.config.score.batch_tokens)

    return score


def learn(model: CausalLM, traces: Sequence[Trace], setting: Setting) -> None:
    """Train in place with AdamW under the preset's schedule; every epoch shows each trace once.

    Raises:
        ConfigError: the loss is not finite.
    """
    config = setting.config.train
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}]
    optimizer = torch.optim.AdamW([*groups, {"params": vectors, "weight_decay": 0.0}], betas=BETAS)
    batches = _batches(np.array([len(trace.ids) for trace in traces]), setting)
    for step in range(config.steps):
        optimizer.zero_grad(set_to_none=True)
        chosen = list(islice(batches, config.accumulate))
        words = sum(len(traces[i].ids) for rows in chosen for i in rows.tolist())
        for rows in chosen:
            batch = causal_batch([traces[i] for i in rows.tolist()], setting.device)
            with autocast(torch.device(setting.device), bf16=config.bf16):
                loss = model.next_word_losses(encode(model, batch), batch.target_T).sum() / words
            if not math.isfinite(loss.item()):
                raise ConfigError(f"BlockGPT broke at step {step + 1}; lower train.learning_rate")
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        optimizer.step()
        if setting.on_step:
            setting.on_step(step + 1, config.steps)


def _batches(lengths: NDArray[np.int64], setting: Setting) -> Iterator[NDArray[np.int64]]:
    """Places of the traces of each batch, epoch after epoch, without end."""
    while True:
        yield from epoch_batches(lengths, setting.config.train.batch_tokens, setting.rng)


def causal_batch(traces: Sequence[Trace], device: torch.device | str) -> CausalBatch:
    """Pack traces (at least one, none empty); what a position sees of the tree is its own word's place."""

    def shifted(rows: Sequence[NDArray[np.int64]], first: int) -> Tensor:
        parts = [np.concatenate(([first], row[:-1])) for row in rows]
        return torch.from_numpy(np.concatenate(parts)).to(device)

    lengths = [len(trace.ids) for trace in traces]
    return CausalBatch(
        shifted([trace.ids for trace in traces], START),
        shifted([trace.depth for trace in traces], 0),
        shifted([trace.sibling for trace in traces], 0),
        torch.cat([torch.arange(length) for length in lengths]).to(device),
        torch.from_numpy(np.concatenate([trace.ids for trace in traces])).to(device),
        layout_of(lengths, device),
    )


def likelihoods(model: CausalLM, traces: Sequence[Trace], batch_tokens: int) -> NDArray[np.float64]:
    """Sum and mean over its words of -log p of every trace, in nats, (N, 2)."""
    lengths = np.array([len(trace.ids) for trace in traces], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    sums = np.empty(len(traces))
    device = model.bias.device
    for rows in sorted_batches(lengths[order], batch_tokens):
        chosen = order[rows]
        batch = causal_batch([traces[i] for i in chosen.tolist()], device)
        with torch.inference_mode():
            loss_T = model.next_word_losses(encode(model, batch), batch.target_T)
        begins = np.cumsum(lengths[chosen]) - lengths[chosen]
        sums[chosen] = np.add.reduceat(loss_T.double().cpu().numpy(), begins)
    return np.stack((sums, sums / np.maximum(lengths, 1)), axis=1)


def encode(model: CausalLM, batch: CausalBatch) -> Tensor:
    """One vector per position, (T, E)."""
    x_TE: Tensor = model(batch.ids_T, batch.depth_T, batch.sibling_T, batch.position_T, batch.layout)
    return x_TE


def _trace(placed: Placed, vocabulary: TraceVocabulary) -> Trace:
    return Trace(vocabulary.ids(placed.words), placed.depth, placed.sibling)
