"""Split conformal calibration: from a value to a p-value with a guarantee, per trace source.

The benign calibration set, in time order, is halved per trace source. The earlier halves fit the field
calibration, the density and the score model; the later ones only give values. For a new one of that source
p = (1 + #{calibration values >= value}) / (1 + n). If it is benign and exchangeable with those n, then
P(p <= alpha) <= alpha (Vovk, Gammerman and Shafer 2005). That is an average over calibration sets. Given
one set, the share of false alarms follows Beta(k, n + 1 - k) with k = floor(alpha (n + 1)), see `fpr_bound`.
Two needs follow for a target alpha:

- p <= alpha can happen at all:                 n >= 1 / alpha - 1      (99 for 1 %, 999 for 0.1 %)
- above all n values means FPR <= alpha, 95 %:  (1 - alpha)^n <= 0.05   (299 for 1 %, 2,995 for 0.1 %)

p allows for a change of how large transactions are, see blockscan.detect.mix. A budget of alerts a day is a
share of a day's benign transactions, see blockscan.detect.levels. With `per_contract` p is taken among those
to the same contract, see blockscan.detect.contracts. To a value part of those of the same account's last
minutes is added (blockscan.detect.accounts), in calibration as later. `recalibrate` renews the held-out
values and keeps what gives the value, so that thresholds of before and after are on one scale.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.accounts import Carrying, Recent
from blockscan.detect.books import NOTHING, Entered
from blockscan.detect.contracts import comparable, split
from blockscan.detect.dealings import JOINT_GAIN
from blockscan.detect.density import Density, fit_density
from blockscan.detect.levels import (
    UNKNOWN_TRAFFIC,
    Traffic,
    alarms_by_period,
    fpr_bound,
    rank,
    require,
    require_enough,
    require_newer,
    transactions_needed,
)
from blockscan.detect.mix import Mix, at_least, size_class
from blockscan.detect.score import PARTS, ScoreModel, Summary, summarize
from blockscan.detect.surprise import FieldCalibration
from blockscan.errors import ConfigError
from blockscan.findings import TxScore
from blockscan.tokens import TokenLosses, TokenSequence
from blockscan.transaction import TraceStatus

# A token p-value this small is strong evidence by itself; `critical` asks for several.
STRONG_EVIDENCE = 1e-4
CRITICAL_UNITS = 3


class Observed(NamedTuple):
    """One transaction as the model and the history saw it.

    `source` and `status` are as in blockscan.transaction, `facts` float64 (F,) is from
    blockscan.detect.facts.fact_values. `contract` is what it is addressed to, "" for nothing; only
    calibrations per contract ask for it, as only those with a density ask for the `embedding` (E,).
    `account` is the sender, at `time` (Unix seconds).
    """

    sequence: TokenSequence
    losses: TokenLosses
    facts: NDArray[np.float64]
    source: str
    status: str
    contract: str | None = None
    embedding: NDArray[np.float32] | None = None
    account: str | None = None
    time: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Value (higher = more anomalous), conformal p-value, and what gave it.

    `token_p` float64 (T,): see FieldCalibration.p_values. `rarities`: -log10 p by part of the score.
    `views`: what the value is the sum of, by view, and "carried", from the account's recent transactions.
    `size`: log of number of calls. `value`: +inf for a truncated trace; `p_value`: None for other sources.
    """

    size: float
    value: float
    p_value: float | None
    token_p: NDArray[np.float64]
    rarities: Mapping[str, float]
    views: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """All that benign data taught: fields, score model, and per source the values (n,) ascending.

    `alarm_level` is the p-value at or under which a transaction is an alarm, the FPR asked for. `parents` are
    the fingerprints of the checkpoint and the tokenizer whose losses these were, `scoring` the settings under
    which they were computed: a judgement needs losses of the same kind. A calibration that replaces another
    names it among its parents, as "calibration". `contracts`, where p-values are taken within contracts, has
    the values by source and contract; `density` gives the part of that name. `periods` counts alarms by
    source and part of the time, see levels.alarms_by_period; `sizes` has the class of each of the values
    (n,), see blockscan.detect.mix; `books` what all this entered in those of contracts.
    """

    fields: FieldCalibration
    score: ScoreModel
    values: Mapping[str, NDArray[np.float64]]
    alarm_level: float
    parents: Mapping[str, str]
    scoring: Mapping[str, Any]
    traffic: Traffic = UNKNOWN_TRAFFIC
    contracts: Mapping[str, Mapping[str, NDArray[np.float64]]] | None = None
    density: Density | None = None
    periods: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sizes: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    books: Entered = NOTHING

    def recent(self) -> Recent:
        """Nothing known of any account yet; give it values in time order."""
        return Recent(float(self.scoring.get("carried", 0.0)))

    def p_value(self, value: float, source: str, contract: str | None = None, mix: Mix = ()) -> float | None:
        """Conformal p-value of a value among the held-out benign ones of its source, allowing for `mix`.

        Raises:
            ValueError: the calibration is per contract, and the contract is not given.
        """
        if source not in self.values:
            return None
        values = self._compared(source, contract)
        place = int(np.searchsorted(values, value, side="left"))
        mixed = mix and source in self.sizes
        higher = at_least(self.sizes[source], place, mix) if mixed else len(values) - place
        return (1 + higher) / (1 + len(values))

    def _compared(self, source: str, contract: str | None) -> NDArray[np.float64]:
        """The held-out values, ascending, that a transaction of a source with values is compared with."""
        if self.contracts is None:
            return self.values[source]
        if contract is None:
            raise ValueError("this calibration is per contract: a p-value needs the contract")
        return comparable(self.contracts[source], contract, transactions_needed(self.alarm_level))

    def threshold(self, source: str, fpr: float) -> float:
        """The value above which p <= fpr for this source, while sizes are as frequent as when calibrating.

        Raises:
            ConfigError: the calibration holds too few transactions of the source for this target.
        """
        values = self.values.get(source, np.empty(0))
        require(len(values), source, fpr)
        return float(values[-rank(len(values), fpr)])

    def alerts_per_day(self, source: str) -> tuple[float, float] | None:
        """False alarms a day to expect of this source, and their 95 % bound; None where traffic is unknown.

        The bound is on the mean over many days. Within contracts fewer are expected, and no bound is known.
        """
        per_day, n = self.traffic.per_day.get(source), len(self.values.get(source, ()))
        if per_day is None:
            return None
        expected = rank(n, self.alarm_level) / (n + 1)
        return per_day * expected, per_day * fpr_bound(n, self.alarm_level)

    def unsupported_sources(self) -> tuple[str, ...]:
        """Sources with values, but too few for the alarm level: none of their transactions can alarm."""
        needed = transactions_needed(self.alarm_level)
        return tuple(source for source, values in self.values.items() if len(values) < needed)

    def alarms(self, score: TxScore) -> bool:
        """Whether p is at or under the alarm level; without a p-value, whether the trace is truncated."""
        if score.p_value is None:
            return math.isinf(score.value)
        return score.p_value <= self.alarm_level

    def severity(self, score: TxScore) -> str:
        """How urgent an alarm is, by p-value, alarm level and evidence.

        high: p at most a tenth of the alarm level, or a value above all benign ones that it is compared
        with, or a truncated trace. critical: high, with at least three values whose token p-value is 1e-4 or
        less. medium: p at most half the alarm level. low: any other.
        """
        p = 1.0 if score.p_value is None else score.p_value
        held_out = self._compared(score.source, score.target or "") if score.source in self.values else ()
        if math.isinf(score.value) or p <= max(self.alarm_level / 10, 1 / (1 + len(held_out))):
            strong = sum(each.p_value <= STRONG_EVIDENCE for each in score.evidence)
            return "critical" if strong >= CRITICAL_UNITS else "high"
        return "medium" if p <= self.alarm_level / 2 else "low"


def fit_calibration(
    items: Sequence[Observed],
    *,
    fpr: float,
    parents: Mapping[str, str],
    scoring: Mapping[str, Any],
    parts: Sequence[str] = PARTS,
    density: str = "",
    traffic: Traffic = UNKNOWN_TRAFFIC,
    per_contract: bool = False,
) -> Calibration:
    """Calibrate on benign transactions in time order. There is no way for a label to get in here.

    Truncated transactions count among the held-out values (as +inf) and fit nothing.

    Args:
        items: benign transactions, oldest first.
        fpr: wanted share of false alarms, the alarm level.
        parents: fingerprints by role, "checkpoint", "tokenizer" and "history".
        scoring: settings of the model pass that gave the losses, JSON-ready.
        parts: names of the statistics to fuse, see blockscan.detect.score.
        density: kind of density of embeddings, see blockscan.detect.density, "" for none.
        traffic: where the transactions lie in time.
        per_contract: take p-values within contracts; every item must name its contract.

    Raises:
        ConfigError: nothing to calibrate on, or no source has enough transactions for `fpr`.
    """
    transactions_needed(fpr)
    earlier, later = _halves(items)
    complete = [item for item in earlier if item.status != TraceStatus.TRUNCATED]
    kept = [part for part in parts if density or part != "density"]
    # Every other one fits the density; the rest tells how far what it was not fitted on lies from it.
    embedded = [_embedding(item) for item in complete[::2]] if "density" in kept else []
    try:
        fields = FieldCalibration.fit((item.sequence, item.losses) for item in complete)
        odd = fit_density(density, np.array(embedded)) if "density" in kept else None
        summaries = [_seen(fields, odd if i % 2 else None, item)[1] for i, item in enumerate(complete)]
        score = ScoreModel.fit(summaries, parts=kept)
    except ValueError as error:
        raise ConfigError(
            f"cannot calibrate on {len(items)} benign transactions: {error}; give more of them"
        ) from error
    require_enough(Counter(item.source for item in items), fpr, halved=True)
    draft = Calibration(fields, score, {}, fpr, dict(parents), dict(scoring), traffic, density=odd)
    return _hold_out(draft, later, per_contract=per_contract)


def recalibrate(
    previous: Calibration,
    items: Sequence[Observed],
    *,
    fpr: float,
    parent: str,
    traffic: Traffic = UNKNOWN_TRAFFIC,
) -> Calibration:
    """Replace the held-out values by those of newer benign transactions; all of them are held out.

    Fields and score stay, so that a value means what it meant before. A source without newer transactions
    has no p-values afterwards.

    Args:
        previous: the calibration to renew.
        items: benign transactions, none of which `previous` was made from.
        fpr: the alarm level.
        parent: fingerprint of `previous`.
        traffic: where the transactions lie in time.

    Raises:
        ConfigError: the blocks overlap those of `previous`, or no source has enough transactions for `fpr`.
    """
    require_newer(previous.traffic, traffic)
    transactions_needed(fpr)
    by_source: dict[str, list[Observed]] = {}
    for item in items:
        by_source.setdefault(item.source, []).append(item)
    require_enough(Counter(item.source for item in items), fpr, halved=False)
    parents = {**previous.parents, "calibration": parent}
    draft = replace(previous, alarm_level=fpr, parents=parents, traffic=traffic)
    return _hold_out(draft, by_source, per_contract=previous.contracts is not None)


def judge(
    calibration: Calibration, observed: Observed, *, carried: Carrying = lambda *_: 0.0, mix: Mix = ()
) -> Judgement:
    """Judge one transaction among the last ones, which had `mix`.

    `carried` says, by its own value, what its account's earlier ones add to it.
    """
    found = _weigh(calibration, observed, carried)
    return replace(found, p_value=calibration.p_value(found.value, observed.source, observed.contract, mix))


def _weigh(calibration: Calibration, observed: Observed, carried: Carrying) -> Judgement:
    """Everything but the p-value, which is known once the values of benign transactions are."""
    token_p, summary = _seen(calibration.fields, calibration.density, observed)
    rarities = calibration.score.rarities(summary)
    views = calibration.score.decades(rarities)
    own = math.inf if observed.status == TraceStatus.TRUNCATED else math.fsum(views.values())
    views["carried"] = carried(own, calibration.score.added_by(JOINT_GAIN, rarities))
    return Judgement(summary.size, own + views["carried"], None, token_p, rarities, views)


def _seen(
    fields: FieldCalibration, density: Density | None, item: Observed
) -> tuple[NDArray[np.float64], Summary]:
    token_p = fields.p_values(item.sequence, item.losses)
    oddness = None if density is None else density.oddness(_embedding(item))
    return token_p, summarize(item.sequence.field, item.losses, token_p, item.facts, oddness)


def _embedding(item: Observed) -> NDArray[np.float32]:
    if item.embedding is None:
        raise ValueError(f"a density needs every transaction's embedding, {item.losses.tx_hash} has none")
    return item.embedding


def _hold_out(
    draft: Calibration, by_source: Mapping[str, Sequence[Observed]], *, per_contract: bool
) -> Calibration:
    """The same with the values of held-out transactions by source, and if wanted by contract as well."""
    values, contracts, periods, sizes = {}, {}, {}, {}
    for source, items in by_source.items():
        judged = list(_in_time(draft, items))
        found = np.array([each.value for each in judged])
        mixed = draft.scoring.get("mix", True) and not per_contract
        classes = np.array([size_class(each.size) if mixed else 0 for each in judged], np.uint8)
        values[source], periods[source] = np.sort(found), alarms_by_period(found, classes, draft.alarm_level)
        if mixed:
            sizes[source] = classes[np.argsort(found, kind="stable")]
        if per_contract:
            names = [item.contract for item in items if item.contract is not None]
            if len(names) != len(items):
                raise ValueError("a calibration per contract needs the contract of every transaction")
            contracts[source] = split(found, names, transactions_needed(draft.alarm_level))
    held_out = replace(draft, values=values, periods=periods, sizes=sizes)
    return replace(held_out, contracts=contracts if per_contract else None)


def _in_time(draft: Calibration, items: Sequence[Observed]) -> Iterator[Judgement]:
    recent = draft.recent()
    for item in items:
        found = _weigh(draft, item, recent.carried(item.account, item.time))
        recent.add(item.account, item.time, found.value)
        yield found


def _halves(items: Sequence[Observed]) -> tuple[list[Observed], dict[str, list[Observed]]]:
    """The earlier half of every source, all together, and the later half by source."""
    earlier: list[Observed] = []
    later: dict[str, list[Observed]] = {}
    for source, group in groupby(sorted(items, key=lambda item: item.source), key=lambda item: item.source):
        members = list(group)
        earlier += members[: len(members) // 2]
        later[str(source)] = members[len(members) // 2 :]
    return earlier, later
