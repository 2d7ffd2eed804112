"""What an account did in the last minutes, and what of that counts for what it does next.

An attack is seldom one transaction: its author deploys, approves, tries, takes, and takes away. Each step
alone may be ordinary; after a step that was not, the next one is less so, and a share of its value is carried
over. Bots repeat themselves all day, and must not push themselves up: the n-th time that an account reaches
a value, at most AT_MOST / n is carried over to it. What the steps took and gave is remembered, too, and
longer: blockscan.detect.dealings adds it up. A value that is carried over says part of that once more, which
is taken off.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from heapq import heappop, heappush
from operator import attrgetter
from typing import NamedTuple

from blockscan.chains.entry_points import ENTRY_POINTS
from blockscan.detect.dealings import Dealing

SECONDS = 240
"""How long it counts what a transaction took and gave; within minutes an attack's steps follow."""
CARRIED_SECONDS = 60
"""How long its value counts: what belongs to one attack comes close together, bots go on all day."""
AT_MOST = 1.5
"""What is carried over at the most, in the units of a value; of the n-th of its height one over n of it."""
OVERLAP = 0.5
"""How much of what a transaction owes to earlier ones by itself a value that is carried over says again."""
MOST_DEALINGS = 32
"""Of a busier account the latest ones are added up."""

Carrying = Callable[[float, float], float]
"""From a transaction's own value, and the part of it that is owed to its account's earlier transactions, to
what is carried over to it."""


class _Past(NamedTuple):
    time: int
    value: float
    dealing: Dealing | None


_TIME = attrgetter("time")


class Recent:
    """Values and dealings of the last minutes by account. Give it transactions in time order.

    One that comes too late finds what was before it and is not forgotten yet, and nothing of its future.
    """

    def __init__(self, share: float) -> None:
        """`share`: how much of the highest value is carried over, from 0 to below 1."""
        self._share = share
        self._known: dict[str, list[_Past]] = {}  # each in time order
        # Heaps by chain, whose times are their own; a single time far ahead must not keep all others.
        self._oldest: dict[str, list[tuple[int, str]]] = {}

    def carried(self, account: str | None, time: int | None) -> Carrying:
        """What is carried over to a transaction at `time` (Unix seconds); 0 where the time is unknown."""
        before = [past.value for past in self._before(account, time, CARRIED_SECONDS)]

        def over(own: float, owed: float) -> float:
            as_high = sum(value >= own - owed for value in before)
            carried = min(self._share * max(before, default=0.0), AT_MOST / (1 + as_high))
            return max(carried - OVERLAP * owed, 0.0)

        return over

    def dealings(self, account: str | None, time: int | None) -> list[Dealing]:
        """What the account's transactions before one at `time` took and gave, oldest first."""
        before = self._before(account, time, SECONDS)
        known = [past.dealing for past in before if past.dealing is not None]
        return known[-MOST_DEALINGS:]

    def add(
        self, account: str | None, time: int | None, value: float, dealing: Dealing | None = None
    ) -> None:
        """Note a value, with what was carried over to it; an infinite one says nothing of the account.

        Whoever is handed something in the dealing is found to have been.
        """
        if account is None or time is None:
            return
        chain = account.rpartition(":")[0]
        noted = {
            account: _Past(time, value if math.isfinite(value) else 0.0, dealing and dealing.shortened())
        }
        for heir, handed in dealing.to_heirs().items() if dealing else ():
            noted.setdefault(account_of(chain, heir), _Past(time, 0.0, handed))
        oldest = self._oldest.setdefault(chain, [])
        for whose, past in noted.items():
            insort(self._known.setdefault(whose, []), past, key=_TIME)
            heappush(oldest, (time, whose))
        while oldest[0][0] < time - SECONDS:
            self._forget(*heappop(oldest))

    def _forget(self, time: int, account: str) -> None:
        """What the account did until then."""
        known = self._known.get(account, [])
        del known[: bisect_right(known, time, key=_TIME)]
        if not known:
            self._known.pop(account, None)

    def _before(self, account: str | None, time: int | None, seconds: int) -> list[_Past]:
        if account is None or time is None:
            return []
        known = self._known.get(account, [])
        first = bisect_left(known, time - seconds, key=_TIME)
        return known[first : bisect_right(known, time, key=_TIME)]


def account_of(chain: str, sender: str) -> str:
    """How `Recent` is to know a sender: the same address on another chain may be somebody else's.

    What stands before the last colon is the chain, whose times forget no other's accounts.
    """
    return f"{chain}:{sender}"


def actor_of(chain: str, sender: str, target: str | None) -> str | None:
    """The account whose last minutes count for a transaction; None where its sender acts for strangers."""
    return None if target in ENTRY_POINTS else account_of(chain, sender)
