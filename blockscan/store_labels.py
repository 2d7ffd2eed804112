"""Address labels in the score store: who is said to stand behind an address, by whom, when, how surely."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import islice

from blockscan.findings import Frame, TxScore
from blockscan.store_db import Database
from blockscan.store_schema import storable

BATCH = 10_000
"""Labels that are written at once, in less than half a second."""
_TURN = 0.12
"""Seconds between two batches: a writer who waits for the lock asks for it ten times a second."""
_ASKED_AT_ONCE = 500
_MOST_ADDRESSES = 2000


@dataclass(frozen=True, slots=True)
class Label:
    """What one source says of one address.

    `chain` is "" for every chain. `date` is ISO 8601 (YYYY-MM-DD). `confidence` is from 0 to 1, None where
    the source gives none. `name` and `source` are others' text: show them as text, never as markup.
    """

    address: str
    name: str
    source: str
    date: str
    confidence: float | None
    chain: str = ""


@dataclass(frozen=True, slots=True)
class LabelsWritten:
    """What an import did: labels given, new or changed among them, and taken back."""

    given: int
    changed: int
    withdrawn: int


COLUMNS = tuple(field.name for field in fields(Label))
KEY = ("address", "chain", "source", "name")


def addresses_of(score: TxScore, frames: Sequence[Frame]) -> tuple[str, ...]:
    """Sender, target, and every address of the call tree in the order of the calls, each once."""
    found = [score.sender, score.target or ""]
    for frame in frames:
        found += [frame.caller, frame.target]
    return tuple(dict.fromkeys(filter(None, found)))[:_MOST_ADDRESSES]


def put_labels(db: Database, labels: Iterable[Label], withdrawn: Iterable[Label]) -> LabelsWritten:
    """Write labels, and remove those that their source took back, in batches, so that others can write."""
    given, changed = _in_batches(db, labels, _put)
    _, removed = _in_batches(db, withdrawn, _remove)
    return LabelsWritten(given, changed, removed)


def labels_of(db: Database, addresses: Iterable[str], chain: str) -> dict[str, tuple[Label, ...]]:
    """The labels of each address that has any, the most certain first, then the newest."""
    wanted = sorted({storable(address) for address in addresses})
    found: dict[str, tuple[Label, ...]] = {}
    for start in range(0, len(wanted), _ASKED_AT_ONCE):
        some = wanted[start : start + _ASKED_AT_ONCE]
        rows = db.rows(
            f"SELECT {', '.join(COLUMNS)} FROM labels WHERE chain IN ('', ?) "
            f"AND address IN ({', '.join('?' * len(some))}) "
            "ORDER BY address, confidence IS NULL, confidence DESC, date DESC, source, name",
            (storable(chain), *some),
        )
        for row in rows:
            label = Label(*row)
            found[label.address] = (*found.get(label.address, ()), label)
    return found


def _in_batches(
    db: Database, labels: Iterable[Label], change: Callable[[Database, Label], int]
) -> tuple[int, int]:
    """How many labels were given, and how many rows changed."""
    source, given, changed = iter(labels), 0, 0
    while batch := list(islice(source, BATCH)):
        if given:
            time.sleep(_TURN)
        with db.transaction():
            changed += sum(change(db, label) for label in batch)
        given += len(batch)
    return given, changed


def _put(db: Database, label: Label) -> int:
    row = tuple(storable(cell) if isinstance(cell, str) else cell for cell in astuple(label))
    return db.upsert("labels", COLUMNS, KEY, row)


def _remove(db: Database, label: Label) -> int:
    where = " AND ".join(f"{name} = ?" for name in KEY)
    key = [storable(str(getattr(label, name))) for name in KEY]
    return db.execute(f"DELETE FROM labels WHERE {where}", key).rowcount
