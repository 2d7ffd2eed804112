"""The published score: one mask of 15 % of single tokens, misses outside of the best three, and its noise."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from blockscan.model.encoder import MaskedLM
from pipelines.baselines import BASELINES
from pipelines.baselines.published import COLUMNS, misses, random_hidden, single_tokens

AMONG = 3


@pytest.fixture
def model(tokenizer, setting):
    return MaskedLM(
        setting().config.model, tokenizer.shape, generator=torch.Generator().manual_seed(1)
    ).eval()


@pytest.fixture
def sequences(tokenizer, test):
    return [single_tokens(tokenizer.encode(each), 96) for each in test]


def test_a_mask_is_15_percent_of_the_tokens_and_of_no_other_transaction(sequences):
    for sequence in sequences:
        hidden = random_hidden(sequence, 7)
        assert hidden.sum() == max(1, round(0.15 * len(sequence)))
        assert np.array_equal(hidden, random_hidden(sequence, 7))
    longest = max(sequences, key=len)
    assert not np.array_equal(random_hidden(longest, 7), random_hidden(longest, 8))
    another = dataclasses.replace(longest, tx_hash="another")
    assert not np.array_equal(random_hidden(longest, 7), random_hidden(another, 7))


def test_tokens_are_hidden_singly_and_cut_at_the_context(tokenizer, test):
    whole = tokenizer.encode(test[-1])
    cut = single_tokens(whole, 50)
    assert len(whole) > 50 == len(cut) and cut.unit.tolist() == list(range(50))
    assert np.array_equal(cut.ids, whole.ids[:50])
    assert all(
        len(getattr(cut, each.name)) == 50 for each in dataclasses.fields(cut) if each.name != "tx_hash"
    )


def test_count_and_ratio_against_a_model_that_always_says_the_same(model, sequences):
    """With its best three guesses known, the misses can be counted by hand."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.decoder_bias.zero_()
        guesses = [int(one) for one in np.bincount(sequences[0].ids).argsort()[-AMONG:]]
        spans = model.vocabulary.alias_spans
        assert not any(start <= guess < stop for guess in guesses for start, stop in spans)
        model.decoder_bias[guesses] = torch.tensor([30.0, 20.0, 10.0])
    found = misses(model, sequences, 7, 256)
    for sequence, (count, ratio) in zip(sequences, found, strict=True):
        truth = sequence.ids[random_hidden(sequence, 7)]
        expected = sum(int(one) not in guesses for one in truth)
        assert (count, ratio) == (expected, expected / len(truth))


def test_aliases_of_a_span_are_one_guess(model, tokenizer, sequences):
    """Spans alone are likely here, the wider the likelier: the best guesses are the three widest."""
    widest = sorted(tokenizer.shape.alias_spans, key=lambda span: (span[0] - span[1], span[0]))
    likely = np.zeros(tokenizer.shape.size, dtype=bool)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        for place, (start, stop) in enumerate(widest):
            model.decoder_bias[start:stop] = 9.0 - place
            likely[start:stop] = place < AMONG
    by_hand = [float((~likely[each.ids[random_hidden(each, 7)]]).sum()) for each in sequences]
    hidden = sum(int(random_hidden(each, 7).sum()) for each in sequences)
    assert misses(model, sequences, 7, 256)[:, 0].tolist() == by_hand
    assert 0 < sum(by_hand) < hidden


def test_two_masks_of_one_model_disagree(train, test, setting):
    values = BASELINES["single_mask"].fit(train, setting())(test)
    count, ratio, count_again, ratio_again = values.T
    assert [name.endswith("_again") for name in COLUMNS] == [False, False, True, True]
    assert not np.array_equal(ratio, ratio_again) and not np.array_equal(count, count_again)
    assert spearmanr(ratio, ratio_again).statistic < 0.999
