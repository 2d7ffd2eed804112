"""How large the presets are, that their settings go together, and which of them a model keeps."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from blockscan.artifact import read_manifest
from blockscan.config import Config, ScoreConfig, load_config
from blockscan.model.encoder import MaskedLM
from blockscan.tokens import VocabularyShape
from pipelines import commands
from pipelines.model_dir import ModelDir, trained_config

PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "presets"
# Millions of parameters with a vocabulary of 10,000 and of 30,000.
SIZES = {"tiny": (2.0, 4.6), "small": (21.7, 29.4), "base": (93.3, 108.7), "large": (291.4, 311.9)}


def preset(name: str) -> Config:
    return load_config(PRESETS / f"{name}.toml")


def parameters(config: Config, vocabulary: int) -> int:
    """Counted on the meta device, where weights have shapes and no memory."""
    lm = MaskedLM(config.model, VocabularyShape(vocabulary, ()), device="meta")
    return sum(weight.numel() for weight in lm.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_presets_have_the_size_they_say(name, monkeypatch):
    monkeypatch.setattr("blockscan.model.encoder._draw", lambda model, generator: None)  # only shapes count
    config = preset(name)
    found = tuple(round(parameters(config, size) / 1e6, 1) for size in (10_000, 30_000))
    assert found == SIZES[name]


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.toml")), ids=lambda path: path.stem)
def test_a_window_fits_a_batch_and_heads_fit_every_kernel(path):
    config = load_config(path)
    assert config.model.longest <= config.train.batch_tokens
    assert config.model.width // config.model.heads % 16 == 0


def test_larger_presets_learn_more_slowly_from_more_tokens():
    configs = [preset(name).train for name in SIZES]
    rates = [train.learning_rate for train in configs]
    tokens = [train.steps * train.batch_tokens * train.accumulate for train in configs]
    assert rates == sorted(rates, reverse=True)
    assert tokens == sorted(tokens)


def test_a_model_is_scored_as_the_preset_that_trained_it_says(
    cli: Any, road: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, directory, adapted = tmp_path / "my.toml", ModelDir(tmp_path / "m"), ModelDir(tmp_path / "a")
    scored = "[score]\nbatch_tokens = 4096\nfolds = 3\n"
    mine.write_text((PRESETS / "debug.toml").read_text() + scored)
    shutil.copytree(road.model / "tokenizer", directory.tokenizer)
    few = ["--blocks", "1:30", "--set", "train.batch_tokens=1024", "--set"]
    first = ["--model", directory.path, "--preset", mine, *few, "train.steps=2"]
    assert cli("pretrain", road.archive, *first).exit_code == 0
    new = ["--model", adapted.path, "--adapt", directory.path, "--preset", "debug", "--set", "score.folds=4"]
    assert cli("pretrain", road.archive, *new, *few, "adapt.steps=2").exit_code == 0
    assert trained_config(adapted).score == ScoreConfig(batch_tokens=4096, folds=4)
    taken: list[ScoreConfig] = []

    def calibrate(shards: Any, model: Path, config: Config, *rest: Any, **more: Any) -> dict[str, object]:
        taken.append(config.score)
        return {}

    monkeypatch.setattr(commands, "calibrate", calibrate)
    for given in ([], ["--set", "score.folds=2"], ["--preset", "debug"]):
        assert cli("calibrate", road.archive, "--model", directory.path, *given).exit_code == 0
    assert taken == [ScoreConfig(batch_tokens=4096, folds=3), ScoreConfig(batch_tokens=4096), ScoreConfig()]


def test_a_model_of_before_and_one_of_the_defaults_keep_nothing_of_scoring(road: Any) -> None:
    assert "score" not in read_manifest(road.model / "checkpoint", "checkpoint").config
    assert trained_config(ModelDir(road.model), ["score.folds=4"]).score == ScoreConfig(folds=4)
