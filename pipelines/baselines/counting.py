"""The classical detectors on count features: Isolation Forest, One-Class SVM, LOF, ECOD, Gaussian mixture.

All see log(1 + count), since counts of a chain span six orders of magnitude. Those that measure
distances see them standardised, and fewer rows, since the cost of two of them is quadratic.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from blockscan.detect.counts import count_features
from blockscan.errors import ConfigError
from blockscan.transaction import Transaction
from pipelines.baselines.mixture import fit_mixture
from pipelines.baselines.setting import Score, Setting, sample

SVM_ROWS = 10_000
LOF_ROWS = 20_000
NEIGHBOURS = (10, 20, 30, 40, 50)
OUTLIERS = 0.5  # nu of the One-Class SVM; .01, .05 and .1 rank the simulated dev split worse


def log_counts(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
    """log(1 + count features), (N, 13); unknown gas counts as none."""
    counts = np.array([count_features(transaction) for transaction in transactions])
    logs: NDArray[np.float64] = np.log1p(np.maximum(counts, 0.0))
    return logs


def fit_isolation_forest(train: Sequence[Transaction], setting: Setting) -> Score:
    """Isolation Forest (Liu et al. 2008) with its authors' 100 trees of 256 rows."""
    rows = log_counts(train)
    seed = int(setting.rng.integers(2**31))
    forest = IsolationForest(n_estimators=100, max_samples=min(256, len(rows)), random_state=seed).fit(rows)
    return lambda transactions: _column(-forest.score_samples(log_counts(transactions)))


def fit_one_class_svm(train: Sequence[Transaction], setting: Setting) -> Score:
    """One-Class SVM (Schoelkopf et al. 2001), Gaussian kernel of width "scale", on SVM_ROWS rows."""
    rows = sample(log_counts(train), SVM_ROWS, setting.rng)
    machine = make_pipeline(StandardScaler(), OneClassSVM(nu=OUTLIERS, gamma="scale")).fit(rows)
    return lambda transactions: _column(-machine.score_samples(log_counts(transactions)))


def fit_lof(train: Sequence[Transaction], setting: Setting) -> Score:
    """Local Outlier Factor (Breunig et al. 2000) against LOF_ROWS distinct rows.

    As its authors advise, the greatest over numbers of neighbours from 10, below which it is chance, to the
    most that lie close together. Equal rows are merged: where a row has more copies than neighbours, the
    density there is infinite.
    """
    rows = sample(np.unique(log_counts(train), axis=0), LOF_ROWS, setting.rng)
    if len(rows) < 2:
        raise ConfigError("lof needs two different transactions to fit on; widen --train")
    scaler = StandardScaler().fit(rows)
    scaled = scaler.transform(rows)
    numbers = sorted({min(number, len(rows) - 1) for number in NEIGHBOURS})
    factors = [LocalOutlierFactor(n_neighbors=number, novelty=True).fit(scaled) for number in numbers]

    def score(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
        new = scaler.transform(log_counts(transactions))
        return _column(np.max([-factor.score_samples(new) for factor in factors], axis=0))

    return score


def fit_counts_mixture(train: Sequence[Transaction], setting: Setting) -> Score:
    """-log density under a Gaussian mixture; equal rows stay, as they are what is usual."""
    density = fit_mixture(log_counts(train), setting.rng)
    return lambda transactions: _column(density(log_counts(transactions)))


def fit_ecod(train: Sequence[Transaction], _setting: Setting) -> Score:
    """ECOD (Li et al. 2022): the sum over features of -log of the empirical tail probability.

    The greatest of three sums: all left tails, all right tails, and per feature the tail on the side of
    its skewness. A probability counts the value itself, so that none is zero.
    """
    ordered = np.sort(log_counts(train), axis=0)
    centred = ordered - ordered.mean(axis=0)
    leans_left = (centred**3).mean(axis=0) < 0

    def score(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
        rows = log_counts(transactions)
        pairs = list(zip(ordered.T, rows.T, strict=True))
        below = np.stack([np.searchsorted(known, new, side="right") for known, new in pairs], axis=1)
        above = len(ordered) - np.stack([np.searchsorted(known, new) for known, new in pairs], axis=1)
        left, right = (-np.log((1 + count) / (1 + len(ordered))) for count in (below, above))
        sums = [tail.sum(axis=1) for tail in (left, right, np.where(leans_left, left, right))]
        return _column(np.max(sums, axis=0))

    return score


def _column(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)
