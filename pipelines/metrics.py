"""Ranking metrics with bootstrap intervals; ties always count against the detector, except in AUROC.

Every figure follows from two numbers per attack: how many benign transactions of its comparison set stand
at or above it, and how many strictly above. A bootstrap resample only weighs the benign ones anew, so all
resamples of a detector come from one product of a sparse matrix with the weights, (bins, B) x (B, chunk).
The same resamples serve every detector, which makes their differences paired. Infinite values are allowed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import beta

FPR_LEVELS = (0.0001, 0.001, 0.005, 0.01)
INCIDENT_LEVELS = (0.001, 0.01)
TOP_K = (5, 10, 15)
FEWEST = 10
"""Of each class, for an interval of AUROC or average precision."""
_RANKING = ("auroc", "auprc")
CHUNK = 64
"""Resamples worked on at once: 30,000 benign transactions then take 8 MB."""

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, NaN where there is none, and the number of cases it is a mean over.

    `runs` are the figures of the single training seeds where there are several; `value` is their mean.
    """

    value: float
    low: float
    high: float
    n: int
    runs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Detectors on the same transactions. `detectors`: metric by detector, see `compare`.

    `differences`: first detector minus each other one, on the same resamples.
    """

    benign: int
    attacks: int
    incidents: int
    detectors: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """The two classes. `sets`: per comparison set the benign columns and the attack rows in it.

    `clusters` (A,) numbers the incident of each attack; `size` (A, 1) counts the benign ones of its set.
    """

    benign: NDArray[np.intp]
    attacks: NDArray[np.intp]
    sets: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
    clusters: NDArray[np.intp]
    size: Floats

    @property
    def incidents(self) -> int:
        """How many there are."""
        return int(self.clusters.max()) + 1


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Where the attacks of one run stand among the benign transactions of their sets.

    The attack values of a set cut its benign ones into bins: below the first, equal to it, between it and the
    second, and so on. `bins` (bins, B) is 1 where a benign transaction is in a bin. The bins up to
    `below` (A,) hold the benign values under an attack's, those up to `level` also the equal ones, after
    the `earlier` (A, 1) benign transactions of other sets. `order` (A,) sorts attacks by falling value, and
    `last` is the place of the last of each tie group in it.
    """

    bins: csr_array
    below: NDArray[np.intp]
    level: NDArray[np.intp]
    earlier: Floats
    order: NDArray[np.intp]
    last: NDArray[np.intp]


def compare(
    values: Mapping[str, Floats],
    attack: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    clusters: Sequence[str] | None = None,
    match: Sequence[object] | None = None,
) -> Comparison:
    """All metrics of all detectors, and the difference of the first detector to each other one.

    `auroc`: ties count half. `recall@fpr=x`: the share of attacks strictly above the threshold that lets
    floor(x * benign) of these same benign transactions through, so the threshold is the test set's own.
    `incident_recall@fpr=x`: of incidents, any of whose attacks is. `auprc` is average precision; `...@k=n`:
    of the n highest. The last two kinds only where all transactions are in one comparison set. Intervals
    are percentiles of a bootstrap within each class and set; attacks are drawn by cluster.

    Args:
        values: by detector (R, n), one row per training seed; higher = more anomalous, no NaN.
        attack: (n,), True for an attack; both classes must be there in every comparison set.
        rng: source of the resamples.
        resamples: how many.
        clusters: (n,), attacks with the same name are drawn together, as incidents are; None for none.
        match: (n,), an attack is compared with benign transactions of the same name only; None for all.
    """
    sides = _sides(attack, clusters, match)
    ranked = {(name, run): _rank(row, sides) for name, rows in values.items() for run, row in enumerate(rows)}
    point = {key: _metrics(each, sides, *_ones(sides)) for key, each in ranked.items()}
    draws: dict[tuple[str, int], list[dict[str, Floats]]] = {key: [] for key in ranked}
    for weights in _draws(sides, rng, resamples):
        for key, each in ranked.items():
            draws[key].append(_metrics(each, sides, *weights))
    names, first = list(values), next(iter(values))
    detectors: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    differences: dict[str, dict[str, Estimate]] = {name: {} for name in names[1:]}
    for metric in next(iter(point.values())):
        n = _cases_of(metric, sides)
        runs = {
            name: [float(point[name, run][metric][0]) for run in range(len(rows))]
            for name, rows in values.items()
        }
        drawn = {
            name: np.mean([_joined(draws[name, run], metric) for run in range(len(rows))], axis=0)
            for name, rows in values.items()
        }
        for name in names:
            detectors[name][metric] = _estimate(runs[name], drawn[name], n)
        for name in names[1:]:
            apart = _minus(runs[first], runs[name])
            differences[name][metric] = _estimate(apart, drawn[first] - drawn[name], n)
    return Comparison(len(sides.benign), len(sides.attacks), sides.incidents, detectors, differences)


def rank_metrics(
    values: Floats,
    attack: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    clusters: Sequence[str] | None = None,
) -> dict[str, Estimate]:
    """The metrics of `compare` for one detector with values (n,)."""
    return compare(
        {"": values[np.newaxis]}, attack, rng=rng, resamples=resamples, clusters=clusters
    ).detectors[""]


def share(hits: float, n: int, *, runs: Sequence[float] = ()) -> Estimate:
    """The share hits / n with the Clopper-Pearson 95 % interval; 0 of 0 is 0 in [0, 1].

    `hits` may be a mean over training seeds, whose shares then are `runs`. The interval is exact for
    independent cases; transactions of one incident are not quite.
    """
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return Estimate(hits / n if n else 0.0, low, high, n, tuple(runs))


def exact_at_ends(found: Estimate, n: int) -> Estimate:
    """A share that is 0 or 1, which most resamples leave as it is, with the exact interval over n cases."""
    if found.value not in (0.0, 1.0):
        return found
    exact = share(found.value * n, n)
    return replace(found, low=exact.low, high=exact.high)


def finite(number: float) -> float | None:
    """The number, None for NaN, which JSON does not have."""
    return None if math.isnan(number) else number


def without_false_certainty(found: Comparison) -> Comparison:
    """The comparison with other intervals where the bootstrap's are too narrow, of width zero above all.

    A recall of 0 or 1 gets the exact interval over the incidents, a figure at k over what it is a share of;
    AUROC and average precision of 0 or 1, or of fewer than FEWEST of a class, and a difference that no
    resample changes, get none.
    """
    few = min(found.benign, found.attacks) < FEWEST

    def figure(metric: str, each: Estimate) -> Estimate:
        if metric in _RANKING:
            return _without_interval(each) if few or each.value in (0.0, 1.0) else each
        return exact_at_ends(each, found.incidents if "recall" in metric else each.n)

    def gap(metric: str, each: Estimate) -> Estimate:
        return _without_interval(each) if each.low == each.high or (few and metric in _RANKING) else each

    return replace(
        found,
        detectors={
            name: {metric: figure(metric, each) for metric, each in metrics.items()}
            for name, metrics in found.detectors.items()
        },
        differences={
            name: {metric: gap(metric, each) for metric, each in metrics.items()}
            for name, metrics in found.differences.items()
        },
    )


def _without_interval(found: Estimate) -> Estimate:
    return replace(found, low=math.nan, high=math.nan)


def _sides(
    attack: NDArray[np.bool_], clusters: Sequence[str] | None, match: Sequence[object] | None
) -> _Sides:
    benign, attacks = np.flatnonzero(~attack), np.flatnonzero(attack)
    names = np.arange(len(attack)) if clusters is None else np.asarray(clusters)
    group = np.zeros(len(attack), dtype=np.intp)
    if match is not None:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(match))}
        group = np.array([numbers[name] for name in match], dtype=np.intp)
    sets = [
        (np.flatnonzero(group[benign] == each), np.flatnonzero(group[attacks] == each))
        for each in range(int(group.max()) + 1)
    ]
    size = np.empty((len(attacks), 1))
    for columns, rows in sets:
        size[rows] = len(columns)
    return _Sides(benign, attacks, sets, np.unique(names[attacks], return_inverse=True)[1], size)


def _rank(values: Floats, sides: _Sides) -> _Ranked:
    mine, theirs = values[sides.attacks], values[sides.benign]
    bin_of = np.empty(len(theirs), dtype=np.intp)
    below = np.empty(len(mine), dtype=np.intp)
    earlier = np.empty((len(mine), 1))
    start = seen = 0
    for columns, rows in sides.sets:
        cuts, place = np.unique(mine[rows], return_inverse=True)
        under = np.searchsorted(cuts, theirs[columns], side="left")
        equal = cuts[np.minimum(under, len(cuts) - 1)] == theirs[columns]
        bin_of[columns] = start + 2 * under + equal
        below[rows], earlier[rows] = start + 2 * place, seen
        start, seen = start + 2 * len(cuts) + 1, seen + len(columns)
    ones = np.ones(len(theirs), np.float32)
    bins = csr_array((ones, (bin_of, np.arange(len(theirs)))), shape=(start, len(theirs)))
    order = np.argsort(-mine, kind="stable")
    last = np.searchsorted(-mine[order], -mine[order], side="right") - 1
    return _Ranked(bins, below, below + 1, earlier, order, last)


def _ones(sides: _Sides) -> tuple[Weights, Weights]:
    return np.ones((len(sides.benign), 1), np.float32), np.ones((sides.incidents, 1), np.float32)


def _draws(sides: _Sides, rng: np.random.Generator, resamples: int) -> Iterator[tuple[Weights, Weights]]:
    """How often each benign transaction (B, chunk) and each incident (I, chunk) is in each resample."""
    for start in range(0, resamples, CHUNK):
        chunk = min(CHUNK, resamples - start)
        benign = np.empty((len(sides.benign), chunk), np.float32)
        for columns, _ in sides.sets:
            benign[columns] = _multinomial(len(columns), chunk, rng)
        yield benign, _multinomial(sides.incidents, chunk, rng)


def _multinomial(n: int, chunk: int, rng: np.random.Generator) -> Weights:
    """Counts of n draws with replacement from n, in each of `chunk` columns."""
    drawn = rng.integers(n, size=(n, chunk)) * chunk + np.arange(chunk)
    return np.bincount(drawn.ravel(), minlength=n * chunk).reshape(n, chunk).astype(np.float32)


def _metrics(ranked: _Ranked, sides: _Sides, benign: Weights, incident: Weights) -> dict[str, Floats]:
    """Every metric in every resample, each (chunk,)."""
    total = np.cumsum(ranked.bins @ benign, axis=0, dtype=np.float64)
    at_or_above = sides.size - (total[ranked.below] - ranked.earlier)
    above = sides.size - (total[ranked.level] - ranked.earlier)
    weight = incident[sides.clusters].astype(np.float64)
    attacks = weight.sum(axis=0)
    found = {"auroc": (weight * (1 - (at_or_above + above) / (2 * sides.size))).sum(axis=0) / attacks}
    by_incident = np.argsort(sides.clusters, kind="stable")
    starts = np.searchsorted(sides.clusters[by_incident], np.arange(len(incident)))
    for fpr in FPR_LEVELS:
        caught = at_or_above <= np.floor(fpr * sides.size + 1e-9)
        found[f"recall@fpr={fpr:g}"] = (weight * caught).sum(axis=0) / attacks
        if fpr in INCIDENT_LEVELS:
            any_caught = np.logical_or.reduceat(caught[by_incident], starts, axis=0)
            caught_share = (incident * any_caught).mean(axis=0, dtype=np.float64)
            found[f"incident_recall@fpr={fpr:g}"] = caught_share
    if len(sides.sets) == 1:
        found |= _top(ranked, at_or_above[ranked.order], weight[ranked.order], len(sides.benign))
    return found


def _top(ranked: _Ranked, false: Floats, weight: Floats, benign: int) -> dict[str, Floats]:
    """Average precision, and the figures at k; attacks by falling value, benign first within ties."""
    hits = np.cumsum(weight, axis=0)
    attacks, at_least = hits[-1], hits[ranked.last]
    precision = at_least / np.maximum(at_least + false, 1)
    found = {"auprc": (weight * precision).sum(axis=0) / attacks}
    for k in TOP_K:
        caught = np.clip(k - false - (hits - weight), 0, weight).sum(axis=0)
        taken = np.minimum(k, attacks + benign)
        found[f"recall@k={k}"] = caught / attacks
        found[f"precision@k={k}"] = caught / taken
        found[f"fpr@k={k}"] = (taken - caught) / benign
    return found


def _cases_of(metric: str, sides: _Sides) -> int:
    """How many cases a metric is a mean over."""
    everything = len(sides.attacks) + len(sides.benign)
    kind, _, at = metric.partition("@k=")
    counts = {
        "recall": len(sides.attacks),
        "incident_recall": sides.incidents,
        "fpr": len(sides.benign),
        "precision": min(int(at or 0), everything),
    }
    return counts.get(kind.split("@")[0], everything)


def _joined(chunks: Sequence[Mapping[str, Floats]], metric: str) -> Floats:
    return np.concatenate([chunk[metric] for chunk in chunks])


def _minus(first: Sequence[float], other: Sequence[float]) -> list[float]:
    """Differences by training seed; against one run, or against as many that do not pair, their mean."""
    if len(first) == len(other):
        return [a - b for a, b in zip(first, other, strict=True)]
    return [a - float(np.mean(other)) for a in first]


def _estimate(runs: Sequence[float], drawn: Floats, n: int) -> Estimate:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(np.mean(runs)), float(low), float(high), n, tuple(runs) if len(runs) > 1 else ())
