"""JSON-RPC over HTTP through web3's provider, hardened: retries, redaction, heap-only decoding.

web3 gives `debug_*`, `trace_*` and batches one attempt, decodes with the recursive standard library and
puts the URL, key included, into logs and exceptions; this transport does none of that. Answers are kept
as the bytes that came, because the archive stores them verbatim.
"""

import logging
import random
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from blockscan.chains.decode import decode
from blockscan.errors import ParseError, RpcError

RATE_LIMITED = {-32005, -32029, 429}
"""JSON-RPC error codes that mean "later": EIP-1474 limit exceeded and two that providers use."""

logging.getLogger("web3.providers.HTTPProvider").disabled = True  # it logs the URL with its key


def redact(url: str) -> str:
    """The URL without user, password, path and query: the places where providers put keys."""
    parts = urlsplit(url)
    host = parts.hostname or "unknown-host"
    port = f":{parts.port}" if parts.port else ""
    hidden = "/…" if parts.path.strip("/") or parts.query or parts.username else ""
    return f"{parts.scheme}://{host}{port}{hidden}"


class Endpoint:
    """One JSON-RPC endpoint. `fetch` returns the decoded result and the body it came in."""

    def __init__(self, url: str, *, timeout: float = 60.0, attempts: int = 5, pause: float = 0.5) -> None:
        """Prepare; connects on first use.

        Args:
            url: http or https URL.
            timeout: seconds for one request.
            attempts: tries before giving up; waits `pause` x 2^n seconds with jitter between them.
            pause: first wait in seconds.

        Raises:
            RpcError: the URL is not http(s).
        """
        try:
            usable = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
        except ValueError:
            usable = False
        if not usable:
            raise RpcError("the RPC URL must begin with http:// or https:// and name a host")
        self.shown = redact(url)
        self._attempts = attempts
        self._pause = pause
        self._jitter = random.Random()
        self._provider = HTTPProvider(
            url, request_kwargs={"timeout": timeout}, exception_retry_configuration=None
        )

    def __repr__(self) -> str:
        return f"Endpoint({self.shown})"

    def fetch(self, method: str, params: Sequence[Any]) -> tuple[Any, bytes]:
        """Call a method, retrying what a later attempt can mend.

        Returns:
            The `result` and the whole response body.

        Raises:
            RpcError: the endpoint refused, or failed `attempts` times; the URL's key is never shown.
        """
        failure = ""
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1) * (0.5 + self._jitter.random()))
            try:
                body = self._post(method, params)
                answer = decode(body)
            except _Retry as retry:
                failure = str(retry)
                continue
            except ParseError as error:
                failure = f"answered something that is not JSON ({error})"
                continue
            if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
                failure = "answered something that is not a JSON-RPC response"
                continue
            if answer.get("error") is None and "result" in answer:
                return answer["result"], body
            failure = self._refusal(method, answer["error"])
        raise RpcError(
            f"{self.shown} {method}: {failure} ({self._attempts} attempts); check the endpoint or try later"
        )

    def _post(self, method: str, params: Sequence[Any]) -> bytes:
        request = self._provider.encode_rpc_request(RPCEndpoint(method), list(params))
        try:
            return self._provider._make_request(RPCEndpoint(method), request)
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            if code == 429 or code >= 500:
                raise _Retry(f"HTTP status {code}") from None
            raise RpcError(f"{self.shown} {method}: HTTP status {code}; check the URL and its key") from None
        except requests.RequestException as error:
            raise _Retry(f"no answer ({type(error).__name__})") from None

    def _refusal(self, method: str, error: Any) -> str:
        """The text of a rate-limit error (worth another try); any other JSON-RPC error is final."""
        code = error.get("code") if isinstance(error, dict) else None
        text = str(error.get("message") if isinstance(error, dict) else error)[:200]
        if code in RATE_LIMITED:
            return f"rate limit ({text})"
        raise MethodRefused(f"{self.shown} {method}: error {code}: {text}")


class MethodRefused(RpcError):
    """The endpoint answered with a JSON-RPC error that another attempt will not change."""


class _Retry(Exception):
    """A failure that another attempt may mend."""
