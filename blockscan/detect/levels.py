"""What a false positive rate needs and gives, in numbers of transactions; see blockscan.detect.calibrate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from blockscan.detect.mix import CLASSES, weights
from blockscan.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where the calibration data lie in time: inclusive blocks, and transactions a day by trace source.

    `blocks` is None and `per_day` empty where the data do not say.
    """

    blocks: tuple[int, int] | None = None
    per_day: Mapping[str, float] = field(default_factory=dict)

    @property
    def until(self) -> int | None:
        """The last block."""
        return None if self.blocks is None else self.blocks[1]


UNKNOWN_TRAFFIC = Traffic()
PERIODS = 5
"""Parts of a calibration in time that are held against each other."""


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


def confident_need(fpr: float) -> int:
    """Smallest n for which "above all n values" has a realised FPR <= fpr with 95 % confidence."""
    return math.ceil(math.log(1 - 0.95) / math.log1p(-fpr))


def fpr_bound(n: int, fpr: float) -> float:
    """Upper bound, with 95 % confidence, on the realised FPR of the alarm level `fpr` from n values.

    It is the Beta(k, n + 1 - k) quantile with k = floor(fpr (n + 1)); 0 where k = 0, as nothing alarms.
    """
    k = rank(n, fpr)
    return float(betaincinv(k, n + 1 - k, 0.95)) if k else 0.0


def alarm_band(n: int, fpr: float, seen: int, *, confidence: float = 0.95) -> tuple[int, int]:
    """Where the number of false alarms among `seen` later benign transactions lies, given n held-out ones.

    It is beta-binomial: places of new values among those n. (0, 0) where nothing can alarm.
    """
    k = rank(n, fpr)
    if not k:
        return 0, 0
    edges = (1 - confidence) / 2, (1 + confidence) / 2
    from scipy.stats import betabinom  # half a second to import, which scoring should not wait for

    low, high = betabinom.ppf(edges, seen, k, n + 1 - k)
    return int(low), int(high)


def alarms_by_period(values: NDArray[np.float64], classes: NDArray[np.uint8], fpr: float) -> tuple[int, ...]:
    """How many of each of PERIODS equal parts of the values (n,), in time order, the others' level alarms.

    `classes` (n,) are those of their sizes, whose mix in the part is allowed for (blockscan.detect.mix);
    zeros where it is not to be. Transactions that are alike throughout keep to `period_band`. Equal values
    are told apart at random, or many of them would look like parts that are too quiet. Empty where the other
    parts are too few.
    """
    places = np.argsort(np.lexsort((np.random.default_rng(0).random(len(values)), values)))
    found = []
    for own in np.array_split(np.arange(len(values)), PERIODS):
        others = np.delete(np.arange(len(values)), own)
        rest = others[np.argsort(places[others])]
        if len(rest) < transactions_needed(fpr):
            return ()
        counts = weights(classes[rest], np.bincount(classes[own], minlength=CLASSES).tolist())[classes[rest]]
        from_here = np.append(np.cumsum(counts[::-1])[::-1], 0.0)
        p = (1 + from_here[np.searchsorted(places[rest], places[own])]) / (1 + len(rest))
        found.append(int(np.sum(p <= fpr)))
    return tuple(found)


def period_band(n: int, fpr: float) -> tuple[int, int]:
    """Where all of `alarms_by_period` of n values lie with 95 %, if the values are exchangeable."""
    own = n // PERIODS
    return alarm_band(n - own, fpr, own, confidence=1 - 0.05 / PERIODS)


def require(n: int, source: str, fpr: float, *, advice: str = "calibrate on more") -> None:
    """Refuse a level that n held-out transactions of a source cannot support.

    Raises:
        ConfigError: it says how many are needed.
    """
    needed = transactions_needed(fpr)
    if n < needed:
        raise ConfigError(
            f"calibration holds {n:,} held-out transactions of source {source}; FPR {100 * fpr:g} % needs at "
            f"least {needed:,} ({confident_need(fpr):,} to be 95 % sure of it); {advice} or raise the FPR"
        )


def require_enough(given: Mapping[str, int], fpr: float, *, halved: bool) -> None:
    """Refuse a level that not even the commonest source supports.

    Args:
        given: how many benign transactions there are to calibrate on, by source.
        fpr: the alarm level.
        halved: the later half of them is held out, else all of them.

    Raises:
        ConfigError: it says how many are needed.
    """
    source = max(given, key=given.__getitem__, default="any")
    parts, used = (2, "half of the benign transactions") if halved else (1, "all of the transactions given")
    needed = parts * transactions_needed(fpr)
    held_out = -(-given.get(source, 0) // parts)
    require(held_out, source, fpr, advice=f"{used} are held out, so give {needed:,}")


def require_newer(before: Traffic, now: Traffic) -> None:
    """Refuse to renew a calibration on blocks that it was made from.

    Raises:
        ConfigError: it says where the last calibration ends.
    """
    if before.blocks is not None and now.blocks is not None and now.blocks[0] <= before.blocks[1]:
        raise ConfigError(
            f"blocks {now.blocks[0]:,} to {now.blocks[1]:,} begin before block {before.blocks[1]:,}, the "
            f"last calibration's end; recalibrate on later ones: --blocks {before.blocks[1] + 1}:"
        )


def rank(n: int, fpr: float) -> int:
    """Largest k <= n with k / (n + 1) <= fpr, by the same division as the p-value's."""
    k = min(math.ceil(fpr * (n + 1)) + 1, n)
    while k / (n + 1) > fpr:
        k -= 1
    return k


def level_for(alerts_per_day: float, transactions_per_day: float) -> float:
    """The FPR at which benign traffic gives this many alerts a day.

    Raises:
        ConfigError: not a positive number, or as many alerts as there are transactions.
    """
    if not 0 < alerts_per_day < math.inf:
        raise ConfigError(f"{alerts_per_day:g} alerts a day is no share of traffic; give a number above 0")
    if alerts_per_day >= transactions_per_day:
        raise ConfigError(
            f"{alerts_per_day:g} alerts a day is no share of {transactions_per_day:,.0f} transactions a day; "
            "give a number above 0 and well below the traffic"
        )
    return alerts_per_day / transactions_per_day
