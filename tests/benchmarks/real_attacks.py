"""Real attacks on Ethereum among real blocks: each fold learns from earlier blocks only (rolling origin).

    python tests/benchmarks/real_attacks.py --facts-only
    python tests/benchmarks/real_attacks.py --out runs/real

Settings: "onchain" compares recorded attack transactions with benign ones, logs taken off both; "replay"
the replays of incidents with benign transactions whose logs are known by frame, put after sub-calls. For each
cut block, the benign transactions before it train (first 70 % in time) and calibrate (the rest); those up to
the next cut are tested together with the attacks of that time. Values of all folds are ranked together.
Attacks without a date are judged by the last fold and reported apart. No attack reaches training, calibration
or a threshold: attacks are read, and then only scored. Prints Markdown tables, asserts nothing. Finished
folds are kept in --out, so that a run can be continued; its tables are made anew.
"""

import argparse
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
from numpy.typing import NDArray
from real_tables import COUNTED, FITTED, METRICS, Row, brief, compared, distinct, false_alarms, pools, table

from blockscan.chains.ethereum import parse_record
from blockscan.chains.families import main_target
from blockscan.config import Config
from blockscan.detect.calibrate import Observed, judge
from blockscan.detect.counts import COUNT_NAMES, count_features
from blockscan.detect.facts import FACTS, fact_values, facts_of
from blockscan.detect.history import History, history_of
from blockscan.detect.score import TOKEN_PARTS, ScoreModel, Summary
from blockscan.model.losses import token_losses
from blockscan.transaction import Call, LogOrder, TraceSource, Transaction
from pipelines import commands
from pipelines.baselines.counting import fit_ecod, fit_isolation_forest
from pipelines.baselines.setting import Setting
from pipelines.evaluation.facts import skeleton
from pipelines.model_dir import ModelDir, load_detector
from pipelines.options import preset_config
from pipelines.sources import Shard, time_order
from tokenizer.txtokenizer import TxTokenizer

ROOT = Path(__file__).resolve().parents[2]
CUTS = (9_000_000, 10_500_000, 12_500_000, 13_600_000, 15_500_000, 17_300_000)
TRAINED = 0.7
STRATA = (1, 2, 10, 40)
GOALS = {1: (0.990, 0.92, 0.75), 2: (0.975, 0.85, 0.55), 10: (0.970, 0.75, 0.50), 40: (0.93, 0.60, 0.35)}
SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Item:
    """A transaction, and what only the tables look at; `when` is a block, None where nothing dates it."""

    transaction: Transaction
    file: str
    attack: bool
    incident: str
    when: float | None


@dataclass(frozen=True, slots=True)
class Fold:
    """Benign transactions in time order to train and to calibrate on; what is scored; `name`: its cut."""

    name: str
    train: list[Transaction]
    calibrate: list[Transaction]
    test: list[Item]


def read(folder: Path, setting: str) -> list[Item]:
    """Labelled Ethereum transactions as the setting compares them, in time order, attacks without date last.

    What nobody labelled, and benign ones of unknown block, are left out.
    """
    wanted = "onchain" if setting == "onchain" else "poc_replay"
    found = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                attack = record["label"] == "attack"
                if record["chain"] != "ethereum" or record["label"] not in ("attack", "benign"):
                    continue
                if attack and not record["kind"].startswith(wanted):
                    continue
                if kept := comparable(parse_record(record), setting):
                    found.append((path.name.partition(".")[0], attack, record, kept))
    anchors = np.array(
        sorted((each.time, each.block_number) for *_, each in found if each.time and each.block_number)
    )
    items = [
        Item(each, file, attack, record.get("incident") or each.hash, block_of(each, record, anchors))
        for file, attack, record, each in found
    ]
    placed = [item for item in items if item.attack or item.when is not None]
    return sorted(placed, key=in_time)


def in_time(item: Item) -> tuple[float, tuple[int, int, str]]:
    """Sort key: block, and the place in it; those without date come last."""
    return math.inf if item.when is None else item.when, time_order(item.transaction)


def comparable(transaction: Transaction, setting: str) -> Transaction | None:
    """The transaction with as much of its logs as all others of the setting have, None if it has less."""
    if setting == "onchain":
        bare = without_logs(transaction.root, after_calls=False)
        return replace(transaction, root=bare, source=TraceSource.CALL_TRACER, log_order=LogOrder.ABSENT)
    if transaction.log_order not in (LogOrder.EXACT, LogOrder.FRAME):
        return None
    return replace(
        transaction, root=without_logs(transaction.root, after_calls=True), log_order=LogOrder.FRAME
    )


def without_logs(root: Call, *, after_calls: bool) -> Call:
    """The tree without its logs, or with each frame's logs after its sub-calls; no recursion."""
    order, pending = [], [root]
    while pending:
        call = pending.pop()
        order.append(call)
        pending += [step for step in call.steps if isinstance(step, Call)]
    made: dict[int, Call] = {}
    for call in reversed(order):
        calls = tuple(made[id(step)] for step in call.steps if isinstance(step, Call))
        logs = tuple(step for step in call.steps if not isinstance(step, Call)) if after_calls else ()
        made[id(call)] = replace(call, steps=(*calls, *logs))
    return made[id(root)]


def block_of(
    transaction: Transaction, record: Mapping[str, Any], anchors: NDArray[np.float64]
) -> float | None:
    """The block number, or what the record's day comes to between known blocks (2024/1/13, 20220305, ...)."""
    if transaction.block_number is not None:
        return float(transaction.block_number)
    date = (record.get("date") or "").replace("/", "-")
    if date.isdigit() and len(date) == 8:
        date = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    if not date:
        return None
    year, month, day = ([int(part) for part in date.split("-")] + [1, 1])[:3]
    return float(np.interp(datetime(year, month, day, tzinfo=UTC).timestamp(), anchors[:, 0], anchors[:, 1]))


def folds(items: Sequence[Item], cuts: Sequence[int]) -> Iterator[Fold]:
    """One fold per cut block that has benign transactions on both sides."""
    benign = [item.transaction for item in items if not item.attack]
    for cut, until in zip(cuts, (*cuts[1:], math.inf), strict=True):
        past = [each for each in benign if (each.block_number or 0) < cut]
        test = [
            item
            for item in items
            if (item.when is None and until == math.inf)
            or (item.when is not None and cut <= item.when < until)
        ]
        if past and not all(item.attack for item in test):
            border = past[int(TRAINED * len(past))].block_number or 0
            train = [each for each in past if (each.block_number or 0) < border]
            yield Fold(f"{cut}", train, past[len(train) :], test)


def by_facts(fold: Fold, train: Sequence[Transaction]) -> list[dict[str, float]]:
    """-log10 p by fact of every tested transaction, from a history of `train`; nothing is trained."""
    history = history_of(train)
    model = ScoreModel.fit(
        [fact_summary(each, history) for each in fold.calibrate[: len(fold.calibrate) // 2]], parts=FACTS
    )
    return [model.rarities(fact_summary(item.transaction, history)) for item in fold.test]


def fact_summary(transaction: Transaction, history: History) -> Summary:
    """The part of a transaction's summary that needs no model."""
    parts = dict(zip(FACTS, fact_values(facts_of(transaction, history)).tolist(), strict=True))
    return Summary(parts["calls"], parts)


def by_model(fold: Fold, config: Config, directory: Path, device: str) -> tuple[list[dict[str, float]], Any]:
    """The value and -log10 p by part of every tested transaction, by the steps of the command line."""
    train, calibration = (shards(name, getattr(fold, name)) for name in ("train", "calibrate"))
    commands.fit(train, directory, config, None)
    commands.train(train, directory, config, None, device=device, resume=False)
    commands.calibrate(calibration, directory, config, None, fpr=0.01, device=device)
    detector = load_detector(ModelDir(directory), device)
    sequences = [detector.tokenizer.encode(item.transaction) for item in fold.test]
    losses = token_losses(detector.model, sequences, detector.scoring)
    found = []
    for item, sequence, loss in zip(fold.test, sequences, losses, strict=True):
        facts = fact_values(facts_of(item.transaction, detector.history))
        source, status = item.transaction.source.value, item.transaction.status.value
        judgement = judge(detector.calibration, Observed(sequence, loss, facts, source, status))
        found.append({"value": judgement.value, **judgement.rarities})
    return found, detector.tokenizer


def shards(name: str, transactions: Sequence[Transaction]) -> list[Shard]:
    """Transactions in memory as the steps read them."""
    return [Shard(name, lambda: iter(transactions), len(transactions))]


def rows_of(fold: Fold, rarities: Sequence[Mapping[str, float]], tokenizer: TxTokenizer) -> list[Row]:
    """What is kept of a fold: values by detector, and -log10 p by part."""
    setting = Setting(tokenizer, np.random.default_rng(0), Config())
    transactions = [item.transaction for item in fold.test]
    fitted = [
        fit(fold.train, setting)(transactions)[:, 0].tolist() for fit in (fit_isolation_forest, fit_ecod)
    ]
    rows = []
    for item, parts, *others in zip(fold.test, rarities, *fitted, strict=True):
        counts = dict(zip(COUNT_NAMES, count_features(item.transaction).tolist(), strict=True))
        values = {"facts only": sum(parts[name] for name in FACTS)}
        if "value" in parts:
            tokens_only = sum(parts[name] for name in TOKEN_PARTS)
            values = {"BlockScan": parts["value"], "tokens only": tokens_only} | values
        values["length"] = float(len(tokenizer.encode(item.transaction)))
        values |= {name: counts[name] for name in COUNTED} | dict(zip(FITTED, others, strict=True))
        shape = f"{skeleton(item.transaction.root).hex()} {main_target(item.transaction)}"
        rows.append(
            {
                "hash": item.transaction.hash,
                "fold": fold.name,
                "file": item.file,
                "attack": item.attack,
                "incident": item.incident if item.attack else item.transaction.hash,
                "dated": item.when is not None,
                "calls": int(counts["calls"]),
                "shape": shape,
                "values": values,
                "rarities": {name: each for name, each in parts.items() if name != "value"},
            }
        )
    return rows


def scored(items: Sequence[Item], given: argparse.Namespace, setting: str, share: float = 1.0) -> list[Row]:
    """The rows of every fold, computed or as kept in --out; a share below 1 thins whole training blocks."""
    mode = "facts" if given.facts_only or share < 1 else f"{given.preset}-{given.steps}"
    rows: list[Row] = []
    for fold in folds(items, given.cuts):
        kept = given.out / f"{setting}-{mode}-{100 * share:g}-{fold.name}.json"
        if not kept.exists():
            if given.folds and fold.name not in given.folds:
                continue
            began = time.perf_counter()
            if mode == "facts":
                parts = by_facts(fold, thinned(fold.train, share))
                tokenizer = TxTokenizer.fit(fold.train, config_of(given).tokenizer)
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    parts, tokenizer = by_model(fold, config_of(given), Path(scratch), given.device)
            draft = kept.with_suffix(".draft")
            draft.write_text(json.dumps(rows_of(fold, parts, tokenizer)))
            draft.rename(kept)
            print(
                f"{setting} {mode} {100 * share:g} % fold {fold.name}: {len(fold.train):,} trained, "
                f"{len(fold.calibrate):,} calibrated, {len(fold.test):,} scored, "
                f"{time.perf_counter() - began:.0f} s",
                file=sys.stderr,
            )
        rows += json.loads(kept.read_text())
    return rows


def config_of(given: argparse.Namespace) -> Config:
    """The preset with the number of steps asked for."""
    return preset_config(given.preset, [f"train.steps={given.steps}", *given.set])


def thinned(train: Sequence[Transaction], share: float) -> list[Transaction]:
    """A random share of the blocks, the same in every run; a smaller share is part of a larger one."""
    blocks = sorted({each.block_number or 0 for each in train})
    lot = dict(zip(blocks, np.random.default_rng(0).random(len(blocks)).tolist(), strict=True))
    return [each for each in train if lot[each.block_number or 0] < share]


def scaling(items: Sequence[Item], given: argparse.Namespace, setting: str) -> None:
    """Print the facts' figures by share of the training blocks, and what a doubling gives on average."""
    print("\n**More benign history, facts only**: AUROC / recall at FPR 1 % / 0.1 %\n\n| calls | ", end="")
    print(" | ".join(f"{100 * share:g} %" for share in SHARES) + " | per doubling |\n|---|---|---|---|---|")
    tables = [scored(items, given, setting, share) for share in SHARES]
    for least in STRATA:
        figures = []
        for rows in tables:
            found = compared([row for row in rows if row["dated"]], given, least=least)
            assert found
            figures.append([found.detectors["facts only"][metric].value for metric in METRICS])
        slopes = np.polyfit(np.log2(SHARES), np.array(figures), 1)[0]
        cells = (" / ".join(f"{value:.3f}" for value in each) for each in figures)
        print(f"| >= {least} | {' | '.join(cells)} | {' / '.join(f'{slope:+.3f}' for slope in slopes)} |")


def report(rows: Sequence[Row], given: argparse.Namespace, setting: str) -> None:
    """Print every table of a setting."""
    dated = [row for row in rows if row["dated"]]
    for least in STRATA:
        if found := compared(dated, given, least=least):
            table(f"{setting}, dated attacks, at least {least} calls", found, GOALS[least])
    last = [row for row in rows if row["fold"] == rows[-1]["fold"]]
    views = {
        "dated, ranked within folds": (dated, True),
        "dated, each skeleton and target once": (distinct(dated), False),
    }
    if len(dated) < len(rows):
        views["dated and undated"] = (rows, False)
        undated = [row for row in last if not (row["attack"] and row["dated"])]
        views["undated alone, among the last fold's"] = (undated, False)
    for title, (chosen, within) in views.items():
        lines = {f">= {n} calls": compared(chosen, given, least=n, within=within) for n in STRATA}
        brief(f"{setting}, {title}", lines)
    names = dict.fromkeys(row["fold"] for row in dated)
    parts = {name: [row for row in dated if row["fold"] == name] for name in names}
    brief(f"{setting}, each fold", {f"from {int(n):,}": compared(part, given) for n, part in parts.items()})
    false_alarms(dated)
    if setting == "onchain":
        pools(rows, given)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "evm")
    parser.add_argument("--setting", choices=("onchain", "replay", "both"), default="both")
    parser.add_argument("--cuts", type=int, nargs="+", default=CUTS, help="block numbers")
    parser.add_argument("--folds", nargs="+", default=(), help="compute only these cuts; others if kept")
    parser.add_argument("--facts-only", action="store_true", help="train nothing")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--set", action="append", default=[], metavar="S.K=V", help="section.key=value")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="keep finished folds here")
    parser.add_argument("--scaling", action="store_true", help="facts only, by share of the training blocks")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--pools", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
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
            report(rows, given, setting)
            if given.scaling:
                scaling(items, given, setting)


if __name__ == "__main__":
    main()
