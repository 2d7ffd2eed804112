"""JSON that a chain wrote: an attacker decides how deep it nests, so nesting never reaches the C stack.

`json` gives up past 495 nested calls (and crashes the interpreter once web3 has raised the recursion
limit), orjson past 510. Deeper documents are built from ijson's event stream on the heap.
"""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import ijson
import orjson

from blockscan.errors import ParseError

DEEPEST = 20_000
"""Nested containers accepted at all; the EVM's 1,024 frames need about 2,050."""
MOST_CONTAINERS = 20_000_000
"""Objects and lists of one document; each takes memory, and the largest transactions have some million."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[-0-9][-+0-9.eE]*+', re.DOTALL)
"""A text or a number; a text without an end goes to the end, so that each byte is looked at once."""
_LONG_INTEGER = re.compile(rb"-?[1-9][0-9]{18,}")
"""What may not fit into 64 bits."""

Value = TypeVar("Value")


def decode(raw: bytes) -> Any:
    """Parse one JSON document of any nesting up to `DEEPEST`.

    Raises:
        ParseError: not JSON, nested deeper, or of more than `MOST_CONTAINERS` parts.
    """
    if len(raw) > MOST_CONTAINERS and raw.count(b"{") + raw.count(b"[") > MOST_CONTAINERS:
        raise ParseError(
            f"JSON of more than {MOST_CONTAINERS:,} objects and lists; no transaction has so many"
        )
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "depth limit" not in str(error) and "ecursion" not in str(error):
            raise ParseError(f"not valid JSON: {error}") from error
    return _decode_deep(raw)


def read_document(raw: bytes, read: Callable[[Any], Value]) -> Value:
    """What `read` makes of one JSON document, with integers of any size.

    The parsers round integers above 64 bits to doubles, or refuse them. Where `read` therefore fails it is
    given the document once more, with their digits as text; documents that it can read cost nothing more.

    Raises:
        ParseError: as `decode`, or from `read`.
    """
    try:
        return read(decode(raw))
    except ParseError:
        exact = _long_integers_as_text(raw)
        if exact == raw:
            raise
    return read(decode(exact))


def _long_integers_as_text(raw: bytes) -> bytes:
    pieces, done = [], 0
    for found in _TOKEN.finditer(raw):
        if _LONG_INTEGER.fullmatch(found[0]):
            pieces += [raw[done : found.start()], b'"', found[0], b'"']
            done = found.end()
    return b"".join([*pieces, raw[done:]])


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
