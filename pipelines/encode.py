"""Step 2: fit a tokenizer, and turn transactions into token sequences in time order."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from blockscan.artifact import require_empty
from blockscan.config import TokenizerConfig
from blockscan.errors import ConfigError
from blockscan.tokens import TokenSequence
from blockscan.transaction import Transaction
from pipelines.progress import progress
from pipelines.sources import Shard, time_order
from tokenizer.txtokenizer import TxTokenizer


@dataclass(frozen=True, slots=True)
class Encoded:
    """A transaction's tokens with what scoring must know besides them; `order` sorts by time."""

    order: tuple[int, int, str]
    sequence: TokenSequence
    source: str
    status: str


def fit_tokenizer(
    shards: list[Shard], out: Path, config: TokenizerConfig, *, exclude: Collection[str] = ()
) -> TxTokenizer:
    """Learn a vocabulary from every transaction of the shards and save it to `out`.

    Raises:
        ConfigError: there is no transaction to learn from.
        ArtifactError: `out` is not empty.
    """
    require_empty(out)
    count = 0

    def counted() -> Iterator[Transaction]:
        nonlocal count
        for _, transaction in watched("tokenizer fit", shards, exclude):
            count += 1
            yield transaction

    tokenizer = TxTokenizer.fit(counted(), config)
    if not count:
        raise ConfigError("no transaction to fit a tokenizer on; ingest some, or widen the block range")
    tokenizer.save(out)
    return tokenizer


def encode_all(
    shards: list[Shard], tokenizer: TxTokenizer, *, exclude: Collection[str] = ()
) -> list[Encoded]:
    """Every transaction of the shards once, in time order."""
    found: dict[str, Encoded] = {}
    for _, transaction in watched("encode", shards, exclude):
        if transaction.hash not in found:
            found[transaction.hash] = Encoded(
                time_order(transaction),
                tokenizer.encode(transaction),
                transaction.source.value,
                transaction.status.value,
            )
    return sorted(found.values(), key=lambda encoded: encoded.order)


def watched(
    what: str, shards: list[Shard], exclude: Collection[str] = ()
) -> Iterator[tuple[str, Transaction]]:
    """Shard name and transaction for all of the shards, under a progress bar, without the excluded hashes."""
    with progress(what, sum(shard.rows for shard in shards)) as bar:
        for shard in shards:
            for transaction in shard.read():
                bar.advance(1)
                if transaction.hash not in exclude:
                    yield shard.name, transaction
