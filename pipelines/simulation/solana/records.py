"""What LiteSVM returns, as the RPC writes it (getTransaction, encoding json)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction_metadata import TransactionMetadata
from solders.transaction_status import (
    InstructionErrorCustom,
    TransactionErrorInstructionError,
    TransactionErrorInsufficientFundsForRent,
)

from blockscan.chains.base58 import b58encode
from pipelines.simulation.engine import Json


def message_json(message: Message | MessageV0, keys: Sequence[Pubkey]) -> Json:
    """A message with its keys."""
    header = message.header
    written: Json = {
        "accountKeys": [str(key) for key in keys],
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "instructions": [instruction_json(one, 1) for one in message.instructions],
        "recentBlockhash": str(message.recent_blockhash),
    }
    return written | ({"addressTableLookups": []} if isinstance(message, MessageV0) else {})


def instruction_json(instruction: Any, height: int | None) -> Json:
    """A compiled instruction at a stack height (1: of the message itself)."""
    return {
        "programIdIndex": instruction.program_id_index,
        "accounts": list(instruction.accounts),
        "data": b58encode(bytes(instruction.data)),
        "stackHeight": height,
    }


def meta_json(
    meta: TransactionMetadata,
    error: object,
    before: tuple[list[int], list[Json]],
    after: tuple[list[int], list[Json]],
) -> Json:
    """The meta of an execution; `before` and `after` hold lamports and token balances."""
    inner = [
        {
            "index": place,
            "instructions": [instruction_json(one.instruction(), one.stack_height()) for one in group],
        }
        for place, group in enumerate(meta.inner_instructions())
        if group
    ]
    return {
        "err": error,
        "status": {"Ok": None} if error is None else {"Err": error},
        "fee": meta.fee(),
        "preBalances": before[0],
        "postBalances": after[0],
        "preTokenBalances": before[1],
        "postTokenBalances": after[1],
        "innerInstructions": inner,
        "logMessages": list(meta.logs()),
        "computeUnitsConsumed": meta.compute_units_consumed(),
        "loadedAddresses": {"writable": [], "readonly": []},
        "rewards": [],
    }


def error_json(error: object) -> object:
    """A transaction error as the RPC writes it."""
    if isinstance(error, TransactionErrorInstructionError):
        inner = error.err
        what = {"Custom": inner.code} if isinstance(inner, InstructionErrorCustom) else _name(inner)
        return {"InstructionError": [error.index, what]}
    if isinstance(error, TransactionErrorInsufficientFundsForRent):
        return {"InsufficientFundsForRent": {"account_index": error.account_index}}
    return _name(error)


def _name(error: object) -> str:
    return str(error).rpartition(".")[2].strip("()") or "Unknown"


def shown(amount: int, decimals: int) -> str:
    """Base units as a decimal number of tokens."""
    whole, rest = divmod(amount, 10**decimals)
    return f"{whole}.{rest:0{decimals}}".rstrip("0").rstrip(".") if decimals else str(whole)
