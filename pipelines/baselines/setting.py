"""What every baseline is: named columns, and a function from unlabelled transactions to a score.

There is no parameter through which a label could enter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blockscan.config import Config
from blockscan.tokens import TokenSequence, VocabularyShape
from blockscan.transaction import Transaction


class Tokenizer(Protocol):
    """What a baseline needs of a tokenizer, ours or another."""

    @property
    def shape(self) -> VocabularyShape:
        """What a model needs to know of the vocabulary."""
        ...

    def encode(self, transaction: Transaction) -> TokenSequence:
        """The tokens of one transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What a baseline is fitted with besides the transactions.

    config: neural baselines take their size from `model`, and their steps, batches and rates from `train`,
    the same preset as BlockScan's, so that the figures compare methods and not budgets. rng: all of a
    baseline's randomness, in fitting and in scoring. on_step: told (done, all) of long training.
    """

    tokenizer: Tokenizer
    rng: np.random.Generator
    config: Config
    device: str = "cpu"
    on_step: Callable[[int, int], None] | None = None


Score: TypeAlias = Callable[[Sequence[Transaction]], NDArray[np.float64]]
"""Transactions (at least one) to values (N, columns), higher = more anomalous.

A value depends on its own transaction alone, but for rounding in batches.
"""

Fit: TypeAlias = Callable[[Sequence[Transaction], Setting], Score]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A family of baselines that are fitted together.

    columns: what `fit`'s score gives, in order. evm_only: it cannot read other chains.
    """

    columns: tuple[str, ...]
    fit: Fit
    evm_only: bool = False


def sample(matrix: NDArray[np.float64], most: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """At most `most` rows of a matrix (N, F), drawn without replacement, in their order."""
    if len(matrix) <= most:
        return matrix
    return matrix[np.sort(rng.choice(len(matrix), most, replace=False))]
