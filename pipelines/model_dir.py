"""A model directory: the tokenizer, checkpoint and calibration that belong together.

Each step writes its own sub-directory, an artifact that names its parents; what does not belong together
is refused when it is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from blockscan.artifact import read_manifest
from blockscan.chains.anchor import Idl
from blockscan.config import ScoreConfig, config_from
from blockscan.detect.calibrate import Calibration
from blockscan.detect.calibration_file import fingerprint, load_calibration
from blockscan.errors import ArtifactError
from blockscan.model.checkpoint import load_checkpoint
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
        """Written by `blockscan calibrate`."""
        return self.path / "calibration"

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
    """A loaded model directory. `fingerprint` and `calibrated_as` go into every score."""

    tokenizer: TxTokenizer
    model: MaskedLM
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
    model = load_checkpoint(
        directory.checkpoint, tokenizer_fingerprint=tokenizer.fingerprint, device=pick_device(device)
    )
    return tokenizer, model, read_manifest(directory.checkpoint, "checkpoint").fingerprint


def load_detector(directory: ModelDir, device: str) -> Detector:
    """Everything that scoring needs.

    Raises:
        ArtifactError: a part is missing or damaged, or the calibration is of another checkpoint.
    """
    tokenizer, model, checkpoint = load_model(directory, device)
    calibration = load_calibration(directory.calibration)
    made_for = calibration.parents.get("checkpoint", "none")
    if made_for != checkpoint:
        raise ArtifactError(
            f"{directory.calibration} was made for checkpoint {made_for[:12]}, not for {checkpoint[:12]}; "
            "run `blockscan calibrate` again"
        )
    scoring = config_from({"score": calibration.scoring}, str(directory.calibration)).score
    return Detector(
        tokenizer,
        model,
        calibration,
        scoring,
        checkpoint,
        fingerprint(calibration),
        signatures_in(directory.signatures),
        idls_in(directory.idls),
    )


def pick_device(name: str) -> str:
    """`auto` is the GPU where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
