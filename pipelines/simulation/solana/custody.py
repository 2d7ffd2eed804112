"""Habits around who may do what with tokens: issuers, delegates, treasuries, people who change wallets.

Many of them look like an attack; see `habits.HARD`.
"""

from __future__ import annotations

from collections.abc import Generator

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from blockscan.chains.solana_layouts import TOKEN
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana.actors import Label, Token, User
from pipelines.simulation.solana.daily import close, kind, newcomer
from pipelines.simulation.solana.tokens import distribute, launch, mint_to
from pipelines.simulation.solana.world import SOL, Session, World


def payout(world: World) -> Session:
    """Many transfers of one token in one transaction: salaries, rewards, airdrops."""
    token = world.popular(world.tokens)
    payer = token.issuer
    held = world.balance(payer, token)
    if held < 1000 or world.spare(payer) < SOL // 10:
        return
    parts: list[Instruction] = []
    for target in world.some(world.users, int(world.rng.integers(3, 9))):
        if target is not payer:
            parts += world.opening(payer, target, token)
            amount = world.token_amount(token, held // 50 + 1, median=300)
            parts.append(
                world.transfer(token, payer.account(token), target.account(token), payer.address, amount)
            )
    world.send(payer, parts, kind("payout"))
    yield 0


def subscription(world: World) -> Session:
    """People let an operator spend for them; it collects from several at once; some revoke."""
    token = world.popular(world.tokens)
    operator = world.someone()
    members: list[User] = []
    for _ in range(int(world.rng.integers(1, 6))):
        user = world.holder(token, above=100)
        if user is None or user is operator or user in members:
            continue
        members.append(user)
        amount = 2**64 - 1 if world.chance(0.5) else world.balance(user, token)
        accounts = (user.account(token), operator.address, user.address)
        allow = ix.build("spl-token:approve", [amount], "wrs", *accounts, program=token.program)
        world.send(user, [allow], kind("approval"))
        yield world.wait(8)
    for _ in range(int(world.rng.integers(1, 4))):
        yield world.wait(60)
        parts = world.opening(operator, operator, token)
        for user in members:
            held = world.ledger.holding(user.account(token))
            if held is None or held.delegate != str(operator.address) or held.amount < 10:
                continue
            share = 1.0 if world.chance(0.3) else float(world.rng.uniform(0.02, 0.6))
            amount = max(1, min(int(held.amount * share), held.delegated))
            parts.append(
                world.transfer(token, user.account(token), operator.account(token), operator.address, amount)
            )
        if parts and world.spare(operator):
            world.send(operator, parts, kind("subscription"))
    for user in members:
        if world.chance(0.3) and world.spare(user):
            revoke = ix.build(
                "spl-token:revoke", [], "ws", user.account(token), user.address, program=token.program
            )
            world.send(user, [revoke], kind("revoke"))
            yield world.wait(5)


def issuance(world: World) -> Session:
    """An issuer mints more of its token and hands it out."""
    token = world.popular([token for token in world.tokens if not token.fixed])
    issuer = token.issuer
    if world.spare(issuer) < SOL // 10:
        return
    amount = int(10 ** world.rng.uniform(3, 8)) * token.unit
    if amount + world.balance(issuer, token) < 2**62:
        parts = [*world.opening(issuer, issuer, token), mint_to(token, issuer, amount)]
        world.send(issuer, parts, kind("issuance"))
        yield world.wait(10)
        people = [*world.some(world.users, int(world.rng.integers(1, 6))), world.popular(world.exchanges)]
        yield from distribute(world, token, people, kind("issuance"))


def compliance(world: World) -> Session:
    """An issuer freezes accounts, and thaws most of them later."""
    tokens = [token for token in world.tokens if token.freezable]
    token = world.popular(tokens)
    issuer = token.issuer
    users = [world.holder(token, above=0) for _ in range(int(world.rng.integers(1, 5)))]
    accounts = list(
        dict.fromkeys(user.account(token) for user in users if user is not None and user is not issuer)
    )
    for name in ("freezeAccount", "thawAccount"):
        if accounts and world.spare(issuer):
            flags = (token.mint, issuer.address)
            parts = [
                ix.build(f"spl-token:{name}", [], "wrs", account, *flags, program=token.program)
                for account in accounts
            ]
            world.send(issuer, parts, kind("compliance"))
            yield world.wait(80)


def handover(world: World) -> Session:
    """An owner gives a token account to another wallet of his, which moves the tokens on."""
    token = world.popular(world.tokens)
    owner = world.holder(token, above=10)
    if owner is None or token.program != TOKEN:
        return
    heir = newcomer(world)
    accounts = (owner.account(token), owner.address)
    give = ix.build("spl-token:setAuthority", [2, str(heir.address)], "ws", *accounts)
    fund = ix.pay(owner.address, heir.address, min(world.spare(owner), 60_000_000) or 1)
    if world.spare(owner) < 10_000_000:
        return
    world.must(owner, [give, fund] if world.chance(0.5) else [fund, give], kind("handover"))
    token.holders.remove(owner)
    owner.tokens.remove(token)
    yield world.wait(20)
    amount = world.ledger.amount(owner.account(token))
    parts = world.opening(heir, heir, token)
    parts.append(world.transfer(token, owner.account(token), heir.account(token), heir.address, amount))
    world.send(heir, parts, kind("handover"))


def migration(world: World) -> Session:
    """A user moves everything to a new wallet in one transaction."""
    user = world.someone()
    held = [token for token in user.tokens if world.balance(user, token)]
    home = newcomer(world)
    if not held or world.spare(user) < 30_000_000:
        return
    parts: list[Instruction] = []
    for token in held[:6]:
        parts += world.opening(user, home, token)
        amount = world.balance(user, token)
        parts.append(world.transfer(token, user.account(token), home.account(token), user.address, amount))
        if world.chance(0.3):
            parts.append(close(token, user, user.address))
            token.holders.remove(user)
            user.tokens.remove(token)
    left = world.spare(user) - 12_000_000 - 2_100_000 * len(held[:6])
    if left > 0 and world.chance(0.7):
        parts.append(ix.pay(user.address, home.address, left))
    world.send(user, parts, kind("migration"))
    yield 0


def cleanup(world: World) -> Session:
    """Empty token accounts closed for their rent, sometimes by a service that pays it out less a fee."""
    user = world.someone()
    empty = [token for token in user.tokens if world.is_empty(user, token)]
    if not empty:
        return
    service = world.popular(world.exchanges) if world.chance(0.4) else None
    target = user if service is None else service
    parts = [close(token, user, target.address) for token in empty[:10]]
    if service is not None:
        parts.append(ix.pay(service.address, user.address, 1_700_000 * len(parts)))
    for token in empty[:10]:
        token.holders.remove(user)
        user.tokens.remove(token)
    world.send(service or user, parts, kind("cleanup"), *([user.key] if service is not None else []))
    yield 0


def clawback(world: World) -> Session:
    """A regulated issuer takes tokens back from accounts, as the mint allows it to."""
    token = world.popular([token for token in world.tokens if token.clawback])
    issuer = token.issuer
    parts = world.opening(issuer, issuer, token)
    for user in world.some(token.holders, int(world.rng.integers(1, 4))):
        held = world.balance(user, token)
        if held and user is not issuer:
            parts.append(
                world.transfer(token, user.account(token), issuer.account(token), issuer.address, held)
            )
    if parts and world.spare(issuer):
        world.send(issuer, parts, kind("clawback"))
    yield 0


def claim(world: World) -> Session:
    """An airdrop that people claim: they pay a fee and open their account, the issuer signs along."""
    token = world.popular(world.tokens)
    issuer = token.issuer
    for _ in range(int(world.rng.integers(1, 5))):
        user = world.someone()
        held = world.balance(issuer, token)
        if user is issuer or held < 1000 or world.spare(user) < 20_000_000:
            continue
        amount = world.token_amount(token, held // 100 + 1, median=100)
        fee = ix.pay(user.address, issuer.address, min(world.sol_amount(0.02), world.spare(user) // 2))
        move = world.transfer(token, issuer.account(token), user.account(token), issuer.address, amount)
        world.send(user, [*world.opening(user, user, token), fee, move], kind("claim"), issuer.key)
        yield world.wait(12)


def launching(world: World) -> Session:
    """Somebody launches a token, hands it out, and may give up the right to mint more."""
    issuer = world.someone()
    if world.spare(issuer) < SOL // 5:
        return
    token = launch(world, issuer, kind("launch"))
    yield world.wait(10)
    people = world.some(world.users, int(world.rng.integers(3, 12)))
    yield from distribute(world, token, people, kind("distribution"))
    if world.chance(0.4) and world.spare(issuer):
        give_up = ix.build(
            "spl-token:setAuthority", [0, None], "ws", token.mint, issuer.address, program=token.program
        )
        token.fixed = True
        world.send(issuer, [give_up], kind("renounce"))


def multisig(world: World) -> Session:
    """A treasury under a two-of-three multisig pays out."""
    token = world.popular([token for token in world.tokens if token.program == TOKEN])
    members = world.some([user for user in world.users if world.spare(user)], 3)
    issuer = token.issuer
    if len(members) < 3 or world.spare(issuer) < SOL // 10 or world.balance(issuer, token) < 10_000:
        return
    treasury = yield from found_treasury(world, token, members, kind("treasury"))
    for _ in range(int(world.rng.integers(1, 4))):
        yield world.wait(50)
        held = world.ledger.amount(treasury[1])
        target = world.popular(token.holders)
        amount = world.token_amount(token, max(held // 3, 1), median=500)
        parts = world.opening(members[0], target, token)
        signers = [member.address for member in members[:2]]
        parts.append(world.transfer(token, treasury[1], target.account(token), treasury[0], amount, *signers))
        if held and world.spare(members[0]):
            world.send(members[0], parts, kind("treasury"), members[1].key)


def found_treasury(
    world: World, token: Token, members: list[User], label: Label
) -> Generator[int, None, tuple[Pubkey, Pubkey]]:
    """Create a two-of-three multisig with a token account, funded by the issuer; both addresses."""
    founder, issuer = members[0], token.issuer
    key = world.address()
    people = [member.address for member in members]
    treasury = ix.associated(key.pubkey(), token.mint, token.program)
    parts = [
        ix.create(founder.address, key.pubkey(), world.ledger.rent(355), 355, TOKEN),
        ix.build("spl-token:initializeMultisig2", [2], "wrrr", key.pubkey(), *people),
        ix.open_account(founder.address, key.pubkey(), token.mint, token.program),
    ]
    world.must(founder, parts, label, key)
    yield world.wait(10)
    amount = world.token_amount(token, world.balance(issuer, token) // 3, median=20_000)
    world.must(
        issuer, [world.transfer(token, issuer.account(token), treasury, issuer.address, amount)], label
    )
    return key.pubkey(), treasury
