"""Our tokens beside those of the published tokenizer, on the same transactions.

    python tests/benchmarks/token_schemes.py                        # the recorded chain of the demo
    python tests/benchmarks/token_schemes.py --archive ARCHIVE --steps 1000

Both tokenizers are fitted on the first 95 % of the transactions (in time order) with room for as many whole
addresses, and the same small model is trained on each for the same number of steps of as many tokens. Bits
per transaction are the validation loss times the tokens of the held-out 5 %. Prints, asserts nothing.
"""

import argparse
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch

from blockscan.chains.rpc import EthereumNode
from blockscan.chains.transport import Endpoint
from blockscan.config import Config, TokenizerConfig, TrainConfig
from blockscan.tokens import Modality, TokenSequence, VocabularyShape
from blockscan.transaction import Transaction
from pipelines.commands import shards_of
from pipelines.ingest import ingest_node
from pipelines.pretrain import pretrain
from pipelines.ranges import BlockRange
from pipelines.simulation import replay
from pipelines.sources import read_transactions, time_order
from tokenizer.canonical import cut
from tokenizer.linearize import linearize
from tokenizer.published import PublishedTokenizer
from tokenizer.txtokenizer import TxTokenizer
from tokenizer.words import word_classifier

RECORDING = Path(replay.__file__).parent / "recording"
HELD_OUT = 20
KEPT_DIGITS = 3
PUBLISHED_LENGTH = 1024
"""Tokens after which the published Ethereum model cuts a transaction off."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One tokenizer: what it made of all transactions, and the values that it lost of them."""

    name: str
    shape: VocabularyShape
    sequences: list[TokenSequence]
    lost: Counter[Modality]
    seconds: float


def transactions_of(archive: Path | None, most: int) -> list[Transaction]:
    """The first `most` transactions in time order, of an archive or of the recorded chain."""
    with tempfile.TemporaryDirectory() as scratch:
        if archive is None:
            archive = Path(scratch) / "archive"
            with replay.serve(RECORDING) as url:
                ingest_node(EthereumNode(Endpoint(url)), BlockRange(1, None), archive)
        shards, _ = shards_of(archive, None)
        found = {each.hash: each for each in read_transactions(shards)}
    return sorted(found.values(), key=time_order)[:most]


def scheme(
    name: str,
    tokenizer: TxTokenizer | PublishedTokenizer,
    transactions: Sequence[Transaction],
) -> Scheme:
    """Encode everything, and count what is lost."""
    begin = time.perf_counter()
    sequences = [tokenizer.encode(each) for each in transactions]
    seconds = time.perf_counter() - begin
    lost = sum((tokenizer.lost(each) for each in transactions), Counter[Modality]())
    return Scheme(name, tokenizer.shape, sequences, lost, seconds)


def alias_bits(sequences: Sequence[TokenSequence], shape: VocabularyShape) -> float:
    """Bits that say which alias each one is, at most: log2 of the names used so far and a new one.

    The loss asks for the span of all aliases only, so these come on top of it.
    """
    bits = 0.0
    for sequence in sequences:
        for start, stop in shape.alias_spans:
            own = sequence.ids[(sequence.ids >= start) & (sequence.ids < stop)].tolist()
            seen: set[int] = set()
            for one in own:
                bits += math.log2(len(seen) + 1)
                seen.add(one)
    return bits


def digit_bits(transactions: Sequence[Transaction]) -> float:
    """Bits of the digits that our numbers lose, if all of them were chance; equal numbers count once.

    Once per transaction, since equal numbers share a group.
    """
    classify, bits = word_classifier(frozenset()), 0.0
    for transaction in transactions:
        values = linearize(transaction.root, classify).values
        sizes = {
            abs(content) for _, content in values if isinstance(content, int) and cut(content) != content
        }
        bits += sum((len(str(size)) - KEPT_DIGITS) * math.log2(10) for size in sizes)
    return bits


def validation_bits(one: Scheme, steps: int, batch_tokens: int) -> float:
    """Bits per hidden token of the held-out transactions, after training."""
    train = TrainConfig(steps=steps, batch_tokens=batch_tokens, checkpoint_every=steps)
    config = replace(Config(), train=train)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "checkpoint"
        done = pretrain(one.sequences, one.shape, config=config, out=out, tokenizer_fingerprint=one.name)
    if done.validation is None:
        sys.exit("too few transactions to hold some out; give at least 20")
    return done.validation / math.log(2)


def report(one: Scheme, steps: int, batch_tokens: int) -> None:
    """Measure one scheme and print it."""
    lengths = np.array([len(sequence) for sequence in one.sequences])
    held = one.sequences[len(one.sequences) - len(one.sequences) // HELD_OUT :]
    values = sum(int(sequence.unit[-1]) + 1 for sequence in one.sequences)
    lost = sum(one.lost.values())
    detail = ", ".join(
        f"{count:,} {modality.name.lower()}" for modality, count in sorted(one.lost.items()) if count
    )
    mean = float(np.mean([len(sequence) for sequence in held]))
    cut = float((lengths - np.minimum(lengths, PUBLISHED_LENGTH)).sum() / lengths.sum())
    print(f"\n{one.name}: vocabulary {one.shape.size:,}, {len(one.sequences) / one.seconds:,.0f} tx/s")
    print(f"  tokens per transaction   mean {lengths.mean():,.1f}", end="")
    print(f", p50 {np.quantile(lengths, 0.5):,.0f}, p90 {np.quantile(lengths, 0.9):,.0f}", end="")
    print(f"; {cut:.1%} of the tokens lie beyond {PUBLISHED_LENGTH:,}")
    print(f"  values lost              {lost:,} of {values:,} ({lost / values:.1%}): {detail}")
    if not steps:
        return
    bits = validation_bits(one, steps, batch_tokens)
    aliases = alias_bits(held, one.shape) / len(held)
    print(f"  bits per token           {bits:.3f}")
    print(f"  bits per transaction     {bits * mean:,.1f} ({mean:,.1f} tokens, held out)", end="")
    print(f"; with the names of aliases at most {bits * mean + aliases:,.1f}" if aliases else "")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--transactions", type=int, default=10_000, help="the first so many")
    parser.add_argument("--addresses", type=int, default=7_000, help="whole addresses (and hashes)")
    parser.add_argument("--vocabulary", type=int, default=30_000, help="of the published tokenizer")
    parser.add_argument("--steps", type=int, default=400, help="0 trains nothing")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    given = parser.parse_args()
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    print(f"commit {commit}, {platform.machine()}, {torch.get_num_threads()} threads", end="")
    transactions = transactions_of(given.archive, given.transactions)
    past = transactions[: len(transactions) - len(transactions) // HELD_OUT]
    print(f"; {len(transactions):,} transactions, {given.steps:,} steps of {given.batch_tokens:,} tokens")
    fits: dict[str, Callable[[], TxTokenizer | PublishedTokenizer]] = {
        "published": lambda: PublishedTokenizer.fit(
            past, whole_values=given.addresses, vocabulary=given.vocabulary
        ),
        "blockscan": lambda: TxTokenizer.fit(past, TokenizerConfig(addresses=given.addresses)),
    }
    for name, fit in fits.items():
        report(scheme(name, fit(), transactions), given.steps, given.batch_tokens)
    held = transactions[len(past) :]
    digits = digit_bits(held) / max(len(held), 1)
    print(f"  bits of the digits cut   at most {digits:,.1f} per transaction more, held out")


if __name__ == "__main__":
    main()
