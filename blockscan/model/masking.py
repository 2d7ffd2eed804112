"""Which tokens are hidden: whole values, at random in training, in disjoint fixed folds when scoring.

Legend: T tokens, M hidden tokens, U values (units), N windows, S sequences, A ids of an alias span.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blockscan.config import TrainConfig
from blockscan.model.batch import (
    PackedBatch,
    WindowTable,
    cut_windows,
    epoch_batches,
    pack,
    sorted_batches,
    window_table,
)
from blockscan.tokens import TokenSequence, VocabularyShape


@dataclass(frozen=True, slots=True)
class Example:
    """A batch with some values hidden. place_M, target_M int64: where, and what they were."""

    batch: PackedBatch
    place_M: Tensor
    target_M: Tensor


def random_mask(
    segment_T: NDArray[np.int64], unit_T: NDArray[np.int32], rate: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Hide `rate` of the values of each segment, at least one; all pieces of a value go together."""
    span = int(unit_T.max(initial=0)) + 1
    keys_U, unit_of_T = np.unique(segment_T * span + unit_T, return_inverse=True)
    segment_U = keys_U // span
    order_U = np.lexsort((rng.random(len(keys_U)), segment_U))
    count_N = np.bincount(segment_U)
    first_N = np.cumsum(count_N) - count_N
    rank_U = np.empty(len(keys_U), dtype=np.int64)
    rank_U[order_U] = np.arange(len(keys_U)) - first_N[segment_U]
    hidden_U: NDArray[np.bool_] = rank_U < np.maximum(1, np.rint(rate * count_N))[segment_U]
    hidden_T: NDArray[np.bool_] = hidden_U[unit_of_T]
    return hidden_T


def fold_of_tokens(sequence: TokenSequence, folds: int) -> NDArray[np.int64]:
    """The fold that hides each token, int64 (T,), below `folds`: a function of the sequence alone.

    The values of a transaction are ranked by a hash of (tx_hash, unit), and the rank modulo `folds` is the
    fold: each value lies in exactly one, and the folds hold equally many values, give or take one.
    """
    units = int(sequence.unit.max(initial=-1)) + 1
    # SHAKE-256 is an extendable-output function: eight bytes for each unit from one call.
    stream = hashlib.shake_256(sequence.tx_hash.encode("utf-8", "surrogatepass")).digest(8 * units)
    fold_U = np.empty(units, dtype=np.int64)
    fold_U[np.argsort(np.frombuffer(stream, dtype="<u8"), kind="stable")] = np.arange(units) % folds
    return fold_U[sequence.unit]


def alias_orders(shape: VocabularyShape, sequences: int, rng: np.random.Generator) -> list[NDArray[np.int32]]:
    """For each alias span, one permutation of its ids per sequence: int32 (S, A)."""
    return [
        rng.permuted(np.tile(np.arange(start, stop, dtype=np.int32), (sequences, 1)), axis=1)
        for start, stop in shape.alias_spans
    ]


def rename_aliases(
    ids_T: NDArray[np.int32],
    sequence_T: NDArray[np.int64],
    shape: VocabularyShape,
    orders: Sequence[NDArray[np.int32]],
) -> NDArray[np.int32]:
    """Replace alias ids by the permutation of their own sequence; other ids stay."""
    renamed_T = ids_T.copy()
    for (start, stop), order_SA in zip(shape.alias_spans, orders, strict=True):
        inside = np.flatnonzero((ids_T >= start) & (ids_T < stop))
        renamed_T[inside] = order_SA[sequence_T[inside], ids_T[inside] - start]
    return renamed_T


def training_examples(
    table: WindowTable,
    vocabulary: VocabularyShape,
    config: TrainConfig,
    *,
    first: int = 0,
    landmarks: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Example]:
    """Training batches for ever, from batch `first` on; batch n is a function of the seed and n.

    Every epoch shows each window once, in a new order and under new alias names (the same in all windows
    of a transaction).
    """
    count = 0
    for epoch in itertools.count():
        rng = np.random.default_rng([config.seed, 0, epoch])
        orders = alias_orders(vocabulary, int(table.sequence_W.max()) + 1, rng)
        for chosen_N in epoch_batches(table.length_W, config.batch_tokens, rng):
            count += 1
            if count <= first:
                continue
            cut = cut_windows(table, chosen_N)
            sequence_T = table.sequence_W[chosen_N][cut.segment_T]
            ids_T = rename_aliases(table.ids_T[cut.place_T], sequence_T, vocabulary, orders)
            mask_rng = np.random.default_rng([config.seed, 1, count])
            hidden_T = random_mask(cut.segment_T, table.unit_T[cut.place_T], config.mask_rate, mask_rng)
            yield _example(
                pack(table, cut, hidden_T, ids_T=ids_T, landmarks=landmarks, device=device), ids_T, hidden_T
            )


def fixed_examples(
    sequences: Sequence[TokenSequence],
    longest: int,
    vocabulary: VocabularyShape,
    config: TrainConfig,
    *,
    landmarks: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Example]:
    """Validation batches: one fold of as many as make its share about the mask rate; always the same."""
    table = window_table(sequences, longest, vocabulary)
    folds = max(1, round(1 / config.mask_rate))
    fold_T = np.concatenate([fold_of_tokens(sequence, folds) for sequence in sequences])
    order_W = np.argsort(table.length_W, kind="stable")
    for rows in sorted_batches(table.length_W[order_W], config.batch_tokens):
        cut = cut_windows(table, order_W[rows])
        hidden_T = fold_T[cut.place_T] == 0
        if hidden_T.any():
            yield _example(
                pack(table, cut, hidden_T, landmarks=landmarks, device=device),
                table.ids_T[cut.place_T],
                hidden_T,
            )


def _example(batch: PackedBatch, ids_T: NDArray[np.int32], hidden_T: NDArray[np.bool_]) -> Example:
    device = batch.ids_T.device
    place_M = np.flatnonzero(hidden_T)
    target_M = ids_T[place_M].astype(np.int64)
    return Example(batch, torch.from_numpy(place_M).to(device), torch.from_numpy(target_M).to(device))
