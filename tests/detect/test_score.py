"""The value of a transaction: statistics by hand, no effect of length, sparse attacks on top."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from blockscan.config import ScoreConfig
from blockscan.detect.facts import FACTS
from blockscan.detect.score import (
    FIELD_PARTS,
    PART_SCALE_FLOOR,
    PART_SCALE_SHARE,
    PARTS,
    TOKEN_PARTS,
    VIEWS,
    ScoreModel,
    criticism,
    fisher,
    harmonic,
    kept_parts,
    strongest,
    summarize,
    view_of,
)
from blockscan.detect.surprise import SURPRISE_CAP, FieldCalibration, Survival
from blockscan.errors import ConfigError
from blockscan.tokens import NAMES, Field, TokenLosses


def told(token_p, density=0.0, field=Field.SELECTOR, **facts):
    """The summary of token p-values; all else is 0 but for the number of calls and what is given.

    A token of p-value p has a surprise of -ln p nats, whatever its field.
    """
    values = np.zeros(len(FACTS))
    for name, value in ({"calls": np.log(max(1, len(token_p)))} | facts).items():
        values[FACTS.index(name)] = value
    expected = np.full((len(token_p), 3), -1, np.int32)
    losses = TokenLosses("0x", -np.log(token_p).astype(np.float32), expected[:, 0], expected, 1)
    return summarize(
        np.broadcast_to(np.array(field, np.uint8), len(token_p)), losses, token_p, values, density
    )


@pytest.fixture(scope="module")
def fitted(benign):
    fields = FieldCalibration.fit((each.sequence, each.losses) for each in benign[:1300])
    token_p = [fields.p_values(each.sequence, each.losses) for each in benign]
    model = ScoreModel.fit([told(p) for p in token_p[:1300]], parts=list(TOKEN_PARTS))
    return fields, model, token_p[1300:]


def test_statistics_by_hand():
    p = np.array([1e-4, 1e-3, 1e-2, 0.1, 1.0, 1.0])
    assert strongest(p) == pytest.approx((4 + 3 + 2 + 1 + 0) / 5)
    assert harmonic(p) == pytest.approx(math.log10(11_112 / 6))
    assert fisher(p) == pytest.approx((10 * math.log(10) - 6) / math.sqrt(6))
    first = math.sqrt(6) * (1 / 6 - 1e-4) / math.sqrt(1e-4 * (1 - 1e-4))
    assert criticism(p) == pytest.approx(math.log10(1 + first))
    assert criticism(np.full(6, 0.5)) == 0.0, "only the smaller half can be too small"


def test_names_are_summed_field_by_field():
    """In nats, without what was not scored, and no more than the cap."""
    assert set(FIELD_PARTS.values()) == set(NAMES)
    p = np.array([1e-2, 1e-3, np.nan, 1e-4, 1e-290, 1e-1, 1e-6, np.nan])
    field = [*[Field.SELECTOR] * 3, Field.TARGET, Field.TOPIC0, Field.EMITTER, Field.TOPIC, Field.TOPIC]
    parts = told(p, field=field).parts
    in_decades = {"functions": 5, "targets": 4, "emitters": 1, "topics": 6}
    for part, decades in in_decades.items():
        assert parts[part] == pytest.approx(decades * math.log(10))
    assert parts["events"] == SURPRISE_CAP
    assert not set(FIELD_PARTS) & set(told(np.full(3, np.nan)).parts)


def test_a_field_that_none_had_says_nothing_later():
    """Calibrated on trees without logs: events later on are another source, not evidence."""
    past = [told(np.full(9, p), field=Field.SELECTOR) for p in np.linspace(0.1, 0.9, 100)]
    model = ScoreModel.fit(past, parts=["functions", "events"])
    assert set(model.tails) == {"functions"}
    assert model.value(told(np.full(9, 1e-9), field=Field.TOPIC0)) == 0.0
    with pytest.raises(ValueError, match="no transaction shows anything of events, topics"):
        ScoreModel.fit(past, parts=["events", "topics"])


def test_many_usual_names_do_not_dilute_a_few_odd_ones():
    rng = np.random.default_rng(9)
    past = [told(rng.random(1000)) for _ in range(400)]
    odd = told(np.array([*[1e-6] * 3, *rng.random(997)]))
    parts = "functions", "harmonic", "strongest"
    by_sum, *by_few = (ScoreModel.fit(past, parts=[part]).value(odd) for part in parts)
    assert min(by_few) > VIEWS["model"] * 2 > by_sum


def test_between_two_classes_of_size_both_are_asked():
    rng = np.random.default_rng(9)
    sizes = np.repeat([2, 20, 200], 50)
    past = [told(rng.random(9) ** (n / 20), calls=np.log(n)) for n in sizes]
    model = ScoreModel.fit(past, parts=["functions"])
    low, middle, high = model.anchors.tolist()
    wanted = {low - 1: (1, 0, 0), low: (1, 0, 0), (low + middle) / 2: (0.5, 0.5, 0), middle: (0, 1, 0)}
    wanted |= {0.3 * middle + 0.7 * high: (0, 0.3, 0.7), high: (0, 0, 1), high + 1: (0, 0, 1)}
    for size, shares in wanted.items():
        summary = told(np.full(9, 0.01), calls=size)
        tails = [tail.log10_p_of(summary.parts["functions"]) for tail in model.tails["functions"]]
        assert model.rarities(summary)["functions"] == pytest.approx(-np.dot(shares, tails))
    assert len(set(tails)) == 3


def test_the_harmonic_mean_counts_only_beyond_the_sample():
    rng = np.random.default_rng(9)
    past = [told(rng.random(int(n))) for n in rng.integers(1, 1000, 400)]
    model = ScoreModel.fit(past, parts=["harmonic", "strongest"])
    shown = {part: [model.rarities(each)[part] > 0 for each in past] for part in model.tails}
    # Between two classes of length one of them is asked about transactions that it has none of.
    assert np.mean(shown["harmonic"]) < 0.02 and np.mean(shown["strongest"]) > 0.9
    smallest = 1e-3, 1e-9, 1e-12
    rarities = [model.rarities(told(np.array([p, *rng.random(500)])))["harmonic"] for p in smallest]
    assert rarities[0] == 0.0 < rarities[1] < rarities[2]


def test_what_takes_part_unless_told_otherwise():
    default = kept_parts(ScoreConfig().without, density="")
    assert set(PARTS) - set(default) == {"strongest", "fisher", "criticism", "density"}


def test_top_share_counts_two_percent_of_long_transactions():
    p = np.concatenate((np.full(20, 1e-5), np.full(980, 0.5)))
    assert strongest(p) == pytest.approx(5.0)
    assert strongest(np.concatenate((np.full(5, 1e-5), np.full(45, 0.5)))) == pytest.approx(5.0)
    rounded_up = np.concatenate((np.full(6, 1e-5), np.full(295, 1.0)))
    assert strongest(rounded_up) == pytest.approx(6 * 5 / 7)


def test_length_does_not_drive_the_value(fitted):
    _, model, token_p = fitted
    sizes = np.array([np.sum(~np.isnan(p)) for p in token_p])
    values = np.array([model.value(told(p)) for p in token_p])
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
    benign_values = np.array([model.value(told(p)) for p in token_p])
    ordinary = [observe(rng, 1000) for _ in range(40)]
    attacks = [observe(rng, 1000, extremes=3, extreme=20.0) for _ in range(40)]
    threshold = np.quantile(benign_values, 0.99)
    found, alarmed = (
        np.mean(
            [model.value(told(fields.p_values(each.sequence, each.losses))) > threshold for each in group]
        )
        for group in (attacks, ordinary)
    )
    assert found >= 0.9 and alarmed <= 0.15


def test_more_surprise_is_never_less_anomalous(fitted, observe):
    fields, model, _ = fitted
    each = observe(np.random.default_rng(6), 300)
    values = []
    for extra in (0.0, 1.0, 4.0, 12.0, 20.0):
        token_p = fields.p_values(each.sequence, each.losses)
        values.append(model.value(told(token_p)))
        each.losses.surprise[:3] += 1.0 + extra
    assert values == sorted(values) and values[-1] > values[-2]


@pytest.mark.parametrize("token_p", [np.empty(0), np.full(30, np.nan)])
def test_no_evidence_gives_the_lowest_value(fitted, token_p):
    _, model, benign_p = fitted
    assert model.value(told(token_p)) == 0.0
    assert min(model.value(told(p)) for p in benign_p) >= 0.0


def test_between_two_length_classes_the_log_p_values_are_interpolated():
    """Classes at 10 and 1,000 tokens whose statistics differ: at 100 tokens both count one half."""
    short = Survival.fit(np.zeros(99), scale_floor=1.0)
    long = Survival.fit(np.full(99, 1e6), scale_floor=1.0)
    model = ScoreModel(np.log([10.0, 1000.0]), {"strongest": (short, long)}, {}, {})
    alone = [ScoreModel(np.log([10.0]), {"strongest": (each,)}, {}, {}) for each in (short, long)]
    for tokens, weight in ((5, 0), (10, 0), (100, 0.5), (1000, 1), (5000, 1)):
        p = np.full(tokens, 0.01)
        at_short, at_long = (each.rarities(told(p))["strongest"] for each in alone)
        assert at_short > 2 > at_long == 0
        between = (1 - weight) * at_short + weight * at_long
        assert model.rarities(told(p))["strongest"] == pytest.approx(between)


def test_identical_benign_transactions_do_not_make_rounding_evidence():
    model = ScoreModel.fit([told(np.full(9, 0.5))] * 300)
    assert model.value(told(np.full(9, 0.5 - 1e-7))) < 3.0


def test_a_class_that_is_all_alike_claims_no_tail_much_steeper_than_all_of_them_have():
    gains = [*[1.0] * 200, *np.linspace(5.0, 9.0, 200)]
    past = [told(np.full(9 if i < 200 else 900, 0.5), gain=gain) for i, gain in enumerate(gains)]
    model = ScoreModel.fit(past, parts=["gain"])
    assert model.tails["gain"][0].scale == pytest.approx(PART_SCALE_SHARE * np.std(gains))
    assert 0.1 < model.rarities(told(np.full(9, 0.5), gain=1.5))["gain"] < 3.0


@pytest.mark.parametrize("part", PARTS)
def test_parts_can_be_switched(fitted, part):
    _, _, token_p = fitted
    field = FIELD_PARTS.get(part, Field.SELECTOR)
    model = ScoreModel.fit([told(p, density=0.1, field=field) for p in token_p[:600]], parts=[part])
    assert set(model.tails) == {part} and set(model.views) == {view_of(part)}
    assert model.value(told(token_p[700])) >= 0.0


def test_parts_are_left_out_by_name():
    without_density = tuple(part for part in PARTS if part != "density")
    assert kept_parts("", density="") == without_density
    assert kept_parts("", density="forest") == PARTS
    few = kept_parts("gain, reentry,density", density="forest")
    assert set(PARTS) - set(few) == {"gain", "reentry", "density"}
    assert kept_parts(",".join(without_density), density="forest") == ("density",)


def test_what_cannot_be_left_out_is_named():
    with pytest.raises(ConfigError, match=r"score.without names 'renetry'.*nearest is 'reentry' of harmonic"):
        kept_parts("gain,renetry", density="")
    with pytest.raises(ConfigError, match="leaves no part"):
        kept_parts(",".join(part for part in PARTS if part != "density"), density="")


def test_a_part_that_some_lack_is_judged_among_those_that_have_it():
    """Every other one has a density; where it is not known it adds nothing."""
    rng = np.random.default_rng(8)
    past = [told(np.full(9, 0.5), density=rng.random() if i % 2 else None) for i in range(400)]
    model = ScoreModel.fit(past, parts=["density"])
    assert model.tails["density"][0].count == 200
    assert model.value(told(np.full(9, 0.5), density=None)) == 0.0
    assert model.rarities(told(np.full(9, 0.5), density=2.0))["density"] > 2.0
    with pytest.raises(ValueError, match="no transaction has the part density"):
        ScoreModel.fit(past[::2], parts=["density"])


def test_a_fact_that_not_all_can_show_is_judged_among_those_that_can():
    """One in ten transactions has one before it; ten of a hundred such gain by both."""
    past = [
        told(np.full(9, 0.5), gain=i % 7, joint_gain=math.nan if i % 10 else float(i % 100 == 0))
        for i in range(1000)
    ]
    model = ScoreModel.fit(past, parts=["gain", "joint_gain"])
    assert model.tails["joint_gain"][0].count == 100
    alone, after = (told(np.full(9, 0.5), joint_gain=gain) for gain in (math.nan, 1.0))
    assert model.rarities(alone)["joint_gain"] == 0.0
    assert model.rarities(after)["joint_gain"] == pytest.approx(1.0, abs=0.05)


def test_a_fact_that_none_could_show_says_nothing():
    past = [told(np.full(9, 0.5), gain=i % 7, joint_gain=math.nan) for i in range(100)]
    model = ScoreModel.fit(past, parts=["gain", "joint_gain"])
    odd, odder = told(np.full(9, 0.5), gain=9.0), told(np.full(9, 0.5), gain=9.0, joint_gain=9.0)
    assert set(model.tails) == {"gain"} and model.value(odder) == model.value(odd) > 0


def test_what_one_part_adds_to_the_value(sized):
    model = ScoreModel.fit(sized, parts=("calls", "gain", "reentry"))
    found = model.rarities(told(np.full(9, 0.5), gain=5.0, reentry=5.0))
    both, gain = (math.fsum(model.decades(each).values()) for each in (found, found | {"reentry": 0.0}))
    assert model.added_by("reentry", found) == both - gain > 0.3
    assert model.added_by("reentry", found | {"reentry": 0.0}) == model.added_by("drained", found) == 0.0


def test_size_is_judged_among_all_sizes():
    """One benign transaction in ten is large: that is what a usual large one is worth, not one half."""
    past = [told(np.full(size, 0.5)) for size in [9] * 900 + list(range(900, 1000))]
    model = ScoreModel.fit(past, parts=["calls"])
    assert model.value(told(np.full(9, 0.5))) == 0.0
    assert str(model.rarities(told(np.full(9, 0.5)))["calls"]) == "0.0"  # a person would wonder at "-0.00"
    assert model.rarities(told(np.full(901, 0.5)))["calls"] == pytest.approx(1.0, abs=0.05)


@pytest.fixture(scope="module")
def sized():
    """Summaries of many sizes whose gains say nothing of them; loss and drained say what gain says."""
    rng = np.random.default_rng(5)
    calls = np.exp(rng.exponential(1.0, 6000)).astype(int)
    gains, others = rng.exponential(size=(2, 6000))
    return [
        told(np.full(size, 0.5), gain=gain, loss=gain, drained=gain, reentry=other)
        for size, gain, other in zip(calls, gains, others, strict=True)
    ]


def test_the_value_is_the_weighted_sum_of_views_that_are_judged_once_more(sized):
    """By hand: the share of the sample and of what is judged that is as odd in the one part of each view."""
    parts = ("calls", "gain", "strongest")
    model = ScoreModel.fit(sized, parts=parts)
    odd = told(np.full(300, 0.5), gain=5.0)
    rarities = [model.rarities(each) for each in [odd, *sized]]
    views = {"size": "calls", "facts": "gain", "model": "strongest"}
    assert list(model.decades(rarities[0])) == list(VIEWS)
    for view, part in views.items():
        as_odd = np.mean([each[part] >= rarities[0][part] for each in rarities])
        assert model.decades(rarities[0])[view] == pytest.approx(-VIEWS[view] * math.log10(as_odd), abs=1e-3)
    assert model.value(odd) == pytest.approx(sum(model.decades(rarities[0]).values()))


def test_parts_that_always_say_the_same_count_as_one(sized):
    """Neither another view nor another part of their own view is drowned by them."""
    copies = ("gain", "loss", "drained")
    one, many = (ScoreModel.fit(sized, parts=("calls", "reentry", *parts)) for parts in (copies[:1], copies))
    assert [many.weights[part] for part in copies] == pytest.approx([one.weights["gain"] / 3] * 3, rel=0.05)
    assert min(many.weights["reentry"], one.weights["reentry"]) > 0.85
    for each in sized[:200]:
        found = [model.decades(model.rarities(each)) for model in (one, many)]
        assert found[1] == pytest.approx(found[0], abs=0.1)


def test_weights_are_one_over_the_correlations_of_a_view():
    rng = np.random.default_rng(6)
    gains, rest = rng.exponential(size=(2, 4000))
    past = [told(np.full(9, 0.5), gain=x, loss=x + y) for x, y in zip(gains, rest, strict=True)]
    model = ScoreModel.fit(past, parts=["gain", "loss", "drained", "overdrawn", "depth"])
    rarities = np.array([[model.rarities(each)[part] for part in ("gain", "loss")] for each in past])
    alike = np.corrcoef(rarities.T)[0, 1]
    assert 0.3 < alike < 0.9
    assert model.weights["gain"] == model.weights["loss"] == pytest.approx(1 / (1 + alike))
    assert model.weights["drained"] == model.weights["depth"] == 1.0
    assert model.weights["overdrawn"] == 2.0  # the one that counts twice
    against = [told(np.full(9, 0.5), gain=x, loss=-x) for x in gains[:500]]
    assert set(ScoreModel.fit(against, parts=["gain", "loss"]).weights.values()) == {1.0}


def test_what_is_only_enormous_is_found(sized):
    """Nothing odd but its size: as one of many parts that is lost, as a view it is worth an alarm."""
    model = ScoreModel.fit(sized[:3000], parts=("calls", "gain", "loss", "drained", "reentry"))
    enormous = told(np.full(100_000, 0.5))
    summed = np.array([math.fsum(model.rarities(each).values()) for each in (enormous, *sized[3000:])])
    values = np.array([model.value(each) for each in (enormous, *sized[3000:])])
    assert np.mean(values[1:] >= values[0]) < 0.015 < 0.019 < np.mean(summed[1:] >= summed[0])


def test_what_is_beyond_all_sizes_does_not_outweigh_evidence(sized):
    """A hundred times as large as anything before and otherwise usual, beside usual size and a rare gain."""
    model = ScoreModel.fit(sized, parts=("calls", "gain"))
    most = max(each.size for each in sized)
    endless = told(np.full(9, 0.5), gain=0.1, calls=100 * most)
    odd = told(np.full(9, 0.5), gain=30.0)
    assert model.rarities(endless)["calls"] > 30 > model.value(odd)
    assert model.decades(model.rarities(endless))["size"] < model.decades(model.rarities(odd))["facts"] + 1


def test_every_part_belongs_to_a_view():
    assert {view_of(part) for part in PARTS} == set(VIEWS)
    assert [part for part in PARTS if view_of(part) == "size"] == ["calls", "depth", "input_bytes"]
    assert {view_of(part) for part in (*TOKEN_PARTS, *FIELD_PARTS, "replaced", "density")} == {"model"}


def test_a_fact_is_judged_among_transactions_of_its_size():
    """Small transactions gain 1, large ones 5: a gain of 3 is news in a small one only."""
    rng = np.random.default_rng(3)
    small = [told(np.full(9, 0.5), gain=1 + 0.1 * rng.random()) for _ in range(200)]
    large = [told(np.full(900, 0.5), gain=5 + 0.1 * rng.random()) for _ in range(200)]
    model = ScoreModel.fit(small + large, parts=["gain"])
    assert model.rarities(told(np.full(9, 0.5), gain=3.0))["gain"] > 2.3
    assert model.rarities(told(np.full(900, 0.5), gain=3.0))["gain"] == 0.0


def test_parts_that_each_find_it_odd_add_up():
    rng = np.random.default_rng(4)
    past = [told(np.full(9, 0.5), gain=rng.random(), loss=rng.random()) for _ in range(999)]
    model = ScoreModel.fit(past, parts=["gain", "loss"])
    both, one = told(np.full(9, 0.5), gain=0.9, loss=0.9), told(np.full(9, 0.5), gain=0.9, loss=0.0)
    assert model.value(both) > 1.3 * model.value(one) > 0


def test_unknown_part_is_refused():
    with pytest.raises(ValueError, match="unknown parts \\['lenght'\\]"):
        ScoreModel.fit([told(np.array([0.5]))], parts=["lenght"])


def test_a_fact_that_nothing_showed_is_rare_and_no_more():
    """In 300 transactions nobody overdrew: who does is one of 3,000, and more adds little."""
    model = ScoreModel.fit([told(np.full(9, 0.5), gain=gain) for gain in np.linspace(0, 1, 300)])
    little, much = (model.rarities(told(np.full(9, 0.5), overdrawn=x))["overdrawn"] for x in (1.0, 1000.0))
    known = math.log10(301) + 1
    assert known < little < much < known + 5
    assert model.rarities(told(np.full(9, 0.5), gain=1.01))["gain"] < known
    assert model.rarities(told(np.full(9, 0.5), calls=10_000))["calls"] > 100  # size is no fact
    three, six = (model.rarities(told(np.full(9, 0.5), drained=x))["drained"] for x in (3.0, 6.0))
    per_balance = 1 / (PART_SCALE_FLOOR * math.log(10))
    assert six - three == pytest.approx(3 * per_balance) and three > known  # balances have a scale


@pytest.mark.parametrize("lengths", [np.full(400, 7), np.arange(900) % 60 + 1])
def test_what_a_sample_can_show_is_where_extrapolation_begins(lengths):
    """One class of size or many: rarer than `least` is what no benign transaction reaches."""
    rng = np.random.default_rng(5)
    past = [
        told(np.full(n, 0.5), gain=gain) for n, gain in zip(lengths, rng.random(len(lengths)), strict=True)
    ]
    model = ScoreModel.fit(past, parts=["calls", "gain"])
    least = model.least(past[0].size)
    classes = len(model.anchors)
    assert least["calls"] == pytest.approx(1 / (1 + len(past)))
    assert least["gain"] == pytest.approx(1 / (1 + len(past) / classes), rel=0.4)
    in_it, above = (told(np.full(lengths[0], 0.5), gain=gain) for gain in (0.5, 1.5))
    few_kept = {"calls": (Survival.fit(np.arange(5000.0), scale_floor=1.0, cap=10),)}
    assert replace(model, tails=few_kept).least(1.0)["calls"] == pytest.approx(1 / 5001)
    assert 10 ** -model.rarities(above)["gain"] < least["gain"] < 10 ** -model.rarities(in_it)["gain"]
