"""How far a transaction's embedding lies from those of benign ones, in one of four ways.

The embedding is that of blockscan.model.embed, made from tokens of which none is hidden: it sees what
kind of transaction this is as a whole, where token p-values see single values. What is fitted is arrays only,
kept with the calibration; scikit-learn takes part in fitting, and scoring needs NumPy alone.

- neighbours: distance to the K-th nearest benign embedding, at unit length (Ramaswamy, Rastogi and Shim 2000)
- mahalanobis: distance in the metric of the benign covariance, shrunk (Ledoit and Wolf 2004)
- mixture: -log density under a mixture of Gaussians in the leading principal directions
- forest: how few random cuts isolate it (Liu, Ting and Zhou 2008)

Legend: S transactions, E width of an embedding, R references, D directions, C components, N nodes of a tree.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockscan.errors import ConfigError

Arrays = Mapping[str, NDArray[Any]]
Vector = NDArray[np.float32]

K = 5
REFERENCES = 2048
"""Benign embeddings kept as neighbours: 1 MiB at a width of 128."""
DIRECTIONS = 16
COMPONENTS = (1, 2, 4, 8, 16)
MIXTURE_ROWS = 10_000
TREES = 100
TREE_ROWS = 256
# Equal transactions lie at distance 0, of which there is no logarithm.
NEAREST = 1e-3
# Variance below which a direction says nothing, in the embedding's own units; many transactions are equal.
LEAST_VARIANCE = 1e-6
# Of components, in units of the direction's variance.
COMPONENT_FLOOR = 1e-3
# The fit is a function of its data: what is random inside it starts from here.
_SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """A fitted density: its kind, one of KINDS, and the arrays by name that `fit_density` made."""

    kind: str
    arrays: Arrays

    def oddness(self, embedding: Vector) -> float:
        """How far from benign an embedding (E,) lies: higher is farther; units depend on the kind."""
        return _MEASURES[self.kind](self.arrays, embedding)


def fit_density(kind: str, embeddings: NDArray[np.float32]) -> Density:
    """Learn from benign embeddings (S, E), S >= 1; the same ones give the same arrays.

    Raises:
        ValueError: there are none.
        ConfigError: no such kind.
    """
    require_kind(kind)
    if not len(embeddings):
        raise ValueError("no embedding to fit a density on")
    return Density(kind, {name: np.ascontiguousarray(each) for name, each in _FITS[kind](embeddings).items()})


def require_kind(kind: str) -> None:
    """Refuse what is no kind of density.

    Raises:
        ConfigError: it is none of KINDS.
    """
    if kind not in KINDS:
        raise ConfigError(f'score.density must be one of {", ".join(KINDS)}, or "" for none, not {kind!r}')


def _fit_neighbours(x_SE: Vector) -> Arrays:
    return {"references": _unit(_evenly(x_SE, REFERENCES))}


def _neighbours(arrays: Arrays, x_E: Vector) -> float:
    # By differences: the distance of equal vectors is exactly 0, which 2 - 2 cos is not.
    squared_R = np.square(arrays["references"] - _unit(x_E)).sum(axis=1)
    nth = min(K, len(squared_R)) - 1
    return float(np.log10(max(float(np.sqrt(np.partition(squared_R, nth)[nth])), NEAREST)))


def _evenly(x_SE: Vector, most: int) -> Vector:
    """At most so many rows, evenly over time, so that no stretch of it is left out."""
    return x_SE[np.linspace(0, len(x_SE) - 1, min(len(x_SE), most)).astype(np.int64)]


def _unit(x: Vector) -> Vector:
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    unit: Vector = (x / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit


def _fit_mahalanobis(x_SE: Vector) -> Arrays:
    from sklearn.covariance import ledoit_wolf  # half a second, which scoring shall not wait for

    mean_E = x_SE.mean(axis=0, dtype=np.float64)
    covariance_EE, _ = ledoit_wolf(x_SE - mean_E, assume_centered=True)
    precision_EE = np.linalg.inv(covariance_EE + LEAST_VARIANCE * np.eye(len(mean_E)))
    return {"mean": mean_E, "precision": (precision_EE + precision_EE.T) / 2}


def _mahalanobis(arrays: Arrays, x_E: Vector) -> float:
    """sqrt(2 d^2) - sqrt(2 E - 1): about standard normal were the embedding Gaussian (Fisher)."""
    off_E = x_E - arrays["mean"]
    squared = max(float(off_E @ arrays["precision"] @ off_E), 0.0)
    return float(np.sqrt(2 * squared) - np.sqrt(2 * len(off_E) - 1))


def _fit_mixture(x_SE: Vector) -> Arrays:
    """Of mixtures with at least 2 * D rows per component the one of least BIC (Schwarz 1978)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    kept_SE = _evenly(x_SE, MIXTURE_ROWS)
    mean_E = kept_SE.mean(axis=0, dtype=np.float64)
    off_SE = kept_SE - mean_E
    variance_E, direction_EE = np.linalg.eigh(off_SE.T @ off_SE / len(off_SE))  # ascending
    variance_D = np.maximum(variance_E[-DIRECTIONS:], 0.0)
    whiten_ED = direction_EE[:, -DIRECTIONS:] / np.sqrt(variance_D + LEAST_VARIANCE)
    z_SD = off_SE @ whiten_ED
    counts = [count for count in COMPONENTS if 2 * z_SD.shape[1] * count <= len(z_SD)]
    with warnings.catch_warnings():
        # One that has not quite settled is still a density, and is compared as it stands.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = [GaussianMixture(n, reg_covar=COMPONENT_FLOOR, random_state=_SEED).fit(z_SD) for n in counts]
    if not fitted:
        raise ValueError(f"{len(x_SE)} embeddings are too few for a mixture in {z_SD.shape[1]} directions")
    best = min(fitted, key=lambda one: float(one.bic(z_SD)))
    factor_CDD = best.precisions_cholesky_
    log_height_C = np.log(best.weights_) + np.log(np.diagonal(factor_CDD, axis1=1, axis2=2)).sum(axis=1)
    return {
        "mean": mean_E,
        "whiten": whiten_ED,
        "centers": best.means_,
        "factors": factor_CDD,
        "log_heights": log_height_C,
    }


def _mixture(arrays: Arrays, x_E: Vector) -> float:
    """-ln density, but for the constant of D."""
    z_D = (x_E - arrays["mean"]) @ arrays["whiten"]
    off_CD = np.einsum("cd,cde->ce", z_D - arrays["centers"], arrays["factors"])
    return float(-np.logaddexp.reduce(arrays["log_heights"] - 0.5 * np.square(off_CD).sum(axis=1)))


def _fit_forest(x_SE: Vector) -> Arrays:
    """Trees as arrays (TREES, N), padded: `left` and `right` lead from a leaf to itself."""
    from sklearn.ensemble import IsolationForest

    rows = min(TREE_ROWS, len(x_SE))
    trees = IsolationForest(n_estimators=TREES, max_samples=rows, random_state=_SEED).fit(x_SE).estimators_
    nodes = max(each.tree_.node_count for each in trees)
    pad = np.arange(nodes, dtype=np.int32)
    shape = (len(trees), nodes)
    left, right = np.tile(pad, (len(trees), 1)), np.tile(pad, (len(trees), 1))
    feature, cut, cuts = np.zeros(shape, np.int32), np.zeros(shape), np.zeros(shape)
    for i, each in enumerate(trees):
        tree, own = each.tree_, each.tree_.node_count
        inner = tree.children_left >= 0
        left[i, :own] = np.where(inner, tree.children_left, pad[:own])
        right[i, :own] = np.where(inner, tree.children_right, pad[:own])
        feature[i, :own], cut[i, :own] = np.where(inner, tree.feature, 0), tree.threshold
        for node in np.flatnonzero(inner):  # parents come before their children
            cuts[i, [tree.children_left[node], tree.children_right[node]]] = cuts[i, node] + 1
        cuts[i, :own] += np.where(inner, 0.0, _further_cuts(tree.n_node_samples))
    return {"left": left, "right": right, "feature": feature, "cut": cut, "cuts": cuts}


def _further_cuts(rows_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many cuts would on average isolate one of so many rows: equation 1 of the paper."""
    further_N: NDArray[np.float64] = np.maximum(rows_N - 1.0, 0.0)  # 1 for two rows, 0 for one
    many = rows_N > 2
    n = rows_N[many]
    further_N[many] = 2 * (np.log(n - 1.0) + np.euler_gamma) - 2 * (n - 1.0) / n
    return further_N


def _forest(arrays: Arrays, x_E: Vector) -> float:
    """-mean number of cuts that isolate it."""
    tree = np.arange(len(arrays["left"]))
    node, before = np.zeros(len(tree), np.int32), np.full(len(tree), -1, np.int32)
    while not np.array_equal(node, before):
        before = node
        goes_left = x_E[arrays["feature"][tree, node]] <= arrays["cut"][tree, node]
        node = np.where(goes_left, arrays["left"][tree, node], arrays["right"][tree, node])
    return -float(arrays["cuts"][tree, node].mean())


_FITS: Mapping[str, Callable[[Vector], Arrays]] = {
    "neighbours": _fit_neighbours,
    "mahalanobis": _fit_mahalanobis,
    "mixture": _fit_mixture,
    "forest": _fit_forest,
}
_MEASURES: Mapping[str, Callable[[Arrays, Vector], float]] = {
    "neighbours": _neighbours,
    "mahalanobis": _mahalanobis,
    "mixture": _mixture,
    "forest": _forest,
}
KINDS = tuple(_FITS)
