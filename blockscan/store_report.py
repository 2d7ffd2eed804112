"""What a whole store says: its summary, who calls whom in it, and whether it is sound."""

import zlib

from blockscan.store_db import Database
from blockscan.store_schema import SCORE_COLUMNS, Summary, score_from_row, unpack_frames

HISTOGRAM_BINS = 20
MOST_CALLERS = 32
"""How many forgotten callers of an address are remembered: more than incidents tell apart."""
_HOUR, _DAY = 3600, 86_400
_LONGEST_BY_HOUR = 3 * _DAY
_RAISED = """alerts a CROSS JOIN scores s
    WHERE s.chain = a.chain AND s.tx_hash = a.tx_hash AND s.calibration = a.calibration"""
_LIVE = f"{_RAISED} AND s.orphaned = 0"


def summarise(db: Database, alarm_level: float | None) -> Summary:
    """Count the shown scores and the alerts."""
    scored, judged, at_alarm = db.rows(
        """SELECT COUNT(*), COUNT(p_value), SUM(CASE WHEN p_value <= ? THEN 1 ELSE 0 END)
        FROM scores WHERE shown = 1 AND orphaned = 0 AND alone = 0""",
        (alarm_level,),
    )[0]
    period, timeline = _timeline(db)
    judges = """SELECT model, calibration, COUNT(*) FROM scores
        WHERE shown = 1 AND orphaned = 0 AND alone = 0
        GROUP BY model, calibration ORDER BY COUNT(*) DESC, model, calibration"""
    return Summary(
        scored=scored,
        judged=judged,
        alarm_level=alarm_level,
        at_alarm=None if alarm_level is None else at_alarm or 0,
        by_severity=dict(
            db.rows(f"SELECT a.severity, COUNT(*) FROM {_LIVE} GROUP BY a.severity ORDER BY a.severity")
        ),
        by_status=dict(db.rows("SELECT status, COUNT(*) FROM alerts GROUP BY status ORDER BY status")),
        histogram=_histogram(db),
        period=period,
        timeline=timeline,
        judges=tuple(db.rows(judges)),
        orphaned=db.rows("SELECT COUNT(*) FROM scores WHERE shown = 1 AND orphaned = 1")[0][0],
    )


def verify(db: Database) -> list[str]:
    """What is wrong, one line each: damaged pages, broken references, values that cannot be read."""
    found = [f"SQLite: {text}" for (text,) in db.rows("PRAGMA integrity_check") if text != "ok"]
    found += [
        f"{row[0]}: a row refers to {row[2]} that is not there" for row in db.rows("PRAGMA foreign_key_check")
    ]
    found += [
        f"{chain}:{tx_hash}: {shown} scores are shown, where one should be"
        for chain, tx_hash, shown in db.rows(
            "SELECT chain, tx_hash, SUM(shown) FROM scores GROUP BY chain, tx_hash HAVING SUM(shown) <> 1"
        )
    ]
    with db.errors():
        for row in db.execute(f"SELECT {', '.join(SCORE_COLUMNS)} FROM scores"):
            try:
                score_from_row(row)
            except (ValueError, TypeError, KeyError) as error:
                found.append(f"{row[0]}:{row[1]}: damaged evidence ({error})")
        for chain, tx_hash, tree in db.execute("SELECT chain, tx_hash, tree FROM frames"):
            try:
                unpack_frames(tree)
            except (zlib.error, ValueError, TypeError, KeyError) as error:
                found.append(f"{chain}:{tx_hash}: damaged call tree ({error})")
    return found


def _histogram(db: Database) -> tuple[int, ...]:
    """Shown p-values per bin (lower, upper]; 0 belongs to the first."""
    edges = [step / HISTOGRAM_BINS for step in range(1, HISTOGRAM_BINS + 1)]
    sql = f"""SELECT CASE {"WHEN p_value <= ? THEN ? " * HISTOGRAM_BINS} END, COUNT(*) FROM scores
        WHERE shown = 1 AND orphaned = 0 AND alone = 0 AND p_value IS NOT NULL GROUP BY 1"""
    counts = dict(db.rows(sql, [value for number, edge in enumerate(edges) for value in (edge, number)]))
    return tuple(counts.get(number, 0) for number in range(HISTOGRAM_BINS))


def _timeline(db: Database) -> tuple[int, tuple[tuple[int, str, int], ...]]:
    """Alerts per hour, or per day where they span more than three days."""
    join = f"{_LIVE} AND s.time IS NOT NULL"
    first, last = db.rows(f"SELECT MIN(s.time), MAX(s.time) FROM {join}")[0]
    period = _HOUR if first is None or last - first <= _LONGEST_BY_HOUR else _DAY
    start = f"s.time / {period} * {period}"
    sql = f"SELECT {start}, a.severity, COUNT(*) FROM {join} GROUP BY {start}, a.severity ORDER BY 1, 2"
    return period, tuple(db.rows(sql))


def callers_of_parties(db: Database) -> dict[tuple[str, str], int]:
    """How many senders call an address, by (chain, address), for senders and targets of alerts."""
    rows = db.rows(
        f"""WITH raised AS (SELECT s.sender, s.target FROM {_RAISED}),
            parties AS (SELECT target FROM raised UNION SELECT sender FROM raised)
        SELECT chain, target, COUNT(DISTINCT sender) FROM (
            SELECT chain, target, sender FROM scores WHERE target IN (SELECT target FROM parties)
            UNION ALL SELECT chain, target, sender FROM forgotten_callers) GROUP BY chain, target"""
    )
    return {(chain, target): count for chain, target, count in rows}


def parties_of(db: Database, chain: str) -> set[str]:
    """Senders and targets of a chain's alerts."""
    rows = db.rows(f"SELECT s.sender, s.target FROM {_RAISED} AND a.chain = ?", (chain,))
    return {address for row in rows for address in row if address is not None}


def remember_caller(db: Database, chain: str, target: str, sender: str) -> None:
    """Count a caller of an alert's party also when its transactions are forgotten, one of MOST_CALLERS."""
    sql = """INSERT INTO forgotten_callers SELECT ?, ?, ?
        WHERE (SELECT COUNT(*) FROM forgotten_callers WHERE chain = ? AND target = ?) < ?
        ON CONFLICT DO NOTHING"""
    db.execute(sql, (chain, target, sender, chain, target, MOST_CALLERS))
