"""Real attacks on Ethereum among real blocks: each fold learns from earlier blocks only (rolling origin).

    python tests/benchmarks/real_attacks.py --facts-only
    python tests/benchmarks/real_attacks.py --out runs/real --baselines all

Settings: "onchain" compares recorded attack transactions with benign ones, logs and gas taken off both, as
most recorded attacks have neither; "replay" the replays of incidents with benign transactions whose logs are
known by frame, put after sub-calls. For each cut block, the benign transactions before it train (first 70 %
in time) and calibrate (the rest); those up to the next cut are tested together with the attacks of that time.
Values of all folds are ranked together. Attacks without a date are judged by the last fold and reported
apart. No attack reaches training, calibration or a threshold: attacks are read, and then only scored. Prints
Markdown tables, asserts nothing.

--out keeps by setting, fold and kind of run the trained model, the tokens with their surprises, and one file
per family of baselines. What is there is not computed again, what is deleted is computed anew. Facts, their
calibration and the fusion are always computed, by the code as it is.
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import pyarrow.parquet as pq
from facts_in_time import facts_in_time
from numpy.typing import NDArray
from real_data import Fold, Item, folds, read
from real_tables import Row, report, scaling

from blockscan.chains.families import main_target
from blockscan.config import Config, ScoreConfig
from blockscan.detect.accounts import Recent
from blockscan.detect.calibrate import Observed, fit_calibration, judge
from blockscan.detect.facts import FACTS
from blockscan.detect.history import history_of
from blockscan.detect.score import ScoreModel, Summary, kept_parts
from blockscan.model.losses import token_losses
from blockscan.tokens import TokenLosses, TokenSequence
from blockscan.transaction import Call, Transaction, walk
from pipelines import commands
from pipelines.baselines import BASELINES
from pipelines.baselines.run import HASH, Request, run_baselines
from pipelines.evaluation.facts import skeleton
from pipelines.model_dir import ModelDir, load_model
from pipelines.options import preset_config
from pipelines.sources import Shard
from tokenizer.txtokenizer import TxTokenizer

ROOT = Path(__file__).resolve().parents[2]
CUTS = (9_000_000, 10_500_000, 12_500_000, 13_600_000, 15_500_000, 17_300_000)
SHARES = (0.25, 0.5, 1.0)
NEURAL = ("blockgpt", "single_mask", "published")
Tokens = list[tuple[TokenSequence, TokenLosses]]


def own_values(
    fold: Fold, train: Sequence[Transaction], tokens: Mapping[str, Tokens], config: ScoreConfig
) -> list[Row]:
    """Values of our detectors and -log10 p by part of what is tested; without tokens from facts only.

    As shipped, part of a value is carried over to what its account does next; not so from facts only.
    """
    history = history_of(train)
    transactions = {"calibrate": fold.calibrate, "test": [item.transaction for item in fold.test]}
    facts = {name: list(facts_in_time(some, history)) for name, some in transactions.items()}
    known = [fact_summary(each) for each in facts["calibrate"][: len(fold.calibrate) // 2]]
    model = ScoreModel.fit(known, parts=FACTS)
    summaries = map(fact_summary, facts["test"])
    found = [{"values": {"facts only": model.value(x)}, "rarities": model.rarities(x)} for x in summaries]
    if not tokens:
        return found
    observed = {
        name: [
            Observed(*pair, numbers, each.source.value, each.status.value)
            for pair, numbers, each in zip(tokens[name], facts[name], transactions[name], strict=True)
        ]
        for name in transactions
    }
    parts = kept_parts(config.without, density="")
    calibration = fit_calibration(observed["calibrate"], fpr=0.01, parents={}, scoring={}, parts=parts)
    recent = Recent(config.carried)
    for row, each, one in zip(found, observed["test"], transactions["test"], strict=True):
        judged = judge(calibration, each, carried=recent.carried(one.sender, one.time))
        recent.add(one.sender, one.time, judged.value)
        row["values"] = {"BlockScan": judged.value, "tokens only": judged.views["model"]} | row["values"]
        row["rarities"] = dict(judged.rarities)
    return found


def fact_summary(numbers: NDArray[np.float64]) -> Summary:
    """The part of a transaction's summary that needs no model."""
    parts = {name: x for name, x in zip(FACTS, numbers.tolist(), strict=True) if not math.isnan(x)}
    return Summary(parts["calls"], parts)


def tokens_of(fold: Fold, model: Path, folder: Path, config: Config, device: str) -> dict[str, Tokens]:
    """Tokens and surprises of what calibrates and what is tested, as kept or from a model trained here."""
    wanted = {"calibrate": fold.calibrate, "test": [item.transaction for item in fold.test]}
    for name, transactions in wanted.items():
        path = folder / f"{name}.npz"
        if path.exists():
            continue
        began = time.perf_counter()
        folder.mkdir(exist_ok=True)
        train(fold, model, config, device)
        trained_at = time.perf_counter()
        tokenizer, network, _ = load_model(ModelDir(model), device)
        sequences = [tokenizer.encode(each) for each in transactions]
        keep_tokens(path, sequences, token_losses(network, sequences, config.score))
        say(
            f"{path}: trained in {trained_at - began:.0f} s; {len(sequences):,} transactions, "
            f"{sum(map(len, sequences)):,} tokens in {time.perf_counter() - trained_at:.0f} s"
        )
    return {name: kept_tokens(folder / f"{name}.npz", each) for name, each in wanted.items()}


def train(fold: Fold, directory: Path, config: Config, device: str) -> None:
    """Tokenizer and model by the steps of the command line, unless they are there."""
    if directory.exists():
        return
    draft = directory.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    shards = [Shard("train", lambda: iter(fold.train), len(fold.train))]
    commands.fit(shards, draft, config, None)
    commands.train(shards, draft, config, None, device=device, resume=False)
    draft.rename(directory)


def keep_tokens(path: Path, sequences: Sequence[TokenSequence], losses: Sequence[TokenLosses]) -> None:
    """Everything that is aligned with tokens, end to end."""
    arrays = {
        field.name: np.concatenate([getattr(each, field.name) for each in some])
        for some in (sequences, losses)
        for field in fields(some[0])
        if isinstance(getattr(some[0], field.name), np.ndarray)
    }
    draft = path.with_name(f"draft-{path.name}")
    lengths, windows = [len(each) for each in sequences], [each.windows for each in losses]
    hashes = np.array([each.tx_hash for each in sequences])
    np.savez_compressed(draft, _hash=hashes, _length=lengths, _windows=windows, **arrays, allow_pickle=False)
    draft.rename(path)


def kept_tokens(path: Path, transactions: Sequence[Transaction]) -> Tokens:
    """What `keep_tokens` kept of these transactions, in their order."""
    with np.load(path) as stored:
        arrays = dict(stored)
    hashes, lengths, windows = (arrays.pop(name).tolist() for name in ("_hash", "_length", "_windows"))
    require_same(path, hashes, transactions)
    rows = [np.split(array, np.cumsum(lengths)[:-1]) for array in arrays.values()]
    found = []
    for tx_hash, count, *own in zip(hashes, windows, *rows, strict=True):
        parts = dict(zip(arrays, own, strict=True))
        of_tokens = {each.name: parts.pop(each.name) for each in fields(TokenSequence) if each.name in parts}
        found.append((TokenSequence(tx_hash, **of_tokens), TokenLosses(tx_hash, windows=count, **parts)))
    return found


def baseline_values(
    fold: Fold, folder: Path, names: Sequence[str], config: Config, device: str
) -> dict[str, list[float]]:
    """Values of the tested transactions by column, of the families named and of those kept."""
    test = [item.transaction for item in fold.test]
    files = {name: folder / f"{name}.parquet" for name in BASELINES}
    if lacking := [name for name in names if not files[name].exists()]:
        tokenizer = TxTokenizer.fit(fold.train, config.tokenizer)
        for name in lacking:
            asked = Request(fold.train, test, tokenizer, config, device=device, only=(name,))
            made = run_baselines(asked, files[name])
            say(f"{files[name]}: {made[f'{name} seconds']} s")
    columns: dict[str, list[float]] = {}
    for path in files.values():
        if path.exists():
            kept = pq.read_table(path).to_pydict()
            require_same(path, kept.pop(HASH), test)
            columns |= kept
    return columns


def require_same(path: Path, hashes: Sequence[str], transactions: Sequence[Transaction]) -> None:
    """Stop where a file is of other transactions."""
    if hashes != [each.hash for each in transactions]:
        raise SystemExit(f"{path} is of other transactions; delete it, or give another --out")


def say(line: str) -> None:
    """Progress, where it does not get into the tables."""
    print(line, file=sys.stderr, flush=True)


def rows_of(fold: Fold, own: Sequence[Row], columns: Mapping[str, Sequence[float]]) -> list[Row]:
    """What the tables look at: of our detectors, of the baselines by column, and of the call tree."""
    rows = []
    for place, (item, ours) in enumerate(zip(fold.test, own, strict=True)):
        root = item.transaction.root
        rows.append(
            {
                "hash": item.transaction.hash,
                "fold": fold.name,
                "file": item.file,
                "attack": item.attack,
                "incident": item.incident if item.attack else item.transaction.hash,
                "dated": item.when is not None,
                "calls": sum(isinstance(visit.step, Call) for visit in walk(root)),
                "shape": f"{skeleton(root).hex()} {main_target(item.transaction)}",
                "values": ours["values"] | {name: values[place] for name, values in columns.items()},
                "rarities": ours["rarities"],
            }
        )
    return rows


def scored(items: Sequence[Item], given: argparse.Namespace, setting: str, share: float = 1.0) -> list[Row]:
    """The rows of every fold; a share below 1 thins whole training blocks, and gives facts only."""
    config, rows = config_of(given), list[Row]()
    trained_by = [each for each in given.set if not each.startswith("score.")]
    scored_by = [each for each in given.set if each.startswith("score.") and "without" not in each]
    for fold in folds(items, given.cuts):
        folder = given.out / setting / fold.name / "-".join((given.preset, f"{given.steps}", *trained_by))
        passed = folder / "-".join(("tokens", *scored_by))
        folder.mkdir(parents=True, exist_ok=True)
        compute = not given.folds or fold.name in given.folds
        tokens: dict[str, Tokens] = {}
        columns: dict[str, list[float]] = {}
        if share == 1 and not given.facts_only:
            if not compute and not (passed / "test.npz").exists():
                say(f"fold {fold.name} is left out: its model was not run")
                continue
            tokens = tokens_of(fold, folder / "model", passed, config, given.device)
        began = time.perf_counter()
        own = own_values(fold, thinned(fold.train, share), tokens, config.score)
        say(
            f"{setting} {100 * share:g} % fold {fold.name}: {len(fold.train):,} trained, "
            f"{len(fold.calibrate):,} calibrated, {len(fold.test):,} scored; "
            f"facts and fusion {time.perf_counter() - began:.0f} s"
        )
        if share == 1:
            columns = baseline_values(fold, folder, given.baselines if compute else (), config, given.device)
        rows += rows_of(fold, own, columns)
    return rows


def config_of(given: argparse.Namespace) -> Config:
    """The preset with the number of steps asked for."""
    return preset_config(given.preset, [f"train.steps={given.steps}", *given.set])


def thinned(train: Sequence[Transaction], share: float) -> list[Transaction]:
    """A random share of the blocks, the same in every run; a smaller share is part of a larger one."""
    blocks = sorted({each.block_number or 0 for each in train})
    lot = dict(zip(blocks, np.random.default_rng(0).random(len(blocks)).tolist(), strict=True))
    return [each for each in train if lot[each.block_number or 0] < share]


def families(text: str) -> list[str]:
    """Names of families of baselines from the command line."""
    sets = {"none": [], "cheap": [name for name in BASELINES if name not in NEURAL], "all": list(BASELINES)}
    names = sets.get(text, text.split(","))
    if unknown := set(names) - set(BASELINES):
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: give all, cheap, none, or of {', '.join(BASELINES)}"
        )
    return names


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "evm")
    parser.add_argument("--setting", choices=("onchain", "replay", "both"), default="both")
    parser.add_argument("--cuts", type=int, nargs="+", default=CUTS, help="block numbers")
    parser.add_argument(
        "--folds", nargs="+", default=(), help="train and run baselines for these cuts only; others if kept"
    )
    parser.add_argument("--facts-only", action="store_true", help="train nothing")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--set", action="append", default=[], metavar="S.K=V", help="section.key=value")
    parser.add_argument(
        "--baselines", type=families, default="cheap", help="all, cheap, none, or A,B,...; others if kept"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="keep models, surprises and baselines here")
    parser.add_argument("--scaling", action="store_true", help="facts only, by share of the training blocks")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--pools", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    config = config_of(given).score
    if config.density or config.mode == "cascade":
        raise SystemExit(
            "neither embeddings nor a cascade's threshold are kept: leave score.density and the mode"
        )
    if not any(given.data.glob("attacks_*.jsonl.gz")):
        raise SystemExit(
            f"{given.data} holds no attacks_*.jsonl.gz; give the folder of real transactions: --data"
        )
    with tempfile.TemporaryDirectory() as scratch:
        given.out = given.out or Path(scratch)
        given.out.mkdir(parents=True, exist_ok=True)
        asked = ("git", "rev-parse", "--short", "HEAD")
        commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        print(f"commit {commit}, {' '.join(sys.argv[1:])}")
        for setting in ("onchain", "replay") if given.setting == "both" else (given.setting,):
            items = read(given.data, setting)
            early = sum(item.attack and (item.when or math.inf) < min(given.cuts) for item in items)
            print(f"\n### {setting}: {early} attacks before the first cut are left out")
            rows = scored(items, given, setting)
            if not rows:
                print("\nNo fold has a model yet: give --facts-only, or do not exclude all by --folds.")
                continue
            report(rows, given, setting)
            if given.scaling:
                scaling({share: scored(items, given, setting, share) for share in SHARES}, given)


if __name__ == "__main__":
    main()
