"""Counts of very many things in little memory: 63-bit keys in a sorted array, their counts beside them.

A key is a hash of what was counted, so a tally holds no text and its size does not depend on names. Numbers
are counted in logarithmic bins: the low bits of a key are its bin, and the counts of all larger numbers of
the same thing stand next to each other.
"""

import math
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

BINS = 1024
BINS_PER_DECADE = 20
# Arguments have a sign: fewer bins to a decade, on both sides of the middle one.
SIGNED_BINS_PER_DECADE = 12
# So many amounts are needed for the tail beyond the largest of them to be taken at its full slope.
TRUSTED = 20
_LAST = BINS - 1


@lru_cache(maxsize=1 << 17)
def key_of(*parts: Hashable) -> int:
    """A 53-bit hash of strings, bytes or numbers, above ten clear bits: BLAKE2b of their representation."""
    digest = blake2b(repr(parts).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) >> 1 & ~_LAST


def amount_bin(amount: int) -> int:
    """The bin of an amount above 0: twenty to a decade, the last one for all that is larger than 10^51."""
    return min(_LAST, int(math.log10(amount) * BINS_PER_DECADE))


def signed_bin(number: int) -> int:
    """The bin of a number of either sign below 2^128 in size: twelve to a decade, 512 for zero."""
    return BINS // 2 + int(math.copysign(math.log10(1 + abs(number)) * SIGNED_BINS_PER_DECADE, number))


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Frozen counts: `keys` uint64 (K,) strictly ascending; `before` int64 (K + 1,), sums of earlier ones."""

    keys: NDArray[np.uint64]
    before: NDArray[np.int64]

    @classmethod
    def of(cls, counts: "dict[int, int]") -> "Tally":
        """From counts by key."""
        keys = np.fromiter(counts, np.uint64, len(counts))
        order = np.argsort(keys)
        values = np.fromiter(counts.values(), np.int64, len(counts))[order]
        return cls(keys[order], np.concatenate(([0], np.cumsum(values))))

    def plus(self, other: "Tally") -> "Tally":
        """The counts of both."""
        keys, place = np.unique(np.concatenate((self.keys, other.keys)), return_inverse=True)
        sizes = np.concatenate((np.diff(self.before), np.diff(other.before)))
        total = np.bincount(place, sizes, len(keys)).astype(np.int64)
        return Tally(keys, np.concatenate(([0], np.cumsum(total))))

    def count(self, key: int) -> int:
        """How often one key was counted."""
        return self.between(key, key)

    def between(self, low: int, high: int) -> int:
        """Sum of the counts of all keys from `low` to `high`, both included."""
        begin, end = self._places(low, high)
        return int(self.before[end] - self.before[begin]) if end > begin else 0

    def amounts(self, key: int) -> int:
        """How many amounts were counted under a key."""
        return self.between(key, key + _LAST)

    def log10_p(self, key: int, here: int, *, per_decade: int = BINS_PER_DECADE) -> float:
        """log10 of (1 + numbers in bin `here` or above) / (1 + all numbers), 0 where nothing was counted.

        Beyond the largest number counted it falls on, by one for each decade and less where few were counted:
        twice the largest of three amounts says little, a thousand times the largest of a hundred much.
        """
        begin, end = self._places(key, key + _LAST)
        if begin == end:
            return 0.0
        above = self.between(key + here, key + _LAST)
        return self._log10_p(begin, end, above, (here - int(self.keys[end - 1]) % BINS) / per_decade)

    def log10_p_below(self, key: int, here: int, *, per_decade: int = BINS_PER_DECADE) -> float:
        """The same of numbers in bin `here` or below, and beyond the smallest of them."""
        begin, end = self._places(key, key + _LAST)
        if begin == end:
            return 0.0
        below = self.between(key, key + here)
        return self._log10_p(begin, end, below, (int(self.keys[begin]) % BINS - here) / per_decade)

    def _log10_p(self, begin: int, end: int, so_far_out: int, beyond: float) -> float:
        total = int(self.before[end] - self.before[begin])
        return math.log10((1 + so_far_out) / (1 + total)) - max(0.0, beyond) * min(1.0, total / TRUSTED)

    def _places(self, low: int, high: int) -> tuple[int, int]:
        keys = self.keys.data  # bisecting a memoryview is three times as fast as np.searchsorted of one key
        begin = bisect_left(keys, low)
        return begin, bisect_left(keys, high + 1, begin)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Frozen sums of amounts of either sign: `keys` uint64 (K,) strictly ascending, `totals` float64 (K,)."""

    keys: NDArray[np.uint64]
    totals: NDArray[np.float64]

    @classmethod
    def of(cls, totals: Mapping[int, int]) -> "Sums":
        """From sums by key; those that came to nothing are left out."""
        kept = {key: total for key, total in totals.items() if total}
        keys = np.fromiter(kept, np.uint64, len(kept))
        order = np.argsort(keys)
        return cls(keys[order], np.fromiter(map(float, kept.values()), np.float64, len(kept))[order])

    def plus(self, other: "Sums") -> "Sums":
        """The sums of both."""
        keys, place = np.unique(np.concatenate((self.keys, other.keys)), return_inverse=True)
        totals = np.bincount(place, np.concatenate((self.totals, other.totals)), len(keys))
        return Sums(keys[totals != 0], totals[totals != 0].astype(np.float64))

    def total(self, key: int) -> float:
        """The sum of one key, 0 where there is none."""
        place = bisect_left(self.keys.data, key)
        return float(self.totals[place]) if place < len(self.keys) and self.keys[place] == key else 0.0


def count_all(counts: dict[int, int], keys: Iterable[int]) -> None:
    """Add one for each key."""
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
