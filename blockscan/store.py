"""ScoreStore: the one door to results. SQLite in WAL mode, so the dashboard reads while a run writes.

A transaction may have one score per calibration. Views show the score under the calibration that the
store met last; writing again under an older calibration changes neither that nor any alert. An alert is
never removed: where the newest score is no longer at the alarm level the alert stays, with the score that
raised it, is marked lapsed, and its history says why.
"""

import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from blockscan import store_alerts, store_chain
from blockscan.errors import StoreError
from blockscan.findings import Alert, Frame, TxScore
from blockscan.store_chain import Correction, LastValue, ScoredBlock
from blockscan.store_db import Database, file_of
from blockscan.store_labels import Label, LabelsWritten, labels_of, put_labels
from blockscan.store_report import callers_of_parties, summarise, verify
from blockscan.store_schema import (
    NEW_CALIBRATION,
    RUN_COLUMNS,
    SCORE_COLUMNS,
    SHOW_NEWEST,
    Disposition,
    Run,
    Search,
    Summary,
    Written,
    alert_from_row,
    beginnings,
    condition,
    pack_frames,
    run_from_row,
    run_row,
    score_from_row,
    score_row,
    spellings,
    storable,
    unpack_frames,
)

__all__ = [
    "Correction",
    "Disposition",
    "Label",
    "Run",
    "ScoreStore",
    "ScoredBlock",
    "Search",
    "Summary",
    "Written",
    "open_store",
]

BATCH = 500
ALL = Search()
_SCORE = ", ".join(f"s.{name}" for name in SCORE_COLUMNS)
_KEY = ("chain", "tx_hash", "calibration")
# The planner has to begin with the alerts, of which there are few, and not with scores that are shown.
_RAISED = "alerts a CROSS JOIN scores s WHERE " + " AND ".join(f"s.{name} = a.{name}" for name in _KEY)
_RAISED_COLUMNS = f"{_SCORE}, a.unique_key, a.severity, a.status, a.note"
_RAREST = "s.p_value IS NULL, s.p_value, s.value DESC, s.chain, s.tx_hash"
_ORDERS = {
    "p_value": _RAREST,
    "time": "s.time IS NULL, s.time DESC, s.chain, s.tx_hash",
}
_BY_PLACE = "s.chain, s.block_number, s.tx_index, s.tx_hash"
# All but a few scores are shown: the plus keeps the planner from an index that begins with that.
_SHOWN = "scores s LEFT JOIN alerts a ON s.chain = a.chain AND s.tx_hash = a.tx_hash WHERE +s.shown = 1"
_TREE = "(SELECT f.tree FROM frames f WHERE " + " AND ".join(f"f.{name} = s.{name}" for name in _KEY) + ")"
Order = Literal["p_value", "time"]
Row = tuple[TxScore, str | None, Sequence[Frame] | None]


def open_store(location: str | Path, *, read_only: bool = False) -> "ScoreStore":
    """Open a store by path or sqlite:/// URL, creating it unless `read_only`; an older one is migrated.

    Raises:
        StoreError: another kind of URL, no such directory or file, not a store, a newer schema, or an older
            one where nothing can be written.
    """
    return ScoreStore(Database(file_of(location, read_only=read_only), read_only=read_only))


class ScoreStore:
    """Scores, painted call trees, alerts with their history, and runs. For one thread at a time."""

    def __init__(self, database: Database) -> None:
        """Wrap an open database; `open_store` makes both."""
        self._db = database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; it can no longer be used."""
        self._db.close()

    def write(self, rows: Iterable[Row], *, now: int | None = None) -> Written:
        """Store (score, severity or None for no alert, painted frames or None) in batches of 500.

        A batch is stored whole or not at all. Rows that are stored already change nothing; where None
        is given for frames, stored ones stay. `now` dates new alerts (default: the clock).

        Raises:
            StoreError: disk full, locked, read-only, or a value that cannot be stored.
        """
        source, seen, changed, raised = iter(rows), 0, 0, 0
        stamp = int(time.time()) if now is None else now
        while batch := list(islice(source, BATCH)):
            with self._db.transaction():
                for score, severity, frames in batch:
                    changed += self._put_score(score, frames)
                    raised += store_alerts.put_alert(self._db, score, severity, stamp)
            seen += len(batch)
        return Written(seen, changed, raised)

    def set_status(
        self,
        unique_key: str,
        status: str,
        *,
        note: str,
        by: str,
        seen: tuple[str, str] | None = None,
        now: int | None = None,
    ) -> None:
        """Record what a person made of an alert; its history keeps every step.

        `seen` is the status and note that the person decides on: where the alert has others, someone was
        faster, and nothing is recorded.

        Raises:
            StoreError: no such alert or status, someone was faster, or the store cannot be written.
        """
        stamp = int(time.time()) if now is None else now
        with self._db.transaction():
            store_alerts.decide(self._db, unique_key, Disposition(stamp, by, status, note), seen)

    def record_run(self, run: Run) -> None:
        """Store a run, or replace the one with the same id; it is the latest unless that began just then."""
        began = "SELECT number FROM runs WHERE id = ? AND started = ?"
        with self._db.transaction():
            place = self._db.rows(began, (run.id, run.started)) or self._db.rows(
                "SELECT COALESCE(MAX(number), 0) + 1 FROM runs"
            )
            self._db.upsert("runs", (*RUN_COLUMNS, "number"), ("id",), (*run_row(run), *place[0]))

    def runs(self, *, limit: int = 20, calibration: str | None = None) -> list[Run]:
        """The latest runs, newest first; where a calibration is given, those that judged by it.

        Their order is that in which they were first recorded: a clock may jump.
        """
        judged = "%" if calibration is None else f'%"{calibration}"%'
        found = f"SELECT {', '.join(RUN_COLUMNS)} FROM runs WHERE calibrations LIKE ?"
        with self._decoding("a run"):
            rows = self._db.rows(f"{found} ORDER BY number DESC LIMIT ?", (judged, limit))
            return [run_from_row(row) for row in rows]

    def alerts(
        self, search: Search = ALL, *, limit: int = 50, offset: int = 0, order: Order = "p_value"
    ) -> list[Alert]:
        """One page of alerts, each with the score that raised it."""
        where, values = condition(search)
        page = f"AND {where} ORDER BY {_ORDERS[order]} LIMIT ? OFFSET ?"
        sql = f"SELECT {_RAISED_COLUMNS} FROM {_RAISED} {page}"
        with self._decoding("an alert"):
            return [alert_from_row(row) for row in self._db.rows(sql, (*values, limit, offset))]

    def count_alerts(self, search: Search = ALL) -> int:
        """How many alerts a search finds in all."""
        where, values = condition(search)
        return int(self._db.rows(f"SELECT COUNT(*) FROM {_RAISED} AND {where}", values)[0][0])

    def alert(self, tx_hash: str, *, chain: str | None = None) -> Alert | None:
        """The alert of one transaction, or None; of one on several chains, that of the first of `chains`."""
        meant = [chain] if chain else self.chains(tx_hash)
        sql = f"SELECT {_RAISED_COLUMNS} FROM {_RAISED} AND a.tx_hash IN (?, ?) AND a.chain = ?"
        found = self._db.rows(sql, (*spellings(tx_hash), *meant[:1])) if meant else []
        with self._decoding("an alert"):
            return alert_from_row(found[0]) if found else None

    def lapsed(self, unique_keys: Collection[str]) -> set[str]:
        """Which of these alerts are no longer at the alarm level under the newest calibration."""
        marks = ", ".join("?" * len(unique_keys))
        sql = f"SELECT unique_key FROM alerts WHERE lapsed = 1 AND unique_key IN ({marks})"
        return {key for (key,) in self._db.rows(sql, tuple(unique_keys))}

    def history(self, unique_key: str) -> list[Disposition]:
        """Everything that happened to an alert, oldest first."""
        sql = "SELECT time, who, what, note FROM dispositions WHERE unique_key = ? ORDER BY number"
        return [Disposition(*row) for row in self._db.rows(sql, (unique_key,))]

    def chains(self, tx_hash: str) -> list[str]:
        """The chains on which a hash was scored, those with an alert first, and the rarest first of all."""
        return [chain for (chain,) in self._shown("s.chain", tx_hash, None)]

    def score(self, tx_hash: str, *, chain: str | None = None) -> TxScore | None:
        """The shown score of a transaction, or None. Hexadecimal hashes may be in either case."""
        found = self._shown(_SCORE, tx_hash, chain)
        with self._decoding(f"the score of {tx_hash}"):
            return score_from_row(found[0]) if found else None

    def starting_with(self, prefix: str) -> list[str]:
        """Scored hashes that begin with 0x and these hexadecimal digits, in either case."""
        sql = "SELECT DISTINCT tx_hash FROM scores WHERE tx_hash >= ? AND tx_hash < ?"
        found = (row for each in beginnings(prefix) for row in self._db.rows(sql, (each, f"{each}g")))
        return sorted({tx_hash for (tx_hash,) in found})

    def frames(self, tx_hash: str, *, chain: str | None = None) -> tuple[Frame, ...]:
        """The painted call tree of a transaction in pre-order; empty where none was kept."""
        found = self._shown(_TREE, tx_hash, chain)
        with self._decoding(f"the call tree of {tx_hash}"):
            return unpack_frames(found[0][0]) if found and found[0][0] is not None else ()

    def callers(self) -> dict[tuple[str, str], int]:
        """How many senders call an address, by (chain, address), for senders and targets of alerts."""
        return callers_of_parties(self._db)

    def iter_scores(self) -> Iterator[TxScore]:
        """All shown scores of what is on the chain, by chain, block, index and hash.

        Without those alone: what was around them is forgotten (see blockscan.store_prune).
        """
        with self._decoding("a score"):
            live = "s.shown = 1 AND s.orphaned = 0 AND s.alone = 0"
            for row in self._db.execute(f"SELECT {_SCORE} FROM scores s WHERE {live} ORDER BY {_BY_PLACE}"):
                yield score_from_row(row)

    def put_blocks(self, blocks: Iterable[ScoredBlock], *, now: int | None = None) -> list[Correction]:
        """Note blocks whose scores have been written; alerts that they bring back onto the chain."""
        with self._db.transaction():
            return store_chain.put_blocks(self._db, blocks, int(time.time()) if now is None else now)

    def orphan_blocks(
        self, chain: str, hashes: Collection[str], *, now: int | None = None
    ) -> list[Correction]:
        """Mark blocks that left the chain, with their scores and alerts; the alerts that changed."""
        stamp = int(time.time()) if now is None else now
        with self._db.transaction():
            return store_chain.orphan_blocks(self._db, chain, hashes, stamp)

    def known_blocks(self, chain: str, first: int, last: int) -> set[str]:
        """Hashes of the blocks from `first` to `last` that were noted, orphaned ones included."""
        return store_chain.known_blocks(self._db, chain, first, last)

    def first_block(self, chain: str) -> int | None:
        """Number of the first block noted for a chain, or of the last forgotten one; None without either."""
        return store_chain.first_block(self._db, chain)

    def last_values(self, chain: str, calibration: str, seconds: int) -> list[LastValue]:
        """What a calibration judged in the chain's last seconds, oldest first."""
        return store_chain.last_values(self._db, chain, calibration, seconds)

    def values_before(self, chain: str, calibration: str, *, block: int, since: int) -> list[LastValue]:
        """What a calibration judged in blocks before one and not before a time, oldest first."""
        return store_chain.values_before(self._db, chain, calibration, block=block, since=since)

    def sizes_before(self, chain: str, source: str, *, block: int, most: int) -> list[int]:
        """Numbers of calls of the last transactions of a trace source before a block, in order."""
        return store_chain.sizes_before(self._db, chain, source, block=block, most=most)

    def orphans(self, chain: str, tx_hashes: Sequence[str]) -> set[str]:
        """Which of these transactions are on no block of the chain any more."""
        return store_chain.orphans(self._db, chain, tx_hashes)

    def put_labels(self, labels: Iterable[Label], *, withdrawn: Iterable[Label] = ()) -> LabelsWritten:
        """Store what is known of addresses, and take back what a source no longer says of them, in batches.

        A batch is stored whole or not at all.

        Raises:
            StoreError: disk full, locked, or read-only.
        """
        return put_labels(self._db, labels, withdrawn)

    def labels(self, addresses: Iterable[str], chain: str) -> dict[str, tuple[Label, ...]]:
        """What is known of some addresses, the most certain first; those without a label are left out."""
        return labels_of(self._db, addresses, chain)

    def summary(self) -> Summary:
        """Counts for an overview, judged at the latest run's alarm level."""
        latest = self.runs(limit=1)
        return summarise(self._db, latest[0].alarm_level if latest else None)

    def verify(self) -> list[str]:
        """What is wrong with the store, one line each; empty where all is well."""
        return verify(self._db)

    def _put_score(self, score: TxScore, frames: Sequence[Frame] | None) -> bool:
        """Store a score and its frames; True where the score is new or was another."""
        if score.value != score.value:
            raise StoreError(f"the score of {score.tx_hash} is not a number; report this transaction")
        self._db.execute(NEW_CALIBRATION, (score.calibration, score.calibration))
        row = score_row(score)
        changed = self._db.upsert(
            "scores", (*SCORE_COLUMNS, "shown", "alone"), _KEY, (*row, 1, 0), keep=("shown",)
        )
        key = (storable(score.chain), storable(score.tx_hash), storable(score.calibration))
        if changed:
            self._db.execute(SHOW_NEWEST, key[:2] * 2)
        if frames is not None:
            self._db.upsert("frames", (*_KEY, "tree"), _KEY, (*key, pack_frames(frames)))
        return changed

    def _shown(self, what: str, tx_hash: str, chain: str | None) -> list[Any]:
        """Of the shown scores of a hash, on one chain or all in the order of `chains`."""
        where = f"s.tx_hash IN (?, ?) AND s.chain = COALESCE(?, s.chain) ORDER BY a.chain IS NULL, {_RAREST}"
        return self._db.rows(f"SELECT {what} FROM {_SHOWN} AND {where}", (*spellings(tx_hash), chain))

    @contextmanager
    def _decoding(self, what: str) -> Iterator[None]:
        try:
            with self._db.errors():
                yield
        except (zlib.error, ValueError, TypeError, KeyError) as error:
            path = self._db.path
            raise StoreError(
                f"{what} in {path} is damaged: {error}; `blockscan score` again replaces it"
            ) from error
