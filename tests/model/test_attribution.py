"""Attributions: completeness, what points at a copied value, and explanations that depend on the weights."""

import dataclasses

import numpy as np
import pytest
import torch

from blockscan.config import ModelConfig, ScoreConfig, TrainConfig
from blockscan.detect.calibrate import Observed, fit_calibration, judge
from blockscan.detect.facts import FACTS
from blockscan.errors import ConfigError
from blockscan.model.attribution import METHODS, attribute, by_unit
from blockscan.model.batch import cut_windows, pack, window_table
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import masked_cross_entropy, token_losses
from blockscan.model.masking import training_examples
from blockscan.tokens import TokenSequence, VocabularyShape, windows

COPIES = VocabularyShape(size=40, alias_spans=())
COPY_CONFIG = ModelConfig(layers=2, width=48, heads=4, feed_forward=64, longest=32, window=32, global_every=1)
TRAINED = 220
FRAME, FRAMES = 6, 4
CALLER, TARGET = 1, 2
"""Places within a frame; what the first frame has there, the others repeat: caller and target."""
LEAST_RIGHT = {"gradient": 8, "integrated": 20, "smooth": 8}
"""Of 24; by chance two values of 23 are both among three copies in 0.3 of them. A gradient saturates: where
the model is sure, it says little."""


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def copying(which: int, rng: np.random.Generator) -> TokenSequence:
    """Four frames of six one-token values: the same caller and target in all, all else at random."""
    ids = rng.integers(10, COPIES.size, (FRAMES, FRAME))
    ids[:, 0] = 2
    ids[:, CALLER], ids[:, TARGET] = ids[0, CALLER], ids[0, TARGET]
    place = np.arange(FRAMES * FRAME)
    return TokenSequence(
        tx_hash=f"0x{which:064x}",
        ids=ids.ravel().astype(np.int32),
        modality=np.zeros(len(place), dtype=np.uint8),
        field=(place % FRAME).astype(np.uint8),
        node=(place // FRAME).astype(np.int32),
        depth=(place // FRAME > 0).astype(np.int16),
        unit=place.astype(np.int32),
        group=np.full(len(place), -1, dtype=np.int32),
        scored=place % FRAME > 0,
    )


@pytest.fixture(scope="module")
def copier() -> MaskedLM:
    """A model that has learned that a transaction repeats its caller and its target."""
    rng = np.random.default_rng(0)
    table = window_table([copying(which, rng) for which in range(2000)], 32, COPIES)
    config = TrainConfig(batch_tokens=1024, mask_rate=0.5, seed=0)
    lm = MaskedLM(COPY_CONFIG, COPIES, generator=noise())
    optimizer = torch.optim.AdamW(lm.parameters(), lr=3e-3)
    for step, example in zip(range(TRAINED), training_examples(table, COPIES, config), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, step / 30, (TRAINED - step) / 100)
        loss = masked_cross_entropy(lm, lm(example.batch)[example.place_M], example.target_M)
        optimizer.zero_grad()
        (loss / max(len(example.place_M), 1)).backward()
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
        optimizer.step()
    optimizer.zero_grad()
    return lm.eval()


def broken(which: int, rng: np.random.Generator) -> tuple[TokenSequence, int]:
    """A transaction in which one caller or target is not the copy it should be, and the unit of that."""
    sequence = copying(which, rng)
    unit = int(rng.integers(FRAMES)) * FRAME + int(rng.choice([CALLER, TARGET]))
    ids = sequence.ids.copy()
    ids[unit] = rng.choice([other for other in range(10, COPIES.size) if other != ids[unit]])
    return dataclasses.replace(sequence, ids=ids), unit


def copies_of(unit: int) -> list[int]:
    """Where else the value of a unit stands."""
    return [place for place in range(unit % FRAME, FRAMES * FRAME, FRAME) if place != unit]


@pytest.mark.parametrize("unit", [5, None])
def test_integrated_gradients_sum_to_the_surprise(model, draw_sequence, unit):
    sequence = draw_sequence("0x1", 120, np.random.default_rng(3))  # two windows
    gaps = []
    for steps in (4, 32):
        found = attribute(model, sequence, method="integrated", unit=unit, steps=steps)
        gaps.append(abs(found.token.sum() - (found.surprise - found.unseen)))
    assert np.abs(found.token).sum() > 1
    assert gaps[1] < 0.02 * np.abs(found.token).sum()
    assert gaps[1] < gaps[0]


def test_what_is_explained_is_the_surprise_that_was_scored(model, draw_sequence):
    sequence = draw_sequence("0x1", 250, np.random.default_rng(3))
    (losses,) = token_losses(model, [sequence], ScoreConfig())
    found = attribute(model, sequence, method="gradient")
    assert found.surprise == pytest.approx(np.nansum(losses.surprise), rel=1e-5)


def test_only_what_was_seen_has_a_part(model, draw_sequence):
    sequence = draw_sequence("0x1", 250, np.random.default_rng(3))
    unit = int(sequence.unit[120])
    own = sequence.unit == unit
    for method in METHODS:
        token_T = attribute(model, sequence, method=method, unit=unit, steps=2, generator=noise()).token
        (window,) = (cut for cut in windows(sequence, model.config.longest) if cut.start <= 120 < cut.stop)
        inside = np.zeros(len(sequence), dtype=np.bool_)
        inside[window] = True
        assert (token_T[own | ~inside] == 0).all()
        assert (token_T[inside & ~own] != 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_copy_is_surprising_because_of_the_other_copies(copier, method):
    rng = np.random.default_rng(1)
    right, gaps = 0, []
    for which in range(24):
        sequence, unit = broken(10**6 + which, rng)
        found = attribute(copier, sequence, method=method, unit=unit, steps=8, generator=noise())
        gaps.append(found.surprise - found.unseen)
        strongest = np.argsort(-by_unit(sequence, found.token))[:2]
        right += set(strongest.tolist()) <= set(copies_of(unit))
    assert np.mean(gaps) > 0
    assert right >= LEAST_RIGHT[method]


def test_noise_comes_from_the_generator_alone(copier):
    sequence, unit = broken(10**6, np.random.default_rng(1))
    one, same, other = (
        attribute(copier, sequence, method="smooth", unit=unit, steps=3, generator=noise(seed)).token
        for seed in (1, 1, 2)
    )
    assert one.tobytes() == same.tobytes() != other.tobytes()


def test_the_model_is_left_as_it_was(copier):
    sequence, unit = broken(10**6, np.random.default_rng(1))
    before = token_losses(copier, [sequence], ScoreConfig())[0].surprise
    attribute(copier, sequence, method="integrated", unit=unit, steps=2)
    assert token_losses(copier, [sequence], ScoreConfig())[0].surprise.tobytes() == before.tobytes()
    assert all(weight.grad is None for weight in copier.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "magic"}, "no attribution 'magic'"),
        ({"method": "smooth"}, "needs a generator"),
        ({"method": "integrated", "steps": 0}, "at least 1 step"),
        ({"method": "gradient", "unit": 99}, "no value 99"),
    ],
)
def test_what_cannot_be_done_is_one_line(copier, options, says):
    with pytest.raises(ConfigError, match=says):
        attribute(copier, copying(0, np.random.default_rng(0)), **options)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's; ties are broken by place."""
    ranks = [np.argsort(np.argsort(each, kind="stable")) for each in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_random_weights_change_the_explanation(copier):
    """Adebayo et al. 2018 (arXiv 1810.03292): what survives this does not explain the model."""
    rng = np.random.default_rng(2)
    fresh = [MaskedLM(COPY_CONFIG, COPIES, generator=noise(seed)).eval() for seed in (7, 8)]
    moved, kept = [], []
    for which in range(6):
        sequence, unit = broken(10**6 + which, rng)
        evidence = [token_losses(lm, [sequence], ScoreConfig())[0].surprise for lm in (copier, *fresh)]
        scored = sequence.scored
        moved += [rank_correlation(evidence[0][scored], each[scored]) for each in evidence[1:]]
        parts = [
            np.abs(attribute(lm, sequence, method="integrated", unit=unit, steps=8).token)
            for lm in (copier, *fresh)
        ]
        moved += [rank_correlation(parts[0], each) for each in parts[1:]]
        kept.append(rank_correlation(parts[0], _slightly_changed(copier, sequence, unit)))
    assert abs(np.mean(moved)) < 0.3
    assert np.mean(kept) > 0.8  # or the bound above would say little


def _slightly_changed(copier: MaskedLM, sequence: TokenSequence, unit: int) -> np.ndarray:
    """The same explanation by weights that are off by a thousandth."""
    near = MaskedLM(COPY_CONFIG, COPIES, weights=copier.state_dict())
    with torch.no_grad():
        for weight in near.parameters():
            weight.copy_(weight * (1 + 1e-3 * torch.randn(weight.shape, generator=noise())))
    return np.abs(attribute(near.eval(), sequence, method="integrated", unit=unit, steps=8).token)


def without(sequence: TokenSequence, units: np.ndarray) -> TokenSequence:
    """The transaction with some of its values deleted."""
    left = ~np.isin(sequence.unit, units)
    arrays = {
        name: getattr(sequence, name)[left]
        for name in ("ids", "modality", "field", "node", "depth", "group", "scored")
    }
    unit = np.unique(sequence.unit[left], return_inverse=True)[1].astype(np.int32)
    return TokenSequence(sequence.tx_hash, **arrays, unit=unit)


def surprise_of(model: MaskedLM, sequence: TokenSequence, unit: int, *, hidden: np.ndarray) -> float:
    """Nats of one value when others are hidden with it."""
    table = window_table([sequence], model.config.longest, model.vocabulary)
    cut = cut_windows(table, np.array([0]))
    ask = torch.from_numpy(np.flatnonzero(sequence.unit == unit))
    with torch.no_grad():
        encoded_TE = model(pack(table, cut, np.isin(sequence.unit, [unit, *hidden])))
        return float(masked_cross_entropy(model, encoded_TE[ask], torch.from_numpy(sequence.ids)[ask].long()))


def test_hiding_the_attributed_values_takes_the_surprise_away(copier):
    rng = np.random.default_rng(4)
    falls = []
    for which in range(20):
        sequence, unit = broken(10**6 + which, rng)
        found = attribute(copier, sequence, method="integrated", unit=unit, steps=8)
        top = np.argsort(-by_unit(sequence, found.token))[: FRAMES - 1]
        others = np.setdiff1d(np.arange(FRAMES * FRAME), [unit])
        for chosen in (top, rng.choice(others, FRAMES - 1, replace=False)):
            falls.append(found.surprise - surprise_of(copier, sequence, unit, hidden=chosen))
    by_top, by_chance = np.mean(falls[::2]), np.mean(falls[1::2])
    assert by_top > 3 * abs(by_chance)
    assert by_top > 2  # nats; of 3.4 for a value about which nothing is known


def test_deleting_the_strongest_evidence_lowers_the_value_most(copier):
    rng = np.random.default_rng(5)
    calibration = fit_calibration(
        [observed(copier, copying(10**7 + which, rng)) for which in range(240)],
        fpr=0.05, parents={}, scoring={}, parts=("strongest", "fisher", "criticism"),
    )  # fmt: skip
    falls = []
    for which in range(20):
        sequence, _ = broken(10**6 + which, rng)
        judged = judge(calibration, observed(copier, sequence))
        scored = np.flatnonzero(sequence.scored)
        top = scored[np.argsort(judged.token_p[scored])[:2]]
        for chosen in (top, rng.choice(scored, 2, replace=False)):
            left = judge(calibration, observed(copier, without(sequence, sequence.unit[chosen])))
            falls.append(judged.value - left.value)
    by_top, by_chance = np.mean(falls[::2]), np.mean(falls[1::2])
    assert by_top > 2 * abs(by_chance)


def observed(model: MaskedLM, sequence: TokenSequence) -> Observed:
    """As detection sees it, with nothing to tell besides its tokens."""
    (losses,) = token_losses(model, [sequence], ScoreConfig())
    return Observed(sequence, losses, np.zeros(len(FACTS)), "callTracer", "complete")
