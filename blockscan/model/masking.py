"""Which tokens are hidden: whole values, at random in training, in disjoint fixed folds when scoring.

Legend: T tokens, M hidden tokens, J judged tokens, U values (units), N windows, S sequences, A ids of an
alias span.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blockscan.config import TrainConfig
from blockscan.model.batch import (
    Cut,
    PackedBatch,
    WindowTable,
    cut_windows,
    epoch_batches,
    pack,
    sorted_batches,
    window_table,
)
from blockscan.model.corruption import corrupt
from blockscan.tokens import TokenSequence, VocabularyShape


@dataclass(frozen=True, slots=True)
class Example:
    """A batch with some values hidden. place_M, target_M int64: where, and what they were.

    judged_J int64, label_J float32: the tokens of the windows that it holds a second time, with nothing
    hidden but some replaced, and 1 for those that are, 0 for the real ones; both empty where the
    replaced-token loss is off.
    """

    batch: PackedBatch
    place_M: Tensor
    target_M: Tensor
    judged_J: Tensor
    label_J: Tensor

    @property
    def text_tokens(self) -> int:
        """Tokens of the batch, each counted once."""
        return len(self.batch.ids_T) - len(self.label_J)


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


def fold_of_tokens(sequence: TokenSequence, folds: int, *, asked_T: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The fold that hides each token, int64 (T,), below `folds`; -1 where none does.

    Hidden are the values with a token in `asked_T`, and all their tokens. They are ranked by a hash of
    (tx_hash, unit), and the rank modulo `folds` is the fold: each value lies in exactly one, and the folds
    hold equally many values, give or take one.
    """
    units = int(sequence.unit.max(initial=-1)) + 1
    # SHAKE-256 is an extendable-output function: eight bytes for each unit from one call.
    stream = hashlib.shake_256(sequence.tx_hash.encode("utf-8", "surrogatepass")).digest(8 * units)
    asked_U = np.unique(sequence.unit[asked_T])
    ranked_U = asked_U[np.argsort(np.frombuffer(stream, dtype="<u8")[asked_U], kind="stable")]
    fold_U = np.full(units, -1, dtype=np.int64)
    fold_U[ranked_U] = np.arange(len(ranked_U)) % folds
    return fold_U[sequence.unit]


def alias_orders(
    shape: VocabularyShape, sequences: int, rng: np.random.Generator
) -> list[NDArray[np.unsignedinteger]]:
    """For each alias span, one permutation of its ids per sequence, counted from its start: (S, A).

    Of the smallest type that holds them: there are as many as transactions.
    """
    orders = []
    for start, stop in shape.alias_spans:
        kind = np.min_scalar_type(stop - start - 1)
        order_SA = np.tile(np.arange(stop - start, dtype=kind), (sequences, 1))
        orders.append(rng.permuted(order_SA, axis=1, out=order_SA))
    return orders


def rename_aliases(
    ids_T: NDArray[np.int32],
    sequence_T: NDArray[np.int64],
    shape: VocabularyShape,
    orders: Sequence[NDArray[np.unsignedinteger]],
) -> NDArray[np.int32]:
    """Replace alias ids by the permutation of their own sequence; other ids stay."""
    renamed_T = ids_T.copy()
    for (start, stop), order_SA in zip(shape.alias_spans, orders, strict=True):
        inside = np.flatnonzero((ids_T >= start) & (ids_T < stop))
        renamed_T[inside] = order_SA[sequence_T[inside], ids_T[inside] - start]
        renamed_T[inside] += start
    return renamed_T


def training_examples(
    table: WindowTable,
    vocabulary: VocabularyShape,
    config: TrainConfig,
    *,
    first: int = 0,
    every: int = 1,
    landmarks: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Example]:
    """Training batches for ever, each `every`-th from batch `first` on; batch n is a function of seed and n.

    Every epoch shows each window once, in a new order and under new alias names (the same in all windows
    of a transaction); with a `replaced_weight` each batch shows it once more, corrupted.
    """
    count = 0
    orders: list[NDArray[np.unsignedinteger]] = []
    for epoch in itertools.count():
        rng = np.random.default_rng([config.seed, 0, epoch])
        orders.clear()  # before there are new ones: nothing here takes more memory
        orders = alias_orders(vocabulary, int(table.sequence_W.max()) + 1, rng)
        for chosen_N in epoch_batches(table.length_W, config.batch_tokens, rng):
            count += 1
            if count <= first or (count - 1 - first) % every:
                continue
            cut = cut_windows(table, chosen_N)
            sequence_T = table.sequence_W[chosen_N][cut.segment_T]
            ids_T = rename_aliases(table.ids_T[cut.place_T], sequence_T, vocabulary, orders)
            mask_rng = np.random.default_rng([config.seed, 1, count])
            hidden_T = random_mask(cut.segment_T, table.unit_T[cut.place_T], config.mask_rate, mask_rng)
            if not config.replaced_weight:
                batch = pack(table, cut, hidden_T, ids_T=ids_T, landmarks=landmarks, device=device)
                yield _example(batch, ids_T, hidden_T)
                continue
            corrupt_rng = np.random.default_rng([config.seed, 2, count])
            other, label_T = corrupt(table, cut, ids_T, vocabulary, corrupt_rng)
            both = _beside(table, cut, ids_T, other)
            # By length, so that the sdpa kernel takes equal ones in one call.
            cut = cut_windows(both, np.argsort(both.length_W, kind="stable"))
            hidden_T = np.concatenate((hidden_T, np.zeros_like(label_T)))[cut.place_T]
            corrupted_T = cut.place_T >= len(ids_T)
            label_T = np.concatenate((np.zeros(len(ids_T), dtype=np.bool_), label_T))[cut.place_T]
            batch = pack(both, cut, hidden_T, landmarks=landmarks, device=device)
            yield _example(batch, both.ids_T[cut.place_T], hidden_T, corrupted_T, label_T)


def _beside(table: WindowTable, cut: Cut, ids_T: NDArray[np.int32], other: WindowTable) -> WindowTable:
    """The windows of a cut, under other ids, and those of another table."""
    begin_N = np.cumsum(cut.length_N) - cut.length_N
    window_N = np.arange(len(begin_N))
    place_T = cut.place_T
    return WindowTable(
        np.concatenate((ids_T, other.ids_T)),
        np.concatenate((table.modality_T[place_T], other.modality_T)),
        np.concatenate((table.field_T[place_T], other.field_T)),
        np.concatenate((table.depth_T[place_T], other.depth_T)),
        np.concatenate((table.node_T[place_T], other.node_T)),
        np.concatenate((table.group_T[place_T], other.group_T)),
        np.concatenate((table.unit_T[place_T], other.unit_T)),
        np.concatenate((begin_N, other.start_W + len(ids_T))),
        np.concatenate((cut.length_N, other.length_W)),
        np.concatenate((window_N, other.sequence_W + len(begin_N))),
        np.concatenate((np.zeros_like(window_N), other.index_W)),
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
    """Validation batches, always the same: of a few folds as many are hidden as the mask rate says, about."""
    table = window_table(sequences, longest, vocabulary)
    share = _share(config.mask_rate)
    fold_T = np.concatenate(
        [
            fold_of_tokens(one, share.denominator, asked_T=np.ones(len(one), dtype=np.bool_))
            for one in sequences
        ]
    )
    order_W = np.argsort(table.length_W, kind="stable")
    for rows in sorted_batches(table.length_W[order_W], config.batch_tokens):
        cut = cut_windows(table, order_W[rows])
        hidden_T = fold_T[cut.place_T] < share.numerator
        if hidden_T.any():
            yield _example(
                pack(table, cut, hidden_T, landmarks=landmarks, device=device),
                table.ids_T[cut.place_T],
                hidden_T,
            )


def _share(rate: float) -> Fraction:
    """Hidden folds of all folds, near a rate above 0: so many folds that neither none nor all are hidden."""
    rarer = min(rate, 1.0 - rate) or 1.0
    return Fraction(rate).limit_denominator(max(5, round(1 / rarer)))


def _example(
    batch: PackedBatch,
    ids_T: NDArray[np.int32],
    hidden_T: NDArray[np.bool_],
    judged_T: NDArray[np.bool_] | None = None,
    label_T: NDArray[np.bool_] | None = None,
) -> Example:
    device = batch.ids_T.device
    place_M = np.flatnonzero(hidden_T)
    target_M = ids_T[place_M].astype(np.int64)
    judged_J = np.empty(0, dtype=np.int64) if judged_T is None else np.flatnonzero(judged_T)
    label_J = (np.empty(0) if label_T is None else label_T[judged_J]).astype(np.float32)
    arrays = place_M, target_M, judged_J, label_J
    return Example(batch, *(torch.from_numpy(each).to(device) for each in arrays))
