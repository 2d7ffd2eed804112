"""Moving ether and tokens about: plain transfers, exchanges, payouts to many, collections by an operator."""

from __future__ import annotations

from pipelines.simulation.engine import Account
from pipelines.simulation.world import (
    ETH,
    FOREVER,
    Part,
    Send,
    Session,
    Tag,
    Token,
    World,
    newcomer,
    obtain,
    send,
    someone,
)

TRANSFER = Tag(kind="transfer")
TOKEN_TRANSFER = Tag(kind="token_transfer")
_PAYOUT = Tag(kind="batch_payout")
_COLLECT = Tag(kind="collection")


def plain_transfer(world: World) -> Session:
    """One person pays another, an exchange or a new address."""
    ether = world.amount(0.4, 1.5)
    payer = yield from someone(world, ether, fresh=0.95)
    if world.chance(0.4):
        yield from newcomer(world, ether, source=payer)
    else:
        payee = world.pick(world.exchanges) if world.chance(0.3) else world.visitor()
        yield Send(payer, payee.address, value=int(ether * ETH), tag=TRANSFER)


def exchange_withdrawals(world: World) -> Session:
    """An exchange's hot wallet pays out to several customers, new and old."""
    exchange = world.exchanges[world.zipf(len(world.exchanges))]
    for _ in range(1 + int(world.rng.geometric(0.4))):
        ether = world.amount(0.8, 1.3)
        if world.chance(0.85):
            yield from newcomer(world, ether, source=exchange)
        else:
            yield Send(exchange, world.visitor().address, value=int(ether * ETH), tag=TRANSFER)


def exchange_deposit(world: World) -> Session:
    """A customer pays into a personal deposit address, which the exchange sweeps later."""
    ether = world.amount(0.8, 1.2) + 0.02
    payer = yield from someone(world, ether, fresh=0.1)
    deposit = world.account()
    yield Send(payer, deposit.address, value=int(ether * ETH), tag=TRANSFER)
    for _ in range(int(world.rng.integers(5, 60))):
        yield None
    exchange = world.exchanges[world.zipf(len(world.exchanges))]
    yield Send(deposit, exchange.address, value=int((ether - 0.01) * ETH), tag=TRANSFER)


def token_withdrawals(world: World) -> Session:
    """An exchange buys a token and sends it to customers."""
    exchange = world.exchanges[world.zipf(len(world.exchanges))]
    token: Token = world.token()
    count = 1 + int(world.rng.geometric(0.3))
    if world.held(token, exchange.address) < token.units(3.0 * count):
        yield from obtain(world, exchange, token, world.amount(25.0, 0.4))
    for _ in range(count):
        amount = min(token.units(world.amount(0.7, 1.0)), world.held(token, exchange.address) // 2)
        payee = world.visitor().address if world.chance(0.7) else world.account().address
        yield send(exchange, "token", token.address, "transfer", payee, amount, tag=TOKEN_TRANSFER)


def token_transfer(world: World) -> Session:
    """Somebody passes on part of the tokens that he holds, buying some first if he has none."""
    payer = yield from someone(world, 1.0)
    token = world.token()
    held = world.held(token, payer.address)
    if held == 0:
        held = yield from obtain(world, payer, token, min(world.amount(0.3, 0.6), 0.8))
    for _ in range(int(world.rng.integers(1, 3))):
        held //= 2
        payee = world.visitor().address
        yield send(payer, "token", token.address, "transfer", payee, held, tag=TOKEN_TRANSFER)


def payout(world: World) -> Session:
    """Salaries, air drops, refunds: many receivers in one transaction."""
    count = min(380, 3 + int(world.amount(14.0, 1.15)))
    each = world.amount(0.02, 0.7)
    payer = yield from someone(world, each * count * 1.1, fresh=0.15)
    place = world.the("payout")
    people = [world.account() if world.chance(0.3) else world.visitor() for _ in range(count)]
    receivers = [person.address for person in people]
    if world.chance(0.5):
        values = [int(each * ETH * (0.5 + world.rng.random())) for _ in people]
        call = ("disperseEther", receivers, values)
        yield send(payer, "payout", place.address, *call, value=sum(values), tag=_PAYOUT)
        return
    token = world.token()
    got = yield from obtain(world, payer, token, each * count)
    yield send(payer, "token", token.address, "approve", place.address, FOREVER, tag=Tag(kind="approval"))
    share = got // count
    yield send(
        payer,
        "payout",
        place.address,
        "disperseToken",
        token.address,
        receivers,
        [share] * count,
        tag=_PAYOUT,
    )


def collection(world: World) -> Session:
    """A payment company is approved by its customers and later collects what they owe."""
    company = yield from someone(world, 0.5)
    place = world.the("payout")
    token = world.token(1.3)
    customers: list[Account] = []
    for _ in range(int(world.rng.integers(2, 7))):
        customer = yield from _customer(world, company, token)
        customers.append(customer)
    to = company.address if world.chance(0.5) else world.account().address
    share = 1.0 if world.chance(0.5) else 0.3 + 0.5 * world.rng.random()
    values = [int(world.held(token, c.address) * share) for c in customers]
    if world.chance(0.6):
        owners = [c.address for c in customers]
        call = ("collect", token.address, owners, values, to)
        yield send(company, "payout", place.address, *call, tag=_COLLECT)
    else:
        for customer, value in zip(customers, values, strict=True):
            pull = ("transferFrom", customer.address, to, value)
            yield send(company, "token", token.address, *pull, tag=_COLLECT)


def _customer(world: World, company: Account, token: Token) -> Part:
    """Let one customer buy the token and approve the company and its collector; return him."""
    customer = yield from someone(world, 0.9)
    place = world.the("payout").address
    yield from obtain(world, customer, token, min(0.7, world.amount(0.2, 0.7)))
    approval = Tag(kind="approval")
    for spender in (company.address, place):
        yield send(customer, "token", token.address, "approve", spender, FOREVER, tag=approval)
    yield send(customer, "payout", place, "setOperator", company.address, tag=approval)
    return customer


HABITS = (
    (70.0, plain_transfer),
    (7.0, exchange_withdrawals),
    (4.0, exchange_deposit),
    (1.0, token_withdrawals),
    (2.2, token_transfer),
    (1.6, payout),
    (0.7, collection),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("batch_payout", "collection")
