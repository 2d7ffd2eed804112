"""Conformal guarantee, its limits in numbers, sources, truncation, severity, and the artifact."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from blockscan.artifact import read_manifest
from blockscan.config import ScoreConfig
from blockscan.detect import calibration_file
from blockscan.detect.books import Entered
from blockscan.detect.calibrate import fit_calibration, judge, recalibrate
from blockscan.detect.calibration_file import (
    fingerprint,
    load_calibration,
    newest,
    save_calibration,
    versions,
)
from blockscan.detect.density import KINDS
from blockscan.detect.levels import (
    PERIODS,
    Traffic,
    alarm_band,
    alarms_by_period,
    confident_need,
    fpr_bound,
    level_for,
    period_band,
    require_enough,
    transactions_needed,
)
from blockscan.detect.mix import size_class
from blockscan.detect.score import PARTS, kept_parts, view_of
from blockscan.detect.tally import Sums
from blockscan.errors import ArtifactError, ConfigError
from blockscan.findings import Evidence, TxScore

PARENTS = {"checkpoint": "c" * 64, "tokenizer": "t" * 64}
SCORING = {"folds": 4, "bf16": False}


@pytest.fixture(scope="module")
def calibration(benign):
    return fit_calibration(benign, fpr=0.01, parents=PARENTS, scoring=SCORING)


def make_score(value=5.0, p_value=0.01, *, source="callTracer", strong=0):
    evidence = tuple(Evidence(0, "value", "1", (), 9.0, 1e-5) for _ in range(strong))
    return TxScore(
        chain="ethereum",
        tx_hash="0x1",
        block_number=1,
        tx_index=0,
        time=1,
        sender="0xa",
        target="0xb",
        value=value,
        p_value=p_value,
        reason="",
        evidence=evidence,
        calls=1,
        tokens=9,
        windows=1,
        source=source,
        trace_status="complete",
        model="m",
        calibration="c",
    )


@pytest.mark.parametrize("decimals", [None, 1])
def test_false_alarm_rate_is_within_its_binomial_band(calibration, decimals):
    """Each draw has its own 199 calibration values and one new benign one, so draws are independent."""
    rng = np.random.default_rng(21)
    draws, n = 20_000, 199
    values = rng.lognormal(size=(draws, n + 1))
    if decimals is not None:
        values = np.round(values, decimals)
    drawn = np.sort(values[:, :n], axis=1)
    p = np.array(
        [
            dataclasses.replace(calibration, values={"s": drawn[i]}).p_value(values[i, n], "s")
            for i in range(draws)
        ]
    )
    for alpha in (0.005, 0.01, 0.05, 0.1, 0.5):
        alarms = int(np.sum(p <= alpha))
        low, high = binom.ppf([1e-4, 1 - 1e-4], draws, alpha)
        assert alarms <= high
        if decimals is None:
            assert alarms >= low


def test_false_alarm_rate_through_the_whole_road(benign, observe):
    """Given one calibration the number of false alarms is beta-binomial: k of n + 1 places, m new ones."""
    parts = [part for part in kept_parts("", density="") if view_of(part) != "size"]
    calibration = fit_calibration(benign, fpr=0.01, parents=PARENTS, scoring=SCORING, parts=parts)
    rng = np.random.default_rng(22)
    new = [observe(rng, int(np.exp(4.5 + rng.standard_normal())) + 9) for _ in range(1500)]
    # Lengths differ from the calibration's mixture, which length conditioning has to absorb.
    p = np.array([judge(calibration, each).p_value for each in new])
    n = len(calibration.values["callTracer"])
    for alpha in (0.01, 0.05, 0.1, 0.3):
        k = math.floor(alpha * (n + 1) + 1e-9)
        low, high = betabinom.ppf([5e-4, 1 - 5e-4], len(new), k, n + 1 - k)
        assert low <= np.sum(p <= alpha) <= high


@pytest.fixture(scope="module")
def shipped(benign):
    """With the parts that take part unless told otherwise."""
    parts = kept_parts(ScoreConfig().without, density="")
    return fit_calibration(benign, fpr=0.01, parents=PARENTS, scoring=SCORING, parts=parts)


@pytest.mark.parametrize("name", ["calibration", "shipped"])
def test_attacks_alarm(name, observe, request):
    calibration, rng = request.getfixturevalue(name), np.random.default_rng(23)
    p = [judge(calibration, observe(rng, 1000, extremes=3, extreme=20.0)).p_value for _ in range(40)]
    assert np.mean(np.array(p) <= 0.01) >= 0.9


def test_attacks_with_more_rare_names_alarm(calibration, observe):
    rng = np.random.default_rng(23)
    p = [judge(calibration, observe(rng, 1000, extremes=8, extreme=20.0)).p_value for _ in range(40)]
    assert np.mean(np.array(p) <= 0.01) >= 0.9


def test_halves_are_by_time_and_per_source(benign, observe):
    rng = np.random.default_rng(24)
    other = [observe(rng, 50, source="receipt") for _ in range(201)]
    calibration = fit_calibration([*benign, *other], fpr=0.01, parents=PARENTS, scoring=SCORING)
    assert {source: len(values) for source, values in calibration.values.items()} == {
        "callTracer": 1300,
        "receipt": 101,
    }
    alone = fit_calibration(benign, fpr=0.01, parents=PARENTS, scoring=SCORING)
    later = np.sort([judge(alone, each).value for each in benign[1300:]])
    assert np.array_equal(alone.values["callTracer"], later)


def test_a_source_without_calibration_has_no_p_value(calibration, observe):
    judged = judge(calibration, observe(np.random.default_rng(25), 50, source="trace_block"))
    assert judged.p_value is None and judged.value >= 0


def test_truncated_is_a_finding_by_itself(calibration, observe):
    judged = judge(calibration, observe(np.random.default_rng(26), 50, status="truncated"))
    assert judged.value == math.inf
    assert judged.p_value == 1 / 1301
    assert calibration.alarms(make_score(math.inf, judged.p_value))
    assert calibration.alarms(make_score(math.inf, None, source="trace_block"))


def test_truncated_benign_transactions_count_in_the_held_out_half(benign, observe):
    rng = np.random.default_rng(27)
    cut = [observe(rng, 50, status="truncated") for _ in range(20)]
    calibration = fit_calibration([*benign, *cut], fpr=0.01, parents=PARENTS, scoring=SCORING)
    assert calibration.p_value(math.inf, "callTracer") == 21 / 1311


def test_no_scored_token_is_the_least_anomalous(calibration, observe):
    judged = judge(calibration, observe(np.random.default_rng(28), 0))
    assert judged.value == 0.0 and judged.p_value == 1.0 and judged.token_p.shape == (0,)


@pytest.mark.parametrize(
    ("fpr", "needed", "confident"),
    [(0.05, 19, 59), (0.01, 99, 299), (0.001, 999, 2995), (0.0001, 9999, 29956), (0.07, 14, 42)],
)
def test_how_many_transactions_a_target_needs(fpr, needed, confident):
    assert transactions_needed(fpr) == needed
    assert 1 / (needed + 1) <= fpr < 1 / needed
    assert confident_need(fpr) == confident
    assert (
        fpr_bound(confident, 1.0001 / (confident + 1)) <= fpr < fpr_bound(confident - 1, 1.0001 / confident)
    )


def test_an_unsupported_target_is_refused_with_the_numbers(observe):
    rng = np.random.default_rng(29)
    items = [observe(rng, 40) for _ in range(1080)]
    with pytest.raises(ConfigError) as refused:
        fit_calibration(items, fpr=0.001, parents=PARENTS, scoring=SCORING)
    for part in ("540 held-out transactions of source callTracer", "FPR 0.1 %", "999", "2,995", "1,998"):
        assert part in str(refused.value)
    calibration = fit_calibration(items, fpr=0.01, parents=PARENTS, scoring=SCORING)
    with pytest.raises(ConfigError, match="holds 0 held-out transactions of source receipt"):
        calibration.threshold("receipt", 0.01)


@pytest.mark.parametrize("n", [99, 100, 198, 199, 250])
def test_threshold_and_p_value_say_the_same(calibration, n):
    values = np.sort(np.round(np.random.default_rng(n).exponential(size=n), 1))
    small = dataclasses.replace(calibration, values={"s": values})
    for fpr in (0.01, 0.05, 0.07, 0.3):
        threshold = small.threshold("s", fpr)
        for value in np.linspace(0, 7, 300):
            assert (value > threshold) == (small.p_value(value, "s") <= fpr)


def test_exactly_enough_transactions_can_alarm(calibration):
    enough = dataclasses.replace(calibration, values={"s": np.arange(99.0)})
    assert enough.p_value(100.0, "s") <= 0.01 and not enough.unsupported_sources()
    short = dataclasses.replace(calibration, values={"s": np.arange(98.0)})
    assert short.p_value(100.0, "s") > 0.01 and short.unsupported_sources() == ("s",)


@pytest.mark.parametrize("fpr", [0.0, 1.0, -0.1, 5.0, math.nan])
def test_a_rate_that_is_no_share_is_refused(benign, fpr):
    with pytest.raises(ConfigError, match="not a share between 0 and 1"):
        fit_calibration(benign[:10], fpr=fpr, parents=PARENTS, scoring=SCORING)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_calibrate_on_is_a_clear_error(benign, count):
    with pytest.raises(ConfigError, match=f"cannot calibrate on {count} benign transactions"):
        fit_calibration(benign[:count], fpr=0.01, parents=PARENTS, scoring=SCORING)


def test_fpr_bound_is_the_realised_rate_that_holds_in_95_of_100(calibration):
    """Over many calibration sets of uniform values, the realised FPR exceeds the bound in 5 %."""
    rng = np.random.default_rng(30)
    n, fpr = 500, 0.02
    k = math.floor(fpr * (n + 1))
    realised = 1 - np.sort(rng.random((20_000, n)), axis=1)[:, -k]
    assert np.mean(realised > fpr_bound(n, fpr)) == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize(("n", "fpr"), [(199, 0.01), (999, 0.001), (1500, 0.02), (140, 0.05)])
def test_later_false_alarms_stay_in_their_band_for_95_of_100_calibrations(calibration, n, fpr):
    """Many calibrations, each with 3,000 later benign transactions: how often is the count in its band?"""
    rng = np.random.default_rng(n)
    runs, later = 1500, 3000
    low, high = alarm_band(n, fpr, later)
    inside = 0
    for _ in range(runs):
        one = dataclasses.replace(calibration, values={"s": np.sort(rng.standard_normal(n))})
        threshold = one.threshold("s", fpr)
        inside += low <= np.sum(rng.standard_normal(later) > threshold) <= high
    # The band is of whole numbers, so it holds a little more than 95 %; five standard errors below.
    assert 0.95 - 5 * math.sqrt(0.05 * 0.95 / runs) <= inside / runs <= 0.985


def one_size(n):
    return np.zeros(n, np.uint8)


def test_periods_of_another_mix_are_as_alike_as_others_where_it_is_allowed_for():
    """A fifth in which half of the transactions are large, and rank higher, for one in ten of the others."""
    rng = np.random.default_rng(10)
    n, fpr, runs = 5000, 0.02, 200
    (low, high), inside = period_band(n, fpr), np.zeros((2, runs))
    for run in range(runs):
        large = rng.random(n) < np.where(np.arange(n) < n // PERIODS, 0.5, 0.1)
        values = rng.standard_normal(n) + 2 * large
        for allowed, classes in enumerate((one_size(n), large.astype(np.uint8))):
            counts = alarms_by_period(values, classes, fpr)
            inside[allowed, run] = low <= min(counts) and max(counts) <= high
    assert inside[0].mean() < 0.01 and inside[1].mean() > 0.9, (
        "others are rarer there: a little less than 95 %"
    )


def test_periods_that_are_alike_keep_to_their_band_in_95_of_100_calibrations():
    rng = np.random.default_rng(8)
    n, fpr, runs = 1000, 0.02, 1500
    low, high = period_band(n, fpr)
    counts = np.array([alarms_by_period(rng.standard_normal(n), one_size(n), fpr) for _ in range(runs)])
    assert counts.shape == (runs, PERIODS) and counts.mean() == pytest.approx(fpr * n / PERIODS, rel=0.02)
    inside = np.mean((counts.min(axis=1) >= low) & (counts.max(axis=1) <= high))
    # Five bands of whole numbers; five standard errors below.
    assert 0.95 - 5 * math.sqrt(0.05 * 0.95 / runs) <= inside <= 0.995


@pytest.mark.parametrize("equal", [1.0, 0.02])
def test_periods_of_equal_values_are_as_alike_as_others(equal):
    """All values the same, or one in fifty cut off: what looks at values alone finds no alarm in any."""
    rng = np.random.default_rng(12)
    n, fpr, runs = 1000, 0.02, 400
    low, high = period_band(n, fpr)
    counts = []
    for _ in range(runs):
        values = np.where(rng.random(n) < equal, np.inf, rng.standard_normal(n))
        counts.append(alarms_by_period(values, one_size(n), fpr))
        assert alarms_by_period(values, one_size(n), fpr) == counts[-1]
    if equal < 1:  # equal values are told apart in the same way each time
        inside = np.mean((np.min(counts, axis=1) >= low) & (np.max(counts, axis=1) <= high))
        assert inside >= 0.95 - 5 * math.sqrt(0.05 * 0.95 / runs)
    else:
        assert low <= min(counts[0]) <= max(counts[0]) <= high


def test_what_is_above_just_enough_others_is_an_alarm():
    """Four fifths of thirty are the 24 that 4 % needs: all of the last fifth are above all of them."""
    assert transactions_needed(0.04) == 24
    assert alarms_by_period(np.arange(30.0), one_size(30), 0.04) == (0, 0, 0, 0, 6)


def test_a_period_that_is_not_alike_shows(calibration, benign):
    rng = np.random.default_rng(9)
    values = rng.standard_normal(1000)
    values[600:800] += 1
    counts, (_, high) = alarms_by_period(values, one_size(1000), 0.02), period_band(1000, 0.02)
    assert counts.index(max(counts)) == 3 and max(counts) > high
    by_hand = np.array([0.0, 9.0, 1.0, 2.0, 3.0, 4.0, 8.0, 6.0, 7.0, 5.0])
    assert alarms_by_period(by_hand, one_size(10), 0.2) == (1, 0, 0, 0, 0)  # above all eight others
    assert alarms_by_period(by_hand, one_size(10), 0.3) == (1, 0, 0, 1, 0)  # above all but one
    assert alarms_by_period(by_hand, one_size(10), 0.1) == ()  # of eight others none can be so rare
    n = len(calibration.values["callTracer"])
    (source,) = calibration.periods
    assert source == "callTracer" and len(calibration.periods[source]) == PERIODS
    assert sum(calibration.periods[source]) == pytest.approx(0.01 * n, abs=6)


def test_a_budget_of_alerts_is_a_share_of_the_traffic(calibration):
    assert level_for(20, 100_000) == 0.0002
    for alerts, traffic in ((0, 100), (-1, 100), (100, 100), (math.nan, 100), (1, 0)):
        with pytest.raises(ConfigError, match="no share of"):
            level_for(alerts, traffic)
    busy = dataclasses.replace(
        calibration, values={"s": np.arange(999.0)}, traffic=Traffic(None, {"s": 50_000.0})
    )
    expected, bound = busy.alerts_per_day("s")
    assert expected == pytest.approx(50_000 * 10 / 1000)
    assert bound == pytest.approx(50_000 * fpr_bound(999, 0.01)) and bound > expected
    assert calibration.alerts_per_day("callTracer") is None


@pytest.fixture(scope="module")
def newer(observe):
    rng = np.random.default_rng(31)
    return [observe(rng, int(np.exp(4.5 + rng.standard_normal())) + 9) for _ in range(400)]


def test_recalibration_keeps_the_scale_and_holds_everything_out(calibration, newer):
    renewed = recalibrate(calibration, newer, fpr=0.02, parent="p" * 64)
    assert len(renewed.values["callTracer"]) == len(newer) and renewed.alarm_level == 0.02
    assert renewed.parents == PARENTS | {"calibration": "p" * 64} and renewed.scoring == SCORING
    before = np.sort([judge(calibration, each).value for each in newer])
    assert np.array_equal(renewed.values["callTracer"], before)
    assert [judge(renewed, each).value for each in newer] == [
        judge(calibration, each).value for each in newer
    ]


def test_recalibration_is_refused_on_too_few_or_earlier_transactions(calibration, newer):
    with pytest.raises(
        ConfigError, match=r"holds 50 held-out.*needs at least 99.*all of the .*, so give 99 "
    ):
        recalibrate(calibration, newer[:50], fpr=0.01, parent="p")
    with pytest.raises(ConfigError, match="holds 0 held-out"):
        recalibrate(calibration, [], fpr=0.01, parent="p")
    placed = dataclasses.replace(calibration, traffic=Traffic((100, 200)))
    with pytest.raises(ConfigError, match="--blocks 201:"):
        recalibrate(placed, newer, fpr=0.01, parent="p", traffic=Traffic((200, 300)))
    assert recalibrate(placed, newer, fpr=0.01, parent="p", traffic=Traffic((201, 300))).traffic.blocks


def test_a_model_directory_keeps_its_calibrations_and_the_last_one_counts(calibration, newer, tmp_path):
    assert versions(tmp_path) == [tmp_path / "calibration"] == [newest(tmp_path)]
    save_calibration(calibration, tmp_path / "calibration")
    assert newest(tmp_path) == tmp_path / "calibration"
    renewed = recalibrate(calibration, newer, fpr=0.01, parent=fingerprint(calibration))
    save_calibration(renewed, tmp_path / "calibration-2")
    assert [path.name for path in versions(tmp_path)] == ["calibration", "calibration-2"]
    assert load_calibration(newest(tmp_path)).parents["calibration"] == fingerprint(calibration)
    assert load_calibration(tmp_path / "calibration").values["callTracer"].shape == (1300,)


def test_traffic_and_contracts_come_back_and_older_fingerprints_stay(calibration, benign, tmp_path):
    named = [each._replace(contract=f"0x{i % 3}") for i, each in enumerate(benign)]
    made = fit_calibration(
        named,
        fpr=0.01,
        parents=PARENTS,
        scoring=SCORING,
        traffic=Traffic((5, 9), {"callTracer": 1234.5}),
        per_contract=True,
    )
    save_calibration(made, tmp_path / "a")
    loaded = load_calibration(tmp_path / "a")
    assert loaded.traffic == made.traffic and fingerprint(loaded) == fingerprint(made)
    assert set(loaded.contracts["callTracer"]) == {"", "0x0", "0x1", "0x2"}
    for each in named[-30:]:
        assert judge(loaded, each).p_value == judge(made, each).p_value
    assert "traffic" not in read_manifest_config(calibration, tmp_path / "b")


def test_sizes_are_those_of_the_values_and_may_be_left_out(calibration, benign, tmp_path):
    values, sizes = calibration.values["callTracer"], calibration.sizes["callTracer"]
    later = [each for each in benign if each.source == "callTracer"][-len(values) :]
    judged = {}
    recent = calibration.recent()
    for each in later:
        found = judge(calibration, each, carried=recent.carried(each.account, each.time))
        recent.add(each.account, each.time, found.value)
        judged.setdefault(found.value, set()).add(size_class(found.size))
    assert all(size in judged[value] for value, size in zip(values.tolist(), sizes.tolist(), strict=True))
    plain = fit_calibration(benign, fpr=0.01, parents=PARENTS, scoring=SCORING | {"mix": False})
    assert plain.sizes == {}
    told = [each.p_value(values[-9], "callTracer", mix=(0, 0, 9)) for each in (plain, calibration)]
    assert told[0] == 10 / (1 + len(values)) != told[1]
    mixed = judge(calibration, later[0], mix=(0, 0, 1000))
    assert mixed.p_value == calibration.p_value(mixed.value, "callTracer", mix=(0, 0, 1000))
    assert mixed.p_value != judge(calibration, later[0]).p_value
    for place, wrong in enumerate((sizes[1:], sizes + 3, sizes.astype(np.int64))):
        save_calibration(dataclasses.replace(calibration, sizes={"callTracer": wrong}), tmp_path / str(place))
        with pytest.raises(ArtifactError, match="the sizes of callTracer are not those of its values"):
            load_calibration(tmp_path / str(place))


def read_manifest_config(calibration, path):
    save_calibration(calibration, path)
    return read_manifest(path, "calibration").config


def test_severity_follows_p_value_and_evidence(calibration):
    assert calibration.severity(make_score(5.0, 0.009)) == "low"
    assert calibration.severity(make_score(5.0, 0.005)) == "medium"
    assert calibration.severity(make_score(5.0, 0.001)) == "high"
    assert calibration.severity(make_score(5.0, 0.001, strong=2)) == "high"
    assert calibration.severity(make_score(5.0, 0.001, strong=3)) == "critical"
    assert calibration.severity(make_score(math.inf, None, source="receipt")) == "high"
    many = dataclasses.replace(calibration, values={"callTracer": np.arange(9999.0)})
    told = [many.severity(make_score(5.0, p)) for p in (0.001, 0.0011, 0.005, 0.0051)]
    assert told == ["high", "medium", "medium", "low"], "a tenth and a half of the alarm level"
    few = dataclasses.replace(calibration, values={"callTracer": np.arange(99.0)})
    assert few.severity(make_score(100.0, 0.01)) == "high"
    assert few.alarms(make_score(100.0, 0.01)) and not few.alarms(make_score(100.0, 0.02))


def test_saved_calibration_comes_back_bit_for_bit(calibration, benign, tmp_path):
    save_calibration(calibration, tmp_path / "a")
    loaded = load_calibration(tmp_path / "a")
    save_calibration(loaded, tmp_path / "b")
    names = sorted(entry.name for entry in (tmp_path / "a").iterdir())
    assert names == ["calibration.safetensors", "manifest.json"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    manifest = read_manifest(tmp_path / "a", "calibration")
    assert fingerprint(calibration) == fingerprint(loaded) == manifest.fingerprint
    wider = dataclasses.replace(calibration, alarm_level=0.02)
    save_calibration(wider, tmp_path / "c")
    assert load_calibration(tmp_path / "c").alarm_level == 0.02
    assert manifest.parents == PARENTS and loaded.alarm_level == 0.01 and loaded.scoring == SCORING
    assert loaded.periods == calibration.periods and loaded.periods
    assert len(set(loaded.sizes["callTracer"].tolist())) > 1
    sums = Sums.of({1024: 5, 2048: -(10**30)})
    made, sent = np.array([7], np.uint64), np.array([9], np.uint64)
    booked = Entered(sums, made, sent, {"ethereum": 9}, whole=False)
    save_calibration(dataclasses.replace(calibration, books=booked), tmp_path / "booked")
    books = load_calibration(tmp_path / "booked").books
    assert (books.sums.total(1024), books.sums.total(2048), books.made.tolist()) == (5.0, -1e30, [7])
    assert books.sent.tolist() == [9]
    assert books.until == {"ethereum": 9} and not books.whole and loaded.books.whole
    for each in benign[-50:]:
        before, after = (judge(which, each, mix=(1, 2, 3)) for which in (calibration, loaded))
        assert (before.value, before.p_value) == (after.value, after.p_value)
        assert np.array_equal(before.token_p, after.token_p, equal_nan=True)


@pytest.fixture(scope="module")
def embedded(benign):
    """Benign transactions with independent normal embeddings of half as many numbers as fit the density."""
    rng = np.random.default_rng(40)
    return [each._replace(embedding=rng.standard_normal(75).astype(np.float32)) for each in benign[:600]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_density_takes_part_and_comes_back_bit_for_bit(embedded, kind, tmp_path):
    made = fit_calibration(embedded, fpr=0.01, parents=PARENTS, scoring=SCORING, density=kind)
    save_calibration(made, tmp_path / "a")
    loaded = load_calibration(tmp_path / "a")
    assert fingerprint(loaded) == fingerprint(made)
    odd = embedded[500]._replace(embedding=np.full(75, 9.0, np.float32) * np.arange(75))
    for each in (odd, *embedded[550:]):
        before, after = judge(made, each), judge(loaded, each)
        assert (before.value, before.rarities["density"]) == (after.value, after.rarities["density"])
    if kind != "neighbours":  # which sees directions alone
        assert judge(made, odd).rarities["density"] > 2
    assert judge(made, odd).value == pytest.approx(math.fsum(judge(made, odd).views.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_density_is_judged_on_what_it_was_not_fitted_on(embedded, kind):
    """Were it, new benign embeddings would all look odd: -log10 of a uniform p-value is .43 on average."""
    made = fit_calibration(embedded, fpr=0.01, parents=PARENTS, scoring=SCORING, density=kind)
    rarities = [judge(made, each).rarities["density"] for each in embedded[300:]]
    assert np.mean(rarities) == pytest.approx(0.43, abs=0.15)


def test_without_a_density_embeddings_change_nothing_and_with_one_they_are_needed(embedded, benign):
    plain = fit_calibration(benign[:600], fpr=0.01, parents=PARENTS, scoring=SCORING)
    assert fingerprint(plain) == fingerprint(
        fit_calibration(embedded, fpr=0.01, parents=PARENTS, scoring=SCORING)
    )
    with pytest.raises(ValueError, match="needs every transaction's embedding"):
        fit_calibration(benign[:600], fpr=0.01, parents=PARENTS, scoring=SCORING, density="forest")
    with pytest.raises(ConfigError, match="must be one of neighbours"):
        fit_calibration(embedded, fpr=0.01, parents=PARENTS, scoring=SCORING, density="knn")
    switched_off = [part for part in PARTS if part != "density"]
    assert (
        fit_calibration(
            benign[:600], fpr=0.01, parents=PARENTS, scoring=SCORING, density="forest", parts=switched_off
        ).density
        is None
    )


def test_recalibration_keeps_the_density(embedded):
    made = fit_calibration(embedded[:400], fpr=0.01, parents=PARENTS, scoring=SCORING, density="mahalanobis")
    renewed = recalibrate(made, embedded[400:], fpr=0.01, parent="p")
    assert renewed.density is made.density
    assert renewed.values["callTracer"].max() == max(judge(made, each).value for each in embedded[400:])


def test_a_calibration_with_an_unknown_density_is_refused(embedded, tmp_path):
    made = fit_calibration(embedded, fpr=0.01, parents=PARENTS, scoring=SCORING, density="forest")
    newer = dataclasses.replace(made, density=dataclasses.replace(made.density, kind="flow"))
    save_calibration(newer, tmp_path / "a")
    with pytest.raises(ArtifactError, match="unknown density 'flow'"):
        load_calibration(tmp_path / "a")


def test_another_level_or_parent_is_another_fingerprint(calibration):
    prints = {
        fingerprint(calibration),
        fingerprint(dataclasses.replace(calibration, alarm_level=0.02)),
        fingerprint(dataclasses.replace(calibration, parents=PARENTS | {"checkpoint": "d" * 64})),
        fingerprint(dataclasses.replace(calibration, scoring={"folds": 2})),
    }
    assert len(prints) == 4


def test_a_damaged_calibration_is_refused(calibration, tmp_path):
    save_calibration(calibration, tmp_path / "a")
    file = tmp_path / "a" / "calibration.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ArtifactError, match="changed"):
        load_calibration(tmp_path / "a")
    with pytest.raises(ArtifactError, match="not empty"):
        save_calibration(calibration, tmp_path / "a")


@pytest.mark.parametrize("wrong", [{"periods": [1]}, {"traffic": 7}, {"traffic": {"blocks": [1]}}], ids=str)
def test_a_calibration_with_settings_of_other_types_is_refused(calibration, tmp_path, wrong):
    save_calibration(calibration, tmp_path / "a")
    manifest = tmp_path / "a" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"config": content["config"] | wrong}))
    with pytest.raises(ArtifactError, match="no calibration this program can read"):
        load_calibration(tmp_path / "a")


def test_a_calibration_with_unknown_parts_is_refused(calibration, tmp_path):
    tails = {"novelty": calibration.score.tails["fisher"]}
    score = dataclasses.replace(calibration.score, tails=tails, weights={"novelty": 1.0})
    newer = dataclasses.replace(calibration, score=score)
    save_calibration(newer, tmp_path / "a")
    with pytest.raises(ArtifactError, match="novelty"):
        load_calibration(tmp_path / "a")


def test_a_calibration_of_other_facts_is_refused(calibration, tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Thresholds on facts that meant something else would be silently wrong; it says all there is to do."""
    monkeypatch.setattr(calibration_file, "FACTS_AS", 1)
    save_calibration(calibration, tmp_path / "before")
    monkeypatch.undo()
    in_order = r"computes otherwise; .*blockscan recount .* --out NEW.*`blockscan calibrate`.* then score"
    with pytest.raises(ArtifactError, match=in_order):
        load_calibration(tmp_path / "before")


def test_what_is_above_all_of_its_contract_is_high(calibration):
    """150 held-out values support 1 %, and no p-value of a tenth of it."""
    by_contract = {"callTracer": {"": np.empty(0), "few": np.arange(150.0), "many": np.arange(900.0)}}
    made = dataclasses.replace(calibration, contracts=by_contract)
    for contract, value, severity in (
        ("few", 1e6, "high"),
        ("few", 148.5, "low"),
        ("many", 1e6, "high"),
        ("many", 896.5, "medium"),
        ("many", 892.5, "low"),
    ):
        p_value = made.p_value(value, "callTracer", contract)
        verdict = dataclasses.replace(make_score(value, p_value), target=contract)
        assert (contract, value, made.severity(verdict)) == (contract, value, severity)


def test_what_is_enough_is_counted_as_it_is_halved():
    """Of an odd number the later half is the larger one."""
    for halved, fewest in ((True, 197), (False, 99)):
        require_enough({"s": fewest, "other": 1}, 0.01, halved=halved)
        with pytest.raises(ConfigError, match=f"so give {2 * 99 if halved else 99}"):
            require_enough({"s": fewest - 1, "other": 1}, 0.01, halved=halved)
