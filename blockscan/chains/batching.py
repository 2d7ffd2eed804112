"""JSON-RPC batches of one method, as large as the endpoint bears."""

from collections.abc import Sequence
from typing import Any

import orjson

from blockscan.chains.transport import (
    AnswerTooLarge,
    Endpoint,
    MethodAbsent,
    MethodRefused,
    Retry,
    StateAbsent,
    Unanswered,
)
from blockscan.errors import RpcError

Answers = dict[int, Any | MethodRefused | AnswerTooLarge | Unanswered]
MAX_TOGETHER = 256 * 1024 * 1024
"""Bytes of all answers together."""
MAX_UNANSWERED = 3
"""Calls that alone get no answer: each costs minutes, so the rest is not asked for."""


def fetch_each(endpoint: Endpoint, method: str, params: Sequence[Sequence[Any]]) -> tuple[Answers, bytes]:
    """Call one method with many parameter lists.

    What a batch refuses is asked for again alone: the call before it may have used up the batch's time.

    Returns:
        By position in `params` the `result`, or why there is none; and one JSON array of the response
        objects as they came, whose `id` is that position (a later one replaces an earlier one).

    Raises:
        RpcError: the endpoint failed as `Endpoint.fetch` says.
    """
    waiting = list(range(len(params)))
    found: Answers = {}
    bodies: list[bytes] = []
    alone: set[int] = set()
    total = unanswered = 0
    while waiting:
        size = 1 if waiting[0] in alone else min(endpoint.batches.now, len(waiting))
        chunk = waiting[:size]
        try:
            answers, body = _exchange(endpoint, method, chunk, params)
        except (RpcError, _Refused) as error:
            if size == 1:
                if not isinstance(error, MethodRefused | AnswerTooLarge | Unanswered):
                    raise
                answers, body = {chunk[0]: error}, b""
                unanswered += isinstance(error, Unanswered)
                if unanswered == MAX_UNANSWERED:
                    return found | dict.fromkeys(waiting, error), _array(bodies)
            else:
                endpoint.batches.failed(1 if isinstance(error, Unanswered) else size)
                continue
        if body:
            bodies.append(body)
            total += len(body)
        if size > 1:
            alone |= {place for place, answer in answers.items() if _may_pass_alone(answer)}
            answers = {place: answer for place, answer in answers.items() if place not in alone}
        found |= answers
        again = sorted((place for place in chunk if place not in answers), key=lambda each: each not in alone)
        waiting = again + waiting[size:]
        if waiting and total > MAX_TOGETHER:
            large = AnswerTooLarge(
                f"{endpoint.shown} {method}: the answers are longer than {MAX_TOGETHER:,} bytes together"
            )
            return found | dict.fromkeys(waiting, large), _array(bodies)
        if len(answers) == size:
            endpoint.batches.worked(size)
        else:
            endpoint.batches.failed(size)
    return found, _array(bodies)


def _array(bodies: list[bytes]) -> bytes:
    return b"[" + b",".join(bodies) + b"]"


def _may_pass_alone(answer: Any) -> bool:
    return isinstance(answer, MethodRefused) and not isinstance(answer, MethodAbsent | StateAbsent)


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
