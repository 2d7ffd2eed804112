"""Transactions that did not happen: real windows with some values or sub-calls replaced by other real ones.

For replaced-token detection (ELECTRA, arXiv 2003.10555). Values are drawn from the values of the same field
in the same batch, so that a replaced one is as frequent as a real one and only its context tells; what is
drawn and is no other value stays, as in ELECTRA, labelled real. Names of unknown values and value groups
are renumbered as an encoded transaction would have them.

What counts as replaced: the pieces of a changed value; every token of a copied call (the second of the two)
and of a foreign one (if that has the fields of the call that it replaces, only the values that differ); of
calls that changed places kind, caller, target and selector, since what is wrong is where they stand.

Legend: T tokens of a batch, L tokens of a window, U values (units), N windows, R runs, D donors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.model.batch import Cut, WindowTable
from blockscan.model.draft import APART, Draft, Spans, Units, group_of_names, naturalise, renumber, units_of
from blockscan.model.rearrange import Frames, Origin, Run, copied, exchanged, frames_of, reordered
from blockscan.tokens import Field, Modality, VocabularyShape

UNTOUCHED = 0.25  # share of the windows that stay as they are: most transactions are benign as a whole
REARRANGED = 0.5  # share of the others in which a sub-call is copied, moved or replaced
CHANGED = 0.05  # changes tried per value, as many in short transactions as in long ones
WHOLE = 0.5  # share of the changes that reach all equal values of the window
NAMED_HERE = 0.5  # share of the unknown values drawn that become one that the window names already
NEW_DIGITS = 0.5  # share of the scaled amounts that get the digits of another, too
MOST_MAGNITUDES = 3  # an amount is scaled by at most this many powers of ten
_HEAD = (Field.KIND, Field.CALLER, Field.TARGET, Field.SELECTOR)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The tokens that windows are built from, and those among them that can replace others."""

    table: WindowTable
    place_T: NDArray[np.int64]
    ids_T: NDArray[np.int32]
    sequence_T: NDArray[np.int64]
    frames: Frames
    units: Units
    spans: Spans
    most: int


def corrupt(
    table: WindowTable,
    cut: Cut,
    ids_T: NDArray[np.int32],
    vocabulary: VocabularyShape,
    rng: np.random.Generator,
) -> tuple[WindowTable, NDArray[np.bool_]]:
    """The windows of a cut once more, most of them corrupted, and which of their tokens are replaced.

    Args:
        table: that the cut was made from; no window grows past the longest of its windows.
        cut: the windows of one batch.
        ids_T: ids of the cut's tokens under the alias names of this epoch.
        vocabulary: says which ids are names of unknown values.
        rng: all randomness.

    Returns:
        A table of the N windows in the cut's order, each as a sequence of its own, and bool (T,).
    """
    ends_N = np.cumsum(cut.length_N)
    batch = _batch(table, cut, ids_T, table.sequence_W[cut.window_N][cut.segment_T], vocabulary.alias_spans)
    drafts = []
    each_N = zip(cut.window_N.tolist(), ends_N.tolist(), cut.length_N.tolist(), strict=True)
    for window, end, length in each_N:
        draft = _corrupted(batch, range(end - length, end), rng)
        renumber(draft, _groups_before(table, window))
        drafts.append(draft)
    return _table(drafts), np.concatenate([draft.label for draft in drafts])


def _batch(
    table: WindowTable, cut: Cut, ids_T: NDArray[np.int32], sequence_T: NDArray[np.int64], spans: Spans
) -> _Batch:
    place_T = cut.place_T
    field_T, node_T = table.field_T[place_T], table.node_T[place_T]
    starts_T = np.diff(cut.segment_T, prepend=-1) != 0
    starts_T |= np.diff(table.unit_T[place_T], prepend=-1) != 0
    return _Batch(
        table,
        place_T,
        ids_T,
        sequence_T,
        frames_of(cut.segment_T, sequence_T, node_T, table.depth_T[place_T], field_T),
        units_of(starts_T, field_T, table.modality_T[place_T]),
        spans,
        int(table.length_W.max()),
    )


def _corrupted(batch: _Batch, own: range, rng: np.random.Generator) -> Draft:
    as_it_is = [Run(own.start, own.stop, Origin.KEPT)]
    if rng.random() < UNTOUCHED:
        return _assembled(batch, as_it_is, rng)
    runs = _rearranged(batch, own, rng) if rng.random() < REARRANGED else None
    draft = _assembled(batch, runs or as_it_is, rng)
    for _ in range(rng.poisson(CHANGED * len(np.unique(draft.unit)))):
        _change_value(draft, batch, batch.sequence_T[own.start], rng)
    return draft


def _rearranged(batch: _Batch, own: range, rng: np.random.Generator) -> list[Run] | None:
    which = rng.integers(4)  # an exchange is the most varied of the three, and comes twice as often
    if which == 0:
        return copied(batch.frames, own, batch.most, rng)
    if which == 1:
        return reordered(batch.frames, own, batch.ids_T, rng)
    return exchanged(batch.frames, own, batch.ids_T, batch.most, rng)


def _assembled(batch: _Batch, runs: list[Run], rng: np.random.Generator) -> Draft:
    """The tokens of the runs; frames and units of a copied or foreign run get numbers of their own."""
    table, length_R = batch.table, [run.end - run.begin for run in runs]
    from_L = np.concatenate([np.arange(run.begin, run.end) for run in runs])
    origin_L = np.repeat([run.origin for run in runs], length_R)
    place_L = batch.place_T[from_L]
    apart_L = np.where(origin_L >= Origin.COPIED, APART, 0)
    field_L, node_L = table.field_T[place_L], table.node_T[place_L]
    # The middle run of three may be empty, but begins at a token of the window all the same.
    top_L = node_L == np.repeat([table.node_T[batch.place_T[run.begin]] for run in runs], length_R)
    draft = Draft(
        batch.ids_T[from_L],
        table.modality_T[place_L],
        field_L,
        (table.depth_T[place_L] + np.repeat([run.deeper for run in runs], length_R)).astype(np.int16),
        node_L + apart_L,
        table.unit_T[place_L] + apart_L,
        table.group_T[place_L].astype(np.int64),
        (origin_L >= Origin.COPIED) | ((origin_L == Origin.MOVED) & top_L & np.isin(field_L, _HEAD)),
    )
    inside = np.flatnonzero(origin_L == Origin.FOREIGN)
    if len(inside):
        lost = slice(runs[0].end, runs[-1].begin)
        naturalise(draft, inside, batch.ids_T[lost], batch.spans, rng)
        if np.array_equal(table.field_T[batch.place_T[lost]], draft.field[inside]):
            differs = draft.unit[inside[draft.ids[inside] != batch.ids_T[lost]]]
            draft.label[inside] = np.isin(draft.unit[inside], differs)
    return draft


def _change_value(draft: Draft, batch: _Batch, sequence: int, rng: np.random.Generator) -> None:
    """Replace one value: a callee, a selector, another address, or a number, each as often."""
    units = units_of(np.diff(draft.unit, prepend=-1) != 0, draft.field, draft.modality)
    field_U, modality_U = np.divmod(units.class_U, len(Modality))
    single_U, address_U = units.size_U == 1, modality_U == Modality.ADDRESS
    kinds = (
        single_U & address_U & (field_U == Field.TARGET),
        single_U & (modality_U == Modality.SELECTOR),
        single_U & address_U & (field_U != Field.TARGET),
        (modality_U == Modality.NUMBER) & (units.size_U <= 2),
    )
    chosen = np.flatnonzero(kinds[rng.integers(len(kinds))])
    if not len(chosen):
        return
    unit = int(rng.choice(chosen))
    alike = (batch.units.class_U == units.class_U[unit]) & (batch.units.size_U == units.size_U[unit])
    donors, place = batch.units.start_U[alike], int(units.start_U[unit])
    if units.size_U[unit] == 2:
        _scale(draft, batch, place, donors, rng)
    elif len(donors):
        donor = int(rng.choice(donors))
        _swap(draft, batch, place, donor, foreign=bool(batch.sequence_T[donor] != sequence), rng=rng)


def _swap(
    draft: Draft, batch: _Batch, place: int, donor: int, *, foreign: bool, rng: np.random.Generator
) -> None:
    """Put another value of one piece in a place, or in all places of the value there."""
    modality, old, new = draft.modality[place], int(draft.ids[place]), int(batch.ids_T[donor])
    same = np.flatnonzero((draft.ids == old) & (draft.modality == modality))
    at = same if modality != Modality.NUMBER and rng.random() < WHOLE else np.array([place])
    if foreign:
        new = _name_here(draft, batch.spans, new, rng)
    unknown = any(start <= old < stop and start <= new < stop for start, stop in batch.spans)
    if new == old or (unknown and len(at) == len(same) and new not in draft.ids):
        return  # the same value, or a mere renaming of an unknown one
    group = group_of_names(draft, np.arange(len(draft.ids))).get((int(modality), new))
    if group is None:
        group = draft.new_group() if batch.table.group_T[batch.place_T[donor]] >= 0 else -1
    draft.ids[at], draft.group[at], draft.label[at] = new, group, True


def _name_here(draft: Draft, spans: Spans, new: int, rng: np.random.Generator) -> int:
    """What a piece of another transaction is called in this one, where unknown values have other names."""
    for start, stop in spans:
        if start <= new < stop:
            used = np.unique(draft.ids[(draft.ids >= start) & (draft.ids < stop)])
            free = np.setdiff1d(np.arange(start, stop), used)
            here = len(used) and (rng.random() < NAMED_HERE or not len(free))
            return int(rng.choice(used if here else free))
    return new


def _scale(
    draft: Draft, batch: _Batch, place: int, donors: NDArray[np.int64], rng: np.random.Generator
) -> None:
    """Change the power of ten, and maybe the digits, of an amount or of all that are equal.

    Ids of powers of ten ascend with them; which there are shows in the batch.
    """
    step_D = batch.ids_T[donors] - int(draft.ids[place])
    near = np.flatnonzero((step_D != 0) & (np.abs(step_D) <= MOST_MAGNITUDES))
    if not len(near):
        return
    chosen = int(rng.choice(near))
    donor, step = int(donors[chosen]), int(step_D[chosen])
    digits = batch.ids_T[donor + 1] if rng.random() < NEW_DIGITS else draft.ids[place + 1]
    at = np.array([place])
    if draft.group[place] >= 0 and rng.random() < WHOLE:
        equal = np.flatnonzero((draft.group == draft.group[place]) & (draft.modality == Modality.NUMBER))
        first = equal[:-1][np.diff(draft.unit[equal]) == 0]  # its digits follow in the same value
        # Of the other sign or at the end of the range there may be no such power.
        at = first if np.isin(draft.ids[first] + step, batch.ids_T[donors]).all() else at
    pieces = np.concatenate((at, at + 1))
    grouped = batch.table.group_T[batch.place_T[donor]] >= 0
    draft.ids[at] += step
    draft.ids[at + 1] = digits
    draft.group[pieces], draft.label[pieces] = draft.new_group() if grouped else -1, True


def _groups_before(table: WindowTable, window: int) -> int:
    """Number of value groups that the earlier windows of the same transaction have used."""
    first = window - int(table.index_W[window])
    before = table.group_T[table.start_W[first] : table.start_W[window]]
    return int(before.max(initial=-1)) + 1


def _table(drafts: list[Draft]) -> WindowTable:
    length_N = np.array([len(draft.ids) for draft in drafts], dtype=np.int64)
    return WindowTable(
        np.concatenate([draft.ids for draft in drafts]),
        np.concatenate([draft.modality for draft in drafts]),
        np.concatenate([draft.field for draft in drafts]),
        np.concatenate([draft.depth for draft in drafts]),
        np.concatenate([draft.node for draft in drafts]).astype(np.int32),
        np.concatenate([draft.group for draft in drafts]).astype(np.int32),
        np.concatenate([draft.unit for draft in drafts]).astype(np.int32),
        np.cumsum(length_N) - length_N,
        length_N,
        np.arange(len(drafts)),
        np.zeros(len(drafts), dtype=np.int64),
    )
