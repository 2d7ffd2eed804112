"""The meta of a Solana transaction: typed reading, errors, and what happened to balances."""

from collections.abc import Mapping, Sequence
from typing import Any

from blockscan.chains.base58 import read_key
from blockscan.chains.frames import COUNT_BITS, list_of, mapping
from blockscan.chains.solana_layouts import SYSTEM
from blockscan.errors import ParseError
from blockscan.transaction import Log

LAMPORT_DECIMALS = 9
_WORD = 32
_LONGEST_ERROR = 200


def integer(value: object, name: str) -> int:
    """A whole number from 0 to 2^64 - 1, as JSON number or decimal text.

    Raises:
        ParseError: it is something else.
    """
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**64:
        raise ParseError(f"`{name}` is not a whole number below 2^64: {str(value)[:60]!r}")
    return value


def count(value: object, name: str) -> int:
    """A whole number below 2^63, the most that archive and store can hold: a slot, a time, compute units.

    Raises:
        ParseError: it is something else.
    """
    number = integer(value, name)
    if number >> COUNT_BITS:
        raise ParseError(f"`{name}` is not below 2^63: {number}")
    return number


def error_texts(err: object) -> tuple[str | None, int | None, str]:
    """The error of the transaction; the instruction that failed, if one did, and its error."""
    if err is None:
        return None, None, ""
    if isinstance(err, Mapping) and isinstance(err.get("InstructionError"), list):
        parts = err["InstructionError"]
        if len(parts) == 2 and isinstance(parts[0], int) and not isinstance(parts[0], bool) and parts[0] >= 0:
            return "failed", parts[0], _instruction_error(parts[1])
    name = next(iter(err), "failed") if isinstance(err, Mapping) else err
    return str(name)[:_LONGEST_ERROR], None, ""


def _instruction_error(what: object) -> str:
    """As the runtime's log writes a program's own error; the name of any other."""
    if isinstance(what, Mapping):
        code = what.get("Custom")
        if isinstance(code, int) and not isinstance(code, bool):
            return f"custom program error: {code:#x}"
        what = next(iter(what), "failed")
    return str(what)[:_LONGEST_ERROR]


def amount_changes(meta: Mapping[str, Any], keys: Sequence[str]) -> list[Log]:
    """One log for each account whose lamports or tokens changed, in the order of the accounts."""
    changes: list[Log] = []
    before, after = list_of(meta, "preBalances"), list_of(meta, "postBalances")
    for key, had, has in zip(keys, before, after, strict=False):
        if had != has:
            data = _words(integer(had, "preBalances"), integer(has, "postBalances"), LAMPORT_DECIMALS)
            changes.append(Log(SYSTEM, (), data, accounts=(key,)))
    had_tokens, has_tokens = _tokens(meta, "preTokenBalances"), _tokens(meta, "postTokenBalances")
    for place in sorted(had_tokens.keys() | has_tokens.keys()):
        mint, owner, decimals, _ = has_tokens.get(place) or had_tokens[place]
        had, has = (side[place][3] if place in side else 0 for side in (had_tokens, has_tokens))
        if had != has and place < len(keys):
            owners = (owner,) if owner else ()
            changes.append(Log(mint, (), _words(had, has, decimals), accounts=(keys[place], *owners)))
    return changes


def _tokens(meta: Mapping[str, Any], name: str) -> dict[int, tuple[str, str, int, int]]:
    """Account index -> mint, owner ("" in old records), decimals, amount."""
    found = {}
    for entry in list_of(meta, name):
        entry = mapping(entry, f"an entry of `{name}`")
        amount = mapping(entry.get("uiTokenAmount"), "`uiTokenAmount`")
        found[integer(entry.get("accountIndex"), "accountIndex")] = (
            read_key(str(entry.get("mint")), "mint"),
            read_key(str(entry["owner"]), "owner") if entry.get("owner") else "",
            integer(amount.get("decimals"), "decimals"),
            integer(amount.get("amount"), "amount"),
        )
    return found


def _words(before: int, after: int, decimals: int) -> bytes:
    return b"".join(number.to_bytes(_WORD, signed=True) for number in (after - before, after, decimals))
