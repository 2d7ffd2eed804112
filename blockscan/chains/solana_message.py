"""The message of a Solana transaction: account keys, signers, instructions nested by height."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from blockscan.chains.base58 import b58decode, read_key
from blockscan.chains.frames import list_of, mapping
from blockscan.chains.solana_layouts import ASSOCIATED_TOKEN
from blockscan.chains.solana_logs import Frame
from blockscan.chains.solana_meta import integer
from blockscan.chains.solana_parsed import unparse
from blockscan.errors import ParseError
from blockscan.transaction import TraceStatus

MAX_FRAMES = 10_000
"""Instructions read of one transaction; the runtime's trace limit is 64."""
_CONFIG = ("computeUnitLimit", "heapSize", "loadedAccountsDataSizeLimit", "priorityFee")


def key_of(key: object) -> str:
    """One account key, as either encoding gives it."""
    return read_key(key.get("pubkey") if isinstance(key, Mapping) else key, "accountKeys")


def account_keys(message: Mapping[str, Any], meta: Mapping[str, Any]) -> list[str]:
    """All account keys: the message's, then those that address lookup tables gave."""
    listed = list_of(message, "accountKeys")
    keys = [key_of(key) for key in listed]
    if not keys:
        raise ParseError("the message has no account keys")
    if not isinstance(listed[0], Mapping) and meta.get("loadedAddresses"):
        loaded = mapping(meta["loadedAddresses"], "`loadedAddresses`")
        keys += [key_of(key) for part in ("writable", "readonly") for key in list_of(loaded, part)]
    return keys


def signer_count(message: Mapping[str, Any]) -> int:
    """How many of the first keys sign."""
    header = message.get("header")
    if isinstance(header, Mapping):
        return max(1, integer(header.get("numRequiredSignatures", 1), "numRequiredSignatures"))
    flags = [isinstance(key, Mapping) and bool(key.get("signer")) for key in message["accountKeys"]]
    return max(1, sum(flags))


def config_data(message: Mapping[str, Any]) -> bytes:
    """What a version 1 message asks of the runtime, as the version and four 64-bit numbers."""
    config = message.get("transactionConfig")
    if not isinstance(config, Mapping):
        return b""
    numbers = [integer(config.get(name) or 0, name) for name in _CONFIG]
    return b"\1" + b"".join(struct.pack("<Q", number % 2**64) for number in numbers)


def read_frames(
    message: Mapping[str, Any], meta: Mapping[str, Any], keys: Sequence[str]
) -> tuple[list[Frame], TraceStatus]:
    """Instructions and inner instructions in execution order, nested by `stackHeight`."""
    inner: dict[int, list[Any]] = {}
    for group in list_of(meta, "innerInstructions"):
        group = mapping(group, "an entry of `innerInstructions`")
        place = integer(group.get("index"), "index")
        inner.setdefault(place, []).extend(list_of(group, "instructions"))
    top = list_of(message, "instructions")
    if any(place >= len(top) for place in inner):
        raise ParseError("`innerInstructions` belong to an instruction that is not there")
    status = TraceStatus.COMPLETE
    frames: list[Frame] = []
    for place, instruction in enumerate(top):
        callers = [len(frames)]
        frames.append(_frame(instruction, keys, -1))
        for one in inner.get(place, ()):
            if len(frames) >= MAX_FRAMES:
                return frames, TraceStatus.TRUNCATED
            height = one.get("stackHeight") if isinstance(one, Mapping) else None
            if height is None:
                status, height = TraceStatus.FLAT, 2
            level = integer(height, "stackHeight")
            if not 2 <= level <= len(callers) + 1:
                raise ParseError(f"`stackHeight` {level} cannot follow {len(callers)}")
            del callers[level - 1 :]
            callers.append(len(frames))
            frames.append(_frame(one, keys, callers[-2]))
    return frames, status


def _frame(raw: object, keys: Sequence[str], parent: int) -> Frame:
    raw = mapping(raw, "an instruction")
    if "parsed" in raw:
        program = read_key(raw.get("programId", ""), "programId")
        data, accounts = unparse(program, raw["parsed"])
    else:
        program = _named(raw, "programId", "programIdIndex", keys)
        accounts = tuple(_account(one, keys) for one in list_of(raw, "accounts"))
        data = b58decode(raw.get("data", ""), "data")
    # An empty instruction of the Associated Token program is `create` (its first version had no tag).
    if program == ASSOCIATED_TOKEN and not data:
        data = b"\0"
    return Frame(program, data, accounts, parent)


def _named(raw: Mapping[str, Any], name: str, index: str, keys: Sequence[str]) -> str:
    return read_key(raw[name], name) if name in raw else _account(raw.get(index), keys)


def _account(one: object, keys: Sequence[str]) -> str:
    if isinstance(one, str):
        return read_key(one, "accounts")
    if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < len(keys):
        raise ParseError(f"an instruction names account {str(one)[:20]} of {len(keys)}")
    return keys[one]
