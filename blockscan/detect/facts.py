"""What about a transaction is large, new or one-sided, as numbers that grow with suspicion.

Each fact is one-sided on purpose: a detector that also punishes what is small, old or balanced wastes half
of its false alarms there. None of them is a threshold or knows an attack; blockscan.detect.score asks how
rare a value is among benign transactions of the same size.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.flow import ZERO, Frames, Transfer, frames_of, shares_lost
from blockscan.detect.habits import CALLER, Function, Pair, company_of, roles_of, sequences_of
from blockscan.detect.history import (
    History,
    arguments_of,
    asked_by,
    edges_of,
    functions_of,
    paths_of,
    unsigned_losers,
    uses_of,
)
from blockscan.transaction import CallKind, Transaction

FACTS = (
    "calls",
    "depth",
    "input_bytes",
    "new_edges",
    "rare_callee",
    "rare_function",
    "rare_functions",
    "rare_path",
    "new_caller",
    "unknown_target",
    "reentry",
    "gain",
    "free_gain",
    "more_in_than_out",
    "loss",
    "bystander_loss",
    "drained",
    "emptied",
    "largest_transfer",
    "argument_high",
    "argument_low",
    "number_high",
    "number_low",
    "rare_company",
    "rare_sequence",
    "rare_caller",
    "rare_role",
)
ESTABLISHED = 3
"""Transactions that must have shown something before its not doing what it did says anything."""
MEASURED = 10
"""Amounts that must be known of something before another one can be large or small."""
_RARE = 2.0
"""Nats; what an established party does more often than that adds nothing to a sum."""
_EACH = 0.3
"""Decades; what an ordinary amount taken from a bystander counts, so that many of them add up."""
_BALANCE_OF = bytes.fromhex("70a08231")
_STACK_SEARCHED = 64
_ROLES = {
    "sender": "the sender",
    "caller": "the caller",
    "target": "the contract itself",
    "entry": "the contract called first",
    "program": "a program",
    "third": "another address",
}
_CREATES = (CallKind.CREATE, CallKind.CREATE2)


class Fact(NamedTuple):
    """A value, the frame (pre-order index) that shows it best, and what was found there."""

    value: float
    node: int = 0
    found: str = ""


Facts = dict[str, Fact]


def facts_of(transaction: Transaction, history: History) -> Facts:
    """Every fact of FACTS, by name."""
    frames = frames_of(transaction)
    return (
        _size(frames)
        | _calls(frames, transaction, history)
        | {"reentry": _reentry(frames)}
        | _arguments(frames, history)
        | _habits(frames, transaction, history)
        | _value(frames, transaction, history)
    )


def fact_values(facts: Facts) -> NDArray[np.float64]:
    """Their values in the order of FACTS, (F,)."""
    return np.array([facts[name].value for name in FACTS])


def _size(frames: Frames) -> Facts:
    deepest = max(frames.depth)
    size = sum(len(call.data) for call in frames.calls)
    return {
        "calls": Fact(math.log(len(frames.calls)), 0, f"{len(frames.calls):,} calls"),
        "depth": Fact(float(deepest), frames.depth.index(deepest), f"{deepest} deep"),
        "input_bytes": Fact(math.log1p(size), 0, f"{size:,} bytes of input"),
    }


def _calls(frames: Frames, transaction: Transaction, history: History) -> Facts:
    edges, functions, paths = edges_of(frames), functions_of(frames), paths_of(frames)
    unseen = [(edge, node) for edge, node in edges.items() if not history.seen("edge", *edge)]
    callees = [
        _rare(history.seen("edge", *edge), history.seen("caller", edge[0]), node, edge[1])
        for edge, node in edges.items()
    ]
    ran = [
        _rare(history.seen("function", *each), history.seen("callee", each[0]), node, _name(each))
        for each, node in functions.items()
    ]
    inner = [
        _rare(history.seen("path", *outer, *each), history.seen("function", *outer), node, _name(each))
        for (outer, each), node in paths.items()
    ]
    target = transaction.root.target or ""
    return {
        "new_edges": Fact(math.log1p(len(unseen)), *(_edge(*unseen[0]) if unseen else (0, ""))),
        "rare_callee": _sum(callees),
        "rare_function": max(ran, key=_by_value),
        "rare_functions": _sum(ran),
        "rare_path": _sum(inner),
        "new_caller": _new_caller(frames, history),
        "unknown_target": Fact(-math.log1p(history.seen("address", target)), 0, target),
    }


def _rare(seen: int, of: int, node: int, found: str) -> Fact:
    """-ln of how often it was seen, of all the times it could have been; 0 where that was hardly ever."""
    return Fact(-math.log((seen + 0.5) / (of + 1)) if of >= ESTABLISHED else 0.0, node, found)


def _sum(facts: Iterable[Fact]) -> Fact:
    """The sum of those that are rare, shown by the rarest."""
    rare = [fact for fact in facts if fact.value > _RARE]
    return max(rare, key=_by_value)._replace(value=sum(fact.value for fact in rare)) if rare else Fact(0.0)


def _by_value(fact: Fact) -> float:
    return fact.value


def _new_caller(frames: Frames, history: History) -> Fact:
    """A function that is always called by the same few, called by another."""
    facts = [Fact(0.0)]
    for (function, caller), node in uses_of(frames).items():
        runs = history.seen("function", *function)
        if runs >= ESTABLISHED and not history.seen("use", *function, caller):
            users = history.seen("users", *function)
            facts.append(Fact(-math.log((users + 0.5) / (runs + users + 1)), node, caller))
    return max(facts, key=_by_value)


def _arguments(frames: Frames, history: History) -> Facts:
    """Numbers in calldata beyond what the function was called with before, or those of its name anywhere."""
    found = {name: [Fact(0.0)] for name in ("argument_high", "argument_low", "number_high", "number_low")}
    for (argument, here), node in arguments_of(frames).items():
        for what, key in (("argument", argument), ("number", ("", *argument[1:]))):
            if history.amounts("argument", *key) >= MEASURED:
                text = f"argument {key[2] + 1} of {_name(key[:2])}"
                high, low = (history.argument_rarity(key, here, below=below) for below in (False, True))
                found[f"{what}_high"].append(Fact(high, node, text))
                found[f"{what}_low"].append(Fact(low, node, text))
    return {name: max(facts, key=_by_value) for name, facts in found.items()}


def _habits(frames: Frames, transaction: Transaction, history: History) -> Facts:
    """What functions of these names hardly ever do, on whatever contract."""
    callers, roles = [Fact(0.0)], list[Fact]()
    for (name, place, role), node in roles_of(frames, transaction).items():
        seen, of = history.seen("role", *name, place, role), history.seen("role", *name, place)
        if place == CALLER:
            callers.append(_rare(seen, of, node, f"{_name(name)} called by {_ROLES[role]}"))
        else:
            roles.append(_rare(seen, of, node, f"{_ROLES[role]} as argument {place + 1} of {_name(name)}"))
    sequences, company = sequences_of(frames), company_of(frames)
    once = {one: history.seen("company", *one, *other) for one, other in company if one == other}
    company = {pair: node for pair, node in company.items() if pair[0] != pair[1]}
    before = {one: history.seen("sequence", *one) for one, _ in sequences}
    return {
        "rare_company": _rarest(
            "company", company, "beside", history, lambda pair: min(once[name] for name in pair)
        ),
        "rare_sequence": _rarest("sequence", sequences, "followed by", history, lambda pair: before[pair[0]]),
        "rare_caller": max(callers, key=_by_value),
        "rare_role": _sum(roles),
    }


def _rarest(
    kind: str, pairs: Mapping[Pair, int], word: str, history: History, of: Callable[[Pair], int]
) -> Fact:
    """The pair of names that is rarest for how often it could have been, which `of` says."""
    best = Fact(0.0)
    for (one, other), node in pairs.items():
        fact = _rare(history.seen(kind, *one, *other), of((one, other)), node, "")
        if fact.value > best.value:
            best = fact._replace(found=f"{_name(one)} {word} {_name(other)}")
    return best


def _reentry(frames: Frames) -> Fact:
    """How often a contract was called while it was at work, other than by itself."""
    entered: list[frozenset[str]] = []
    again = []
    for node, call in enumerate(frames.calls):
        above = entered[frames.parent[node]] if node else frozenset()
        if call.kind is CallKind.CALL and call.target in above and call.caller != call.target:
            again.append(node)
        own = {call.target} if call.kind is CallKind.CALL and call.target else set()
        entered.append(above | own if len(above) < _STACK_SEARCHED else above)
    return Fact(
        math.log1p(len(again)), *((again[0], frames.calls[again[0]].target or "") if again else (0, ""))
    )


def _value(frames: Frames, transaction: Transaction, history: History) -> Facts:
    """Who gained and who lost, each amount against what is usual for its token."""
    own = _own_side(frames, transaction, history)
    called = {call.caller for call in frames.calls} | {call.target for call in frames.calls if call.data}
    robbed = unsigned_losers(frames, transaction)
    called |= {each for each in robbed if history.seen("unsigned", each) >= ESTABLISHED}
    first = {each.asset: each.node for each in reversed(frames.transfers)}
    net = frames.balances()
    gained: dict[str, int] = defaultdict(int)
    lost, taken = [Fact(0.0)], list[Fact]()
    for (holder, asset), amount in net.items():
        if holder in own:
            gained[asset] += amount
        elif amount >= 0 or holder in (asset, ZERO):
            continue
        elif holder in called:
            lost.append(_loss(holder, asset, -amount, first[asset], history))
        elif holder in robbed or (holder.startswith("0x") and history.amounts("amount", asset) >= MEASURED):
            taken.append(_amount(asset, -amount, first[asset], history, f"from {holder}"))
    gains = [_amount(asset, x, first[asset], history, "gained") for asset, x in gained.items() if x > 0]
    paid = sum(x < 0 for x in gained.values())
    emptied_of_others = _emptied(transaction, lambda owner: owner not in own)
    best = max(gains, key=_by_value, default=Fact(0.0))
    largest = (_moved(each, frames, history) for each in frames.transfers)
    return {
        "gain": best,
        "free_gain": Fact(0.0) if paid else best,
        "more_in_than_out": best._replace(value=len(gains) / (1 + paid)),
        "loss": max(lost, key=_by_value),
        "bystander_loss": max(taken, key=_by_value, default=Fact(0.0))._replace(
            value=sum(_EACH + fact.value for fact in taken)
        ),
        "drained": max(_drained(frames, net, own, called), emptied_of_others, key=_by_value),
        "emptied": _emptied(transaction, own.__contains__),
        "largest_transfer": max(largest, key=_by_value, default=Fact(0.0)),
    }


def _own_side(frames: Frames, transaction: Transaction, history: History) -> set[str]:
    """Who acts for the sender as far as the past can tell: new contracts, and a target that only few call."""
    created = {call.target for call in frames.calls if call.kind in _CREATES}
    called = {call.target for call in frames.calls}
    own = {transaction.sender, *transaction.root.accounts}
    own |= {each for each in called | created if each and not history.seen("address", each)}
    target = transaction.root.target
    if target and min(history.seen("address", target), history.seen("callers", target)) < ESTABLISHED - 1:
        own.add(target)
    return own


def _amount(asset: str, amount: int, node: int, history: History, what: str) -> Fact:
    """How rare so large a transfer of the token is, in decades of probability."""
    known = history.amounts("amount", asset) >= MEASURED
    rarity = history.rarity("amount", asset, amount=amount) if known else 0.0
    return Fact(rarity, node, f"{amount:.3g} of {asset} {what}")


def _moved(transfer: Transfer, frames: Frames, history: History) -> Fact:
    """How rare so large a transfer is for the function that asked for it, or for the token."""
    by, to = asked_by(transfer, frames), f"to {transfer.taker}"
    if history.amounts("moved", *by, transfer.asset) < MEASURED:
        return _amount(transfer.asset, transfer.amount, transfer.node, history, to)
    rarity = history.rarity("moved", *by, transfer.asset, amount=transfer.amount)
    return Fact(rarity, transfer.node, f"{transfer.amount:.3g} of {transfer.asset} {to} by {_name(by)}")


def _loss(holder: str, asset: str, amount: int, node: int, history: History) -> Fact:
    """How rare so large a loss is for this holder, or for the token where the holder is new."""
    if history.amounts("outflow", holder, asset) < MEASURED:
        return _amount(asset, amount, node, history, f"lost by {holder}")
    rarity = history.rarity("outflow", holder, asset, amount=amount)
    return Fact(rarity, node, f"{amount:.3g} of {asset} lost by {holder}")


def _drained(
    frames: Frames, net: Mapping[tuple[str, str], int], own: set[str], called: set[str | None]
) -> Fact:
    """The largest share of a balance that a called contract lost, where the trace asks for balances."""
    left = {}
    for node, (call, ok) in enumerate(zip(frames.calls, frames.ok, strict=True)):
        if (
            ok
            and call.target
            and call.data[:4] == _BALANCE_OF
            and len(call.data) >= 36
            and len(call.output) == 32
        ):
            left["0x" + call.data[16:36].hex(), call.target] = int.from_bytes(call.output), node
    shares = [Fact(0.0)]
    for (holder, asset), (balance, node) in left.items():
        lost = -net.get((holder, asset), 0)
        if lost > 0 and holder in called and holder not in own:
            share = lost / (lost + balance)
            shares.append(Fact(share, node, f"{share:.0%} of the {asset} of {holder}"))
    return max(shares, key=_by_value)


def _emptied(transaction: Transaction, counts: Callable[[str], bool]) -> Fact:
    """The shares that balances of the owners that count lost together (Solana), shown by the largest."""
    lost = [
        Fact(share, 0, f"{share:.0%} of the {token} of {owner}")
        for owner, token, share in shares_lost(transaction.root)
        if counts(owner)
    ]
    return max(lost, key=_by_value, default=Fact(0.0))._replace(value=sum(fact.value for fact in lost))


def _edge(edge: tuple[str, str], node: int) -> tuple[int, str]:
    return node, f"{edge[0]} calls {edge[1]}"


def _name(function: Function) -> str:
    target, selector = function
    name = selector.decode() if selector.isalpha() else f"0x{selector.hex()}"
    return f"{name} of {target}" if target else name
