"""Reading a part that was listed a while ago: where it was merged and removed since, from the merged part."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from blockscan.archive_parts import PartGone, RawBlock, part_info, read_columns, read_part

MERGED = "merged"
"""Why rows are retired that stand in a merged part now; see blockscan.archive_compact."""


def read_listed_part(path: Path, keep: Callable[[int | None], bool] | None = None) -> Iterator[RawBlock]:
    """`read_part` of a part that may be merged by now.

    Raises:
        ArtifactError: the file is damaged, or gone without having been merged.
    """
    try:
        yield from read_part(path, keep)
    except PartGone as error:
        merged, numbers = _merged_into(path, error)
        yield from read_part(merged, lambda number: number in numbers and (keep is None or keep(number)))


def read_listed_columns(path: Path, *names: str) -> list[tuple[Any, ...]]:
    """`read_columns` of a part that may be merged by now; the first column is the block's number.

    Raises:
        ArtifactError: see `read_listed_part`.
    """
    try:
        return read_columns(path, *names)
    except PartGone as error:
        merged, numbers = _merged_into(path, error)
        return [cells for cells in read_columns(merged, *names) if cells[0] in numbers]


def _merged_into(path: Path, gone: PartGone) -> tuple[Path, frozenset[int]]:
    """The part that one which is gone was merged into, and the numbers of its blocks.

    Raises:
        PartGone: there is none.
    """
    for other in sorted(path.parent.glob("part-*.parquet")):
        with suppress(PartGone):
            if numbers := _merged_of(other).get(path.name):
                return other, numbers
    raise gone


@lru_cache(maxsize=4096)  # asked again for every one of the many parts that were merged at once
def _merged_of(path: Path) -> dict[str, frozenset[int]]:
    """The parts that were merged into one, by file name, with the numbers of their blocks."""
    merged: dict[str, set[int]] = {}
    for name, number, why in part_info(path).retired:
        if why == MERGED:
            merged.setdefault(name, set()).add(number)
    return {name: frozenset(numbers) for name, numbers in merged.items()}
