"""Token surprise to token p-value, each against benign tokens of the same field and modality.

The empirical p-value is u = (1 + #{s in sample: s >= surprise}) / (1 + n). Beyond the largest sample
value it would stop at 1 / (1 + n), so an exponential tail goes on from there: u falls by a factor of e
per `scale`. Exponential, because surprise is -log p: a calibrated model over V pieces has
P(-log p >= s) <= V exp(-s), and a power law in p is an exponential in -log p. Such a u is an
extrapolation that orders extremes; the guarantee is made later, by the conformal p-value.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.tokens import Field, Modality, TokenLosses, TokenSequence

SAMPLE_CAP = 20_000
FEWEST = 50
# Nats. A float32 softmax can answer p = 0; the cap keeps p-values above the smallest float.
SURPRISE_CAP = 600.0
# A calibrated model's tail falls by e per nat, so no sample may claim a steeper one.
SURPRISE_SCALE_FLOOR = 1.0
# In units of the tail's scale: what is larger by less than this is a tie. Many benign transactions are all
# alike, and where a batch was cut must not set one apart from the others.
TIE = 1e-4
_LN10 = math.log(10)

Key = tuple[Field, Modality]


@dataclass(frozen=True, slots=True, eq=False)
class Survival:
    """P(X >= x) of a sample, by counting, with an exponential tail beyond the largest value.

    A large sample is kept as blocks: `values` float64 (K,) ascending holds each block's maximum,
    `above` int64 (K,) the number of sample values in this block and all later ones. Rounding a block
    up to its maximum makes a p-value only larger. `scale` is the tail's, in the units of the sample.
    """

    values: NDArray[np.float64]
    above: NDArray[np.int64]
    scale: float

    @classmethod
    def fit(cls, sample: NDArray[np.floating], *, scale_floor: float, cap: int = SAMPLE_CAP) -> "Survival":
        """Keep a sample (n,), n >= 1, without NaN, in at most `cap` numbers: the top half of `cap` exactly.

        The tail's scale is the mean excess over the 1 % quantile (ten values at least), the maximum
        likelihood estimate for an exponential, but at least `scale_floor`.
        """
        ordered = np.sort(np.asarray(sample, dtype=np.float64))
        n = len(ordered)
        starts = np.arange(n)
        if n > cap:
            exact = cap // 2
            coarse = np.linspace(0, n - exact, cap - exact, endpoint=False).astype(np.int64)
            starts = np.concatenate((coarse, np.arange(n - exact, n)))
        ends = np.append(starts[1:], n)
        top = min(n - 1, max(10, math.ceil(0.01 * n)))
        excess = float(np.mean(ordered[n - top :]) - ordered[n - top - 1]) if top else 0.0
        return cls(ordered[ends - 1], n - starts, max(excess, scale_floor))

    @property
    def count(self) -> int:
        """Size of the fitted sample, n."""
        return int(self.above[0])

    def log10_p(self, x: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """log10 of the p-value of each x, any shape: never rising with x, strictly falling in the tail."""
        x = np.asarray(x, dtype=np.float64)
        reached = np.searchsorted(self.values, x - TIE * self.scale, side="left")
        counts = np.append(self.above, 0)[reached]
        beyond = np.maximum(x - self.values[-1], 0.0) / self.scale
        log10_p: NDArray[np.float64] = np.log10((1 + counts) / (1 + self.count)) - beyond / _LN10
        return log10_p

    def log10_p_of(self, x: float, *, heavy: bool = False) -> float:
        """`log10_p` of one number, in a tenth of the time.

        `heavy` takes a Pareto tail for the exponential one: twice the scale beyond the largest value divides
        p by three, not by e squared. It is for what may lie far outside without being as unlikely as that.
        """
        reached = bisect_left(self.values.data, x - TIE * self.scale)
        count = int(self.above[reached]) if reached < len(self.above) else 0
        beyond = max(x - float(self.values[-1]), 0.0) / self.scale
        decades = math.log10(1 + beyond) if heavy else beyond / _LN10
        return math.log10((1 + count) / (1 + self.count)) - decades


@dataclass(frozen=True, slots=True, eq=False)
class FieldCalibration:
    """What surprise is usual in each (field, modality); rare combinations use the pool of all."""

    fields: Mapping[Key, Survival]
    pooled: Survival

    @classmethod
    def fit(cls, pairs: Iterable[tuple[TokenSequence, TokenLosses]]) -> "FieldCalibration":
        """Learn from benign transactions. Combinations with fewer than 50 tokens use the pool.

        Raises:
            ValueError: no token of all pairs was scored, or a pair is not aligned.
        """
        keys, surprises = [], []
        for sequence, losses in pairs:
            surprise = _surprise(sequence, losses)
            scored = ~np.isnan(surprise)
            keys.append(_keys(sequence)[scored])
            surprises.append(surprise[scored])
        if not sum(map(len, surprises)):
            raise ValueError("no scored token to calibrate on")
        key, surprise = np.concatenate(keys), np.concatenate(surprises)
        fields = {}
        for each, count in zip(*np.unique(key, return_counts=True), strict=True):
            if count >= FEWEST:
                pair = Field(each // len(Modality)), Modality(each % len(Modality))
                fields[pair] = Survival.fit(surprise[key == each], scale_floor=SURPRISE_SCALE_FLOOR)
        return cls(fields, Survival.fit(surprise, scale_floor=SURPRISE_SCALE_FLOOR))

    def p_values(self, sequence: TokenSequence, losses: TokenLosses) -> NDArray[np.float64]:
        """Token p-values (T,) in (0, 1], NaN where a token was not scored.

        Raises:
            ValueError: the two are not aligned.
        """
        surprise = _surprise(sequence, losses)
        key = _keys(sequence)
        log10_p = np.full(len(surprise), np.nan)
        scored = np.flatnonzero(~np.isnan(surprise))
        scored = scored[np.argsort(key[scored], kind="stable")]
        for run in np.split(scored, np.flatnonzero(np.diff(key[scored])) + 1):
            if len(run):
                pair = Field(sequence.field[run[0]]), Modality(sequence.modality[run[0]])
                log10_p[run] = self.fields.get(pair, self.pooled).log10_p(surprise[run])
        return np.exp(_LN10 * log10_p)

    def least(self, field: Field, modality: Modality) -> float:
        """The smallest p-value that the benign tokens of a combination can show, 1 / (1 + n)."""
        return 1 / (1 + self.fields.get((field, modality), self.pooled).count)


def _keys(sequence: TokenSequence) -> NDArray[np.int64]:
    return sequence.field.astype(np.int64) * len(Modality) + sequence.modality


def _surprise(sequence: TokenSequence, losses: TokenLosses) -> NDArray[np.float64]:
    if losses.tx_hash != sequence.tx_hash or len(losses.surprise) != len(sequence):
        raise ValueError(f"losses of {losses.tx_hash} do not belong to the tokens of {sequence.tx_hash}")
    return np.minimum(losses.surprise.astype(np.float64), SURPRISE_CAP)
