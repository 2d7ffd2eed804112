"""What every entry of the plug board must do."""

import inspect

import numpy as np
import pytest

from blockscan.transaction import call_count
from pipelines.baselines import BASELINES
from pipelines.baselines.setting import Setting

NAMES = list(BASELINES)
# After twelve steps a network knows little; those are judged in their own tests.
UNTRAINED = ("doc2vec_gmm", "blockgpt", "single_mask", "published")


@pytest.mark.parametrize("name", NAMES)
def test_values_are_finite_repeatable_and_each_transaction_stands_alone(name, train, test, setting):
    baseline = BASELINES[name]
    score = baseline.fit(train, setting())
    values = score(test)
    assert values.shape == (len(test), len(baseline.columns)) and values.dtype == np.float64
    assert np.isfinite(values).all()
    assert np.array_equal(baseline.fit(train, setting())(test), values), "the same seed gives the same values"
    backwards = score(test[::-1])[::-1]
    alone = np.concatenate([score([each]) for each in test[-3:]])
    np.testing.assert_allclose(backwards, values, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(alone, values[-3:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNTRAINED])
def test_what_is_odd_stands_above_what_is_ordinary(name, train, test, setting):
    values = BASELINES[name].fit(train, setting())(test)
    ordinary = np.quantile(values[:-2], 0.9, axis=0)
    assert (values[-2:].min(axis=0) > ordinary).all(), dict(
        zip(BASELINES[name].columns, values[-2:].min(axis=0) - ordinary, strict=True)
    )


@pytest.mark.parametrize("calls", [2_000, pytest.param(200_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_a_transaction_of_many_and_deep_calls_passes(name, calls, train, setting, huge):
    transaction = huge(calls)
    assert call_count(transaction.root) == calls
    assert np.isfinite(BASELINES[name].fit(train[:40], setting())([transaction])).all()


def test_there_is_no_way_in_for_a_label(train):
    assert [len(inspect.signature(each.fit).parameters) for each in BASELINES.values()] == [2] * len(NAMES)
    assert not {"label", "labels", "y", "attack"} & set(Setting.__dataclass_fields__)


def test_columns_are_unique():
    columns = [column for each in BASELINES.values() for column in each.columns]
    assert len(columns) == len(set(columns))
