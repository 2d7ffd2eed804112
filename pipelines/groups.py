"""The transactions of many shards in groups that fit into memory, each group and all of them in time order.

Cut is where blocks end, between times where blocks are unknown, and by the hash where times are as well, so
that which transactions belong together depends on no order of files or lines. A shard is read once to see
where it lies, and once more for each group that it has transactions of.
"""

import hashlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from blockscan.transaction import Transaction
from pipelines.encode import watched
from pipelines.sources import Shard, place_of, time_order

GROUP = 8000
"""Transactions held in memory and packed together; a group ends with the block that reaches so many."""


class Group(NamedTuple):
    """Transactions in time order, each once, as group `number` (from 0) of `total`.

    `owner` gives by key the first shard that holds it; `ended` names the shards that no later group reads.
    """

    number: int
    total: int
    transactions: list[Transaction]
    owner: dict[tuple[str, str], str]
    ended: list[str]


_NOWHERE = -1, -1
"""The place of a transaction of unknown block and time."""


class _Plan(NamedTuple):
    """`begins`: the first place of each group that has places; `needs`: the groups each shard is read for.

    `blockless`: keys that occur without a block; the same ones may occur with it, in another group.
    """

    begins: list[tuple[int, int]]
    total: int
    needs: list[set[int]]
    blockless: set[tuple[str, str]]


def groups_of(shards: Sequence[Shard]) -> Iterator[Group]:
    """Every transaction of the shards once; one group at least."""
    plan, taken = _planned(shards), set[tuple[str, str]]()
    for number in range(plan.total):
        here = [shard for shard, needed in zip(shards, plan.needs, strict=True) if number in needed]
        transactions, owner = _read(here, number, plan, taken)
        taken |= plan.blockless & owner.keys()
        last = [max(needed, default=0) for needed in plan.needs]
        ended = [shard.name for shard, until in zip(shards, last, strict=True) if until == number]
        yield Group(number, plan.total, transactions, owner, ended)


def _planned(shards: Sequence[Shard]) -> _Plan:
    if sum(shard.rows for shard in shards) <= GROUP:
        return _Plan([_NOWHERE], 1, [{0} for _ in shards], set())
    sizes: Counter[tuple[int, int]] = Counter()
    places: dict[str, set[tuple[int, int]]] = {shard.name: set() for shard in shards}
    blockless: set[tuple[str, str]] = set()
    for name, transaction in watched("read", shards):
        place = place_of(transaction)
        sizes[place] += 1
        places[name].add(place)
        if transaction.block_number is None:
            blockless.add(transaction.key)
    scattered = math.ceil(sizes.pop(_NOWHERE, 0) / GROUP)
    begins = _begins(sizes)
    count = max(len(begins), scattered)
    needs = [_needed(places[shard.name], begins, count) for shard in shards]
    return _Plan(begins, count, needs, blockless)


def _begins(sizes: Counter[tuple[int, int]]) -> list[tuple[int, int]]:
    begins, held = [_NOWHERE], 0
    for place in sorted(sizes):
        if held >= GROUP:
            begins.append(place)
            held = 0
        held += sizes[place]
    return begins


def _needed(places: set[tuple[int, int]], begins: Sequence[tuple[int, int]], count: int) -> set[int]:
    if _NOWHERE in places:
        return set(range(count))
    return {bisect_right(begins, place) - 1 for place in places}


def _read(
    shards: Sequence[Shard], number: int, plan: _Plan, taken: set[tuple[str, str]]
) -> tuple[list[Transaction], dict[tuple[str, str], str]]:
    owner: dict[tuple[str, str], str] = {}
    found = []
    for name, transaction in watched(f"read {number + 1}/{plan.total}", shards):
        known = transaction.key in owner or transaction.key in taken
        if not known and _group_of(transaction, plan) == number:
            owner[transaction.key] = name
            found.append(transaction)
    return sorted(found, key=time_order), owner


def _group_of(transaction: Transaction, plan: _Plan) -> int:
    place = place_of(transaction)
    if place != _NOWHERE:
        return bisect_right(plan.begins, place) - 1
    digest = hashlib.blake2b(transaction.hash.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % plan.total
