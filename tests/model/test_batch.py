from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockscan.errors import ConfigError
from blockscan.model.batch import (
    BUFFER,
    best_fit,
    content_digest,
    cut_windows,
    epoch_batches,
    pack,
    sorted_batches,
    window_table,
)
from blockscan.tokens import MASK_ID, VocabularyShape

SHAPE = VocabularyShape(300, ())


def test_windows_cover_every_token_once_and_restart_the_position(sequences):
    table = window_table(sequences, 96, SHAPE)
    assert table.length_W.max() <= 96
    cut = cut_windows(table, np.arange(len(table.length_W)))
    assert np.array_equal(cut.place_T, np.arange(sum(map(len, sequences))))
    assert np.array_equal(cut.position_T == 0, np.diff(cut.segment_T, prepend=-1) > 0)
    assert np.bincount(table.sequence_W)[5] >= 2


def test_a_batch_holds_the_chosen_windows_in_order(sequences):
    table = window_table(sequences, 96, SHAPE)
    cut = cut_windows(table, np.array([3, 0]))
    hidden = np.zeros(len(cut.place_T), dtype=np.bool_)
    hidden[[0, 60]] = True
    batch = pack(table, cut, hidden)
    ids = np.concatenate([sequences[3].ids, sequences[0].ids])
    assert batch.ids_T[~hidden].tolist() == ids[~hidden].tolist()
    assert batch.ids_T[hidden].tolist() == [MASK_ID, MASK_ID]
    for name in ("field", "depth", "group"):
        wanted = np.concatenate([getattr(sequences[3], name), getattr(sequences[0], name)])
        assert getattr(batch, f"{name}_T").tolist() == wanted.tolist()
    assert batch.position_T.tolist() == [*range(55), *range(30)]
    assert batch.layout.cu_seqlens.tolist() == [0, 55, 85]


def test_empty_sequences_give_no_window(draw_sequence):
    rng = np.random.default_rng(0)
    table = window_table([draw_sequence(str(n), n, rng) for n in (0, 5, 0)], 96, SHAPE)
    assert table.sequence_W.tolist() == [1]


@pytest.mark.parametrize("bad", [0, MASK_ID, 300, -1])
def test_ids_outside_the_vocabulary_are_refused(sequences, bad):
    ids = sequences[0].ids.copy()
    ids[3] = bad
    with pytest.raises(ConfigError, match="encode the transactions with the tokenizer of this model"):
        window_table([replace(sequences[0], ids=ids)], 96, SHAPE)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 100), max_size=60))
def test_best_fit_places_everything_within_capacity(lengths):
    bins = best_fit(np.array(lengths, dtype=np.int64), 100)
    assert sorted(item for one in bins for item in one) == list(range(len(lengths)))
    assert all(0 < sum(lengths[item] for item in one) <= 100 for one in bins)


def test_best_fit_takes_the_tightest_room():
    assert best_fit(np.array([6, 7, 3, 4, 2]), 10) == [[0, 3], [1, 2], [4]]


def test_a_window_larger_than_a_batch_is_refused():
    with pytest.raises(ConfigError, match="raise batch_tokens"):
        best_fit(np.array([11]), 10)


def test_a_window_longer_than_a_batch_is_refused_before_the_first_batch():
    length_W = np.where(np.arange(3 * BUFFER) == 0, 11, 5)
    rng = np.random.default_rng(0)  # which puts it late
    with pytest.raises(ConfigError, match="a window of 11 tokens does not fit a batch of 10; raise"):
        next(epoch_batches(length_W, 10, rng))


def test_an_epoch_shows_every_window_once_and_fills_its_batches():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5, 1, 3000), 8, 1024).astype(np.int64)
    batches = list(epoch_batches(lengths, 8192, np.random.default_rng(1)))
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(3000))
    fill = [lengths[chosen].sum() / 8192 for chosen in batches]
    assert max(fill) <= 1.0
    assert sum(fill) / len(fill) > 0.98
    assert all((np.diff(lengths[chosen]) >= 0).all() for chosen in batches)
    again = list(epoch_batches(lengths, 8192, np.random.default_rng(1)))
    other = list(epoch_batches(lengths, 8192, np.random.default_rng(2)))
    assert all(np.array_equal(one, two) for one, two in zip(batches, again, strict=True))
    assert not np.array_equal(batches[0], other[0])


def test_every_batch_is_a_sample_of_all_lengths():
    """One window in twenty is long, and they hold two thirds of the tokens: so they do in every batch."""
    lengths = np.where(np.arange(9000) % 20 == 0, 400, 12)
    share = float(lengths[lengths == 400].sum() / lengths.sum())
    *batches, _ = epoch_batches(lengths, 8192, np.random.default_rng(1))
    shares = [lengths[chosen][lengths[chosen] == 400].sum() / lengths[chosen].sum() for chosen in batches]
    assert 0.6 * share < min(shares) and max(shares) < 1.4 * share


def test_sorted_items_are_cut_at_the_capacity():
    cuts = list(sorted_batches(np.array([2, 3, 5, 5, 20, 30]), 10))
    assert cuts == [slice(0, 3), slice(3, 4), slice(4, 5), slice(5, 6)]


def test_the_digest_sees_every_input_of_the_model(sequences):
    one = sequences[0]
    digests = {content_digest(one), content_digest(replace(one, tx_hash="other"))}
    for name in ("ids", "field", "depth", "unit", "group", "scored"):
        changed = getattr(one, name).copy()
        changed[2] = not changed[2] if name == "scored" else changed[2] + 1
        digests.add(content_digest(replace(one, **{name: changed})))
    assert len(digests) == 8
