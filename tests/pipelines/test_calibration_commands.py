"""Budgets, recalibration, drift and bundles through the command line, on the recorded chain."""

import gzip
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from blockscan.archive import Archive
from blockscan.detect.calibration_file import fingerprint, load_calibration, newest, save_calibration
from blockscan.detect.contracts import standing_alone
from blockscan.detect.drift import drift
from blockscan.detect.levels import alarm_band, fpr_bound
from blockscan.store import open_store
from blockscan.transaction import call_count
from pipelines import verify as verify_step
from pipelines.calibrate import facts
from pipelines.drift import DriftTests, Seen, drift_line
from pipelines.model_dir import ModelDir, renewal
from pipelines.ranges import parse_range
from pipelines.sources import Rejects, open_shards, read_transactions, time_order

SOURCE = "callTracer+logs"
KEY = "calltracer_logs"
"""The same in the names of `--json`."""
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "evm"
WHOLE_BLOCKS = REAL / "blocks_semiotic-ai_flat-files-decoder.jsonl.gz"
Json = dict[str, Any]
UNSURE = "The alarm level is no longer guaranteed"
SUSPECT = "Attacks may be the cause, if they are more than 5 % of the traffic: look at the alerts first; if"
JOINT = {"name": "overdrawn", "value": 900.0, "node": 0, "found": "all"}


def copied(model: Path, to: Path, *, calibrated: bool = True) -> Path:
    shutil.copytree(model, to)
    if not calibrated:
        shutil.rmtree(to / "calibration")
    return to


def answer(result: Any) -> Json:
    assert result.exit_code == 0, result.output
    found: Json = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def early(road: Any, cli: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The road's model calibrated on the first half of its calibration blocks."""
    model = copied(road.model, tmp_path_factory.mktemp("early") / "model", calibrated=False)
    answer(cli("calibrate", road.archive, "--model", model, "--blocks", "90:120", "--fpr", 0.05, "--json"))
    return model


def test_alerts_a_day_become_a_level_and_are_shown(road: Any, cli: Any, tmp_path: Path) -> None:
    model = copied(road.model, tmp_path / "model", calibrated=False)
    given = ["calibrate", road.archive, "--model", model, "--blocks", "90:150", "--json"]
    made = answer(cli(*given, "--alerts-per-day", 5000))
    raws = [raw for raw in Archive(road.archive).raw_blocks() if 90 <= (raw.number or 0) < 150]
    times = [raw.time or 0 for raw in raws]
    seconds = (max(times) - min(times)) / 59 * 60
    per_day = sum(len(raw.tx_hashes) for raw in raws) * 86_400 / seconds
    assert made[f"transactions_a_day_{KEY}"] == pytest.approx(per_day, rel=1e-3)
    assert made["alarm_level"] == pytest.approx(5000 / per_day)
    assert all(re.fullmatch("[a-z][a-z0-9_]+", name) for name in made)
    n = made[f"held_out_{KEY}"]
    bound = fpr_bound(n, made["alarm_level"])
    assert made[f"false_alerts_a_day_95_percent_bound_{KEY}"] == pytest.approx(bound * per_day, rel=0.01)
    assert 0.8 * 5000 < made[f"false_alerts_a_day_expected_{KEY}"] <= 5000
    stored = load_calibration(model / "calibration")
    assert stored.alarm_level == made["alarm_level"] and stored.traffic.blocks == (90, 149)


def test_an_uneven_calibration_says_that_its_level_will_not_hold_from_day_to_day(
    road: Any, cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = copied(road.model, tmp_path / "model", calibrated=False)
    even = cli("calibrate", road.archive, "--model", model, "--blocks", "90:200", "--json")
    told = answer(even)[f"false_alarms_in_fifths_of_it_{KEY}"]
    assert told.endswith("% if alike)") and "uneven" not in even.stderr
    made = load_calibration(model / "calibration")
    n = len(made.values[SOURCE])
    uneven = replace(made, periods={SOURCE: (0, 0, n // 10, 0, 0)})
    assert facts(uneven)[f"false alarms in fifths of it, {SOURCE}"].startswith("0 to 50 % (0 to ")
    line = " ".join(capsys.readouterr().err.split())
    assert f"the calibration of {SOURCE} is uneven: of its fifths in time 0 to 50 % alarm" in line
    assert "at the level of the others, sizes allowed for, 0 to " in line
    facts(replace(uneven, sizes={}))
    assert "at the level of the others, 0 to " in " ".join(capsys.readouterr().err.split())


def test_a_budget_the_data_cannot_support_is_refused(road: Any, cli: Any, tmp_path: Path) -> None:
    model = copied(road.model, tmp_path / "model", calibrated=False)
    given = ["calibrate", road.archive, "--model", model, "--blocks", "90:120"]
    refused = cli(*given, "--alerts-per-day", 1)
    assert (
        refused.exit_code == 1 and "half of the benign transactions are held out, so give" in refused.stderr
    )
    assert "two ways" in cli(*given, "--alerts-per-day", 1, "--fpr", 0.01).stderr
    assert "a share from 0" in cli(*given, "--set", "score.carried=1.0").stderr
    assert "is no share of 1,000 transactions" in cli(
        *given, "--alerts-per-day", 2000, "--transactions-per-day", 1000
    ).stderr  # fmt: skip
    assert not (model / "calibration").exists()


def test_targets_are_refused_before_anything_is_scored(
    road: Any, cli: Any, early: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passed(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the model was asked")

    monkeypatch.setattr("pipelines.calibrate.token_losses", passed)
    bare = copied(road.model, tmp_path / "bare", calibrated=False)
    given = (
        ("calibrate", road.archive, "--model", bare, "--blocks", "90:120"),
        ("recalibrate", road.archive, "--model", early, "--blocks", "120:150"),
    )
    for step in given:
        for target, word in (
            (("--fpr", 0.001), "needs at least 999"),
            (("--alerts-per-day", 1), "are held out, so give"),
        ):
            refused = cli(*step, *target)
            assert refused.exit_code == 1 and word in refused.stderr, refused.output
    overlap = cli("recalibrate", road.archive, "--model", early, "--blocks", "119:150")
    assert "--blocks 120:" in overlap.stderr
    none = cli("recalibrate", road.archive, "--model", early, "--blocks", "9M:")
    assert "no transaction to calibrate on" in none.stderr
    monkeypatch.setattr("pipelines.calibrate.encode_all", passed)
    for step in given:
        for target, word in (
            (("--fpr", 0.01, "--alerts-per-day", 20), "two ways"),
            (("--fpr", 0), "is not a share between 0 and 1"),
            (("--fpr", 1), "is not a share between 0 and 1"),
            (("--fpr", "nan"), "is not a share between 0 and 1"),
            (("--alerts-per-day", 0), "0 alerts a day is no share of traffic"),
            (("--alerts-per-day", "nan"), "nan alerts a day is no share of traffic"),
        ):
            refused = cli(*step, *target)
            assert refused.exit_code == 1 and word in refused.stderr, refused.output
    there = cli("calibrate", road.archive, "--model", early, "--blocks", "90:120")
    assert there.exit_code == 1 and "`blockscan recalibrate`" in there.stderr


def test_recalibration_is_a_new_artifact_that_counts_from_now_on(
    road: Any, cli: Any, early: Path, tmp_path: Path
) -> None:
    model = copied(early, tmp_path / "model")
    before = load_calibration(model / "calibration")
    files = {path: path.read_bytes() for path in (model / "calibration").iterdir()}
    told = answer(cli("recalibrate", road.archive, "--model", model, "--blocks", "120:150", "--json"))
    after = load_calibration(newest(model))
    assert told["calibration"] == "calibration-2" == newest(model).name
    running: Any = SimpleNamespace(calibrated_as=fingerprint(before))
    assert renewal(ModelDir(model), running) == f"{model / 'calibration-2'} is another calibration now"
    running.calibrated_as = fingerprint(after)
    assert renewal(ModelDir(model), running) == ""
    assert "cannot be loaded" in renewal(ModelDir(tmp_path / "gone"), running)
    assert {path: path.read_bytes() for path in (model / "calibration").iterdir()} == files
    assert after.parents["calibration"] == fingerprint(before) and after.alarm_level == before.alarm_level
    assert told[f"threshold_before_{KEY}"] == pytest.approx(before.threshold(SOURCE, 0.05), abs=1e-4)
    assert told[f"threshold_after_{KEY}"] == pytest.approx(after.threshold(SOURCE, 0.05), abs=1e-4)
    above = int(np.sum(after.values[SOURCE] > before.threshold(SOURCE, 0.05)))
    assert told[f"above_the_old_threshold_{KEY}"].startswith(f"{above} of {len(after.values[SOURCE])} ")
    scored = [
        answer(
            cli("score", road.archive, "--model", which, "--blocks", "377:380", "--store", store, "--json")
        )
        and store
        for which, store in ((early, tmp_path / "a.sqlite"), (model, tmp_path / "b.sqlite"))
    ]
    old, new = ({row.tx_hash: row for row in rows(store)} for store in scored)
    assert {each.calibration for each in new.values()} == {fingerprint(after)}
    assert {each.calibration for each in old.values()} == {fingerprint(before)}
    assert [calibrated_until(store) for store in scored] == [119, 149]
    for tx_hash, row in new.items():  # the same scale: the same values to the bit
        assert row.value == old[tx_hash].value
        assert row.p_value == after.p_value(row.value, SOURCE, None, row.mix)
    in_order = sorted(new.values(), key=lambda row: (row.block_number, row.tx_index))
    assert [sum(row.mix) for row in in_order] == list(range(1, len(new) + 1))
    for part in ("377:379", "379:380"):
        cli("score", road.archive, "--model", model, "--blocks", part, "--store", tmp_path / "c.sqlite")
    assert {row.tx_hash: row.mix for row in rows(tmp_path / "c.sqlite")} == {
        tx_hash: row.mix for tx_hash, row in new.items()
    }


def test_a_calibration_is_replaced_by_a_complete_one_and_kept(
    road: Any, cli: Any, early: Path, tmp_path: Path
) -> None:
    model = copied(early, tmp_path / "model")
    files = {path: path.read_bytes() for path in (model / "calibration").iterdir()}
    given = ["calibrate", road.archive, "--model", model, "--blocks", "90:120", "--fpr", 0.05, "--json"]
    assert "calibrate again with --replace (this one is kept)" in cli(*given).stderr
    failed = cli(*given, "--replace", "--set", "score.carried=1.0")
    assert failed.exit_code == 1 and newest(model).name == "calibration"
    answer(cli(*given, "--replace", "--set", "score.carried=0"))
    assert newest(model).name == "calibration-2"
    made = load_calibration(newest(model))
    assert made.scoring["carried"] == 0 and "calibration" not in made.parents
    assert {path: path.read_bytes() for path in (model / "calibration").iterdir()} == files
    store = tmp_path / "s.sqlite"
    answer(cli("score", road.archive, "--model", model, "--blocks", "377:380", "--store", store, "--json"))
    assert {row.calibration for row in rows(store)} == {fingerprint(made)}
    shutil.rmtree(model / "calibration")
    refused = cli(*given)
    assert refused.exit_code == 1 and "calibration-2 is not empty" in refused.stderr, "it would still count"


def test_recalibration_needs_later_and_enough_blocks(
    road: Any, cli: Any, early: Path, tmp_path: Path
) -> None:
    model = copied(early, tmp_path / "model")
    overlap = cli("recalibrate", road.archive, "--model", model, "--blocks", "119:150")
    assert overlap.exit_code == 1 and "--blocks 120:" in overlap.stderr
    few = cli("recalibrate", road.archive, "--model", model, "--blocks", "120:122", "--fpr", 0.001)
    assert few.exit_code == 1 and "needs at least 999" in few.stderr and "so give 999" in few.stderr
    assert newest(model).name == "calibration"


@pytest.fixture(scope="module")
def benign(node: str, cli: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More benign blocks than the road has left."""
    path: Path = tmp_path_factory.mktemp("benign") / "archive"
    answer(cli("ingest", "ethereum", "--rpc", node, "--blocks", "90:260", "--out", path, "--json"))
    return path


@pytest.fixture(scope="module")
def settled(road: Any, benign: Path, cli: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The road's model with calibration values enough (779) to tell a drift from chance.

    Of 206, a factor of 0.6 was called or not as they fell: below the cut a rank test of all later values at
    once gave p = 0.0004, which is worth a capital of 120 at the very best.
    """
    model = copied(road.model, tmp_path_factory.mktemp("settled") / "model", calibrated=False)
    answer(cli("calibrate", benign, "--model", model, "--blocks", "90:200", "--fpr", 0.05, "--json"))
    return model


def rows(store: Path) -> list[Any]:
    with open_store(store, read_only=True) as results:
        return list(results.iter_scores())


def calibrated_until(store: Path) -> int | None:
    with open_store(store, read_only=True) as results:
        return results.runs()[0].calibrated_until


@pytest.mark.parametrize(("factor", "status", "word"), [(1.0, 0, "no drift"), (0.7, 4, "are higher than")])
def test_drift_says_whether_and_what_to_do(
    cli: Any, benign: Path, settled: Path, tmp_path: Path, factor: float, status: int, word: str
) -> None:
    """Later benign blocks, under the calibration as it is and under one of calmer times."""
    model = copied(settled, tmp_path / "model")
    made = load_calibration(model / "calibration")
    shutil.rmtree(model / "calibration")
    calmer = {source: factor * values for source, values in made.values.items()}
    save_calibration(replace(made, values=calmer), model / "calibration")
    store = tmp_path / "s.sqlite"
    scored = cli("score", benign, "--model", model, "--blocks", "200:260", "--store", store, "--json")
    answer(scored)
    assert ("blockscan recalibrate" in scored.stderr.replace("\n", " ")) == bool(status)
    result = cli("drift", "--store", store, "--model", model, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == status and word in result.stderr
    assert all(re.fullmatch("[a-z][a-z0-9_]+", name) for name in told)
    assert ("blockscan recalibrate" in result.stderr) == bool(status)
    assert told[f"transactions_{KEY}"] == len(rows(store))
    assert told[f"drift_{KEY}"] == ("yes" if status else "no")
    assert {"kolmogorov_smirnov_p_" + KEY, "in_the_upper_5_percent_" + KEY} <= told.keys()
    table = cli("drift", "--store", store, "--model", model).stdout
    assert f"Kolmogorov-Smirnov p, {SOURCE}" in table and f"in the upper 5 %, {SOURCE}" in table
    assert ("not called" in table) == (not status) and "None" not in table
    other = cli("drift", "--store", store, "--model", settled)
    assert (other.exit_code, "has no score of the calibration" in other.stderr) == (
        (0, False) if factor == 1.0 else (1, True)
    )


def test_more_alarms_than_benign_traffic_gives_are_said_though_nothing_drifts(settled: Path) -> None:
    made = load_calibration(settled / "calibration")
    quiet = replace(drift([], made.values[SOURCE], rng=np.random.default_rng(0)), seen=1000)
    as_expected, many = (drift_line(SOURCE, Seen(SOURCE, quiet, alarms, 0), made) for alarms in (1, 900))
    assert "no drift" in many and "900 alarms where benign traffic alone gives" in many
    assert as_expected.endswith("no drift in 1,000 transactions; the alarm level stands")


def test_a_calibration_too_small_to_show_drift_scores_all_the_same(
    road: Any, cli: Any, tmp_path: Path
) -> None:
    """100 held-out transactions support 1 %, but of 95 below the cut no drift could be told from chance."""
    model = copied(road.model, tmp_path / "model")
    made = load_calibration(model / "calibration")
    shutil.rmtree(model / "calibration")
    few = {source: values[:100] for source in (SOURCE, "never seen") for values in made.values.values()}
    sizes = {source: made.sizes[SOURCE][:100] for source in few}
    save_calibration(replace(made, values=few, sizes=sizes, alarm_level=0.01), model / "calibration")
    store = tmp_path / "s.sqlite"
    given = ("--model", model, "--store", store)
    scored = cli("score", road.archive, *given, "--blocks", "377:400", "--parquet", tmp_path / "p", "--json")
    assert answer(scored)["scored"] == len(rows(store)) and list((tmp_path / "p").glob("*.parquet"))
    assert "drift cannot be seen" in scored.stderr and calibrated_until(store) is not None
    assert "never seen" not in scored.stderr
    told = cli("drift", "--store", store, "--model", model, "--json")
    assert (told.exit_code, answer(told)) == (0, {}) and "drift cannot be seen" in told.stderr


def test_a_source_that_was_not_calibrated_is_said_to_be_untested(settled: Path, road: Any) -> None:
    made = load_calibration(settled / "calibration")
    elsewhere = replace(made, values={"other": made.values[SOURCE]})
    tests = DriftTests(elsewhere, np.random.default_rng(0))
    assert tests.untested() == []
    tests.add(replace(rows(road.store)[0], calibration=fingerprint(elsewhere)))
    assert tests.untested() == [f"{SOURCE}: drift cannot be seen: too few of it were calibrated"]
    assert tests.found() == {}


def test_calibration_on_training_blocks_is_refused(road: Any, cli: Any, tmp_path: Path) -> None:
    model = copied(road.model, tmp_path / "model", calibrated=False)
    given = ("calibrate", road.archive, "--model", model, "--fpr", 0.05)
    for blocks in ("60:150", "89:150"):
        result = cli(*given, "--blocks", blocks)
        assert result.exit_code == 1 and "is not later than block 89" in result.stderr
        assert "--blocks 90:" in result.stderr and not (model / "calibration").exists()
    assert cli(*given, "--blocks", "90:150").exit_code == 0


def test_a_drift_by_a_change_of_mix_is_said_to_be_one(
    cli: Any, benign: Path, settled: Path, tmp_path: Path
) -> None:
    made, store = load_calibration(settled / "calibration"), tmp_path / "s.sqlite"
    calmer = replace(made, values={source: 0.7 * values for source, values in made.values.items()})
    answer(cli("score", benign, "--model", settled, "--blocks", "200:260", "--store", store, "--json"))
    scores = [replace(each, calibration=fingerprint(calmer)) for each in rows(store)]
    lines = {}
    for name, calls in (("as it was", None), ("larger", 9)):
        tests = DriftTests(calmer, np.random.default_rng(0))
        for each in scores:
            tests.add(each if calls is None else replace(each, calls=calls))
        seen = tests.found()[SOURCE]
        assert seen.drift.drifted and seen.several == sum(calls is not None or x.calls > 1 for x in scores)
        lines[name] = drift_line(SOURCE, seen, calmer)
    renewed = replace(calmer, parents={**calmer.parents, "calibration": "a"})
    assert "two calls" not in drift_line(SOURCE, seen, renewed)  # its sizes are of the one before
    assert "two calls" not in lines["as it was"]
    said = "transactions; 100% of them have two calls or more, of the calibration's first half "
    assert said in lines["larger"]
    shards = open_shards(benign, Rejects(), parse_range("90:200"))
    past = sorted(read_transactions(shards), key=time_order)
    first = [call_count(each.root) > 1 for each in past[: len(past) // 2]]
    before = float(lines["larger"].partition(said)[2].partition("%")[0])
    assert before == pytest.approx(100 * sum(first) / len(first), abs=0.6)


def test_chains_are_tested_apart_in_whatever_order_they_come(road: Any) -> None:
    rng = np.random.default_rng(0)
    made = replace(load_calibration(newest(road.model)), values={SOURCE: np.arange(999.0) // 10})
    one = replace(rows(road.store)[0], calibration=fingerprint(made))
    streams = {
        chain: [replace(one, chain=chain, value=float(value)) for value in rng.integers(0, most, 400)]
        for chain, most in (("a", 100), ("b", 60))
    }
    by_chain = [*streams["a"], *streams["b"]]
    by_block = [each for pair in zip(*streams.values(), strict=True) for each in pair]
    told = []
    for scores in (by_chain, by_block, streams["a"], streams["b"]):
        tests = DriftTests(made, np.random.default_rng(0))
        for each in scores:
            tests.add(each)
        told.append(tests.found())
    assert told[0] == told[1] == {f"a, {SOURCE}": told[2][SOURCE], f"b, {SOURCE}": told[3][SOURCE]}
    assert [each.drift.drifted for each in told[0].values()] == [False, True]
    assert drift_line(f"b, {SOURCE}", told[0][f"b, {SOURCE}"], made).startswith(f"b, {SOURCE}: drift: ")


@pytest.mark.parametrize(
    ("shift", "attacks", "how", "so"),
    [
        (-0.5, 0, "lower", f"{UNSURE}, and fewer alarms than asked for are to be expected; renew it"),
        (
            0.2,
            0,
            "higher",
            f"{UNSURE}, or attacks are more than 5 % of the traffic: look at the alerts; renew",
        ),
        (0.5, 0, "higher", SUSPECT),
        (0.0, 100, "differently spread", SUSPECT),
        (-0.5, 100, "lower", SUSPECT),
    ],
)
def test_a_drift_says_what_it_means_for_alarms(
    road: Any, shift: float, attacks: int, how: str, so: str
) -> None:
    """Values of a known shape: what was calibrated on, moved, and mixed with what nothing benign reaches."""
    rng = np.random.default_rng(0)
    made = load_calibration(newest(road.model))
    made = replace(made, values={SOURCE: np.sort(rng.normal(5.0, 1.0, 999))}, alarm_level=0.01)
    values = rng.permutation([*rng.normal(5.0 + shift, 1.0, 600), *[99.0] * attacks])
    one = replace(rows(road.store)[0], calibration=fingerprint(made))
    tests = DriftTests(made, np.random.default_rng(0))
    for value in values:
        tests.add(replace(one, value=float(value), p_value=made.p_value(value, SOURCE)))
    seen = tests.found()[SOURCE]
    line = drift_line(SOURCE, seen, made)
    low, high = alarm_band(999, 0.01, len(values))
    assert f"drift: values are {how} than at calibration" in line and "benign values" not in line
    counted = f"with {seen.alarms} alarms where benign traffic alone gives {low} to {high}. "
    assert f"{counted}{so}" in line and line.count("no longer guaranteed") == 1
    assert "; renew it: `blockscan recalibrate" in line


def test_later_benign_alarms_stay_in_their_band(road: Any, cli: Any, early: Path, tmp_path: Path) -> None:
    """Later benign transactions of the recorded chain. The 99 % band: one draw of chain and model."""
    store = tmp_path / "s.sqlite"
    answer(cli("score", road.archive, "--model", early, "--blocks", "120:150", "--store", store, "--json"))
    p_values = np.array([each.p_value for each in rows(store)])
    n = len(load_calibration(early / "calibration").values[SOURCE])
    for level in (0.05, 0.1, 0.3):
        low, high = alarm_band(n, level, len(p_values), confidence=0.99)
        assert low <= np.sum(p_values <= level) <= high, (level, n, len(p_values), low, high)


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE_BLOCKS.is_file(), reason="the real transactions are not here")
def test_later_real_blocks_alarm_within_their_band(cli: Any, tmp_path: Path) -> None:
    """4,393 mainnet transactions, July 2023: about half train, a quarter calibrate, a quarter are later."""
    archive, model, store = tmp_path / "archive", tmp_path / "model", tmp_path / "s.sqlite"
    train, later, test = ":17686121", "17686121:17686128", "17686128:"
    tiny = ["--preset", "debug", "--json"]
    answer(cli("ingest", "ethereum", "--from", WHOLE_BLOCKS, "--out", archive, "--json"))
    answer(cli("tokenizer", "fit", archive, "--model", model, "--blocks", train, *tiny))
    steps = ["--set", "train.steps=30", "--set", "train.batch_tokens=2048"]
    answer(cli("pretrain", archive, "--model", model, "--blocks", train, *steps, *tiny))
    made = answer(cli("calibrate", archive, "--model", model, "--blocks", later, "--fpr", 0.02, *tiny))
    answer(cli("score", archive, "--model", model, "--blocks", test, "--store", store, "--json"))
    p_values = np.array([each.p_value for each in rows(store) if each.source == SOURCE])
    n = made[f"held_out_{KEY}"]
    assert n > 500 and len(p_values) > 500
    for level in (0.02, 0.05, 0.2):
        low, high = alarm_band(n, level, len(p_values), confidence=0.99)
        assert low <= np.sum(p_values <= level) <= high, (level, n, len(p_values), low, high)


@pytest.fixture(scope="module")
def alert(road: Any) -> Any:
    return max(rows(road.store), key=lambda row: (row.value, row.tx_hash))


@pytest.fixture(scope="module")
def bundle(road: Any, cli: Any, alert: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "alert.json.gz"
    told = answer(make(road, cli, alert.tx_hash, out))
    assert told["value_in_its_batch"] == alert.value and told["bytes"] == out.stat().st_size
    return out


def make(road: Any, cli: Any, tx_hash: str, out: Path, *, model: Path | None = None) -> Any:
    where = ["--store", road.store, "--archive", road.archive, "--model", model or road.model]
    return cli("bundle", tx_hash, *where, "--out", out, "--json")


def verified(cli: Any, path: Path, model: Path) -> tuple[int, dict[str, bool], Json]:
    result = cli("verify", path, "--model", model, "--json")
    told = json.loads(result.stdout)
    assert told["verified"] == (result.exit_code == 0)
    return result.exit_code, {each["name"]: each["agrees"] for each in told["checks"]}, told


def edited(path: Path, change: Callable[[Json], None]) -> Path:
    content = json.loads(gzip.decompress(path.read_bytes()))
    change(content)
    out = path.with_name("edited.json.gz")
    out.write_bytes(gzip.compress(json.dumps(content).encode()))
    return out


def test_a_bundle_verifies_to_the_bit(road: Any, cli: Any, bundle: Path) -> None:
    status, checks, told = verified(cli, bundle, road.model)
    assert status == 0 and len(checks) == 11
    value = next(each for each in told["checks"] if each["name"] == "value")
    assert value["found"] == "identical, on the same software and hardware"
    text = cli("verify", bundle, "--model", road.model)
    assert text.exit_code == 0 and "Verified" in text.stdout


def test_of_a_store_that_a_reorganisation_emptied_it_is_said(road: Any, cli: Any, tmp_path: Path) -> None:
    store, labels = tmp_path / "s.sqlite", tmp_path / "labels.csv"
    shutil.copy(road.store, store)
    labels.write_text("0x1,attack\n")
    with closing(sqlite3.connect(store)) as db, db:
        db.execute("UPDATE scores SET orphaned = 1")
    for command in (("drift", "--model", road.model), ("evaluate", "--labels", labels)):
        refused = cli(*command, "--store", store)
        said = f"all {len(rows(road.store)):,} scored transactions left the chain in reorganisations"
        assert refused.exit_code == 1 and said in " ".join(refused.stderr.split())


def test_a_value_from_a_batch_is_within_the_tolerance_of_the_same_alone(
    road: Any, cli: Any, tmp_path: Path
) -> None:
    scored = rows(road.store)
    carried = [row for row in scored if row.carried > 0.1]
    assert carried, "what other transactions gave is in the bundle"
    joint = [row for row in scored if row.joint]
    assert joint, "and what they show together"
    for number, row in enumerate([*scored[::80], *carried[::40], *joint[::40]]):
        told = answer(make(road, cli, row.tx_hash, tmp_path / str(number)))
        assert abs(told["value"] - told["value_in_its_batch"]) <= 1e-3


def test_the_beginning_of_a_hash_is_enough_for_a_bundle(
    road: Any, cli: Any, alert: Any, bundle: Path, tmp_path: Path
) -> None:
    answer(make(road, cli, f"0x{alert.tx_hash[2:10].upper()}", tmp_path / "same.json.gz"))
    assert (tmp_path / "same.json.gz").read_bytes() == bundle.read_bytes()
    refused = make(road, cli, alert.tx_hash[:6], tmp_path / "x")
    assert refused.exit_code == 1 and "give at least 8 of its digits" in refused.stderr


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda c: c["transaction"].update(time=1), {"bundle", "transaction", "value"}),
        (lambda c: c["transaction"]["bodies"].update(block="{}"), {"bundle", "transaction", "value"}),
        (lambda c: c["hashes"].update(calibration="0" * 64), {"bundle", "calibration", "value"}),
        (lambda c: c["hashes"].update(tokenizer="0" * 64), {"bundle", "tokenizer", "value"}),
        (lambda c: c["hashes"].update(scoring="0" * 64), {"bundle", "scoring"}),
        (lambda c: c["alone"].update(value="1.25"), {"bundle", "value"}),
        (lambda c: c["alone"].update(p_value=0.5), {"bundle", "p-value"}),
        (lambda c: c["alone"].update(evidence=[]), {"bundle", "evidence"}),
        (lambda c: c["stored"].update(value="0.0"), {"bundle", "stored value"}),
        (lambda c: c.update(reason="harmless"), {"bundle"}),
        (lambda c: c.update(carried="900.0"), {"bundle", "value", "stored value"}),
        (lambda c: c.update(joint=[JOINT]), {"bundle", "value", "evidence", "stored value"}),
    ],
)
def test_verify_names_what_was_tampered_with(
    road: Any, cli: Any, bundle: Path, change: Callable[[Json], None], differs: set[str]
) -> None:
    status, checks, _ = verified(cli, edited(bundle, change), road.model)
    assert status == 1
    assert {name for name, agrees in checks.items() if not agrees} == differs


def test_a_bundle_that_speaks_of_calls_that_are_not_there_is_one_line(
    road: Any, cli: Any, alert: Any, bundle: Path
) -> None:
    for node in (alert.calls, 10**6):
        changed = edited(bundle, lambda c, node=node: c.update(joint=[JOINT | {"node": node}]))
        told = cli("verify", changed, "--model", road.model)
        assert told.exit_code == 1 and "speaks of calls that 0x" in told.stderr


def test_calibration_judges_as_scoring_does(road: Any, cli: Any, early: Path, tmp_path: Path) -> None:
    """What accounts did before counts in both: thresholds would be of other values otherwise."""
    model = copied(early, tmp_path / "model")
    blocks = ("--blocks", "377:399", "--json")
    store = tmp_path / "s.sqlite"
    answer(cli("score", road.archive, "--model", model, "--store", store, *blocks))
    answer(cli("recalibrate", road.archive, "--model", model, "--fpr", 0.05, *blocks))
    scored = rows(store)
    held_out = load_calibration(newest(model)).values[SOURCE]
    assert np.sort([row.value for row in scored]) == pytest.approx(held_out, abs=1e-3)
    assert any(each.value > 0 for row in scored for each in row.joint)


def test_verify_names_what_of_the_model_differs(road: Any, cli: Any, bundle: Path, tmp_path: Path) -> None:
    other = copied(road.model, tmp_path / "other", calibrated=False)
    given = ["--blocks", "90:120", "--preset", "debug", "--json"]
    answer(cli("calibrate", road.archive, "--model", other, *given))
    status, checks, told = verified(cli, bundle, other)
    assert status == 1 and {name for name, agrees in checks.items() if not agrees} == {"calibration", "value"}
    assert "not scored again" in told["checks"][-1]["found"]
    shutil.rmtree(other / "tokenizer")
    answer(cli("tokenizer", "fit", road.archive, "--model", other, *given))
    _, checks, _ = verified(cli, bundle, other)
    assert {name for name, agrees in checks.items() if not agrees} == {"tokenizer", "calibration", "value"}
    refused = make(road, cli, rows(road.store)[0].tx_hash, tmp_path / "x", model=other)
    assert refused.exit_code == 1 and len(refused.stderr.splitlines()) == 1


def test_a_bundle_outlives_a_recalibration(road: Any, cli: Any, bundle: Path, tmp_path: Path) -> None:
    model = copied(road.model, tmp_path / "model")
    calibration = load_calibration(model / "calibration")
    save_calibration(replace(calibration, alarm_level=0.2), model / "calibration-2")
    status, _, _ = verified(cli, bundle, model)
    assert status == 0


@pytest.mark.parametrize(("shift", "here", "elsewhere"), [(0.0, 0, 0), (5e-4, 1, 0), (2e-3, 1, 1)])
def test_elsewhere_the_value_may_differ_within_the_tolerance(
    road: Any,
    cli: Any,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    shift: float,
    here: int,
    elsewhere: int,
) -> None:
    again = verify_step.judge_alone

    def shifted(*arguments: Any, **options: Any) -> Any:
        each = again(*arguments, **options)
        return replace(each, score=replace(each.score, value=each.score.value + shift))

    monkeypatch.setattr(verify_step, "judge_alone", shifted)
    assert verified(cli, bundle, road.model)[0] == here
    monkeypatch.setattr(verify_step, "made_with", lambda device: {"torch": "another"})
    status, _, told = verified(cli, bundle, road.model)
    assert status == elsewhere
    assert "on other software or hardware" in next(x["found"] for x in told["checks"] if x["name"] == "value")


def test_elsewhere_the_p_value_is_that_of_the_mix_of_then(
    road: Any, cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = load_calibration(newest(road.model))
    ordinary = [
        x for x in rows(road.store) if abs((made.p_value(x.value, SOURCE) or 1) - (x.p_value or 1)) > 0.02
    ]
    of_then, known = ordinary[0], ("--archive", road.archive, "--model", road.model, "--store", road.store)
    told = answer(make(road, cli, of_then.tx_hash, tmp_path / "b"))
    explained = answer(cli("explain", of_then.tx_hash, *known, "--json"))["score"]
    assert told["p_value"] == explained["p_value"] == pytest.approx(of_then.p_value, abs=0.005)
    assert verified(cli, tmp_path / "b", road.model)[0] == 0
    monkeypatch.setattr(verify_step, "made_with", lambda device: {"torch": "another"})
    assert verified(cli, tmp_path / "b", road.model)[0] == 0


def test_what_cannot_be_bundled_is_one_line(road: Any, cli: Any, alert: Any, tmp_path: Path) -> None:
    unknown = make(road, cli, "0x" + "0" * 64, tmp_path / "x")
    assert unknown.exit_code == 1 and "no score of 0x000" in unknown.stderr
    (tmp_path / "there").write_text("")
    assert "is there already" in make(road, cli, alert.tx_hash, tmp_path / "there").stderr
    (tmp_path / "bad").write_bytes(gzip.compress(b"[" * 3000))
    bad = cli("verify", tmp_path / "bad", "--model", road.model)
    assert bad.exit_code == 1 and len(bad.stderr.splitlines()) == 1


def test_a_store_that_says_something_else_than_the_model_is_not_bundled(
    road: Any, cli: Any, alert: Any, tmp_path: Path
) -> None:
    with open_store(tmp_path / "s.sqlite") as store:
        store.write([(replace(alert, value=alert.value + 0.5), None, None)])
    where = ["--store", tmp_path / "s.sqlite", "--archive", road.archive, "--model", road.model]
    refused = cli("bundle", alert.tx_hash, *where, "--out", tmp_path / "x")
    assert refused.exit_code == 1 and "was changed" in refused.stderr.replace("\n", " ")
    assert not (tmp_path / "x").exists()


def test_p_values_within_contracts_through_the_road(road: Any, cli: Any, tmp_path: Path) -> None:
    model = copied(road.model, tmp_path / "model", calibrated=False)
    given = ["--blocks", "90:150", "--fpr", 0.05, "--per-contract", "--preset", "debug", "--json"]
    told = answer(cli("calibrate", road.archive, "--model", model, *given))
    answer(
        cli(
            "score",
            road.archive,
            "--model",
            model,
            "--blocks",
            "377:380",
            "--store",
            tmp_path / "s",
            "--json",
        )
    )
    calibration = load_calibration(model / "calibration")
    scored = rows(tmp_path / "s")
    for row in scored:
        assert row.p_value == calibration.p_value(row.value, SOURCE, row.target or "")
    alone = standing_alone(calibration.contracts[SOURCE], 19)
    assert told["contracts_compared_by_themselves_calltracer_logs"] == len(alone) > 0
    assert told["held_out_that_such_a_contract_needs_calltracer_logs"] == 19
    held = sum(len(calibration.contracts[SOURCE][name]) for name in alone)
    assert told["held_out_at_them_calltracer_logs"] == held < told["held_out_calltracer_logs"]
    everywhere = replace(calibration, contracts=None)
    assert any(row.p_value != everywhere.p_value(row.value, SOURCE) for row in scored)
