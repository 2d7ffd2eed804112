"""Pretraining: masked-language modelling over packed windows of benign transactions.

A run is a function of the data, the config and the number of threads and processes: one that is interrupted
and resumed takes the same steps as one that is not, on a CPU with the same bits (on a GPU FlashAttention sums
gradients in no fixed order). The parts are in pipelines.training.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from blockscan.artifact import read_manifest, require_empty
from blockscan.config import Config, TrainConfig, changed
from blockscan.errors import ConfigError
from blockscan.model.batch import window_table
from blockscan.model.checkpoint import KIND, save_checkpoint
from blockscan.model.encoder import MaskedLM, usable_device, usable_kernel
from blockscan.model.objective import check_objective
from blockscan.tokens import TokenSequence, VocabularyShape
from pipelines.interrupt import interruptible
from pipelines.training.guard import memory_errors
from pipelines.training.optimizer import BETAS, check_optimizer, learning_rate
from pipelines.training.processes import World, check_parallel, processes, world_of
from pipelines.training.report import StepReport
from pipelines.training.resume import check_unfinished, identity_of, restore, save
from pipelines.training.run import Run, steps

__all__ = ["BETAS", "Pretrained", "Start", "StepReport", "learning_rate", "pretrain"]

HELD_OUT = 20  # the last of every so many sequences, in time order, is for validation
HELD_OUT_MOST = 4096  # sequences; more would only take longer


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A finished run: where the checkpoint is, its fingerprint, tokens seen, losses in nats.

    `loss` is the mean of the last 100 steps, `validation` that of the last weights. The fingerprint is empty
    in all processes but the first.
    """

    path: Path
    fingerprint: str
    steps: int
    tokens: int
    loss: float
    validation: float | None


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with, instead of freshly drawn weights.

    model: on the device; a parameter that does not require a gradient stays as it is. origin: what it came
    from and how it was prepared; must be equal for a run to be resumed. rate: multiple of the learning rate
    for the parameter of a name. finish: makes of the trained model the one that the checkpoint holds.
    """

    model: MaskedLM
    origin: str
    rate: Callable[[str], float] = lambda _: 1.0
    finish: Callable[[MaskedLM], MaskedLM] = lambda model: model


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
    start: Start | None = None,
    provenance: Mapping[str, Any] | None = None,
    tokenizer_files: Mapping[str, bytes] | None = None,
) -> Pretrained:
    """Train a MaskedLM and write it to `out` as a checkpoint artifact.

    The last 5 % of the sequences (none of fewer than 20) measure the validation loss. While the run goes,
    its state lies in the directory `out` + ".work"; in a single process Ctrl-C and SIGTERM store it after
    the step at work and raise KeyboardInterrupt. Under torchrun every process calls this with the same
    arguments; the first one calls `on_step` and writes; all must see these directories.

    Args:
        sequences: encoded benign transactions in time order; a Corpus is read where it lies.
        shape: of the vocabulary that encoded them.
        config: the sections `model` (unless there is a start) and `train` count; `score` is kept beside.
        out: a directory that is new or empty.
        tokenizer_fingerprint: of the tokenizer that encoded the sequences.
        device: where to train; "cuda" is the GPU of its own for each process.
        on_step: called after every step; what it raises ends the run, which can then be resumed.
        resume: go on from the last work checkpoint, if there is one, with any number of processes.
        start: a model to go on from.
        provenance: where the sequences come from, for the manifest; JSON values.
        tokenizer_files: name and content of files to lie beside the weights.

    Raises:
        ConfigError: nothing to train on, an option out of range, an unfinished run that is not this one,
            a loss or gradient that is not finite or vanished, a parameter that nothing moves, or no memory
            left.
        ArtifactError: `out` is not empty, or a file cannot be read or written.
    """
    trained = start.model.config if start else config.model
    check_run(replace(config, model=trained), shape, out=out, device=device, resume=resume)
    held = min(len(sequences) // HELD_OUT, HELD_OUT_MOST)
    past, latest = sequences[: len(sequences) - held], list(sequences[len(sequences) - held :])
    if not any(len(sequence) for sequence in past):
        raise ConfigError("there are no transactions to train on; ingest some, or widen the block range")
    fingerprints = {"tokenizer": tokenizer_fingerprint} | ({"start": start.origin} if start else {})
    known = dict(provenance or {}) | ({"adapted_from": start.origin} if start else {})
    known |= {"sequences": len(past), "held_out": held}
    with world_of(device) as world, memory_errors(world.device):
        begin = start or _fresh(config, shape, world)
        identity = identity_of(trained, config.train, shape, sequences, fingerprints)
        run = Run(begin.model.to(world.device), config.train, world, begin.rate)
        done = _train(run, past, latest, out, identity, on_step=on_step, resume=resume)
        learnt = run.finish()
        if world.first:
            known["digest"] = identity["data"]
            done = _write(done, begin.finish(learnt), config, fingerprints, known, tokenizer_files)
        world.barrier()
    return done


def check_run(
    config: Config, shape: VocabularyShape, *, out: Path, device: torch.device | str, resume: bool
) -> None:
    """Refuse what `pretrain` cannot do with whatever data; it takes these arguments likewise.

    Raises:
        ConfigError: an option is out of range, the device or the attention kernel is not there, the batches
            cannot be shared out, or there is an unfinished run and `resume` is false.
        ArtifactError: `out` is not empty, or the state of the unfinished run is damaged.
    """
    require_empty(out)
    _check(config.train)
    here = usable_device(device)
    check_parallel(config.train, World(0, processes(), here))
    usable_kernel(config.model, shape, here)
    check_objective(config.model, config.train)
    check_unfinished(_work(out), resume=resume)


def _train(
    run: Run,
    past: Sequence[TokenSequence],
    latest: Sequence[TokenSequence],
    out: Path,
    identity: dict[str, Any],
    *,
    on_step: Callable[[StepReport], None] | None,
    resume: bool,
) -> Pretrained:
    work = _work(out)
    restore(work, run, identity, resume=resume)
    table = window_table(past, run.model.config.longest, run.model.vocabulary)
    with interruptible(alone=run.world.size == 1) as asked:
        for report in steps(run, table, latest, lambda: save(work, run, identity)):
            if on_step and run.world.first:
                on_step(report)
            if asked() and run.step < run.config.steps:
                if run.step % run.config.checkpoint_every:  # else `steps` has just stored it
                    save(work, run, identity)
                raise KeyboardInterrupt
    return Pretrained(out, "", run.step, run.tokens, fmean(run.losses), run.validation)


def _write(
    done: Pretrained,
    model: MaskedLM,
    config: Config,
    fingerprints: Mapping[str, str],
    known: Mapping[str, Any],
    tokenizer_files: Mapping[str, bytes] | None,
) -> Pretrained:
    """Write the checkpoint and drop the state of the run."""
    learnt = {"tokens_seen": done.tokens, "loss": done.loss, "validation_loss": done.validation}
    save_checkpoint(
        done.path,
        model,
        train=config.train,
        tokenizer_fingerprint=fingerprints["tokenizer"],
        data={**known, **learnt},
        tokenizer_files=tokenizer_files,
        scoring=changed(config.score),
    )
    shutil.rmtree(_work(done.path), ignore_errors=True)
    return replace(done, fingerprint=read_manifest(done.path, KIND).fingerprint)


def _work(out: Path) -> Path:
    return out.with_name(f"{out.name}.work")


def _fresh(config: Config, shape: VocabularyShape, world: World) -> Start:
    """A model with weights drawn from the seed of the training."""
    generator = torch.Generator().manual_seed(config.train.seed)
    return Start(MaskedLM(config.model, shape, device=world.device, generator=generator), "")


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
    if not 0.0 <= config.ema < 1.0:
        raise ConfigError(f"train.ema is a decay of at least 0 (off) and below 1, not {config.ema}")
    check_optimizer(config)
