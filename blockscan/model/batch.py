"""Windows of many transactions as flat arrays, and the unpadded batches that are cut from them.

Legend: T tokens, W windows (segments) of a table, N of them in one batch.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blockscan.corpus import COLUMNS, Corpus
from blockscan.errors import ConfigError
from blockscan.model.attention import Layout, layout_of
from blockscan.model.tree_bias import lca_factors
from blockscan.tokens import MASK_ID, TokenSequence, VocabularyShape, windows

BUFFER = 4096  # windows that are packed together
PACKING = 2
"""Version of the batches that `epoch_batches` makes of the same windows and seed: a training does not change
it on the way."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Segments one after the other, without padding; tensors of shape (T,), int64.

    ids_T: vocabulary ids, MASK_ID where hidden. field_T, depth_T, group_T: as in TokenSequence.
    position_T: place within the segment, from 0. lca_TL: see tree_bias.lca_factors, if the model uses it.
    """

    ids_T: Tensor
    field_T: Tensor
    depth_T: Tensor
    group_T: Tensor
    position_T: Tensor
    layout: Layout
    lca_TL: Tensor | None = None


@dataclass(frozen=True, slots=True)
class WindowTable:
    """Every window of some sequences. Token arrays are the sequences end to end, those of a Corpus as stored.

    start_W, length_W: the tokens of a window. sequence_W: index of its sequence. index_W: its place there.
    The windows of a sequence follow each other.
    node_T and unit_T count from 0 within each sequence.
    """

    ids_T: NDArray[np.int32]
    modality_T: NDArray[np.uint8]
    field_T: NDArray[np.uint8]
    depth_T: NDArray[np.int16]
    node_T: NDArray[np.int32]
    group_T: NDArray[np.int32]
    unit_T: NDArray[np.int32]
    start_W: NDArray[np.int64]
    length_W: NDArray[np.int64]
    sequence_W: NDArray[np.int64]
    index_W: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cut:
    """Tokens of the windows window_N: place_T in the table's arrays, segment_T counts the windows from 0."""

    window_N: NDArray[np.int64]
    place_T: NDArray[np.int64]
    segment_T: NDArray[np.int64]
    position_T: NDArray[np.int64]
    length_N: NDArray[np.int64]


def window_table(
    sequences: Sequence[TokenSequence], longest: int, vocabulary: VocabularyShape
) -> WindowTable:
    """Cut sequences (at least one) into windows of at most `longest` tokens; empty ones give none.

    Raises:
        ConfigError: an id is outside the vocabulary, or is one that a tokenizer never writes.
    """
    if isinstance(sequences, Corpus):
        begin_S = sequences.rows_S["begin"]
        columns = {name: sequences.tokens_T[name] for name in COLUMNS}
    else:
        begin_S = np.cumsum([0] + [len(sequence) for sequence in sequences])
        columns = {name: np.concatenate([getattr(each, name) for each in sequences]) for name in COLUMNS}
    rows = (
        (int(begin) + cut.start, cut.stop - cut.start, which, index)
        for which, (sequence, begin) in enumerate(zip(sequences, begin_S, strict=False))
        for index, cut in enumerate(windows(sequence, longest))
        if cut.stop > cut.start
    )
    start_W, length_W, sequence_W, index_W = np.fromiter(rows, dtype=(np.int64, 4)).T
    ids_T = columns["ids"]
    if len(ids_T) and not MASK_ID < ids_T.min() <= ids_T.max() < vocabulary.size:
        raise ConfigError(
            f"token ids run from {ids_T.min()} to {ids_T.max()}, but the vocabulary from {MASK_ID + 1} to "
            f"{vocabulary.size - 1}; encode the transactions with the tokenizer of this model"
        )
    return WindowTable(
        **{f"{name}_T": column for name, column in columns.items() if name != "scored"},
        start_W=start_W,
        length_W=length_W,
        sequence_W=sequence_W,
        index_W=index_W,
    )


def content_digest(sequence: TokenSequence) -> bytes:
    """BLAKE2b (16 bytes) of all that the model is given of a sequence."""
    digest = hashlib.blake2b(sequence.tx_hash.encode("utf-8", "surrogatepass"), digest_size=16)
    for array in (
        sequence.ids,
        sequence.field,
        sequence.depth,
        sequence.node,
        sequence.unit,
        sequence.group,
        sequence.scored,
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def canonical_order(table: WindowTable, sequences: Sequence[TokenSequence]) -> NDArray[np.int64]:
    """All windows by length, then by `canonical_ranks` of their sequences, then by their place in these."""
    rank_S = canonical_ranks(sequences)
    return np.lexsort((table.index_W, rank_S[table.sequence_W], table.length_W))


def canonical_ranks(sequences: Sequence[TokenSequence]) -> NDArray[np.int64]:
    """Place of each sequence when sorted by hash, then by content: the same in whatever order they come."""
    order_S = sorted(
        range(len(sequences)), key=lambda which: (sequences[which].tx_hash, content_digest(sequences[which]))
    )
    rank_S = np.empty(len(sequences), dtype=np.int64)
    rank_S[order_S] = np.arange(len(sequences))
    return rank_S


def cut_windows(table: WindowTable, chosen_N: NDArray[np.int64]) -> Cut:
    """The tokens of the chosen windows, in that order."""
    length_N = table.length_W[chosen_N]
    begin_N = np.cumsum(length_N) - length_N
    segment_T = np.repeat(np.arange(len(chosen_N)), length_N)
    position_T = np.arange(int(length_N.sum())) - begin_N[segment_T]
    return Cut(chosen_N, table.start_W[chosen_N][segment_T] + position_T, segment_T, position_T, length_N)


def pack(
    table: WindowTable,
    cut: Cut,
    hidden_T: NDArray[np.bool_],
    *,
    ids_T: NDArray[np.int32] | None = None,
    landmarks: int = 0,
    device: torch.device | str = "cpu",
) -> PackedBatch:
    """A batch of the cut's windows with the hidden tokens replaced by MASK_ID.

    `ids_T` replaces the table's ids (training renames aliases); `landmarks` is the model's `lca_bias`.
    """
    visible_T = table.ids_T[cut.place_T] if ids_T is None else ids_T

    def tensor(array: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(device)

    return PackedBatch(
        tensor(np.where(hidden_T, MASK_ID, visible_T)),
        tensor(table.field_T[cut.place_T]),
        tensor(table.depth_T[cut.place_T]),
        tensor(table.group_T[cut.place_T]),
        tensor(cut.position_T),
        layout_of(cut.length_N.tolist(), device),
        _lca(table, cut, landmarks).to(device) if landmarks else None,
    )


def _lca(table: WindowTable, cut: Cut, landmarks: int) -> Tensor:
    ends_N = np.cumsum(cut.length_N)
    factors = [
        lca_factors(table.node_T[place], table.depth_T[place], landmarks)
        for place in np.split(cut.place_T, ends_N[:-1])
    ]
    return torch.from_numpy(np.concatenate(factors))


def best_fit(length_N: NDArray[np.int64], capacity: int) -> list[list[int]]:
    """Best-fit bin packing in the order given: indices per bin, each summing to at most `capacity`.

    Longest first would fill bins hardly better and put transactions of one length together: a training step
    would have the gradient of one kind of transaction (docs/experiments.md).

    Raises:
        ConfigError: a window alone exceeds the capacity.
    """
    _check_fit(length_N, capacity)
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (free tokens, bin), ascending
    for item, length in enumerate(length_N.tolist()):
        fit = bisect_left(rooms, (length, -1))
        if fit < len(rooms):
            room, which = rooms.pop(fit)
        else:
            room, which = capacity, len(bins)
            bins.append([])
        bins[which].append(item)
        insort(rooms, (room - length, which))
    return bins


def _check_fit(length_N: NDArray[np.int64], capacity: int) -> None:
    if len(length_N) and length_N.max() > capacity:
        raise ConfigError(
            f"a window of {length_N.max()} tokens does not fit a batch of {capacity}; "
            "raise batch_tokens to at least model.longest"
        )


def epoch_batches(
    length_W: NDArray[np.int64], capacity: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Every window once, in batches of at most `capacity` tokens, shuffled; shortest first within one.

    Best fit within buffers of BUFFER windows; what lies in the emptiest batch waits for the next buffer, so
    that every batch is a random sample of the windows. Sorting within one puts equal lengths next to each
    other, where the sdpa kernel takes them in one call.

    Raises:
        ConfigError: a window alone exceeds the capacity; before the first batch, not when its turn comes.
    """
    _check_fit(length_W, capacity)
    order_W = rng.permutation(len(length_W))
    waiting_N = order_W[:0]
    for begin in range(0, len(order_W), BUFFER):
        buffer_N = np.concatenate((waiting_N, order_W[begin : begin + BUFFER]))
        bins = best_fit(length_W[buffer_N], capacity)
        if begin + BUFFER < len(order_W):
            emptiest = min(range(len(bins)), key=lambda which: int(length_W[buffer_N[bins[which]]].sum()))
            waiting_N = buffer_N[bins.pop(emptiest)]
        for which in rng.permutation(len(bins)):
            chosen_N = buffer_N[bins[which]]
            yield chosen_N[np.argsort(length_W[chosen_N], kind="stable")]


def sorted_batches(length_N: NDArray[np.int64], capacity: int) -> Iterator[slice]:
    """Cut items that are sorted by length into consecutive batches of at most `capacity` tokens.

    A batch holds at least one item, be it longer than the capacity.
    """
    ends_N = np.cumsum(length_N)
    begin = 0
    while begin < len(length_N):
        done = int(ends_N[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends_N, done + capacity, side="right")))
        yield slice(begin, end)
        begin = end
