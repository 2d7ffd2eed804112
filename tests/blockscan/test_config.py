"""Presets and overrides: what fits is taken, what does not is named."""

from pathlib import Path

import pytest

from blockscan.config import ScoreConfig, TrainConfig, changed, config_from, load_config
from blockscan.errors import ConfigError

PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "presets"


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text("[model]\nlayers = 3\n")
    return path


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_preset_loads(path: Path) -> None:
    config = load_config(path)
    assert config.model.width % config.model.heads == 0


def test_overrides_win_over_the_preset(preset: Path) -> None:
    config = load_config(preset, ["model.layers=7", "train.learning_rate=1e-3", "model.attention=sdpa"])
    assert (config.model.layers, config.train.learning_rate, config.model.attention) == (7, 1e-3, "sdpa")


def test_overrides_leave_what_they_were_given_as_it_is() -> None:
    raw = {"score": {"folds": 4}}
    config = config_from(raw, "here", ["score.folds=8", "train.steps=3"])
    assert (config.score.folds, config.train.steps, raw) == (8, 3, {"score": {"folds": 4}})


def test_only_what_is_not_the_default_is_changed() -> None:
    assert changed(ScoreConfig()) == changed(TrainConfig(steps=1000)) == {}
    assert changed(ScoreConfig(bf16=True, folds=2)) == {"bf16": True}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.layer=7", "nearest known one is 'layers'"),
        ("modle.layers=7", "nearest known one is 'model'"),
        ("model.layers=many", "must be of type int"),
        ("model.layers=true", "must be of type int"),
        (f"train.steps={'9' * 5000}", "must be of type int"),
        (f"train.steps={10**30}", "is too large a number"),
        (f"train.learning_rate={'9' * 400}", "is too large a number"),
        ("layers", "not of the form section.key=value"),
    ],
)
def test_a_wrong_override_is_named(preset: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(preset, [override])


def test_an_unknown_key_in_the_file_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[train]\nlearning_rat = 1.0\n")
    with pytest.raises(ConfigError, match=r"learning_rat'; the nearest known one is 'learning_rate'"):
        load_config(path)


def test_missing_and_broken_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the preset"):
        load_config(tmp_path / "none.toml")
    for broken in ("[train\n", f"[train]\nsteps = {'9' * 5000}\n"):
        (tmp_path / "broken.toml").write_text(broken)
        with pytest.raises(ConfigError, match="not valid TOML"):
            load_config(tmp_path / "broken.toml")
