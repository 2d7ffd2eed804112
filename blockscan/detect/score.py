"""Token p-values of a transaction to one value: higher = more anomalous, whatever the length.

Three statistics look at the same p-values: the mean of the strongest few (an attack has a few extreme
tokens, a mean over all would dilute them), Fisher's sum (many slightly odd tokens) and higher criticism
(Donoho and Jin 2004: more small p-values than chance gives). Each is turned into a p-value among benign
transactions of about the same number of tokens, which removes the effect of length. The value is -log10
of their harmonic mean (Wilson 2019): made for dependent tests, and close to the smallest of them, so that
a statistic that sees nothing does not drown one that does.

A fourth part, `length` (how rare so many tokens are), is off by default: it lets length count again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.surprise import Survival

DEFAULT_PARTS = ("strongest", "fisher", "criticism")
# Benign transactions per length class, and the largest number of classes.
CLASS_SIZE = 100
MOST_CLASSES = 16
# Statistics are in decades or standard deviations; a class whose members are all alike must not turn a
# rounding error into evidence.
PART_SCALE_FLOOR = 0.1


def strongest(p: NDArray[np.float64]) -> float:
    """Mean of the top m = max(5, 2 %) of -log10 p; p (N,) ascending, N >= 1."""
    m = min(len(p), max(5, math.ceil(0.02 * len(p))))
    return float(-np.log10(p[:m]).mean())


def fisher(p: NDArray[np.float64]) -> float:
    """Fisher's sum of -ln p, standardised: mean 0 and variance 1 were the tokens independent."""
    return float((-np.log(p) - 1).sum() / math.sqrt(len(p)))


def criticism(p: NDArray[np.float64]) -> float:
    """log10(1 + HC) with HC over the smaller half of p: HC itself is heavy-tailed."""
    n = len(p)
    half = p[: max(1, n // 2)]
    share = np.arange(1, len(half) + 1) / n
    deviation = math.sqrt(n) * (share - half) / np.sqrt(half * np.maximum(1 - half, 1 / n))
    return math.log10(1 + max(float(deviation.max()), 0.0))


def length(p: NDArray[np.float64]) -> float:
    """log10 of the number of scored tokens."""
    return math.log10(len(p))


PARTS: Mapping[str, Callable[[NDArray[np.float64]], float]] = {
    "strongest": strongest,
    "fisher": fisher,
    "criticism": criticism,
    "length": length,
}


@dataclass(frozen=True, slots=True, eq=False)
class ScoreModel:
    """How the statistics are distributed over benign transactions, by length.

    `anchors` float64 (A,) ascending: median log token count of each length class. `tails` holds per
    part one Survival for each class (a single one for `length`).
    """

    anchors: NDArray[np.float64]
    tails: Mapping[str, tuple[Survival, ...]]

    @classmethod
    def fit(
        cls, token_p: Sequence[NDArray[np.float64]], *, parts: Sequence[str] = DEFAULT_PARTS
    ) -> "ScoreModel":
        """Learn from the token p-values (T,) of benign transactions; those without any are left out.

        Raises:
            ValueError: nothing to learn from, or an unknown part.
        """
        unknown = set(parts) - set(PARTS)
        if unknown or not parts:
            raise ValueError(f"unknown parts {sorted(unknown)}; there are {', '.join(PARTS)}")
        evidence = [kept for kept in map(_ascending, token_p) if len(kept)]
        if not evidence:
            raise ValueError("no scored token to fit the score on")
        sizes = np.log([len(p) for p in evidence])
        anchors, classes = _length_classes(sizes)
        tails = {}
        for part in parts:
            statistic = np.array([PARTS[part](p) for p in evidence])
            members = [np.arange(len(statistic))] if part == "length" else classes
            tails[part] = tuple(
                Survival.fit(statistic[each], scale_floor=PART_SCALE_FLOOR) for each in members
            )
        return cls(anchors, tails)

    def value(self, token_p: NDArray[np.float64]) -> float:
        """-log10 of the harmonic mean of the parts' p-values: >= 0, and 0 where no token was scored."""
        evidence = _ascending(token_p)
        if not len(evidence):
            return 0.0
        size = math.log(len(evidence))
        strengths = [
            -self._log10_p(tails, PARTS[part](evidence), size=size) for part, tails in self.tails.items()
        ]
        peak = max(strengths)
        return max(peak + math.log10(sum(10 ** (each - peak) for each in strengths) / len(strengths)), 0.0)

    def _log10_p(self, tails: tuple[Survival, ...], statistic: float, *, size: float) -> float:
        """Between two length classes the log p-values are interpolated; outside, the outer class counts."""
        if len(tails) == 1:
            return float(tails[0].log10_p(statistic))
        right = min(max(int(np.searchsorted(self.anchors, size)), 1), len(self.anchors) - 1)
        low, high = self.anchors[right - 1], self.anchors[right]
        weight = min(max((size - low) / (high - low), 0.0), 1.0)
        left_p, right_p = (tails[i].log10_p(statistic) for i in (right - 1, right))
        return float((1 - weight) * left_p + weight * right_p)


def _ascending(token_p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sort(token_p[~np.isnan(token_p)])


def _length_classes(sizes: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[NDArray[np.intp]]]:
    """Anchors (A,), strictly ascending, and the members of each class, of about equal number."""
    wanted = min(max(len(sizes) // CLASS_SIZE, 1), MOST_CLASSES)
    classes: dict[float, list[NDArray[np.intp]]] = {}
    for members in np.array_split(np.argsort(sizes, kind="stable"), wanted):
        # Many transactions have the same length exactly; classes with one anchor become one class.
        classes.setdefault(float(np.median(sizes[members])), []).append(members)
    return np.array(list(classes)), [np.concatenate(members) for members in classes.values()]
