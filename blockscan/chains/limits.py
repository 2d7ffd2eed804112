"""How hard an endpoint may be pressed: a token bucket, backoff with jitter, a circuit breaker."""

import random
import threading
import time
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 120.0
"""Seconds: no answer of a server makes a client wait longer before it tries again."""
FAILURES_TO_OPEN = 5
FIRST_COOLDOWN = 2.0
FIRST_BATCH, LARGEST_BATCH = 64, 256
"""Calls in one batch; providers commonly allow 100 to 1,000."""


class TokenBucket:
    """At most `rate` requests a second on average, one second's worth at once. None never waits."""

    def __init__(self, rate: float | None) -> None:
        """Start full."""
        self._rate = rate
        self._burst = max(1.0, rate or 1.0)
        self._level = self._burst
        self._filled = time.monotonic()
        self._lock = threading.Lock()

    def take(self, count: int = 1) -> None:
        """Wait until `count` requests may be sent; more than the burst leave a debt for those after."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._level = min(self._burst, self._level + (now - self._filled) * self._rate)
            self._filled = now
            self._level -= count
            wait = -self._level / self._rate
        if wait > 0:
            time.sleep(wait)


class Breaker:
    """Counts failures in a row: after five the endpoint rests, twice as long each further time.

    One request is let through when the rest is over; its success closes the circuit again.
    """

    def __init__(self) -> None:
        """Closed."""
        self._failures = 0
        self._until = 0.0
        self._lock = threading.Lock()

    def failed(self) -> None:
        """Note a failure that was the endpoint's."""
        with self._lock:
            self._failures += 1
            over = self._failures - FAILURES_TO_OPEN
            if over >= 0:
                cooldown = min(LONGEST_WAIT, FIRST_COOLDOWN * 2 ** min(over, 10))
                self._until = max(self._until, time.monotonic() + cooldown)

    def succeeded(self) -> None:
        """Note an answer."""
        with self._lock:
            self._failures, self._until = 0, 0.0

    def rest(self, seconds: float) -> None:
        """Rest because the endpoint asked for it (Retry-After)."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + min(seconds, LONGEST_WAIT))

    @property
    def blocked(self) -> float:
        """Seconds until the endpoint should be asked again; 0 where it may be asked now."""
        return max(0.0, self._until - time.monotonic())


class BatchSize:
    """How many calls fit into one batch: halved when a batch fails, doubled after eight that did not."""

    def __init__(self) -> None:
        self.now = FIRST_BATCH
        self._streak = 0

    def failed(self, size: int) -> None:
        """A batch of `size` was refused, too large or only partly answered."""
        self.now, self._streak = max(1, size // 2), 0

    def worked(self, size: int) -> None:
        """A batch of `size` was answered whole."""
        self._streak += size == self.now
        if self._streak >= 8:
            self.now, self._streak = min(LARGEST_BATCH, self.now * 2), 0


def backoff(attempt: int, pause: float, asked: float, jitter: random.Random) -> float:
    """Seconds to wait before try number `attempt` (1 is the second): exponential, 0.5 to 1.5 times.

    `asked` is what the server wants (Retry-After); no less is waited, and never over two minutes.
    """
    wait = pause * 2.0 ** (attempt - 1) * (0.5 + jitter.random())
    return float(min(LONGEST_WAIT, max(wait, asked)))


def retry_after(value: str | None) -> float:
    """Seconds of a Retry-After header, in either of its forms (RFC 9110, 10.2.3); 0 where there is none."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else 0.0
