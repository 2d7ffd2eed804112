"""What every batch must hide, whoever makes it: whole values, where it says, and nothing of them shown.

Every token has an id of its own, so a batch alone tells which token of which transaction stands where.
"""

from dataclasses import replace

import numpy as np
import pytest

from blockscan.config import ModelConfig, ScoreConfig, TrainConfig
from blockscan.model import losses
from blockscan.model.batch import window_table
from blockscan.model.encoder import MaskedLM
from blockscan.model.masking import fixed_examples, training_examples
from blockscan.tokens import MASK_ID, TokenSequence, VocabularyShape

LENGTHS = (1, 7, 40, 40, 64, 90, 200, 3)
LONGEST = 64
BATCH = 150
FIRST_ID = 2


def _sequences():
    rng = np.random.default_rng(0)
    made, begin = [], FIRST_ID
    for which, length in enumerate(LENGTHS):
        unit = np.cumsum(rng.random(length) < 0.5)
        unit = (unit - unit[0]).astype(np.int32)
        made.append(
            TokenSequence(
                tx_hash=f"0x{which:064x}",
                ids=np.arange(begin, begin + length, dtype=np.int32),
                modality=np.zeros(length, dtype=np.uint8),
                field=np.zeros(length, dtype=np.uint8),
                node=unit // 4,
                depth=np.zeros(length, dtype=np.int16),
                unit=unit,
                group=np.full(length, -1, dtype=np.int32),
                scored=np.ones(length, dtype=np.bool_),
            )
        )
        begin += length
    return made


SEQUENCES = _sequences()
SHAPE = VocabularyShape(FIRST_ID + sum(LENGTHS), ())
OWNER = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
UNIT = np.concatenate([sequence.unit for sequence in SEQUENCES])


def _trained(config):
    batches = training_examples(window_table(SEQUENCES, LONGEST, SHAPE), SHAPE, config)
    return [next(batches) for _ in range(12)]


def _held_out(config):
    return list(fixed_examples(SEQUENCES, LONGEST, SHAPE, config))


def _restored(example):
    """Ids with the targets put back, and what is hidden."""
    ids = example.batch.ids_T.numpy().copy()
    hidden = ids == MASK_ID
    assert np.array_equal(np.flatnonzero(hidden), example.place_M.numpy())
    ids[example.place_M.numpy()] = example.target_M.numpy()
    return ids, hidden


def _segments(example):
    """Global token indices and the hidden ones of each segment."""
    ids, hidden = _restored(example)
    ends = example.batch.layout.cu_seqlens.numpy()[1:-1]
    return zip(np.split(ids - FIRST_ID, ends), np.split(hidden, ends), strict=True)


@pytest.mark.parametrize("make", [_trained, _held_out])
@pytest.mark.parametrize("rate", [0.15, 0.3, 0.5])
def test_a_batch_is_its_transactions_with_whole_values_hidden(make, rate):
    examples = make(TrainConfig(mask_rate=rate, batch_tokens=BATCH))
    assert len(examples) > 2
    for example in examples:
        position = example.batch.position_T.numpy()
        assert (position == 0).sum() == len(example.batch.layout.cu_seqlens) - 1
        for tokens, hidden in _segments(example):
            assert np.array_equal(tokens, np.arange(tokens[0], tokens[0] + len(tokens)))
            assert len(set(OWNER[tokens])) == 1
            values = UNIT[tokens]
            chosen = set(values[hidden])
            assert np.array_equal(hidden, np.isin(values, list(chosen)))
            if make is _trained:
                assert len(chosen) == max(1, round(rate * len(set(values))))


def test_what_validation_hides_is_no_matter_of_what_is_scored():
    """A validation loss is of all that training hides."""
    config = TrainConfig(batch_tokens=BATCH)
    silent = [replace(each, scored=np.zeros(len(each), dtype=np.bool_)) for each in SEQUENCES]
    ours, theirs = (
        [each.batch.ids_T.tolist() for each in fixed_examples(some, LONGEST, SHAPE, config)]
        for some in (SEQUENCES, silent)
    )
    assert sum(map(len, ours)) == sum(LENGTHS) and ours == theirs


def test_every_token_of_the_data_is_hidden_sooner_or_later():
    table = window_table(SEQUENCES, LONGEST, SHAPE)
    batches = training_examples(table, SHAPE, TrainConfig(mask_rate=0.3, batch_tokens=BATCH))
    seen = set()
    for _ in range(120):
        seen.update(next(batches).target_M.tolist())
    assert seen == set(range(FIRST_ID, SHAPE.size))


def test_validation_hides_one_fold_and_never_another():
    first, again = (_held_out(TrainConfig(mask_rate=0.25, batch_tokens=BATCH)) for _ in range(2))
    hidden = [set(example.target_M.tolist()) for example in first]
    assert hidden == [set(example.target_M.tolist()) for example in again]
    values = {(OWNER[i - FIRST_ID], UNIT[i - FIRST_ID]) for one in hidden for i in one}
    every = set(zip(OWNER.tolist(), UNIT.tolist(), strict=True))
    assert 0.2 < len(values) / len(every) < 0.35


def test_visible_and_hidden_aliases_of_a_transaction_have_the_same_new_names():
    """A name seen elsewhere in the transaction must be the one asked for, and no two become one."""
    shape = VocabularyShape(FIRST_ID + 6, ((FIRST_ID, FIRST_ID + 6),))
    old = FIRST_ID + UNIT % 6
    # The ids no longer tell tokens apart; their depths do.
    ends = np.cumsum(LENGTHS)[:-1]
    parts = zip(SEQUENCES, np.split(old, ends), np.split(np.arange(len(old)), ends), strict=True)
    sequences = [
        replace(each, ids=ids.astype(np.int32), depth=place.astype(np.int16)) for each, ids, place in parts
    ]
    config = TrainConfig(mask_rate=0.3, batch_tokens=BATCH)
    batches = training_examples(window_table(sequences, LONGEST, shape), shape, config)
    renamed = 0
    for _ in range(12):
        example = next(batches)
        new, hidden = _restored(example)
        place = example.batch.depth_T.numpy()
        assert hidden.any()
        for which in set(OWNER[place]):
            own = OWNER[place] == which
            pairs = set(zip(old[place[own]].tolist(), new[own].tolist(), strict=True))
            assert len(pairs) == len({before for before, _ in pairs}) == len({after for _, after in pairs})
            renamed += any(before != after for before, after in pairs)
    assert renamed


@pytest.mark.parametrize("folds", [2, 3, 4])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_scoring_hides_every_scored_value_whole_and_once_and_no_other(folds, share, monkeypatch):
    rng = np.random.default_rng(folds)
    chosen = [rng.random(int(each.unit.max()) + 1) < share for each in SEQUENCES]
    # Of a value with one scored token the others are no evidence, but would give it away.
    sequences = [
        replace(each, scored=of_unit[each.unit] & (np.diff(each.unit, prepend=-1) > 0))
        for each, of_unit in zip(SEQUENCES, chosen, strict=True)
    ]
    packed = []
    plain = losses.pack

    def pack(table, cut, hidden_T, **options):
        packed.append((cut.place_T, cut.segment_T, hidden_T))
        return plain(table, cut, hidden_T, **options)

    monkeypatch.setattr(losses, "pack", pack)
    config = ModelConfig(layers=1, width=16, heads=2, feed_forward=16, longest=LONGEST)
    found = losses.token_losses(
        MaskedLM(config, SHAPE), sequences, ScoreConfig(folds=folds, batch_tokens=BATCH)
    )
    for each, one in zip(sequences, found, strict=True):
        assert np.array_equal(np.isfinite(one.surprise), each.scored)
    times = np.zeros(len(OWNER), dtype=int)
    for place_T, segment_T, hidden_T in packed:
        times[place_T[hidden_T]] += 1
        value_T = segment_T * 1000 + UNIT[place_T]
        assert not set(value_T[hidden_T]) & set(value_T[~hidden_T])
    assert np.array_equal(
        times, np.concatenate([of[each.unit] for each, of in zip(sequences, chosen, strict=True)])
    )
