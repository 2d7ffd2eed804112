"""Encoding by several processes: the same result, the same errors, whole shards."""

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockscan.config import TokenizerConfig
from blockscan.errors import ConfigError, ParseError
from blockscan.tokens import TokenSequence
from blockscan.transaction import Transaction
from pipelines.encode import Encoded, _Flat, encode_all, once
from pipelines.sources import Rejects, Shard, open_shards, read_transactions
from tokenizer.txtokenizer import TxTokenizer

ARRAYS = ("ids", "modality", "field", "node", "depth", "unit", "group", "scored")


@pytest.fixture(scope="module")
def shards(archive: Path) -> list[Shard]:
    """The two parts of the recorded archive."""
    found = open_shards(archive, Rejects())
    assert len(found) == 2
    return found


@pytest.fixture(scope="module")
def tokenizer(shards: list[Shard]) -> TxTokenizer:
    return TxTokenizer.fit(shards[1].read(), TokenizerConfig())


def encoded_here(*_: object) -> TokenSequence:
    raise AssertionError("encoded in this process")


def same(one: list[Encoded], other: list[Encoded]) -> bool:
    facts = [[(each.order, each.source, each.status) for each in side] for side in (one, other)]
    return facts[0] == facts[1] and all(
        np.array_equal(getattr(a.sequence, name), getattr(b.sequence, name))
        and getattr(a.sequence, name).dtype == getattr(b.sequence, name).dtype
        for a, b in zip(one, other, strict=True)
        for name in ARRAYS
    )


def test_other_processes_give_the_same(
    shards: list[Shard], tokenizer: TxTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out = {next(shards[0].read()).hash}
    # The same shard twice: a transaction counts once, by its first mention.
    given = [*shards, shards[0]]
    alone = encode_all(given, tokenizer, exclude=left_out, processes=1)
    monkeypatch.setattr(TxTokenizer, "encode", encoded_here)
    together = encode_all(given, tokenizer, exclude=left_out, processes=2)
    assert len(alone) > 1000 and not left_out & {each.sequence.tx_hash for each in alone}
    assert same(alone, together)


def shouted(read: Callable[[], Iterator[Transaction]], _: Rejects) -> Iterator[Transaction]:
    """The same transactions by hashes in capitals, as a record may write them."""
    return (replace(each, hash="0X" + each.hash[2:].upper()) for each in read())


@pytest.mark.parametrize("processes", [1, 2])
def test_how_a_record_writes_its_hash_does_not_matter_to_what_is_left_out(
    shards: list[Shard], tokenizer: TxTokenizer, processes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [Shard(each.name, partial(shouted, each.read, Rejects()), each.rows) for each in shards]
    given.append(Shard("in memory", lambda: shouted(shards[0].read, Rejects()), shards[0].rows))
    listed = [each.hash for each in shards[0].read()][:3]
    encoded = encode_all(given, tokenizer, exclude=[*listed, "0xabsent"], processes=processes)
    assert len(encoded) > 1000
    assert not set(listed) & {each.sequence.tx_hash.lower() for each in encoded}
    if processes == 1:
        assert "encode: 3 of the 4 hashes to exclude are here" in " ".join(capsys.readouterr().err.split())


def test_a_shard_that_cannot_move_is_encoded_here(shards: list[Shard], tokenizer: TxTokenizer) -> None:
    fixed: list[Transaction] = list(shards[0].read())
    given = [shards[1], Shard("in memory", lambda: iter(fixed), len(fixed)), shards[0]]
    together = encode_all(given, tokenizer, processes=2)
    assert same(encode_all(given, tokenizer, processes=1), together)


def test_few_transactions_stay_in_this_process(
    shards: list[Shard], tokenizer: TxTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.encode.ProcessPoolExecutor", encoded_here)
    assert len(encode_all(shards, tokenizer)) == len({each.hash for each in read_transactions(shards)})
    monkeypatch.setattr("pipelines.encode.WORTH_PROCESSES", 1)
    monkeypatch.setattr("pipelines.encode._cores", lambda: 2)
    with pytest.raises(AssertionError, match="encoded in this process"):
        encode_all(shards, tokenizer)


def record(place: int, **more: Any) -> bytes:
    sender, target = (f"0x{byte:02x}" + f"{place:038x}" for byte in (0x51, 0x70))
    call = {"type": "CALL", "from": sender, "to": target, "value": "0x1", "input": "0x"}
    facts = {"chain": "ethereum", "tx_hash": f"0x{place:064x}", "block_number": place, "tx_index": 0}
    return json.dumps(facts | {"trace": call | more, "logs_in_frames": "exact"}).encode() + b"\n"


def files(folder: Path, *contents: bytes) -> tuple[list[Shard], Rejects]:
    rejects, found = Rejects(), []
    for place, content in enumerate(contents):
        path = folder / f"{place}.jsonl"
        path.write_bytes(content)
        found.extend(open_shards(path, rejects))
    return found, rejects


def test_what_cannot_be_read_elsewhere_is_reported_here(tmp_path: Path, tokenizer: TxTokenizer) -> None:
    found, rejects = files(tmp_path, record(1) + b"{no json\n", record(2), b"[]\n" + record(3))
    together = encode_all(found, tokenizer, processes=2)
    assert [each.order[0] for each in together] == [1, 2, 3]
    assert [line.split(" ")[0] for line in rejects.lines] == ["0.jsonl:2:", "2.jsonl:1:"]


@pytest.mark.parametrize("processes", [1, 2])
def test_one_hash_on_two_chains_is_two_transactions(
    tmp_path: Path, tokenizer: TxTokenizer, processes: int
) -> None:
    there = record(1).replace(b'"ethereum"', b'"bsc"')
    found, _ = files(tmp_path, record(1) + there, there + record(1))
    encoded = encode_all(found, tokenizer, processes=processes)
    assert [each.key for each in encoded] == [(chain, f"0x{1:064x}") for chain in ("bsc", "ethereum")]
    assert {each.sequence.tx_hash for each in encoded} == {f"0x{1:064x}"}


def test_an_error_elsewhere_is_the_error_here(tmp_path: Path, tokenizer: TxTokenizer) -> None:
    log = {"address": "0x" + "70" * 20, "topics": ["0x" + "11" * 31], "data": "0x", "position": "0x0"}
    found, _ = files(tmp_path, record(1), record(2, logs=[log]))
    with pytest.raises(ParseError) as alone:
        encode_all(found, tokenizer, processes=1)
    with pytest.raises(ParseError) as together:
        encode_all(found, tokenizer, processes=2)
    assert str(together.value) == str(alone.value)
    assert "\n" not in str(together.value)


def test_of_many_shards_few_wait_for_this_process(
    monkeypatch: pytest.MonkeyPatch, tokenizer: TxTokenizer
) -> None:
    """Encoded shards that nobody has taken yet lie in this process's memory."""
    waiting, most = list[Any](), list[int]()

    class Pool:
        def __init__(self, *_: object) -> None: ...

        def submit(self, *_: object) -> "Pool":
            waiting.append(self)
            return self

        def result(self) -> _Flat:
            most.append(len(waiting))
            waiting.pop()
            return _Flat([], [], [], [], [])

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr("pipelines.encode.ProcessPoolExecutor", Pool)
    found = [Shard(str(place), partial(iter, ()), 0) for place in range(50)]
    assert encode_all(found, tokenizer, processes=3) == []
    assert (max(most), len(most), waiting) == (6, 50, [])


def test_what_was_met_takes_few_bytes_of_memory_and_counts_once(shards: list[Shard]) -> None:
    one = next(shards[0].read())
    numbers = [*range(10_000), *range(10_000)]
    tracemalloc.start()
    try:
        count = sum(1 for _ in once(replace(one, hash=f"0x{number:064x}") for number in numbers))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert most < 150 * count
    chains = [replace(one, chain=chain) for chain in ("ethereum", "bsc", "ethereum")]
    assert list(once(chains)) == chains[:2]


def test_a_process_that_dies_is_reported(tokenizer: TxTokenizer) -> None:
    dying = [Shard(name, partial(os._exit, 3), 1) for name in ("one", "other")]
    with pytest.raises(ConfigError, match="died, most likely for want of memory"):
        encode_all(dying, tokenizer, processes=2)
    with pytest.raises(ConfigError, match="0 processes cannot encode"):
        encode_all([], tokenizer, processes=0)
