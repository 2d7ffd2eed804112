"""What an account did in the last minutes: part of that is carried over to what it does next.

An attack is seldom one transaction: its author deploys, approves, tries, takes, and takes away. Each step
alone may be ordinary; after a step that was not, the next one is less so.
"""

import math
from collections import defaultdict, deque

SECONDS = 240
"""How long a transaction counts; within minutes of each other an attack's steps follow."""


class Recent:
    """The values of the last minutes by account. Give it transactions in time order.

    One that comes too late finds what was before it and is not forgotten yet, and nothing of its future.
    """

    def __init__(self, share: float) -> None:
        """`share`: how much of the highest value is carried over, from 0 to below 1."""
        self._share = share
        self._values: dict[str, deque[tuple[int, float]]] = defaultdict(deque)
        self._order: deque[tuple[int, str]] = deque()

    def carried(self, account: str, time: int | None) -> float:
        """What is carried over to a transaction at `time` (Unix seconds); 0 where the time is unknown."""
        if time is None or account not in self._values:
            return 0.0
        recent = (value for since, value in self._values[account] if time - SECONDS <= since <= time)
        return self._share * max(recent, default=0.0)

    def add(self, account: str, time: int | None, value: float) -> None:
        """Note a value, with what was carried over to it; an infinite one says nothing of the account."""
        if time is None or not math.isfinite(value):
            return
        self._values[account].append((time, value))
        self._order.append((time, account))
        while self._order[0][0] < time - SECONDS:
            _, gone = self._order.popleft()
            self._values[gone].popleft()
            if not self._values[gone]:
                del self._values[gone]
