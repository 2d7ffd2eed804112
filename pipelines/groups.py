"""The transactions of many shards in groups that fit into memory, each group and all of them in time order.

Cut is where blocks end, by the hash of the transaction where its block is unknown, so that which
transactions belong together depends on no order of files or lines. A shard is read once to see where it
lies, and once more for each group that it has transactions of.
"""

import hashlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from blockscan.transaction import Transaction
from pipelines.encode import watched
from pipelines.sources import Shard, time_order

GROUP = 8000
"""Transactions held in memory and packed together; a group ends with the block that reaches so many."""


class Group(NamedTuple):
    """Transactions in time order, each once, as group `number` (from 0) of `total`.

    `owner` gives by hash the first shard that holds it; `ended` names the shards that no later group reads.
    """

    number: int
    total: int
    transactions: list[Transaction]
    owner: dict[str, str]
    ended: list[str]


class _Plan(NamedTuple):
    """`begins`: the first block of each group that has blocks; `needs`: the groups each shard is read for."""

    begins: list[int]
    total: int
    needs: list[set[int]]


def groups_of(shards: Sequence[Shard]) -> Iterator[Group]:
    """Every transaction of the shards once; one group at least."""
    plan = _planned(shards)
    for number in range(plan.total):
        here = [shard for shard, needed in zip(shards, plan.needs, strict=True) if number in needed]
        transactions, owner = _read(here, number, plan)
        last = [max(needed, default=0) for needed in plan.needs]
        ended = [shard.name for shard, until in zip(shards, last, strict=True) if until == number]
        yield Group(number, plan.total, transactions, owner, ended)


def _planned(shards: Sequence[Shard]) -> _Plan:
    if sum(shard.rows for shard in shards) <= GROUP:
        return _Plan([0], 1, [{0} for _ in shards])
    sizes: Counter[int | None] = Counter()
    blocks: dict[str, set[int | None]] = {shard.name: set() for shard in shards}
    for name, transaction in watched("read", shards):
        sizes[transaction.block_number] += 1
        blocks[name].add(transaction.block_number)
    begins = _begins(sizes)
    count = max(len(begins), math.ceil(sizes[None] / GROUP))
    return _Plan(begins, count, [_needed(blocks[shard.name], begins, count) for shard in shards])


def _begins(sizes: Counter[int | None]) -> list[int]:
    begins, held = [0], 0
    for block in sorted(block for block in sizes if block is not None):
        if held >= GROUP:
            begins.append(block)
            held = 0
        held += sizes[block]
    return begins


def _needed(blocks: set[int | None], begins: Sequence[int], count: int) -> set[int]:
    if None in blocks:
        return set(range(count))
    return {bisect_right(begins, block) - 1 for block in blocks if block is not None}


def _read(shards: Sequence[Shard], number: int, plan: _Plan) -> tuple[list[Transaction], dict[str, str]]:
    owner: dict[str, str] = {}
    found = []
    for name, transaction in watched(f"read {number + 1}/{plan.total}", shards):
        if transaction.hash not in owner and _group_of(transaction, plan) == number:
            owner[transaction.hash] = name
            found.append(transaction)
    return sorted(found, key=time_order), owner


def _group_of(transaction: Transaction, plan: _Plan) -> int:
    if transaction.block_number is not None:
        return bisect_right(plan.begins, transaction.block_number) - 1
    digest = hashlib.blake2b(transaction.hash.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % plan.total
