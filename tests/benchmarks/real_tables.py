"""The tables of `real_attacks.py`: figures with intervals, differences, false alarms, paper pools."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.pools import paper_pools
from pipelines.evaluation.selection import Case, ScoredRow
from pipelines.labels import Label
from pipelines.metrics import TOP_K, Comparison, compare

METRICS = ("auroc", "recall@fpr=0.01", "recall@fpr=0.001")
COUNTED = ("calls", "depth", "input_bytes", "logs")
OWN = ("BlockScan", "tokens only", "facts only")
ONE_NUMBER = ("length", *COUNTED)
FITTED = ("Isolation Forest", "ECOD")

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
    """Values (1, N) by detector, without those that are the same for all."""
    found = {name: np.array([[row["values"][name] for row in rows]]) for name in rows[0]["values"]}
    return {name: values for name, values in found.items() if np.ptp(values)}


def best_of(names: Sequence[str], found: Comparison, metric: str) -> str:
    """The detector with the highest figure."""
    known = [name for name in names if name in found.detectors]
    return max(known, key=lambda name: found.detectors[name][metric].value)


def table(title: str, found: Comparison, goals: Sequence[float]) -> None:
    """Print figures with intervals, and the first detector less the best of the others, paired."""
    print(
        f"\n**{title}** ({found.benign:,} benign, {found.attacks:,} attacks of {found.incidents:,} incidents)"
    )
    print("\n| detector | AUROC | recall at FPR 1 % | recall at FPR 0.1 % |\n|---|---|---|---|")
    for name, figures in found.detectors.items():
        cells = (f"{f.value:.3f} ({f.low:.3f} to {f.high:.3f})" for f in (figures[m] for m in METRICS))
        print(f"| {name} | {' | '.join(cells)} |")
    for what, names in (("one number", ONE_NUMBER), ("baselines", (*ONE_NUMBER, *FITTED))):
        best = [best_of(names, found, metric) for metric in METRICS]
        gaps = [found.differences[name][metric] for name, metric in zip(best, METRICS, strict=True)]
        cells = (
            f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), {name}"
            for gap, name in zip(gaps, best, strict=True)
        )
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
            picked = [dict.fromkeys(METRICS, each) for each in own] + [best]
            cells = (
                " / ".join(f"{found.detectors[d][m].value:.3f}" for m, d in each.items()) for each in picked
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
    found = paper_pools(cases, values_of(rows), rng=np.random.default_rng(given.seed), pools=given.pools)
    print(f"\n**The paper's protocol**, {found.pools:,} pools of 709 benign and 10 attacks, from ", end="")
    print(f"{found.benign:,} and {found.incidents:,} incidents; {found.caveat}")
    print("\nMean FPR / recall / precision in %\n")
    print("| detector | " + " | ".join(f"k = {k}" for k in TOP_K) + " |\n|---|---|---|---|")
    figures = {
        name: {k: [100 * each[f"{m}@k={k}"].value for m in ("fpr", "recall", "precision")] for k in TOP_K}
        for name, each in found.detectors.items()
    }
    for name, shown in {**figures, **{f"paper: {each}": x for each, x in found.published.items()}}.items():
        cells = (" / ".join(f"{value:.2f}" for value in shown[k]) for k in TOP_K)
        print(f"| {name} | {' | '.join(cells)} |")
    spread = found.detectors[next(iter(figures))]
    ranges = (
        f"k = {k} {100 * spread[f'recall@k={k}'].low:.0f} to {100 * spread[f'recall@k={k}'].high:.0f}"
        for k in TOP_K
    )
    print(f"\n95 % of single pools have, by {next(iter(figures))}, a recall in % of: {', '.join(ranges)}.")
