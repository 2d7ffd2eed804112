"""Step 2: fit a tokenizer, and turn transactions into token sequences in time order."""

import hashlib
import os
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from blockscan.artifact import require_empty
from blockscan.config import TokenizerConfig
from blockscan.corpus import COLUMNS
from blockscan.errors import ConfigError
from blockscan.tokens import TokenSequence
from blockscan.transaction import Transaction
from pipelines.labels import hash_key
from pipelines.progress import console, progress
from pipelines.sources import Rejects, Shard, TimeOrder, time_order
from tokenizer.txtokenizer import TxTokenizer
from tokenizer.vocabulary import vocabulary_from

WORTH_PROCESSES = 100_000
"""Transactions from which on other processes earn more than their start costs."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A transaction's tokens with what scoring must know besides them; `order` sorts by time."""

    order: TimeOrder
    sequence: TokenSequence
    source: str
    status: str

    @property
    def key(self) -> tuple[str, str]:
        """Chain and hash, see Transaction."""
        *_, tx_hash, chain = self.order
        return chain, tx_hash


Keyed = TypeVar("Keyed", Encoded, Transaction)


def fit_tokenizer(
    shards: list[Shard], out: Path, config: TokenizerConfig, *, exclude: Collection[str] = ()
) -> TxTokenizer:
    """Learn a vocabulary from every transaction of the shards and save it to `out`.

    Raises:
        ConfigError: there is no transaction to learn from.
        ArtifactError: `out` is not empty.
    """
    require_empty(out)
    count, until = 0, dict[str, int]()

    def counted() -> Iterator[Transaction]:
        nonlocal count
        for _, transaction in watched("tokenizer fit", shards, exclude):
            count += 1
            if (block := transaction.block_number) is not None:
                until[transaction.chain] = max(until.get(transaction.chain, 0), block)
            yield transaction

    tokenizer = TxTokenizer.fit(counted(), config)
    if not count:
        raise ConfigError("no transaction to fit a tokenizer on; ingest some, or widen the block range")
    tokenizer.save(out, until=until)
    return tokenizer


def encode_all(
    shards: list[Shard],
    tokenizer: TxTokenizer,
    *,
    exclude: Collection[str] = (),
    processes: int | None = None,
) -> list[Encoded]:
    """What `encode_each` gives, in time order."""
    encoded = encode_each(shards, tokenizer, exclude=exclude, processes=processes)
    return sorted(encoded, key=lambda each: each.order)


def encode_each(
    shards: list[Shard],
    tokenizer: TxTokenizer,
    *,
    exclude: Collection[str] = (),
    processes: int | None = None,
) -> Iterator[Encoded]:
    """Every transaction of the shards once, by its first mention, the same with any number of processes.

    Args:
        shards: what to encode. Other processes take whole shards, and only those that they can open: whose
            `read` is a `functools.partial` of a function of a module.
        tokenizer: sent to every other process once.
        exclude: hashes to leave out, each as its `hash_key`.
        processes: how many are to encode; None takes one per core, if there are WORTH_PROCESSES transactions.

    Raises:
        ParseError: as `TxTokenizer.encode`, from whichever process.
        ConfigError: fewer than one process, or one of them died.
    """
    if processes is not None and processes < 1:
        raise ConfigError(f"{processes} processes cannot encode; give at least 1")
    movable = [shard for shard in shards if isinstance(shard.read, partial)]
    if processes is None:
        processes = _cores() if sum(shard.rows for shard in movable) >= WORTH_PROCESSES else 1
    if min(processes, len(movable)) > 1:
        encoded = _elsewhere(shards, tokenizer, exclude, min(processes, len(movable)))
    else:
        encoded = _encode((each for _, each in watched("encode", shards, exclude)), tokenizer)
    yield from once(encoded)


def _encode(transactions: Iterable[Transaction], tokenizer: TxTokenizer) -> Iterator[Encoded]:
    for transaction in transactions:
        yield Encoded(
            time_order(transaction),
            tokenizer.encode(transaction),
            transaction.source.value,
            transaction.status.value,
        )


def _elsewhere(
    shards: list[Shard], tokenizer: TxTokenizer, exclude: Collection[str], processes: int
) -> Iterator[Encoded]:
    """Shards in their order, those that can move encoded by other processes, the others here."""
    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), _begin, (tokenizer.vocabulary.to_json(), frozenset(exclude))
    )
    try:
        with progress("encode", sum(shard.rows for shard in shards)) as bar:
            movable = (shard.read for shard in shards if isinstance(shard.read, partial))
            waiting = deque(pool.submit(_encode_shard, read) for read in islice(movable, 2 * processes))
            for shard in shards:
                if not isinstance(shard.read, partial):
                    here = (each for each in shard.read() if hash_key(each.hash) not in exclude)
                    yield from _encode(here, tokenizer)
                    continue
                flat = waiting.popleft().result()  # and no other hold on it: there may be many shards
                waiting.extend(pool.submit(_encode_shard, read) for read in islice(movable, 1))
                _take_rejects(shard, flat.rejects)
                yield from flat.encoded()
                bar.advance(shard.rows)
    except BrokenProcessPool as error:
        raise ConfigError(
            "a process that encoded transactions died, most likely for want of memory; "
            "free some, or encode a smaller block range"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Flat:
    """The encoded transactions of one shard with their arrays end to end: few objects to send."""

    orders: list[TimeOrder]
    origins: list[tuple[str, str]]
    lengths: list[int]
    arrays: list[NDArray[Any]]
    rejects: list[str]

    def encoded(self) -> Iterator[Encoded]:
        """What was flattened."""
        begin = 0
        for order, origin, length in zip(self.orders, self.origins, self.lengths, strict=True):
            own = [array[begin : begin + length] for array in self.arrays]
            begin += length
            *_, tx_hash, _ = order
            yield Encoded(order, TokenSequence(tx_hash, *own), *origin)


_tokenizer_here: TxTokenizer | None = None
_excluded_here: frozenset[str] = frozenset()


def _begin(vocabulary: str, exclude: frozenset[str]) -> None:
    """Give this process, which encodes shards for another, its tokenizer."""
    global _tokenizer_here, _excluded_here
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the process that waits for this one hears it, and ends both
    _tokenizer_here = TxTokenizer(vocabulary_from(vocabulary, "the vocabulary sent to an encoding process"))
    _excluded_here = exclude


def _encode_shard(read: "partial[Iterator[Transaction]]") -> _Flat:
    """Encode one shard in a process that `_begin` made ready."""
    assert _tokenizer_here is not None
    wanted = (each for each in read() if hash_key(each.hash) not in _excluded_here)
    encoded = list(_encode(wanted, _tokenizer_here))
    sequences = [each.sequence for each in encoded]
    return _Flat(
        [each.order for each in encoded],
        [(each.source, each.status) for each in encoded],
        [len(sequence) for sequence in sequences],
        [
            np.concatenate([getattr(sequence, name) for sequence in sequences]) if sequences else np.empty(0)
            for name in COLUMNS
        ],
        [line for rejects in _rejects_of(read) for line in rejects.lines],
    )


def _rejects_of(read: Callable[[], Iterator[Transaction]]) -> list[Rejects]:
    """What a reader was given to put into what it cannot parse."""
    given = read.args if isinstance(read, partial) else ()
    return [one for one in given if isinstance(one, Rejects)]


def _take_rejects(shard: Shard, lines: Iterable[str]) -> None:
    for rejects in _rejects_of(shard.read):
        for line in lines:
            rejects.add(line)


def _cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def once(mentions: Iterable[Keyed]) -> Iterator[Keyed]:
    """Each transaction by its first mention: of one key there is one."""
    seen = set[bytes]()  # digests, since of millions the names would take more than twice the memory
    for each in mentions:
        key = hashlib.blake2b("\0".join(each.key).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            yield each


def watched(
    what: str, shards: Sequence[Shard], exclude: Collection[str] = ()
) -> Iterator[tuple[str, Transaction]]:
    """Shard name and transaction for all of the shards, under a progress bar, without the excluded hashes.

    Says at the end how many of these, each given as its `hash_key`, were met: a list that fits nothing shows.
    """
    met: set[str] = set()
    count = 0
    with progress(what, sum(shard.rows for shard in shards)) as bar:
        for shard in shards:
            for transaction in shard.read():
                count += 1
                bar.advance(1)
                if (key := hash_key(transaction.hash)) in exclude:
                    met.add(key)
                else:
                    yield shard.name, transaction
        bar.to(count, count)  # shards say how many they hold at most, be it outside the blocks wanted
    if exclude:
        console.print(f"{what}: {len(met):,} of the {len(exclude):,} hashes to exclude are here, left out")
