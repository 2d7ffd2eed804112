"""Who gained and who lost what in a transaction: transfers of ether and tokens, and what remains of them.

Exploits differ in everything but this: something of value leaves whoever held it. Transfers are read from
logs where the trace has them (ERC-20 and ERC-721 Transfer, the Deposit and Withdrawal of WETH9), else from
the calls that ask for them, so that trees without logs have a flow, too; frames that failed move nothing. An
ERC-721 token counts as one of its collection. On Solana the changes of balances are part of the log.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple

from blockscan.transaction import Call, CallKind, Log, LogOrder, Transaction, walk

ETHER = "ether"
ZERO = "0x" + 40 * "0"
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
_DEPOSIT = bytes.fromhex("e1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c")
_WITHDRAWAL = bytes.fromhex("7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65")
_TRANSFER_CALL = bytes.fromhex("a9059cbb")
_TRANSFER_FROM_CALL = bytes.fromhex("23b872dd")
_SAFE_TRANSFER_CALLS = (bytes.fromhex("42842e0e"), bytes.fromhex("b88d4fde"))
_DEPOSIT_CALL = bytes.fromhex("d0e30db0")
_WITHDRAW_CALL = bytes.fromhex("2e1a7d4d")
_WORD = 32
CREATES = (CallKind.CREATE, CallKind.CREATE2)
LARGEST = 1 << 128
"""Amounts from here on are not sums of anything: ids, masks, or a token made to confuse."""
ENDS = 3
"""Hexadecimal digits at either end of an address by which people know it; wallets show four and more."""
_ENDS_58 = 4
"""The same of Solana's digits, of which wallets show just so many."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement of `amount` smallest units of `asset` (a token's address, or ETHER) in frame `node`."""

    asset: str
    giver: str
    taker: str
    amount: int
    node: int


class ShareLost(NamedTuple):
    """How much of its balance of a token an account lost, from 0 to 1, and whose it is (Solana)."""

    account: str
    owner: str
    token: str
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The frames of a transaction in pre-order, (F,) each, what moved, and the logs with their frames.

    `ok`: the frame and all above it succeeded. What a failed frame moved or logged never was. `moved`: how
    many of the transfers came before the frame was entered.
    """

    calls: list[Call]
    depth: list[int]
    parent: list[int]
    ok: list[bool]
    moved: list[int]
    transfers: list[Transfer]
    logs: list[tuple[Log, int]]

    def balances(self) -> dict[tuple[str, str], int]:
        """What each (holder, asset) gained, less what it gave."""
        net: dict[tuple[str, str], int] = defaultdict(int)
        for each in self.transfers:
            net[each.giver, each.asset] -= each.amount
            net[each.taker, each.asset] += each.amount
        return net


def frames_of(transaction: Transaction) -> Frames:
    """Walk a transaction once."""
    frames = Frames([], [], [], [], [], [], [])
    from_logs = transaction.log_order is not LogOrder.ABSENT
    for visit in walk(transaction.root):
        step = visit.step
        if isinstance(step, Call):
            frames.calls.append(step)
            frames.depth.append(visit.depth)
            frames.parent.append(visit.parent)
            frames.ok.append(step.ok and (visit.parent < 0 or frames.ok[visit.parent]))
            frames.moved.append(len(frames.transfers))
            moved = _of_call(step, visit.node, from_logs=from_logs)
        else:
            moved = _of_log(step, visit.node)
            if frames.ok[visit.node]:
                frames.logs.append((step, visit.node))
        if frames.ok[visit.node]:
            frames.transfers.extend(each for each in moved if 0 < each.amount < LARGEST)
    return frames


def created_by(frames: Frames) -> frozenset[str]:
    """The contracts that a transaction created."""
    steps = zip(frames.calls, frames.ok, strict=True)
    return frozenset(call.target for call, ok in steps if ok and call.target and call.kind in CREATES)


def noticed_by(frames: Frames) -> frozenset[tuple[str, str]]:
    """(holder, asset) for each holder that called an asset which moved."""
    assets = {each.asset for each in frames.transfers}
    return frozenset((call.caller, call.target) for call in frames.calls if call.target in assets)


def payees_of(transfers: Iterable[Transfer], payers: Set[str]) -> dict[tuple[str, str], int]:
    """(payer, payee) of what some accounts gave to others, with the first frame that shows it.

    Nobody is paid by burning a token, or by giving it to the token itself. That is how Solana's balances are
    read: who gains there what one of the payers loses is paid by him.
    """
    found: dict[tuple[str, str], int] = {}
    moved = list(transfers)
    lost: dict[str, str] = {}
    for each in moved:
        if each.giver in payers and each.taker == each.asset:
            lost.setdefault(each.asset, each.giver)
    for each in moved:
        by_balance = each.giver == each.asset and not each.asset.startswith("0x")
        giver = lost.get(each.asset, ZERO) if by_balance else each.giver
        if giver in payers and each.taker not in payers and each.taker not in (each.asset, ZERO):
            found.setdefault((giver, each.taker), each.node)
    return found


def ends_of(address: str) -> str:
    """What a glance at an address sees."""
    on_evm = address.startswith("0x")
    return address[2 : 2 + ENDS] + address[-ENDS:] if on_evm else address[:_ENDS_58] + address[-_ENDS_58:]


def likeness(address: str) -> float:
    """Decades of how unlikely it is that two addresses of this kind look alike at a glance."""
    return 2 * (ENDS * math.log10(16) if address.startswith("0x") else _ENDS_58 * math.log10(58))


def entries_of(transfers: Iterable[Transfer]) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """What transfers change in the books about each holder: whose books, which entry, by how much.

    An entry is ("held", holder, asset), what he has of it, or ("put", account, holder, asset), what an
    account gave him less what it got from him.
    """
    for each in transfers:
        pair = each.taker, each.giver
        for (holder, other), amount in ((pair, each.amount), (pair[::-1], -each.amount)):
            yield holder, ("held", holder, each.asset), amount
            yield holder, ("put", other, holder, each.asset), amount


def shares_lost(root: Call) -> Iterator[ShareLost]:
    """Every balance that fell, where the trace has balances (Solana)."""
    for step in root.steps:
        if isinstance(step, Log) and len(step.accounts) == 2 and len(step.data) == 3 * _WORD:
            change, left = int.from_bytes(step.data[:_WORD], signed=True), _number(step.data, 1)
            one_of_its_kind = (change, left, _number(step.data, 2)) == (-1, 0, 0)  # it has no shares
            if change < 0 and not one_of_its_kind:
                yield ShareLost(*step.accounts, step.emitter, -change / (left - change))


def _of_call(call: Call, node: int, *, from_logs: bool) -> Iterator[Transfer]:
    if call.target is None or call.kind is CallKind.INSTRUCTION:
        return
    if call.value:
        yield Transfer(ETHER, call.caller, call.target, call.value, node)
    if from_logs or call.kind is not CallKind.CALL:
        return
    selector, words = call.data[:4], call.data[4:]
    if selector == _TRANSFER_CALL and len(words) >= 2 * _WORD:
        yield Transfer(call.target, call.caller, _address(words, 0), _number(words, 1), node)
    elif selector == _TRANSFER_FROM_CALL and len(words) >= 3 * _WORD:
        yield Transfer(call.target, _address(words, 0), _address(words, 1), _number(words, 2), node)
    elif selector in _SAFE_TRANSFER_CALLS and len(words) >= 3 * _WORD:
        yield Transfer(call.target, _address(words, 0), _address(words, 1), 1, node)
    elif selector == _DEPOSIT_CALL and not words:
        yield Transfer(call.target, call.target, call.caller, call.value, node)
    elif selector == _WITHDRAW_CALL and len(words) == _WORD:
        yield Transfer(call.target, call.caller, call.target, _number(words, 0), node)


def _of_log(log: Log, node: int) -> Iterator[Transfer]:
    if log.accounts and len(log.data) == 3 * _WORD:
        change = int.from_bytes(log.data[:_WORD], signed=True)
        pair = (log.emitter, log.accounts[-1])
        yield Transfer(log.emitter, *(pair if change > 0 else pair[::-1]), abs(change), node)
    elif len(log.data) >= _WORD and len(log.topics) == 3 and log.topics[0] == TRANSFER:
        giver, taker = (_address(topic, 0) for topic in log.topics[1:])
        yield Transfer(log.emitter, giver, taker, _number(log.data, 0), node)
    elif len(log.topics) == 4 and log.topics[0] == TRANSFER:
        yield Transfer(log.emitter, _address(log.topics[1], 0), _address(log.topics[2], 0), 1, node)
    elif len(log.data) >= _WORD and len(log.topics) == 2:
        owner, amount = _address(log.topics[1], 0), _number(log.data, 0)
        if log.topics[0] == _DEPOSIT:
            yield Transfer(log.emitter, log.emitter, owner, amount, node)
        elif log.topics[0] == _WITHDRAWAL:
            yield Transfer(log.emitter, owner, log.emitter, amount, node)


def _address(words: bytes, index: int) -> str:
    return "0x" + words[index * _WORD + 12 : (index + 1) * _WORD].hex()


def _number(words: bytes, index: int) -> int:
    return int.from_bytes(words[index * _WORD : (index + 1) * _WORD])
