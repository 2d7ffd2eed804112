"""Models on disk: the finished checkpoint, an artifact, and the state of a run that is still going.

Both hold tensors as safetensors and the rest as JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from blockscan.artifact import create, read_manifest
from blockscan.config import TrainConfig, config_from
from blockscan.errors import ArtifactError
from blockscan.model.encoder import MaskedLM
from blockscan.tokens import VocabularyShape

KIND = "checkpoint"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
WORK = "state.safetensors"


def save_checkpoint(
    path: Path, model: MaskedLM, *, train: TrainConfig, tokenizer_fingerprint: str, data: Mapping[str, Any]
) -> None:
    """Write a trained model as an artifact of kind "checkpoint" whose parent is its tokenizer.

    Args:
        path: a directory that is new or empty.
        model: its weights go into model.safetensors, its shape into config.json.
        train: how it was trained, for the manifest.
        tokenizer_fingerprint: of the tokenizer that encoded the training data.
        data: what it was trained on and how well, for the manifest; JSON values.

    Raises:
        ArtifactError: the path already holds something, or cannot be written.
    """
    shape = {"model": asdict(model.config), "vocabulary": asdict(model.vocabulary)}
    config = {**shape, "train": asdict(train), "data": dict(data)}
    with create(path, KIND, config=config, parents={"tokenizer": tokenizer_fingerprint}) as draft:
        (draft / CONFIG).write_text(json.dumps(shape, indent=1) + "\n", encoding="utf-8")
        _write(draft / WEIGHTS, model.state_dict())


def load_checkpoint(
    path: Path, *, tokenizer_fingerprint: str, device: torch.device | str = "cpu", attention: str = "auto"
) -> MaskedLM:
    """Read a model for inference on `device`.

    The attention kernel is a property of the machine, not of the weights: `attention` replaces the one
    that the model was trained with.

    Raises:
        ArtifactError: no checkpoint, a damaged one, or one trained with another tokenizer.
        ConfigError: the attention kernel cannot run here.
    """
    manifest = read_manifest(path, KIND)
    trained_with = manifest.parents.get("tokenizer", "")
    if trained_with != tokenizer_fingerprint:
        raise ArtifactError(
            f"{path} was trained with tokenizer {trained_with[:12]}, not with {tokenizer_fingerprint[:12]}; "
            "give the tokenizer that it was trained with, or pretrain again"
        )
    try:
        stored = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        model_config = config_from({"model": {**stored["model"], "attention": attention}}, CONFIG).model
        spans = tuple((int(start), int(stop)) for start, stop in stored["vocabulary"]["alias_spans"])
        vocabulary = VocabularyShape(int(stored["vocabulary"]["size"]), spans)
        weights = load_file(path / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactError(f"{path} is no readable checkpoint ({error}); pretrain again") from error
    model = MaskedLM(model_config, vocabulary, device=device)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtifactError(f"the weights in {path / WEIGHTS} do not fit {CONFIG}; pretrain again") from error
    return model.eval()


def save_work(
    path: Path, model: MaskedLM, optimizer: torch.optim.Optimizer, progress: Mapping[str, Any]
) -> None:
    """Write the state of an unfinished run into the directory `path`, replacing the last one at once.

    `progress` (JSON) travels in the header of the same file, so that it can never belong to other tensors.

    Raises:
        ArtifactError: the file cannot be written.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    path.mkdir(parents=True, exist_ok=True)
    draft = path / f"{WORK}.draft"
    _write(draft, tensors, {"progress": json.dumps(progress)})
    draft.replace(path / WORK)


def read_progress(path: Path) -> dict[str, Any] | None:
    """The `progress` of the run in `path`, or None where there is none.

    Raises:
        ArtifactError: the file is damaged.
    """
    if not (path / WORK).is_file():
        return None
    try:
        with safe_open(path / WORK, "pt") as file:
            return dict(json.loads(file.metadata()["progress"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactError(f"{path / WORK} is damaged ({error}); remove {path} and start again") from error


def load_work(path: Path, model: MaskedLM, optimizer: torch.optim.Optimizer) -> None:
    """Put the weights and moments stored in `path` into a model and an optimizer of the same run.

    Raises:
        ArtifactError: the file is damaged or belongs to another model.
    """
    try:
        tensors = load_file(path / WORK)
        moments: dict[int, dict[str, Tensor]] = {}
        weights = {}
        for name, tensor in tensors.items():
            owner, _, rest = name.partition(".")
            if owner == "model":
                weights[rest] = tensor
            else:
                index, _, moment = rest.partition(".")
                moments.setdefault(int(index), {})[moment] = tensor
        model.load_state_dict(weights)
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"{path / WORK} is damaged ({error}); remove {path} and start again") from error


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(here, path, metadata)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"cannot write {path}: {error}; free some space and start again") from error
