"""Hyper-parameters as frozen dataclasses, read from TOML presets; `--set section.key=value` overrides.

An unknown section or key is an error that names the nearest known one.
"""

import copy
import dataclasses
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from blockscan.errors import ConfigError

_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """What the vocabulary keeps whole; everything rarer becomes an alias or a hash bucket."""

    addresses: int = 7000
    selectors: int = 4000
    topics: int = 2000
    words: int = 2000
    min_count: int = 2
    aliases: int = 64
    buckets: int = 64
    text_pieces: int = 512


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of the encoder (ModernBERT, arXiv 2412.13663).

    `depth_bias`, `role_bias` (its rank) and `lca_bias` (its landmarks) let attention see the call tree, see
    blockscan.model.tree_bias; 0 and false switch them off. `replaced_head` adds the head that tells replaced
    tokens from real ones, see blockscan.model.corruption.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    feed_forward: int = 256
    longest: int = 1024
    window: int = 128
    global_every: int = 3
    rope_global: float = 160_000.0
    rope_local: float = 10_000.0
    attention: str = "auto"
    depth_bias: bool = False
    role_bias: int = 0
    lca_bias: int = 0
    replaced_head: bool = False


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Pretraining run; `warmup` and `decay` are shares of the steps (warm-up, stable, decay).

    `accumulate` batches make one step, shared among the processes. `optimizer` is "adamw", or "muon" for the
    matrices of the blocks, at `muon_rate` times the learning rate. `ema` is the decay of averaged weights
    (0: off). `compactness` weighs the term of blockscan.model.compactness (0: off). `compile` and `parallel`
    ("ddp" or "fsdp") change how a run computes, not what.
    """

    steps: int = 1000
    batch_tokens: int = 8192
    accumulate: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    decay: float = 0.3
    clip: float = 1.0
    mask_rate: float = 0.3
    replaced_weight: float = 0.0
    compactness: float = 0.0
    bf16: bool = True
    checkpoint_every: int = 200
    seed: int = 0
    optimizer: str = "adamw"
    muon_rate: float = 1.0
    ema: float = 0.0
    compile: bool = False
    parallel: str = "ddp"


@dataclass(frozen=True, slots=True)
class AdaptConfig:
    """Adapting a trained model to few transactions by low-rank matrices (LoRA+), see blockscan.model.lora.

    `rank` of the matrices; `alpha` / `rank` scales what they add; `ratio` is the learning rate of the second
    matrix over that of the first. `steps` and `learning_rate` replace those of the section `train`.
    """

    rank: int = 8
    alpha: float = 16.0
    ratio: float = 16.0
    steps: int = 300
    learning_rate: float = 5e-4


@dataclass(frozen=True, slots=True)
class ScoreConfig:
    """How transactions are scored: the folds cover every name once, so no seed enters.

    `mode`: "folds" (surprise of every name hidden), "replaced" (evidence of the replaced-token head, one
    pass), "both", or "cascade" (one pass for all, the folds only where its evidence is at least
    `cascade_from` nats, or, while that is 0, for the share `cascade` of the transactions given).
    `density`: kind of density of embeddings that takes part, see blockscan.detect.density ("": none).
    `without`: parts of the score to leave out, see blockscan.detect.score, separated by commas; those of the
    default add nothing to the others.
    `carried`: share of the value of an account's recent transactions that is added to its next ones, see
    blockscan.detect.accounts (0: none).
    `mix`: p-values allow for how large the transactions of late are, see blockscan.detect.mix.
    """

    mode: str = "folds"
    cascade: float = 0.05
    cascade_from: float = 0.0
    folds: int = 2
    batch_tokens: int = 16_384
    expected: int = 3
    bf16: bool = False
    density: str = ""
    without: str = "strongest, fisher, criticism"
    carried: float = 0.2
    mix: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run needs to know besides its paths."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML preset and apply `section.key=value` overrides (values in TOML syntax).

    Raises:
        ConfigError: the file is missing or not TOML, or a section, key or value does not fit.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the preset {path}: {error.strerror}; give an existing .toml file"
        ) from error
    except ValueError as error:  # bad TOML, bad UTF-8, or a number of thousands of digits
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return config_from(raw, str(path), overrides)


def config_from(raw: Mapping[str, Any], where: str, overrides: Sequence[str] = ()) -> Config:
    """Build a Config from nested mappings and overrides; `where` names their origin in errors."""
    taken = copy.deepcopy(dict(raw))
    for override in overrides:
        _apply(taken, override)
    sections = get_type_hints(Config)
    _refuse_unknown(taken, sections, f"section in {where}")
    return Config(
        **{name: _section(sections[name], values, f"{where} [{name}]") for name, values in taken.items()}
    )


def _section(kind: type[Any], values: object, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a table of key = value lines")
    hints = get_type_hints(kind)
    _refuse_unknown(values, hints, f"key in {where}")
    return kind(**{key: _typed(value, hints[key], f"{where} {key}") for key, value in values.items()})


def _typed(value: object, kind: type[Any], where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > 1e300:
            raise ConfigError(f"{where} is too large a number")
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be of type {kind.__name__}, not {value!r:.100}")
    if kind is int and value not in range(-_LARGEST, _LARGEST):
        raise ConfigError(f"{where} is too large a number")
    return value


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise ConfigError(f"unknown {what}: {key!r}; the nearest known one is {near!r}")


def _apply(raw: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot:
        raise ConfigError(f"--set {override!r} is not of the form section.key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        parsed = value.strip()
    raw.setdefault(section, {})[key] = parsed


def changed(section: Any) -> dict[str, Any]:
    """The settings of a section, such as a ScoreConfig, that are not the defaults."""
    usual = dataclasses.asdict(type(section)())
    return {name: value for name, value in dataclasses.asdict(section).items() if value != usual[name]}
