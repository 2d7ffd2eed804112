"""Instructions as the RPC's jsonParsed encoding gives them -> instruction data and accounts.

The node has decoded the data and named the accounts; both are put back, so that one instruction is the same
in either encoding. What jsonParsed leaves out stays out: the rest of the accounts of a memo, and accounts
that a program ignores. An instruction without a layout here keeps its parsed form as JSON.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from blockscan.chains.base58 import read_key
from blockscan.chains.solana_layouts import (
    ASSOCIATED_TOKEN,
    LAYOUTS,
    MEMO,
    MEMO_V1,
    PROGRAMS,
    STAKE,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    Argument,
    Layout,
)
from blockscan.errors import ParseError

_PREFIXES = {
    SYSTEM: "system",
    TOKEN: "spl-token",
    TOKEN_2022: "spl-token",
    ASSOCIATED_TOKEN: "spl-associated-token-account",
    STAKE: "stake",
}
_AUTHORITIES = (
    *("mintTokens", "freezeAccount", "accountOwner", "closeAccount", "transferFeeConfig"),
    *("withheldWithdraw", "closeMint", "interestRate", "permanentDelegate", "confidentialTransferMint"),
    *("transferHookProgramId", "confidentialTransferFeeConfig", "metadataPointer", "groupPointer"),
    *("groupMemberPointer", "scaledUiAmount", "pause"),
)
_STAKE_AUTHORITIES = ("staker", "withdrawer")
_EXTENSIONS = (
    *("uninitialized", "transferFeeConfig", "transferFeeAmount", "mintCloseAuthority"),
    *("confidentialTransferMint", "confidentialTransferAccount", "defaultAccountState", "immutableOwner"),
    *("memoTransfer", "nonTransferable", "interestBearingConfig", "cpiGuard", "permanentDelegate"),
    *("nonTransferableAccount", "transferHook", "transferHookAccount", "confidentialTransferFee"),
    *("confidentialTransferFeeAmount", "metadataPointer", "tokenMetadata", "groupPointer", "tokenGroup"),
    *("groupMemberPointer", "tokenGroupMember", "confidentialMintBurn", "scaledUiAmountConfig", "pausable"),
)


def unparse(program: str, parsed: object) -> tuple[bytes, tuple[str, ...]]:
    """Instruction data and accounts of a `parsed` field.

    Raises:
        ParseError: the field is neither text (memo) nor an object with `type` and `info`.
    """
    if isinstance(parsed, str) and program in (MEMO, MEMO_V1):
        return parsed.encode("utf-8", "replace"), ()
    if not isinstance(parsed, Mapping):
        raise ParseError(f"`parsed` of {program[:44]} must be an object, not {type(parsed).__name__}")
    info = parsed.get("info")
    layout = LAYOUTS.get(f"{_PREFIXES.get(program)}:{parsed.get('type')}")
    if layout is not None and layout.tag in PROGRAMS[program] and isinstance(info, Mapping):
        try:
            return layout.pack(_arguments(layout, info)), _accounts(layout, info)
        except _Missing:
            pass
    return _as_json(parsed)


class _Missing(Exception):
    """The parsed form lacks something that the layout needs."""


def _arguments(layout: Layout, info: Mapping[str, Any]) -> list[Argument]:
    found: list[Argument] = []
    for name, kind in layout.arguments:
        value: Any = info
        for step in name.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is None and isinstance(info.get("tokenAmount"), Mapping):
            value = info["tokenAmount"].get(name)
        if kind == "u16s":
            found.extend(_number(one, _EXTENSIONS) for one in value or ())
        elif kind in ("enum8", "enum32"):
            found.append(_number(value, _AUTHORITIES if kind == "enum8" else _STAKE_AUTHORITIES))
        elif kind.startswith("key") or kind in ("str", "str4", "text"):
            if value is None and kind not in ("key?", "key0"):
                raise _Missing
            found.append(None if value is None else str(value))
        else:
            found.append(_integer(value))
    return found


def _number(name: object, names: tuple[str, ...]) -> int:
    text = str(name)
    text = text[:1].lower() + text[1:]
    if text not in names:
        raise _Missing
    return names.index(text)


def _integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 20 and value.lstrip("-").isdecimal():
        return int(value)
    raise _Missing


def _accounts(layout: Layout, info: Mapping[str, Any]) -> tuple[str, ...]:
    """The accounts in the order of the layout, then the signers of a multisig authority."""
    found = []
    for wanted in layout.accounts:
        name = wanted.rstrip("?")
        value = next((info[one] for one in _names(name) if one in info), None)
        if value is None and not wanted.endswith("?"):
            raise _Missing
        if value is not None and not (name == "base" and value == info.get("source")):
            found.append(read_key(str(value), name))
    signers = info.get("signers")
    return (*found, *(read_key(str(one), "signers") for one in signers or ()))


def _names(wanted: str) -> list[str]:
    """The names that an account goes by: "mint/account", and "multisigOwner" for an owner."""
    names = wanted.split("/")
    return [*names, *(f"multisig{name[0].upper()}{name[1:]}" for name in names)]


def _as_json(parsed: Mapping[str, Any]) -> tuple[bytes, tuple[str, ...]]:
    info = parsed.get("info")
    values = info.values() if isinstance(info, Mapping) else ()
    keys = []
    for value in values:
        try:
            keys.append(read_key(value if isinstance(value, str) else "", "account"))
        except ParseError:
            continue
    try:
        return orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS), tuple(keys)
    except orjson.JSONEncodeError as error:
        raise ParseError(f"a parsed instruction cannot be kept as JSON ({error})") from error
