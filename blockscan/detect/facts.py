"""What about a transaction is large, new or one-sided, as numbers that grow with suspicion.

Each fact is one-sided on purpose: a detector that also punishes what is small, old or balanced wastes half
of its false alarms there. None of them is a threshold or knows an attack; blockscan.detect.score asks how
rare a value is among benign transactions of the same size.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.authority import minted_in
from blockscan.detect.books import Books
from blockscan.detect.dealings import dealing_of, dealings_facts
from blockscan.detect.fact import (
    ESTABLISHED,
    MEASURED,
    Fact,
    Facts,
    amount_in_words,
    by_value,
    share_in_words,
)
from blockscan.detect.flow import Frames, frames_of
from blockscan.detect.gains import gains_and_losses
from blockscan.detect.habits import CALLER, Pair, company_of, in_words, reports_of, roles_of, sequences_of
from blockscan.detect.history import (
    History,
    argument_at,
    arguments_of,
    edges_of,
    functions_of,
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
    "number_high",
    "number_low",
    "rare_company",
    "rare_sequence",
    "rare_caller",
    "rare_role",
    "rare_report",
    "overdrawn",
    "joint_gain",
    "lookalike",
    "withdrawn",
    "replayed",
    "taken_over",
    "minted",
)
_RARE = 2.0
"""Nats; what an established party does more often than that adds nothing to a sum."""
_STACK_SEARCHED = 64
_ROLES = {
    "sender": "the sender",
    "caller": "the caller",
    "target": "the contract itself",
    "entry": "the contract called first",
    "program": "a program",
    "third": "another address",
}
_REPORTS = {
    "small": "is close to 0",
    "moved": "equals an amount that moved",
    "argument": "equals an argument of a call but nothing that moved",
    "nothing": "equals no argument and nothing that moved",
}


def facts_of(transaction: Transaction, history: History) -> Facts:
    """Every fact of FACTS, by name."""
    frames = frames_of(transaction)
    return (
        _size(frames)
        | _calls(frames, transaction, history)
        | {"reentry": _reentry(frames), "minted": _minted(frames, history)}
        | _arguments(frames, history)
        | _habits(frames, transaction, history)
        | gains_and_losses(frames, transaction, history)
        | dealings_facts((), dealing_of(frames, transaction, history), Books(history))
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
    edges, functions = edges_of(frames), functions_of(frames)
    unseen = [(edge, node) for edge, node in edges.items() if not history.seen("edge", *edge)]
    callees = [
        _rare(history.seen("edge", *edge), history.seen("caller", edge[0]), node, edge[1])
        for edge, node in edges.items()
    ]
    ran = [
        _rare(history.seen("function", *each), history.seen("callee", each[0]), node, in_words(each))
        for each, node in functions.items()
    ]
    target = transaction.root.target or ""
    return {
        "new_edges": Fact(math.log1p(len(unseen)), *(_edge(*unseen[0]) if unseen else (0, ""))),
        "rare_callee": _sum(callees),
        "rare_function": max(ran, key=by_value),
        "rare_functions": _sum(ran),
        "new_caller": _new_caller(frames, history),
        "unknown_target": Fact(-math.log1p(history.seen("address", target)), 0, target),
    }


def _rare(seen: int, of: int, node: int, found: str) -> Fact:
    """-ln of how often it was seen, of all the times it could have been; 0 where that was hardly ever."""
    return Fact(-math.log((seen + 0.5) / (of + 1)) if of >= ESTABLISHED else 0.0, node, found)


def _sum(facts: Iterable[Fact]) -> Fact:
    """The sum of those that are rare, shown by the rarest."""
    rare = [fact for fact in facts if fact.value > _RARE]
    return max(rare, key=by_value)._replace(value=sum(fact.value for fact in rare)) if rare else Fact(0.0)


def _new_caller(frames: Frames, history: History) -> Fact:
    """A function that is always called by the same few, called by another."""
    facts = [Fact(0.0)]
    for (function, caller), node in uses_of(frames).items():
        runs = history.seen("function", *function)
        if runs >= ESTABLISHED and not history.seen("use", *function, caller):
            users = history.seen("users", *function)
            facts.append(Fact(-math.log((users + 0.5) / (runs + users + 1)), node, caller))
    return max(facts, key=by_value)


def _arguments(frames: Frames, history: History) -> Facts:
    """Numbers in calldata beyond what functions of the name were called with before, on whatever contract."""
    highs, lows = [Fact(0.0)], [Fact(0.0)]
    for (argument, here), node in arguments_of(frames).items():
        if history.amounts("argument", "", *argument) >= MEASURED:
            name, place = argument
            number = argument_at(frames.calls[node], place)
            text = f"{_short(number)} as argument {place + 1} of {in_words(('', name))}"
            high, low = (history.argument_rarity(argument, here, below=below) for below in (False, True))
            highs.append(Fact(high, node, text))
            lows.append(Fact(low, node, text))
    return {"number_high": max(highs, key=by_value), "number_low": max(lows, key=by_value)}


def _short(number: int) -> str:
    return f"{number:,}" if abs(number) < 10**6 else f"{number:.3g}"


def _habits(frames: Frames, transaction: Transaction, history: History) -> Facts:
    """What functions of these names hardly ever do, on whatever contract."""
    callers, roles = [Fact(0.0)], list[Fact]()
    for (name, place, role), node in roles_of(frames, transaction).items():
        seen, of = history.seen("role", *name, place, role), history.seen("role", *name, place)
        if place == CALLER:
            callers.append(_rare(seen, of, node, f"{in_words(name)} called by {_ROLES[role]}"))
        else:
            roles.append(_rare(seen, of, node, f"{_ROLES[role]} as argument {place + 1} of {in_words(name)}"))
    sequences, company = sequences_of(frames), company_of(frames)
    once = {one: history.seen("company", *one, *other) for one, other in company if one == other}
    company = {pair: node for pair, node in company.items() if pair[0] != pair[1]}
    before = {one: history.seen("sequence", *one) for one, _ in sequences}
    return {
        "rare_company": _rarest(
            "company", company, "beside", history, lambda pair: min(once[name] for name in pair)
        ),
        "rare_sequence": _rarest("sequence", sequences, "followed by", history, lambda pair: before[pair[0]]),
        "rare_caller": max(callers, key=by_value),
        "rare_role": _sum(roles),
        "rare_report": _report(frames, history),
    }


def _report(frames: Frames, history: History) -> Fact:
    """A number of an event that is hardly ever to the transaction what it is here."""
    facts = [
        _rare(
            history.seen("report", event, place, what),
            history.seen("report", event, place),
            node,
            f"number {place + 1} of event 0x{event.hex()} {_REPORTS[what]}",
        )
        for (event, place, what), node in reports_of(frames).items()
    ]
    return max(facts, key=by_value, default=Fact(0.0))


def _rarest(
    kind: str, pairs: Mapping[Pair, int], word: str, history: History, of: Callable[[Pair], int]
) -> Fact:
    """The pair of names that is rarest for how often it could have been, which `of` says."""
    best = Fact(0.0)
    for (one, other), node in pairs.items():
        fact = _rare(history.seen(kind, *one, *other), of((one, other)), node, "")
        if fact.value > best.value:
            best = fact._replace(found=f"{in_words(one)} {word} {in_words(other)}")
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
    if not again:
        return Fact(0.0)
    shown = next((node for node in again if frames.ok[node]), again[0])
    failed = "" if frames.ok[shown] else ", which failed"
    return Fact(math.log1p(len(again)), shown, f"{frames.calls[shown].target}{failed}")


def _minted(frames: Frames, history: History) -> Fact:
    """How many decades it adds to all that the past has seen minted of a token; 0 where it saw nothing."""
    facts = [Fact(0.0)]
    for mint, (amount, node) in minted_in(frames).items():
        if so_far := history.minted(mint):
            times = amount / so_far
            text = f"{amount_in_words(amount, mint)}, {share_in_words(times)} of all minted before"
            facts.append(Fact(math.log10(1 + times), node, text))
    return max(facts, key=by_value)


def _edge(edge: tuple[str, str], node: int) -> tuple[int, str]:
    return node, f"{edge[0]} calls {edge[1]}"
