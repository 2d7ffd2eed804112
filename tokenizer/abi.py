"""Strict reading of ABI-encoded arguments: only the one canonical encoding of some values is read.

Source: Solidity contract ABI specification. Encodings are attacker-written; a decoder that follows offsets
can be made to read the same bytes many times over. Here every offset must point at the byte where the
canonical encoding has its tail, so that reading takes time linear in the data, and what is read encodes to
the same bytes again. Types nest at most `DEEPEST` levels, so the recursion over them is bounded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from blockscan.errors import ParseError
from blockscan.safetext import safe_text

WORD = 32
DEEPEST = 6
"""Arrays and tuples inside of one another that a type may have."""
LONGEST_SIGNATURE = 1000
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_ELEMENTARY = re.compile(r"(address|bool|string|bytes|function)\b|(uint|int|bytes)([1-9][0-9]*)\b")
_LENGTH = re.compile(r"\[([1-9][0-9]{0,8})?\]")
_INDEXED = " indexed"
_SHOWN_ITEMS, _SHOWN_BYTES, _SHOWN_TEXT = 3, 32, 60

AbiValue: TypeAlias = "str | int | bool | bytes | Sequence[AbiValue]"


@dataclass(frozen=True, slots=True)
class AbiType:
    """A type of the ABI: elementary (`name`), a tuple (`items`), or an array of `items[0]`.

    `length` is that of a fixed array, -1 of a dynamic one, None where it is no array. `dynamic` says whether
    values stand in the tail. `head` is the number of bytes in place: the whole value, or 32 for its offset.
    """

    name: str
    items: "tuple[AbiType, ...]"
    length: int | None
    dynamic: bool
    head: int


def _elementary(name: str) -> AbiType:
    return AbiType(name, (), None, name in ("bytes", "string"), WORD)


def _tuple_of(items: tuple[AbiType, ...]) -> AbiType:
    dynamic = any(item.dynamic for item in items)
    return AbiType("tuple", items, None, dynamic, WORD if dynamic else sum(item.head for item in items))


def _array_of(item: AbiType, length: int) -> AbiType:
    dynamic = length == -1 or item.dynamic
    return AbiType("array", (item,), length, dynamic, WORD if dynamic else item.head * length)


@dataclass(frozen=True, slots=True)
class Signature:
    """A function, event or error: its name, its parameters, and which of an event's are indexed."""

    name: str
    inputs: tuple[AbiType, ...]
    indexed: tuple[bool, ...]


class _NotCanonical(Exception):
    """The data is not the canonical encoding of the types."""


@lru_cache(4096)
def parse_signature(text: str) -> Signature:
    """Read a canonical signature such as `transfer(address,uint256)`; events may mark parameters as indexed.

    Raises:
        ParseError: not a canonical signature, or one that nests too deep.
    """
    name = _NAME.match(text)
    if len(text) > LONGEST_SIGNATURE or name is None or text[name.end() : name.end() + 1] != "(":
        raise ParseError(f"{safe_text(text)!r} is no signature like transfer(address,uint256)")
    inputs, marks, end = _parse_list(text, name.end() + 1, 0)
    if end != len(text):
        raise ParseError(f"{safe_text(text)!r} goes on behind its parameters")
    return Signature(name[0], inputs, marks)


def canonical(text: str) -> str:
    """A signature without its marks: the text whose hash is selector or topic."""
    return text.replace(_INDEXED, "")


def decode_arguments(types: Sequence[AbiType], data: bytes) -> tuple[AbiValue, ...] | None:
    """The values that `data` canonically encodes, or None where it does not."""
    try:
        values, end = _read_tuple(types, data, 0)
    except _NotCanonical:
        return None
    return tuple(values) if end == len(data) else None


def value_text(kind: AbiType, value: AbiValue) -> str:
    """A value for people: short, and without any character that could do harm."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        more = f"… ({len(value):,} bytes)" if len(value) > _SHOWN_BYTES else ""
        return f"0x{value[:_SHOWN_BYTES].hex()}{more}"
    if isinstance(value, str):
        return f'"{safe_text(value, limit=_SHOWN_TEXT)}"' if kind.name == "string" else value
    items = kind.items if kind.length is None else kind.items * min(len(value), _SHOWN_ITEMS)
    shown = [value_text(*each) for each in zip(items, value, strict=False)][:_SHOWN_ITEMS]
    if len(value) > _SHOWN_ITEMS:
        shown.append(f"… {len(value):,} in all")
    return f"({', '.join(shown)})" if kind.length is None else f"[{', '.join(shown)}]"


def _parse_list(text: str, place: int, depth: int) -> tuple[tuple[AbiType, ...], tuple[bool, ...], int]:
    """Types up to the closing bracket, their marks, and the place behind it."""
    types: list[AbiType] = []
    marks: list[bool] = []
    if text[place : place + 1] == ")" and depth == 0:
        return (), (), place + 1
    while True:
        kind, place = _parse_type(text, place, depth)
        marked = depth == 0 and text.startswith(_INDEXED, place)
        place += len(_INDEXED) * marked
        types.append(kind)
        marks.append(marked)
        following = text[place : place + 1]
        if following == ")":
            return tuple(types), tuple(marks), place + 1
        if following != ",":
            raise ParseError(f"{safe_text(text)!r}: not a canonical type at character {place + 1}")
        place += 1


def _parse_type(text: str, place: int, depth: int) -> tuple[AbiType, int]:
    if depth > DEEPEST:
        raise ParseError(f"{safe_text(text)!r} nests more than {DEEPEST} levels")
    if text[place : place + 1] == "(":
        items, _, place = _parse_list(text, place + 1, depth + 1)
        kind = _tuple_of(items)
    else:
        found = _ELEMENTARY.match(text, place)
        if found is None or not _is_sized(found):
            raise ParseError(f"{safe_text(text)!r}: not a canonical type at character {place + 1}")
        kind, place = _elementary(found[0]), found.end()
    levels = depth
    while (length := _LENGTH.match(text, place)) is not None:
        kind, place = _array_of(kind, int(length[1]) if length[1] else -1), length.end()
        levels += 1
        if levels > DEEPEST:
            raise ParseError(f"{safe_text(text)!r} nests more than {DEEPEST} levels")
    return kind, place


def _is_sized(found: re.Match[str]) -> bool:
    if found[1]:
        return True
    size = int(found[3])
    return size <= WORD if found[2] == "bytes" else size <= 256 and size % 8 == 0


def _read_tuple(types: Sequence[AbiType], data: bytes, start: int) -> tuple[list[AbiValue], int]:
    """The values of types that stand one behind another from `start`, and where their tails end."""
    head, tail = start, start + sum(kind.head for kind in types)
    values: list[AbiValue] = []
    for kind in types:
        if kind.dynamic:
            if _word(data, head) != tail - start:
                raise _NotCanonical
            value, tail = _read_dynamic(kind, data, tail)
        else:
            value = _read_static(kind, data, head)
        head += kind.head
        values.append(value)
    return values, tail


def _read_dynamic(kind: AbiType, data: bytes, place: int) -> tuple[AbiValue, int]:
    if kind.name in ("bytes", "string"):
        return _read_bytes(kind, data, place)
    if kind.length is None:
        return _read_tuple(kind.items, data, place)
    count = kind.length
    if count == -1:
        count, place = _word(data, place), place + WORD
    if count * kind.items[0].head > len(data) - place:
        raise _NotCanonical
    return _read_tuple(kind.items * count, data, place)


def _read_bytes(kind: AbiType, data: bytes, place: int) -> tuple[AbiValue, int]:
    size, begin = _word(data, place), place + WORD
    end = begin + size
    padded = begin + -(-size // WORD) * WORD
    if padded > len(data) or any(data[end:padded]):
        raise _NotCanonical
    if kind.name == "bytes":
        return data[begin:end], padded
    try:
        return data[begin:end].decode(), padded
    except UnicodeDecodeError as error:
        raise _NotCanonical from error


def _read_static(kind: AbiType, data: bytes, place: int) -> AbiValue:
    if not kind.items:
        return _read_word(kind.name, data, place)
    if len(data) - place < kind.head:
        raise _NotCanonical
    items = kind.items if kind.length is None else kind.items * kind.length
    values = []
    for item in items:
        values.append(_read_static(item, data, place))
        place += item.head
    return values


def _read_word(name: str, data: bytes, place: int) -> AbiValue:
    number = _word(data, place)
    if name == "address" or name == "bool" or name.startswith("uint"):
        bits = {"address": 160, "bool": 1}.get(name) or int(name[4:])
        if number >> bits:
            raise _NotCanonical
        return f"0x{number:040x}" if name == "address" else bool(number) if name == "bool" else number
    if name.startswith("int"):
        signed = number - (1 << 256) if number >> 255 else number
        if not -(1 << int(name[3:]) - 1) <= signed < 1 << int(name[3:]) - 1:
            raise _NotCanonical
        return signed
    size = 24 if name == "function" else int(name[5:])
    if any(data[place + size : place + WORD]):
        raise _NotCanonical
    return data[place : place + size]


def _word(data: bytes, place: int) -> int:
    if place + WORD > len(data):
        raise _NotCanonical
    return int.from_bytes(data[place : place + WORD])
