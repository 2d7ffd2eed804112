"""How good the scores are: against labels, beside baselines, every figure with N and an interval.

Labels come in here; nothing in this module returns to scoring, calibration or training. All
detectors are ranked on the same transactions, those later than training and calibration, each trace
skeleton once, and each attack among benign transactions of its own chain and trace source. `length` (number
of tokens) is the first baseline, since a detector that does not beat it has learned nothing else.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.alarms import Alarms, alarms_at, realised
from pipelines.evaluation.contracts import ContractRanks, contract_ranks
from pipelines.evaluation.curves import Curves, curves
from pipelines.evaluation.detectors import Baselines, rankings
from pipelines.evaluation.facts import TxFacts
from pipelines.evaluation.pools import Pools, paper_pools
from pipelines.evaluation.selection import Case, Coverage, Rules, ScoredRow, select
from pipelines.labels import Label
from pipelines.metrics import Comparison, Estimate, compare, finite, without_false_certainty

__all__ = ["Evaluation", "Rules", "ScoredRow", "evaluate"]

Floats = NDArray[np.float64]
STRATA = (2, 10, 40)
"""Least numbers of calls of the strata."""
ALARM_LEVELS = (0.001, 0.01)
"""Reported besides the calibration's own."""
DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome. `overall` ranks all transactions, see pipelines.metrics.compare.

    `strata`: transactions of at least so many calls on both sides, by the name of the stratum; over all
    transactions, size is told largely by plain transfers, which are never attacks. `length_matched`: each
    attack among benign transactions whose number of calls has the same power of two. `groups`: each chain
    and trace source apart, where there are several. `contracts` needs the call trees, `pools` is the
    paper's protocol where asked for. `alarms` is at the calibration's alarm level, `alarm_levels` at it and
    others. `calibration`: the realised share of false alarms by nominal level. `curves` are for plots.
    """

    coverage: Coverage
    overall: Comparison
    strata: dict[str, Comparison]
    length_matched: Comparison | None
    groups: dict[str, Comparison]
    contracts: ContractRanks | None
    pools: Pools | None
    alarms: Alarms
    alarm_levels: dict[str, Alarms]
    calibration: dict[str, Estimate]
    seeds: int
    curves: Curves

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without `curves`; the members of `overall` and `alarms` stand at the top."""
        body: dict[str, Any] = asdict(self, dict_factory=_plain)
        del body["curves"]
        overall, alarms = body.pop("overall"), body.pop("alarms")
        del alarms["level"]
        top = {name: overall[name] for name in ("detectors", "differences")}
        return {**body, **top, **alarms, "alarm_level": self.alarms.level}


def evaluate(
    runs: Sequence[Sequence[ScoredRow]],
    labels: Mapping[str, Label],
    *,
    alarm_level: float,
    rng: np.random.Generator,
    rules: Rules = DEFAULT_RULES,
    facts: Mapping[str, TxFacts] | None = None,
    train_counts: Floats | None = None,
    baselines: Baselines | None = None,
    resamples: int = 1000,
    pools: int = 0,
) -> Evaluation:
    """Compare scores with labels.

    Attacks are the rows labelled attack whose stage is "exploit" or not given.

    Args:
        runs: scored transactions of each training seed, the same ones in each; see ScoredRow.
        labels: by hash, from `pipelines.labels.read_labels`.
        alarm_level: the calibration's; an alarm is p <= alarm_level.
        rng: for the bootstrap, the pools and the Isolation Forest.
        rules: time split, duplicates, what may be compared with what.
        facts: of the call trees, by `hash_key`; without them duplicates stay, and there are no contracts.
        train_counts: count features (B, F) of benign training transactions; with them and `facts` an
            Isolation Forest is among the baselines.
        baselines: values from elsewhere, see pipelines.evaluation.detectors.read_baselines.
        resamples: of the bootstrap.
        pools: how many of the paper's pools to draw.

    Raises:
        ConfigError: no row has a label, a class is empty, a value is NaN, or runs and baselines do not
            belong to the same transactions.
    """
    selection = select(runs, labels, rules, facts)
    cases = selection.ranked
    values = rankings(cases, rng, train_counts=train_counts, baselines=baselines)
    one_scale = _one_scale(cases, values)
    sample = _Sample(cases, values, rng, resamples)
    levels = sorted({*ALARM_LEVELS, alarm_level})
    return Evaluation(
        coverage=selection.coverage,
        overall=_compare(sample, range(len(cases)), [case.set for case in cases]),
        strata=_strata(sample),
        length_matched=_length_matched(sample),
        groups=_groups(sample),
        contracts=contract_ranks(cases, values, rng=rng, resamples=resamples),
        pools=paper_pools(
            cases, one_scale, rng=rng, pools=pools, left_out=selection.coverage.duplicate_benign or 0
        )
        if pools
        else None,
        alarms=alarms_at(selection.cases, alarm_level),
        alarm_levels={f"{level:g}": alarms_at(selection.cases, level) for level in levels},
        calibration=realised(selection.cases),
        seeds=len(runs),
        curves=curves(one_scale, np.array([case.attack for case in cases]), next(iter(values.values()))[0]),
    )


def _plain(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The members of a dataclass, null where an estimate has no interval."""
    return {name: finite(each) if isinstance(each, float) else each for name, each in members}


def _one_scale(cases: Sequence[Case], values: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """Values (R, N) that may be ranked across chains and trace sources: places among benign ones of the own.

    An attack as high as a benign transaction stands below it. Values of a single set are left as they are.
    """
    sets: dict[object, list[int]] = defaultdict(list)
    for place, case in enumerate(cases):
        sets[case.set].append(place)
    if len(sets) < 2:
        return values
    benign = np.array([not case.attack for case in cases])
    found = {name: np.empty_like(rows) for name, rows in values.items()}
    for places in map(np.array, sets.values()):
        own = places[benign[places]]
        for name, rows in values.items():
            for run, row in enumerate(rows):
                below = np.searchsorted(np.sort(row[own]), row[places]) + 0.5 * benign[places]
                found[name][run, places] = below / max(len(own), 1)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """What is ranked: cases (N,), values (R, N) by detector; the bootstrap's source and size."""

    cases: Sequence[Case]
    values: Mapping[str, Floats]
    rng: np.random.Generator
    resamples: int


def _strata(sample: _Sample) -> dict[str, Comparison]:
    found = {}
    match = [case.set for case in sample.cases]
    for least in STRATA:
        large = [place for place, case in enumerate(sample.cases) if case.row.calls >= least]
        if places := _complete(sample, large, match):
            found[f"{least} calls or more"] = _compare(sample, places, match)
    return found


def _length_matched(sample: _Sample) -> Comparison | None:
    match = [(*case.set, case.row.calls.bit_length()) for case in sample.cases]
    places = _complete(sample, range(len(match)), match)
    return _compare(sample, places, match) if places else None


def _groups(sample: _Sample) -> dict[str, Comparison]:
    match = [case.set for case in sample.cases]
    names = sorted(set(match))
    if len(names) == 1:
        return {}
    return {
        ", ".join(name): _compare(sample, [p for p, each in enumerate(match) if each == name], match)
        for name in names
    }


def _complete(sample: _Sample, places: Sequence[int], match: Sequence[object]) -> list[int]:
    """Those of the places whose comparison set holds both classes among them."""
    with_attack = {match[place] for place in places if sample.cases[place].attack}
    both = with_attack & {match[place] for place in places if not sample.cases[place].attack}
    return [place for place in places if match[place] in both]


def _compare(sample: _Sample, places: Sequence[int], match: Sequence[object]) -> Comparison:
    """Compare the places, each within its comparison set."""
    chosen = list(places)
    found = compare(
        {name: rows[:, chosen] for name, rows in sample.values.items()},
        np.array([sample.cases[place].attack for place in chosen]),
        rng=sample.rng,
        resamples=sample.resamples,
        clusters=[sample.cases[place].cluster for place in chosen],
        match=[match[place] for place in chosen],
    )
    return without_false_certainty(found)
