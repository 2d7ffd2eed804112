"""Pools and lending markets of the Solana world, run by the program in `programs/market.so`."""

from __future__ import annotations

import hashlib
import struct

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from blockscan.chains.solana_layouts import TOKEN, Argument
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana.actors import Label, Market, Pool, Token, User
from pipelines.simulation.solana.program import MARKET
from pipelines.simulation.solana.world import World

_STATE_BYTES, POSITION_BYTES = 136, 88
_OPEN, _SWAP, _BORROW, _REPAY = range(4)
_NAMES = ("open", "swap", "borrow", "repay")
LOAN_SHARE = 0.75
"""Loan that the program allows for each unit of worth."""


def deploy(world: World) -> tuple[Pubkey, Pubkey]:
    """Deploy the program twice: as a swap and as a lender; the addresses of both."""
    swap, lender = (world.address().pubkey() for _ in range(2))
    for program in (swap, lender):
        world.ledger.add_program(program, MARKET.read_bytes())
    return swap, lender


def _data(kind: int, first: int, second: int) -> bytes:
    name = hashlib.sha256(f"global:{_NAMES[kind]}".encode()).digest()
    return bytes([kind]) + name[1:7] + bytes([name[7] | 1]) + struct.pack("<QQ", first, second)


def _call(program: Pubkey, data: bytes, flags: str, *accounts: Pubkey) -> Instruction:
    metas = [AccountMeta(key, flag in "sb", flag in "wb") for key, flag in zip(accounts, flags, strict=True)]
    return Instruction(program, data, metas)


def found_pool(
    world: World,
    program: Pubkey,
    founder: User,
    tokens: tuple[Token, Token],
    amounts: tuple[int, int],
    *,
    checked: bool = True,
    price: Pool | None = None,
) -> Pool:
    """Create a pool, or a market's vaults, and pay in what it begins with: two transactions.

    Args:
        world: where.
        program: which of the deployed programs.
        founder: pays and signs; it must hold the amounts.
        tokens: a and b.
        amounts: base units of each.
        checked: of a market: whether it looks at whose the price accounts are.
        price: of a market: the pool that prices it.

    Raises:
        SimulationError: the founder cannot pay.
    """
    key = world.address()
    authority, bump = Pubkey.find_program_address([bytes(key.pubkey())], program)
    vaults = tuple(ix.associated(authority, token.mint, token.program) for token in tokens)
    pool = Pool(program, key.pubkey(), authority, tokens, (vaults[0], vaults[1]), amounts)
    rent = world.ledger.rent(_STATE_BYTES)
    prices = (price or pool).vaults
    label = Label(kind="founding")
    setup = [ix.create(founder.address, key.pubkey(), rent, _STATE_BYTES, str(program))]
    setup += [ix.open_account(founder.address, authority, token.mint, token.program) for token in tokens]
    accounts = (pool.state, authority, *pool.vaults, *prices)
    setup.append(_call(program, _data(_OPEN, bump, int(checked)), "brrrrr", *accounts))
    world.must(founder, setup, label, key)
    paid = [
        world.transfer(token, founder.account(token), vault, founder.address, amount)
        for token, vault, amount in zip(tokens, pool.vaults, amounts, strict=True)
        if amount
    ]
    world.must(founder, paid, label)
    return pool


def reserves(world: World, pool: Pool) -> tuple[int, int]:
    """What both vaults hold, in base units."""
    return world.ledger.amount(pool.vaults[0]), world.ledger.amount(pool.vaults[1])


def quote(world: World, pool: Pool, side: int, amount: int) -> int:
    """What a swap of an amount of token `side` (0: a, 1: b) gives."""
    held = reserves(world, pool)
    paid = amount - amount // 400
    return held[1 - side] * paid // (held[side] + paid)


def swap(pool: Pool, user: User, side: int, amount: int, least: int) -> Instruction:
    """Give an amount of token `side` for at least `least` of the other."""
    given, got = pool.tokens[side], pool.tokens[1 - side]
    accounts = (
        *(pool.state, pool.authority, user.address, user.account(given), user.account(got)),
        *(pool.vaults[side], pool.vaults[1 - side], Pubkey.from_string(TOKEN)),
    )
    return _call(pool.program, _data(_SWAP, amount, least), "rrswwwwr", *accounts)


def open_position(world: World, market: Market, user: User) -> list[Instruction]:
    """What creates a user's position, with its address noted; nothing if there is one.

    The account is derived from the user's key and a seed, so that no other key has to sign.
    """
    if market.positions.get(user) is not None:
        return []
    seed = str(market.vault.state)[:32]
    program = market.vault.program
    address = Pubkey.create_with_seed(user.address, seed, program)
    market.positions[user] = address
    rent = world.ledger.rent(POSITION_BYTES)
    arguments: list[Argument] = [str(user.address), seed, rent, POSITION_BYTES, str(program)]
    return [ix.build("system:createAccountWithSeed", arguments, "bw", user.address, address)]


def _lend(market: Market, user: User, data: bytes, prices: tuple[Pubkey, Pubkey] | None) -> Instruction:
    vault = market.vault
    token_a, token_b = vault.tokens
    accounts = (
        *(vault.state, vault.authority, user.address, user.account(token_a), user.account(token_b)),
        *(*vault.vaults, Pubkey.from_string(TOKEN), market.positions[user], *(prices or market.price.vaults)),
    )
    return _call(vault.program, data, "rrswwwwrwrr", *accounts)


def borrow(
    market: Market, user: User, collateral: int, loan: int, prices: tuple[Pubkey, Pubkey] | None = None
) -> Instruction:
    """Pay in token a, and take out token b; `prices` are other price accounts than the market's own."""
    return _lend(market, user, _data(_BORROW, collateral, loan), prices)


def repay(market: Market, user: User, loan: int, collateral: int) -> Instruction:
    """Pay back token b, and take out token a."""
    return _lend(market, user, _data(_REPAY, loan, collateral), None)


def depth(world: World, market: Market) -> float:
    """What a market can lend, for each token b that its price pool holds."""
    return reserves(world, market.vault)[1] / max(reserves(world, market.price)[1], 1)


def worth(world: World, market: Market, collateral: int) -> int:
    """Token b that an amount of token a is worth at the market's present price."""
    held = reserves(world, market.price)
    return collateral * held[1] // max(held[0], 1)
