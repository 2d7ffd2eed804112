from dataclasses import replace

import numpy as np
import pytest
import torch

from blockscan.config import ScoreConfig
from blockscan.detect.surprise import FieldCalibration
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model import replaced
from blockscan.model.attention import layout_of
from blockscan.model.batch import PackedBatch, pack
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import PACKED_TOLERANCE, token_losses
from blockscan.model.replaced import cascade_threshold, evidence, replaced_scores
from blockscan.tokens import suspicion, windows

CONFIG = ScoreConfig(mode="replaced", folds=3, batch_tokens=300, expected=4)


@pytest.fixture
def headed(model):
    other = MaskedLM(replace(model.config, replaced_head=True), model.vocabulary)
    other.load_state_dict(model.state_dict(), strict=False)
    return other.eval()


@torch.inference_mode()
def _by_hand(model, sequence):
    """Log-odds of one sequence, one window at a time."""
    parts = []
    for cut in windows(sequence, model.config.longest):
        arrays = sequence.ids[cut], sequence.field[cut], sequence.depth[cut], sequence.group[cut]
        arrays += (np.arange(len(sequence.ids[cut])),)
        batch = PackedBatch(*(torch.tensor(a.astype(np.int64)) for a in arrays), layout_of([len(arrays[0])]))
        parts.append(model.replaced(model(batch)).numpy())
    return np.concatenate(parts)


def test_every_token_is_judged_once_with_all_others_in_sight(headed, sequences):
    scores = replaced_scores(headed, sequences, CONFIG)
    assert [len(each) for each in scores] == [len(each) for each in sequences]
    for sequence, odds in zip(sequences, scores, strict=True):
        assert odds.dtype == np.float32
        assert np.abs(odds - _by_hand(headed, sequence)).max() < PACKED_TOLERANCE
    assert np.std(np.concatenate(scores)) > 0.1


def test_each_window_passes_once(headed, sequences, monkeypatch):
    seen = []

    def spy(*args, **options):
        batch = pack(*args, **options)
        seen.append(len(batch.ids_T))
        return batch

    monkeypatch.setattr(replaced, "pack", spy)
    replaced_scores(headed, sequences, CONFIG)
    assert sum(seen) == sum(map(len, sequences))
    assert len(seen) > 2


@pytest.mark.parametrize("mode", ["replaced", "both", "cascade"])
def test_any_order_gives_the_same_bytes(headed, sequences, mode):
    config = replace(CONFIG, mode=mode, cascade=0.3)
    runs = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(sequences))
        found = token_losses(headed, [sequences[i] for i in order], config)
        runs.append(
            {one.tx_hash: (one.surprise.tobytes(), None if one.replaced is None else one.replaced.tobytes())
             for one in found}
        )  # fmt: skip
    assert runs[0] == runs[1] == runs[2]


def test_evidence_is_the_surprise_of_a_real_token(headed, sequences):
    for sequence, odds, one in zip(
        sequences,
        replaced_scores(headed, sequences, CONFIG),
        token_losses(headed, sequences, CONFIG),
        strict=True,
    ):
        chance = 1 / (1 + np.exp(-odds.astype(np.float64)))
        assert np.array_equal(np.isnan(one.surprise), ~sequence.scored)
        expected = -np.log1p(-chance[sequence.scored])
        np.testing.assert_allclose(one.surprise[sequence.scored], expected, rtol=1e-4, atol=1e-6)
        assert (one.rank == -1).all()
        assert one.expected.shape == (len(sequence), 4)
        assert (one.expected == -1).all()
        assert one.windows == len(list(windows(sequence, headed.config.longest)))
        assert one.replaced is None


def test_both_is_what_the_two_modes_give(headed, sequences):
    folds, alone, both = (
        token_losses(headed, sequences, replace(CONFIG, mode=mode)) for mode in ("folds", "replaced", "both")
    )
    for fold, one, two in zip(folds, alone, both, strict=True):
        assert fold.replaced is None
        assert np.array_equal(two.surprise, fold.surprise, equal_nan=True)
        assert np.array_equal(two.expected, fold.expected)
        assert np.array_equal(two.replaced, one.surprise, equal_nan=True)


def test_a_cascade_looks_twice_at_the_most_suspicious_only(headed, sequences):
    both = token_losses(headed, sequences, replace(CONFIG, mode="both"))
    found = token_losses(headed, sequences, replace(CONFIG, mode="cascade", cascade=0.3))
    suspicions = np.array([suspicion(one.replaced) for one in both])
    again = np.array([not np.isnan(one.surprise).all() for one in found])
    assert again.sum() == 4  # 30 % of 14
    assert suspicions[again].min() > suspicions[~again].max()
    for one, two, looked, sequence in zip(found, both, again, sequences, strict=True):
        assert np.array_equal(one.replaced, two.replaced, equal_nan=True)
        assert one.windows == two.windows
        if looked:
            gap = np.abs(one.surprise - two.surprise)[sequence.scored]
            assert gap.max() < PACKED_TOLERANCE
        else:
            assert (one.rank == -1).all()
            assert (one.expected == -1).all()


def test_with_a_threshold_a_transaction_is_judged_alone(headed, sequences):
    """What calibration found is kept, so that later company changes nothing."""
    least = cascade_threshold([one.replaced for one in _both(headed, sequences)], 0.3)
    config = replace(CONFIG, mode="cascade", cascade_from=least)
    together = [not np.isnan(one.surprise).all() for one in token_losses(headed, sequences, config)]
    alone = [
        not np.isnan(token_losses(headed, [one], config)[0].surprise).all()
        for one in sequences
        # At the threshold itself rounding decides.
    ]
    assert sum(together) == 4
    assert sum(a != b for a, b in zip(alone, together, strict=True)) <= 1
    assert token_losses(headed, sequences, replace(config, cascade_from=1e9))[0].replaced is not None


def _both(model, sequences):
    return token_losses(model, sequences, replace(CONFIG, mode="both"))


@pytest.mark.parametrize("mode", ["replaced", "cascade"])
def test_field_calibration_takes_every_mode(headed, sequences, mode):
    found = token_losses(headed, sequences, replace(CONFIG, mode=mode))
    fitted = FieldCalibration.fit(zip(sequences, found, strict=True))
    for sequence, one in zip(sequences, found, strict=True):
        p = fitted.p_values(sequence, one)
        assert np.array_equal(np.isnan(p), np.isnan(one.surprise))
        assert ((p > 0) & (p <= 1))[~np.isnan(p)].all()


def test_suspicion_is_the_mean_of_the_strongest(headed, draw_sequence):
    assert suspicion(np.array([np.nan, 1, 2, 9, 3, 4, 5], dtype=np.float32)) == pytest.approx(23 / 5)
    assert suspicion(np.array([np.nan], dtype=np.float32)) == 0.0
    sequence = draw_sequence("0x1", 40, np.random.default_rng(0))
    nats = evidence(sequence, np.full(40, 3.0, dtype=np.float32))
    assert suspicion(nats) == pytest.approx(np.log1p(np.exp(3.0)), rel=1e-5)
    assert cascade_threshold([], 0.1) == 0.0


def test_progress_counts_both_looks(headed, sequences):
    seen = []
    config = replace(CONFIG, mode="both")
    token_losses(headed, sequences, config, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1] > sum(map(len, sequences))


def test_a_model_without_the_head_says_so(model, sequences):
    with pytest.raises(ConfigError, match="replaced_head = true"):
        token_losses(model, sequences, CONFIG)
    assert token_losses(model, [], CONFIG) == []


@pytest.mark.parametrize(
    "changes", [{"mode": "one"}, {"cascade": 0.0}, {"cascade": 1.5}, {"cascade_from": -1.0}]
)
def test_a_mode_that_does_not_exist_is_refused(headed, sequences, changes):
    with pytest.raises(ConfigError, match=r"score\."):
        token_losses(headed, sequences, replace(CONFIG, **changes))


def test_weights_that_are_not_finite_are_reported(headed, sequences):
    with torch.no_grad():
        headed.replaced.out.weight[0, 0] = torch.nan
    with pytest.raises(ArtifactError, match="not finite"):
        replaced_scores(headed, sequences, CONFIG)
