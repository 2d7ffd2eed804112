"""The tables of `real_attacks.py`: figures with intervals, differences, false alarms, paper pools."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockscan.errors import ConfigError
from pipelines.baselines.run import AGAIN, agreement
from pipelines.baselines.sizes import COLUMNS as ONE_NUMBER
from pipelines.evaluation.pools import paper_pools
from pipelines.evaluation.selection import Case, ScoredRow
from pipelines.labels import Label
from pipelines.metrics import TOP_K, Comparison, compare

STRATA = (1, 2, 10, 40)
GOALS = {1: (0.990, 0.92, 0.75), 2: (0.975, 0.85, 0.55), 10: (0.970, 0.75, 0.50), 40: (0.93, 0.60, 0.35)}
METRICS = ("auroc", "recall@fpr=0.01", "recall@fpr=0.001")
OWN = ("BlockScan", "tokens only", "facts only")

Row = dict[str, Any]
"""One scored transaction as it is kept: what a table needs of it, JSON-ready."""


def distinct(rows: Sequence[Row]) -> list[Row]:
    """One benign transaction per trace skeleton and target, one attack per skeleton and incident."""
    first: dict[tuple[object, ...], Row] = {}
    for row in rows:
        first.setdefault((row["attack"], row["incident"] if row["attack"] else "", row["shape"]), row)
    return list(first.values())


def compared(
    rows: Sequence[Row], given: argparse.Namespace, *, least: int = 1, within: bool = False
) -> Comparison | None:
    """All detectors on rows of so many calls; `within`: attacks among benign ones of their own fold only."""
    rows = [row for row in rows if row["calls"] >= least]
    sides = {(row["fold"] if within else "", row["attack"]) for row in rows}
    rows = [row for row in rows if (row["fold"] if within else "", not row["attack"]) in sides]
    if not rows:
        return None
    return compare(
        values_of(rows),
        np.array([row["attack"] for row in rows]),
        rng=np.random.default_rng(given.seed),
        resamples=given.resamples,
        clusters=[row["incident"] for row in rows],
        match=[row["fold"] for row in rows] if within else None,
    )


def values_of(rows: Sequence[Row]) -> dict[str, NDArray[np.float64]]:
    """Values (1, N) of detectors that judged every row, without those that are the same for all."""
    names = [name for name in everywhere(rows) if not name.endswith(AGAIN)]
    found = {name: np.array([[row["values"][name] for row in rows]]) for name in names}
    return {name: values for name, values in found.items() if np.ptp(values)}


def everywhere(rows: Sequence[Row]) -> list[str]:
    """Names of the values that every row has, in order."""
    return [name for name in rows[0]["values"] if all(name in row["values"] for row in rows)]


def best_of(names: Sequence[str], found: Comparison, metric: str) -> str | None:
    """The detector with the highest figure, None where none of them was run."""
    known = [name for name in names if name in found.detectors]
    return max(known, key=lambda name: found.detectors[name][metric].value, default=None)


def report(rows: Sequence[Row], given: argparse.Namespace, setting: str) -> None:
    """Print every table of a setting."""
    if partly := sorted({name for row in rows for name in row["values"]} - set(everywhere(rows))):
        print(f"\nLeft out, as not every fold has them: {', '.join(partly)}.")
    dated = [row for row in rows if row["dated"]]
    for least in STRATA:
        if found := compared(dated, given, least=least):
            table(f"{setting}, dated attacks, at least {least} calls", found, GOALS[least])
    last = [row for row in rows if row["fold"] == rows[-1]["fold"]]
    views: dict[str, tuple[Sequence[Row], bool]] = {
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
    mask_noise(rows)
    false_alarms(dated)
    pools(rows, given)


def table(title: str, found: Comparison, goals: Sequence[float]) -> None:
    """Print figures with intervals, and the first detector less the best of the others, paired."""
    print(
        f"\n**{title}** ({found.benign:,} benign, {found.attacks:,} attacks of {found.incidents:,} incidents)"
    )
    print("\n| detector | AUROC | recall at FPR 1 % | recall at FPR 0.1 % |\n|---|---|---|---|")
    for name, figures in found.detectors.items():
        cells = (f"{f.value:.3f} ({f.low:.3f} to {f.high:.3f})" for f in (figures[m] for m in METRICS))
        print(f"| {name} | {' | '.join(cells)} |")
    others = [name for name in found.detectors if name not in OWN]
    for what, names in (("one number", ONE_NUMBER), ("baselines", others)):
        best = {metric: best_of(names, found, metric) for metric in METRICS}
        gaps = [(name, found.differences[name][metric]) for metric, name in best.items() if name]
        if not gaps:
            continue
        cells = (f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), {name}" for name, gap in gaps)
        print(f"| {next(iter(found.detectors))} less the best of {what} | {' | '.join(cells)} |")
    print(f"| goal | {' | '.join(f'{goal:.3f}' for goal in goals)} |")


def brief(title: str, comparisons: Mapping[str, Comparison | None]) -> None:
    """Print a line per comparison: our own detectors, and the best one-number baseline of each figure."""
    own = [name for name in OWN if any(each and name in each.detectors for each in comparisons.values())]
    print(f"\n**{title}**: AUROC / recall at FPR 1 % / 0.1 %\n")
    print(f"| | benign | attacks | {' | '.join(own)} | best one number |\n|{'---|' * (len(own) + 4)}")
    for name, found in comparisons.items():
        if found:
            best = {metric: best_of(ONE_NUMBER, found, metric) for metric in METRICS}
            picked = [dict[str, str | None].fromkeys(METRICS, each) for each in own] + [best]
            cells = (
                " / ".join(f"{found.detectors[d][m].value:.3f}" if d else "" for m, d in each.items())
                for each in picked
            )
            print(f"| {name} | {found.benign:,} | {found.attacks:,} | {' | '.join(cells)} |")


def false_alarms(rows: Sequence[Row]) -> None:
    """Print where the highest 1 % of the benign transactions come from, and which parts raise them."""
    benign = [row for row in rows if not row["attack"]]
    first = next(iter(benign[0]["values"]))
    high = sorted(benign, key=lambda row: -row["values"][first])[: max(1, len(benign) // 100)]
    mine, everyone = (Counter((row["fold"], row["file"]) for row in part) for part in (high, benign))
    print(f"\n**The highest 1 % of benign transactions by {first}** ({len(high):,})\n")
    print("| fold, file | benign | among the highest |\n|---|---|---|")
    for place, count in mine.most_common(10):
        print(f"| {', '.join(place)} | {everyone[place]:,} | {count} |")
    calls = np.quantile([row["calls"] for row in high], (0.1, 0.5, 0.9)).astype(int).tolist()
    parts = {name: np.mean([row["rarities"][name] for row in high]) for name in high[0]["rarities"]}
    told = (f"{name} {value:.2f}" for name, value in sorted(parts.items(), key=lambda item: -item[1])[:8])
    print(f"\nCalls p10/p50/p90 {calls}; mean -log10 p by part: {', '.join(told)}.")


def pools(rows: Sequence[Row], given: argparse.Namespace) -> None:
    """Print the paper's protocol beside its own figures."""
    cases = []
    for row in rows:
        label = Label("attack" if row["attack"] else "benign", incident=row["incident"])
        cases.append(Case(ScoredRow(row["hash"], 0.0, None, 0, row["calls"]), label, (), (), None, ("", "")))
    try:
        found = paper_pools(cases, values_of(rows), rng=np.random.default_rng(given.seed), pools=given.pools)
    except ConfigError as error:
        print(f"\nNo pools as in the paper: {error}.")
        return
    print(f"\n**The paper's protocol**, {found.pools:,} pools of 709 benign and 10 attacks, from ", end="")
    print(f"{found.benign:,} and {found.incidents:,} incidents; {found.caveat}")
    print("\nMean FPR / recall / precision in %\n")
    print("| detector | " + " | ".join(f"k = {k}" for k in TOP_K) + " |\n|---|---|---|---|")
    figures: dict[str, Mapping[int, Sequence[float]]] = {
        name: {k: [100 * each[f"{m}@k={k}"].value for m in ("fpr", "recall", "precision")] for k in TOP_K}
        for name, each in found.detectors.items()
    }
    published: dict[str, Mapping[int, Sequence[float]]] = {
        f"paper: {name}": shown for name, shown in found.published.items()
    }
    for name, shown in {**figures, **published}.items():
        cells = (" / ".join(f"{value:.2f}" for value in shown[k]) for k in TOP_K)
        print(f"| {name} | {' | '.join(cells)} |")
    spread = found.detectors[next(iter(figures))]
    ranges = (
        f"k = {k} {100 * spread[f'recall@k={k}'].low:.0f} to {100 * spread[f'recall@k={k}'].high:.0f}"
        for k in TOP_K
    )
    print(f"\n95 % of single pools have, by {next(iter(figures))}, a recall in % of: {', '.join(ranges)}.")


def mask_noise(rows: Sequence[Row]) -> None:
    """Print how far one random mask agrees with another, by score and least number of calls."""
    names = [name for name in everywhere(rows) if name + AGAIN in rows[0]["values"]]
    lines = {name: [agreement(columns(rows, least), name) for least in STRATA] for name in names}
    if lines:
        heads = " | ".join(f">= {least} calls" for least in STRATA)
        print(f"\n**Spearman correlation under two random masks**\n\n| | {heads} |\n|{'---|' * 5}")
    for name, figures in lines.items():
        print(f"| {name} | {' | '.join('' if figure is None else f'{figure:.3f}' for figure in figures)} |")


def columns(rows: Sequence[Row], least: int) -> dict[str, NDArray[np.float64]]:
    """Values (N,) of the rows of so many calls."""
    chosen = [row["values"] for row in rows if row["calls"] >= least]
    return {name: np.array([values[name] for values in chosen]) for name in everywhere(rows)}


def scaling(tables: Mapping[float, Sequence[Row]], given: argparse.Namespace) -> None:
    """Print the facts' figures by share of the training blocks, and what a doubling gives on average."""
    print("\n**More benign history, facts only**: AUROC / recall at FPR 1 % / 0.1 %\n\n| calls | ", end="")
    print(" | ".join(f"{100 * share:g} %" for share in tables) + " | per doubling |\n|---|---|---|---|---|")
    for least in STRATA:
        figures = []
        for rows in tables.values():
            found = compared([row for row in rows if row["dated"]], given, least=least)
            assert found
            figures.append([found.detectors["facts only"][metric].value for metric in METRICS])
        slopes = np.polyfit(np.log2(list(tables)), np.array(figures), 1)[0]
        cells = (" / ".join(f"{value:.3f}" for value in each) for each in figures)
        print(f"| >= {least} | {' | '.join(cells)} | {' / '.join(f'{slope:+.3f}' for slope in slopes)} |")
