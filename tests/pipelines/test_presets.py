"""How large the presets are, and that their settings go together."""

from pathlib import Path

import pytest

from blockscan.config import Config, load_config
from blockscan.model.encoder import MaskedLM
from blockscan.tokens import VocabularyShape

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
