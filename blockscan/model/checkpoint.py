"""A finished model on disk: an artifact with the weights as safetensors and the rest as JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from blockscan.artifact import Manifest, create, read_manifest
from blockscan.config import TrainConfig
from blockscan.errors import ArtifactError
from blockscan.model.encoder import MaskedLM
from blockscan.model.hub import read_model, save_pretrained

KIND = "checkpoint"


def save_checkpoint(
    path: Path,
    model: MaskedLM,
    *,
    train: TrainConfig,
    tokenizer_fingerprint: str,
    data: Mapping[str, Any],
    tokenizer_files: Mapping[str, bytes] | None = None,
    scoring: Mapping[str, Any] | None = None,
) -> None:
    """Write a trained model as an artifact of kind "checkpoint" whose parent is its tokenizer.

    Args:
        path: a directory that is new or empty.
        model: its weights go into model.safetensors, its shape into config.json.
        train: how it was trained, for the manifest.
        tokenizer_fingerprint: of the tokenizer that encoded the training data.
        data: what it was trained on and how well, for the manifest and the model card; JSON values.
        tokenizer_files: file name to content, to lie beside the weights.
        scoring: settings of the section `score` that its preset changes, for whoever calibrates it.

    Raises:
        ArtifactError: the path already holds something, or cannot be written.
    """
    shape = {"model": asdict(model.config), "vocabulary": asdict(model.vocabulary)}
    config = {**shape, "train": asdict(train), "data": dict(data)}
    if scoring:
        config["score"] = dict(scoring)
    with create(path, KIND, config=config, parents={"tokenizer": tokenizer_fingerprint}) as draft:
        save_pretrained(
            model,
            draft,
            train=train,
            tokenizer_fingerprint=tokenizer_fingerprint,
            data=data,
            tokenizer_files=tokenizer_files,
        )


def load_checkpoint(
    path: Path,
    *,
    tokenizer_fingerprint: str,
    device: torch.device | str = "cpu",
    attention: str = "auto",
    manifest: Manifest | None = None,
) -> MaskedLM:
    """Read a model for inference on `device`.

    Args:
        path: what `save_checkpoint` wrote.
        tokenizer_fingerprint: of the tokenizer that is to be used with it.
        device: where the model is to compute.
        attention: the kernel, see blockscan.model.hub.read_model.
        manifest: of `path`, if it was read before: reading it hashes the weights, which takes time.

    Raises:
        ArtifactError: no checkpoint, a damaged one, or one trained with another tokenizer.
        ConfigError: the attention kernel cannot run here.
    """
    trained_with = (manifest or read_manifest(path, KIND)).parents.get("tokenizer", "")
    if trained_with != tokenizer_fingerprint:
        raise ArtifactError(
            f"{path} was trained with tokenizer {trained_with[:12]}, not with {tokenizer_fingerprint[:12]}; "
            "give the tokenizer that it was trained with, or pretrain again"
        )
    return read_model(path, device=device, attention=attention)
