"""Does the traffic of a set of scores still look like the calibration, and what to do if not, in words."""

import math
from collections import Counter
from copy import deepcopy
from typing import NamedTuple

import numpy as np

from blockscan.detect.calibrate import Calibration
from blockscan.detect.calibration_file import fingerprint
from blockscan.detect.drift import MOST_ATTACKS, Drift, DriftTest
from blockscan.detect.levels import alarm_band
from blockscan.errors import ConfigError
from blockscan.findings import TxScore
from blockscan.safetext import safe_text
from pipelines.calibrate import Facts

MIX_SCATTER = 4
"""Standard errors by which the mix of sizes differs before a drift is put down to it."""
RENEW = "renew it: `blockscan recalibrate ARCHIVE --model DIR --blocks ...` on recent benign blocks"


_Stream = tuple[str, str]
"""A chain and a trace source."""


class Seen(NamedTuple):
    """Of the scores of a chain's trace source: evidence of drift, alarms, and how many have several calls."""

    source: str
    drift: Drift
    alarms: int
    several: int


class DriftTests:
    """Looks for drift, by chain and trace source; `add` takes those of a chain in time order.

    Blocks of several chains have no order, so that a test over all of them would depend on how they are
    read. Only scores of this calibration count, and only sources of which enough was calibrated to raise
    alarms.
    """

    def __init__(self, calibration: Calibration, rng: np.random.Generator) -> None:
        """`rng` breaks ties, see blockscan.detect.drift.drift."""
        self._calibration = calibration
        self._name = fingerprint(calibration)
        self._rng = rng
        self._tested = set(calibration.values) - set(calibration.unsupported_sources())
        self._tests: dict[_Stream, DriftTest] = {}
        self._too_few: dict[str, str] = {}
        self._alarms: Counter[_Stream] = Counter()
        self._several: Counter[_Stream] = Counter()

    def add(self, score: TxScore) -> None:
        """Take the next score."""
        stream = score.chain, score.source
        if score.calibration != self._name:
            return
        test = self._test(stream)
        if test is not None:
            test.add(score.value)
            self._alarms[stream] += self._calibration.alarms(score)
            self._several[stream] += score.calls > 1

    def _test(self, stream: _Stream) -> DriftTest | None:
        """The test of a chain's source, begun with its first score; None where too little was calibrated."""
        source = stream[1]
        if source not in self._tested:
            self._too_few[source] = f"{source}: drift cannot be seen: too few of it were calibrated"
        elif stream not in self._tests and source not in self._too_few:
            try:  # each breaks ties by draws of its own, whatever comes in between
                self._tests[stream] = DriftTest(self._calibration.values[source], deepcopy(self._rng))
            except ConfigError as error:
                self._too_few[source] = f"{source}: drift cannot be seen: {error}"
        return self._tests.get(stream)

    def found(self) -> dict[str, Seen]:
        """What has been found so far, by source, or by chain and source if there are several chains."""
        several = len({chain for chain, _ in self._tests}) > 1
        return {
            f"{safe_text(chain)}, {source}" if several else source: Seen(
                source, test.evidence(), self._alarms[chain, source], self._several[chain, source]
            )
            for (chain, source), test in sorted(self._tests.items())
        }

    def untested(self) -> list[str]:
        """A sentence for each source that came, and that too little was calibrated of to see a drift."""
        return [why for _, why in sorted(self._too_few.items())]


def drift_line(name: str, seen: Seen, calibration: Calibration) -> str:
    """One sentence for a person: has the traffic of this name drifted, and what to do about it."""
    evidence, alarms = seen.drift, seen.alarms
    low, high = _alarm_band(seen, calibration)
    counted = f"{alarms:,} alarms where benign traffic alone gives {low:,} to {high:,}"
    if evidence.drifted:
        off = (evidence.mean_place - 0.5) * (12 * evidence.body) ** 0.5
        how = "differently spread" if abs(off) < 2 else "higher" if off < 0 else "lower"
        attacks = f"more than {100 * MOST_ATTACKS:g} % of the traffic"
        if alarms > high:  # to renew it on attacks would hide them
            so = (
                f"Attacks may be the cause, if they are {attacks}: look at the alerts first; if those are "
                "benign, the alarm level is no longer guaranteed"
            )
        elif how == "lower":
            so = "The alarm level is no longer guaranteed, and fewer alarms than asked for are to be expected"
        else:
            so = f"The alarm level is no longer guaranteed, or attacks are {attacks}: look at the alerts"
        return (
            f"{name}: drift: values are {how} than at calibration (evidence 10^{evidence.peak:.1f}, "
            f"called after {(evidence.crossed or 0) + 1:,} of {evidence.seen:,} transactions"
            f"{_mix(seen, calibration)}), with {counted}. {so}; {RENEW}"
        )
    if alarms > high:
        return (
            f"{name}: no drift in ordinary transactions, but {counted}: look at the alerts; if they are "
            f"benign, {RENEW}"
        )
    return f"{name}: no drift in {evidence.seen:,} transactions; the alarm level stands"


def _mix(seen: Seen, calibration: Calibration) -> str:
    """That the share of transactions with two calls or more has changed, by far more than by chance."""
    calls, renewed = calibration.score.tails.get("calls"), "calibration" in calibration.parents
    if calls is None or renewed or len(calibration.values) > 1:  # sizes are the first's, of all sources
        return ""
    before, now = 10 ** calls[0].log10_p_of(math.log(2)), seen.several / seen.drift.seen
    scatter = math.sqrt(before * (1 - before) * (1 / calls[0].count + 1 / seen.drift.seen))
    if abs(now - before) <= MIX_SCATTER * scatter:
        return ""
    allowed = ", which p-values allow for" if seen.source in calibration.sizes else ""
    return (
        f"; {now:.0%} of them have two calls or more, of the calibration's first half {before:.0%}{allowed}"
    )


def drift_facts(name: str, seen: Seen, calibration: Calibration) -> Facts:
    """The same in numbers."""
    evidence = seen.drift
    low, high = _alarm_band(seen, calibration)
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
        "alarms": seen.alarms,
        "alarms, expected with 95 %": f"{low:,} to {high:,}",
        "with two calls or more": seen.several,
    }
    return {f"{what}, {name}": value for what, value in facts.items()}


def _alarm_band(seen: Seen, calibration: Calibration) -> tuple[int, int]:
    """Where the number of false alarms lies with 95 %; of p-values within contracts about so."""
    return alarm_band(len(calibration.values[seen.source]), calibration.alarm_level, seen.drift.seen)
