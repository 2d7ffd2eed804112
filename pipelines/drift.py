"""Does the traffic of a set of scores still look like the calibration, and what to do if not, in words."""

from collections import Counter

import numpy as np

from blockscan.detect.calibrate import Calibration
from blockscan.detect.calibration_file import fingerprint
from blockscan.detect.drift import Drift, DriftTest
from blockscan.detect.levels import alarm_band
from blockscan.findings import TxScore
from pipelines.calibrate import Facts

RENEW = "renew it: `blockscan recalibrate ARCHIVE --model DIR --blocks ...` on recent benign blocks"


class DriftTests:
    """Evidence of drift and number of alarms by trace source; `add` takes scores in time order.

    Only those of this calibration count. Sources without enough calibration values to be tested are left out.
    """

    def __init__(self, calibration: Calibration, rng: np.random.Generator) -> None:
        """`rng` breaks ties, see blockscan.detect.drift.drift."""
        self._calibration = calibration
        self._rng = rng
        self._name = fingerprint(calibration)
        self._supported = set(calibration.values) - set(calibration.unsupported_sources())
        self._tests: dict[str, DriftTest] = {}
        self._alarms: Counter[str] = Counter()

    def add(self, score: TxScore) -> None:
        """Take the next score."""
        source = score.source
        if score.calibration != self._name or source not in self._supported:
            return
        if source not in self._tests:
            self._tests[source] = DriftTest(self._calibration.values[source], self._rng)
        self._tests[source].add(score.value)
        self._alarms[source] += self._calibration.alarms(score)

    def found(self) -> dict[str, tuple[Drift, int]]:
        """What has been found so far."""
        return {
            source: (test.evidence(), self._alarms[source]) for source, test in sorted(self._tests.items())
        }


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


def drift_facts(source: str, evidence: Drift, alarms: int, calibration: Calibration) -> Facts:
    """The same in numbers."""
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


def _alarm_band(source: str, evidence: Drift, calibration: Calibration) -> tuple[int, int]:
    """Where the number of false alarms lies with 95 %; of p-values within contracts about so."""
    return alarm_band(len(calibration.values[source]), calibration.alarm_level, evidence.seen)
