"""What stands between the command line and the drift test and bundles: paths in, facts out."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.table import Table

from blockscan.archive import Archive
from blockscan.detect.calibrate import Calibration
from blockscan.detect.calibration_file import fingerprint, load_calibration, newest
from blockscan.detect.drift import Drift, DriftTest
from blockscan.detect.levels import alarm_band
from blockscan.errors import StoreError
from blockscan.store import ScoreStore, open_store
from pipelines.bundle import read_bundle, write_bundle
from pipelines.calibrate import Facts
from pipelines.model_dir import ModelDir
from pipelines.render import plain, print_json, to_stdout
from pipelines.verify import make_bundle, verify_bundle

RENEW = "renew it: `blockscan recalibrate ARCHIVE --model DIR --blocks ...` on recent benign blocks"


def drift(store: Path, model: Path, *, seed: int) -> tuple[Facts, str, bool]:
    """`blockscan drift`: the facts, a sentence that says what to do, and whether the traffic has drifted.

    Raises:
        StoreError: the store has no score of the model's calibration.
    """
    calibration = load_calibration(newest(ModelDir(model).path))
    with open_store(store, read_only=True) as results:
        found = drift_of(results, calibration, rng=np.random.default_rng(seed))
    if not found:
        raise StoreError(
            f"{store} has no score of the calibration {newest(ModelDir(model).path)}; give the model that "
            "scored it, or score something first"
        )
    facts: Facts = {}
    for source, (evidence, alarms) in found.items():
        facts |= _drift_facts(source, evidence, alarms, calibration)
    advice = [drift_line(source, *each, calibration) for source, each in found.items()]
    return facts, "\n".join(advice), any(evidence.drifted for evidence, _ in found.values())


def drift_of(
    results: ScoreStore, calibration: Calibration, *, rng: np.random.Generator
) -> dict[str, tuple[Drift, int]]:
    """Evidence of drift and number of alarms, by trace source, over a store's scores of a calibration.

    Sources without enough calibration values to be tested are left out.
    """
    name, supported = (
        fingerprint(calibration),
        set(calibration.values) - set(calibration.unsupported_sources()),
    )
    tests: dict[str, DriftTest] = {}
    alarms: dict[str, int] = {}
    for score in results.iter_scores():
        if score.calibration == name and score.source in supported:
            if score.source not in tests:
                tests[score.source] = DriftTest(calibration.values[score.source], rng)
            tests[score.source].add(score.value)
            alarms[score.source] = alarms.get(score.source, 0) + calibration.alarms(score)
    return {source: (test.evidence(), alarms[source]) for source, test in sorted(tests.items())}


def drift_line(source: str, evidence: Drift, alarms: int, calibration: Calibration) -> str:
    """One sentence for a person: has the traffic of a source drifted, and what to do about it."""
    if evidence.drifted:
        off = (evidence.mean_place - 0.5) * (12 * evidence.body) ** 0.5
        how = "differently spread" if abs(off) < 2 else "higher" if off < 0 else "lower"
        return (
            f"{source}: drift: benign values are {how} than at calibration (evidence 10^{evidence.peak:.1f}, "
            f"called after {(evidence.crossed or 0) + 1:,} of {evidence.seen:,} transactions), so the alarm "
            f"level does not hold; {RENEW}"
        )
    low, high = _alarm_band(source, evidence, calibration)
    if alarms > high:
        return (
            f"{source}: no drift in ordinary transactions, but {alarms:,} alarms where benign traffic alone "
            f"gives {low:,} to {high:,}: look at the alerts; if they are benign, {RENEW}"
        )
    return f"{source}: no drift in {evidence.seen:,} transactions; the alarm level stands"


def bundle(tx_hash: str, store: Path, archive: Path, model: Path, out: Path, *, device: str) -> Facts:
    """`blockscan bundle`."""
    with open_store(store, read_only=True) as results:
        made = make_bundle(tx_hash, results, Archive(archive), ModelDir(model), device=device)
    write_bundle(made, out)
    return {
        "transaction": made.tx_hash,
        "value": made.alone.value,
        "value in its batch": made.stored.value,
        "p-value": made.alone.p_value,
        "file": str(out),
        "bytes": out.stat().st_size,
    }


def verify(path: Path, model: Path, *, device: str, as_json: bool) -> bool:
    """`blockscan verify`: print every check; whether all of them agree."""
    checks = verify_bundle(read_bundle(path), ModelDir(model), device=device)
    good = all(check.agrees for check in checks)
    if as_json:
        print_json({"verified": good, "checks": [asdict(check) for check in checks]})
        return good
    table = Table(title="Verified" if good else "NOT verified", title_justify="left")
    for heading in ("", "", "found"):
        table.add_column(heading)
    for check in checks:
        table.add_row(check.name, "agrees" if check.agrees else "DIFFERS", plain(check.found))
    to_stdout(table)
    return good


def _alarm_band(source: str, evidence: Drift, calibration: Calibration) -> tuple[int, int]:
    """Where the number of false alarms lies with 95 %; of p-values within contracts about so."""
    return alarm_band(len(calibration.values[source]), calibration.alarm_level, evidence.seen)


def _drift_facts(source: str, evidence: Drift, alarms: int, calibration: Calibration) -> Facts:
    low, high = _alarm_band(source, evidence, calibration)
    facts: Facts = {
        "transactions": evidence.seen,
        "drift": "yes" if evidence.drifted else "no",
        "evidence, log10": round(evidence.capital, 2),
        "evidence, highest, log10": round(evidence.peak, 2),
        "drift called at transaction": None if evidence.crossed is None else evidence.crossed + 1,
        "mean place, 0.5 expected": round(evidence.mean_place, 4),
        "Kolmogorov-Smirnov p": float(f"{evidence.ks_p:.3g}"),
        "in the upper 5 %": evidence.tail,
        "in the upper 5 %, expected with 95 %": f"{evidence.tail_band[0]:,} to {evidence.tail_band[1]:,}",
        "alarms": alarms,
        "alarms, expected with 95 %": f"{low:,} to {high:,}",
    }
    return {f"{name}, {source}": value for name, value in facts.items()}
