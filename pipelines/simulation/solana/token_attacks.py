"""Attack families for design decisions: approvals, authorities, drained wallets, permanent delegates."""

from __future__ import annotations

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from pipelines.simulation.engine import SimulationError
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana.actors import Token, User
from pipelines.simulation.solana.incident import (
    Incident,
    attacker,
    cash_out,
    holders,
    rich,
    target_token,
)
from pipelines.simulation.solana.tokens import distribute, launch
from pipelines.simulation.solana.world import SOL, Session, World

_MOST_PARTS = 6
_ALL = 2**64 - 1


def approval_drain(world: World, incident: Incident) -> Session:
    """Victims were made to approve the thief as delegate; later it takes what they hold."""
    thief = attacker(world, incident)
    yield world.wait(10)
    token = target_token(world)
    victims = holders(world, token, int(world.rng.integers(1, 6)), thief)
    for victim in victims:
        amount = _ALL if world.chance(0.5) else world.balance(victim, token)
        accounts = (victim.account(token), thief.address, victim.address)
        allow = ix.build("spl-token:approve", [amount], "wrs", *accounts, program=token.program)
        world.must(victim, [allow], incident.label("prep"))
        yield world.wait(8)
    yield world.wait(50)
    if incident.choose(world, "together", "one by one") == "together":
        yield from _take(world, incident, thief, token, victims, thief.address)
    else:
        for victim in victims:
            yield from _take(world, incident, thief, token, [victim], thief.address)
            yield world.wait(3)
    yield from cash_out(world, incident, thief, token)


def _take(
    world: World, incident: Incident, thief: User, token: Token, victims: list[User], authority: Pubkey
) -> Session:
    """One transaction that moves all that victims hold to the thief, if it still may."""
    parts = world.opening(thief, thief, token)
    before = world.balance(thief, token)
    lost = 0
    for victim in victims[:_MOST_PARTS]:
        held = world.ledger.holding(victim.account(token))
        if held is None or not held.amount or held.delegate not in (None, str(authority)):
            continue
        if held.frozen or (held.delegate is None and not token.clawback):
            continue
        amount = held.amount if token.clawback else min(held.amount, held.delegated)
        source, target = victim.account(token), thief.account(token)
        parts.append(world.transfer(token, source, target, authority, amount))
        lost += amount
        incident.victims += 1
    if lost:
        world.must(thief, parts, incident.label("exploit"))
        incident.verify(lost, world.balance(thief, token) - before)
    yield 0


def mint_abuse(world: World, incident: Incident) -> Session:
    """A stolen mint authority mints to the thief, who dumps on holders and exchanges."""
    thief = attacker(world, incident)
    yield world.wait(15)
    token = world.popular([token for token in world.tokens if not token.fixed and token.issuer is not thief])
    amount = int(10 ** world.rng.uniform(4, 8)) * token.unit
    before = world.balance(thief, token)
    mint = ix.build(
        "spl-token:mintTo",
        [amount],
        "wws",
        *(token.mint, thief.account(token), token.issuer.address),
        program=token.program,
    )
    parts = [*world.opening(thief, thief, token), mint]
    if incident.choose(world, "thief pays", "issuer pays") == "thief pays":
        world.must(thief, parts, incident.label("exploit"), token.issuer.key)
    else:
        parts = [*world.opening(token.issuer, thief, token), mint]
        world.must(token.issuer, parts, incident.label("exploit"))
    incident.verify(amount, world.balance(thief, token) - before)
    incident.victims += len(token.holders)
    yield world.wait(10)
    for user in world.some(token.holders, int(world.rng.integers(1, 5))):
        share = world.balance(thief, token) // 10
        if user is not thief and share and world.spare(thief) > 5_000_000:
            move = world.transfer(token, thief.account(token), user.account(token), thief.address, share)
            if not world.send(thief, [move], incident.label("exit")).ok:
                break
            yield world.wait(4)
    yield from cash_out(world, incident, thief, token)


def authority_takeover(world: World, incident: Incident) -> Session:
    """A victim signs a transaction that makes the thief owner of its token account."""
    thief = attacker(world, incident)
    yield world.wait(15)
    token = target_token(world)
    for victim in holders(world, token, int(world.rng.integers(1, 4)), thief):
        account = victim.account(token)
        amount = world.balance(victim, token)
        if not amount:
            continue
        give = ix.build(
            "spl-token:setAuthority",
            [2, str(thief.address)],
            "ws",
            *(account, victim.address),
            program=token.program,
        )
        parts = [give]
        if world.chance(0.5):
            parts.insert(0, ix.pay(victim.address, thief.address, min(world.spare(victim), 50_000_000)))
        if not world.send(victim, parts, incident.label("exploit")).ok:
            continue  # Token-2022 refuses for accounts that the ATA program made
        held = world.ledger.holding(account)
        if held is None or held.owner != str(thief.address):
            raise SimulationError(f"{incident.name}: the account still belongs to its owner")
        incident.verify(amount, held.amount)
        incident.victims += 1
        token.holders.remove(victim)
        victim.tokens.remove(token)
        yield world.wait(10)
        opening = world.opening(thief, thief, token)
        move = world.transfer(token, account, thief.account(token), thief.address, amount)
        world.must(thief, [*opening, move], incident.label("exploit"))
    yield from cash_out(world, incident, thief, token)


def wallet_drain(world: World, incident: Incident) -> Session:
    """A victim signs one transaction that sends all its tokens and lamports to the thief."""
    thief = attacker(world, incident)
    yield world.wait(10)
    for _ in range(int(world.rng.integers(1, 4))):
        victim = rich(world, thief)
        tokens = [token for token in victim.tokens if world.balance(victim, token)][:_MOST_PARTS]
        amounts = {token: world.balance(victim, token) for token in tokens}
        before = {token: world.balance(thief, token) for token in tokens}
        payer = thief if incident.choose(world, "victim pays", "thief pays") == "thief pays" else victim
        if world.spare(payer) < 25_000_000:
            payer = victim
        parts: list[Instruction] = []
        for token in tokens:
            parts += world.opening(payer, thief, token)
            source, target = victim.account(token), thief.account(token)
            parts.append(world.transfer(token, source, target, victim.address, amounts[token]))
        lamports = max(world.spare(victim) - 2_100_000 * len(tokens), 0)
        if lamports and world.chance(0.7):
            parts.append(ix.pay(victim.address, thief.address, lamports))
        if not world.send(payer, parts, incident.label("exploit"), victim.key).ok:
            continue  # an account was frozen meanwhile
        for token in tokens:
            incident.verify(amounts[token], world.balance(thief, token) - before[token])
        incident.victims += 1
        yield world.wait(10)
        if tokens:
            yield from cash_out(world, incident, thief, tokens[0])


def permanent_delegate(world: World, incident: Incident) -> Session:
    """The issuer of a token with a permanent delegate takes it back from those who hold it."""
    thief = attacker(world, incident)
    yield world.wait(10)
    if world.spare(thief) < SOL // 10:
        world.must(
            world.exchanges[0],
            [ix.pay(world.exchanges[0].address, thief.address, SOL)],
            incident.label("fund"),
        )
    token = launch(world, thief, incident.label("prep"), clawback=True)
    people = world.some(world.users, int(world.rng.integers(4, 10)))
    yield from distribute(world, token, people, incident.label("prep"))
    yield world.wait(80)
    victims = [user for user in token.holders if user is not thief and world.balance(user, token)]
    while victims:
        batch, victims = victims[:_MOST_PARTS], victims[_MOST_PARTS:]
        yield from _take(world, incident, thief, token, batch, thief.address)
        yield world.wait(3)
    yield from cash_out(world, incident, thief, token)
