"""What the score store forgets: transactions of long ago that never raised an alert, and what hangs on them.

A transaction that has an alert, whatever became of it, stays with its score, tree and blocks. What was around
it is gone, so it is marked `alone` and no longer counts among the scores of its time: of those, only alerts
would be left. Where it is scored again with its neighbours, it counts again.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from blockscan.detect.mix import LAST
from blockscan.store_chain import forget_blocks, marks
from blockscan.store_db import Database
from blockscan.store_report import parties_of, remember_caller
from blockscan.store_schema import storable

BATCH = 250
"""Scores that are looked at in one transaction, during which nobody else can write."""
_PAGES = 1000
"""Pages that are given back in one transaction."""
_OLD = "FROM scores s LEFT JOIN alerts a ON a.chain = s.chain AND a.tx_hash = s.tx_hash \
    WHERE s.chain = ? AND s.alone = 0 AND s.time < ?"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many transactions were forgotten, and how many kept for their alerts, `until` which chain time."""

    transactions: int
    kept: int
    until: int


def chains_of(db: Database) -> list[str]:
    """The chains of which the store has scores."""
    found: list[str] = []
    after = "SELECT MIN(chain) FROM scores WHERE chain > ?"
    while (chain := db.rows(after, (found[-1] if found else "",))[0][0]) is not None:
        found.append(chain)
    return found


def begin_of(db: Database, chain: str, seconds: int, *, now: int) -> int | None:
    """The chain time (Unix seconds) from which on nothing is forgotten; None where nothing is.

    It lies `seconds` before the chain's newest transaction, or earlier: the last LAST transactions, over
    which p-values count sizes, stay. A time ahead of `now` is not believed, it would have all forgotten.
    """
    sql = """SELECT time FROM scores WHERE chain = ? AND alone = 0 AND time <= ? AND +shown = 1
        AND orphaned = 0 ORDER BY time DESC LIMIT ?"""
    last = [time for (time,) in db.rows(sql, (storable(chain), now, LAST))]
    return min(last[0] - seconds, last[-1]) if len(last) == LAST else None


def count_old(db: Database, chain: str, begin: int) -> Forgotten:
    """What `forget` would do."""
    sql = f"SELECT COUNT(DISTINCT s.tx_hash), COUNT(DISTINCT a.tx_hash) {_OLD}"
    old, kept = db.rows(sql, (storable(chain), begin))[0]
    return Forgotten(old - kept, kept, begin)


def count_timeless(db: Database, chain: str) -> int:
    """Scores without a time, which are never forgotten."""
    sql = "SELECT COUNT(*) FROM scores WHERE chain = ? AND alone = 0 AND time IS NULL"
    return int(db.rows(sql, (storable(chain),))[0][0])


def forget(db: Database, chain: str, begin: int) -> Iterator[Forgotten]:
    """Forget what is older than a chain time, the oldest first, BATCH scores with each step.

    A step is stored whole or not at all, and no transaction is open between two: others can write, and
    whoever is interrupted goes on by calling it again.

    Raises:
        StoreError: disk full, locked, or read-only.
    """
    chain, parties = storable(chain), parties_of(db, chain)
    while True:
        with db.transaction():
            done = _forget_some(db, chain, begin, parties)
        if done is None:
            return
        yield done


def give_back(db: Database) -> Iterator[int]:
    """Give free pages to the system, some with each step; how many are left.

    Of a store that was begun before stores could do so, nothing is: what comes fills them.
    """
    while db.rows("PRAGMA auto_vacuum")[0][0] and (left := db.rows("PRAGMA freelist_count")[0][0]):
        with db.transaction():
            for _ in range(min(left, _PAGES)):  # of more than one at once, Python's driver takes one
                db.rows("PRAGMA incremental_vacuum(1)")
        yield max(0, left - _PAGES)


def size_of(db: Database) -> tuple[int, int]:
    """Bytes of the store, and how many of them are free for what comes."""
    pages, free, each = (
        int(db.rows(f"PRAGMA {name}")[0][0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return pages * each, free * each


def _forget_some(db: Database, chain: str, begin: int, parties: Collection[str]) -> Forgotten | None:
    """Forget what is oldest, inside of an open transaction; None where nothing is old any more."""
    columns = "s.tx_hash, s.target, s.sender, s.time, a.tx_hash IS NOT NULL"
    rows = db.rows(f"SELECT {columns} {_OLD} ORDER BY s.time LIMIT ?", (chain, begin, BATCH))
    if not rows:
        return None
    kept = {tx_hash for tx_hash, *_, alert in rows if alert}
    gone = {tx_hash for tx_hash, *_, alert in rows if not alert}
    for target, sender in {row[1:3] for row in rows if row[0] in gone and row[1] in parties}:
        remember_caller(db, chain, target, sender)
    forget_blocks(db, chain, gone)
    for table in ("frames", "scores"):
        db.execute(f"DELETE FROM {table} WHERE chain = ? AND tx_hash IN ({marks(gone)})", (chain, *gone))
    alone = f"UPDATE scores SET alone = 1 WHERE chain = ? AND tx_hash IN ({marks(kept)})"
    db.execute(alone, (chain, *kept))
    return Forgotten(len(gone), len(kept), rows[-1][3])
