"""What receivers have been told of a store's alerts, and what they are still to be told.

An alert has one row per receiver: its last event and what became of that. It is derived from the alert as it
stands, so nobody who raises or corrects alerts has to think of receivers, and what came and went between two
looks is not told. An event is decided on before it is sent and settled afterwards: whoever is killed in
between sends it once more, under the same number.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from blockscan.store_db import Database, file_of
from blockscan.store_schema import SEVERITIES

BATCH = 500
_TURN = 0.12
"""Seconds between two batches: a writer who waits for the lock asks for it ten times a second."""
_KEY = ("receiver", "unique_key")
# An alert that left the chain before it was told of is none for the receiver, until it comes back. One that
# was left out is looked at again when it has become another severity. Its score says as well whether it left
# the chain: people decide on orphaned alerts, too, which then have another status.
_PLANNED = """SELECT a.unique_key, a.severity, a.gone, n.event, n.state, n.severity, n.number
    FROM (SELECT alerts.unique_key, severity, status = 'orphaned' OR orphaned = 1 AS gone
        FROM alerts CROSS JOIN scores WHERE scores.chain = alerts.chain
        AND scores.tx_hash = alerts.tx_hash AND scores.calibration = alerts.calibration) a
    LEFT JOIN notices n ON n.receiver = ? AND n.unique_key = a.unique_key
    WHERE CASE n.state
        WHEN 'sent' THEN a.gone <> (n.event = 'orphaned')
        WHEN 'left out' THEN NOT a.gone AND (? = 1 OR a.severity <> n.severity)
        WHEN 'refused' THEN ? = 1
        WHEN 'waiting' THEN 1 = 0
        ELSE NOT a.gone END"""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event of an alert, for one receiver.

    `event` is raised, orphaned or restored, `state` waiting, sent, refused or left out; `severity` is that of
    the alert when this was decided. `number` counts the alert's events from 1, `tries` the attempts in vain.
    """

    unique_key: str
    event: str
    state: str
    severity: str
    number: int = 1
    tries: int = 0


_COLUMNS = tuple(field.name for field in fields(Notice))


def open_outbox(location: str | Path, receiver: str) -> "Outbox":
    """The notices of one receiver in the store at a path or sqlite:/// URL.

    Raises:
        StoreError: there is no such store, or it cannot be written.
    """
    return Outbox(Database(file_of(location, read_only=True), read_only=False), receiver)


class Outbox:
    """The notices of one receiver. No transaction is open while its user sends."""

    def __init__(self, database: Database, receiver: str) -> None:
        """Wrap an open database; `open_outbox` makes both."""
        self.path = database.path
        self._db = database
        self._receiver = receiver

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    @property
    def begun(self) -> bool:
        """Whether the store knows the receiver."""
        return bool(self._db.rows("SELECT 1 FROM receivers WHERE name = ?", (self._receiver,)))

    def begin(self, *, everything: bool) -> int:
        """Note a new receiver; how many alerts are left out, all of them unless it is to get `everything`."""
        with self._db.transaction():
            self._db.execute("INSERT INTO receivers VALUES (?, ?)", (self._receiver, int(time.time())))
            if everything:
                return 0
            there = "SELECT ?, unique_key, 'raised', 'left out', severity, 1, 0 FROM alerts"
            return self._db.execute(f"INSERT INTO notices {there}", (self._receiver,)).rowcount

    def plan(
        self, severities: Collection[str], *, everything: bool = False, refused: bool = False
    ) -> list[Notice]:
        """What the alerts as they stand give to tell, or to leave out; `put` makes it so.

        Args:
            severities: of the alerts to tell of; others are left out.
            everything: look again at all that was left out.
            refused: take up again what was refused.
        """
        found = []
        for key, severity, orphaned, event, state, before, number in self._db.rows(
            _PLANNED, (self._receiver, int(everything), int(refused))
        ):
            if state == "sent":
                change = "orphaned" if orphaned else "restored"
                found.append(Notice(key, change, "waiting", severity, number + 1))
            elif state == "refused":
                found.append(Notice(key, event, "waiting", severity, number))
            else:
                known = state == "left out" and not everything
                worse = not known or SEVERITIES.index(severity) < SEVERITIES.index(before)
                wanted = severity in severities and worse
                found.append(Notice(key, "raised", "waiting" if wanted else "left out", severity))
        return found

    def put(self, notices: Sequence[Notice]) -> None:
        """Store notices in batches, between which others write."""
        for start in range(0, len(notices), BATCH):
            if start:
                time.sleep(_TURN)
            with self._db.transaction():
                for notice in notices[start : start + BATCH]:
                    row = (self._receiver, *asdict(notice).values())
                    self._db.upsert("notices", ("receiver", *_COLUMNS), _KEY, row)

    def sending(self) -> None:
        """Note that something is to be sent now: where that cannot be stored, each run would send it again.

        Raises:
            StoreError: disk full, locked, or read-only.
        """
        row = f"sending_{self._receiver}", str(time.time_ns())  # another each time: else nothing is written
        with self._db.transaction():
            self._db.upsert("meta", ("name", "value"), ("name",), row)

    def waiting(self, *, limit: int) -> list[Notice]:
        """What is to be sent, the least tried first, then in the order of the chain."""
        columns = ", ".join(f"n.{name}" for name in _COLUMNS)
        sql = f"""SELECT {columns} FROM notices n JOIN alerts a ON a.unique_key = n.unique_key
            JOIN scores s ON s.chain = a.chain AND s.tx_hash = a.tx_hash AND s.calibration = a.calibration
            WHERE n.receiver = ? AND n.state = 'waiting'
            ORDER BY n.tries, s.block_number, s.tx_index, n.unique_key LIMIT ?"""
        return [Notice(*row) for row in self._db.rows(sql, (self._receiver, limit))]

    def counts(self) -> dict[str, int]:
        """Notices by state."""
        sql = "SELECT state, COUNT(*) FROM notices WHERE receiver = ? GROUP BY state"
        return dict(self._db.rows(sql, (self._receiver,)))
