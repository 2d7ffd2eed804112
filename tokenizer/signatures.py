"""Function selectors and event topics with their signatures, for people to read.

A selector is the first four bytes of the Keccak-256 of the signature, a topic all of it (Solidity contract
ABI specification). Anyone can find another signature with a given selector, and signature databases are full
of them: the text is a hint, not a proof. So all candidates are kept, those of well-known contracts first,
and arguments are shown for every candidate that reads the data strictly. Names never change token ids.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import TypeAlias

from eth_hash.auto import keccak

from tokenizer.abi import (
    WORD,
    AbiType,
    AbiValue,
    Signature,
    canonical,
    decode_arguments,
    parse_signature,
    value_text,
)
from tokenizer.known_signatures import EVENTS, FUNCTIONS

Table: TypeAlias = Mapping[str, Sequence[str]]
Naming: TypeAlias = Callable[[bytes], str]
"""What reads a selector or topic."""
LONGEST_DECODED = 64 * 1024
"""Bytes of call data or log data that are read as arguments; longer data shows names only."""
_READINGS = 3
_CANDIDATES = 32
_LAYOUTS = 64
_HASH_SHOWN = 10


def selector_of(text: str) -> str:
    """The selector of a signature, as 8 hexadecimal digits."""
    return keccak(canonical(text).encode())[:4].hex()


def topic_of(text: str) -> str:
    """The topic of an event's signature, as 64 hexadecimal digits."""
    return keccak(canonical(text).encode()).hex()


class Signatures:
    """What is known of selectors and topics: the well-known signatures and those that a user imported."""

    def __init__(self, functions: Table, events: Table) -> None:
        """Add imported tables (hexadecimal selector or topic -> signatures) to the built-in ones."""
        self._imported = (functions, events)

    def functions(self, selector: bytes) -> tuple[str, ...]:
        """The candidates for a selector of 4 bytes, well-known ones first."""
        return _merged(_built_in()[0], self._imported[0], selector.hex())

    def events(self, topic: bytes) -> tuple[str, ...]:
        """The candidates for a topic of 32 bytes; one signature may have several layouts."""
        return _merged(_built_in()[1], self._imported[1], topic.hex())

    def name(self, code: bytes) -> str:
        """The candidates of a selector or topic in one line, or its hexadecimal digits."""
        found = self.events(code) if len(code) == WORD else self.functions(code)
        return _either(list(dict.fromkeys(map(canonical, found)))) or f"0x{code.hex()}"

    def call_text(self, data: bytes) -> str:
        """Call data for people: the selector, then each candidate that reads the arguments strictly."""
        code = f"0x{data[:4].hex()}"
        candidates = self.functions(data[:4])
        if len(data) > LONGEST_DECODED + 4:
            return _with_names(code, candidates, "data too long to be read")
        readings = []
        for text in candidates[:_CANDIDATES]:
            signature = parse_signature(text)
            values = decode_arguments(signature.inputs, data[4:])
            if values is not None:
                readings.append(_reading(signature, values))
        return f"{code} {_either(readings)}" if readings else _with_names(code, candidates, "")

    def log_text(self, topics: Sequence[bytes], data: bytes) -> str:
        """A log for people, as `call_text`; "" for a log without topics."""
        if not topics:
            return ""
        code = f"0x{topics[0].hex()}"
        candidates = self.events(topics[0])
        if len(data) > LONGEST_DECODED:
            return _with_names(code, candidates, "data too long to be read")
        readings: list[str] = []
        for text in candidates[:_CANDIDATES]:
            signature = parse_signature(text)
            for layout in _layouts(signature, len(topics) - 1):
                values = _decode_log(signature.inputs, layout, topics[1:], data)
                if values is not None:
                    readings.append(_reading(signature, values))
        readings = list(dict.fromkeys(readings))
        short = f"{code[:_HASH_SHOWN]}…"
        return f"{short} {_either(readings)}" if readings else _with_names(code, candidates, "")


def signature(selector: bytes) -> str:
    """The well-known signature of a selector (4 bytes) or topic (32 bytes), or its hexadecimal digits."""
    return BUILT_IN.name(selector)


BUILT_IN = Signatures({}, {})


@cache
def _built_in() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    functions, events = (dict[str, tuple[str, ...]]() for _ in range(2))
    for text in FUNCTIONS:
        functions[selector_of(text)] = (*functions.get(selector_of(text), ()), text)
    for text in EVENTS:
        events[topic_of(text)] = (*events.get(topic_of(text), ()), text)
    return functions, events


def _merged(own: Table, imported: Table, code: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*own.get(code, ()), *imported.get(code, ()))))


def _layouts(signature: Signature, topics: int) -> Iterator[tuple[bool, ...]]:
    """Which parameters stand in topics: as marked, or where nothing is marked every possibility."""
    if sum(signature.indexed) == topics:
        yield signature.indexed
    elif not any(signature.indexed) and topics <= len(signature.inputs):
        count = len(signature.inputs)
        for number, chosen in enumerate(combinations(range(count), topics)):
            if number < _LAYOUTS:
                yield tuple(place in chosen for place in range(count))


def _decode_log(
    types: Sequence[AbiType], layout: Sequence[bool], topics: Sequence[bytes], data: bytes
) -> tuple[AbiValue, ...] | None:
    plain = decode_arguments([kind for kind, marked in zip(types, layout, strict=True) if not marked], data)
    if plain is None:
        return None
    in_topics, in_data = iter(topics), iter(plain)
    values: list[AbiValue] = []
    for kind, marked in zip(types, layout, strict=True):
        if not marked:
            values.append(next(in_data))
        elif kind.dynamic or kind.items:
            values.append(next(in_topics))  # only the hash of such a value is in the log
        else:
            read = decode_arguments([kind], next(in_topics))
            if read is None:
                return None
            values.append(read[0])
    return tuple(values)


def _reading(signature: Signature, values: Sequence[AbiValue]) -> str:
    shown = ", ".join(value_text(*each) for each in zip(signature.inputs, values, strict=True))
    return f"{signature.name}({shown})"


def _either(readings: Sequence[str]) -> str:
    """Every reading, or the first few and how many more there are."""
    more = len(readings) - _READINGS
    shown = " or ".join(readings[:_READINGS])
    return f"{shown} or {more} other{'s' if more > 1 else ''}" if more > 0 else shown


def _with_names(code: str, candidates: Sequence[str], why: str) -> str:
    if not candidates:
        return code
    names = _either(list(dict.fromkeys(map(canonical, candidates))))
    short = f"{code[:_HASH_SHOWN]}…" if len(code) > _HASH_SHOWN else code
    return f"{short} {names}: {why or 'arguments do not fit'}"
