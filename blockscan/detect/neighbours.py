"""The earlier transactions that are most like one, and how it differs from them.

Two transactions are compared by what ran in them and by their facts (blockscan.detect.facts), not by the
model's vectors: each difference can then be named. A distance is the mean of two, each from 0 to 1: the
Ruzicka distance of the functions that ran, each with the logarithm of how often, and the mean difference
of the facts, each in units of its spread over all candidates.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.chains.families import main_target
from blockscan.detect.fact import Facts
from blockscan.detect.facts import FACTS, fact_values, facts_of
from blockscan.detect.flow import frames_of
from blockscan.detect.habits import Function, function_of
from blockscan.detect.history import History
from blockscan.transaction import Call, CallKind, Transaction

SENDER = "the sender"
MOST_LISTED = 8
"""Functions, amounts and facts that are listed of each kind of difference."""


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """What is compared. functions: how often each ran. first: the frame that shows a function or an amount.

    amounts: the largest single transfer of each asset, in its smallest units.
    """

    tx_hash: str
    block_number: int | None
    facts: Facts
    functions: Mapping[Function, int]
    amounts: Mapping[str, int]
    first: Mapping[Function | str, int]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An earlier transaction; distance 0: the same functions and facts, 1: nothing in common."""

    portrait: Portrait
    distance: float


@dataclass(frozen=True, slots=True)
class NewFunction:
    """A function that ran here and in none of the neighbours; `elsewhere`: in how many candidates it ran."""

    function: Function
    node: int
    elsewhere: int


@dataclass(frozen=True, slots=True)
class LargerAmount:
    """A transfer larger than any of its asset among the neighbours; `most` is theirs, 0 for none."""

    asset: str
    node: int
    amount: int
    most: int


@dataclass(frozen=True, slots=True)
class LargerFact:
    """A fact that is above that of every neighbour; `reached`: in how many candidates it is as large.

    found, usual: what was found here, and at the neighbour that has the most of it ("" where nothing was).
    """

    name: str
    node: int
    found: str
    usual: str
    reached: int


@dataclass(frozen=True, slots=True)
class Differences:
    """How a transaction differs from its neighbours, each list strongest first, at most MOST_LISTED long.

    missing: functions that ran in all neighbours and not here.
    """

    functions: tuple[NewFunction, ...]
    missing: tuple[Function, ...]
    amounts: tuple[LargerAmount, ...]
    facts: tuple[LargerFact, ...]


def entry_of(transaction: Transaction) -> tuple[str, Function]:
    """What a transaction is addressed to, and the function that it runs there.

    The function is that of the outermost call, or of the first instruction of the main program.
    """
    target = main_target(transaction) or ""
    if transaction.root.kind is not CallKind.INSTRUCTION:
        return target, function_of(transaction.root)
    steps = (step for step in transaction.root.steps if isinstance(step, Call) and step.target == target)
    return target, function_of(next(steps, transaction.root))


def portrait_of(transaction: Transaction, history: History) -> Portrait:
    """Walk a transaction, see Portrait."""
    frames = frames_of(transaction)
    first: dict[Function | str, int] = {}
    functions: Counter[Function] = Counter()
    for node, call in enumerate(frames.calls):
        target, selector = function_of(call)
        # His address is another each time, but money that goes back to the sender is nothing new.
        function = (SENDER, selector) if target == transaction.sender else (target, selector)
        functions[function] += 1
        first.setdefault(function, node)
    amounts: dict[str, int] = {}
    for each in frames.transfers:
        if each.amount > amounts.get(each.asset, 0):
            amounts[each.asset], first[each.asset] = each.amount, each.node
    facts = facts_of(transaction, history)
    return Portrait(transaction.hash, transaction.block_number, facts, functions, amounts, first)


def nearest(one: Portrait, candidates: Sequence[Portrait], count: int) -> list[Neighbour]:
    """The `count` nearest candidates, nearest first; of equally near ones the later in the list."""
    if not candidates:
        return []
    facts = np.stack([fact_values(each.facts) for each in candidates])
    own = fact_values(one.facts)
    spread = np.ptp(np.vstack((facts, own)), axis=0)
    varies = spread > 0
    apart = np.abs(facts - own)[:, varies] / spread[varies]
    by_facts = apart.mean(axis=1) if varies.any() else np.zeros(len(facts))
    by_functions = np.array([_ruzicka(one.functions, each.functions) for each in candidates])
    distance = (by_functions + by_facts) / 2
    order = np.lexsort((-np.arange(len(candidates)), distance))[:count]
    return [Neighbour(candidates[place], float(distance[place])) for place in order]


def differences(
    one: Portrait, neighbours: Sequence[Neighbour], candidates: Sequence[Portrait]
) -> Differences:
    """What sets a transaction apart from its neighbours (at least one)."""
    near = [each.portrait for each in neighbours]
    return Differences(
        tuple(_new_functions(one, near, candidates)[:MOST_LISTED]),
        _missing(one, near)[:MOST_LISTED],
        tuple(_larger_amounts(one, near)[:MOST_LISTED]),
        tuple(_larger_facts(one, near, candidates)[:MOST_LISTED]),
    )


def _ruzicka(one: Mapping[Function, int], other: Mapping[Function, int]) -> float:
    """1 less the sum of the smaller weights over that of the larger; a weight is log(1 + count)."""
    least = most = 0.0
    for function in one.keys() | other.keys():
        weights = math.log1p(one.get(function, 0)), math.log1p(other.get(function, 0))
        least, most = least + min(weights), most + max(weights)
    return 1 - least / most


def _new_functions(one: Portrait, near: Sequence[Portrait], all_: Sequence[Portrait]) -> list[NewFunction]:
    """Those that fewest candidates run come first, plain transfers after calls, then the earliest."""
    known = set().union(*(each.functions for each in near))
    found = [
        NewFunction(function, one.first[function], sum(function in each.functions for each in all_))
        for function in one.functions
        if function not in known
    ]
    return sorted(found, key=lambda each: (each.elsewhere, not each.function[1], each.node))


def _missing(one: Portrait, near: Sequence[Portrait]) -> tuple[Function, ...]:
    shared = set(near[0].functions).intersection(*(each.functions for each in near))
    return tuple(sorted(shared - one.functions.keys()))


def _larger_amounts(one: Portrait, near: Sequence[Portrait]) -> list[LargerAmount]:
    """Those that exceed the neighbours' by the largest factor come first, assets that none moved last."""
    found = [
        LargerAmount(asset, one.first[asset], amount, max(each.amounts.get(asset, 0) for each in near))
        for asset, amount in one.amounts.items()
    ]
    larger = [each for each in found if each.amount > each.most]
    return sorted(larger, key=lambda each: (-each.amount / each.most if each.most else 0.0, each.node))


def _larger_facts(one: Portrait, near: Sequence[Portrait], all_: Sequence[Portrait]) -> list[LargerFact]:
    """Those that stand out most come first, in standard deviations of the candidates."""
    scale = _spread(fact_values(each.facts) for each in all_)
    found = []
    for place, name in enumerate(FACTS):
        own, most = one.facts[name], max((each.facts[name] for each in near), key=lambda fact: fact.value)
        if own.value > most.value:
            reached = sum(each.facts[name].value >= own.value for each in all_)
            excess = (own.value - most.value) / scale[place]
            found.append((excess, LargerFact(name, own.node, own.found, most.found, reached)))
    return [each for _, each in sorted(found, key=lambda pair: -pair[0])]


def _spread(values: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Standard deviations (F,), none below 0.1: all candidates may be alike."""
    spread: NDArray[np.float64] = np.maximum(np.stack(list(values)).std(axis=0), 0.1)
    return spread
