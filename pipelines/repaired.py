"""Blocks that `blockscan ingest --repair` made good after they had been scored."""

from pathlib import Path

from blockscan.archive import Archive, read_part
from blockscan.chains.families import parse
from blockscan.store import ScoreStore
from blockscan.transaction import Transaction


def repaired_since(archive: Archive, store: ScoreStore) -> set[str]:
    """Hashes of the blocks of which the store still has what was known before they were repaired.

    A repaired block lies in a part of its own that names the row it replaced. One transaction of which more
    is known now than then tells whether the block was scored before or after.
    """
    found = set[str]()
    for path, info in archive.named_parts():
        for name, number, why in info.retired:
            if why != "replaced":
                continue
            before, after = _rows(archive.path / name, number), _rows(path, number)
            better = [each for key, each in after.items() if _known(each) != _known(before.get(key, each))]
            scored = store.score(better[0].hash, chain=better[0].chain) if better else None
            if scored and (scored.source, scored.trace_status) == _known(before[better[0].hash]):
                found |= {str(raw.hash) for raw in read_part(path, number.__eq__)}
    return found


def _rows(path: Path, number: int) -> dict[str, Transaction]:
    return {each.hash: each for raw in read_part(path, number.__eq__) for each in parse(raw)}


def _known(transaction: Transaction) -> tuple[str, str]:
    return transaction.source.value, transaction.status.value
