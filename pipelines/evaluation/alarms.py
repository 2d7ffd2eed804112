"""What the calibration's alarms are worth: false alarms against the nominal rate, and what is caught.

Over every transaction after the time split, repeated ones too: the guarantee is per transaction, and
repetitions are what a person sees. Intervals are Clopper-Pearson's.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.selection import Case
from pipelines.metrics import Estimate, share

NOMINAL = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Alarm levels at which the realised share of false alarms is looked at."""
SIZES = {"1 call": 1, "2-9 calls": 2, "10 calls or more": 10}
"""Least numbers of calls, by what transactions from there on to the next are called."""

Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Alarms:
    """Shares of alarms (p at most `level`). `hard_benign_ratio` is the hard benign share over `level`.

    `*_recall`: of exploits, by name; `*_fpr`: of benign transactions, by name. `family_incident_recall`: of
    the incidents with an exploit of the family, any of whose exploits of it is caught. `size_*`: by SIZES.
    """

    level: float
    realised_fpr: Estimate
    hard_benign_fpr: Estimate | None
    hard_benign_ratio: Estimate | None
    recall: Estimate
    incident_recall: Estimate
    family_recall: dict[str, Estimate]
    family_incident_recall: dict[str, Estimate]
    size_recall: dict[str, Estimate]
    tier_recall: dict[str, Estimate]
    year_recall: dict[str, Estimate]
    size_fpr: dict[str, Estimate]
    kind_fpr: dict[str, Estimate]
    hard_kind_fpr: dict[str, Estimate]
    year_fpr: dict[str, Estimate]


def alarms_at(cases: Sequence[Case], level: float) -> Alarms:
    """The alarms p <= level; without a p-value only a trace that was cut off is one."""
    exploits = [case for case in cases if case.attack]
    benign = [case for case in cases if not case.attack]
    caught, false = _hits(exploits, level), _hits(benign, level)
    hard = [place for place, case in enumerate(benign) if case.label.hard_benign]
    hard_fpr = _share(false[:, hard]) if hard else None
    return Alarms(
        level=level,
        realised_fpr=_share(false),
        hard_benign_fpr=hard_fpr,
        hard_benign_ratio=None if hard_fpr is None else _scaled(hard_fpr, 1 / level),
        recall=_share(caught),
        incident_recall=_incidents(exploits, caught),
        family_recall=_by(exploits, caught, _family),
        family_incident_recall={
            name: _incidents([exploits[place] for place in places], caught[:, places])
            for name, places in sorted(_places(map(_family, exploits)).items())
        },
        size_recall=_by(exploits, caught, _size),
        tier_recall=_by(exploits, caught, lambda case: case.label.tier),
        year_recall=_by(exploits, caught, _year),
        size_fpr=_by(benign, false, _size),
        kind_fpr=_by(benign, false, lambda case: case.label.kind),
        hard_kind_fpr=_by(benign, false, lambda case: case.label.hard_benign),
        year_fpr=_by(benign, false, _year),
    )


def realised(cases: Sequence[Case]) -> dict[str, Estimate]:
    """The share of benign transactions with p at most each nominal level, by the level; of those with a p."""
    benign = [case for case in cases if not case.attack and None not in case.p_values]
    return {f"{level:g}": _share(_hits(benign, level)) for level in NOMINAL}


def _hits(cases: Sequence[Case], level: float) -> Hits:
    """Alarms (R, N) by training seed."""
    runs = len(cases[0].p_values) if cases else 1
    return np.array([[_alarms(case, run, level) for case in cases] for run in range(runs)], dtype=bool)


def _alarms(case: Case, run: int, level: float) -> bool:
    """As blockscan.detect.calibrate.Calibration.alarms."""
    p_value = case.p_values[run]
    return math.isinf(case.values[run]) if p_value is None else p_value <= level


def _share(hits: Hits) -> Estimate:
    """The mean share over training seeds of hits (R, n)."""
    n = hits.shape[1]
    counts = hits.sum(axis=1)
    runs = (counts / n).tolist() if len(counts) > 1 and n else ()
    return share(float(counts.mean()), n, runs=runs)


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    runs = tuple(each * factor for each in estimate.runs)
    return Estimate(estimate.value * factor, estimate.low * factor, estimate.high * factor, estimate.n, runs)


def _by(cases: Sequence[Case], hits: Hits, name: Callable[[Case], str]) -> dict[str, Estimate]:
    """Shares by name, in the order of the names; unnamed cases are left out."""
    places = _places(map(name, cases))
    return {each: _share(hits[:, places[each]]) for each in sorted(places)}


def _incidents(exploits: Sequence[Case], caught: Hits) -> Estimate:
    """Of the incidents, any of whose exploits is caught."""
    places = _places(case.cluster for case in exploits)
    return _share(
        np.array([caught[:, each].any(axis=1) for each in places.values()], dtype=bool).T.reshape(
            len(caught), len(places)
        )
    )


def _places(names: Iterable[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name:
            places.setdefault(name, []).append(place)
    return places


def _family(case: Case) -> str:
    return case.label.family


def _size(case: Case) -> str:
    return [name for name, least in SIZES.items() if least <= max(case.row.calls, 1)][-1]


def _year(case: Case) -> str:
    """Year (UTC) of the block; the empty string where the time is unknown or no date."""
    try:
        return "" if case.row.time is None else str(datetime.fromtimestamp(case.row.time, UTC).year)
    except (OverflowError, ValueError, OSError):
        return ""
