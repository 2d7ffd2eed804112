"""Transactions a day, and an alarm level from alerts a day."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest

from blockscan.detect.history import history_of
from blockscan.detect.levels import Traffic
from blockscan.errors import ConfigError
from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction
from pipelines.sources import Shard
from pipelines.traffic import Census, Target

LOGS, PLAIN = TraceSource.CALL_TRACER_LOGS, TraceSource.CALL_TRACER


def transaction(
    name: str,
    block: int | None,
    time: int | None,
    *,
    chain: str = "ethereum",
    source: TraceSource = LOGS,
    target: str | None = "0xb",
) -> Transaction:
    root = Call(
        kind=CallKind.CALL, caller="0xa", target=target, data=b"", output=b"", value=0, error=None,
        gas_used=None, steps=(),
    )  # fmt: skip
    return Transaction(chain, name, block, None, 0, time, "0xa", True, 1, root, source, LogOrder.EXACT)


def census(*transactions: Transaction) -> Census:
    def read() -> Iterator[Transaction]:
        yield from transactions

    found = Census(history_of([]))
    (shard,) = found.watching([Shard("s", read, len(transactions))])
    for _ in range(2):  # a shard that is read twice counts once
        assert [each.hash for each in shard.read()] == [each.hash for each in transactions]
    return found


def blocks(numbers: range, per_block: int, seconds: Callable[[int], int | None], **kind: str) -> Census:
    return census(
        *(transaction(f"{n}-{i}", n, seconds(n), **kind) for n in numbers for i in range(per_block))
    )


def test_whole_blocks_with_times() -> None:
    found = blocks(range(100, 200), 5, lambda n: 12 * n).traffic([])
    assert found.blocks == (100, 199)
    assert found.per_day == {"callTracer+logs": pytest.approx(5 * 86_400 / 12)}


def test_gaps_count_as_traffic_not_seen_only_where_the_archive_says_so() -> None:
    half = blocks(range(100, 200, 2), 5, lambda n: 12 * n)
    rate = 5 * 86_400 / 12
    assert half.traffic([(n, n) for n in range(100, 200, 2)]).per_day["callTracer+logs"] == pytest.approx(
        rate
    )
    # Not known to be covered: a protocol's own transactions, say, of which there are none in between.
    alone = half.traffic([]).per_day["callTracer+logs"]
    assert alone == pytest.approx(rate * 50 / 99)


def test_empty_blocks_of_an_archive_count() -> None:
    found = census(*(transaction(str(n), n, 12 * n) for n in (0, 99))).traffic([(0, 99)])
    assert found.per_day["callTracer+logs"] == pytest.approx(2 * 86_400 / 1200)


def test_without_times_a_known_chain_has_its_usual_block_time() -> None:
    numbered = blocks(range(50), 2, lambda n: None)
    assert numbered.traffic([]).per_day["callTracer+logs"] == pytest.approx(2 * 86_400 / 12)
    base = blocks(range(50), 2, lambda n: None, chain="base")
    assert base.traffic([]).per_day["callTracer+logs"] == pytest.approx(2 * 86_400 / 2)
    partly = blocks(range(50), 2, lambda n: None if n == 7 else 12 * n)
    assert partly.traffic([]).per_day["callTracer+logs"] == pytest.approx(2 * 86_400 / 12)


def test_times_alone_are_enough() -> None:
    found = census(*(transaction(str(n), None, 600 * n) for n in range(11))).traffic([])
    assert found.blocks is None and found.per_day["callTracer+logs"] == pytest.approx(11 * 86_400 / 6000)


def test_sources_are_counted_apart_and_scaled_together() -> None:
    mixed = census(
        *(transaction(f"a{n}", n, 12 * n) for n in range(30)),
        *(transaction(f"b{n}", n, 12 * n, source=PLAIN) for n in range(0, 30, 3)),
    )
    measured = mixed.traffic([]).per_day
    assert measured["callTracer+logs"] == pytest.approx(3 * measured["callTracer"])
    told = mixed.traffic([], transactions_per_day=1000).per_day
    assert told == {"callTracer+logs": pytest.approx(750), "callTracer": pytest.approx(250)}


def test_blocks_that_the_past_was_counted_in_are_refused_by_chain() -> None:
    def read() -> Iterator[Transaction]:
        yield from (transaction(f"{chain}{n}", n, None, chain=chain) for chain, n in places)

    past = (("a", 9), ("a", 4), ("b", 90), ("0XA", 9))
    history = history_of(transaction(f"{c}{n}", n, None, chain=c) for c, n in past)
    for places, excluded, refused in (
        ([("a", 10), ("b", 91), ("c", 1)], [], ""),
        ([("a", 10), ("b", 90)], [], "b: block 90 is not later than block 90,"),
        ([("a", 12), ("a", 9), ("a", 11)], [], "a: block 9 is not later .* --blocks 10:"),
        ([("a", 12), ("a", 9)], ["a9"], ""),
        ([("0XA", 12), ("0XA", 9)], ["0xa9"], ""),
    ):
        found = Census(history)
        (shard,) = found.watching([Shard("s", read, len(places))], excluded)
        assert len(list(shard.read())) == len(places)
        with pytest.raises(ConfigError, match=refused) if refused else nullcontext():
            found.require_later()


def test_blocks_that_the_tokenizer_was_fitted_on_are_refused_by_chain() -> None:
    past = [transaction("1", 4, None), transaction("2", 8, None, chain="base")]
    for fitted, refused in (
        ({}, ""),
        ({"ethereum": 4, "base": 9, "bsc": 3}, ""),
        ({"ethereum": 5}, "block 5 is not later than block 5, the last the tokenizer was fitted on; .* 6:"),
    ):
        found = Census(history_of(past), fitted)
        (shard,) = found.watching([Shard("s", lambda: iter([transaction("3", 5, None)]), 1)])
        assert len(list(shard.read())) == 1
        with pytest.raises(ConfigError, match=refused) if refused else nullcontext():
            found.require_later()


def test_accounts_are_those_of_a_chain() -> None:
    found = census(transaction("1", 1, 12), transaction("2", 1, 24, chain="base"))
    assert found.accounts == {("ethereum", "1"): ("ethereum:0xa", 12), ("base", "2"): ("base:0xa", 24)}


def test_contracts_are_noted_by_chain_and_hash() -> None:
    found = census(
        transaction("x", 1, 1),
        transaction("y", 2, 2, target=None),
        transaction("x", 3, 3, chain="bsc", target="0xc"),
    )
    x, y, other = ("ethereum", "x"), ("ethereum", "y"), ("bsc", "x")
    assert found.contracts == {x: "0xb", y: "", other: "0xc"}


@pytest.mark.parametrize(
    "found",
    [
        census(),
        census(transaction("x", None, None)),
        blocks(range(9), 1, lambda n: None, chain="evm-7001"),
        census(transaction("x", 1, 12)),
    ],
)
def test_a_budget_without_a_known_rate_is_refused_with_what_to_do(found: Census) -> None:
    assert found.traffic([]).per_day == {}
    with pytest.raises(ConfigError, match="--transactions-per-day N, or --fpr SHARE"):
        Target(alerts_per_day=20).level(found.traffic([]), otherwise=0.01)
    assert Target().level(found.traffic([]), otherwise=0.01) == 0.01
    assert Target(fpr=0.5).level(found.traffic([]), otherwise=0.01) == 0.5


def test_a_budget_becomes_a_level() -> None:
    busy = Traffic(None, {"a": 60_000.0, "b": 40_000.0})
    assert Target(alerts_per_day=20).level(busy, otherwise=0.01) == pytest.approx(0.0002)
    with pytest.raises(ConfigError, match="two ways to say one thing"):
        Target(fpr=0.01, alerts_per_day=20).level(busy, otherwise=0.01)
