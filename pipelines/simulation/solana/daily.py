"""Habits of every day: payments, deposits, withdrawals, wrapping, staking, mistakes."""

from __future__ import annotations

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from blockscan.chains.solana_layouts import STAKE, TOKEN
from pipelines.simulation.solana import instructions as ix
from pipelines.simulation.solana.actors import Label, Token, User
from pipelines.simulation.solana.world import Session, World

_MEMOS = ("thanks", "invoice {n}", "order #{n}", "rent", "gm", "{n}", "payout {n}", "refund {n}", "donation")


_NATIVE = "So11111111111111111111111111111111111111112"


_STAKE_BYTES = 200


def kind(name: str) -> Label:
    """The label of an ordinary transaction."""
    return Label(kind=name)


def with_memo(world: World, user: User, parts: list[Instruction]) -> list[Instruction]:
    """Some wallets add a memo."""
    if not world.chance(0.15):
        return parts
    text = world.pick(_MEMOS).format(n=int(world.rng.integers(1, 99_999)))
    return [*parts, ix.memo(text, user.address)]


def sol_payment(world: World) -> Session:
    """Lamports to another wallet, now and then to a new one."""
    payer = world.someone()
    target = world.pick(world.users) if world.chance(0.8) else newcomer(world)
    amount = min(world.sol_amount(), world.spare(payer))
    amount = max(amount, 1_000_000)
    world.send(
        payer, with_memo(world, payer, [ix.pay(payer.address, target.address, amount)]), kind("payment")
    )
    yield 0


def newcomer(world: World) -> User:
    """A wallet that did nothing yet; from now on it is one of the users."""
    user = world.wallet()
    world.users.insert(int(world.rng.integers(len(world.users) // 2, len(world.users) + 1)), user)
    return user


def withdrawal(world: World) -> Session:
    """An exchange pays out to one or several wallets, new ones among them."""
    exchange = world.popular(world.exchanges)
    many = int(world.rng.integers(2, 12)) if world.chance(0.25) else 1
    parts = []
    for _ in range(many):
        target = newcomer(world) if world.chance(0.45) else world.pick(world.users)
        parts.append(ix.pay(exchange.address, target.address, world.sol_amount(1.5) + 5_000_000))
    world.must(exchange, parts, kind("withdrawal"))
    yield 0


def deposit_address(world: World, user: User) -> User:
    """The user's deposit address at an exchange."""
    if user.deposit is None:
        user.deposit = world.wallet()
    return user.deposit


def deposit(world: World) -> Session:
    """Lamports or tokens to a deposit address; the exchange collects from several later."""
    exchange = world.popular(world.exchanges)
    token = world.popular(world.tokens)
    places: list[User] = []
    for _ in range(int(world.rng.integers(1, 6))):
        user = world.holder(token, above=10) if world.chance(0.6) else world.someone()
        if user is None:
            continue
        place = deposit_address(world, user)
        held = world.balance(user, token)
        if held > 10:
            amount = world.token_amount(token, held, median=200)
            move = world.transfer(token, user.account(token), place.account(token), user.address, amount)
            world.send(user, [*world.opening(user, place, token), move], kind("deposit"))
            places.append(place)
        else:
            amount = min(world.sol_amount(), world.spare(user))
            if amount > 3_000_000:
                world.send(user, [ix.pay(user.address, place.address, amount)], kind("deposit"))
        yield world.wait(15)
    yield world.wait(40)
    collected = [place for place in dict.fromkeys(places) if world.balance(place, token)]
    if collected:
        parts = world.opening(exchange, exchange, token)
        for place in collected:
            parts += _collect(world, token, place, exchange)
        world.send(exchange, parts, kind("sweep"), *(place.key for place in collected))


def _collect(world: World, token: Token, place: User, exchange: User) -> list[Instruction]:
    held = world.balance(place, token)
    move = world.transfer(token, place.account(token), exchange.account(token), place.address, held)
    return [move, close(token, place, exchange.address)] if world.chance(0.4) else [move]


def close(token: Token, owner: User, destination: Pubkey) -> Instruction:
    """Close a wallet's empty account; its rent goes to the destination."""
    accounts = (owner.account(token), destination, owner.address)
    return ix.build("spl-token:closeAccount", [], "wws", *accounts, program=token.program)


def token_payment(world: World) -> Session:
    """Tokens to another wallet, whose account is opened if need be."""
    token = world.popular(world.tokens)
    payer = world.holder(token, above=2)
    if payer is None:
        return
    target = world.pick(world.users) if world.chance(0.85) else newcomer(world)
    if target is payer:
        return
    amount = world.token_amount(token, world.balance(payer, token))
    move = world.transfer(token, payer.account(token), target.account(token), payer.address, amount)
    parts = [*world.opening(payer, target, token), move]
    world.send(payer, with_memo(world, payer, parts), kind("token_payment"))
    yield 0


def burn(world: World) -> Session:
    """Tokens destroyed by their owner."""
    token = world.popular(world.tokens)
    user = world.holder(token, above=5)
    if user is not None:
        amount = world.token_amount(token, world.balance(user, token))
        accounts = (user.account(token), token.mint, user.address)
        parts = [ix.build("spl-token:burn", [amount], "wws", *accounts, program=token.program)]
        world.send(user, parts, kind("burn"))
    yield 0


def wrapping(world: World) -> Session:
    """Lamports wrapped in an account of the native mint, and unwrapped later."""
    user = world.someone()
    amount = min(world.sol_amount(), world.spare(user))
    if amount < 5_000_000:
        return
    key = world.address()
    native = Pubkey.from_string(_NATIVE)
    rent = world.ledger.rent(165)
    if world.spare(user) < amount + rent:
        amount -= rent
    parts = [
        ix.create(user.address, key.pubkey(), rent, 165, TOKEN),
        ix.build("spl-token:initializeAccount3", [str(user.address)], "wr", key.pubkey(), native),
        ix.pay(user.address, key.pubkey(), amount),
        ix.build("spl-token:syncNative", [], "w", key.pubkey()),
    ]
    if not world.send(user, parts, kind("wrap"), key).ok:
        return
    yield world.wait(60)
    accounts = (key.pubkey(), user.address, user.address)
    world.send(user, [ix.build("spl-token:closeAccount", [], "wws", *accounts)], kind("unwrap"))


def staking(world: World) -> Session:
    """Lamports set aside in a stake account, and taken out again."""
    user = world.someone()
    amount = min(world.sol_amount(3.0), world.spare(user) - 10_000_000)
    if amount < 20_000_000:
        return
    key = world.address()
    owner = str(user.address)
    parts = [
        ix.create(user.address, key.pubkey(), amount + world.ledger.rent(_STAKE_BYTES), _STAKE_BYTES, STAKE),
        ix.build("stake:initialize", [owner, owner, 0, 0, owner], "wr", key.pubkey(), ix.RENT),
    ]
    if not world.send(user, parts, kind("stake"), key).ok:
        return
    yield world.wait(90)
    accounts = (key.pubkey(), user.address, ix.CLOCK, ix.STAKE_HISTORY, user.address)
    back = ix.build("stake:withdraw", [amount], "wwrrs", *accounts)
    world.send(user, [back], kind("unstake"))


def mistake(world: World) -> Session:
    """Transactions that fail: too little of a token, another's account, a frozen or absent one."""
    token = world.popular(world.tokens)
    user, other = world.holder(token), world.pick(world.users)
    if user is None or user is other:
        return
    held = world.balance(user, token)
    choice = int(world.rng.integers(3))
    if choice == 0:
        parts = [
            ix.pay(user.address, other.address, world.ledger.lamports(user.address) + world.sol_amount())
        ]
    elif choice == 1:
        target = other.account(token) if other in token.holders else token.issuer.account(token)
        amount = held + world.token_amount(token, 2**50)
        parts = [world.transfer(token, user.account(token), target, user.address, amount)]
    else:
        parts = [world.transfer(token, user.account(token), other.address, user.address, max(1, held))]
    world.send(user, parts, kind("failed"))
    yield 0
