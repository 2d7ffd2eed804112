"""Densities of embeddings, each against scikit-learn or a sum by hand; all odd things stand out."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from blockscan.detect import density as module
from blockscan.detect.density import KINDS, fit_density
from blockscan.errors import ConfigError


@pytest.fixture(scope="module")
def cloud():
    """Two clusters of benign embeddings of unequal width, (600, 24)."""
    rng = np.random.default_rng(1)
    centers = 3 * rng.standard_normal((2, 24))
    spread = np.linspace(0.1, 1.0, 24)
    return (centers[rng.integers(2, size=600)] + spread * rng.standard_normal((600, 24))).astype(np.float32)


def odd(kind, cloud, new):
    fitted = fit_density(kind, cloud)
    return np.array([fitted.oddness(each) for each in new])


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_elsewhere_is_odd_and_fits_repeat(kind, cloud):
    rng = np.random.default_rng(2)
    far = (cloud[:100] * rng.choice([-1, 1], size=(100, 24)) * 1.5).astype(np.float32)
    benign, strange = odd(kind, cloud[:500], cloud[500:]), odd(kind, cloud[:500], far)
    assert np.median(strange) > np.quantile(benign, 0.99)
    again, first = fit_density(kind, cloud[:500]).arrays, fit_density(kind, cloud[:500]).arrays
    assert again.keys() == first.keys()
    for name, array in first.items():
        assert array.flags.c_contiguous and np.array_equal(array, again[name])


def test_neighbours_are_those_of_scikit_learn(cloud):
    unit = cloud / np.linalg.norm(cloud, axis=1, keepdims=True)
    nearest = NearestNeighbors(n_neighbors=5).fit(unit[:500]).kneighbors(unit[500:])[0][:, 4]
    assert odd("neighbours", cloud[:500], 7 * cloud[500:]) == pytest.approx(np.log10(nearest), abs=1e-4)


def test_equal_embeddings_are_at_the_least_distance_and_few_are_enough(cloud):
    assert odd("neighbours", np.repeat(cloud[:1], 9, axis=0), cloud[:1]) == [-3.0]
    assert odd("neighbours", cloud[:2], cloud[:1]) > -3.0  # the farthest, where there are less than five
    assert np.isfinite(odd("neighbours", np.zeros((3, 4), np.float32), np.ones((1, 4), np.float32)))


def test_references_are_spread_over_time(cloud, monkeypatch):
    monkeypatch.setattr(module, "REFERENCES", 4)
    kept = fit_density("neighbours", cloud[:301]).arrays["references"]
    length = np.linalg.norm(cloud[[0, 100, 200, 300]], axis=1, keepdims=True)
    assert np.array_equal(kept, cloud[[0, 100, 200, 300]] / length)


def test_mahalanobis_is_that_of_the_shrunk_covariance(cloud):
    squared = LedoitWolf().fit(cloud[:500].astype(np.float64)).mahalanobis(cloud[500:].astype(np.float64))
    found = odd("mahalanobis", cloud[:500], cloud[500:])
    assert found == pytest.approx(np.sqrt(2 * squared) - np.sqrt(2 * 24 - 1), rel=1e-3, abs=1e-3)


def test_mahalanobis_is_standard_normal_for_a_gaussian():
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((4000, 60)) * np.linspace(0.5, 2, 60)).astype(np.float32)
    found = odd("mahalanobis", x[:3000], x[3000:])
    assert abs(found.mean()) < 0.25 and abs(found.std() - 1) < 0.15


def test_the_mixture_is_that_of_scikit_learn(cloud, monkeypatch):
    monkeypatch.setattr(module, "COMPONENTS", (3,))
    arrays = fit_density("mixture", cloud[:500]).arrays
    inside = (cloud - arrays["mean"]) @ arrays["whiten"]
    assert inside.shape == (600, 16) and inside[:500].std(axis=0) == pytest.approx(np.ones(16), abs=1e-3)
    theirs = GaussianMixture(3, reg_covar=1e-3, random_state=0).fit(inside[:500])
    difference = -theirs.score_samples(inside[500:]) - odd("mixture", cloud[:500], cloud[500:])
    assert difference == pytest.approx(np.full(100, 8 * np.log(2 * np.pi)), abs=1e-6)


def test_too_few_embeddings_for_a_mixture_are_told(cloud):
    with pytest.raises(ValueError, match="20 embeddings are too few"):
        fit_density("mixture", cloud[:20])


def test_the_forest_is_that_of_scikit_learn(cloud):
    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=0).fit(cloud[:500])
    # The paper's score is 2 ** -(mean number of cuts / c), c what is expected of 256 rows.
    expected = 2 * (np.log(255) + np.euler_gamma) - 2 * 255 / 256
    cuts = expected * np.log2(-forest.score_samples(cloud[500:]))
    assert odd("forest", cloud[:500], cloud[500:]) == pytest.approx(cuts, abs=1e-6)


def test_equal_embeddings_are_a_density_too():
    same, other = np.ones((200, 8), np.float32), np.full((1, 8), 1.5, np.float32)
    for kind in ("neighbours", "mahalanobis", "mixture"):
        assert odd(kind, same, same[:1] + 0)[0] <= odd(kind, same, other * np.arange(8))[0] < np.inf


def test_an_unknown_kind_or_nothing_to_learn_from_is_refused(cloud):
    with pytest.raises(ConfigError, match="must be one of neighbours, mahalanobis, mixture, forest"):
        fit_density("knn", cloud)
    with pytest.raises(ValueError, match="no embedding"):
        fit_density("forest", cloud[:0])
