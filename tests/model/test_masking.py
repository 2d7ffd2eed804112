from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockscan.config import TrainConfig
from blockscan.model.masking import (
    alias_orders,
    fixed_examples,
    fold_of_tokens,
    random_mask,
    rename_aliases,
)
from blockscan.tokens import TokenSequence, VocabularyShape


def test_whole_values_are_hidden_at_the_asked_rate():
    rng = np.random.default_rng(0)
    segment = np.repeat([0, 1, 2], [200, 3, 100])
    unit = np.concatenate([np.arange(200) // 2, np.arange(3), np.arange(100) // 5])
    hidden = random_mask(segment, unit, 0.3, rng)
    for which, units in ((0, 100), (1, 3), (2, 20)):
        own = unit[segment == which]
        chosen = set(own[hidden[segment == which]])
        assert len(chosen) == round(0.3 * units)
        assert np.array_equal(hidden[segment == which], np.isin(own, list(chosen)))


def test_pieces_that_are_apart_are_hidden_together():
    unit = np.array([0, 1, 0, 2, 1, 0])
    for seed in range(20):
        hidden = random_mask(np.zeros(6, dtype=int), unit, 0.3, np.random.default_rng(seed))
        assert len(set(unit[hidden])) == 1
        assert np.array_equal(hidden, unit == unit[hidden][0])


def test_something_is_always_hidden():
    assert random_mask(np.array([0]), np.array([0]), 0.01, np.random.default_rng(0)).all()


@pytest.mark.parametrize(
    ("rate", "share"), [(0.15, 1 / 7), (0.3, 1 / 3), (0.4, 0.4), (0.67, 2 / 3), (0.9, 0.9), (1.0, 1.0)]
)
def test_validation_hides_about_the_mask_rate(sequences, rate, share):
    long = [replace(each, unit=np.arange(len(each), dtype=np.int32)) for each in sequences if len(each) > 90]
    examples = list(fixed_examples(long, 512, VocabularyShape(300, ()), TrainConfig(mask_rate=rate)))
    hidden = sum(len(example.target_M) for example in examples)
    assert hidden / sum(map(len, long)) == pytest.approx(share, abs=0.01)


def test_masks_vary_with_the_generator_and_repeat_with_its_seed():
    segment, unit = np.zeros(100, dtype=int), np.arange(100)
    masks = [random_mask(segment, unit, 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


@settings(max_examples=60, deadline=None)
@given(name=st.text(), units=st.integers(1, 60), folds=st.integers(1, 7), seed=st.integers(0, 99))
def test_each_asked_value_lies_in_one_fold_and_folds_are_balanced(name, units, folds, seed):
    rng = np.random.default_rng(seed)
    unit = np.sort(np.concatenate([np.arange(units), rng.integers(0, units, 30)]))
    asked = rng.random(len(unit)) < 0.4
    fold = fold_of_tokens(_sequence(name, unit), folds, asked_T=asked)
    assert fold.shape == unit.shape
    assert np.array_equal(fold >= 0, np.isin(unit, unit[asked])) and (fold < folds).all()
    of_unit = [set(fold[unit == which].tolist()) for which in range(units)]
    assert all(len(found) == 1 for found in of_unit)
    counts = np.bincount([one for found in of_unit for one in found if one >= 0], minlength=folds)
    assert counts.max() - counts.min() <= 1


def test_folds_depend_on_the_hash_and_the_value_only():
    unit = np.arange(40)
    fold = _fold("0xaa", unit, 4)
    other_content = replace(_sequence("0xaa", unit), ids=np.full(40, 9, dtype=np.int32))
    assert np.array_equal(fold, fold_of_tokens(other_content, 4, asked_T=other_content.scored))
    assert not np.array_equal(fold, _fold("0xab", unit, 4))
    assert not np.array_equal(fold, np.arange(40) % 4)


def test_folds_stay_as_they_were():
    """Scores in a store were made with these folds: a change here must be deliberate."""
    assert _fold("0xfeed", np.arange(12), 4).tolist() == [
        0,
        2,
        3,
        1,
        1,
        2,
        3,
        2,
        0,
        0,
        3,
        1,
    ]


def test_aliases_are_permuted_within_their_span_and_their_transaction():
    shape = VocabularyShape(50, ((10, 20), (30, 33)))
    rng = np.random.default_rng(0)
    orders = alias_orders(shape, 2, rng)
    ids = np.array([5, 10, 11, 10, 31, 49, 5, 10, 11, 10, 31, 49], dtype=np.int32)
    renamed = rename_aliases(ids, np.repeat([0, 1], 6), shape, orders)
    assert renamed[[0, 5, 6, 11]].tolist() == [5, 49, 5, 49]
    for half in (renamed[:6], renamed[6:]):
        assert half[1] == half[3] != half[2]
        assert all(10 <= one < 20 for one in half[1:4])
        assert 30 <= half[4] < 33
    assert renamed[:6].tolist() != renamed[6:].tolist()
    for (start, stop), order in zip(shape.alias_spans, orders, strict=True):
        assert np.array_equal(np.sort(order, axis=1), np.tile(np.arange(stop - start), (2, 1)))
        assert order.dtype == np.uint8  # there are as many rows as transactions


def test_the_type_of_alias_orders_holds_every_alias():
    (order,) = alias_orders(VocabularyShape(500, ((100, 400),)), 3, np.random.default_rng(0))
    assert order.dtype == np.uint16
    ids = np.arange(100, 400, dtype=np.int32)
    renamed = rename_aliases(ids, np.zeros(300, dtype=np.int64), VocabularyShape(500, ((100, 400),)), [order])
    assert renamed.dtype == np.int32
    assert sorted(renamed) == ids.tolist()


@pytest.mark.parametrize("name", ["", "\ud800", "x" * 5000])
def test_any_string_may_be_a_hash(name):
    assert len(_fold(name, np.arange(3), 2)) == 3


def _fold(name, unit, folds):
    sequence = _sequence(name, unit)
    return fold_of_tokens(sequence, folds, asked_T=sequence.scored)


def _sequence(name, unit):
    blank = np.zeros(len(unit), dtype=np.int32)
    return TokenSequence(
        name,
        blank,
        blank.astype(np.uint8),
        blank.astype(np.uint8),
        blank,
        blank.astype(np.int16),
        unit.astype(np.int32),
        blank,
        np.ones(len(unit), dtype=np.bool_),
    )
