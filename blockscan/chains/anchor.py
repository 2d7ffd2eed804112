"""Anchor programs: an IDL gives names to the discriminators and arguments of their instructions.

An IDL is the JSON that `anchor build` writes; both its forms are read: from Anchor 0.30 on each instruction
carries its `discriminator`, before it is the first 8 bytes of SHA-256("global:" + name in snake case).
"""

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockscan.chains.base58 import KEY_BYTES, key_text, read_key
from blockscan.errors import ParseError

DISCRIMINATOR_BYTES = 8
MOST_INSTRUCTIONS = 4096
_NUMBERS = {
    **{"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i8": "<b", "i16": "<h", "i32": "<i", "i64": "<q"},
    **{"bool": "<?", "f32": "<f", "f64": "<d"},
}
_WIDE = {"u128": False, "i128": True}


@dataclass(frozen=True, slots=True)
class IdlInstruction:
    """One instruction: its arguments as (name, IDL type), the names of its accounts in order."""

    name: str
    arguments: tuple[tuple[str, Any], ...]
    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Idl:
    """A program's interface. `address` is None in older IDLs, which do not say where the program is."""

    name: str
    address: str | None
    instructions: Mapping[bytes, IdlInstruction]

    def decode(self, data: bytes) -> tuple[IdlInstruction, tuple[object, ...]] | None:
        """The instruction that some data begins with, and its arguments as far as their types are plain.

        Returns:
            None if no instruction of the program has the data's discriminator.
        """
        found = self.instructions.get(data[:DISCRIMINATOR_BYTES])
        if found is None:
            return None
        values: list[object] = []
        place = DISCRIMINATOR_BYTES
        for _, kind in found.arguments:
            try:
                value, place = _read(kind, data, place)
            except (struct.error, UnicodeDecodeError, IndexError, KeyError, TypeError):
                break  # a struct, an enum or damaged data: what follows cannot be placed
            values.append(value)
        return found, tuple(values)


def load_idl(path: Path) -> Idl:
    """Read an IDL file.

    Raises:
        ParseError: unreadable, or no IDL.
    """
    try:
        return read_idl(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ParseError(f"{path} is no JSON file that can be read ({error})") from error
    except ParseError as error:
        raise ParseError(f"{path}: {error}") from error


def read_idl(raw: object) -> Idl:
    """The interface that decoded IDL JSON describes.

    Raises:
        ParseError: it has no name or no list of instructions, or one of them is malformed.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("instructions"), list):
        raise ParseError("an IDL is an object with `instructions`; export it with `anchor idl fetch`")
    if len(raw["instructions"]) > MOST_INSTRUCTIONS:
        raise ParseError(f"an IDL of more than {MOST_INSTRUCTIONS:,} instructions is not read")
    metadata = raw.get("metadata")
    named = metadata if isinstance(metadata, Mapping) else {}
    address = raw.get("address") or named.get("address")
    instructions = dict(_instruction(one) for one in raw["instructions"])
    name = str(raw.get("name") or named.get("name") or "program")[:80]
    return Idl(name, None if address is None else read_key(str(address), "address"), instructions)


def discriminator(name: str) -> bytes:
    """The first 8 bytes of SHA-256 over "global:" and the instruction's name in snake case."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return hashlib.sha256(f"global:{snake}".encode()).digest()[:DISCRIMINATOR_BYTES]


def _instruction(raw: object) -> tuple[bytes, IdlInstruction]:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise ParseError("an instruction of the IDL has no `name`")
    name = raw["name"][:120]
    try:
        begin = bytes(raw["discriminator"]) if "discriminator" in raw else discriminator(name)
        arguments = tuple((str(one["name"]), one["type"]) for one in raw.get("args") or ())
        accounts = tuple(str(one["name"]) for one in raw.get("accounts") or ())
    except (TypeError, ValueError, KeyError) as error:
        raise ParseError(f"instruction {name!r} of the IDL is malformed ({error!r:.80})") from error
    if len(begin) != DISCRIMINATOR_BYTES:
        raise ParseError(f"instruction {name!r} of the IDL has a discriminator of {len(begin)} bytes, not 8")
    return begin, IdlInstruction(name, arguments, accounts)


def _read(kind: Any, data: bytes, place: int) -> tuple[object, int]:
    """One Borsh value of a plain type; other types raise KeyError."""
    if isinstance(kind, Mapping) and "option" in kind:
        return _read(kind["option"], data, place + 1) if data[place] else (None, place + 1)
    if kind in _NUMBERS:
        form = _NUMBERS[kind]
        return struct.unpack_from(form, data, place)[0], place + struct.calcsize(form)
    size = {"publicKey": KEY_BYTES, "pubkey": KEY_BYTES, "u128": 16, "i128": 16}.get(kind)
    if size is None:
        (size,) = struct.unpack_from("<I", data, place) if kind in ("string", "bytes") else (None,)
        if size is None:
            raise KeyError(kind)
        place += 4
    part = data[place : place + size]
    if len(part) < size:
        raise IndexError
    if kind in _WIDE:
        return int.from_bytes(part, "little", signed=_WIDE[kind]), place + size
    if kind == "string":
        return part.decode(), place + size
    return part if kind == "bytes" else key_text(part), place + size
