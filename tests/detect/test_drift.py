"""The drift alarm: false at most once in a hundred, blind to attacks, awake to drift."""

import math

import numpy as np
import pytest
from scipy.stats import binom, kstest

from blockscan.detect.drift import FEWEST, MOST_ATTACKS, TAIL, DriftTest, drift
from blockscan.errors import ConfigError


def run(seed, *, n=300, later=250, attacks=0.0, mean=0.0, spread=1.0, decimals=None):
    """Drift of log-normal values whose logarithm has another mean or spread than at calibration."""
    rng = np.random.default_rng(seed)
    calibrated, values = rng.lognormal(size=n), rng.lognormal(mean, spread, size=later)
    if decimals is not None:
        calibrated, values = np.round(calibrated, decimals), np.round(values, decimals)
    values[rng.random(later) < attacks] = 1e6
    return drift(values, calibrated, rng=rng)


@pytest.mark.parametrize("decimals", [None, 1])
def test_without_drift_the_alarm_is_bounded_by_villes_inequality(decimals):
    runs = 300
    found = [run([1, i], decimals=decimals) for i in range(runs)]
    assert sum(each.drifted for each in found) <= binom.ppf(0.999, runs, 0.01)
    # Ville at lower levels, where there is something to count: P(peak >= c) <= 1 / c.
    for level in (2, 5, 10):
        reached = sum(each.peak >= math.log10(level) for each in found)
        assert reached <= binom.ppf(0.999, runs, 1 / level)
    assert kstest([each.ks_p for each in found], "uniform").pvalue > 1e-3
    inside = sum(each.tail_band[0] <= each.tail <= each.tail_band[1] for each in found)
    assert decimals is not None or inside >= binom.ppf(0.001, runs, 0.95)


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_attacks_are_no_drift(share):
    runs = 60
    found = [run([2, i], attacks=share) for i in range(runs)]
    assert sum(each.drifted for each in found) <= binom.ppf(0.999, runs, 0.01)
    assert np.mean([each.tail for each in found]) > 250 * (TAIL + 0.8 * share)  # but they are seen


def test_as_many_attacks_as_are_allowed_for_are_no_drift_over_a_long_time():
    assert not any(run([9, i], n=2000, later=2000, attacks=MOST_ATTACKS).drifted for i in range(8))


@pytest.mark.parametrize(
    ("shape", "place"),
    [({"mean": 0.4}, -1), ({"mean": -0.4}, 1), ({"spread": 1.6}, 0), ({"spread": 0.6}, 0)],
)
def test_drift_is_called(shape, place):
    found = [run([3, i], n=1000, later=1500, **shape) for i in range(6)]
    assert all(each.drifted and each.crossed < 1500 for each in found)
    assert all(each.peak >= 2 and each.ks_p < 0.01 for each in found)
    if place:
        assert all((each.mean_place - 0.5) * place > 0.02 for each in found)


def test_drift_over_the_cut_alone_is_called():
    """A fifth of the values is above the cut, and those below are as they were."""
    for seed in range(6):
        rng = np.random.default_rng([9, seed])
        values = np.where(rng.random(800) < 0.2, 0.99, 0.95 * rng.random(800))
        found = drift(values, rng.random(500), rng=rng)
        assert found.drifted and found.tail > found.tail_band[1] and found.ks_p > 1e-3


def test_a_shift_that_comes_late_is_called_after_it_came():
    rng = np.random.default_rng(4)
    values = np.concatenate((rng.random(1500), 0.7 * rng.random(1500)))
    found = drift(values, rng.random(1500), rng=rng)
    assert found.crossed is not None and 1500 <= found.crossed < 2300


def test_one_by_one_equals_all_at_once_and_long_streams_do_not_overflow():
    rng = np.random.default_rng(5)
    calibrated, values = rng.random(500), 0.3 * rng.random(4000)
    test = DriftTest(calibrated, np.random.default_rng(6))
    for value in values:
        test.add(float(value))
    once = drift(values, calibrated, rng=np.random.default_rng(6))
    assert test.evidence() == once
    assert 100 < once.capital < 10_000 and math.isfinite(once.peak)


def test_extremes_and_equal_values():
    calibrated = np.array([0.0] * 500 + [1.0] * 400 + [2.0] * 99 + [math.inf])
    rng = np.random.default_rng(7)
    found = drift(rng.choice(calibrated, size=800), calibrated, rng=rng)
    assert not found.drifted and found.seen == 800
    assert drift([math.inf] * 50, calibrated, rng=rng).tail == 50
    nothing = drift([], calibrated, rng=rng)
    assert (nothing.seen, nothing.capital, nothing.ks_p, nothing.crossed) == (0, 0.0, 1.0, None)


def test_too_few_calibration_values_are_refused():
    rng = np.random.default_rng(8)
    enough = math.ceil(FEWEST / (1 - TAIL)) + 1
    drift([0.5], rng.random(enough), rng=rng)
    for n in (0, 1, FEWEST):
        with pytest.raises(ConfigError, match="calibrate on more benign"):
            drift([0.5], rng.random(n), rng=rng)
