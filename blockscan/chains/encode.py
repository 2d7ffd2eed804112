"""JSON out of values that a chain nested: without recursion, so a call tree of any depth can be written.

orjson gives up past 254 nested containers and `json` at the recursion limit; call trees reach 1,024 frames.
"""

from collections.abc import Iterator
from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """One JSON document without line breaks; `blockscan.chains.decode.decode` reads it back.

    Raises:
        TypeError: a value that JSON does not have.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        if "ecursion" not in str(error):
            raise
    return b"".join(_pieces(value))


def _pieces(value: Any) -> Iterator[bytes]:
    stack: list[Iterator[bytes | tuple[Any]]] = [iter([(value,)])]
    while stack:
        piece = next(stack[-1], None)
        if piece is None:
            stack.pop()
        elif isinstance(piece, bytes):
            yield piece
        elif isinstance(piece[0], dict):
            stack.append(_members(piece[0]))
        elif isinstance(piece[0], list | tuple):
            stack.append(_items(piece[0]))
        else:
            yield orjson.dumps(piece[0])


def _members(value: dict[str, Any]) -> Iterator[bytes | tuple[Any]]:
    """The pieces of an object: ready bytes, and one-tuples of what is still to be written."""
    opening = b"{"
    for key, member in value.items():
        yield opening + orjson.dumps(key) + b":"
        yield (member,)
        opening = b","
    yield b"}" if value else b"{}"


def _items(value: list[Any] | tuple[Any, ...]) -> Iterator[bytes | tuple[Any]]:
    opening = b"["
    for item in value:
        yield opening
        yield (item,)
        opening = b","
    yield b"]" if value else b"[]"
