"""JSON-RPC over HTTP under web3's encoding, hardened: limits, retries, redaction, heap-only decoding.

web3 gives `debug_*`, `trace_*` and batches one attempt, decodes with the recursive standard library and
puts the URL, key included, into logs and exceptions; this transport does none of that. Answers are kept
as the bytes that came, because the archive stores them verbatim. Several endpoints: `pool`; batches:
`batching`.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from blockscan.chains.decode import decode
from blockscan.chains.limits import LONGEST_WAIT, BatchSize, Breaker, TokenBucket, backoff, retry_after
from blockscan.chains.redaction import guard, redact, scrub
from blockscan.errors import ParseError, RpcError

__all__ = [
    "AnswerTooLarge",
    "Endpoint",
    "Forbidden",
    "MethodAbsent",
    "MethodRefused",
    "StateAbsent",
    "TracerDown",
    "Unanswered",
    "Untraceable",
    "redact",
]

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of one answer, after decompression, unless the endpoint is given another limit."""
RATE_LIMITED = {-32005, -32029, 429}
"""JSON-RPC error codes that mean "later": EIP-1474 limit exceeded and two that providers use."""
PASSING = {-32603}
"""Internal error (JSON-RPC 2.0): worth another try."""
ABSENT = {-32601, -32004}
"""Method not found (JSON-RPC 2.0), method not supported (EIP-1474)."""
_ABSENT_TEXTS = (
    "not available",
    "not supported",
    "unsupported",
    "does not exist",
    "not found",
    "not whitelisted",
)
_STATE_TEXTS = (
    "historical",
    "history",
    "trie node",
    "prun",
    "archive",
    "no state",
    "state is not",
    "state not",
    "state unavailable",
    "world state",
    "not found",
    "unknown block",
)
_RATE_TEXTS = ("rate limit", "too many requests", "compute units per second", "request limit")
_HOST = re.compile(r"[\w.-]+", re.ASCII)
_CHUNK = 1 << 16
_CONNECT_SECONDS = 10.0

Value = TypeVar("Value")


class MethodRefused(RpcError):
    """The endpoint answered with a JSON-RPC error that another attempt will not change."""


class MethodAbsent(MethodRefused):
    """The endpoint does not offer the method at all, or not on this plan."""


class StateAbsent(MethodRefused):
    """The endpoint has the method, and not, not yet or no more what it needs for this block."""


class AnswerTooLarge(RpcError):
    """An answer, or the request that asks for it, is over a size limit: ask for less at once."""


class Forbidden(RpcError):
    """The endpoint turns this user away (HTTP status 401, 403 and the like): no use in asking again."""


class Unanswered(RpcError):
    """No attempt gave a usable answer: the endpoint is down, or cannot bear what is asked."""


class Untraceable(RpcError):
    """The endpoint traces, but not this: it is too long, too large, or breaks the tracer."""


class TracerDown(RpcError):
    """The endpoint answers, and its tracer does not, whatever it is asked."""


class Retry(Exception):
    """A failure that another attempt may mend; `after` is what the server asked to wait, in seconds."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        """Say what failed."""
        super().__init__(reason)
        self.after = after


class RateLimited(Retry):
    """Too many requests: says nothing of the request itself."""


class TimedOut(Retry):
    """The time limit is up: what took so long once is asked for once more, not again and again."""


class Endpoint:
    """One JSON-RPC endpoint. `fetch` returns the decoded result and the body it came in. Thread-safe."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 60.0,
        attempts: int = 5,
        pause: float = 0.5,
        weight: float = 1.0,
        rps: float | None = None,
        concurrent: int = 4,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Prepare; connects on first use.

        Args:
            url: http or https URL.
            timeout: seconds for one request, from sending to the last byte.
            attempts: tries before giving up; waits `pause` x 2^n seconds with jitter between them.
            pause: first wait in seconds.
            weight: share of the work among several endpoints.
            rps: requests a second; each member of a batch counts. None: no limit.
            concurrent: requests under way at once.
            max_bytes: longest answer that is read.

        Raises:
            RpcError: the URL is not http(s), or its host or port cannot be one.
        """
        if not _is_usable(url):
            raise RpcError(
                f"{redact(url)}: an RPC URL must begin with http:// or https:// and name a valid host, "
                "and a port, if any, from 1 to 65535"
            )
        guard(url)
        self.shown = redact(url)
        self.weight = weight
        self.concurrent = concurrent
        self.breaker = Breaker()
        self.attempts = attempts
        self.batches = BatchSize()
        self._url = url
        self.timeout = timeout
        self._pause = pause
        self._max_bytes = max_bytes
        self._bucket = TokenBucket(rps)
        self._slots = threading.BoundedSemaphore(concurrent)
        self._jitter = random.Random()
        self._session = requests.Session()
        # Proxies and certificates of the environment are read once: doing so per request costs as much
        # as the rest of a small call.
        found = self._session.merge_environment_settings(url, {}, None, None, None)
        self._session.proxies, self._session.verify = found["proxies"], found["verify"]
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=concurrent))
        self._provider = HTTPProvider(url, session=self._session, exception_retry_configuration=None)
        self._session.headers.update(self._provider.get_request_headers())

    def __repr__(self) -> str:
        return f"Endpoint({self.shown})"

    def fetch(self, method: str, params: Sequence[Any]) -> tuple[Any, bytes]:
        """Call a method, retrying what a later attempt can mend.

        Returns:
            The `result` and the whole response body.

        Raises:
            MethodRefused: the endpoint answered with a JSON-RPC error.
            AnswerTooLarge: the answer is longer than the limit.
            Unanswered: the endpoint failed `attempts` times; the URL's key is never shown.
            RpcError: it turns this user away, or limits the rate for so long.
        """
        request = self._provider.encode_rpc_request(RPCEndpoint(method), list(params))
        return self.call(method, request, lambda answer: self.result(method, answer))

    def call(
        self, method: str, request: bytes, read: Callable[[Any], Value], *, cost: int = 1
    ) -> tuple[Value, bytes]:
        """Send one encoded request until `read` accepts the decoded answer; see `fetch`.

        Args:
            method: for messages.
            request: the body to send.
            read: gives the value, or raises Retry or an RpcError.
            cost: requests that the endpoint will count.
        """
        last, late = Retry(""), 0
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(backoff(attempt, self._pause, last.after, self._jitter))
            try:
                body = self._post(method, request, cost)
                value = read(decode(body))
            except ParseError as error:
                last = Retry(f"answered something that is not JSON ({error})")
            except Retry as retry:
                last = retry
                if retry.after:
                    self.breaker.rest(retry.after)
            except (MethodRefused, AnswerTooLarge):
                self.breaker.succeeded()
                raise
            else:
                self.breaker.succeeded()
                return value, body
            self.breaker.failed()
            late += isinstance(last, TimedOut)
            if late == 2:
                break
        tries = f"{attempt + 1} attempt{'s' if attempt else ''}"
        kind = RpcError if isinstance(last, RateLimited) else Unanswered
        raise kind(f"{self.shown} {method}: {scrub(str(last))} ({tries}); check the endpoint or try later")

    def result(self, method: str, answer: Any) -> Any:
        """The result of one JSON-RPC response object.

        Raises:
            Retry: rate limited, or no response object at all.
            MethodRefused: any other JSON-RPC error.
        """
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise Retry("answered something that is not a JSON-RPC response")
        if answer.get("error") is None and "result" in answer:
            return answer["result"]
        error = answer["error"]
        code = error.get("code") if isinstance(error, dict) else None
        text = scrub(" ".join(str(error.get("message") if isinstance(error, dict) else error).split()))[:200]
        lower = text.lower()
        if code in RATE_LIMITED or any(mark in lower for mark in _RATE_TEXTS):
            raise RateLimited(f"rate limit ({text})")
        if code in PASSING:
            raise Retry(f"internal error ({text})")
        named = "method" in lower or method.lower() in lower
        absent = code in ABSENT or (named and any(mark in lower for mark in _ABSENT_TEXTS))
        wanting = StateAbsent if any(mark in lower for mark in _STATE_TEXTS) else MethodRefused
        kind = MethodAbsent if absent else wanting
        raise kind(f"{self.shown} {method}: error {code}: {text}")

    def _post(self, method: str, request: bytes, cost: int) -> bytes:
        self._bucket.take(cost)
        deadline = time.monotonic() + self.timeout
        timeouts = (min(_CONNECT_SECONDS, self.timeout), self.timeout)
        with self._slots:
            try:
                with self._session.post(
                    self._url, data=request, timeout=timeouts, stream=True, allow_redirects=False
                ) as response:
                    body = self._read(method, response, deadline)
                    self._accept(method, response, body)
                    return body
            except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
                raise TimedOut(f"no answer within {self.timeout:g} s") from None
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise Retry(f"no answer ({type(error).__name__})") from None

    def _read(self, method: str, response: requests.Response, deadline: float) -> bytes:
        """The whole body, as it arrives: a drip of bytes or a flood of them ends in an error."""
        chunks: list[bytes] = []
        size = 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_bytes:
                raise AnswerTooLarge(
                    f"{self.shown} {method}: the answer is longer than {self._max_bytes:,} bytes; "
                    "allow more with #max_mb=N after the URL"
                )
            if time.monotonic() > deadline:
                raise TimedOut(f"the answer took longer than {self.timeout:g} s")
        return b"".join(chunks)

    def _accept(self, method: str, response: requests.Response, body: bytes) -> None:
        """Statuses other than 200: later, never, or an ordinary JSON-RPC error all the same."""
        code = response.status_code
        if code == 200:
            return
        if code == 413:
            raise AnswerTooLarge(f"{self.shown} {method}: HTTP status 413, the request is too large")
        if code == 429 or code >= 500:
            kind = {429: RateLimited, 504: TimedOut}.get(code, Retry)
            raise kind(f"HTTP status {code}", retry_after(response.headers.get("Retry-After")))
        if code not in (401, 403) and _is_error(body):
            return
        self.breaker.rest(LONGEST_WAIT)
        raise Forbidden(f"{self.shown} {method}: HTTP status {code}; check the URL and its key")


def _is_usable(url: str) -> bool:
    """Whether a request can be sent to a URL at all; what never can is not worth an attempt."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()  # refuses labels that are empty or too long
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and port != 0 and (":" in host or bool(_HOST.fullmatch(host)))


def _is_error(body: bytes) -> bool:
    """Whether a body is a JSON-RPC error object (providers send them under status 400 and 404)."""
    if len(body) > _CHUNK:
        return False
    try:
        answer = decode(body)
    except ParseError:
        return False
    return isinstance(answer, dict) and isinstance(answer.get("error"), dict)
