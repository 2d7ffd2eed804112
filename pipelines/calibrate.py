"""Step 4: learn from later benign transactions what an ordinary surprise is, and where to raise an alarm."""

from collections.abc import Collection
from dataclasses import asdict

from blockscan.artifact import require_empty
from blockscan.config import ScoreConfig
from blockscan.detect.calibrate import Calibration, Observed, fit_calibration
from blockscan.detect.calibration_file import save_calibration
from blockscan.model.losses import token_losses
from pipelines.encode import encode_all
from pipelines.model_dir import ModelDir, load_model
from pipelines.progress import progress
from pipelines.sources import Shard


def calibrate(
    shards: list[Shard],
    directory: ModelDir,
    config: ScoreConfig,
    *,
    fpr: float,
    device: str,
    exclude: Collection[str] = (),
) -> Calibration:
    """Score benign transactions that are later than the training data and save the calibration.

    Raises:
        ArtifactError: the model directory lacks a part, or is already calibrated.
        ConfigError: too few transactions for the false positive rate asked for.
    """
    require_empty(directory.calibration)
    tokenizer, model, checkpoint = load_model(directory, device)
    encoded = encode_all(shards, tokenizer, exclude=exclude)
    sequences = [each.sequence for each in encoded]
    with progress("calibrate (tokens)", None) as bar:
        losses = token_losses(model, sequences, config, progress=bar.to)
    calibration = fit_calibration(
        [
            Observed(each.sequence, loss, each.source, each.status)
            for each, loss in zip(encoded, losses, strict=True)
        ],
        fpr=fpr,
        parents={"checkpoint": checkpoint, "tokenizer": tokenizer.fingerprint},
        scoring=asdict(config),
    )
    save_calibration(calibration, directory.calibration)
    return calibration
