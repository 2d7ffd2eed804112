"""Merge the small parts that following a chain block by block leaves behind.

Done in two steps, so that neither a crash nor a reader at work meets half of it: a merged part retires the
blocks of the small ones; the small files go when the archive is compacted next. Who listed them before and
opens them after reads their rows of the merged part; see blockscan.archive_merged.
"""

from pathlib import Path

from blockscan.archive import Archive
from blockscan.archive_merged import MERGED
from blockscan.archive_parts import PartInfo, read_part

SMALL_ROWS = 16
"""A part that covers no more blocks than this is small."""
SHORTEST_RUN = 64
"""Parts that are worth merging; fewer, where they are as many as become one by their bytes."""
LONGEST_RUN = 1000
LARGEST_BYTES = 16 * 1024 * 1024
"""Compressed bytes of the small parts that become one."""

Parts = list[tuple[Path, PartInfo]]


def compact(archive: Archive) -> int:
    """Merge runs of 64 small parts of consecutive blocks, or of 16 MiB; how many parts were merged.

    Parts with rows that were replaced or orphaned stay as they are, and so do those that say so.

    Raises:
        ArtifactError: the disk refused; nothing is lost.
    """
    _remove_merged(archive)
    merged = 0
    for run in _runs(archive):
        rows = [row for path, _ in run for row in read_part(path)]
        # Every number, not only those with a row: a part of quarantined or empty blocks has none.
        retired = tuple(
            (path.name, number, MERGED) for path, part in run for number in range(part.first, part.last + 1)
        )
        info = PartInfo(
            input="",
            name="node",
            first=run[0][1].first,
            last=run[-1][1].last,
            transactions=sum(part.transactions for _, part in run),
            chain_id=run[0][1].chain_id,
            quarantined=tuple(each for _, part in run for each in part.quarantined),
            degraded=tuple(each for _, part in run for each in part.degraded),
            retired=retired,
        )
        archive.append(rows, info)
        merged += len(run)
    return merged


def _runs(archive: Archive) -> list[Parts]:
    """Runs of small parts, each following the one before, long enough to be worth it."""
    retired = archive.retired()
    small = sorted(
        (
            (path, info)
            for path, info in archive.named_parts()
            if not info.input and info.last - info.first < SMALL_ROWS
            if path.name not in retired and not info.retired
        ),
        key=lambda part: part[1].first,
    )
    runs: list[Parts] = []
    run: Parts = []
    size = 0
    for path, info in small:
        more = path.stat().st_size
        follows = run and info.first == run[-1][1].last + 1 and info.chain_id == run[-1][1].chain_id
        full = size + more > LARGEST_BYTES
        if not follows or full or len(run) >= LONGEST_RUN:
            if len(run) >= SHORTEST_RUN or (follows and full and len(run) > 1):
                runs.append(run)
            run, size = [], 0
        run.append((path, info))
        size += more
    return [*runs, run] if len(run) >= SHORTEST_RUN else runs


def _remove_merged(archive: Archive) -> None:
    """Remove the files whose every row stands in a merged part."""
    retired = archive.retired()
    gone = set()
    for path, info in archive.named_parts():
        why = retired.get(path.name, {})
        refused = {number for number, _ in info.quarantined}
        stored = set(range(info.first, info.last + 1)) - refused  # once, the refused were not retired
        if why and all(why.get(number) == MERGED for number in stored):
            gone.add(path)
    archive.remove(gone)
