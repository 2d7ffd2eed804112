from dataclasses import replace

import numpy as np
import pytest
import torch

from blockscan.config import ScoreConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model import losses
from blockscan.model.attention import layout_of
from blockscan.model.batch import PackedBatch, pack
from blockscan.model.losses import PACKED_TOLERANCE, masked_cross_entropy, token_losses
from blockscan.model.masking import fold_of_tokens
from blockscan.tokens import MASK_ID, windows

CONFIG = ScoreConfig(folds=3, batch_tokens=300, expected=4)


def _bytes(results):
    return {
        one.tx_hash: (one.surprise.tobytes(), one.rank.tobytes(), one.expected.tobytes(), one.windows)
        for one in results
    }


def _merge(chances_V, spans):
    """Probabilities with each span's mass moved to its first id; -1 marks the ids that are gone."""
    merged = chances_V.copy()
    for start, stop in spans:
        merged[start] = chances_V[start:stop].sum()
        merged[start + 1 : stop] = -1.0
    return merged


@torch.inference_mode()
def _by_hand(model, sequence, config):
    """Surprise, rank and expected of one sequence, one window, one fold and one token at a time."""
    fold = fold_of_tokens(sequence, config.folds, asked_T=sequence.scored)
    spans = model.vocabulary.alias_spans
    answers = {}
    for cut in windows(sequence, model.config.longest):
        for which in range(config.folds):
            hidden = fold[cut] == which
            arrays = (np.where(hidden, MASK_ID, sequence.ids[cut]), sequence.field[cut], sequence.depth[cut])
            arrays += (np.where(hidden, -1, sequence.group[cut]), np.arange(len(hidden)))
            batch = PackedBatch(*(torch.tensor(a.astype(np.int64)) for a in arrays), layout_of([len(hidden)]))
            chances_TV = model.logits(model(batch)).double().softmax(-1).numpy()
            for place in np.flatnonzero(hidden & sequence.scored[cut]):
                merged = _merge(chances_TV[place], spans)
                truth = int(sequence.ids[cut][place])
                truth = next((start for start, stop in spans if start <= truth < stop), truth)
                answers[cut.start + place] = (
                    -np.log(merged[truth]),
                    int((merged > merged[truth]).sum()),
                    np.argsort(-merged)[: config.expected].tolist(),
                )
    return answers


def test_every_scored_token_gets_what_a_slow_loop_gives_it(model, sequences):
    results = token_losses(model, sequences, CONFIG)
    assert [one.tx_hash for one in results] == [one.tx_hash for one in sequences]
    compared = 0
    for sequence, result in zip(sequences, results, strict=True):
        answers = _by_hand(model, sequence, CONFIG)
        assert np.array_equal(np.flatnonzero(~np.isnan(result.surprise)), sorted(answers))
        assert np.array_equal(np.isnan(result.surprise), ~sequence.scored)
        assert (result.rank[~sequence.scored] == -1).all()
        assert (result.expected[~sequence.scored] == -1).all()
        assert result.windows == len(list(windows(sequence, model.config.longest)))
        for place, (surprise, rank, expected) in answers.items():
            assert abs(result.surprise[place] - surprise) < PACKED_TOLERANCE
            assert abs(result.rank[place] - rank) <= 1
            compared += result.expected[place].tolist() == expected
    assert compared > 0.99 * sum(int(one.scored.sum()) for one in sequences)
    assert max(one.windows for one in results) > 4


def test_any_order_gives_the_same_bytes(model, sequences):
    expected = _bytes(token_losses(model, sequences, CONFIG))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(sequences))
        assert _bytes(token_losses(model, [sequences[i] for i in order], CONFIG)) == expected


def test_any_order_packs_the_same_batches(model, sequences, draw_sequence, monkeypatch):
    """Stronger than equal bytes, which a machine may give by chance; two sequences share a hash here."""
    rng = np.random.default_rng(0)
    every = sequences + [draw_sequence("same", 40, rng) for _ in range(4)]
    packed = []

    def spy(*args, **options):
        batch = pack(*args, **options)
        packed[-1].append((batch.ids_T.tolist(), batch.layout.runs))
        return batch

    monkeypatch.setattr(losses, "pack", spy)
    for seed in range(4):
        packed.append([])
        order = np.random.default_rng(seed).permutation(len(every))
        token_losses(model, [every[i] for i in order], CONFIG)
    assert len(packed[0]) > 5
    assert packed[1:] == [packed[0]] * 3


def test_sequences_that_share_a_hash_keep_their_order(model, draw_sequence):
    rng = np.random.default_rng(0)
    twins = [draw_sequence("same", 40, rng) for _ in range(6)]
    for one, result in zip(twins, token_losses(model, twins, CONFIG), strict=True):
        (alone,) = token_losses(model, [one], CONFIG)
        np.testing.assert_allclose(result.surprise, alone.surprise, atol=PACKED_TOLERANCE)


def test_alone_and_packed_agree_within_the_stated_bound(model, sequences):
    packed = token_losses(model, sequences, replace(CONFIG, batch_tokens=4096))
    worst = 0.0
    for sequence, one in zip(sequences, packed, strict=True):
        (alone,) = token_losses(model, [sequence], CONFIG)
        difference = np.abs(alone.surprise - one.surprise)[sequence.scored]
        worst = max(worst, float(difference.max(initial=0.0)))
    assert worst <= PACKED_TOLERANCE


def test_a_hidden_value_does_not_move_its_own_distribution(model, draw_sequence):
    """What is expected at a token must not depend on that token, its group, or the rest of its value."""
    one = draw_sequence("0x1", 80, np.random.default_rng(4))
    (before,) = token_losses(model, [one], CONFIG)
    value = next(u for u in range(20, 60) if (one.unit == u).sum() > 1 and one.scored[one.unit == u].all())
    own = one.unit == value
    changed = replace(
        one,
        ids=np.where(own, 2 + (one.ids + 31) % 35, one.ids).astype(np.int32),
        group=np.where(own, one.group + 5, one.group).astype(np.int32),
    )
    (after,) = token_losses(model, [changed], CONFIG)
    assert np.array_equal(before.expected[own], after.expected[own])
    assert not np.array_equal(before.surprise[own], after.surprise[own])
    assert not np.array_equal(before.surprise[~own & one.scored], after.surprise[~own & one.scored])


def test_aliases_of_one_span_are_one_answer(model, draw_sequence):
    start, stop = model.vocabulary.alias_spans[0]
    one = draw_sequence("0x1", 60, np.random.default_rng(5))
    own = one.unit == one.unit[one.scored][10]
    ids = [replace(one, ids=np.where(own, alias, one.ids).astype(np.int32)) for alias in (start, start + 9)]
    (first,), (second,) = (token_losses(model, [x], CONFIG) for x in ids)
    assert np.array_equal(first.surprise[own], second.surprise[own])
    assert np.array_equal(first.rank[own], second.rank[own])
    with torch.no_grad():
        model.decoder_bias[start:stop] += 30.0
    (sure,) = token_losses(model, [ids[1]], CONFIG)
    assert sure.surprise[own].max() < 0.01
    assert (sure.rank[own] == 0).all()
    assert (sure.expected[one.scored][:, 0] == start).all()
    others = sure.expected[one.scored][:, 1:]
    assert not ((others >= start) & (others < stop)).any()


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_cross_entropy_and_its_gradient_agree_with_autograd(model, rows, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", rows * model.vocabulary.size)
    model.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, model.config.width, dtype=torch.float64, generator=generator).requires_grad_()
    targets = torch.randint(2, model.vocabulary.size, (30,), generator=generator)
    targets[:6] = torch.tensor([40, 55, 47, 100, 102, 56])
    weights = [x, *model.parameters()]

    chances = model.logits(x).softmax(-1)
    mass = [chances[i, targets[i]] for i in range(30)]
    for i, target in enumerate(targets.tolist()):
        for start, stop in model.vocabulary.alias_spans:
            if start <= target < stop:
                mass[i] = chances[i, start:stop].sum()
    expected = -torch.stack(mass).log().sum()
    ours = masked_cross_entropy(model, x, targets)
    torch.testing.assert_close(ours, expected)
    grads = [torch.autograd.grad(3.0 * y, weights, allow_unused=True) for y in (ours, expected)]
    used = 0
    for got, wanted in zip(*grads, strict=True):
        assert (got is None) == (wanted is None)
        if got is not None:
            torch.testing.assert_close(got, wanted)
            used += 1
    assert used == 5


def test_nothing_to_do_is_no_error(model, draw_sequence):
    rng = np.random.default_rng(0)
    assert token_losses(model, [], CONFIG) == []
    empty = draw_sequence("0x0", 0, rng)
    unscored = replace(draw_sequence("0x1", 9, rng), scored=np.zeros(9, dtype=np.bool_))
    for one, result in zip([empty, unscored], token_losses(model, [empty, unscored], CONFIG), strict=True):
        assert result.surprise.shape == result.rank.shape == (len(one),)
        assert result.expected.shape == (len(one), 4)
        assert np.isnan(result.surprise).all()


def test_progress_ends_at_the_total(model, sequences):
    seen = []
    token_losses(model, sequences, CONFIG, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 3
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert {total for _, total in seen} == {seen[-1][0]}


def test_bfloat16_is_close(model, sequences):
    """Untrained weights ten times too large: a mean of 0.2 nats beside surprises of about 6."""
    exact, rough = (token_losses(model, sequences, replace(CONFIG, bf16=bf16)) for bf16 in (False, True))
    exact_T, rough_T = (np.concatenate([one.surprise for one in every]) for every in (exact, rough))
    assert np.nanmean(np.abs(exact_T - rough_T)) < 0.2


def test_weights_that_are_not_finite_are_reported(model, sequences):
    with torch.no_grad():
        model.blocks[1].qkv.weight[0, 0] = torch.nan
    with pytest.raises(ArtifactError, match="not finite"):
        token_losses(model, sequences, CONFIG)


@pytest.mark.parametrize("changes", [{"folds": 0}, {"expected": 0}, {"expected": 284}, {"batch_tokens": 0}])
def test_a_config_that_does_not_fit_is_refused(model, sequences, changes):
    with pytest.raises(ConfigError, match=r"score\."):
        token_losses(model, sequences, replace(CONFIG, **changes))
