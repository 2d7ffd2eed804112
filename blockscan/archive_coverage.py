"""What the parts of an archive are together: which blocks are there, missing, refused, or read no more."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from blockscan.archive_merged import MERGED, read_listed_columns
from blockscan.archive_parts import PartInfo

Ranges = list[tuple[int, int]]
LiveParts = list[tuple[Path, PartInfo, Mapping[int, str]]]
"""Part files, what each covers, and which of its rows are retired and why: all from one listing."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Report over an archive: what is in it and what is missing between its first and last block.

    `quarantined` blocks (number, reason) were fetched and refused; `degraded` ones are here with less than
    the node offers; `orphaned` counts rows of blocks that left the chain, `unwanted` lines of files that were
    not asked for, `more_rejected` those refused beside `rejected`. `from_files`: `blocks` are those that the
    transactions of files name; of the others nobody knows whether they are empty or missing.
    """

    transactions: int
    blocks: tuple[tuple[int, int], ...]
    gaps: tuple[tuple[int, int], ...]
    sources: Mapping[str, int]
    chains: Mapping[str, int]
    duplicates: int
    rejected: tuple[str, ...]
    chain_ids: tuple[int, ...] = ()
    quarantined: tuple[tuple[int, str], ...] = ()
    degraded: tuple[tuple[int, str], ...] = ()
    orphaned: int = 0
    unwanted: int = 0
    more_rejected: int = 0
    from_files: bool = False


def coverage_of(parts: LiveParts) -> Coverage:
    """The report over an archive's parts."""
    chains, sources, numbers = _counts(parts)
    node = [part for part in parts if not part[1].input]
    stored = covered_ranges(_ranges(parts, without_quarantined=True))
    quarantined = {
        number: reason
        for _, info, _ in node
        for number, reason in info.quarantined
        if not _inside(number, stored)
    }
    degraded = {
        number: reason for _, info, gone in node for number, reason in info.degraded if number not in gone
    }
    accounted = accounted_ranges(parts)
    infos = [info for _, info, _ in parts]
    retired = {(name, number): why for info in infos for name, number, why in info.retired}
    return Coverage(
        transactions=sum(chains.values()),
        blocks=tuple(stored if node else covered_ranges((number, number) for number in numbers)),
        gaps=tuple((a[1] + 1, b[0] - 1) for a, b in itertools.pairwise(accounted)),
        sources=dict(sources),
        chains=dict(chains),
        duplicates=sum(info.duplicates for info in infos),
        rejected=tuple(line for info in infos for line in info.rejected),
        chain_ids=chain_ids_of(infos),
        quarantined=tuple(sorted(quarantined.items())),
        degraded=tuple(sorted(degraded.items())),
        orphaned=sum(why == "orphaned" for why in retired.values()),
        unwanted=sum(info.unwanted for info in infos),
        more_rejected=sum(info.more_rejected for info in infos),
        from_files=bool(infos) and not node,
    )


def accounted_ranges(parts: LiveParts) -> Ranges:
    """The block ranges of a node that parts stand for: stored, empty or quarantined; retired ones not."""
    return covered_ranges(_ranges(parts, without_quarantined=False))


def retired_rows(parts: Iterable[tuple[Path, PartInfo]]) -> dict[str, dict[int, str]]:
    """Rows that are read no more: part file name -> block number -> why."""
    found: dict[str, dict[int, str]] = {}
    for _, info in parts:
        for name, number, why in info.retired:
            found.setdefault(name, {})[number] = why
    return found


def without_gone_notes(info: PartInfo, names: Collection[str]) -> PartInfo:
    """What a part covers, with the notes on merged rows of those files alone that have one of these names.

    A merged part has a note for every block for ever; one stays, which tells that it is a merged one.
    """
    notes = tuple(note for note in info.retired if note[2] != MERGED or note[0] in names)
    notes = notes or info.retired[:1]
    return info if notes == info.retired else replace(info, retired=notes)


def chain_ids_of(infos: Iterable[PartInfo]) -> tuple[int, ...]:
    """The EIP-155 ids of the chains that parts were fetched from, where they were recorded."""
    return tuple(sorted({info.chain_id for info in infos if info.chain_id is not None}))


def _ranges(parts: LiveParts, *, without_quarantined: bool) -> Iterator[tuple[int, int]]:
    for _, info, retired in parts:
        if not info.input:
            gone = set(retired)
            if without_quarantined:
                gone |= {number for number, _ in info.quarantined}
            yield from _without(info.first, info.last, gone)


def _counts(parts: LiveParts) -> tuple[Counter[str], Counter[str], set[int]]:
    """Transactions by chain and by source, and the numbers of the blocks that files' records name."""
    chains: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    numbers: set[int] = set()
    for path, _, gone in parts:
        for number, chain, source, hashes in read_listed_columns(
            path, "number", "chain", "source", "tx_hashes"
        ):
            if number not in gone:
                sources[source] += len(hashes)
                chains[chain] += len(hashes)
                if number is not None:
                    numbers.add(number)
    return chains, sources, numbers


def _without(first: int, last: int, gone: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The inclusive range without some of its numbers."""
    for number in sorted(gone):
        if first <= number <= last:
            if first < number:
                yield first, number - 1
            first = number + 1
    if first <= last:
        yield first, last


def _inside(number: int, ranges: Ranges) -> bool:
    return any(first <= number <= last for first, last in ranges)


def covered_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge inclusive ranges that touch or overlap; sorted."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
