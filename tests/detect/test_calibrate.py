"""Conformal guarantee, its limits in numbers, sources, truncation, severity, and the artifact."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from blockscan.artifact import read_manifest
from blockscan.detect.calibrate import (
    confident_need,
    fit_calibration,
    fpr_bound,
    judge,
    transactions_needed,
)
from blockscan.detect.calibration_file import fingerprint, load_calibration, save_calibration
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


def test_false_alarm_rate_through_the_whole_road(calibration, observe):
    """Given one calibration the number of false alarms is beta-binomial: k of n + 1 places, m new ones."""
    rng = np.random.default_rng(22)
    new = [observe(rng, int(np.exp(4.5 + rng.standard_normal())) + 9) for _ in range(1500)]
    # Lengths differ from the calibration's mixture, which length conditioning has to absorb.
    p = np.array([judge(calibration, each).p_value for each in new])
    n = len(calibration.values["callTracer"])
    for alpha in (0.01, 0.05, 0.1, 0.3):
        k = math.floor(alpha * (n + 1) + 1e-9)
        low, high = betabinom.ppf([5e-4, 1 - 5e-4], len(new), k, n + 1 - k)
        assert low <= np.sum(p <= alpha) <= high


def test_attacks_alarm(calibration, observe):
    rng = np.random.default_rng(23)
    p = [judge(calibration, observe(rng, 1000, extremes=3, extreme=20.0)).p_value for _ in range(40)]
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


def test_severity_follows_p_value_and_evidence(calibration):
    assert calibration.severity(make_score(5.0, 0.009)) == "low"
    assert calibration.severity(make_score(5.0, 0.005)) == "medium"
    assert calibration.severity(make_score(5.0, 0.001)) == "high"
    assert calibration.severity(make_score(5.0, 0.001, strong=2)) == "high"
    assert calibration.severity(make_score(5.0, 0.001, strong=3)) == "critical"
    assert calibration.severity(make_score(math.inf, None, source="receipt")) == "high"
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
    for each in benign[-50:]:
        before, after = judge(calibration, each), judge(loaded, each)
        assert (before.value, before.p_value) == (after.value, after.p_value)
        assert np.array_equal(before.token_p, after.token_p, equal_nan=True)


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


def test_a_calibration_with_unknown_parts_is_refused(calibration, tmp_path):
    tails = {"novelty": calibration.score.tails["fisher"]}
    newer = dataclasses.replace(calibration, score=dataclasses.replace(calibration.score, tails=tails))
    save_calibration(newer, tmp_path / "a")
    with pytest.raises(ArtifactError, match="novelty"):
        load_calibration(tmp_path / "a")
