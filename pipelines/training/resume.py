"""Taking up an unfinished run: what must be the same, and where it was."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from blockscan.config import ModelConfig, TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.batch import PACKING, content_digest
from blockscan.model.work_state import load_work, read_progress, save_work
from blockscan.tokens import TokenSequence, VocabularyShape
from pipelines.training.run import Run

log = logging.getLogger(__name__)

HOW = ("compile", "parallel")  # options of the training that change how it computes, not what


def identity_of(
    model: ModelConfig,
    train: TrainConfig,
    shape: VocabularyShape,
    sequences: Sequence[TokenSequence],
    parents: Mapping[str, str],
) -> dict[str, Any]:
    """What must be the same for a run to be taken up, as JSON values.

    Args:
        model: as it is trained.
        train: all but the options in HOW counts.
        shape: of the vocabulary.
        sequences: trained on and held out.
        parents: fingerprints of what the run is made from, by name.
    """
    digest = hashlib.sha256()
    for sequence in sequences:
        digest.update(content_digest(sequence))
    described = {
        "model": asdict(model),
        "train": {name: value for name, value in asdict(train).items() if name not in HOW},
        "vocabulary": asdict(shape),
        **parents,
        "data": digest.hexdigest(),
        "packing": PACKING,
    }
    return dict(json.loads(json.dumps(described)))  # tuples become lists, as they will be when read back


def save(work: Path, run: Run, identity: Mapping[str, Any]) -> None:
    """Store the state of a run in the directory `work`.

    Raises:
        ArtifactError: it cannot be written.
    """
    told = {"validation": run.validation, "losses": list(run.losses)}
    save_work(
        work, run.state(), {"step": run.step, "tokens": run.tokens, **told, "run": identity}, step=run.step
    )


def check_unfinished(work: Path, *, resume: bool) -> None:
    """Refuse to begin where an unfinished run lies.

    Raises:
        ConfigError: there is one, and `resume` is false.
        ArtifactError: its files are damaged.
    """
    if read_progress(work) is not None and not resume:
        raise ConfigError(f"{work} holds an unfinished run; go on with --resume, or remove it to start again")


def restore(work: Path, run: Run, identity: Mapping[str, Any], *, resume: bool) -> None:
    """Bring a new run to where the one in `work` was, if there is one and it is the same.

    Raises:
        ConfigError: there is one, and it is another or `resume` is false.
        ArtifactError: its files are damaged.
    """
    check_unfinished(work, resume=resume)
    progress = read_progress(work)
    if progress is None:
        if resume:
            log.warning("there is no unfinished run in %s: starting at step 0", work)
        return
    before = progress["run"]
    differing = [name for name in {**before, **identity} if before.get(name) != identity.get(name)]
    if differing:
        raise ConfigError(
            f"the unfinished run in {work} has another {_differences(before, identity, differing)}; "
            "resume with what it began with, or remove that directory to start again"
        )
    load_work(work, run.state())
    run.step, run.tokens = progress["step"], progress["tokens"]
    run.validation = progress.get("validation")
    run.losses.extend(progress.get("losses", []))
    log.info("resumed %s at step %d", work, run.step)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str]) -> str:
    """For example `train.steps (100, now 200), data`."""
    parts = []
    for name in names:
        if name in ("model", "train"):
            old = before.get(name, {})
            parts += [f"{name}.{k} ({old.get(k)}, now {v})" for k, v in now[name].items() if old.get(k) != v]
        else:
            parts.append("packing (of another version of this program)" if name == "packing" else name)
    return ", ".join(parts)
