"""Many shards in groups that fit into memory: everything once, in time order, no shard read in vain."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction
from pipelines import groups
from pipelines.groups import Group, groups_of
from pipelines.sources import Shard


def transaction(name: str, block: int | None, time: int | None = None, on: str = "ethereum") -> Transaction:
    root = Call(CallKind.CALL, "0xa", "0xb", b"", b"", 0, None, None, ())
    plain = TraceSource.CALL_TRACER
    return Transaction(on, name, block, None, 0, time, "0xa", True, 1, root, plain, LogOrder.EXACT)


def shards_of(parts: Sequence[Sequence[Transaction]], reads: Counter[str]) -> list[Shard]:
    def shard(name: str, part: Sequence[Transaction]) -> Shard:
        def read() -> Iterator[Transaction]:
            reads[name] += 1
            yield from part

        return Shard(name, read, len(part))

    return [shard(str(place), part) for place, part in enumerate(parts)]


def chain(blocks: int, per_block: int) -> list[Transaction]:
    """In time order, by hash the other way round."""
    return [transaction(f"0x{9999 - block}{i}", block) for block in range(blocks) for i in range(per_block)]


def hashes(found: Sequence[Group]) -> list[str]:
    return [each.hash for group in found for each in group.transactions]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "GROUP", 20)


@pytest.mark.parametrize("parts", [10, 50])
def test_a_shard_is_read_once_and_once_for_each_of_its_groups(parts: int) -> None:
    reads: Counter[str] = Counter()
    transactions = chain(parts * 8, 5)
    found = list(groups_of(shards_of([transactions[i * 40 :][:40] for i in range(parts)], reads)))
    assert hashes(found) == [each.hash for each in transactions]
    assert [group.number for group in found] == list(range(2 * parts)) and found[0].total == 2 * parts
    assert max(reads.values()) == 3  # once to see where it lies, and for each of its two groups
    ended = [(group.number, name) for group in found for name in group.ended]
    assert ended == [(2 * place + 1, str(place)) for place in range(parts)]


def test_few_transactions_are_read_once() -> None:
    reads: Counter[str] = Counter()
    (group,) = groups_of(shards_of([chain(2, 5), [], chain(2, 3)], reads))
    assert len(group.transactions) == 10 and set(reads.values()) == {1}
    assert group.ended == ["0", "1", "2"] and set(group.owner.values()) == {"0"}


@pytest.mark.parametrize("seed", [1, 2])
def test_groups_depend_on_no_order_of_lines(seed: int) -> None:
    transactions = [*chain(30, 4), *(transaction(f"0xff{i}", None) for i in range(70))]
    mixed = random.Random(seed).sample(transactions, len(transactions))
    cut = len(mixed) // 3
    found = list(groups_of(shards_of([mixed[:cut], mixed[cut:]], Counter())))
    again = list(groups_of(shards_of([transactions], Counter())))
    assert hashes(found) == hashes(again) and len(hashes(found)) == len(set(hashes(found))) == 190
    assert found[-1].ended == ["0", "1"]  # a hash says nothing of where the next unknown block lies


def test_transactions_of_unknown_blocks_fill_groups_as_well() -> None:
    found = list(groups_of(shards_of([[transaction(f"0x{i}", None) for i in range(200)]], Counter())))
    assert len(found) == 10 and len(hashes(found)) == 200
    assert max(len(group.transactions) for group in found) < 40


def test_unknown_blocks_are_in_the_order_of_their_times() -> None:
    dated = [transaction(f"0x{999 - i}", None, i // 3) for i in range(120)]
    mixed = random.Random(3).sample(dated, len(dated))
    reads: Counter[str] = Counter()
    found = list(groups_of(shards_of([mixed[:50], mixed[50:], chain(5, 4)], reads)))
    assert hashes(found)[-20:] == [each.hash for each in chain(5, 4)]
    times = [each.time for group in found for each in group.transactions if each.time is not None]
    assert times == sorted(times) and len(times) == 120
    assert all(each.transactions[0].time != each.transactions[-1].time for each in found[:-1])
    assert reads["2"] < len(found), "a shard of known blocks is not read for the others"
    starts = [{each.time for each in group.transactions} for group in found[:-1]]
    assert not any(one & other for one, other in pairwise(starts))


def test_a_transaction_with_and_without_its_block_is_one() -> None:
    placed = chain(30, 4)
    lacking = [transaction(each.hash, None, 7) for each in placed[::5]]
    scattered = [transaction(each.hash, None) for each in placed[1::5]]
    for parts in ([placed, lacking, scattered], [lacking, scattered, placed]):
        found = hashes(list(groups_of(shards_of(parts, Counter()))))
        assert len(found) == len(set(found)) == len(placed)


@pytest.mark.parametrize("blocks", [1, 30])
def test_one_hash_on_two_chains_is_two_transactions(blocks: int) -> None:
    """A signature from before EIP-155 is valid on every chain; it does not do the same on each."""
    here = [*chain(blocks, 4), transaction("0xff", None)]
    there = [transaction(each.hash, each.block_number, on="bsc") for each in here]
    found, again = (list(groups_of(shards_of(parts, Counter()))) for parts in ([here, there], [there, here]))
    keys = [each.key for group in found for each in group.transactions]
    assert len(set(keys)) == len(keys) == 2 * len(here)
    assert [each.key for group in again for each in group.transactions] == keys
    assert {owner for group in found for key, owner in group.owner.items() if key[0] == "bsc"} == {"1"}


def test_shards_without_a_transaction_end_at_once() -> None:
    empty: list[Transaction] = []
    found = list(groups_of([*shards_of([empty, chain(20, 3)], Counter())]))
    assert found[0].ended == ["0"]
    none = Shard("none", lambda: iter(()), 500)  # a part of which nothing lies in the blocks asked for
    (group,) = groups_of([none])
    assert group.transactions == [] and group.ended == ["none"]
