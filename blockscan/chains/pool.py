"""Several endpoints for one chain: read from text, chosen by weight and health, rotated on failure.

An endpoint is written as its URL with settings in the fragment, which is never sent:
`https://node.example/KEY#weight=2&rps=25&concurrent=8&timeout=30&max_mb=128`.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from blockscan.chains.checks import InvalidAnswer
from blockscan.chains.redaction import redact
from blockscan.chains.transport import (
    AnswerTooLarge,
    Endpoint,
    Forbidden,
    MethodAbsent,
    MethodRefused,
    StateAbsent,
    TracerDown,
    Unanswered,
    Untraceable,
)
from blockscan.errors import ChainError, ConfigError, RpcError

ROUNDS = 3
"""How often every endpoint of a pool is tried before a call fails."""
PAUSE = 0.2
"""Seconds to wait before the second round, twice that before the third."""
_FINAL = (MethodRefused, Forbidden, AnswerTooLarge, Untraceable)
_ALIKE: tuple[tuple[tuple[type[ChainError], ...], type[ChainError]], ...] = (
    ((MethodAbsent,), MethodAbsent),
    ((StateAbsent,), StateAbsent),
    ((MethodRefused,), MethodRefused),
    ((AnswerTooLarge,), AnswerTooLarge),
    ((AnswerTooLarge, Unanswered), Unanswered),
    ((MethodRefused, Forbidden, AnswerTooLarge), MethodRefused),
)
"""What the failures of all endpoints are together, where each is one of these."""


Value = TypeVar("Value")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    if not 1 <= int(text) <= 1000:
        raise ValueError(text)
    return int(text)


_SETTINGS: dict[str, tuple[str, Callable[[str], float]]] = {
    "weight": ("weight", _positive),
    "rps": ("rps", _positive),
    "concurrent": ("concurrent", _count),
    "timeout": ("timeout", _positive),
    "max_mb": ("max_bytes", lambda text: int(_positive(text) * 1024 * 1024)),
    "attempts": ("attempts", _count),
}
"""What the fragment of an endpoint's URL may set: the argument of Endpoint, and what reads its value."""


def read_endpoints(texts: Sequence[str]) -> "Pool":
    """A pool of the endpoints named in `texts`, each holding one or more, separated by commas or blanks.

    Raises:
        ConfigError: there is none, or a setting is unknown or out of range.
        RpcError: a URL is not http(s).
    """
    urls = [url for text in texts for url in text.replace(",", " ").split()]
    if not urls:
        raise ConfigError("give at least one JSON-RPC URL, with --rpc or in BLOCKSCAN_RPC")
    alone = len(urls) == 1
    return Pool([_endpoint(url, attempts=5 if alone else 2) for url in urls])


def _endpoint(text: str, *, attempts: int) -> Endpoint:
    url, _, fragment = text.partition("#")
    settings: dict[str, Any] = {"attempts": attempts}
    for name, value in parse_qsl(fragment, keep_blank_values=True):
        if name not in _SETTINGS:  # not repeated: it may be a key
            raise ConfigError(f"{redact(url)}: after # only settings may stand: {', '.join(_SETTINGS)}")
        target, read = _SETTINGS[name]
        try:
            settings[target] = read(value)
        except ValueError:
            raise ConfigError(f"{redact(url)}: the setting {name} is no usable number") from None
    return Endpoint(url, **settings)


class Pool:
    """Endpoints of one chain. `fetch` is an Endpoint's, over all of them."""

    def __init__(self, endpoints: Sequence[Endpoint], rng: random.Random | None = None) -> None:
        """Take over endpoints; `rng` settles ties by weight."""
        self.endpoints = tuple(endpoints)
        self.shown = ", ".join(endpoint.shown for endpoint in endpoints)
        self._rng = rng or random.Random()

    @property
    def concurrent(self) -> int:
        """Requests that may be under way at once, over all endpoints."""
        return sum(endpoint.concurrent for endpoint in self.endpoints)

    def order(self, among: Sequence[Endpoint]) -> list[Endpoint]:
        """Endpoints in the order to try them: by weighted chance, those at rest last."""
        left = list(among)
        ordered = []
        while ready := [each for each in left if not each.breaker.blocked]:
            chosen = self._rng.choices(ready, [each.weight for each in ready])[0]
            ordered.append(chosen)
            left.remove(chosen)
        return ordered + sorted(left, key=lambda each: each.breaker.blocked)

    def attempt(self, act: Callable[[Endpoint], Value], among: Sequence[Endpoint] | None = None) -> Value:
        """Do something at the endpoint whose turn it is; on failure the next one is asked, three rounds long.

        An endpoint that refuses is not asked again; where all rest, the first to be ready is waited for.

        Raises:
            MethodRefused: every endpoint answered with a JSON-RPC error.
            ChainError: all of them failed.
        """
        failures: dict[Endpoint, ChainError] = {}
        left = list(self.endpoints if among is None else among)
        alone = len(left) == 1  # a single endpoint has made its own attempts
        for turn in range(ROUNDS):
            if turn and left:
                time.sleep(max(PAUSE * turn, min(endpoint.breaker.blocked for endpoint in left)))
            for endpoint in self.order(left):
                try:
                    return act(endpoint)
                except ChainError as error:
                    failures[endpoint] = error
                    if isinstance(error, _FINAL) or (alone and isinstance(error, RpcError)):
                        left.remove(endpoint)
        raise summed(list(failures.values()))

    def fetch(self, method: str, params: Sequence[Any]) -> tuple[Any, bytes]:
        """Call a method; see `Endpoint.fetch` and `attempt`."""
        return self.attempt(lambda endpoint: endpoint.fetch(method, params))


def summed(failures: Sequence[ChainError]) -> ChainError:
    """One error for the failures of several endpoints.

    A trace that one of them cannot make comes before all: to wait for the others would let it stop
    everything after it. Then an answer that does not hold together; then a tracer that is down, which is
    waited for, but not for ever; then RpcError where an endpoint failed; a refusal only where each refused.
    """
    if len(failures) == 1:
        return failures[0]
    text = "; ".join(dict.fromkeys(str(failure) for failure in failures))
    if any(isinstance(failure, Untraceable) for failure in failures):
        return Untraceable(text)
    for failure in failures:
        if isinstance(failure, InvalidAnswer):
            return InvalidAnswer(text, failure.raw)
    if any(isinstance(failure, TracerDown) for failure in failures):
        return TracerDown(text)
    for kinds, sum_ in _ALIKE:
        if all(isinstance(failure, kinds) for failure in failures):
            return sum_(text)
    if any(isinstance(failure, RpcError) for failure in failures):
        return RpcError(text)
    return ChainError(text)
