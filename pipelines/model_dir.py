"""A model directory: the tokenizer, checkpoint and calibration that belong together.

Each step writes its own sub-directory, an artifact that names its parents; what does not belong together
is refused when it is loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from blockscan.artifact import read_manifest
from blockscan.chains.anchor import Idl
from blockscan.config import Config, ScoreConfig, config_from
from blockscan.detect.calibrate import Calibration
from blockscan.detect.calibration_file import KIND as CALIBRATION
from blockscan.detect.calibration_file import fingerprint, load_calibration, newest
from blockscan.detect.history import History
from blockscan.detect.history_file import KIND as HISTORY
from blockscan.detect.history_file import load_history
from blockscan.errors import ArtifactError
from blockscan.model.checkpoint import KIND, load_checkpoint
from blockscan.model.encoder import MaskedLM
from pipelines.decoding import idls_in, signatures_in
from tokenizer.signatures import BUILT_IN, Signatures
from tokenizer.txtokenizer import TxTokenizer


@dataclass(frozen=True, slots=True)
class ModelDir:
    """Where the artifacts of one model lie."""

    path: Path

    @property
    def tokenizer(self) -> Path:
        """Written by `blockscan tokenizer fit`."""
        return self.path / "tokenizer"

    @property
    def checkpoint(self) -> Path:
        """Written by `blockscan pretrain`."""
        return self.path / "checkpoint"

    @property
    def calibration(self) -> Path:
        """The newest: written by `blockscan calibrate` or `blockscan recalibrate`."""
        return newest(self.path)

    @property
    def history(self) -> Path:
        """Written by `blockscan pretrain`."""
        return self.path / "history"

    @property
    def signatures(self) -> Path:
        """Written by `blockscan signatures import`, if at all."""
        return self.path / "signatures.json"

    @property
    def idls(self) -> Path:
        """A folder, written by `blockscan signatures idl`, if at all."""
        return self.path / "idl"


@dataclass(frozen=True, slots=True)
class Detector:
    """A loaded model directory. `fingerprint` and `calibrated_as` go into every score.

    The calibration names the history it was made with, so its fingerprint stands for that too.
    """

    tokenizer: TxTokenizer
    model: MaskedLM
    history: History
    calibration: Calibration
    scoring: ScoreConfig
    fingerprint: str
    calibrated_as: str
    signatures: Signatures = BUILT_IN
    idls: Mapping[str, Idl] = field(default_factory=dict)


def load_model(directory: ModelDir, device: str) -> tuple[TxTokenizer, MaskedLM, str]:
    """The tokenizer, the model on its device, and the checkpoint's fingerprint.

    Raises:
        ArtifactError: one of them is missing or damaged, or they do not belong together.
    """
    tokenizer = TxTokenizer.load(directory.tokenizer)
    manifest = read_manifest(directory.checkpoint, KIND)
    model = load_checkpoint(
        directory.checkpoint,
        tokenizer_fingerprint=tokenizer.fingerprint,
        device=pick_device(device),
        manifest=manifest,
    )
    return tokenizer, model, manifest.fingerprint


def trained_config(directory: ModelDir, overrides: Sequence[str] = ()) -> Config:
    """How to score with a model: what the preset it was trained with says, with overrides.

    Raises:
        ArtifactError: there is no checkpoint, or a damaged one.
        ConfigError: a key or value does not fit.
    """
    kept = read_manifest(directory.checkpoint, KIND).config.get("score", {})
    return config_from({"score": kept}, str(directory.checkpoint), overrides)


def load_detector(directory: ModelDir, device: str, *, calibrated: Path | None = None) -> Detector:
    """Everything that scoring needs; `calibrated` is the calibration to judge by, the newest if not given.

    Raises:
        ArtifactError: a part is missing or damaged, or the calibration is of another checkpoint.
    """
    tokenizer, model, checkpoint = load_model(directory, device)
    judges = calibrated or directory.calibration
    calibration = load_calibration(judges)
    here = {"checkpoint": checkpoint, "history": read_manifest(directory.history, HISTORY).fingerprint}
    for role, found in here.items():
        made_for = calibration.parents.get(role, "none")
        if made_for != found:
            raise ArtifactError(
                f"{judges} was made for {role} {made_for[:12]}, not for {found[:12]}; "
                "run `blockscan calibrate` again"
            )
    scoring = config_from({"score": calibration.scoring}, str(judges)).score
    return Detector(
        tokenizer,
        model,
        load_history(directory.history),
        calibration,
        scoring,
        checkpoint,
        fingerprint(calibration),
        signatures_in(directory.signatures),
        idls_in(directory.idls),
    )


def renewal(directory: ModelDir, detector: Detector) -> str:
    """What has been renewed in a directory since a detector was loaded from it, in words; "" for nothing."""
    try:
        found = read_manifest(directory.calibration, CALIBRATION).fingerprint
    except ArtifactError as error:  # at once, not when a run is started again
        return f"the model has changed and cannot be loaded: {error}"
    return "" if found == detector.calibrated_as else f"{directory.calibration} is another calibration now"


def pick_device(name: str) -> str:
    """`auto` is the GPU where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
