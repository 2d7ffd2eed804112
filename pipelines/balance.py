"""Where the tokens go and where the information lies: shares per chain, modality and field.

Information is the sum of -log2 p over pieces, markers too, although scoring leaves those out. With a model,
p is its probability of a piece whose value is hidden; without one, the share of that piece among all of its
chain, which knows nothing of context. Aliases and hash buckets count as "some unknown address", "some rare
function", since that is all that the model is asked.
"""

import hashlib
import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table

from blockscan.config import ScoreConfig
from blockscan.errors import ConfigError
from blockscan.model.losses import token_losses
from blockscan.tokens import Field, Modality, TokenSequence, VocabularyShape
from blockscan.transaction import Transaction
from pipelines.encode import watched
from pipelines.model_dir import ModelDir, load_model
from pipelines.progress import progress
from pipelines.render import plain
from pipelines.sources import Shard
from tokenizer.txtokenizer import TxTokenizer

SAMPLE = 1000
MODEL, UNIGRAM = "model", "unigram"


@dataclass(frozen=True, slots=True)
class Share:
    """Part of one chain's tokens: their number, bits, and share of the chain's tokens and bits.

    `field` is empty for the sum over a modality; `scored` is the share of these tokens that scoring looks at.
    """

    modality: str
    field: str
    tokens: int
    bits: float
    token_share: float
    bit_share: float
    scored: float


@dataclass(frozen=True, slots=True)
class ChainBalance:
    """One chain: how much was looked at, and its shares, modalities first, largest bits first."""

    chain: str
    transactions: int
    tokens: int
    bits: float
    modalities: tuple[Share, ...]
    fields: tuple[Share, ...]


def balance(
    sequences: Sequence[TokenSequence], bits: Sequence[NDArray[np.floating]], chains: Sequence[str]
) -> list[ChainBalance]:
    """Shares of tokens and bits per chain, chains in alphabetical order.

    Args:
        sequences: encoded transactions.
        bits: for each of them, the information of every token, shape (T,).
        chains: of each of them.

    Raises:
        ValueError: the three are not of the same length, or bits not aligned with tokens.
    """
    members: dict[str, list[int]] = {}
    for place, (sequence, own, chain) in enumerate(zip(sequences, bits, chains, strict=True)):
        if len(own) != len(sequence):
            raise ValueError(f"{sequence.tx_hash} has {len(sequence)} tokens and {len(own)} bits")
        members.setdefault(chain, []).append(place)
    return [
        _of_chain(chain, [sequences[place] for place in places], [bits[place] for place in places])
        for chain, places in sorted(members.items())
    ]


def _of_chain(
    chain: str, sequences: Sequence[TokenSequence], bits: Sequence[NDArray[np.floating]]
) -> ChainBalance:
    modality_T = np.concatenate([sequence.modality for sequence in sequences]).astype(np.int64)
    field_T = np.concatenate([sequence.field for sequence in sequences]).astype(np.int64)
    scored_T = np.concatenate([sequence.scored for sequence in sequences])
    bits_T = np.concatenate(bits).astype(np.float64)
    tokens, total = len(bits_T), float(bits_T.sum())

    def shares(key_T: NDArray[np.int64]) -> Iterator[Share]:
        for key in np.unique(key_T).tolist():
            own_T = key_T == key
            count, own_bits = int(own_T.sum()), float(bits_T[own_T].sum())
            modality, field = divmod(key, len(Field) + 1)
            yield Share(
                Modality(modality).name.lower(),
                Field(field).name.lower() if field < len(Field) else "",
                count,
                own_bits,
                count / tokens,
                own_bits / total if total else 0.0,
                float(scored_T[own_T].mean()),
            )

    def ordered(key_T: NDArray[np.int64]) -> tuple[Share, ...]:
        return tuple(sorted(shares(key_T), key=lambda share: (-share.bits, -share.tokens)))

    first_T = modality_T * (len(Field) + 1)
    modalities, fields = ordered(first_T + len(Field)), ordered(first_T + field_T)
    return ChainBalance(chain, len(sequences), tokens, total, modalities, fields)


def unigram_bits(
    sequences: Sequence[TokenSequence], shape: VocabularyShape, chains: Sequence[str]
) -> list[NDArray[np.float64]]:
    """-log2 of each piece's share of all pieces of its chain, the ids of an alias span taken together."""
    merge = shape.first_of_span()
    counts: dict[str, NDArray[np.int64]] = {}
    for sequence, chain in zip(sequences, chains, strict=True):
        seen = np.bincount(merge[sequence.ids], minlength=shape.size)
        counts[chain] = counts[chain] + seen if chain in counts else seen
    bits = {chain: -np.log2(np.maximum(count, 1) / count.sum()) for chain, count in counts.items()}
    return [bits[chain][merge[sequence.ids]] for sequence, chain in zip(sequences, chains, strict=True)]


def sample(shards: list[Shard], count: int) -> list[Transaction]:
    """At most `count` different transactions, those whose hashes hash lowest: no seed, no order, no bias.

    Raises:
        ConfigError: `count` is below 1, or there is no transaction.
    """
    if count < 1:
        raise ConfigError(f"--sample {count}: give the number of transactions to look at, at least 1")
    kept: list[tuple[int, tuple[str, str], Transaction]] = []
    held: set[tuple[str, str]] = set()
    for _, transaction in watched("balance (read)", shards):
        rank = -int.from_bytes(hashlib.blake2b(transaction.hash.encode(), digest_size=8).digest())
        if transaction.key in held or (len(kept) == count and (rank, transaction.key) <= kept[0][:2]):
            continue
        held.add(transaction.key)
        heapq.heappush(kept, (rank, transaction.key, transaction))
        if len(kept) > count:
            held.discard(heapq.heappop(kept)[1])
    if not kept:
        raise ConfigError("no transaction to look at; ingest some, or widen the block range")
    return [transaction for _, _, transaction in sorted(kept, key=lambda one: (-one[0], one[1]))]


def balance_of(
    shards: list[Shard], directory: ModelDir, *, count: int = SAMPLE, device: str = "auto"
) -> tuple[list[ChainBalance], str]:
    """The balance of a sample, and what measured it: `model` where there is a checkpoint, else `unigram`.

    Raises:
        ConfigError: there is nothing to look at.
        ArtifactError: the model directory has no tokenizer, or a damaged part.
    """
    if directory.checkpoint.exists():
        tokenizer, model, _ = load_model(directory, device)
    else:
        tokenizer, model = TxTokenizer.load(directory.tokenizer), None
    transactions = sample(shards, count)
    chains = [transaction.chain for transaction in transactions]
    sequences = [tokenizer.encode(transaction) for transaction in transactions]
    if model is None:
        return balance(sequences, unigram_bits(sequences, tokenizer.shape, chains), chains), UNIGRAM
    everything = [replace(one, scored=np.ones(len(one), dtype=np.bool_)) for one in sequences]
    with progress("balance (tokens)", None) as bar:
        losses = token_losses(model, everything, ScoreConfig(expected=1), progress=bar.to)
    return balance(sequences, [loss.surprise / math.log(2) for loss in losses], chains), MODEL


def to_dict(balances: Sequence[ChainBalance], measure: str) -> dict[str, object]:
    """Everything, for `--json`."""
    return {"measure": measure, "chains": [asdict(one) for one in balances]}


def render(balances: Sequence[ChainBalance], measure: str) -> Group:
    """One table per chain: modalities, each with its fields."""
    return Group(*[_table(one, measure) for one in balances])


def _table(one: ChainBalance, measure: str) -> Table:
    title = (
        f"{one.chain}: {one.transactions:,} transactions, {one.tokens / one.transactions:,.1f} tokens and "
        f"{one.bits / one.transactions:,.0f} bits each ({measure})"
    )
    table = Table(title=plain(title), title_justify="left")
    for column in ("modality", "field", "tokens", "information", "bits a token", "scored"):
        table.add_column(column, justify="left" if column in ("modality", "field") else "right")
    for whole in one.modalities:
        table.add_row(*_cells(whole, whole.modality, "all"), style="bold")
        for part in one.fields:
            if part.modality == whole.modality:
                table.add_row(*_cells(part, "", part.field))
    return table


def _cells(share: Share, modality: str, field: str) -> tuple[str, ...]:
    per_token = share.bits / share.tokens
    figures = (
        f"{share.token_share:.1%}",
        f"{share.bit_share:.1%}",
        f"{per_token:.2f}",
        f"{share.scored:.0%}",
    )
    return modality, field, *figures
