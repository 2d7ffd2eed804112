"""Does benign traffic still look like the calibration? A test over a stream of values, most of them benign.

A new value's place among the calibration values and the new ones before it (ties broken at random) is
uniform and independent of all places before, exactly, for as long as they are exchangeable (Vovk,
Gammerman and Shafer 2005). A test martingale bets against that with a capital of 1; Ville's inequality says
that while nothing drifts it ever reaches 100 with probability at most 1 % (Vovk, Nouretdinov and Gammerman
2003), so it may be looked at after every transaction.

Attacks are no drift. So half of the capital looks only at values below a cut, the one that 5 % of the
calibration values reach: given the cut, calibration values and new ones below it are exchangeable, whatever
lies above. A drift may also push values over the cut and leave those below as they were. So the other half
bets that more lie above than benign values (the 99.9 % bound of their share, a Beta quantile, which adds
0.1 % to the 1 %) and attacks, up to MOST_ATTACKS of all, account for. How many lie above is reported.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from blockscan.detect.levels import alarm_band
from blockscan.errors import ConfigError

TAIL = 0.05
LIMIT = 100.0
"""Capital at which drift is called: false with probability at most 1 %."""
MOST_ATTACKS = 0.05
"""Share of attacks that is not taken for drift; a stream of more attacks than that is."""
FEWEST = 100
"""Calibration values below the cut without which no drift could be seen."""
# Bets of the simple jumper (Vovk et al. 2021, "Retrain or not retrain"): slopes, and the rates at which
# capital moves between them. Rate 0 is best against a lasting drift, the other one against a passing one.
_SLOPES = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
_JUMPS = np.array([0.0, 0.01])
_STAKES = np.array([0.5, 1.0, 2.0, 4.0])


@dataclass(frozen=True, slots=True)
class Drift:
    """Evidence after `seen` values.

    `capital` of the martingale now (log10), `peak` its highest so far, `crossed` the index of the value at
    which it first reached 100, or None. `body` counts the values below the cut, `mean_place` is their mean
    place: 0.5 without drift, lower where values have become higher, that is where more alarms must be
    expected. `ks_p` is the Kolmogorov-Smirnov p-value of the places. `tail` counts the values at or above
    the cut; `tail_band` is where that number lies with 95 % while nothing drifts and nobody attacks.
    """

    seen: int
    capital: float
    peak: float
    crossed: int | None
    body: int
    mean_place: float
    ks_p: float
    tail: int
    tail_band: tuple[int, int]

    @property
    def drifted(self) -> bool:
        """Whether the martingale reached 100 at any time."""
        return self.crossed is not None


class DriftTest:
    """The test of one trace source; `add` takes values as they come, `evidence` may be asked at any time."""

    def __init__(self, calibrated: NDArray[np.float64], rng: np.random.Generator) -> None:
        """Start from the calibration values (n,); `rng` breaks ties.

        Raises:
            ConfigError: too few of them.
        """
        ordered = np.sort(calibrated)
        self._n = len(ordered)
        above = max(1, math.floor(TAIL * (self._n + 1)))
        self._cut = float(ordered[-above]) if self._n else math.inf
        self._above = int(np.sum(ordered >= self._cut))
        if self._n - self._above < FEWEST:
            raise ConfigError(
                f"{self._n - self._above:,} calibration values lie below the cut, drift needs {FEWEST} to be "
                "seen; calibrate on more benign transactions"
            )
        self._pool: list[float] = ordered[ordered < self._cut].tolist()
        bound = float(betaincinv(self._above, self._n + 1 - self._above, 0.999))
        self._share = min(bound + MOST_ATTACKS, 1.0)
        self._rng = rng
        self._places: list[float] = []
        self._bets = np.full((2, len(_JUMPS), len(_SLOPES)), 0.5 / (2 * len(_JUMPS) * len(_SLOPES)))
        self._tail_bets = np.full(len(_STAKES), 0.5 / len(_STAKES))
        self._capital = 0.0  # log10; the bets are kept at a sum of 1, so that they never overflow
        self._peak = 0.0
        self._seen = 0
        self._crossed: int | None = None

    def add(self, value: float) -> None:
        """Take the next value, in time order."""
        self._bet_on_tail(above=value >= self._cut)
        self._seen += 1
        if value < self._cut:
            self._bet(self._place(value))
        total = float(self._bets.sum() + self._tail_bets.sum())
        self._bets /= total
        self._tail_bets /= total
        self._capital += math.log10(total)
        self._peak = max(self._peak, self._capital)
        if self._crossed is None and self._peak >= math.log10(LIMIT):
            self._crossed = self._seen - 1

    def _place(self, value: float) -> float:
        """Where a value stands among those before it, uniform in (0, 1); from now on it is one of them."""
        higher = len(self._pool) - bisect_right(self._pool, value)
        equal = len(self._pool) - higher - bisect_left(self._pool, value)
        place = (higher + self._rng.random() * (equal + 1)) / (len(self._pool) + 1)
        insort(self._pool, value)
        self._places.append(place)
        return place

    def evidence(self) -> Drift:
        """What has been found so far."""
        from scipy.stats import kstest  # half a second to import, which scoring should not wait for

        low, high = alarm_band(self._n, self._above / (self._n + 1), self._seen)
        return Drift(
            seen=self._seen,
            capital=self._capital,
            peak=self._peak,
            crossed=self._crossed,
            body=len(self._places),
            mean_place=float(np.mean(self._places)) if self._places else 0.5,
            ks_p=float(kstest(self._places, "uniform").pvalue) if self._places else 1.0,
            tail=self._seen - len(self._places),
            tail_band=(low, high),
        )

    def _bet(self, place: float) -> None:
        """Both bets have mean 1 over a uniform place: one on its mean, one on its distance from 1/2."""
        shift, spread = 2 * (place - 0.5), 12 * (place - 0.5) ** 2 - 1
        pools = self._bets.mean(axis=2, keepdims=True)
        self._bets = (1 - _JUMPS[:, None]) * self._bets + _JUMPS[:, None] * pools
        self._bets[0] *= 1 + _SLOPES * shift
        self._bets[1] *= 1 + _SLOPES * spread / 2

    def _bet_on_tail(self, *, above: bool) -> None:
        """Bets of mean 1 at most, while the probability of a value above the cut is in its bound."""
        stakes = np.minimum(_STAKES, 0.9 / self._share)
        self._tail_bets *= 1 + stakes * (above - self._share)


def drift(values: Iterable[float], calibrated: NDArray[np.float64], *, rng: np.random.Generator) -> Drift:
    """Test a whole stream of values in time order.

    Args:
        values: of transactions of one trace source, oldest first.
        calibrated: the held-out calibration values (n,) of that source.
        rng: breaks ties; another one gives another, equally valid capital.

    Raises:
        ConfigError: too few calibration values.
    """
    test = DriftTest(calibrated, rng)
    for value in values:
        test.add(value)
    return test.evidence()
