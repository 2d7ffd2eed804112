"""A Gaussian mixture as a density of benign vectors; how many components it has, the data say (BIC)."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from blockscan.errors import ConfigError
from pipelines.baselines.setting import sample

ROWS = 10_000
COMPONENTS = (1, 2, 4, 8, 16, 32)
# Many transactions are equal but for amounts: without a floor their component has no width. In units of
# the standard deviation, squared.
FLOOR = 1e-3


def fit_mixture(
    vectors: NDArray[np.float64], rng: np.random.Generator
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A function from vectors (M, D) to their -log density (M,) in nats, fitted on `vectors` (N, D).

    Of mixtures with full covariances that have at least 2 * D rows per component, the one of least
    Bayesian information criterion (Schwarz 1978) is taken. At most ROWS rows are used.

    Raises:
        ConfigError: there is but one.
    """
    if len(vectors) < 2:
        raise ConfigError("a mixture needs two transactions to fit on; widen --train")
    scaler = StandardScaler()
    rows = scaler.fit_transform(sample(np.asarray(vectors, dtype=np.float64), ROWS, rng))
    most = max(1, len(rows) // (2 * rows.shape[1]))
    seed = int(rng.integers(2**31))
    mixtures = [
        GaussianMixture(count, reg_covar=FLOOR, random_state=seed) for count in COMPONENTS if count <= most
    ]
    with warnings.catch_warnings():
        # One that has not quite settled is still a density, and is compared as it stands.
        warnings.simplefilter("ignore", ConvergenceWarning)
        best = min((mixture.fit(rows) for mixture in mixtures), key=lambda mixture: mixture.bic(rows))

    def density(new: NDArray[np.float64]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = -best.score_samples(scaler.transform(new))
        return values

    return density
