"""What calibration notes of transactions as they pass: facts, contracts, how many make a day.

From the last an alarm level follows for a budget of alerts.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockscan.archive import Archive, covered_ranges
from blockscan.chains.families import main_target
from blockscan.chains.networks import NETWORKS
from blockscan.detect.accounts import actor_of
from blockscan.detect.books import Books
from blockscan.detect.dealings import Dealing, dealing_in, dealings_facts
from blockscan.detect.facts import FACTS, fact_values, facts_of
from blockscan.detect.history import History, latest
from blockscan.detect.levels import Traffic, level_for, transactions_needed
from blockscan.errors import ConfigError
from blockscan.transaction import Transaction
from pipelines.labels import hash_key
from pipelines.sources import Shard

DAY = 86_400

Blocks = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Target:
    """Which false alarms are accepted: a share of the benign transactions, or alerts a day.

    `transactions_per_day` overrules what is measured.

    Raises:
        ConfigError: both targets are given, or one that no data can support.
    """

    fpr: float | None = None
    alerts_per_day: float | None = None
    transactions_per_day: float | None = None

    def __post_init__(self) -> None:
        """Refuse at once what would else be refused after everything has been scored."""
        if self.fpr is not None and self.alerts_per_day is not None:
            raise ConfigError("--fpr and --alerts-per-day are two ways to say one thing; give one of them")
        if self.fpr is not None:
            transactions_needed(self.fpr)
        if self.transactions_per_day is not None and not 0 < self.transactions_per_day < math.inf:
            raise ConfigError(f"{self.transactions_per_day:g} transactions a day is no number above 0")
        if self.alerts_per_day is not None:
            level_for(self.alerts_per_day, self.transactions_per_day or math.inf)

    def level(self, traffic: Traffic, *, otherwise: float) -> float:
        """The alarm level; `otherwise` where no target is given.

        Raises:
            ConfigError: traffic is needed and not known, or it is less than the alerts wanted.
        """
        if self.alerts_per_day is None:
            return otherwise if self.fpr is None else self.fpr
        if not traffic.per_day:
            raise ConfigError(
                "the calibration data do not say how many transactions make a day: they have no timestamps, "
                "and no block numbers of a known chain; give --transactions-per-day N, or --fpr SHARE"
            )
        return level_for(self.alerts_per_day, sum(traffic.per_day.values()))


@dataclass(slots=True)
class Census:
    """Notes the transactions that pass: by key facts (F,), dealing, contract and account.

    `fitted` is the last block by chain that the tokenizer was fitted on, where that is known; `firsts` the
    first one noted.
    """

    history: History
    fitted: Mapping[str, int] = field(default_factory=dict)
    facts: dict[tuple[str, str], NDArray[np.float64]] = field(default_factory=dict)
    dealings: dict[tuple[str, str], Dealing] = field(default_factory=dict)
    contracts: dict[tuple[str, str], str] = field(default_factory=dict)
    accounts: dict[tuple[str, str], tuple[str | None, int | None]] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    chains: set[str] = field(default_factory=set)
    _places: set[tuple[int | None, int | None]] = field(default_factory=set)
    firsts: dict[str, int] = field(default_factory=dict)

    def watching(self, shards: Sequence[Shard], exclude: Collection[str] = ()) -> list[Shard]:
        """The same shards; transactions but those excluded are noted as they are read, in this process."""
        return [self._watched(shard, exclude) for shard in shards]

    def _watched(self, shard: Shard, exclude: Collection[str]) -> Shard:
        def read() -> Iterator[Transaction]:
            for transaction in shard.read():
                if hash_key(transaction.hash) not in exclude:
                    self._note(transaction)
                yield transaction

        return Shard(shard.name, read, shard.rows)

    def _note(self, transaction: Transaction) -> None:
        if transaction.key not in self.contracts:
            self.facts[transaction.key] = fact_values(facts_of(transaction, self.history))
            self.dealings[transaction.key] = dealing_in(transaction, self.history)
            self.contracts[transaction.key] = main_target(transaction) or ""
            account = actor_of(transaction.chain, transaction.sender, transaction.root.target)
            self.accounts[transaction.key] = account, transaction.time
            self.sources[transaction.source.value] += 1
            self.chains.add(transaction.chain)
            self._places.add((transaction.block_number, transaction.time))
            if transaction.block_number is not None:
                first = self.firsts.get(transaction.chain, transaction.block_number)
                self.firsts[transaction.chain] = min(first, transaction.block_number)

    def require_later(self) -> None:
        """Refuse transactions of blocks that the past was counted in: to those a model is too kind.

        Those of the tokenizer's past as well: their names are in the vocabulary, those of live traffic not.

        Raises:
            ConfigError: some lie there; it says where training ends.
        """
        for chain, until in latest(self.history.until, self.fitted).items():
            first = self.firsts.get(chain, until + 1)
            if first <= until:
                trained = until == self.history.until.get(chain)
                what = "model was trained on or has counted" if trained else "tokenizer was fitted on"
                raise ConfigError(
                    f"{chain}: block {first:,} is not later than block {until:,}, the last the {what}; "
                    f"calibrate on later ones: --blocks {until + 1}:"
                )

    def facts_after(
        self, key: tuple[str, str], earlier: Sequence[Dealing], books: Books
    ) -> NDArray[np.float64]:
        """The facts (F,) of a transaction, with what it shows together with earlier ones; it is entered.

        Args:
            key: chain and hash.
            earlier: what its account did in the last minutes, oldest first.
            books: of all transactions before.
        """
        found, dealing = self.facts[key].copy(), self.dealings[key]
        for name, fact in dealings_facts(earlier, dealing, books).items():
            found[FACTS.index(name)] = fact.value
        books.add(dealing)
        return found

    def traffic(self, covered: Blocks, *, transactions_per_day: float | None = None) -> Traffic:
        """Transactions a day by source, and the blocks they lie in.

        Args:
            covered: inclusive block ranges that are here in full; empty where that is not known, then
                everything between the first and the last transaction counts as covered.
            transactions_per_day: of all sources, if known from elsewhere.
        """
        numbers = [number for number, _ in self._places if number is not None]
        blocks = (min(numbers), max(numbers)) if numbers else None
        if transactions_per_day is not None:
            days = sum(self.sources.values()) / transactions_per_day
        else:
            days = self._seconds(covered) / DAY
        per_day = {source: count / days for source, count in sorted(self.sources.items())} if days > 0 else {}
        return Traffic(blocks, per_day)

    def _seconds(self, covered: Blocks) -> float:
        """Covered time; 0 where it is not known.

        Blocks that are missing in between have their share of the time between first and last.
        """
        dated = sorted((time, number) for number, time in self._places if time is not None)
        numbers = sorted({number for number, _ in self._places if number is not None})
        span = float(dated[-1][0] - dated[0][0]) if len(dated) == len(self._places) and dated else 0.0
        if len(numbers) < 2 or any(number is None for number, _ in self._places):
            return span
        between = numbers[-1] - numbers[0]
        per_block = span / between if span else self._usual_seconds()
        return per_block * (_overlap(covered, numbers[0], numbers[-1]) if covered else between + 1)

    def _usual_seconds(self) -> float:
        known = {network.name: network.block_seconds for network in NETWORKS.values()}
        return known.get(next(iter(self.chains)), 0.0) if len(self.chains) == 1 else 0.0


def covered_blocks(source: Path) -> list[tuple[int, int]]:
    """Inclusive ranges of the blocks that an archive holds in full; empty for records and files."""
    if not source.is_dir():
        return []
    return covered_ranges((part.first, part.last) for part in Archive(source).parts() if not part.input)


def _overlap(ranges: Blocks, first: int, last: int) -> int:
    return sum(max(0, min(b, last) - max(a, first) + 1) for a, b in ranges)
