"""The files of a model directory as the Hugging Face Hub expects them: safetensors and JSON, never code.

config.json (`model_type`, `architectures`, sizes), model.safetensors, the files of the tokenizer, README.md
(the model card) and SHA256SUMS over all of them. blockscan.model.checkpoint makes an artifact of it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from blockscan.artifact import file_sha256
from blockscan.config import TrainConfig, config_from
from blockscan.errors import ArtifactError
from blockscan.model.card import model_card
from blockscan.model.encoder import MaskedLM
from blockscan.tokens import MASK_ID, PAD_ID, VocabularyShape

MODEL_TYPE = "blockscan"
ARCHITECTURE = "BlockScanForMaskedLM"
CONFIG, WEIGHTS, CARD, SUMS = "config.json", "model.safetensors", "README.md", "SHA256SUMS"


def save_pretrained(
    model: MaskedLM,
    directory: Path,
    *,
    train: TrainConfig,
    tokenizer_fingerprint: str,
    data: Mapping[str, Any],
    tokenizer_files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model and what belongs to it into a directory, which is made if need be.

    Args:
        model: its weights and its shape.
        directory: where to.
        train: how it was trained, for the card.
        tokenizer_fingerprint: of the tokenizer that encoded the training data, for the card.
        data: what it was trained on and how well; the card shows the keys it knows (see model_card).
        tokenizer_files: file name to content, the vocabulary; without it the card says that it is missing.

    Raises:
        ArtifactError: a file cannot be written.
        ValueError: a tokenizer file has the name of another file or of a path.
    """
    files = dict(tokenizer_files or {})
    ours = {CONFIG, WEIGHTS, CARD, SUMS, "manifest.json"}
    if wrong := [name for name in files if name in ours or Path(name).name != name]:
        raise ValueError(f"{wrong[0]!r} cannot be the name of a tokenizer file")
    described = {
        "model_type": MODEL_TYPE,
        "architectures": [ARCHITECTURE],
        "pad_token_id": PAD_ID,
        "mask_token_id": MASK_ID,
        "model": asdict(model.config),
        "vocabulary": asdict(model.vocabulary),
    }
    files[CONFIG] = f"{json.dumps(described, indent=1)}\n".encode()
    card = model_card(model, train, tokenizer_fingerprint, data, with_vocabulary=bool(tokenizer_files))
    files[CARD] = card.encode()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # transformers reads weights only if the header names the framework. Written like every other file, for
    # `save_file` would make one that only its owner may read.
    files[WEIGHTS] = save_tensors(tensors, {"format": "pt"})
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / name).write_bytes(content)
        lines = [f"{file_sha256(directory / name)}  {name}\n" for name in sorted(files)]
        (directory / SUMS).write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"cannot write {directory}: {error}; free some space and start again") from error


def from_pretrained(
    directory: Path, *, device: torch.device | str = "cpu", attention: str = "auto"
) -> MaskedLM:
    """Read what `save_pretrained` wrote, after checking it against SHA256SUMS; ready for inference.

    Raises:
        ArtifactError: a file is missing, was changed, or is of another program or an earlier version; or
            SHA256SUMS leaves out the weights or their shape.
        ConfigError: the attention kernel cannot run here.
    """
    try:
        lines = (directory / SUMS).read_text(encoding="utf-8").splitlines()
        sums = [line.partition("  ")[::2] for line in lines]
        if missing := {CONFIG, WEIGHTS}.difference(name for _, name in sums):
            raise ArtifactError(f"{directory / SUMS} does not vouch for {min(missing)}; get the model again")
        for digest, name in sums:
            if Path(name).name != name or file_sha256(directory / name) != digest:
                raise ArtifactError(f"{directory / name} was changed since it was made; get the model again")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{directory} is no complete model ({error}); get it again") from error
    return read_model(directory, device=device, attention=attention)


def read_model(directory: Path, *, device: torch.device | str = "cpu", attention: str = "auto") -> MaskedLM:
    """The model of config.json and model.safetensors, without looking at hashes; ready for inference.

    The attention kernel is a property of the machine, not of the weights: `attention` replaces the one
    that the model was trained with.

    Raises:
        ArtifactError: a file is missing or damaged, or of another program or an earlier version.
        ConfigError: the attention kernel cannot run here.
    """
    try:
        stored = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        if stored.get("model_type") != MODEL_TYPE:
            raise ArtifactError(
                f"{directory / CONFIG} has model_type {stored.get('model_type')!r}, not {MODEL_TYPE!r}: "
                "an earlier version or another program wrote it; pretrain again"
            )
        model_config = config_from({"model": {**stored["model"], "attention": attention}}, CONFIG).model
        spans = tuple((int(start), int(stop)) for start, stop in stored["vocabulary"]["alias_spans"])
        vocabulary = VocabularyShape(int(stored["vocabulary"]["size"]), spans)
        weights = load_file(directory / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ArtifactError(f"{directory} is no readable checkpoint ({error}); pretrain again") from error
    try:
        model = MaskedLM(model_config, vocabulary, device=device, weights=weights)
    except RuntimeError as error:
        raise ArtifactError(
            f"the weights in {directory / WEIGHTS} do not fit {CONFIG}; pretrain again"
        ) from error
    return model.eval()
