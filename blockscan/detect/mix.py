"""How large the transactions of late are, and what a p-value makes of it.

A split conformal p-value holds while new transactions are like the held-out ones. What changes first on a
chain is how many of them are plain payments, and payments have low values: where they become fewer, more of
the others alarm, each as ordinary as before. So every held-out value counts for as much as transactions of
its size are more frequent now than among the held-out ones (weighted conformal prediction under covariate
shift, Tibshirani et al. 2019), which takes no label. How frequent they are now is counted over the last
ones of the chain. That is exact for known shares and many held-out values of each class; of a class that
the calibration hardly holds, little is known and the level holds about. Whoever sends hundreds of large
transactions makes large ones look ordinary, at the price of their gas; what lies above all held-out values
has the same p-value whatever he does.
"""

import math
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EDGES = (math.log(2), math.log(10))
"""Log numbers of calls at which the second and the third class begin: payments, small ones, large ones."""
CLASSES = len(EDGES) + 1
LAST = 1000
"""Transactions over which it is counted how frequent each class is."""
OF_OLD = 20
"""Transactions for which what was held out counts beside them: a few of late say little."""
AT_MOST = 10.0
"""How many times as frequent a class counts at the most, and one over it at the least, before all are scaled
to one on the mean."""

Mix = tuple[int, ...]
"""How many of the last transactions are of each class; () where that is not known."""


def size_class(size: float) -> int:
    """The class of a transaction by the log of its number of calls, 0 to CLASSES - 1."""
    return sum(size >= edge for edge in EDGES)


class Mixes:
    """The mix of the last transactions by chain and trace source. Give it transactions in time order."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._last: dict[tuple[str, str], deque[int]] = {}
        self._counts: dict[tuple[str, str], Counter[int]] = {}

    def add(self, chain: str, source: str, size: float) -> Mix:
        """Note a transaction by the log of its number of calls; the mix with it."""
        stream = chain, source
        last, counts = self._last.setdefault(stream, deque()), self._counts.setdefault(stream, Counter())
        last.append(size_class(size))
        counts[last[-1]] += 1
        if len(last) > LAST:
            counts[last.popleft()] -= 1
        return tuple(counts[each] for each in range(CLASSES))


def weights(classes: NDArray[np.uint8], mix: Sequence[int]) -> NDArray[np.float64]:
    """What a held-out value of each class counts, (CLASSES,): one on the mean over those of `classes` (n,).

    `mix` is that of the last transactions, (CLASSES,).
    """
    held = np.bincount(classes, minlength=CLASSES) / len(classes)
    now = (np.asarray(mix) + OF_OLD * held) / (sum(mix) + OF_OLD)
    ratio = np.divide(now, held, out=np.ones(CLASSES), where=held > 0)
    weight: NDArray[np.float64] = np.clip(ratio, 1 / AT_MOST, AT_MOST)
    return weight / (weight @ held)


def at_least(classes: NDArray[np.uint8], place: int, mix: Sequence[int]) -> float:
    """What the held-out values from `place` on count, of n in all; their classes (n,), values ascending."""
    counted = weights(classes, mix) @ np.bincount(classes[place:], minlength=CLASSES)
    return min(float(counted), len(classes))
