"""Where the call frames of a batch lie, and windows with sub-calls copied, swapped or exchanged.

A frame with all of its sub-frames is a contiguous run of tokens, from its kind to its end mark. Only frames
that lie in their window as a whole, and are not the outermost, are touched.

Legend: T tokens of a batch, F frames of it.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockscan.tokens import Field

_NEAREST = 8  # donors of about the right length among which one is drawn


class Origin(IntEnum):
    """What a run of tokens of a rearranged window is."""

    KEPT = 0
    MOVED = 1  # changed places with a sibling
    COPIED = 2  # the second of two equal calls
    FOREIGN = 3  # from another transaction


class Run(NamedTuple):
    """Tokens begin..end of the batch; `deeper` is added to their call depths."""

    begin: int
    end: int
    origin: Origin
    deeper: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The whole inner frames of a batch, by place: tokens begin_F..end_F with all of their sub-frames.

    parent_F tells siblings: frames of one window with the same parent have the same number.
    """

    begin_F: NDArray[np.int64]
    end_F: NDArray[np.int64]
    depth_F: NDArray[np.int64]
    parent_F: NDArray[np.int64]
    sequence_F: NDArray[np.int64]


def frames_of(
    segment_T: NDArray[np.int64],
    sequence_T: NDArray[np.int64],
    node_T: NDArray[np.int32],
    depth_T: NDArray[np.int16],
    field_T: NDArray[np.uint8],
) -> Frames:
    """Find the frames of a batch whose segments lie end to end."""
    key_T = segment_T * (int(node_T.max(initial=0)) + 1) + node_T
    _, first_F = np.unique(key_T, return_index=True)
    last_F = len(key_T) - 1 - np.unique(key_T[::-1], return_index=True)[1]
    order_F = np.argsort(first_F)
    first_F, last_F = first_F[order_F], last_F[order_F]
    depth_F = depth_T[first_F].astype(np.int64)
    parent_F = _parents(segment_T[first_F], depth_F)
    after_F = np.minimum(last_F + 1, len(key_T) - 1)
    whole_F = (
        (field_T[first_F] == Field.KIND)
        & (segment_T[after_F] == segment_T[first_F])
        & (after_F > last_F)
        & (depth_T[after_F] <= depth_F)
        & (parent_F >= 0)
    )
    first_F, last_F = first_F[whole_F], last_F[whole_F]
    return Frames(
        first_F,
        last_F + 1,
        depth_F[whole_F],
        parent_F[whole_F],
        sequence_T[first_F],
    )


def _parents(segment_F: NDArray[np.int64], depth_F: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the frame that each one lies in, -1 where that is not in the window."""
    parents: list[int] = []
    latest: dict[int, int] = {}
    before = -1
    for frame, (segment, depth) in enumerate(zip(segment_F.tolist(), depth_F.tolist(), strict=True)):
        if segment != before:
            latest, before = {}, segment
        parents.append(latest.get(depth - 1, -1))
        latest[depth] = frame
    return np.array(parents, dtype=np.int64)


def copied(frames: Frames, own: range, most: int, rng: np.random.Generator) -> list[Run] | None:
    """A window whose tokens are `own` with one of its calls twice, in at most `most` tokens."""
    mine = _mine(frames, own)
    mine = mine[len(own) + frames.end_F[mine] - frames.begin_F[mine] <= most]
    if not len(mine):
        return None
    begin, end = _place(frames, int(rng.choice(mine)))
    return _filled(own.start, end, [Run(begin, end, Origin.COPIED)], end, own.stop)


def reordered(
    frames: Frames, own: range, ids_T: NDArray[np.int32], rng: np.random.Generator
) -> list[Run] | None:
    """A window with two neighbouring sub-calls of one frame in the other order."""
    mine = _mine(frames, own)
    mine = mine[np.lexsort((frames.begin_F[mine], frames.parent_F[mine]))]
    pairs = np.flatnonzero(frames.parent_F[mine[1:]] == frames.parent_F[mine[:-1]])
    if not len(pairs):
        return None
    which = int(rng.choice(pairs))
    (begin, end), (next_begin, next_end) = (
        _place(frames, int(mine[which])),
        _place(frames, int(mine[which + 1])),
    )
    if np.array_equal(ids_T[begin:end], ids_T[next_begin:next_end]):
        return None
    moved = [
        Run(next_begin, next_end, Origin.MOVED),
        Run(end, next_begin, Origin.KEPT),
        Run(begin, end, Origin.MOVED),
    ]
    return _filled(own.start, begin, moved, next_end, own.stop)


def exchanged(
    frames: Frames, own: range, ids_T: NDArray[np.int32], most: int, rng: np.random.Generator
) -> list[Run] | None:
    """A window with one sub-call replaced by one of another transaction, of about the same length."""
    mine = _mine(frames, own)
    if not len(mine):
        return None
    taken = int(rng.choice(mine))
    begin, end = _place(frames, taken)
    length_F = frames.end_F - frames.begin_F
    fits = (frames.sequence_F != frames.sequence_F[taken]) & (len(own) - (end - begin) + length_F <= most)
    donors = np.flatnonzero(fits & (length_F <= 2 * (end - begin)) & (2 * length_F >= end - begin))
    if not len(donors):
        return None
    # A shuffle first: frames of one length would otherwise always be taken in the order of the batch.
    donors = rng.permutation(donors)
    near = np.argsort(np.abs(length_F[donors] - (end - begin)), kind="stable")[:_NEAREST]
    donor = int(rng.choice(donors[near]))
    donor_begin, donor_end = _place(frames, donor)
    if np.array_equal(ids_T[begin:end], ids_T[donor_begin:donor_end]):
        return None
    deeper = int(frames.depth_F[taken] - frames.depth_F[donor])
    foreign = Run(donor_begin, donor_end, Origin.FOREIGN, deeper)
    return _filled(own.start, begin, [foreign], end, own.stop)


def _mine(frames: Frames, own: range) -> NDArray[np.int64]:
    return np.arange(*np.searchsorted(frames.begin_F, (own.start, own.stop)))


def _place(frames: Frames, frame: int) -> tuple[int, int]:
    return int(frames.begin_F[frame]), int(frames.end_F[frame])


def _filled(begin: int, upto: int, runs: list[Run], after: int, end: int) -> list[Run]:
    """The runs between what stays before and behind them."""
    return [Run(begin, upto, Origin.KEPT), *runs, Run(after, end, Origin.KEPT)]
