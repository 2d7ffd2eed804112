"""What benign transactions of the past showed: who calls whom with which function, and how much moves.

Nothing here is learned by gradient; it is counted in one pass. A language model generalises, and so cannot
say "never before"; these counts can. They are kept as hashes (blockscan.detect.tally), so their size is a
matter of how many different things a chain does, not of how many transactions it has.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from blockscan.detect.flow import Frames, frames_of
from blockscan.detect.tally import Tally, amount_bin, count_all, key_of
from blockscan.transaction import Call, CallKind, Transaction

KINDS = ("edge", "caller", "callee", "callers", "function", "path", "address", "amount", "outflow")
"""What is counted, per transaction that shows it: edge (caller, callee); caller and callee of any edge;
callers: different callers of a callee; function (callee, selector); path (function, function that it calls);
address: target of a call, or sender. amount and outflow count transfers per
asset and net losses per (holder, asset), by size."""

Function = tuple[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Frozen counts by KINDS, and the number of transactions they are from."""

    tallies: dict[str, Tally]
    transactions: int

    def seen(self, kind: str, *parts: str | bytes) -> int:
        """In how many transactions of the past something was seen."""
        return self.tallies[kind].count(key_of(*parts))

    def rarity(self, kind: str, *parts: str | bytes, amount: int) -> float:
        """-log10 of the share of past amounts of this kind that were at least so large; 0 where none were."""
        return -self.tallies[kind].log10_p(key_of(*parts), amount)

    def amounts(self, kind: str, *parts: str | bytes) -> int:
        """How many amounts of this kind the past had."""
        return self.tallies[kind].amounts(key_of(*parts))


def history_of(transactions: Iterable[Transaction]) -> History:
    """Count in one pass; the order of the transactions changes nothing."""
    counts: dict[str, dict[int, int]] = {kind: {} for kind in KINDS}
    number = 0
    for transaction in transactions:
        number += 1
        frames = frames_of(transaction)
        _count_calls(counts, frames, transaction)
        _count_amounts(counts, frames)
    return History({kind: Tally.of(counts[kind]) for kind in KINDS}, number)


def function_of(call: Call) -> Function:
    """What a frame runs: its target, and the selector (EVM), discriminator (Solana) or kind of creation."""
    target = call.target or ""
    if call.kind in (CallKind.CREATE, CallKind.CREATE2, CallKind.SELFDESTRUCT):
        return target, call.kind.encode()
    if call.kind is CallKind.INSTRUCTION:
        return target, call.data[:8]
    return target, call.data[:4] if len(call.data) >= 4 else b""


def edges_of(frames: Frames) -> dict[tuple[str, str], int]:
    """Every (caller, callee) pair with the first frame that shows it."""
    found: dict[tuple[str, str], int] = {}
    for node, call in enumerate(frames.calls):
        if call.target is not None:
            found.setdefault((call.caller, call.target), node)
    return found


def functions_of(frames: Frames) -> dict[Function, int]:
    """Every function that ran with the first frame that shows it."""
    found: dict[Function, int] = {}
    for node, call in enumerate(frames.calls):
        found.setdefault(function_of(call), node)
    return found


def paths_of(frames: Frames) -> dict[tuple[Function, Function], int]:
    """Every (function, function that it calls) pair with the first frame that shows it."""
    found: dict[tuple[Function, Function], int] = {}
    for node, call in enumerate(frames.calls):
        if node:
            parent = frames.calls[frames.parent[node]]
            found.setdefault((function_of(parent), function_of(call)), node)
    return found


def _count_calls(counts: dict[str, dict[int, int]], frames: Frames, transaction: Transaction) -> None:
    edges, functions, paths = edges_of(frames), functions_of(frames), paths_of(frames)
    new = [(caller, callee) for caller, callee in edges if key_of(caller, callee) not in counts["edge"]]
    count_all(counts["callers"], (key_of(callee) for _, callee in new))
    count_all(counts["edge"], (key_of(*edge) for edge in edges))
    count_all(counts["caller"], (key_of(caller) for caller in {edge[0] for edge in edges}))
    count_all(counts["callee"], (key_of(callee) for callee in {edge[1] for edge in edges}))
    count_all(counts["function"], (key_of(*function) for function in functions))
    count_all(counts["path"], (key_of(*outer, *inner) for outer, inner in paths))
    count_all(counts["address"], (key_of(one) for one in {transaction.sender, *(edge[1] for edge in edges)}))


def _count_amounts(counts: dict[str, dict[int, int]], frames: Frames) -> None:
    count_all(counts["amount"], (key_of(t.asset) + amount_bin(t.amount) for t in frames.transfers))
    losses = ((holder, asset, -net) for (holder, asset), net in frames.balances().items() if net < 0)
    count_all(counts["outflow"], (key_of(holder, asset) + amount_bin(lost) for holder, asset, lost in losses))


def merged(one: History, other: History) -> History:
    """The counts of two histories together.

    A contract's callers that both saw are counted twice among its different callers.
    """
    tallies = {kind: tally.plus(other.tallies[kind]) for kind, tally in one.tallies.items()}
    return History(tallies, one.transactions + other.transactions)
