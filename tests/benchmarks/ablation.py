"""What each piece of the detector is worth: leave it out, on the dev split of the simulated benchmark.

    blockscan simulate --preset standard --split dev --out bench
    python tests/benchmarks/ablation.py --bench bench --cache cache           # an hour or two; resumable
    python tests/benchmarks/ablation.py --bench bench --cache cache --only no-rope
    python tests/benchmarks/ablation_report.py --bench bench --cache cache    # minutes

This one trains the variants of the model (preset demo, the same steps and tokenizer for each) on blocks up to
train_until_block of meta.json, and keeps the surprise of every token that the report needs, computed in
bfloat16. The report takes those and prints the tables, so a change of facts or fusion needs the report alone.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch
from numpy.typing import NDArray

from blockscan.config import Config, load_config
from blockscan.model.checkpoint import load_checkpoint
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import token_losses
from blockscan.tokens import Modality, TokenSequence
from blockscan.transaction import Transaction
from pipelines import pretrain as pretraining
from pipelines.commands import shards_of
from pipelines.labels import hash_key, read_labels
from pipelines.sources import read_transactions, time_order
from tokenizer.txtokenizer import TxTokenizer

PRESET = Path(pretraining.__file__).parent / "presets" / "demo.toml"
FIT_BLOCKS = 250
SHORT = 256
"""Tokens of the window under which windows and truncation differ for many transactions."""
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
DEFAULT = "default"
_UNNAMED = "ablation"  # the checkpoints belong to no saved tokenizer

Reading = Callable[[TokenSequence], TokenSequence]


@dataclass(frozen=True, slots=True)
class Variant:
    """A model to train. settings: over the preset. share: of the training transactions, the latest.

    without: a modality whose tokens the model never sees. rope: False for no positions at all. weights:
    the variant whose model is only scored again, with other settings.
    """

    settings: tuple[str, ...] = ()
    share: float = 1.0
    without: Modality | None = None
    rope: bool = True
    weights: str = ""


def _size(layers: int, width: int) -> Variant:
    shape = {"layers": layers, "width": width, "feed_forward": 2 * width, "heads": width // 32}
    return Variant(tuple(f"model.{name}={number}" for name, number in shape.items()))


VARIANTS: Mapping[str, Variant] = {
    DEFAULT: Variant(),
    "seed-1": Variant(("train.seed=1",)),
    "short": Variant((f"model.longest={SHORT}",), weights=DEFAULT),
    "no-rope": Variant(rope=False),
    "tree-bias": Variant(("model.depth_bias=true", "model.role_bias=8", "model.lca_bias=5")),
    **{f"no-{each.name.lower()}": Variant(without=each) for each in Modality},
    "size-2x64": _size(2, 64),
    "size-6x192": _size(6, 192),
    **{f"share-{share:g}": Variant(share=share) for share in SHARES if share < 1},
    "mask-0.15": Variant(("train.mask_rate=0.15",)),
    "mask-0.5": Variant(("train.mask_rate=0.5",)),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """The benchmark in time order: benign past to train on and to fit parts on, and the test.

    attack, ranked bool (N,) of the test: exploits, and what is ranked: them and benign transactions, but not
    the steps around an attack. incident: its name, or the hash of a transaction that is in none.
    """

    past: list[Transaction]
    fit: list[Transaction]
    test: list[Transaction]
    attack: NDArray[np.bool_]
    ranked: NDArray[np.bool_]
    incident: list[str]

    @property
    def judged(self) -> list[Transaction]:
        """What gets a surprise: first what parts are fitted on, then the test."""
        return [*self.fit, *self.test]


def read_bench(path: Path) -> Bench:
    """Transactions by block, with their labels."""
    meta = json.loads((path / "meta.json").read_text())
    labels = read_labels(path / "labels.csv")
    first_fit = meta["train_until_block"] + 1

    def read(part: str, blocks: str) -> list[Transaction]:
        found = {each.hash: each for each in read_transactions(shards_of(path / part, blocks)[0])}
        return sorted(found.values(), key=time_order)

    past, fit = read("history", f"1:{first_fit}"), read("history", f"{first_fit}:+{FIT_BLOCKS}")
    test = read("test", f"{meta['calibrate_until_block'] + 1}:")
    known = [labels[hash_key(each.hash)] for each in test]
    attack = np.array([each.label == "attack" and each.stage == "exploit" for each in known])
    ranked = attack | np.array([each.label == "benign" for each in known])
    incident = [label.incident or each.hash for label, each in zip(known, test, strict=True)]
    return Bench(past, fit, test, attack, ranked, incident)


def latest(items: Sequence[Transaction], share: float) -> Sequence[Transaction]:
    """The last `share` of transactions in time order."""
    return items[len(items) - round(share * len(items)) :]


def tokenizer_of(bench: Bench) -> TxTokenizer:
    """One for all variants, so that their losses are of the same tokens."""
    return TxTokenizer.fit(bench.past, load_config(PRESET).tokenizer)


def reading(variant: Variant) -> Reading:
    """What the model is given of a sequence: all of it, or all but the tokens of one modality."""
    if variant.without is None:
        return lambda sequence: sequence
    return lambda sequence: without(sequence, sequence.modality == variant.without)


def without(sequence: TokenSequence, gone: NDArray[np.bool_]) -> TokenSequence:
    """A sequence without some of its tokens (T,)."""
    arrays = ("ids", "modality", "field", "node", "depth", "unit", "group", "scored")
    kept = replace(sequence, **{name: getattr(sequence, name)[~gone] for name in arrays})
    return replace(kept, unit=np.unique(kept.unit, return_inverse=True)[1].astype(np.int32))


def without_positions(model: MaskedLM) -> MaskedLM:
    """The same model, in place, whose queries and keys are turned by nothing."""
    for name in ("turn_global", "turn_local"):
        model.register_buffer(name, torch.ones_like(model.get_buffer(name)), persistent=False)
    return model


def train(bench: Bench, tokenizer: TxTokenizer, name: str, steps: int, cache: Path) -> None:
    """Train one variant, and keep the surprise of every token of the judged transactions."""
    variant, out = VARIANTS[name], cache / name
    config = load_config(PRESET, [f"train.steps={steps}", "score.bf16=true", *variant.settings])
    read, began = reading(variant), time.monotonic()
    if not (out / "checkpoint").exists() and not variant.weights:
        shutil.rmtree(out, ignore_errors=True)  # of a run that was interrupted
        out.mkdir(parents=True)
        sequences = [read(tokenizer.encode(each)) for each in latest(bench.past, variant.share)]
        pretrain(sequences, tokenizer, config, out, rope=variant.rope)
    seconds, model = time.monotonic() - began, load(cache / (variant.weights or name), config)
    if not variant.rope:
        without_positions(model)
    judged = [read(tokenizer.encode(each)) for each in bench.judged]
    surprise = [each.surprise for each in token_losses(model, judged, config.score)]
    out.mkdir(exist_ok=True)
    np.savez(
        out / "surprise.npz",
        hash=np.array([each.tx_hash for each in judged]),
        length=np.array([len(each) for each in judged]),
        surprise=np.concatenate(surprise),
        weights=sum(each.numel() for each in model.parameters()),
        seconds=seconds,
    )


def pretrain(
    sequences: list[TokenSequence], tokenizer: TxTokenizer, config: Config, out: Path, *, rope: bool
) -> None:
    """Write a checkpoint, of a model with or without positions."""
    generator = torch.Generator().manual_seed(config.train.seed)
    model = MaskedLM(config.model, tokenizer.shape, generator=generator)
    start = pretraining.Start(model if rope else without_positions(model), "fresh")
    pretraining.pretrain(
        sequences,
        tokenizer.shape,
        config=config,
        out=out / "checkpoint",
        tokenizer_fingerprint=_UNNAMED,
        start=start,
    )


def load(out: Path, config: Config) -> MaskedLM:
    """The model of a checkpoint, with the window of the config."""
    model = load_checkpoint(out / "checkpoint", tokenizer_fingerprint=_UNNAMED)
    shape = replace(model.config, longest=config.model.longest)
    return MaskedLM(shape, model.vocabulary, weights=model.state_dict())


def main() -> None:
    """Train what the cache lacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", type=Path, required=True, help="made by `blockscan simulate`, dev split")
    parser.add_argument("--cache", type=Path, required=True, help="directory of models and surprises")
    parser.add_argument("--only", action="append", choices=tuple(VARIANTS), help="may be repeated")
    parser.add_argument("--steps", type=int, default=640)
    given = parser.parse_args()
    bench = read_bench(given.bench)
    tokenizer = tokenizer_of(bench)
    for name in given.only or VARIANTS:
        if not (given.cache / name / "surprise.npz").exists():
            began = time.monotonic()
            train(bench, tokenizer, name, given.steps, given.cache)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
