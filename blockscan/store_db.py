"""A SQLite file as the score store needs it: WAL, migrations, short transactions, plain errors."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from blockscan.errors import StoreError
from blockscan.store_schema import MIGRATIONS

_BUSY_SECONDS = 30
_LOG_BYTES = 64 * 1024 * 1024
"""What stays of the write-ahead log after readers have let it grow beyond that."""
_COUNT_AFTER = 20_000
"""Rows written after which it is counted anew how many an index finds; of few rows it may read all."""


def file_of(location: str | Path, *, read_only: bool) -> Path:
    """Where the store of a path or sqlite:/// URL lies; it need not be there yet unless `read_only`.

    Raises:
        StoreError: another kind of URL, a directory, or no such directory or file.
    """
    scheme, separator, rest = str(location).partition("://")
    if separator and scheme != "sqlite":
        raise StoreError(f"a store at {scheme}://... is not supported yet; give the path of a SQLite file")
    path = Path(rest.removeprefix("/") if separator else scheme)
    if path.is_dir():
        raise StoreError(f"{path} is a directory; give the path of a file for the store")
    if read_only and not path.exists():
        raise StoreError(f"there is no store at {path}; run `blockscan score` to make one")
    if not path.parent.is_dir():
        raise StoreError(
            f"there is no directory {path.parent} to hold the store {path.name}; create it first"
        )
    return path


class Database:
    """One connection to a store's file, with the newest schema in place."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Open `path`, or create it (mode 0600) unless `read_only`.

        An older schema is brought up to date, also for one who only reads: that takes a moment, and whoever
        upgrades may look at the alerts of before at once.

        Raises:
            StoreError: not a store, a newer schema, an older one where nothing can be written, or a file that
                cannot be opened.
        """
        self.path = path
        self._counted = 0
        with self.errors():
            if not read_only and not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._connection = _connect(path, "ro" if read_only else "rw")
            try:
                if read_only and _needs_files_beside(self._connection):
                    self._connection.close()
                    self._connection = _connect_unwritable(path)
                self._prepare(read_only=read_only)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the connection."""
        self._count_again(after=1)
        self._connection.close()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; its errors become StoreErrors."""
        with self.errors():
            return self._connection.execute(sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        with self.errors():
            return self._connection.execute(sql, values).fetchall()

    def upsert(
        self,
        table: str,
        columns: Sequence[str],
        key: Sequence[str],
        row: Sequence[Any],
        *,
        keep: Sequence[str] = (),
    ) -> bool:
        """Insert `row`, or update the one with the same `key`; False where the same row stands already.

        Columns named in `keep` are set on insert only.
        """
        given = dict(zip(columns, row, strict=True))
        compared = [name for name in columns if name not in keep]
        match = " AND ".join(f"{name} = ?" for name in key)
        query = f"SELECT {', '.join(compared)} FROM {table} WHERE {match}"
        if self.rows(query, [given[name] for name in key]) == [tuple(given[name] for name in compared)]:
            return False
        change = ", ".join(f"{name} = excluded.{name}" for name in compared if name not in key)
        self.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {change}",
            row,
        )
        return True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is stored, or nothing of it."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
            self._count_again(after=_COUNT_AFTER)
        except BaseException:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say of a database error what it was about, where, and what to do."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.Error, OSError, OverflowError) as error:
            raise StoreError(_explain(self.path, error)) from error

    def _prepare(self, *, read_only: bool) -> None:
        tables = {name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not {"meta", "scores", "alerts"} <= tables:
            raise StoreError(f"{self.path} is a database of another program; give another path for the store")
        version = self._version() if tables else 0
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self.path} has schema {version}, made by a newer BlockScan (this one reads "
                f"{len(MIGRATIONS)}); upgrade BlockScan, or give another path"
            )
        if read_only and version < len(MIGRATIONS):
            self._migrate_to_read(version)
        if not read_only:
            if not tables:  # later it cannot be set: free pages can be given back (blockscan.store_prune)
                self.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self.execute("PRAGMA journal_mode = WAL")
            self.execute("PRAGMA synchronous = FULL")
            self.execute("PRAGMA foreign_keys = ON")
            self.execute("PRAGMA analysis_limit = 1000")
            self.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            if version < len(MIGRATIONS):
                self._migrate()

    def _count_again(self, *, after: int) -> None:
        """Let SQLite count how many rows an index finds, where at least `after` were written since.

        Without that it takes every index to find few, also those that find nearly all. Counting takes some
        hundredths of a second at any size; where another one writes or the disk is full, it is left out.
        """
        with suppress(sqlite3.Error):
            if self._connection.total_changes < self._counted + after:
                return
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                self._connection.execute("ANALYZE")
                self._counted = self._connection.total_changes
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")

    def _version(self) -> int:
        found = self.rows("SELECT value FROM meta WHERE name = 'schema_version'")
        if not found or not str(found[0][0]).isdecimal():
            raise StoreError(f"{self.path} does not say which schema it has; restore it from a backup")
        return int(found[0][0])

    def _migrate_to_read(self, version: int) -> None:
        """Bring the schema up to date for one who only reads, by a connection of its own.

        Raises:
            StoreError: the file cannot be written, or another one is writing for long.
        """
        try:
            Database(self.path, read_only=False).close()
        except StoreError as error:
            raise StoreError(
                f"{self.path} has schema {version}, older than {len(MIGRATIONS)}, and cannot be brought up "
                f"to date: {error}; open it, or a copy of it, where it can be written"
            ) from error

    def _migrate(self) -> None:
        """Bring the schema up to date; each step leaves a row in `meta` with its time."""
        with self.transaction():
            # Another process may have done it while this one waited for the lock.
            fresh = not self.rows("SELECT name FROM sqlite_master WHERE name = 'meta'")
            done = 0 if fresh else self._version()
            for number, statements in enumerate(MIGRATIONS[done:], start=done + 1):
                for statement in statements:
                    self.execute(statement)
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                self.upsert("meta", ("name", "value"), ("name",), (f"migration_{number}", stamp))
                self.upsert("meta", ("name", "value"), ("name",), ("schema_version", str(number)))


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _needs_files_beside(connection: sqlite3.Connection) -> bool:
    """Whether reading fails since the files of the write-ahead log cannot be made: a read-only directory."""
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        # The first of a read-only mount, the second of a directory without permission; both in the low byte.
        return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
    return False


def _connect_unwritable(path: Path) -> sqlite3.Connection:
    """Read a store where nobody can write, hence without a log of writes that are under way.

    Raises:
        StoreError: there is such a log, with writes that the file itself lacks.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"{path} lies where nothing can be written, and {log.name} holds its last writes; "
            "copy both to a writable directory"
        )
    return _connect(path, "ro&immutable=1")


def _explain(path: Path, error: Exception) -> str:
    text = str(error)
    if "full" in text:
        return (
            f"the disk is full at {path}: this batch was not stored, everything before it is safe; "
            "free some space and run the same command again"
        )
    if "locked" in text or "busy" in text:
        return f"{path} was locked by another writer for {_BUSY_SECONDS} s; try again when it has finished"
    if "readonly" in text:
        return f"{path} cannot be written; it was opened for reading, or its permissions forbid it"
    if "not a database" in text:
        return f"{path} is not a BlockScan store; give another path"
    if "malformed" in text:
        return f"{path} is damaged ({text}); restore it from a backup, or score again into a new store"
    if isinstance(error, OSError):
        return f"{path} cannot be opened: {error.strerror}; check the path and its permissions"
    if isinstance(error, sqlite3.IntegrityError | OverflowError):
        return f"{path} refuses a value ({text}): this batch was not stored; correct the rows that were given"
    return f"{path} cannot be used ({text}); check the path and its permissions"
