"""A window in the making: its tokens, and the names and numbers that an encoded transaction would have.

Legend: T tokens of a batch, L tokens of a window, U values (units).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.tokens import Field, Modality

APART = 1 << 32  # numbers from here on are those of values and frames that are new to a window
_NAMED = (Modality.ADDRESS, Modality.BYTES)  # one piece says which of these a value is

Spans = tuple[tuple[int, int], ...]


@dataclass(slots=True, eq=False)
class Draft:
    """Token arrays (L,) as in TokenSequence, with `label` for replaced tokens.

    Frames, units and groups are only told apart; `renumber` counts them as the tokenizer does.
    """

    ids: NDArray[np.int32]
    modality: NDArray[np.uint8]
    field: NDArray[np.uint8]
    depth: NDArray[np.int16]
    node: NDArray[np.int64]
    unit: NDArray[np.int64]
    group: NDArray[np.int64]
    label: NDArray[np.bool_]
    fresh: int = APART

    def new_group(self) -> int:
        """A group that no value has yet."""
        self.fresh += 1
        return self.fresh


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The values of some tokens: first token, number of pieces, field and modality as one number."""

    start_U: NDArray[np.int64]
    size_U: NDArray[np.int64]
    class_U: NDArray[np.int64]


def units_of(starts_T: NDArray[np.bool_], field_T: NDArray[np.uint8], modality_T: NDArray[np.uint8]) -> Units:
    """The values of tokens, of which `starts_T` says where one begins."""
    start_U = np.flatnonzero(starts_T)
    size_U = np.diff(start_U, append=len(starts_T))
    return Units(start_U, size_U, field_T[start_U].astype(np.int64) * len(Modality) + modality_T[start_U])


def group_of_names(draft: Draft, places: NDArray[np.int64]) -> dict[tuple[int, int], int]:
    """Group of each address and word at some places, by modality and id.

    Numbers are left out: three digits do not say whether two are equal.
    """
    edge = np.diff(draft.unit, prepend=-1, append=-1) != 0
    alone = edge[1:] & edge[:-1]
    named = places[np.isin(draft.modality[places], _NAMED) & alone[places] & (draft.group[places] >= 0)]
    keys = zip(draft.modality[named].tolist(), draft.ids[named].tolist(), strict=True)
    return dict(zip(keys, draft.group[named].tolist(), strict=True))


def naturalise(
    draft: Draft,
    inside: NDArray[np.int64],
    lost_ids: NDArray[np.int32],
    spans: Spans,
    rng: np.random.Generator,
) -> None:
    """Give the tokens `inside` of a foreign call the names and groups that it would have here.

    Its unknown values take the names of the unknown values of the call in its place, `lost_ids`, in order,
    and then names that the window does not use. Values that also occur in the window join their group.
    """
    host = np.delete(np.arange(len(draft.ids)), inside)
    here = np.concatenate((draft.ids[host], lost_ids))
    ids = draft.ids[inside]
    for start, stop in spans:
        strange = _by_mention(ids, start, stop)
        free = rng.permutation(np.setdiff1d(np.arange(start, stop), here))
        names = np.concatenate((_by_mention(lost_ids, start, stop), free))[: len(strange)]
        for old, new in zip(strange, names, strict=False):
            draft.ids[inside[ids == old]] = new
    known = group_of_names(draft, host)
    groups, first, which = np.unique(draft.group[inside], return_index=True, return_inverse=True)
    for number, (group, place) in enumerate(zip(groups.tolist(), inside[first].tolist(), strict=True)):
        if group >= 0:
            name = int(draft.modality[place]), int(draft.ids[place])
            draft.group[inside[which == number]] = known[name] if name in known else draft.new_group()


def renumber(draft: Draft, groups: int) -> None:
    """Count units and frames in order, and groups from `groups` on by first mention.

    Groups below that number were first mentioned in an earlier window of the transaction, and so were frames
    whose kind is not in this one: they stay in front, in their old order.
    """
    draft.unit = np.cumsum(np.diff(draft.unit, prepend=draft.unit[:1]) != 0)
    nodes, first, which = np.unique(draft.node, return_index=True, return_inverse=True)
    opened = draft.field[first] == Field.KIND
    draft.node = _ranks(np.lexsort((np.where(opened, first, nodes), opened)))[which]
    later = np.flatnonzero(draft.group >= groups)
    _, first, which = np.unique(draft.group[later], return_index=True, return_inverse=True)
    draft.group[later] = groups + _ranks(np.argsort(first))[which]


def _by_mention(ids: NDArray[np.int32], start: int, stop: int) -> NDArray[np.int32]:
    """The different ids within a span, by first mention."""
    inside = ids[(ids >= start) & (ids < stop)]
    return inside[np.sort(np.unique(inside, return_index=True)[1])]


def _ranks(order: NDArray[np.int64]) -> NDArray[np.int64]:
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks
