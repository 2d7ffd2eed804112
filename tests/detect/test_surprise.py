"""Token p-values: the counting formula, the tail beyond the sample, fall-back and alignment."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockscan.detect.surprise import TIE, FieldCalibration, Survival
from blockscan.tokens import Field, Modality


def test_p_value_is_the_counting_formula():
    sample = np.array([0.5, 1.0, 1.0, 2.0])
    survival = Survival.fit(sample, scale_floor=1.0)
    for x in (0.0, 0.5, 0.7, 1.0, 1.5, 2.0):
        expected = (1 + np.sum(sample >= x)) / (1 + len(sample))
        assert 10 ** survival.log10_p(x) == pytest.approx(expected)


def test_beyond_the_largest_value_the_tail_goes_on_from_the_floor():
    rng = np.random.default_rng(0)
    sample = rng.exponential(2.0, 5000)
    survival = Survival.fit(sample, scale_floor=1.0)
    assert survival.scale == pytest.approx(2.0, rel=0.5)
    just_above = survival.log10_p(sample.max() + 2 * TIE * survival.scale)
    assert 10**just_above == pytest.approx(1 / 5001, rel=1e-3)
    assert survival.log10_p(20.0 + sample.max()) < survival.log10_p(12.0 + sample.max()) < just_above


def test_a_heavy_tail_begins_where_the_other_does_and_falls_as_one_over_the_distance():
    survival = Survival.fit(np.array([0.0] * 8 + [1.0, 2.0]), scale_floor=0.5)
    for inside in (-1.0, 0.0, 1.0, 2.0):
        assert survival.log10_p_of(inside, heavy=True) == survival.log10_p_of(inside)
    edge = 2.0 + 2 * TIE * survival.scale
    assert survival.log10_p_of(edge, heavy=True) == pytest.approx(survival.log10_p_of(edge), abs=1e-3)
    for times in (1, 9, 99):
        far = survival.log10_p_of(2.0 + times * survival.scale, heavy=True)
        assert 10**far == pytest.approx(1 / 11 / (1 + times))


def test_a_degenerate_sample_does_not_claim_a_steep_tail():
    survival = Survival.fit(np.full(1000, 0.01), scale_floor=1.0)
    assert math.log(10) * (survival.log10_p(0.011) - survival.log10_p(3.011)) == pytest.approx(3.0)


def test_a_rounding_error_above_a_tie_is_a_tie():
    survival = Survival.fit(np.full(1000, 0.3), scale_floor=1.0)
    assert survival.log10_p(0.3 + 0.9 * TIE) == pytest.approx(0.0, abs=1e-3)
    assert survival.log10_p(0.3 + 1.1 * TIE) < -2.9


@given(
    st.lists(st.floats(0, 50, width=32), min_size=1, max_size=200),
    st.lists(st.floats(0, 600, width=32), min_size=2, max_size=50),
)
def test_p_never_rises_with_surprise_and_is_never_zero(sample, queries):
    survival = Survival.fit(np.array(sample), scale_floor=1.0, cap=64)
    p = 10 ** survival.log10_p(np.sort(np.array(queries)))
    assert np.all(np.diff(p) <= 0)
    assert np.all((p > 0) & (p <= 1))
    one_by_one = [survival.log10_p_of(each) for each in (*sample, *queries)]
    assert np.allclose(one_by_one, survival.log10_p(np.array([*sample, *queries])), rtol=1e-13, atol=1e-15)


def test_extremes_beyond_the_sample_are_strictly_ordered():
    survival = Survival.fit(np.linspace(0, 5, 1000), scale_floor=1.0)
    assert np.all(np.diff(survival.log10_p(np.arange(6.0, 600.0))) < 0)


def test_a_capped_sample_is_bounded_exact_at_the_top_and_errs_upwards():
    sample = np.random.default_rng(1).exponential(1.0, 50_000)
    full = Survival.fit(sample, scale_floor=1.0, cap=len(sample))
    capped = Survival.fit(sample, scale_floor=1.0, cap=1000)
    assert len(capped.values) == 1000 and capped.count == full.count == 50_000
    queries = np.linspace(0, 12, 5000)
    gap = 10 ** capped.log10_p(queries) - 10 ** full.log10_p(queries)
    assert np.all(gap >= -1e-15) and gap.max() <= 1 / 500
    top = queries[queries >= np.sort(sample)[-500]]
    assert np.array_equal(capped.log10_p(top), full.log10_p(top))


def test_benign_token_p_values_are_uniform_per_field(benign):
    fields = FieldCalibration.fit((each.sequence, each.losses) for each in benign[:1000])
    p = np.concatenate([fields.p_values(each.sequence, each.losses) for each in benign[1000:2000]])
    field = np.concatenate([each.sequence.field for each in benign[1000:2000]])
    for one in (Field.EMITTER, Field.TARGET, Field.TOPIC0):
        mine = p[(field == one) & ~np.isnan(p)]
        for level in (0.01, 0.1, 0.5):
            # Tokens of one transaction share a mood, so the band is wider than a binomial one.
            assert np.mean(mine <= level) == pytest.approx(level, rel=0.3)


def test_the_same_surprise_means_less_in_a_difficult_field(benign, observe):
    fields = FieldCalibration.fit((each.sequence, each.losses) for each in benign[:500])
    easy = fields.fields[Field.EMITTER, Modality.ADDRESS].log10_p(2.0)
    hard = fields.fields[Field.TOPIC, Modality.ADDRESS].log10_p(2.0)
    assert easy < -3 < -1 < hard


def test_nan_exactly_where_not_scored(benign):
    each = benign[-1]
    fields = FieldCalibration.fit((other.sequence, other.losses) for other in benign[:300])
    p = fields.p_values(each.sequence, each.losses)
    assert p.shape == (len(each.sequence),)
    assert np.array_equal(np.isnan(p), ~each.sequence.scored)


def test_rare_fields_use_the_pool(observe):
    rng = np.random.default_rng(2)
    seen = [observe(rng, 100) for _ in range(10)]
    fields = FieldCalibration.fit((each.sequence, each.losses) for each in seen)
    new = observe(rng, 40)
    strange = dataclasses.replace(
        new.sequence,
        field=np.full(40, Field.TOPIC, np.uint8),
        modality=np.full(40, Modality.TEXT, np.uint8),
    )
    p = fields.p_values(strange, new.losses)
    scored = new.sequence.scored
    pooled = fields.pooled.log10_p(new.losses.surprise[scored].astype(np.float64))
    assert np.allclose(np.log10(p[scored]), pooled)
    assert (Field.TOPIC, Modality.TEXT) not in fields.fields


@pytest.mark.parametrize(("count", "own"), [(49, False), (50, True)])
def test_fifty_tokens_make_a_field_of_its_own(observe, count, own):
    each = observe(np.random.default_rng(7), count)
    each.sequence.field[:] = Field.TOPIC
    each.sequence.modality[:] = Modality.BYTES
    each.losses.surprise[:] = 1.0
    fields = FieldCalibration.fit([(each.sequence, each.losses)])
    assert ((Field.TOPIC, Modality.BYTES) in fields.fields) is own


def test_impossible_tokens_get_a_positive_p_value(benign, observe):
    fields = FieldCalibration.fit((each.sequence, each.losses) for each in benign[:300])
    new = observe(np.random.default_rng(3), 20)
    new.losses.surprise[first := int(np.argmax(new.sequence.field == Field.TARGET))] = np.inf
    p = fields.p_values(new.sequence, new.losses)
    assert 0 < p[first] < 1e-50


def test_losses_of_another_transaction_are_refused(benign):
    with pytest.raises(ValueError, match="do not belong"):
        FieldCalibration.fit([(benign[0].sequence, benign[1].losses)])


def test_nothing_scored_is_an_error(observe):
    empty = observe(np.random.default_rng(4), 0)
    with pytest.raises(ValueError, match="no scored token"):
        FieldCalibration.fit([(empty.sequence, empty.losses)])


def test_the_least_p_value_is_that_of_the_sample_it_comes_from(benign):
    fields = FieldCalibration.fit((each.sequence, each.losses) for each in benign[:200])
    pair, own = next(iter(fields.fields.items()))
    assert fields.least(*pair) == 1 / (1 + own.count) > 1 / (1 + fields.pooled.count)
    unknown = next((f, m) for f in Field for m in Modality if (f, m) not in fields.fields)
    assert fields.least(*unknown) == 1 / (1 + fields.pooled.count)
