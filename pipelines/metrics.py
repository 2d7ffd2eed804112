"""Ranking metrics with bootstrap intervals; ties always count against the detector, except in AUROC.

All metrics of one ranking come from cumulative weights, so that a bootstrap resample is only another
vector of weights. Infinite values are allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

FPR_LEVELS = (0.0001, 0.001, 0.005, 0.01)
TOP_K = (5, 10, 15)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval and the number of transactions it is a mean over."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """Transactions by falling value, benign first within ties; `ends` marks the last of each tie group."""

    attack: NDArray[np.bool_]
    ends: NDArray[np.intp]


def rank_metrics(
    values: NDArray[np.float64],
    attack: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    clusters: Sequence[str] | None = None,
) -> dict[str, Estimate]:
    """AUROC, AUPRC, recall at fixed FPR, and recall, precision and FPR at k, each with an interval.

    `recall@fpr=x`: the share of attacks strictly above the threshold that lets floor(x * benign) of these
    same benign transactions through, so the threshold is the test set's own. `...@k=n`: of the n highest.
    AUPRC is average precision. Intervals are percentiles of a bootstrap within each class; attacks are
    drawn by cluster.

    Args:
        values: (n,), higher = more anomalous, no NaN.
        attack: (n,), True for an attack; both classes must be there.
        rng: source of the resamples.
        resamples: how many.
        clusters: (n,), attacks with the same name are drawn together, as incidents are; None for none.
    """
    order = np.lexsort((attack, -values))
    ranked = values[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    ranking = _Ranking(attack[order], ends)
    point = _metrics(ranking, np.ones(len(values)))
    names = np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    draws = [_metrics(ranking, _weights(ranking.attack, names[order], rng)) for _ in range(resamples)]
    benign, attacks = int((~attack).sum()), int(attack.sum())
    counts = {"recall": attacks, "precision": len(values), "fpr": benign}
    estimates = {}
    for name, value in point.items():
        low, high = np.quantile([draw[name] for draw in draws], (0.025, 0.975))
        estimates[name] = Estimate(
            value, float(low), float(high), counts.get(name.split("@")[0], benign + attacks)
        )
    return estimates


def share(hits: int, n: int) -> Estimate:
    """The share hits / n with the exact Clopper-Pearson 95 % interval; 0 of 0 is 0 in [0, 1]."""
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return Estimate(hits / n if n else 0.0, low, high, n)


def _weights(
    attack: NDArray[np.bool_], clusters: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.float64]:
    """How often each transaction is in one resample: benign drawn singly, attacks by cluster."""
    weights = np.empty(len(attack))
    benign = int((~attack).sum())
    weights[~attack] = np.bincount(rng.integers(benign, size=benign), minlength=benign)
    present, member = np.unique(clusters[attack], return_inverse=True)
    drawn = np.bincount(rng.integers(len(present), size=len(present)), minlength=len(present))
    weights[attack] = drawn[member]
    return weights


def _metrics(ranking: _Ranking, weights: NDArray[np.float64]) -> dict[str, float]:
    hits = np.cumsum(weights * ranking.attack)
    alarms = np.cumsum(weights)
    false = alarms - hits
    attacks, benign = float(hits[-1]), float(false[-1])
    tp, fp = hits[ranking.ends], false[ranking.ends]
    new_tp, new_fp = np.diff(tp, prepend=0.0), np.diff(fp, prepend=0.0)
    metrics = {
        "auroc": float((new_fp * (tp - new_tp / 2)).sum() / (attacks * benign)),
        "auprc": float((new_tp * tp / np.maximum(tp + fp, 1)).sum() / attacks),
    }
    for level in FPR_LEVELS:
        allowed = np.floor(level * benign + 1e-9)
        passed = int(np.searchsorted(fp, allowed, side="right"))
        metrics[f"recall@fpr={level:g}"] = float(tp[passed - 1]) / attacks if passed else 0.0
    for k in TOP_K:
        place = min(int(np.searchsorted(alarms, k)), len(alarms) - 1)
        surplus = max(float(alarms[place]) - k, 0.0)
        found = float(hits[place]) - surplus * float(ranking.attack[place])
        taken = min(float(alarms[place]), k)
        metrics[f"recall@k={k}"] = found / attacks
        metrics[f"precision@k={k}"] = found / taken
        metrics[f"fpr@k={k}"] = (taken - found) / benign
    return metrics
