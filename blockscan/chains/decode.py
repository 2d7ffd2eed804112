"""JSON that a chain wrote: an attacker decides how deep it nests, so nesting never reaches the C stack.

`json` gives up past 495 nested calls (and crashes the interpreter once web3 has raised the recursion
limit), orjson past 510. Deeper documents are built from ijson's event stream on the heap.
"""

import io
from collections.abc import Iterator
from typing import Any

import ijson
import orjson

from blockscan.errors import ParseError

DEEPEST = 20_000
"""Nested containers accepted at all; the EVM's 1,024 frames need about 2,050."""


def decode(raw: bytes) -> Any:
    """Parse one JSON document of any nesting up to `DEEPEST`.

    Raises:
        ParseError: not JSON, or nested deeper.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "depth limit" not in str(error) and "ecursion" not in str(error):
            raise ParseError(f"not valid JSON: {error}") from error
    return _decode_deep(raw)


def _decode_deep(raw: bytes) -> Any:
    top: list[Any] = []
    stack: list[Any] = [top]
    key = ""
    for event, value in _events(raw):
        if event == "map_key":
            key = value
        elif event in ("start_map", "start_array"):
            child: Any = {} if event == "start_map" else []
            _put(stack[-1], key, child)
            stack.append(child)
            if len(stack) > DEEPEST:
                raise ParseError(f"JSON nested more than {DEEPEST:,} deep; no EVM execution nests like that")
        elif event in ("end_map", "end_array"):
            stack.pop()
        else:
            _put(stack[-1], key, value)
    return top[0]


def _put(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    else:
        container.append(value)


def _events(raw: bytes) -> Iterator[tuple[str, Any]]:
    try:
        yield from ijson.basic_parse(io.BytesIO(raw), use_float=True)
    except ijson.JSONError as error:
        raise ParseError(f"not valid JSON: {error}") from error
