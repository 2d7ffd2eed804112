"""What the score store knows of blocks: which were scored, which left the chain, and what follows from it.

A transaction is orphaned while every block that is known to have included it has left the chain. Its score
is marked, its alert becomes `orphaned` with an entry in its history, and nothing is deleted: where another
block includes it again, both come back.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from blockscan.store_alerts import remember
from blockscan.store_db import Database
from blockscan.store_schema import STATUSES, Disposition, storable

_AT_ONCE = 400
_FORGOTTEN = "forgotten"
"""In place of a hash, names the block up to which blocks were forgotten: they are not to be scored again."""
_LIVE_ELSEWHERE = """SELECT 1 FROM inclusions i JOIN blocks b ON b.chain = i.chain AND b.hash = i.block_hash
    WHERE i.chain = s.chain AND i.tx_hash = s.tx_hash AND b.orphaned_at IS NULL"""


@dataclass(frozen=True, slots=True)
class ScoredBlock:
    """A block whose transactions have been scored."""

    chain: str
    number: int
    hash: str
    tx_hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """A change of an alert because the chain changed: `what` is the alert's new status."""

    unique_key: str
    tx_hash: str
    what: str
    note: str


def put_blocks(db: Database, blocks: Iterable[ScoredBlock], now: int) -> list[Correction]:
    """Note scored blocks inside of an open transaction; what they bring back from orphanhood."""
    found: list[Correction] = []
    for block in blocks:
        chain, block_hash = storable(block.chain), storable(block.hash)
        columns = ("chain", "hash", "number", "scored_at", "orphaned_at")
        row = (chain, block_hash, block.number, now, None)
        db.upsert("blocks", columns, ("chain", "hash"), row)
        for tx_hash in block.tx_hashes:
            db.execute(
                "INSERT INTO inclusions VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (chain, storable(tx_hash), block_hash),
            )
        found += _revive(db, chain, block, now)
    return found


def orphan_blocks(db: Database, chain: str, hashes: Collection[str], now: int) -> list[Correction]:
    """Mark blocks as off the chain inside of an open transaction; the alerts that fall with them."""
    found: list[Correction] = []
    for block_hash in map(storable, hashes):
        mark = "UPDATE blocks SET orphaned_at = ? WHERE chain = ? AND hash = ? AND orphaned_at IS NULL"
        db.execute(mark, (now, storable(chain), block_hash))
    for block_hash in map(storable, hashes):
        lost = f"""SELECT s.tx_hash FROM inclusions o CROSS JOIN scores s WHERE s.chain = o.chain
            AND s.tx_hash = o.tx_hash AND o.chain = ? AND o.block_hash = ? AND s.orphaned = 0
            AND NOT EXISTS ({_LIVE_ELSEWHERE})"""
        gone = sorted({tx_hash for (tx_hash,) in db.rows(lost, (storable(chain), block_hash))})
        _mark(db, chain, gone, orphaned=1)
        for key, tx_hash, status in _alerts(db, chain, gone):
            if status != "orphaned":
                note = f"block {block_hash} left the chain; was {status}"
                found.append(_change(db, Correction(key, tx_hash, "orphaned", note), now))
    return found


def known_blocks(db: Database, chain: str, first: int, last: int) -> set[str]:
    """Hashes of the blocks that were scored, orphaned ones included, by number."""
    sql = "SELECT hash FROM blocks WHERE chain = ? AND number BETWEEN ? AND ?"
    return {block_hash for (block_hash,) in db.rows(sql, (storable(chain), first, last))}


def first_block(db: Database, chain: str) -> int | None:
    """Number of the first block noted for a chain."""
    sql = """SELECT COALESCE((SELECT number FROM blocks WHERE chain = ? AND hash = ?),
        (SELECT MIN(number) FROM blocks WHERE chain = ?))"""
    number: int | None = db.rows(sql, (storable(chain), _FORGOTTEN, storable(chain)))[0][0]
    return number


def forget_blocks(db: Database, chain: str, tx_hashes: Collection[str]) -> None:
    """Forget in which blocks transactions were, and blocks up to there of which nothing is left."""
    where = f"chain = ? AND tx_hash IN ({marks(tx_hashes)})"
    blocks = f"SELECT block_hash FROM inclusions WHERE {where}"
    newest = f"SELECT MAX(number) FROM blocks WHERE chain = ? AND hash IN ({blocks})"
    last = db.rows(newest, (chain, chain, *tx_hashes))[0][0]
    first = first_block(db, chain)
    if first is None or last is None:
        return
    db.execute(f"DELETE FROM inclusions WHERE {where}", (chain, *tx_hashes))
    left = "SELECT 1 FROM inclusions i WHERE i.chain = blocks.chain AND i.block_hash = blocks.hash"
    empty = f"DELETE FROM blocks WHERE chain = ? AND number BETWEEN ? AND ? AND NOT EXISTS ({left})"
    db.execute(empty, (chain, first, last))
    row = (chain, _FORGOTTEN, max(first, last), 0)
    db.upsert("blocks", ("chain", "hash", "number", "scored_at"), ("chain", "hash"), row)


class LastValue(NamedTuple):
    """What a run that goes on has to know of a transaction of before; `time` in Unix seconds."""

    tx_hash: str
    block_number: int | None
    sender: str
    target: str | None
    time: int
    value: float


_LAST = ", ".join(LastValue._fields)
# By the index the latest come first, so that a reader stops when he has enough. It begins with `shown`: what
# another calibration has judged since is not, and is asked for as well.
_LATEST = """FROM scores WHERE shown = ? AND chain = ? AND block_number < ? AND time IS NOT NULL
    AND orphaned = 0 ORDER BY block_number DESC, tx_index DESC"""
_AFTER_ALL = 2**63 - 1


def last_values(db: Database, chain: str, calibration: str, seconds: int) -> list[LastValue]:
    """What one calibration judged in the chain's last seconds, oldest first."""
    newest = f"SELECT time {_LATEST} LIMIT 1"
    times = [row[0] for shown in (1, 0) for row in db.rows(newest, (shown, storable(chain), _AFTER_ALL))]
    since = max(times, default=0) - seconds
    return values_before(db, chain, calibration, block=_AFTER_ALL, since=since)


def values_before(db: Database, chain: str, calibration: str, *, block: int, since: int) -> list[LastValue]:
    """What one calibration judged of the chain in blocks before one and not before a time, oldest first."""
    found = []
    for shown in (1, 0):
        sql = f"SELECT COALESCE(tx_index, -1), calibration, {_LAST} {_LATEST}"
        for index, judged_by, *row in db.execute(sql, (shown, storable(chain), block)):
            each = LastValue(*row)
            if each.time < since:
                break
            if judged_by == storable(calibration):
                found.append((each.block_number, index, each))
    return [each for _, _, each in sorted(found)]


def sizes_before(db: Database, chain: str, source: str, *, block: int, most: int) -> list[int]:
    """Numbers of calls of the last transactions of a trace source before a block, in order."""
    sql = (
        "SELECT calls FROM scores WHERE shown = 1 AND chain = ? AND block_number < ? AND source = ? "
        "AND orphaned = 0 AND alone = 0 ORDER BY block_number DESC, tx_index DESC LIMIT ?"
    )
    return [calls for (calls,) in db.rows(sql, (storable(chain), block, source, most))][::-1]


def orphans(db: Database, chain: str, tx_hashes: Sequence[str]) -> set[str]:
    """Which of these transactions are on no block of the chain any more."""
    found: set[str] = set()
    for start in range(0, len(tx_hashes), _AT_ONCE):
        some = [storable(tx_hash) for tx_hash in tx_hashes[start : start + _AT_ONCE]]
        sql = f"SELECT tx_hash FROM scores WHERE chain = ? AND orphaned = 1 AND tx_hash IN ({marks(some)})"
        found |= {tx_hash for (tx_hash,) in db.rows(sql, (storable(chain), *some))}
    return found


def _revive(db: Database, chain: str, block: ScoredBlock, now: int) -> list[Correction]:
    back = sorted(orphans(db, chain, block.tx_hashes))
    _mark(db, chain, back, orphaned=0)
    found = []
    for key, tx_hash, status in _alerts(db, chain, [storable(each) for each in block.tx_hashes]):
        if status == "orphaned":
            note = f"included again in block {block.number} {block.hash}"
            found.append(_change(db, Correction(key, tx_hash, _status_before(db, key), note), now))
    return found


def _status_before(db: Database, key: str) -> str:
    """What a person last made of an alert before it was orphaned."""
    sql = "SELECT what FROM dispositions WHERE unique_key = ? ORDER BY number DESC"
    earlier = [what for (what,) in db.rows(sql, (key,)) if what in STATUSES and what != "orphaned"]
    return earlier[0] if earlier else "open"


def _change(db: Database, correction: Correction, now: int) -> Correction:
    key = correction.unique_key
    db.execute("UPDATE alerts SET status = ? WHERE unique_key = ?", (correction.what, key))
    remember(db, key, Disposition(now, "blockscan watch", correction.what, storable(correction.note)))
    return correction


def _alerts(db: Database, chain: str, tx_hashes: Sequence[str]) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for start in range(0, len(tx_hashes), _AT_ONCE):
        some = tx_hashes[start : start + _AT_ONCE]
        sql = f"""SELECT unique_key, tx_hash, status FROM alerts
            WHERE chain = ? AND tx_hash IN ({marks(some)}) ORDER BY unique_key"""
        found += db.rows(sql, (storable(chain), *some))
    return found


def _mark(db: Database, chain: str, tx_hashes: Sequence[str], *, orphaned: int) -> None:
    for start in range(0, len(tx_hashes), _AT_ONCE):
        some = tx_hashes[start : start + _AT_ONCE]
        sql = f"UPDATE scores SET orphaned = ? WHERE chain = ? AND tx_hash IN ({marks(some)})"
        db.execute(sql, (orphaned, storable(chain), *some))


def marks(values: Collection[str]) -> str:
    """As many placeholders as there are values."""
    return ", ".join("?" * len(values))
