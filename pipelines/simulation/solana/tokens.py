"""How tokens come into the Solana world: mints of several kinds, and who first holds them."""

from __future__ import annotations

from solders.instruction import Instruction

from blockscan.chains.solana_layouts import TOKEN, TOKEN_2022
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana.actors import Label, Token, User
from pipelines.simulation.solana.world import Session, World

_MINT_BYTES = 82
_CLAWBACK_BYTES = 202  # a Token-2022 mint with the permanent delegate extension
_DECIMALS = (0, 2, 5, 6, 6, 6, 8, 9, 9)


def launch(world: World, issuer: User, label: Label, *, clawback: bool | None = None) -> Token:
    """Create a mint and its issuer's account in one transaction, and mint a first supply."""
    rng = world.rng
    decimals = int(rng.choice(_DECIMALS))
    clawback = world.chance(0.2) if clawback is None else clawback
    program = TOKEN_2022 if clawback or world.chance(0.15) else TOKEN
    key = world.address()
    token = Token(key.pubkey(), program, decimals, issuer, world.chance(0.5), clawback)
    supply = int(10 ** rng.uniform(5, 9)) * token.unit
    setup = _mint_instructions(world, token)
    opening = world.opening(issuer, issuer, token)
    world.must(issuer, [*setup, *opening, mint_to(token, issuer, supply)], label, key)
    world.tokens.append(token)
    return token


def _mint_instructions(world: World, token: Token) -> list[Instruction]:
    issuer = token.issuer.address
    size = _CLAWBACK_BYTES if token.clawback else _MINT_BYTES
    made = [ix.create(issuer, token.mint, world.ledger.rent(size), size, token.program)]
    if token.clawback:
        made.append(
            ix.build(
                "spl-token:initializePermanentDelegate",
                [str(issuer)],
                "w",
                token.mint,
                program=token.program,
            )
        )
    freezer = str(issuer) if token.freezable else None
    name = "spl-token:initializeMint2"
    return [
        *made,
        ix.build(name, [token.decimals, str(issuer), freezer], "w", token.mint, program=token.program),
    ]


def mint_to(token: Token, owner: User, amount: int) -> Instruction:
    """Mint to a wallet's account, signed by the issuer."""
    return ix.build(
        "spl-token:mintTo",
        [amount],
        "wws",
        *(token.mint, owner.account(token), token.issuer.address),
        program=token.program,
    )


def distribute(world: World, token: Token, people: list[User], label: Label) -> Session:
    """Send a new token from its issuer to people, a few in each transaction."""
    issuer = token.issuer
    while people:
        batch, people = people[:4], people[4:]
        parts: list[Instruction] = []
        for user in batch:
            if world.balance(issuer, token) < 10 or user is issuer:
                continue
            amount = world.token_amount(token, world.balance(issuer, token) // 20 + 1, median=2_000)
            parts += world.opening(issuer, user, token)
            parts.append(
                world.transfer(token, issuer.account(token), user.account(token), issuer.address, amount)
            )
        if parts:
            world.send(issuer, parts, label)
        yield world.wait(2)
