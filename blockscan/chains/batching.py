"""JSON-RPC batches of one method, as large as the endpoint bears."""

from collections.abc import Sequence
from typing import Any

import orjson

from blockscan.chains.transport import AnswerTooLarge, Endpoint, MethodRefused, Retry
from blockscan.errors import RpcError

Answers = dict[int, Any | MethodRefused | AnswerTooLarge]


def fetch_each(endpoint: Endpoint, method: str, params: Sequence[Sequence[Any]]) -> tuple[Answers, bytes]:
    """Call one method with many parameter lists.

    Returns:
        By position in `params` the `result`, or why there is none; and one JSON array of the response
        objects as they came, whose `id` is that position (a later one replaces an earlier one).

    Raises:
        RpcError: the endpoint failed as `Endpoint.fetch` says.
    """
    waiting = list(range(len(params)))
    found: Answers = {}
    bodies: list[bytes] = []
    while waiting:
        size = min(endpoint.batches.now, len(waiting))
        chunk = waiting[:size]
        try:
            answers, body = _exchange(endpoint, method, chunk, params)
        except (RpcError, _Refused) as error:
            if size == 1:
                if not isinstance(error, MethodRefused | AnswerTooLarge):
                    raise
                answers, body = {chunk[0]: error}, b""
            else:
                endpoint.batches.failed(size)
                continue
        if body:
            bodies.append(body)
        found |= answers
        waiting = [place for place in chunk if place not in answers] + waiting[size:]
        if len(answers) == size:
            endpoint.batches.worked(size)
        else:
            endpoint.batches.failed(size)
    return found, b"[" + b",".join(bodies) + b"]"


class _Refused(RpcError):
    """A batch was answered as a whole with something that is no list of responses."""


def _exchange(
    endpoint: Endpoint, method: str, chunk: list[int], params: Sequence[Sequence[Any]]
) -> tuple[Answers, bytes]:
    """One batch; members that are rate limited are absent from the answers."""
    calls = [
        {"jsonrpc": "2.0", "id": place, "method": method, "params": list(params[place])} for place in chunk
    ]
    alone = len(chunk) == 1

    def read(answer: Any) -> Answers:
        if alone:
            return {chunk[0]: endpoint.result(method, answer)}
        if not isinstance(answer, list):
            raise _Refused(f"{endpoint.shown} {method}: refuses batches")
        return _members(endpoint, method, answer, set(chunk))

    request = orjson.dumps(calls[0] if alone else calls)
    answers, body = endpoint.call(method, request, read, cost=len(chunk))
    return answers, body.strip() if alone else body.strip()[1:-1]


def _members(endpoint: Endpoint, method: str, answer: list[Any], wanted: set[int]) -> Answers:
    found: Answers = {}
    later: Retry | None = None
    for response in answer:
        place = response.get("id") if isinstance(response, dict) else None
        if place not in wanted or not isinstance(place, int):
            continue
        try:
            found[place] = endpoint.result(method, response)
        except MethodRefused as error:
            found[place] = error
        except Retry as error:
            later = error
    if not found:
        raise later or Retry("a batch was answered with nothing that was asked for")
    return found
