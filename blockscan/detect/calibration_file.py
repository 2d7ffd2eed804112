"""A Calibration on disk: artifact of kind "calibration", all arrays in one safetensors file.

Array names say what they are: "field/target/address/values", "part/fisher/3/scale", "benign/callTracer".
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from blockscan import artifact
from blockscan.detect.calibrate import Calibration
from blockscan.detect.score import PARTS, ScoreModel
from blockscan.detect.surprise import FieldCalibration, Survival
from blockscan.errors import ArtifactError
from blockscan.tokens import Field, Modality

KIND = "calibration"
ARRAYS = "calibration.safetensors"

Arrays = dict[str, NDArray[Any]]


def fingerprint(calibration: Calibration) -> str:
    """The fingerprint that the saved artifact has, without saving it."""
    digest = hashlib.sha256(save_arrays(_arrays(calibration))).hexdigest()
    config, parents = _config(calibration), dict(calibration.parents)
    return artifact.Manifest(KIND, artifact.VERSION, config, parents, {ARRAYS: digest}).fingerprint


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write the artifact; equal calibrations give equal bytes.

    Raises:
        ArtifactError: `path` already holds something.
    """
    with artifact.create(path, KIND, config=_config(calibration), parents=calibration.parents) as draft:
        (draft / ARRAYS).write_bytes(save_arrays(_arrays(calibration)))


def load_calibration(path: Path) -> Calibration:
    """Read the artifact back, every array bit for bit.

    Raises:
        ArtifactError: it is missing, changed, of another kind, or names parts this program lacks.
    """
    manifest = artifact.read_manifest(path, KIND)
    try:
        arrays = load_arrays((path / ARRAYS).read_bytes())
        parts: list[str] = manifest.config["parts"]
        if unknown := set(parts) - set(PARTS):
            raise ValueError(f"unknown parts {sorted(unknown)}")
        keys = {tuple(name.split("/")[1:3]) for name in sorted(arrays) if name.startswith("field/")}
        fields = {
            (Field[field.upper()], Modality[modality.upper()]): _survival(arrays, f"field/{field}/{modality}")
            for field, modality in sorted(keys)
        }
        anchors = arrays["anchors"]
        tails = {part: _tails(arrays, part) for part in parts}
        values = {source: arrays[f"benign/{source}"] for source in manifest.config["transactions"]}
        level = float(manifest.config["alarm_level"])
        scoring = dict(manifest.config["scoring"])
        pooled = _survival(arrays, "pooled")
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{path} is no calibration this program can read: {error}; calibrate again"
        ) from error
    return Calibration(
        FieldCalibration(fields, pooled), ScoreModel(anchors, tails), values, level, manifest.parents, scoring
    )


def _config(calibration: Calibration) -> dict[str, Any]:
    return {
        "alarm_level": calibration.alarm_level,
        "scoring": dict(calibration.scoring),
        "parts": list(calibration.score.tails),
        "transactions": {source: len(values) for source, values in sorted(calibration.values.items())},
    }


def _arrays(calibration: Calibration) -> Arrays:
    arrays: Arrays = {"anchors": calibration.score.anchors}
    survivals = {"pooled": calibration.fields.pooled}
    for (field, modality), survival in calibration.fields.fields.items():
        survivals[f"field/{field.name.lower()}/{modality.name.lower()}"] = survival
    for part, tails in calibration.score.tails.items():
        survivals |= {f"part/{part}/{i}": tail for i, tail in enumerate(tails)}
    for name, survival in survivals.items():
        arrays[f"{name}/values"] = survival.values
        arrays[f"{name}/above"] = survival.above
        arrays[f"{name}/scale"] = np.array([survival.scale])
    return arrays | {f"benign/{source}": values for source, values in calibration.values.items()}


def _survival(arrays: Arrays, name: str) -> Survival:
    return Survival(arrays[f"{name}/values"], arrays[f"{name}/above"], float(arrays[f"{name}/scale"][0]))


def _tails(arrays: Arrays, part: str) -> tuple[Survival, ...]:
    count = sum(name.startswith(f"part/{part}/") for name in arrays) // 3
    return tuple(_survival(arrays, f"part/{part}/{i}") for i in range(count))
