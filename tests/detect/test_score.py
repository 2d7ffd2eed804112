"""The value of a transaction: statistics by hand, no effect of length, sparse attacks on top."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from blockscan.detect.score import PARTS, ScoreModel, criticism, fisher, strongest
from blockscan.detect.surprise import FieldCalibration, Survival


@pytest.fixture(scope="module")
def fitted(benign):
    fields = FieldCalibration.fit((each.sequence, each.losses) for each in benign[:1300])
    token_p = [fields.p_values(each.sequence, each.losses) for each in benign]
    return fields, ScoreModel.fit(token_p[:1300]), token_p[1300:]


def test_statistics_by_hand():
    p = np.array([1e-4, 1e-3, 1e-2, 0.1, 1.0, 1.0])
    assert strongest(p) == pytest.approx((4 + 3 + 2 + 1 + 0) / 5)
    assert fisher(p) == pytest.approx((10 * math.log(10) - 6) / math.sqrt(6))
    first = math.sqrt(6) * (1 / 6 - 1e-4) / math.sqrt(1e-4 * (1 - 1e-4))
    assert criticism(p) == pytest.approx(math.log10(1 + first))


def test_top_share_counts_two_percent_of_long_transactions():
    p = np.concatenate((np.full(20, 1e-5), np.full(980, 0.5)))
    assert strongest(p) == pytest.approx(5.0)
    assert strongest(np.concatenate((np.full(5, 1e-5), np.full(45, 0.5)))) == pytest.approx(5.0)


def test_length_does_not_drive_the_value(fitted):
    _, model, token_p = fitted
    sizes = np.array([np.sum(~np.isnan(p)) for p in token_p])
    values = np.array([model.value(p) for p in token_p])
    for share in (0.5, 0.9):
        is_long = sizes > np.quantile(sizes, share)
        assert 0.4 <= roc_auc_score(is_long, values) <= 0.6


def test_the_bare_statistics_are_driven_by_length(fitted):
    """What the length classes are for: without them the property above does not hold."""
    _, _, token_p = fitted
    kept = [np.sort(p[~np.isnan(p)]) for p in token_p]
    sizes = np.array([len(p) for p in kept])
    assert roc_auc_score(sizes > np.median(sizes), [strongest(p) for p in kept]) > 0.8


def test_three_extreme_tokens_among_a_thousand_are_found(fitted, observe):
    fields, model, token_p = fitted
    rng = np.random.default_rng(5)
    benign_values = np.array([model.value(p) for p in token_p])
    ordinary = [observe(rng, 1000) for _ in range(40)]
    attacks = [observe(rng, 1000, extremes=3, extreme=20.0) for _ in range(40)]
    threshold = np.quantile(benign_values, 0.99)
    found, alarmed = (
        np.mean([model.value(fields.p_values(each.sequence, each.losses)) > threshold for each in group])
        for group in (attacks, ordinary)
    )
    assert found >= 0.9 and alarmed <= 0.15


def test_more_surprise_is_never_less_anomalous(fitted, observe):
    fields, model, _ = fitted
    each = observe(np.random.default_rng(6), 300)
    values = []
    for extra in (0.0, 1.0, 4.0, 12.0, 20.0):
        token_p = fields.p_values(each.sequence, each.losses)
        values.append(model.value(token_p))
        each.losses.surprise[:3] += 1.0 + extra
    assert values == sorted(values) and values[-1] > values[-2]


@pytest.mark.parametrize("token_p", [np.empty(0), np.full(30, np.nan)])
def test_no_evidence_gives_the_lowest_value(fitted, token_p):
    _, model, benign_p = fitted
    assert model.value(token_p) == 0.0
    assert min(model.value(p) for p in benign_p) >= 0.0


def test_between_two_length_classes_the_log_p_values_are_interpolated():
    """Classes at 10 and 1,000 tokens whose statistics differ: at 100 tokens both count one half."""
    short = Survival.fit(np.zeros(99), scale_floor=1.0)
    long = Survival.fit(np.full(99, 1e6), scale_floor=1.0)
    model = ScoreModel(np.log([10.0, 1000.0]), {"strongest": (short, long)})
    alone = [ScoreModel(np.log([10.0]), {"strongest": (each,)}) for each in (short, long)]
    for tokens, weight in ((5, 0), (10, 0), (100, 0.5), (1000, 1), (5000, 1)):
        p = np.full(tokens, 0.01)
        at_short, at_long = (each.value(p) for each in alone)
        assert at_short > 2 > at_long == 0
        assert model.value(p) == pytest.approx((1 - weight) * at_short + weight * at_long)


def test_identical_benign_transactions_do_not_make_rounding_evidence():
    model = ScoreModel.fit([np.full(9, 0.5)] * 300)
    assert model.value(np.full(9, 0.5 - 1e-7)) < 3.0


@pytest.mark.parametrize("part", PARTS)
def test_parts_can_be_switched(fitted, part):
    _, _, token_p = fitted
    model = ScoreModel.fit(token_p[:600], parts=[part])
    assert set(model.tails) == {part}
    assert model.value(token_p[700]) >= 0.0


def test_length_part_lets_length_count(fitted):
    _, _, token_p = fitted
    model = ScoreModel.fit(token_p[:600], parts=["length"])
    assert model.value(np.full(3000, 0.5)) > model.value(np.full(300, 0.5)) > model.value(np.full(9, 0.5))


def test_unknown_part_is_refused():
    with pytest.raises(ValueError, match="unknown parts \\['lenght'\\]"):
        ScoreModel.fit([np.array([0.5])], parts=["lenght"])
