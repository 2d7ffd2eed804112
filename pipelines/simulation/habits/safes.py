"""Wallets whose owners sign off chain: payments, batches by delegatecall, modules, new versions."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.simulation.bytecode import Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, Receipt
from pipelines.simulation.habits.saving import as_tuples, executor_of, wait
from pipelines.simulation.habits.upgrades import bought, endow
from pipelines.simulation.proxies import singleton_proxy, slot_writer
from pipelines.simulation.world import (
    ETH,
    Part,
    Send,
    Session,
    Tag,
    Token,
    World,
    deploy,
    send,
    someone,
    step,
)

_PAYMENT = Tag(kind="multisig")
_BATCH = Tag(kind="multisig_batch")
_MODULE = Tag(kind="module_use")
_MIGRATION = Tag(kind="migration")
_DEPLOYMENT = Tag(kind="deployment")
_SWEEP = Tag(kind="exchange_sweep")
_NOBODY = bytes(20)


@dataclass
class Safe:
    """A wallet behind a proxy: who signs for it, what it holds, and whether people may use it now."""

    address: bytes
    owners: list[Account]
    threshold: int
    guarded: bool
    """Whether its version lets only the wallet itself enable modules."""
    tokens: list[Token] = field(default_factory=list)
    open: bool = True


def safes(world: World) -> list[Safe]:
    """Return the wallets that are in use, oldest first."""
    return [safe for safe in world.notes.get("safe", []) if safe.open]


def version(world: World, *, guarded: bool) -> bytes:
    """Return the implementation that guards its modules, or the older one that does not."""
    found: bytes = world.places["safe"][int(guarded)].address
    return found


def found(world: World, founders: list[Account]) -> Part:
    """Deploy both versions, the batch library and five wallets."""
    yield from endow(world, founders)
    yield from deploy(world, founders[2], "multi_send")
    for guarded in (False, True):
        yield from deploy(world, founders[2], "safe", guarded)
    for guarded in (False, True, False, True, False):
        first = int(world.rng.integers(4))
        owners = founders[first : first + 3]
        safe = yield from open_safe(world, owners, guarded=guarded)
        yield from _fund(world, owners[0], safe, world.amount(40.0, 0.4))


def open_safe(world: World, owners: list[Account], *, guarded: bool) -> Part:
    """Deploy a proxy and set its owners; return the Safe."""
    code = singleton_proxy(version(world, guarded=guarded))
    receipt: Receipt = yield Send(owners[0], None, code, tag=_DEPLOYMENT)
    threshold = int(world.rng.integers(1, len(owners) + 1))
    call = ("setup", [owner.address for owner in owners], threshold)
    yield send(owners[0], "safe", receipt.made, *call, tag=_PAYMENT)
    safe = Safe(receipt.made, owners, threshold, guarded)
    world.notes.setdefault("safe", []).append(safe)
    return safe


def _fund(world: World, who: Account, safe: Safe, ether: float) -> Part:
    """Pay ether into a wallet and, half of the time, a token."""
    yield Send(who, safe.address, value=int(ether * ETH), tag=_PAYMENT)
    if world.chance(0.5):
        token = world.tokens[world.zipf(6)]
        got = yield from bought(world, who, token, ether * 0.3)
        yield send(who, "token", token.address, "transfer", safe.address, got, tag=_PAYMENT)
        if token not in safe.tokens:
            safe.tokens.append(token)


def confirmed(world: World, safe: Safe, to: bytes, wei: int, data: bytes, operation: int) -> bytes:
    """Return the calldata of execTransaction with the signatures of as many owners as it takes."""
    nonce = world.view("safe", safe.address, "nonce")
    digest = world.view("safe", safe.address, "getTransactionHash", to, wei, data, operation, nonce)
    signers = sorted(safe.owners[: safe.threshold], key=lambda owner: owner.address)
    signatures = b""
    for signer in signers:
        made = signer.key.sign_msg_hash(digest)
        signatures += made.r.to_bytes(32, "big") + made.s.to_bytes(32, "big") + bytes([27 + made.v])
    free = (0, 0, 0, _NOBODY, _NOBODY)
    return contract("safe").data("execTransaction", to, wei, data, operation, *free, signatures)


def _execute(world: World, safe: Safe, to: bytes, wei: int, data: bytes, operation: int, *, tag: Tag) -> Send:
    """Return a transaction by which an owner, or somebody paid for it, submits what enough have signed."""
    sender = world.pick(safe.owners) if world.chance(0.75) else world.visitor()
    return Send(sender, safe.address, confirmed(world, safe, to, wei, data, operation), tag=tag)


def packed(steps: list[Step]) -> bytes:
    """Return the calldata of multiSend for plain calls."""
    body = b""
    for each in steps:
        body += bytes(1) + each.target + each.value.to_bytes(32, "big")
        body += len(each.data).to_bytes(32, "big") + each.data
    return contract("multi_send").data("multiSend", body)


def _a_safe(world: World) -> Safe | None:
    options = safes(world)
    return world.pick(options) if options else None


def _payment(world: World, safe: Safe, share: float) -> Step:
    """Return a payment in ether, or in a token that the wallet holds."""
    to = world.visitor().address
    if safe.tokens and world.chance(0.4):
        token: Token = world.pick(safe.tokens)
        amount = int(world.held(token, safe.address) * share)
        return step("token", token.address, "transfer", to, amount)
    return Step(to, int(world.ether(safe.address) * share), b"")


def pay(world: World) -> Session:
    """Owners pay somebody from their wallet; now and then nearly everything."""
    safe = _a_safe(world)
    if safe is None:
        return
    share = 0.95 if world.chance(0.06) else 0.01 + 0.1 * world.rng.random()
    each = _payment(world, safe, share)
    yield _execute(world, safe, each.target, each.value, each.data, 0, tag=_PAYMENT)


def pay_many(world: World) -> Session:
    """Owners make several payments or calls in one delegatecall of the batch library."""
    safe = _a_safe(world)
    if safe is None:
        return
    count = min(24, 1 + int(world.amount(4.0, 0.7)))
    steps = [_payment(world, safe, 0.2 / count) for _ in range(count)]
    if world.chance(0.4):
        ether = min(world.ether(safe.address) // 10, ETH)
        steps.append(step("weth", world.weth.address, "deposit", value=ether))
        if world.weth not in safe.tokens:
            safe.tokens.append(world.weth)
    library = world.the("multi_send").address
    yield _execute(world, safe, library, 0, packed(steps[:24]), 1, tag=_BATCH)


def use_module(world: World) -> Session:
    """Owners enable an account or a contract as a module, which then pays from the wallet by itself."""
    safe = _a_safe(world)
    if safe is None:
        return
    keeper = yield from someone(world, 0.3, fresh=0.5)
    tool = None
    if world.chance(0.5):
        tool = yield from executor_of(world, keeper)
    module = keeper.address if tool is None else tool.address
    if not safe.open:
        return
    enable = contract("safe").data("enableModule", module)
    if safe.guarded:
        yield _execute(world, safe, safe.address, 0, enable, 0, tag=_MODULE)
    else:
        yield Send(world.pick(safe.owners), safe.address, enable, tag=_MODULE)
    for _ in range(int(world.rng.integers(1, 4))):
        yield from wait(world, 25)
        if not safe.open:
            return
        yield _by_module(world, safe, keeper, None if tool is None else tool.address)
    if safe.open and world.chance(0.5):
        disable = contract("safe").data("disableModule", module)
        yield _execute(world, safe, safe.address, 0, disable, 0, tag=_MODULE)


def _by_module(world: World, safe: Safe, keeper: Account, tool: bytes | None) -> Send:
    """Return what a module has the wallet do: a payment or two, one of them by the batch library."""
    share = 0.9 if world.chance(0.06) else 0.02 + 0.2 * world.rng.random()
    payments = [_payment(world, safe, share / 2) for _ in range(int(world.rng.integers(1, 3)))]
    if world.chance(0.3):
        library = world.the("multi_send").address
        orders = [("execTransactionFromModule", library, 0, packed(payments), 1)]
    else:
        orders = [("execTransactionFromModule", p.target, p.value, p.data, 0) for p in payments]
    if tool is None:
        return send(keeper, "safe", safe.address, *orders[0], tag=_MODULE)
    steps = [step("safe", safe.address, *order) for order in orders]
    return send(keeper, "executor", tool, "run", as_tuples(steps), tag=_MODULE)


def change_version(world: World) -> Session:
    """Owners move their wallet to the other version: a delegatecall writes its proxy's slot 0."""
    safe = _a_safe(world)
    if safe is None:
        return
    selector = world.rng.bytes(4)
    guarded = not safe.guarded if world.chance(0.7) else safe.guarded
    code = slot_writer(selector, version(world, guarded=guarded))
    receipt: Receipt = yield Send(safe.owners[0], None, code, tag=_DEPLOYMENT)
    if safe.open:
        yield _execute(world, safe, receipt.made, 0, selector, 1, tag=_MIGRATION)
        safe.guarded = guarded


def fund_safe(world: World) -> Session:
    """Somebody pays into a wallet."""
    ether = world.amount(6.0, 0.7)
    who = yield from someone(world, ether * 1.4)
    safe = _a_safe(world)
    if safe is not None:
        yield from _fund(world, who, safe, ether)


def new_safe(world: World) -> Session:
    """Friends or a company open a wallet, fund it and begin to use it."""
    owners: list[Account] = []
    for _ in range(int(world.rng.integers(1, 4))):
        owner = yield from someone(world, 0.4, fresh=0.4)
        if owner not in owners:
            owners.append(owner)
    safe = yield from open_safe(world, owners, guarded=world.chance(0.5))
    payer = yield from someone(world, 16.0, fresh=0.5)
    yield from _fund(world, payer, safe, min(world.amount(8.0, 0.5), 11.0))
    yield from wait(world, 40)
    if safe.open:
        each = _payment(world, safe, 0.1)
        yield _execute(world, safe, each.target, each.value, each.data, 0, tag=_PAYMENT)


def sweep_deposits(world: World) -> Session:
    """An exchange gives gas to its customers' deposit addresses and moves the tokens on them together."""
    exchange = world.exchanges[world.zipf(len(world.exchanges))]
    token: Token = world.tokens[world.zipf(8)]
    deposits = []
    for _ in range(int(world.rng.integers(1, 5))):
        customer = yield from someone(world, 1.0, fresh=0.1)
        deposit = world.account()
        got = yield from bought(world, customer, token, min(world.amount(0.4, 0.7), 0.9))
        paid = ("transfer", deposit.address, got)
        yield send(customer, "token", token.address, *paid, tag=Tag(kind="token_transfer"))
        deposits.append(deposit)
    yield from wait(world, 30)
    for deposit in deposits:
        yield Send(exchange, deposit.address, value=ETH // 50, tag=_SWEEP)
        all_of_it = ("transfer", exchange.address, world.held(token, deposit.address))
        yield send(deposit, "token", token.address, *all_of_it, tag=_SWEEP)


HABITS = (
    (0.35, pay),
    (0.35, pay_many),
    (0.18, use_module),
    (0.06, change_version),
    (0.15, fund_safe),
    (0.16, new_safe),
    (0.15, sweep_deposits),
)
"""How often each habit begins, relative to all others."""
HARD_BENIGN: tuple[str, ...] = ("multisig_batch", "module_use", "migration", "exchange_sweep")
"""Kinds of its transactions that look like attacks in one respect or another."""
