"""Attack families for judging: ransoms, rents, fake airdrops, stolen multisig keys, poisoned addresses."""

from __future__ import annotations

from solders.pubkey import Pubkey

from blockscan.chains.solana_layouts import TOKEN
from pipelines.simulation.engine import SimulationError
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana.actors import Token, User
from pipelines.simulation.solana.custody import found_treasury
from pipelines.simulation.solana.daily import newcomer
from pipelines.simulation.solana.incident import (
    Incident,
    attacker,
    cash_out,
    holders,
    rich,
)
from pipelines.simulation.solana.tokens import distribute, launch
from pipelines.simulation.solana.world import SOL, Session, World


def freeze_ransom(world: World, incident: Incident) -> Session:
    """A stolen freeze authority freezes holders, who pay to be thawed."""
    incident.unit = "frozen accounts"
    thief = attacker(world, incident)
    yield world.wait(10)
    fit = [token for token in world.tokens if token.freezable and len(token.holders) >= 4]
    token = world.popular([token for token in fit if token.issuer is not thief])
    victims = holders(world, token, int(world.rng.integers(2, 6)), thief)
    payer = thief if incident.choose(world, "issuer pays", "thief pays") == "thief pays" else token.issuer
    yield from _freeze(world, incident, token, victims, payer, "freezeAccount")
    yield world.wait(20)
    paid = []
    for victim in victims:
        ransom = min(world.sol_amount(0.3), world.spare(victim))
        if ransom > 2_000_000 and victim is not thief:
            before = world.ledger.lamports(thief.address)
            parts = [ix.pay(victim.address, thief.address, ransom)]
            if world.chance(0.5):
                parts.append(ix.memo(f"unfreeze {str(victim.account(token))[:8]}", victim.address))
            world.must(victim, parts, incident.label("exit"))
            incident.verify(ransom, world.ledger.lamports(thief.address) - before)
            paid.append(victim)
        yield world.wait(10)
    yield from _freeze(world, incident, token, paid, payer, "thawAccount")


def _freeze(
    world: World, incident: Incident, token: Token, victims: list[User], payer: User, name: str
) -> Session:
    if not victims:
        return
    parts = []
    for victim in victims:
        accounts = (victim.account(token), token.mint, token.issuer.address)
        parts.append(ix.build(f"spl-token:{name}", [], "wrs", *accounts, program=token.program))
    if not world.spare(payer):
        payer = world.exchanges[-1] if payer is token.issuer else token.issuer
    stage = "exploit" if name == "freezeAccount" else "exit"
    done = world.send(payer, parts, incident.label(stage), token.issuer.key)
    if done.ok and stage == "exploit":
        incident.victims += len(victims)
        incident.taken += len(victims)
    yield 0


def rent_theft(world: World, incident: Incident) -> Session:
    """Victims gave the thief the right to close their accounts, and it keeps rent and wrapped lamports."""
    incident.unit = "lamports"
    thief = attacker(world, incident)
    yield world.wait(10)
    native = Pubkey.from_string("So11111111111111111111111111111111111111112")
    accounts = []
    for _ in range(int(world.rng.integers(1, 4))):
        victim = rich(world, thief)
        amount = min(world.sol_amount(), world.spare(victim) - 10_000_000)
        key = world.address()
        rent = world.ledger.rent(165)
        wrap = [
            ix.create(victim.address, key.pubkey(), rent, 165, TOKEN),
            ix.build("spl-token:initializeAccount3", [str(victim.address)], "wr", key.pubkey(), native),
            ix.pay(victim.address, key.pubkey(), amount),
            ix.build("spl-token:syncNative", [], "w", key.pubkey()),
        ]
        give = ix.build("spl-token:setAuthority", [3, str(thief.address)], "ws", key.pubkey(), victim.address)
        if incident.choose(world, "at once", "later") == "at once":
            world.must(victim, [*wrap, give], incident.label("prep"), key)
        else:
            world.must(victim, wrap, incident.label("prep"), key)
            yield world.wait(15)
            world.must(victim, [give], incident.label("prep"))
        accounts.append(key.pubkey())
        yield world.wait(10)
    yield world.wait(30)
    held = sum(world.ledger.lamports(account) for account in accounts)
    parts = [
        ix.build("spl-token:closeAccount", [], "wws", account, thief.address, thief.address)
        for account in accounts
    ]
    world.must(thief, parts, incident.label("exploit"))
    incident.verify(held - sum(world.ledger.lamports(account) for account in accounts))
    incident.victims += len(accounts)


def fake_airdrop(world: World, incident: Incident) -> Session:
    """Worthless tokens sent to many; those who follow their lure sign away lamports and approvals."""
    incident.unit = "lamports"
    thief = attacker(world, incident)
    yield world.wait(10)
    if world.spare(thief) < SOL // 5:
        world.must(
            world.exchanges[0],
            [ix.pay(world.exchanges[0].address, thief.address, SOL)],
            incident.label("fund"),
        )
    lure = launch(world, thief, incident.label("prep"), clawback=False)
    people = [user for user in world.some(world.users, int(world.rng.integers(6, 14))) if user is not thief]
    yield from distribute(world, lure, people, incident.label("prep"))
    yield world.wait(30)
    for _ in range(int(world.rng.integers(1, 4))):
        victim = rich(world, thief)
        before = world.ledger.lamports(thief.address)
        amount = max(int(world.spare(victim) * world.rng.uniform(0.2, 0.9)), 1)
        parts = [ix.pay(victim.address, thief.address, amount)]
        if incident.choose(world, "with a token", "lamports only") == "with a token":
            held = world.balance(thief, lure)
            gift = world.token_amount(lure, held // 10 + 1)
            source, target = thief.account(lure), victim.account(lure)
            parts = [*world.opening(victim, victim, lure), *parts]
            parts.append(world.transfer(lure, source, target, thief.address, gift))
        else:
            parts.append(ix.memo("claim", victim.address))
        amount_before = world.ledger.lamports(victim.address)
        signers = [thief.key] if len(parts) > 1 and "with a token" in incident.variant[-1:] else []
        world.must(victim, parts, incident.label("exploit"), *signers)
        incident.verify(amount, world.ledger.lamports(thief.address) - before)
        if world.ledger.lamports(victim.address) > amount_before - amount:
            raise SimulationError(f"{incident.name}: the victim lost nothing")
        incident.victims += 1
        yield world.wait(12)


def multisig_theft(world: World, incident: Incident) -> Session:
    """Two stolen keys of a two-of-three multisig send the treasury to the thief."""
    thief = attacker(world, incident)
    yield world.wait(10)
    fit = [token for token in world.tokens if token.program == TOKEN]
    fit = [token for token in fit if world.balance(token.issuer, token) > 10_000]
    token = world.popular([token for token in fit if world.spare(token.issuer) > SOL // 20])
    members = world.some([user for user in world.users if world.spare(user) > SOL // 20], 3)
    address, treasury = yield from found_treasury(world, token, members, incident.label("prep"))
    yield world.wait(60)
    held = world.ledger.amount(treasury)
    before = world.balance(thief, token)
    amount = held if incident.choose(world, "all", "most") == "all" else max(held * 9 // 10, 1)
    payer = members[0] if world.spare(members[0]) else thief
    signers = [members[0].address, members[1].address]
    parts = world.opening(payer, thief, token)
    parts.append(world.transfer(token, treasury, thief.account(token), address, amount, *signers))
    world.must(payer, parts, incident.label("exploit"), members[0].key, members[1].key)
    incident.verify(held - world.ledger.amount(treasury), world.balance(thief, token) - before)
    incident.victims += 1
    yield from cash_out(world, incident, thief, token)


def address_poisoning(world: World, incident: Incident) -> Session:
    """Dust from an address that looks like one the victim pays; the next payment goes there."""
    incident.unit = "lamports"
    thief = attacker(world, incident)
    yield world.wait(10)
    victim, friend = rich(world, thief), newcomer(world)
    amount = max(world.spare(victim) // 20, 1_000_000)
    world.must(victim, [ix.pay(victim.address, friend.address, amount)], incident.label("prep"))
    yield world.wait(10)
    double = _lookalike(world, friend)
    feed = 2_000_000 if world.spare(thief) > 5_000_000 else 1_000_000
    world.must(thief, [ix.pay(thief.address, double.address, feed)], incident.label("prep"))
    dust = ix.pay(double.address, victim.address, int(world.rng.integers(1, 10_000)))
    yield world.wait(6)
    if not world.send(double, [dust], incident.label("prep")).ok:
        raise SimulationError(f"{incident.name}: the dust did not arrive")
    yield world.wait(50)
    before = world.ledger.lamports(double.address)
    loss = max(int(world.spare(victim) * world.rng.uniform(0.2, 0.8)), 1_000_000)
    world.must(victim, [ix.pay(victim.address, double.address, loss)], incident.label("exploit"))
    incident.verify(loss, world.ledger.lamports(double.address) - before)
    incident.victims += 1
    yield world.wait(15)
    left = world.ledger.lamports(double.address) - 1_500_000
    if incident.choose(world, "collect", "keep") == "collect" and left > 0:
        world.must(double, [ix.pay(double.address, thief.address, left)], incident.label("exit"))


def _lookalike(world: World, model: User) -> User:
    """A wallet whose address begins and ends like another's (one letter each: more takes too long here)."""
    wanted = str(model.address)
    while True:
        user = world.wallet()
        address = str(user.address)
        if address[0] == wanted[0] and address[-1] == wanted[-1]:
            return user
