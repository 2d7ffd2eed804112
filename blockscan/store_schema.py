"""The tables of the score store, their migrations, its nouns, and how nouns become rows.

The SQL keeps to what SQLite and PostgreSQL share; times are Unix seconds (UTC).
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from blockscan.findings import Alert, Evidence, Frame, Joint, TxScore

SEVERITIES = ("critical", "high", "medium", "low")
STATUSES = ("open", "acknowledged", "dismissed", "confirmed", "orphaned")
LARGEST_TREE = 256 * 1024 * 1024
"""Bytes of a painted tree unpacked: half a million calls and logs, for which no block has gas."""
SCORE_COLUMNS = tuple(field.name for field in fields(TxScore))

# One tuple of statements per schema version. A released entry never changes: append the next one.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)""",
        """CREATE TABLE calibrations (fingerprint TEXT PRIMARY KEY, number BIGINT NOT NULL UNIQUE)""",
        """CREATE TABLE scores (
            chain TEXT NOT NULL, tx_hash TEXT NOT NULL, block_number BIGINT, tx_index BIGINT, time BIGINT,
            sender TEXT NOT NULL, target TEXT, value DOUBLE PRECISION NOT NULL,
            p_value DOUBLE PRECISION CHECK (p_value BETWEEN 0 AND 1), reason TEXT NOT NULL,
            evidence TEXT NOT NULL, calls BIGINT NOT NULL, tokens BIGINT NOT NULL, windows BIGINT NOT NULL,
            source TEXT NOT NULL, trace_status TEXT NOT NULL, model TEXT NOT NULL,
            calibration TEXT NOT NULL REFERENCES calibrations (fingerprint),
            shown BIGINT NOT NULL, PRIMARY KEY (chain, tx_hash, calibration))""",
        """CREATE INDEX scores_by_p ON scores (shown, p_value)""",
        """CREATE INDEX scores_by_place ON scores (shown, chain, block_number, tx_index, tx_hash)""",
        """CREATE INDEX scores_by_hash ON scores (tx_hash)""",
        """CREATE TABLE frames (
            chain TEXT NOT NULL, tx_hash TEXT NOT NULL, calibration TEXT NOT NULL, tree BYTEA NOT NULL,
            PRIMARY KEY (chain, tx_hash, calibration),
            FOREIGN KEY (chain, tx_hash, calibration) REFERENCES scores (chain, tx_hash, calibration))""",
        """CREATE TABLE alerts (
            unique_key TEXT PRIMARY KEY,
            chain TEXT NOT NULL, tx_hash TEXT NOT NULL, calibration TEXT NOT NULL,
            severity TEXT NOT NULL CHECK (severity IN ('critical', 'high', 'medium', 'low')),
            status TEXT NOT NULL
                CHECK (status IN ('open', 'acknowledged', 'dismissed', 'confirmed', 'orphaned')),
            created_at BIGINT NOT NULL, note TEXT NOT NULL, lapsed BIGINT NOT NULL, UNIQUE (chain, tx_hash),
            FOREIGN KEY (chain, tx_hash, calibration) REFERENCES scores (chain, tx_hash, calibration))""",
        """CREATE TABLE dispositions (
            unique_key TEXT NOT NULL REFERENCES alerts (unique_key), number BIGINT NOT NULL,
            time BIGINT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, note TEXT NOT NULL,
            PRIMARY KEY (unique_key, number))""",
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, started BIGINT NOT NULL, finished BIGINT, inputs TEXT NOT NULL,
            counts TEXT NOT NULL, model TEXT NOT NULL, calibrations TEXT NOT NULL,
            alarm_level DOUBLE PRECISION, source TEXT NOT NULL)""",
    ),
    (
        """CREATE TABLE labels (
            address TEXT NOT NULL, chain TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL,
            date TEXT NOT NULL, confidence DOUBLE PRECISION CHECK (confidence BETWEEN 0 AND 1),
            PRIMARY KEY (address, chain, source, name))""",
    ),
    (
        """CREATE TABLE blocks (
            chain TEXT NOT NULL, hash TEXT NOT NULL, number BIGINT NOT NULL, scored_at BIGINT NOT NULL,
            orphaned_at BIGINT, PRIMARY KEY (chain, hash))""",
        """CREATE INDEX blocks_by_number ON blocks (chain, number)""",
        """CREATE TABLE inclusions (
            chain TEXT NOT NULL, tx_hash TEXT NOT NULL, block_hash TEXT NOT NULL,
            PRIMARY KEY (chain, tx_hash, block_hash),
            FOREIGN KEY (chain, block_hash) REFERENCES blocks (chain, hash))""",
        """CREATE INDEX inclusions_by_block ON inclusions (chain, block_hash)""",
        """ALTER TABLE scores ADD COLUMN orphaned BIGINT NOT NULL DEFAULT 0""",
    ),
    ("""ALTER TABLE scores ADD COLUMN carried DOUBLE PRECISION NOT NULL DEFAULT 0""",),
    ("""ALTER TABLE scores ADD COLUMN joint TEXT NOT NULL DEFAULT '[]'""",),
    ("""ALTER TABLE runs ADD COLUMN calibrated_until BIGINT""",),
    ("""ALTER TABLE scores ADD COLUMN mix TEXT NOT NULL DEFAULT '[]'""",),
    (  # The counts of an overview, and who calls whom, from an index alone; p-values are in the first.
        """CREATE INDEX scores_by_judge ON scores (shown, orphaned, model, calibration, p_value)""",
        """CREATE INDEX scores_by_target ON scores (target, chain, sender)""",
        """DROP INDEX scores_by_p""",
    ),
    (
        """ALTER TABLE runs ADD COLUMN number BIGINT NOT NULL DEFAULT 0""",
        """UPDATE runs SET number = (SELECT COUNT(*) FROM runs r
            WHERE r.started < runs.started OR (r.started = runs.started AND r.id >= runs.id))""",
    ),
    (
        """CREATE TABLE receivers (name TEXT PRIMARY KEY, began BIGINT NOT NULL)""",
        """CREATE TABLE notices (
            receiver TEXT NOT NULL REFERENCES receivers (name),
            unique_key TEXT NOT NULL REFERENCES alerts (unique_key),
            event TEXT NOT NULL CHECK (event IN ('raised', 'orphaned', 'restored')),
            state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'refused', 'left out')),
            severity TEXT NOT NULL, number BIGINT NOT NULL, tries BIGINT NOT NULL,
            PRIMARY KEY (receiver, unique_key))""",
    ),
    (  # An alert whose neighbours were forgotten is alone; who called its parties is remembered.
        """ALTER TABLE scores ADD COLUMN alone BIGINT NOT NULL DEFAULT 0""",
        """CREATE INDEX scores_by_age ON scores (chain, alone, time)""",
        """DROP INDEX scores_by_judge""",
        """CREATE INDEX scores_by_judge ON scores (shown, orphaned, alone, model, calibration, p_value)""",
        """CREATE TABLE forgotten_callers (
            chain TEXT NOT NULL, target TEXT NOT NULL, sender TEXT NOT NULL,
            PRIMARY KEY (chain, target, sender))""",
    ),
)


@dataclass(frozen=True, slots=True)
class Search:
    """Which alerts; what is empty does not restrict.

    `text` is looked for in hash, sender, target and reason; `since` and `until` bound the chain time
    (Unix seconds, half open); `unique_key` is one alert's.
    """

    text: str = ""
    severity: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    unique_key: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of scoring: what went in, what came out, what judged it. Times in Unix seconds.

    `calibrated_until`: last block that the calibration is made from, None where that is not known.
    """

    id: str
    started: int
    finished: int | None
    inputs: tuple[str, ...]
    counts: dict[str, int]
    model: str
    calibrations: tuple[str, ...]
    alarm_level: float | None
    source: str
    calibrated_until: int | None = None


@dataclass(frozen=True, slots=True)
class Disposition:
    """One entry of an alert's history: when (Unix seconds), who, what."""

    time: int
    who: str
    what: str
    note: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: rows seen, scores new or changed, alerts raised for the first time."""

    rows: int
    changed: int
    raised: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over the shown scores.

    `judged` counts scores with a p-value, `at_alarm` those at or under `alarm_level`, which is the
    latest run's (both None where no run stated one). `histogram` counts p-values in equal bins (lower,
    upper]. `timeline` lists (start of period, severity, alerts) by chain time, `period` in seconds.
    `judges` lists (model, calibration, scores), most scores first. Transactions that left the chain are
    counted in `orphaned`, their alerts in `by_status`, and nowhere else. Of a forgotten time the alerts that
    are left count as alerts alone, not among the scores.
    """

    scored: int
    judged: int
    alarm_level: float | None
    at_alarm: int | None
    by_severity: dict[str, int]
    by_status: dict[str, int]
    histogram: tuple[int, ...]
    period: int
    timeline: tuple[tuple[int, str, int], ...]
    judges: tuple[tuple[str, str, int], ...]
    orphaned: int = 0


RUN_COLUMNS = tuple(field.name for field in fields(Run))
NEW_CALIBRATION = """INSERT INTO calibrations
    SELECT ?, (SELECT COALESCE(MAX(number), 0) + 1 FROM calibrations)
    WHERE NOT EXISTS (SELECT 1 FROM calibrations WHERE fingerprint = ?)"""
"""Numbers a calibration when it is first met; its fingerprint, twice."""
SHOW_NEWEST = """UPDATE scores SET shown = CASE WHEN calibration = (
        SELECT s.calibration FROM scores s JOIN calibrations c ON c.fingerprint = s.calibration
        WHERE s.chain = ? AND s.tx_hash = ? ORDER BY c.number DESC LIMIT 1) THEN 1 ELSE 0 END
    WHERE chain = ? AND tx_hash = ?"""
"""Of a transaction's scores only the one under the newest calibration is shown; chain and hash, twice."""


def score_row(score: TxScore) -> tuple[Any, ...]:
    """A score as the values of SCORE_COLUMNS; the same score always gives the same values."""
    values = {name: getattr(score, name) for name in SCORE_COLUMNS}
    for name in ("evidence", "joint"):
        values[name] = json.dumps([asdict(item) for item in values[name]], separators=(",", ":"))
    values["mix"] = json.dumps(values["mix"], separators=(",", ":"))
    return tuple(storable(value) if isinstance(value, str) else value for value in values.values())


def score_from_row(row: Sequence[Any]) -> TxScore:
    """The inverse of `score_row`.

    Raises:
        ValueError, TypeError, KeyError: the row's lists are damaged.
    """
    values = dict(zip(SCORE_COLUMNS, row, strict=True))
    values["evidence"] = tuple(_evidence(item) for item in json.loads(values["evidence"]))
    values["joint"] = tuple(Joint(**item) for item in json.loads(values["joint"]))
    values["mix"] = tuple(map(int, json.loads(values["mix"])))
    return TxScore(**values)


def alert_from_row(row: Sequence[Any]) -> Alert:
    """An alert from SCORE_COLUMNS followed by unique_key, severity, status and note."""
    key, severity, status, note = row[-4:]
    return Alert(key, score_from_row(row[:-4]), severity, status, note)


def pack_frames(frames: Sequence[Frame]) -> bytes:
    """Frames as zlib-compressed JSON."""
    text = json.dumps([asdict(frame) for frame in frames], separators=(",", ":"))
    return zlib.compress(text.encode("ascii"))


def unpack_frames(packed: bytes) -> tuple[Frame, ...]:
    """The inverse of `pack_frames`.

    Raises:
        zlib.error, ValueError, TypeError, KeyError: the bytes are damaged, or unpack to more than any tree.
    """
    inflate = zlib.decompressobj()
    text = inflate.decompress(packed, LARGEST_TREE)
    if not inflate.eof:
        raise ValueError(f"it is cut short, or larger than {LARGEST_TREE:,} bytes when unpacked")
    items = json.loads(text)
    return tuple(Frame(**{**item, "evidence": tuple(map(_evidence, item["evidence"]))}) for item in items)


def storable(text: str) -> str:
    """Text without what a database refuses: lone surrogates and NUL become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def run_row(run: Run) -> tuple[Any, ...]:
    """A run as the values of RUN_COLUMNS."""
    lists = {"inputs": json.dumps(run.inputs), "calibrations": json.dumps(run.calibrations)}
    return tuple((asdict(run) | lists | {"counts": json.dumps(run.counts, sort_keys=True)}).values())


def run_from_row(row: Sequence[Any]) -> Run:
    """The inverse of `run_row`.

    Raises:
        ValueError, TypeError, KeyError: the row is damaged.
    """
    values = {name: value for name, value in zip(RUN_COLUMNS, row, strict=True)}
    values |= {name: tuple(json.loads(values[name])) for name in ("inputs", "calibrations")}
    return Run(**values | {"counts": json.loads(values["counts"])})


def condition(search: Search) -> tuple[str, list[Any]]:
    """A search as an SQL condition over scores `s` and alerts `a`, and its values."""
    terms: list[tuple[str, Sequence[Any]]] = [("1 = 1", ())]
    for column, wanted in (("a.severity", search.severity), ("a.status", search.status)):
        if wanted:
            terms.append((f"{column} IN ({', '.join('?' * len(wanted))})", wanted))
    if search.since is not None:
        terms.append(("s.time >= ?", (search.since,)))
    if search.until is not None:
        terms.append(("s.time < ?", (search.until,)))
    if search.unique_key:
        terms.append(("a.unique_key = ?", (search.unique_key,)))
    if search.text:
        pattern = search.text.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
        columns = ("s.tx_hash", "s.sender", "s.target", "s.reason")
        either = " OR ".join(f"LOWER({column}) LIKE ? ESCAPE '!'" for column in columns)
        terms.append((f"({either})", (storable(f"%{pattern}%"),) * len(columns)))
    return " AND ".join(sql for sql, _ in terms), [value for _, values in terms for value in values]


HASH_START = re.compile("0[xX][0-9a-fA-F]{0,64}")
"""What people give for a hexadecimal hash: its beginning, or all in whatever case."""
FEWEST = len("0x") + 8
"""Characters of it that are enough to look for."""


def spellings(tx_hash: str) -> tuple[str, str]:
    """The hash as given and, for hexadecimal ones, as nodes write it."""
    given = storable(tx_hash)
    return given, given.lower() if given[:2].lower() == "0x" else given


def beginnings(prefix: str) -> set[str]:
    """The hexadecimal beginning of a hash as given, and as records write it: in lower or in upper case."""
    given = storable(prefix)
    digits = given[2:].upper()
    return {given, given.lower(), f"0x{digits}", f"0X{digits}"}


def _evidence(item: dict[str, Any]) -> Evidence:
    return Evidence(**{**item, "expected": tuple(item["expected"])})
