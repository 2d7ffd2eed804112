"""What becomes of an alert in the score store: raised, renewed, lapsed, decided, each step in its history.

All of it runs inside of an open transaction.
"""

from dataclasses import replace

from blockscan.errors import StoreError
from blockscan.findings import TxScore
from blockscan.findings_wording import utc
from blockscan.store_db import Database
from blockscan.store_schema import STATUSES, Disposition, storable


def put_alert(db: Database, score: TxScore, severity: str | None, now: int) -> bool:
    """Raise, renew or lapse the alert of a score that was just stored; True where it is a new one."""
    chain, tx_hash, calibration = map(storable, (score.chain, score.tx_hash, score.calibration))
    shown = "SELECT 1 FROM scores WHERE shown = 1 AND chain = ? AND tx_hash = ? AND calibration = ?"
    if not db.rows(shown, (chain, tx_hash, calibration)):
        return False
    key = f"{chain}:{tx_hash}"
    found = db.rows("SELECT severity, calibration, lapsed FROM alerts WHERE unique_key = ?", (key,))
    if not found:
        if severity is not None:
            row = (key, chain, tx_hash, calibration, severity, "open", now, "", 0)
            db.execute("INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return severity is not None
    before = found[0][0]
    after = (*found[0][:2], 1) if severity is None else (severity, calibration, 0)
    if after != found[0]:
        change = "UPDATE alerts SET severity = ?, calibration = ?, lapsed = ? WHERE unique_key = ?"
        db.execute(change, (*after, key))
        what = "lapsed" if severity is None else "renewed" if severity == before else f"now {severity}"
        p_value = "unknown" if score.p_value is None else f"{score.p_value:.3g}"
        note = f"p = {p_value} under calibration {calibration}"
        remember(db, key, Disposition(now, "blockscan", what, note))
    return False


def decide(db: Database, unique_key: str, decision: Disposition, seen: tuple[str, str] | None) -> None:
    """Record what a person made of an alert of which he had `seen` this status and note.

    Raises:
        StoreError: no such alert or status, or the alert has another status or note by now.
    """
    if decision.what not in STATUSES:
        raise StoreError(f"unknown status {decision.what!r}; it is one of {', '.join(STATUSES)}")
    note = storable(decision.note)
    found = db.rows("SELECT status, note FROM alerts WHERE unique_key = ?", (unique_key,))
    if not found:
        raise StoreError(f"{db.path} has no alert {unique_key!r}; see `alerts()` for those it has")
    if seen is not None and found[0] != seen:
        last = "SELECT who, time FROM dispositions WHERE unique_key = ? AND what = ? ORDER BY number DESC"
        who, when = db.rows(last, (unique_key, found[0][0]))[0]
        raise StoreError(f"{who} set this alert to {found[0][0]} at {utc(when)}; look at it again")
    if found[0] != (decision.what, note):
        change = "UPDATE alerts SET status = ?, note = ? WHERE unique_key = ?"
        db.execute(change, (decision.what, note, unique_key))
        remember(db, unique_key, replace(decision, who=storable(decision.who), note=note))


def remember(db: Database, unique_key: str, entry: Disposition) -> None:
    """Append to the history of an alert."""
    number = db.rows("SELECT COUNT(*) FROM dispositions WHERE unique_key = ?", (unique_key,))[0][0]
    row = (unique_key, number, entry.time, entry.who, entry.what, entry.note)
    db.execute("INSERT INTO dispositions VALUES (?, ?, ?, ?, ?, ?)", row)
