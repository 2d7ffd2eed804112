"""Instructions of the programs that LiteSVM brings along, built from the layouts that the parser reads."""

from __future__ import annotations

from functools import lru_cache

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from blockscan.chains.solana_layouts import (
    ASSOCIATED_TOKEN,
    COMPUTE_BUDGET,
    LAYOUTS,
    MEMO,
    STAKE,
    SYSTEM,
    TOKEN,
    Argument,
)

RENT = Pubkey.from_string("SysvarRent111111111111111111111111111111111")
CLOCK = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
STAKE_HISTORY = Pubkey.from_string("SysvarStakeHistory1111111111111111111111111")
_PROGRAMS = {
    "system": SYSTEM,
    "spl-token": TOKEN,
    "spl-associated-token-account": ASSOCIATED_TOKEN,
    "compute-budget": COMPUTE_BUDGET,
    "spl-memo": MEMO,
    "stake": STAKE,
}


def build(
    name: str, arguments: list[Argument], flags: str, *accounts: Pubkey, program: str | None = None
) -> Instruction:
    """An instruction by its layout's name, "system:transfer" say.

    Args:
        name: see `blockscan.chains.solana_layouts.LAYOUTS`.
        arguments: of the layout's types.
        flags: one letter per account: `s` signs, `w` is written, `b` both, `r` neither.
        accounts: in the program's order.
        program: where it is not the usual one (Token-2022).
    """
    metas = [
        AccountMeta(account, flag in "sb", flag in "wb")
        for account, flag in zip(accounts, flags, strict=True)
    ]
    program_id = Pubkey.from_string(program or _PROGRAMS[name.partition(":")[0]])
    return Instruction(program_id, LAYOUTS[name].pack(arguments), metas)


@lru_cache(65_536)
def associated(owner: Pubkey, mint: Pubkey, program: str) -> Pubkey:
    """The associated token account of an owner and a mint."""
    seeds = [bytes(owner), bytes(Pubkey.from_string(program)), bytes(mint)]
    return Pubkey.find_program_address(seeds, Pubkey.from_string(ASSOCIATED_TOKEN))[0]


def pay(source: Pubkey, destination: Pubkey, lamports: int) -> Instruction:
    """Move lamports."""
    return build("system:transfer", [lamports], "bw", source, destination)


def create(payer: Pubkey, account: Pubkey, lamports: int, space: int, owner: str) -> Instruction:
    """Create an account that a program owns."""
    return build("system:createAccount", [lamports, space, owner], "bb", payer, account)


def open_account(
    payer: Pubkey, owner: Pubkey, mint: Pubkey, program: str, *, again: bool = True
) -> Instruction:
    """Create an associated token account; `again` also succeeds if it is there."""
    name = f"spl-associated-token-account:create{'Idempotent' if again else ''}"
    account = associated(owner, mint, program)
    system, token = Pubkey.from_string(SYSTEM), Pubkey.from_string(program)
    return build(name, [], "bwrrrr", payer, account, owner, mint, system, token)


def memo(text: str, signer: Pubkey) -> Instruction:
    """A memo that an account signs."""
    return build("spl-memo:memo", [text], "s", signer)
