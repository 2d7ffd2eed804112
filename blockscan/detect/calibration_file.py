"""A Calibration on disk: artifact of kind "calibration", all arrays in one safetensors file.

Array names say what they are: "field/target/address/values", "part/fisher/3/scale", "view/size/values",
"benign/callTracer", "sizes/callTracer", "contract/callTracer/0x1234", "density/references", "books/keys". A
model directory holds `calibration` and, after others, `calibration-2` and so on: each is complete, a
recalibration names the one before among its parents, and the last one counts.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from blockscan import artifact
from blockscan.detect.books import Entered
from blockscan.detect.calibrate import Calibration
from blockscan.detect.density import KINDS, Density
from blockscan.detect.levels import Traffic
from blockscan.detect.mix import CLASSES
from blockscan.detect.score import PARTS, ScoreModel, view_of
from blockscan.detect.surprise import FieldCalibration, Survival
from blockscan.detect.tally import Sums
from blockscan.errors import ArtifactError
from blockscan.tokens import Field, Modality

KIND = "calibration"
FACTS_AS = 14
"""What facts and views of blockscan.detect mean; thresholds on values of another meaning would be wrong."""
ARRAYS = "calibration.safetensors"

Arrays = dict[str, NDArray[Any]]


def versions(directory: Path) -> list[Path]:
    """The calibrations of a model directory, oldest first, at least `directory / "calibration"`."""
    found = [directory / KIND]
    while (following := directory / f"{KIND}-{len(found) + 1}").is_dir():
        found.append(following)
    return found


def newest(directory: Path) -> Path:
    """Where the calibration that counts lies, or will lie."""
    return versions(directory)[-1]


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
        ArtifactError: it is missing, changed, of another kind or version, or names parts this program lacks.
    """
    manifest = artifact.read_manifest(path, KIND)
    try:
        arrays = load_arrays((path / ARRAYS).read_bytes())
        if manifest.config.get("facts", 1) != FACTS_AS:
            raise ArtifactError(
                f"{path} is of another version of this program, and judges by values that this one computes "
                "otherwise; where its history is too old, too, first count the past anew (blockscan recount "
                "ARCHIVE --model MODEL --out NEW) and go on with NEW; then run `blockscan calibrate` with "
                "--replace, then score"
            )
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
        weights = dict(zip(parts, arrays["weights"].tolist(), strict=True))
        views = {view: _survival(arrays, f"view/{view}") for view in sorted(set(map(view_of, parts)))}
        traffic = _traffic(manifest.config.get("traffic", {}))
        contracts = _contracts(arrays, values) if manifest.config.get("per_contract") else None
        density = _density(arrays, manifest.config["density"]) if "density" in manifest.config else None
        periods = {source: tuple(each) for source, each in manifest.config.get("periods", {}).items()}
        sizes = _sizes(arrays, values)
        until = {str(chain): int(block) for chain, block in manifest.config["books_until"].items()}
        sums = Sums(arrays["books/keys"], arrays["books/totals"])
        made, sent = arrays["books/made"], arrays["books/sent"]
        books = Entered(sums, made, sent, until, manifest.config["books_whole"])
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} is no calibration this program can read: {error}; move it away and calibrate again"
        ) from error
    return Calibration(
        FieldCalibration(fields, pooled),
        ScoreModel(anchors, tails, weights, views),
        values,
        level,
        manifest.parents,
        scoring,
        traffic,
        contracts,
        density,
        periods,
        sizes,
        books,
    )


def _config(calibration: Calibration) -> dict[str, Any]:
    # What a calibration lacks is left out, so that those of before keep their fingerprints.
    optional: dict[str, Any] = {}
    if calibration.traffic != Traffic():
        blocks, per_day = calibration.traffic.blocks, calibration.traffic.per_day
        optional["traffic"] = {"blocks": blocks and list(blocks), "per_day": dict(per_day)}
    if calibration.contracts is not None:
        optional["per_contract"] = True
    if calibration.density is not None:
        optional["density"] = calibration.density.kind
    if calibration.periods:
        optional["periods"] = {source: list(each) for source, each in sorted(calibration.periods.items())}
    return optional | {
        "facts": FACTS_AS,
        "alarm_level": calibration.alarm_level,
        "books_until": dict(sorted(calibration.books.until.items())),
        "books_whole": calibration.books.whole,
        "scoring": dict(calibration.scoring),
        "parts": list(calibration.score.tails),
        "transactions": {source: len(values) for source, values in sorted(calibration.values.items())},
    }


def _arrays(calibration: Calibration) -> Arrays:
    score = calibration.score
    weights = np.array([score.weights[part] for part in score.tails])
    arrays: Arrays = {"anchors": score.anchors, "weights": weights}
    survivals = {"pooled": calibration.fields.pooled}
    for (field, modality), survival in calibration.fields.fields.items():
        survivals[f"field/{field.name.lower()}/{modality.name.lower()}"] = survival
    survivals |= {f"view/{view}": survival for view, survival in score.views.items()}
    for part, tails in score.tails.items():
        survivals |= {f"part/{part}/{i}": tail for i, tail in enumerate(tails)}
    for name, survival in survivals.items():
        arrays[f"{name}/values"] = survival.values
        arrays[f"{name}/above"] = survival.above
        arrays[f"{name}/scale"] = np.array([survival.scale])
    for source, groups in (calibration.contracts or {}).items():
        arrays |= {f"contract/{source}/{contract}": values for contract, values in groups.items()}
    if calibration.density is not None:
        arrays |= {f"density/{name}": array for name, array in calibration.density.arrays.items()}
    arrays |= {f"sizes/{source}": classes for source, classes in calibration.sizes.items()}
    sums = calibration.books.sums
    arrays |= {"books/keys": sums.keys, "books/totals": sums.totals}
    arrays |= {"books/made": calibration.books.made, "books/sent": calibration.books.sent}
    return arrays | {f"benign/{source}": values for source, values in calibration.values.items()}


def _survival(arrays: Arrays, name: str) -> Survival:
    return Survival(arrays[f"{name}/values"], arrays[f"{name}/above"], float(arrays[f"{name}/scale"][0]))


def _tails(arrays: Arrays, part: str) -> tuple[Survival, ...]:
    count = sum(name.startswith(f"part/{part}/") for name in arrays) // 3
    return tuple(_survival(arrays, f"part/{part}/{i}") for i in range(count))


def _density(arrays: Arrays, kind: str) -> Density:
    if kind not in KINDS:
        raise ValueError(f"unknown density {kind!r}")
    found = {name.removeprefix("density/"): arrays[name] for name in arrays if name.startswith("density/")}
    return Density(kind, found)


def _traffic(stored: dict[str, Any]) -> Traffic:
    if not stored:
        return Traffic()
    blocks = stored["blocks"] and (int(stored["blocks"][0]), int(stored["blocks"][1]))
    return Traffic(blocks, {source: float(rate) for source, rate in stored["per_day"].items()})


def _sizes(arrays: Arrays, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.uint8]]:
    found = {source: arrays[f"sizes/{source}"] for source in values if f"sizes/{source}" in arrays}
    for source, classes in found.items():
        if classes.dtype != np.uint8 or classes.shape != values[source].shape or (classes >= CLASSES).any():
            raise ValueError(f"the sizes of {source} are not those of its values")
    return found


def _contracts(arrays: Arrays, sources: Iterable[str]) -> dict[str, Arrays]:
    prefixes = {source: f"contract/{source}/" for source in sources}
    return {
        source: {name[len(prefix) :]: arrays[name] for name in sorted(arrays) if name.startswith(prefix)}
        for source, prefix in prefixes.items()
    }
