"""Pretraining: masked-language modelling over packed windows of benign transactions.

A run is a function of the data, the config and the number of threads. All randomness of step n is drawn
from generators seeded with (seed, n), so a run that is interrupted and resumed takes the same steps with
the same bits as one that is not.
"""

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blockscan.artifact import read_manifest, require_empty
from blockscan.config import Config, TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.batch import WindowTable, content_digest, window_table
from blockscan.model.checkpoint import KIND, load_work, read_progress, save_checkpoint, save_work
from blockscan.model.encoder import MaskedLM, parameter_groups
from blockscan.model.losses import autocast, masked_cross_entropy
from blockscan.model.masking import Example, fixed_examples, training_examples
from blockscan.tokens import TokenSequence, VocabularyShape

log = logging.getLogger(__name__)

HELD_OUT = 20  # the last of every so many sequences, in time order, is for validation
HELD_OUT_MOST = 4096  # sequences; more would only take longer
VALIDATIONS = 4  # per run, the last one after the last step
BETAS = (0.9, 0.98)


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step. Losses are means over hidden tokens, in nats; validation only where measured."""

    step: int
    steps: int
    loss: float
    validation: float | None
    tokens_per_second: float
    learning_rate: float
    gradient_norm: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A finished run: where the checkpoint is, its fingerprint, tokens seen, last losses in nats."""

    path: Path
    fingerprint: str
    steps: int
    tokens: int
    loss: float
    validation: float | None


@dataclass(slots=True)
class _Run:
    """A model in training, after `step` steps on `tokens` tokens."""

    model: MaskedLM
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    step: int = 0
    tokens: int = 0


class _Clock:
    """Speed since the process took up the run, for the progress bar; no decision depends on it."""

    def __init__(self, run: _Run) -> None:
        self.began, self.step, self.tokens = time.monotonic(), run.step, run.tokens

    def read(self, run: _Run) -> tuple[float, float]:
        """Tokens per second and seconds left."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        left = (run.config.steps - run.step) * seconds / max(1, run.step - self.step)
        return (run.tokens - self.tokens) / seconds, left


def pretrain(
    sequences: Sequence[TokenSequence],
    shape: VocabularyShape,
    *,
    config: Config,
    out: Path,
    tokenizer_fingerprint: str,
    device: torch.device | str = "cpu",
    on_step: Callable[[StepReport], None] | None = None,
    resume: bool = False,
) -> Pretrained:
    """Train a MaskedLM and write it to `out` as a checkpoint artifact.

    The last 5 % of the sequences measure the validation loss and are not trained on (none of fewer than
    20). While the run goes, its state lies in the directory `out` + ".work".

    Args:
        sequences: encoded benign transactions in time order.
        shape: of the vocabulary that encoded them.
        config: the sections `model` and `train` count.
        out: a directory that is new or empty.
        tokenizer_fingerprint: of the tokenizer that encoded the sequences.
        device: where to train.
        on_step: called after every step; what it raises ends the run, which can then be resumed.
        resume: go on from the last work checkpoint, if there is one.

    Raises:
        ConfigError: nothing to train on, an option out of range, an unfinished run that is not this one,
            or a loss or gradient that is not finite or vanished.
        ArtifactError: `out` is not empty, or a file cannot be read or written.
    """
    require_empty(out)
    _check(config.train)
    held = min(len(sequences) // HELD_OUT, HELD_OUT_MOST)
    past, latest = sequences[: len(sequences) - held], sequences[len(sequences) - held :]
    if not any(len(sequence) for sequence in past):
        raise ConfigError("there are no transactions to train on; ingest some, or widen the block range")
    run = _start(shape, config, device)
    work = out.with_name(f"{out.name}.work")
    identity = _identity(config, shape, sequences, tokenizer_fingerprint)
    _restore(work, run, identity, resume=resume)
    table = window_table(past, config.model.longest, shape)
    for report in _steps(run, _examples(table, run), _held_out(latest, run), work, identity):
        if on_step:
            on_step(report)
    data = {
        "sequences": len(past),
        "held_out": held,
        "digest": identity["data"],
        "tokens_seen": run.tokens,
        "loss": report.loss,
        "validation_loss": report.validation,
    }
    fingerprint = tokenizer_fingerprint
    save_checkpoint(out, run.model, train=config.train, tokenizer_fingerprint=fingerprint, data=data)
    shutil.rmtree(work, ignore_errors=True)
    made = read_manifest(out, KIND).fingerprint
    return Pretrained(out, made, run.step, run.tokens, report.loss, report.validation)


def _steps(
    run: _Run, examples: Iterator[Example], held_out: Sequence[Example], work: Path, identity: dict[str, Any]
) -> Iterator[StepReport]:
    """Take the steps that are left, validate and write work checkpoints when they are due."""
    steps, clock = run.config.steps, _Clock(run)
    while run.step < steps:
        rate, loss, norm = _advance(run, examples)
        due = run.step % -(-steps // VALIDATIONS) == 0 or run.step == steps
        validation = _validate(run, held_out) if due and held_out else None
        if run.step % run.config.checkpoint_every == 0 and run.step < steps:
            progress = {"step": run.step, "tokens": run.tokens, "run": identity}
            save_work(work, run.model, run.optimizer, progress)
        speed, left = clock.read(run)
        yield StepReport(run.step, steps, loss, validation, speed, rate, norm, left)


def _examples(table: WindowTable, run: _Run) -> Iterator[Example]:
    """The batches that are still to come."""
    model, config = run.model, run.config
    return training_examples(
        table,
        model.vocabulary,
        config,
        first=run.step * config.accumulate,
        landmarks=model.config.lca_bias,
        device=model.device,
    )


def _held_out(sequences: Sequence[TokenSequence], run: _Run) -> list[Example]:
    if not any(len(sequence) for sequence in sequences):
        return []
    model = run.model
    longest, landmarks = model.config.longest, model.config.lca_bias
    return list(
        fixed_examples(
            sequences, longest, model.vocabulary, run.config, landmarks=landmarks, device=model.device
        )
    )


def learning_rate(step: int, config: TrainConfig) -> float:
    """Rate of step `step`, from 0: linear warm-up, a plateau, linear decay towards 0."""
    rise = (step + 1) / max(1.0, config.warmup * config.steps)
    fall = (config.steps - step) / max(1.0, config.decay * config.steps)
    return config.learning_rate * min(1.0, rise, fall)


def _start(shape: VocabularyShape, config: Config, device: torch.device | str) -> _Run:
    """A run at step 0."""
    generator = torch.Generator().manual_seed(config.train.seed)
    model = MaskedLM(config.model, shape, device=device, generator=generator)
    groups = parameter_groups(model, config.train.weight_decay)
    return _Run(model, torch.optim.AdamW(groups, betas=BETAS, fused=True), config.train)


def _advance(run: _Run, examples: Iterator[Example]) -> tuple[float, float, float]:
    """One optimizer step; its learning rate, its loss and the norm of its gradient before clipping."""
    config = run.config
    batches = [next(examples) for _ in range(config.accumulate)]
    hidden = sum(len(batch.target_M) for batch in batches)
    run.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=run.model.device)
    for batch in batches:
        loss = _loss(run, batch) / hidden
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        total += loss.detach()
    norm = float(torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip))
    loss_mean = float(total)
    if not (math.isfinite(loss_mean) and math.isfinite(norm)) or norm == 0.0:
        raise ConfigError(
            f"training broke at step {run.step + 1}: loss {loss_mean:.4g}, gradient norm {norm:.4g}; "
            "lower train.learning_rate, or set train.bf16 to false, and start again"
        )
    rate = learning_rate(run.step, config)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    run.step += 1
    run.tokens += sum(len(batch.batch.ids_T) for batch in batches)
    return rate, loss_mean, norm


def _loss(run: _Run, example: Example) -> Tensor:
    with autocast(run.model.device, bf16=run.config.bf16):
        x_ME = run.model(example.batch).index_select(0, example.place_M)
        return masked_cross_entropy(run.model, x_ME, example.target_M)


@torch.no_grad()
def _validate(run: _Run, examples: Sequence[Example]) -> float:
    """Mean loss of the held-out sequences, always under the same masks."""
    total = sum(float(_loss(run, example)) for example in examples)
    return total / sum(len(example.target_M) for example in examples)


def _identity(
    config: Config, shape: VocabularyShape, sequences: Sequence[TokenSequence], tokenizer_fingerprint: str
) -> dict[str, Any]:
    """What must be the same for a run to be resumed."""
    digest = hashlib.sha256()
    for sequence in sequences:
        digest.update(content_digest(sequence))
    described = {
        "model": asdict(config.model),
        "train": asdict(config.train),
        "vocabulary": asdict(shape),
        "tokenizer": tokenizer_fingerprint,
        "data": digest.hexdigest(),
    }
    return dict(json.loads(json.dumps(described)))  # tuples become lists, as they will be when read back


def _restore(work: Path, run: _Run, identity: dict[str, Any], *, resume: bool) -> None:
    """Bring a new run to where the one in `work` was, if there is one and it is the same."""
    progress = read_progress(work)
    if progress is None:
        return
    if not resume:
        raise ConfigError(f"{work} holds an unfinished run; go on with --resume, or remove it to start again")
    before = progress["run"]
    differing = [name for name in identity if before.get(name) != identity[name]]
    if differing:
        raise ConfigError(
            f"the unfinished run in {work} has another {_differences(before, identity, differing)}; "
            "resume with what it began with, or remove that directory to start again"
        )
    load_work(work, run.model, run.optimizer)
    run.step, run.tokens = progress["step"], progress["tokens"]
    log.info("resumed %s at step %d", work, run.step)


def _differences(before: dict[str, Any], now: dict[str, Any], names: Sequence[str]) -> str:
    """For example `train.steps (100, now 200), data`."""
    parts = []
    for name in names:
        if name in ("model", "train"):
            old = before.get(name, {})
            parts += [f"{name}.{k} ({old.get(k)}, now {v})" for k, v in now[name].items() if old.get(k) != v]
        else:
            parts.append(name)
    return ", ".join(parts)


def _check(config: TrainConfig) -> None:
    positive = ("steps", "batch_tokens", "accumulate", "learning_rate", "clip", "checkpoint_every")
    for name in positive:
        if not getattr(config, name) > 0:
            raise ConfigError(f"train.{name} must be above 0, not {getattr(config, name)}")
    for name in ("warmup", "decay", "mask_rate"):
        if not 0.0 <= getattr(config, name) <= 1.0:
            raise ConfigError(f"train.{name} is a share between 0 and 1, not {getattr(config, name)}")
    if config.mask_rate == 0.0:
        raise ConfigError("train.mask_rate must be above 0: with nothing hidden there is nothing to learn")
    if config.weight_decay < 0.0 or config.seed < 0:
        raise ConfigError("train.weight_decay and train.seed must not be negative")
