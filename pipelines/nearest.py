"""Find the earlier transactions of an archive that are most like one: same contract, same function.

An exploit often begins in a contract of its own that nobody called before. Then the earlier transactions are
those that anywhere run the rarest function of the frames with the strongest evidence.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop
from pathlib import Path

from blockscan.detect.habits import Function, function_of
from blockscan.detect.history import History
from blockscan.detect.neighbours import Differences, Neighbour, differences, entry_of, nearest, portrait_of
from blockscan.transaction import Call, Transaction, walk
from pipelines.encode import watched
from pipelines.ranges import BlockRange
from pipelines.sources import Rejects, TimeOrder, open_shards, time_order

MOST_COMPARED = 500
"""Only the latest so many transactions that run the same function are compared."""
_MOST_ANCHORS = 8

_Latest = list[tuple[TimeOrder, Transaction]]


@dataclass(frozen=True, slots=True)
class Nearest:
    """Neighbours, nearest first, and what sets the transaction apart from them; None without any.

    `found` earlier transactions run the function `shared`, `compared` of them were looked at. They are
    whatever the archive holds, be it benign or not. `outermost`: they are addressed to it, as this one is;
    else they run it somewhere. `ordered`: False where the transaction has no block number, so that all others
    count as earlier.
    """

    neighbours: tuple[Neighbour, ...]
    differences: Differences | None
    found: int
    compared: int
    shared: Function
    outermost: bool
    ordered: bool


def nearest_in(
    source: Path,
    transaction: Transaction,
    history: History,
    *,
    count: int,
    nodes: Sequence[int] = (),
    blocks: BlockRange | None = None,
    exclude: Collection[str] = (),
) -> Nearest:
    """Compare a transaction with those before it. One pass over the blocks, few of which are held.

    Args:
        source: archive or file of transactions.
        transaction: the one to explain.
        history: what its facts are taken against.
        count: neighbours to return.
        nodes: call frames, the one with the strongest evidence first.
        blocks: where to look; what is not before the transaction is left out all the same.
        exclude: hashes to leave out, such as known attacks.

    Raises:
        ArtifactError: the source cannot be read.
    """
    entry, inner = entry_of(transaction), _functions_at(transaction, nodes)
    found: Counter[int] = Counter()
    latest: list[_Latest] = [[] for _ in range(1 + len(inner))]
    for other in _earlier(source, transaction, blocks, exclude):
        ran = _functions(other) if inner else set()
        for which, matches in enumerate([entry_of(other) == entry, *(each in ran for each in inner)]):
            if matches:
                found[which] += 1
                _keep(latest[which], other)
    best = _most_telling(found, count)
    one = portrait_of(transaction, history)
    candidates = [portrait_of(other, history) for _, other in sorted(latest[best], key=lambda each: each[0])]
    near = nearest(one, candidates, count)
    return Nearest(
        tuple(near),
        differences(one, near, candidates) if near else None,
        found[best],
        len(candidates),
        [entry[1], *inner][best],
        best == 0,
        transaction.block_number is not None,
    )


def _most_telling(found: Counter[int], count: int) -> int:
    """0, the outermost function, if any earlier one runs it; else the rarest that `count` of them run.

    Where there are not so many of any, the commonest.
    """
    if found[0] or not found.total():
        return 0
    enough = {which: times for which, times in sorted(found.items()) if times >= count}
    return min(enough, key=enough.__getitem__) if enough else max(found, key=found.__getitem__)


def _keep(latest: _Latest, other: Transaction) -> None:
    entry = time_order(other), other
    if len(latest) < MOST_COMPARED:
        heappush(latest, entry)
    else:
        heappushpop(latest, entry)


def _functions_at(transaction: Transaction, nodes: Sequence[int]) -> list[Function]:
    """The first few different functions that run in these frames; moving ether alone is none."""
    ran = [function_of(visit.step) for visit in walk(transaction.root) if isinstance(visit.step, Call)]
    return [each for each in dict.fromkeys(ran[node] for node in nodes) if each[1]][:_MOST_ANCHORS]


def _functions(transaction: Transaction) -> set[Function]:
    return {function_of(visit.step) for visit in walk(transaction.root) if isinstance(visit.step, Call)}


def _earlier(
    source: Path, transaction: Transaction, blocks: BlockRange | None, exclude: Collection[str]
) -> Iterator[Transaction]:
    """Each earlier transaction of the same chain and trace source, once."""
    number = transaction.block_number
    if number is not None:
        stop = number + 1 if blocks is None or blocks.stop is None else min(number + 1, blocks.stop)
        blocks = BlockRange(0 if blocks is None else blocks.start, stop)
    kind = transaction.chain, transaction.source
    seen = {transaction.hash}
    for _, other in watched("earlier transactions", open_shards(source, Rejects(), blocks), exclude):
        if other.hash in seen or (other.chain, other.source) != kind:
            continue
        if number is None or time_order(other) < time_order(transaction):
            seen.add(other.hash)
            yield other
