"""Stored blocks that are scored late: those that `blockscan ingest --repair` made good, and in what runs."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from blockscan.archive import Archive, RawBlock, read_part
from blockscan.archive_parts import read_columns
from blockscan.chains.families import parse
from blockscan.store import ScoreStore
from blockscan.transaction import TraceStatus, Transaction


def repaired_since(archive: Archive, store: ScoreStore, first: int) -> set[str]:
    """Hashes of the blocks from `first` on of which the store has what was known before they were repaired.

    A repaired block lies in a part of its own that names the row it replaced. One transaction of which more
    is known now than then tells whether the block was scored before or after.
    """
    found = set[str]()
    for path, info in archive.named_parts():
        for name, number, why in info.retired:
            replaced = archive.path / name
            if why != "replaced" or number < first or _scored_in_full(replaced, path, number, store):
                continue
            before, after = _rows(replaced, number), _rows(path, number)
            better = [each for key, each in after.items() if _known(each) != _known(before.get(key, each))]
            scored = store.score(better[0].hash, chain=better[0].chain) if better else None
            if scored and (scored.source, scored.trace_status) == _known(before[better[0].hash]):
                found |= {str(raw.hash) for raw in read_part(path, number.__eq__)}
    return found


def orphaned_hashes(archive: Archive) -> set[str]:
    """Hashes of all rows that are retired because their blocks left the chain; some may have come back."""
    found = set[str]()
    for path, _, retired in archive.live_parts():
        if "orphaned" in retired.values():
            rows = read_columns(path, "number", "hash")
            found |= {str(block_hash) for number, block_hash in rows if retired.get(number) == "orphaned"}
    return found


def read_blocks(archive: Archive, names: Mapping[int, str]) -> Iterator[RawBlock]:
    """The rows of some blocks, in order; `names` gives each one's part file: a repaired block has its own."""
    for name, numbers in groupby(sorted(names), key=names.__getitem__):
        yield from read_part(archive.path / name, set(numbers).__contains__)


def consecutive(blocks: Iterable[RawBlock], most: int) -> Iterator[list[RawBlock]]:
    """Blocks in runs of consecutive numbers, each of which ends once it has `most` transactions."""
    run: list[RawBlock] = []
    for raw in blocks:
        follows = bool(run) and raw.number == (run[-1].number or 0) + 1
        if run and (not follows or sum(len(each.tx_hashes) for each in run) >= most):
            yield run
            run = []
        run.append(raw)
    if run:
        yield run


def _scored_in_full(before: Path, after: Path, number: int, store: ScoreStore) -> bool:
    """Whether a block's scores are of the source of its repaired row: then nothing needs to be parsed.

    Where the row before was of another source, the first transaction tells.
    """
    sources = {source for at, source in read_columns(before, "number", "source") if at == number}
    for at, chain, source, hashes in read_columns(after, "number", "chain", "source", "tx_hashes"):
        telling = hashes if source in sources else hashes[:1]
        for scored in (store.score(tx_hash, chain=chain) for tx_hash in telling if at == number):
            if scored is None or not scored.source.startswith(source):
                return False
            if scored.trace_status != TraceStatus.COMPLETE:
                return False
    return True


def _rows(path: Path, number: int) -> dict[str, Transaction]:
    return {each.hash: each for raw in read_part(path, number.__eq__) for each in parse(raw)}


def _known(transaction: Transaction) -> tuple[str, str]:
    return transaction.source.value, transaction.status.value
