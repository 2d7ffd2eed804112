"""Is the benchmark any good? Its shape beside a real chain's, and what trivial features give away.

A detector is only as good as its margin over the best single feature, so these figures belong beside
every result on this world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.simulation.features import COST, SIDE, TREE, Json

QUANTILES = (0.5, 0.9, 0.99, 1.0)
_TAIL = 100
_RUN = 6000
_LARGE_CALLS = (200, 1000)
_LARGE_DEPTH = (8, 14)


def report(table: Sequence[Json], after: int, reference: Sequence[Json] = ()) -> Json:
    """Return the whole report as plain data.

    Args:
        table: rows of `features.rows`.
        after: the last block of the benign history.
        reference: rows of a real chain with TREE, `to`, `from`, `failed`, `selector` and `plain`.
    """
    benign = [row for row in table if row["label"] == "benign"]
    calls, exploits = compared(table, after)
    groups: dict[str, Sequence[Json]] = {
        "benign": benign,
        "benign contract calls": calls,
        "exploits": exploits,
    }
    shapes = {"simulated": body(benign)}
    if reference:
        groups |= {"real": reference, "real contract calls": [row for row in reference if is_call(row)]}
        shapes["real"] = body(reference)
    return {
        "body": shapes,
        "quantiles": {name: quantiles(group) for name, group in groups.items() if group},
        "auroc": separations(calls, exploits),
        "short exploits": short_exploits(calls, exploits),
        "large benign": large(benign),
        "tiers": dict(Counter(row["tier"] for row in exploits)),
        "families": dict(Counter(row["family"] for row in exploits)),
        "kinds": dict(Counter(row["kind"] or row["stage"] for row in table).most_common()),
    }


def is_call(row: Mapping[str, Any]) -> bool:
    """Tell whether a transaction calls a contract: calldata, or a trace with events or sub-calls."""
    return row["to"] is not None and not row["plain"]


def compared(table: Iterable[Json], after: int) -> tuple[list[Json], list[Json]]:
    """Return (benign contract calls, exploits) later than block `after`."""
    calls = [row for row in table if row["block"] > after and is_call(row)]
    exploits = [row for row in calls if row["stage"] == "exploit"]
    return [row for row in calls if row["label"] == "benign"], exploits


def auroc(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """Return the probability that a positive exceeds a negative, ties counted half (Mann-Whitney)."""
    ranked = np.sort(np.asarray(negative, dtype=np.float64))
    values = np.asarray(positive, dtype=np.float64)
    below = np.searchsorted(ranked, values, side="left") + np.searchsorted(ranked, values, side="right")
    return float(below.mean() / (2 * len(ranked)))


def separations(calls: Sequence[Json], exploits: Sequence[Json]) -> dict[str, float]:
    """Return the AUROC of each single feature on exploits against benign contract calls.

    Above 0.5: exploits have more of it; below: less.
    """
    if not exploits or not calls:
        return {}
    return {
        name: auroc([row[name] for row in exploits], [row[name] for row in calls])
        for name in (*TREE, *COST, *SIDE)
    }


def body(table: Sequence[Json]) -> dict[str, float]:
    """Return the overall shape: shares, and the tail of targets."""
    count = len(table)
    targets = Counter(row["to"] for row in table if row["to"] is not None)
    return {
        "transactions": count,
        "plain transfers": sum(row["plain"] for row in table) / count,
        "failed": sum(row["failed"] for row in table) / count,
        "creations": sum(row["to"] is None for row in table) / count,
        "senders / transactions": len({row["from"] for row in table}) / count,
        "top 10 targets": sum(times for _, times in targets.most_common(10)) / count,
        "targets called once": sum(times == 1 for times in targets.values()) / len(targets),
        "Zipf slope of targets": zipf_slope(sorted(targets.values(), reverse=True)),
        "root selectors per 6,000": selectors(table),
    }


def zipf_slope(counts: Sequence[int]) -> float:
    """Return the slope of log(count) over log(rank) of the most popular targets (least squares)."""
    top = np.log(np.asarray(counts[:_TAIL], dtype=np.float64))
    ranks = np.log(np.arange(1, len(top) + 1))
    return float(np.polyfit(ranks, top, 1)[0]) if len(top) > 1 else 0.0


def selectors(table: Sequence[Json]) -> float:
    """Return the mean number of distinct root selectors in runs of 6,000 transactions."""
    runs = [table[start : start + _RUN] for start in range(0, max(1, len(table) - _RUN + 1), _RUN)]
    return float(np.mean([len({row["selector"] for row in run} - {""}) for run in runs]))


def quantiles(table: Sequence[Json]) -> dict[str, list[float]]:
    """Return QUANTILES of every TREE feature."""
    return {
        name: [float(value) for value in np.quantile([row[name] for row in table], QUANTILES)]
        for name in TREE
    }


def short_exploits(calls: Sequence[Json], exploits: Sequence[Json]) -> dict[str, float]:
    """Return how many exploits have fewer calls than the median benign contract call."""
    middle = float(np.median([row["calls"] for row in calls])) if calls else 0.0
    return {
        "median calls of a benign contract call": middle,
        "exploits with fewer": sum(row["calls"] < middle for row in exploits),
        "exploits": len(exploits),
    }


def large(benign: Sequence[Json]) -> dict[str, int]:
    """Return how many benign transactions are as large as the large ones of a real chain."""
    low, high = _LARGE_CALLS
    shallow, deep = _LARGE_DEPTH
    return {
        f"{low} to {high} calls": sum(low <= row["calls"] <= high for row in benign),
        f"depth {shallow} to {deep}": sum(shallow <= row["depth"] <= deep for row in benign),
    }
