"""The points of the report's plots: ROC, precision-recall, distribution of the values."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Points = list[tuple[float, float]]
BINS = 40
_MOST = 400
"""Points of a curve that are kept."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of each class per bin; `edges` (BINS + 1) between the finite values' extremes."""

    edges: tuple[float, ...]
    benign: tuple[float, ...]
    attacks: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """By detector: `roc` as (share of false alarms, recall), `precision_recall` as (recall, precision).

    The first training seed's. `values` is the histogram of the first detector's. The least share of false
    alarms that can be told from none is `finest`.
    """

    roc: dict[str, Points]
    precision_recall: dict[str, Points]
    values: Histogram
    finest: float


def curves(values: Mapping[str, Floats], attack: NDArray[np.bool_], ours: Floats) -> Curves:
    """Curves of values (R, n) by detector, all on one scale; attacks (n,) True.

    The histogram is of `ours` (n,).
    """
    roc, precision_recall = {}, {}
    for name, rows in values.items():
        roc[name], precision_recall[name] = _both(rows[0], attack)
    return Curves(roc, precision_recall, _histogram(ours, attack), 1 / float((~attack).sum()))


def _both(values: Floats, attack: NDArray[np.bool_]) -> tuple[Points, Points]:
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    caught = np.cumsum(attack[order])[ends]
    false = ends + 1 - caught
    # Between two attacks a curve is straight, so only the corners are needed.
    corner = np.flatnonzero(np.diff(caught, append=-1) | np.diff(caught, prepend=0))
    kept = corner[np.unique(np.linspace(0, len(corner) - 1, min(_MOST, len(corner))).astype(int))]
    recall = caught[kept] / caught[-1]
    roc = [(0.0, 0.0), *zip((false[kept] / false[-1]).tolist(), recall.tolist(), strict=True)]
    precision = caught[kept] / (caught[kept] + false[kept])
    return roc, list(zip(recall.tolist(), precision.tolist(), strict=True))


def _histogram(values: Floats, attack: NDArray[np.bool_]) -> Histogram:
    """Values beyond the finite ones (truncated traces) count in the outermost bins."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    inside = np.clip(values, edges[0], edges[-1])
    shares = [np.histogram(inside[side], edges)[0] / max(int(side.sum()), 1) for side in (~attack, attack)]
    return Histogram(tuple(edges.tolist()), tuple(shares[0].tolist()), tuple(shares[1].tolist()))
