"""Adapting a trained model to a new protocol or chain with few transactions, by blockscan.model.lora.

The adapted model keeps the tokenizer of its base: addresses and functions that the base never saw stay
aliases and buckets, as they are in any transaction. Scoring and calibrating it is as with any other model.
"""

import os
import shutil
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from blockscan.artifact import read_manifest
from blockscan.config import Config, changed
from blockscan.errors import ArtifactError
from blockscan.model.checkpoint import KIND, load_checkpoint
from blockscan.model.lora import inject, merge, rate
from pipelines.model_dir import ModelDir, pick_device, trained_config
from pipelines.pretrain import Start

TOKENIZER = "tokenizer"


def adopt_tokenizer(base: ModelDir, directory: ModelDir) -> None:
    """Give a new model directory the tokenizer of its base, and its signatures and IDLs; what is there stays.

    Raises:
        ArtifactError: the base has none, or the directory has another one.
    """
    theirs = read_manifest(base.tokenizer, TOKENIZER)
    if not directory.tokenizer.exists():
        _copy(base.tokenizer, directory.tokenizer)
    if read_manifest(directory.tokenizer, TOKENIZER).fingerprint != theirs.fingerprint:
        raise ArtifactError(
            f"{directory.tokenizer} is not the tokenizer of {base.path}, which an adapted model must keep; "
            "give a new directory as --model"
        )
    for names, ours in ((base.idls, directory.idls), (base.signatures, directory.signatures)):
        if names.exists() and not ours.exists():
            _copy(names, ours)


def adopt(base: ModelDir, directory: ModelDir) -> None:
    """Give a new model directory all that is trained, and what `adopt_tokenizer` gives; what is there stays.

    Raises:
        ArtifactError: the base has no tokenizer or checkpoint, or the directory has others.
    """
    theirs = read_manifest(base.checkpoint, KIND)
    adopt_tokenizer(base, directory)
    if not directory.checkpoint.exists():
        _copy(base.checkpoint, directory.checkpoint)
    if read_manifest(directory.checkpoint, KIND).fingerprint != theirs.fingerprint:
        raise ArtifactError(
            f"{directory.checkpoint} is not that of {base.path}; give a new directory as --out"
        )


def _copy(source: Path, target: Path) -> None:
    """Copy an artifact or a file; of several processes of a run that do so, one gives its copy the name."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            copy = draft / target.name
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                shutil.copyfile(source, copy)
            if not target.exists():
                copy.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        if not target.exists():
            raise ArtifactError(f"cannot write {target}: {error}; free some space and start again") from error


def adapted(
    base: ModelDir, config: Config, *, tokenizer_fingerprint: str, device: str
) -> tuple[Start, Config]:
    """Where training begins that adapts the model of `base`, and the config to train with.

    The config's section `adapt` gives steps and learning rate; the optimizer is AdamW, and the weight of the
    replaced-token loss is that of the base, as is what the section `score` does not change.

    Raises:
        ArtifactError: the base lacks a part, a part is damaged, or it was trained with another tokenizer.
        ConfigError: a setting of the section `adapt` is out of range, or there is no such device.
    """
    manifest = read_manifest(base.checkpoint, KIND)
    model = load_checkpoint(
        base.checkpoint,
        tokenizer_fingerprint=tokenizer_fingerprint,
        device=_own(pick_device(device)),
        manifest=manifest,
    )
    settings = config.adapt
    inject(model, settings, torch.Generator().manual_seed(config.train.seed))
    train = replace(
        config.train,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        optimizer="adamw",
        replaced_weight=float(manifest.config["train"].get("replaced_weight", 0.0)),
    )
    kind = f"LoRA rank {settings.rank}, alpha {settings.alpha:g}, ratio {settings.ratio:g}"
    start = Start(
        model.train(), f"{manifest.fingerprint}, {kind}", partial(rate, ratio=settings.ratio), merge
    )
    scoring = replace(trained_config(base).score, **changed(config.score))
    return start, replace(config, model=model.config, train=train, score=scoring)


def _own(device: str) -> str:
    """Under torchrun, "cuda" is the GPU of this process."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device
