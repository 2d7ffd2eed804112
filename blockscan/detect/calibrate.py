"""Split conformal calibration: from a value to a p-value with a guarantee, per trace source.

The benign calibration set, in time order, is halved per trace source. The earlier halves fit the field
calibration and the score model; the later ones only give values. For a new transaction of that source
p = (1 + #{calibration values >= value}) / (1 + n). If it is benign and exchangeable with those n, then
P(p <= alpha) <= alpha (Vovk, Gammerman and Shafer 2005). That is an average over calibration sets. Given
one set, the share of false alarms follows Beta(k, n + 1 - k) with k = floor(alpha (n + 1)), see `fpr_bound`.
Two needs follow for a target alpha:

- p <= alpha can happen at all:                 n >= 1 / alpha - 1      (99 for 1 %, 999 for 0.1 %)
- above all n values means FPR <= alpha, 95 %:  (1 - alpha)^n <= 0.05   (299 for 1 %, 2,995 for 0.1 %)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from blockscan.detect.score import DEFAULT_PARTS, ScoreModel
from blockscan.detect.surprise import FieldCalibration
from blockscan.errors import ConfigError
from blockscan.findings import TxScore
from blockscan.tokens import TokenLosses, TokenSequence
from blockscan.transaction import TraceStatus

# A token p-value this small is strong evidence by itself; `critical` asks for several.
STRONG_EVIDENCE = 1e-4
CRITICAL_UNITS = 3


class Observed(NamedTuple):
    """One transaction as the model saw it; source and status as in blockscan.transaction."""

    sequence: TokenSequence
    losses: TokenLosses
    source: str
    status: str


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Value (higher = more anomalous), conformal p-value, and the token p-values (T,), NaN if not scored.

    `value` is +inf for a truncated trace. `p_value` is None where the calibration has no transaction of
    the trace source.
    """

    value: float
    p_value: float | None
    token_p: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """All that benign data taught: fields, score model, and per source the values (n,) ascending.

    `alarm_level` is the p-value at or under which a transaction is an alarm, the FPR asked for.
    `parents` are the fingerprints of the checkpoint and the tokenizer whose losses these were, `scoring`
    the settings under which they were computed: a judgement needs losses of the same kind.
    """

    fields: FieldCalibration
    score: ScoreModel
    values: Mapping[str, NDArray[np.float64]]
    alarm_level: float
    parents: Mapping[str, str]
    scoring: Mapping[str, Any]

    def p_value(self, value: float, source: str) -> float | None:
        """Conformal p-value of a value among the held-out benign ones of its trace source."""
        values = self.values.get(source)
        if values is None:
            return None
        at_least = len(values) - int(np.searchsorted(values, value, side="left"))
        return (1 + at_least) / (1 + len(values))

    def threshold(self, source: str, fpr: float) -> float:
        """The value above which a transaction of this source has p <= fpr.

        Raises:
            ConfigError: the calibration holds too few transactions of the source for this target.
        """
        values = self.values.get(source, np.empty(0))
        needed = transactions_needed(fpr)
        if len(values) < needed:
            raise ConfigError(
                f"calibration holds {len(values):,} held-out transactions of source {source}; FPR "
                f"{100 * fpr:g} % needs at least {needed:,} ({confident_need(fpr):,} to be 95 % sure of it); "
                f"half of the benign transactions are held out, so give {2 * needed:,} or raise the FPR"
            )
        return float(values[-_rank(len(values), fpr)])

    def unsupported_sources(self) -> tuple[str, ...]:
        """Sources with values, but too few for the alarm level: none of their transactions can alarm."""
        needed = transactions_needed(self.alarm_level)
        return tuple(source for source, values in self.values.items() if len(values) < needed)

    def alarms(self, score: TxScore) -> bool:
        """Whether a score is an alarm: p at or under the alarm level.

        A source without calibration has no p-value; there only a truncated trace is an alarm.
        """
        if score.p_value is None:
            return math.isinf(score.value)
        return score.p_value <= self.alarm_level

    def severity(self, score: TxScore) -> str:
        """How urgent an alarm is, by p-value, alarm level and evidence.

        high: p at most a tenth of the alarm level, or a value above all benign calibration values, or
        a truncated trace. critical: high, with at least three values whose token p-value is 1e-4 or
        less. medium: p at most half the alarm level. low: any other.
        """
        p = 1.0 if score.p_value is None else score.p_value
        lowest_p = 1 / (1 + len(self.values.get(score.source, ())))
        if math.isinf(score.value) or p <= max(self.alarm_level / 10, lowest_p):
            strong = sum(each.p_value <= STRONG_EVIDENCE for each in score.evidence)
            return "critical" if strong >= CRITICAL_UNITS else "high"
        return "medium" if p <= self.alarm_level / 2 else "low"


def fit_calibration(
    items: Sequence[Observed],
    *,
    fpr: float,
    parents: Mapping[str, str],
    scoring: Mapping[str, Any],
    parts: Sequence[str] = DEFAULT_PARTS,
) -> Calibration:
    """Calibrate on benign transactions in time order. There is no way for a label to get in here.

    Truncated transactions count among the held-out values (as +inf) and fit nothing.

    Args:
        items: benign transactions, oldest first.
        fpr: wanted share of false alarms, the alarm level.
        parents: fingerprints by role, "checkpoint" and "tokenizer".
        scoring: settings of the model pass that gave the losses, JSON-ready.
        parts: names of the statistics to fuse, see blockscan.detect.score.

    Raises:
        ConfigError: nothing to calibrate on, or no source has enough transactions for `fpr`.
    """
    transactions_needed(fpr)
    earlier, later = _halves(items)
    complete = [item for item in earlier if item.status != TraceStatus.TRUNCATED]
    try:
        fields = FieldCalibration.fit((item.sequence, item.losses) for item in complete)
        score = ScoreModel.fit(
            [fields.p_values(item.sequence, item.losses) for item in complete], parts=parts
        )
    except ValueError as error:
        raise ConfigError(
            f"cannot calibrate on {len(items)} benign transactions: {error}; give more of them"
        ) from error
    values = {
        source: np.sort([_value(fields, score, item)[0] for item in group]) for source, group in later.items()
    }
    calibration = Calibration(fields, score, values, fpr, dict(parents), dict(scoring))
    best = max(values, key=lambda source: len(values[source]))
    calibration.threshold(best, fpr)
    return calibration


def judge(calibration: Calibration, observed: Observed) -> Judgement:
    """Judge one transaction; a pure function of the two."""
    value, token_p = _value(calibration.fields, calibration.score, observed)
    return Judgement(value, calibration.p_value(value, observed.source), token_p)


def transactions_needed(fpr: float) -> int:
    """Smallest n with 1 / (1 + n) <= fpr: fewer held-out transactions can never give an alarm.

    Raises:
        ConfigError: `fpr` is not between 0 and 1.
    """
    if not 0 < fpr < 1:
        raise ConfigError(f"false positive rate {fpr:g} is not a share between 0 and 1; 0.01 is 1 %")
    n = max(math.ceil(1 / fpr) - 2, 1)
    while 1 / (1 + n) > fpr:
        n += 1
    return n


def confident_need(fpr: float, *, confidence: float = 0.95) -> int:
    """Smallest n for which "above all n values" has a realised FPR <= fpr with this confidence."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-fpr))


def fpr_bound(n: int, fpr: float, *, confidence: float = 0.95) -> float:
    """Upper bound, with this confidence, on the realised FPR of the alarm level `fpr` from n values.

    It is the Beta(k, n + 1 - k) quantile with k = floor(fpr (n + 1)); 0 where k = 0, as nothing alarms.
    """
    k = _rank(n, fpr)
    return float(beta.ppf(confidence, k, n + 1 - k)) if k else 0.0


def _rank(n: int, fpr: float) -> int:
    """Largest k <= n with k / (n + 1) <= fpr, by the same division as the p-value's."""
    k = min(math.ceil(fpr * (n + 1)) + 1, n)
    while k / (n + 1) > fpr:
        k -= 1
    return k


def _value(fields: FieldCalibration, score: ScoreModel, item: Observed) -> tuple[float, NDArray[np.float64]]:
    token_p = fields.p_values(item.sequence, item.losses)
    return math.inf if item.status == TraceStatus.TRUNCATED else score.value(token_p), token_p


def _halves(items: Sequence[Observed]) -> tuple[list[Observed], dict[str, list[Observed]]]:
    """The earlier half of every source, all together, and the later half by source."""
    earlier: list[Observed] = []
    later: dict[str, list[Observed]] = {}
    for source, group in groupby(sorted(items, key=lambda item: item.source), key=lambda item: item.source):
        members = list(group)
        earlier += members[: len(members) // 2]
        later[str(source)] = members[len(members) // 2 :]
    return earlier, later
