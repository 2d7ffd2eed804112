"""What the tokenizer writes and the model reads: parallel arrays, one entry per token."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

PAD_ID = 0
MASK_ID = 1
STRONGEST = 5  # a transaction is looked at twice for the mean evidence of so many of its tokens


class Modality(IntEnum):
    """What kind of value a token is a piece of; one file of the tokenizer each."""

    STRUCTURE = 0
    ADDRESS = 1
    SELECTOR = 2
    NUMBER = 3
    TEXT = 4
    BYTES = 5


class Field(IntEnum):
    """Which part of a transaction a token describes; surprises are calibrated per field."""

    MARK = 0  # brackets and counts that carry no information of their own
    KIND = 1  # call kind, with success or failure
    CALLER = 2
    TARGET = 3
    SELECTOR = 4
    VALUE = 5
    ARGUMENT = 6  # a word of calldata
    OUTPUT = 7  # a word of return data
    ERROR = 8
    CODE = 9  # init code and deployed code
    EMITTER = 10
    TOPIC0 = 11
    TOPIC = 12
    LOG_DATA = 13


NAMES = (Field.TARGET, Field.SELECTOR, Field.EMITTER, Field.TOPIC0, Field.TOPIC)
"""The fields that name something or somebody. Only they are scored: amounts and code surprise in any
transaction."""


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One transaction as tokens. All arrays have shape (T,).

    ids int32: vocabulary ids. modality uint8, field uint8: see the enums. node int32: pre-order index
    of the call frame that the token describes. depth int16: call depth of that frame. unit int32: index
    of the value that the token is a piece of, counted from 0 without gaps; a value is masked whole.
    group int32: equal values of one transaction share a number >= 0; -1 where equality says nothing.
    scored bool: False for tokens whose surprise is no evidence.
    """

    tx_hash: str
    ids: NDArray[np.int32]
    modality: NDArray[np.uint8]
    field: NDArray[np.uint8]
    node: NDArray[np.int32]
    depth: NDArray[np.int16]
    unit: NDArray[np.int32]
    group: NDArray[np.int32]
    scored: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of tokens, T."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class VocabularyShape:
    """What a model needs to know of a vocabulary.

    `size` counts all ids. Within each half-open span of `alias_spans` the ids are interchangeable names
    ("the third unknown address of this transaction", "some rare function"): training permutes them per
    transaction, and scoring asks only for the probability of the span as a whole.
    """

    size: int
    alias_spans: tuple[tuple[int, int], ...]

    def first_of_span(self) -> NDArray[np.int64]:
        """What each id stands for, (V,): of the ids of an alias span the first stands for all."""
        first_V = np.arange(self.size)
        for start, stop in self.alias_spans:
            first_V[start:stop] = start
        return first_V


@dataclass(frozen=True, slots=True)
class TokenLosses:
    """How surprised the model was by every token of one TokenSequence, aligned with it.

    surprise float32 (T,): -log p of the true token in nats, hidden together with the rest of its value;
    NaN exactly where the sequence says `scored` False. rank int32 (T,): number of pieces the model held
    more likely than the truth, -1 where not scored. expected int32 (T, k): ids of the k most likely
    pieces, best first, -1 where not scored. window count: how many model windows were needed. replaced
    float32 (T,), where it was asked for: -log(1 - p) nats with p the chance that the token was put there in
    place of another, seen with its whole context; NaN where not scored.

    By `ScoreConfig.mode`: "replaced" puts that evidence into `surprise`, with rank and expected -1;
    "cascade" leaves `surprise` NaN (rank and expected -1) in transactions that it did not look at twice.
    """

    tx_hash: str
    surprise: NDArray[np.float32]
    rank: NDArray[np.int32]
    expected: NDArray[np.int32]
    windows: int
    replaced: NDArray[np.float32] | None = None


def suspicion(evidence_T: NDArray[np.float32]) -> float:
    """Mean of the strongest evidence of a transaction, in nats; 0 where no token is scored."""
    strongest = np.sort(evidence_T[~np.isnan(evidence_T)])[-STRONGEST:]
    return float(strongest.mean()) if len(strongest) else 0.0


def windows(sequence: TokenSequence, longest: int) -> Iterator[slice]:
    """Cut a sequence into consecutive slices of at most `longest` tokens that cover every token once.

    A cut falls on the last frame boundary that keeps the window at least half full, else on the last
    value boundary, and inside a value only if the value alone is longer than a window.
    """
    starts = np.arange(1, len(sequence))
    frame_cuts = starts[sequence.node[1:] != sequence.node[:-1]]
    unit_cuts = starts[sequence.unit[1:] != sequence.unit[:-1]]
    begin = 0
    while len(sequence) - begin > longest:
        end = begin + longest
        end = _last_cut(frame_cuts, begin + longest // 2, end) or _last_cut(unit_cuts, begin, end) or end
        yield slice(begin, end)
        begin = end
    yield slice(begin, len(sequence))


def _last_cut(cuts: NDArray[np.int64], above: int, upto: int) -> int:
    """The largest cut in (above, upto], or 0."""
    place = int(np.searchsorted(cuts, upto, side="right")) - 1
    return int(cuts[place]) if place >= 0 and cuts[place] > above else 0
