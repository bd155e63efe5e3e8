"""The file in which jobs are kept: SQLite, a connection a thread, its tables and their versions.

A write-ahead log lets readers go on while a photo is recorded. What a killed process committed is
kept at any setting, because the system holds it; `synchronous` is about power. It is NORMAL, where
a cut of power can take back the last commits but breaks nothing, for all that a file on the disk
does not depend on, and FULL for the announcement of an output: the file must never be there
without it, or a later run would take the job's own file for a stranger's.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .scan import folded, stem

CACHE_KIB = 256
"""Of each connection; the host's threads hold many, and the system caches the file anyway."""
VERSION = 3
MIGRATIONS: dict[int, str] = {
    1: """
ALTER TABLE photo ADD COLUMN stem TEXT NOT NULL DEFAULT '';
UPDATE photo SET stem = stem(path);
CREATE INDEX photo_stem ON photo (job, stem);
ALTER TABLE output ADD COLUMN folded TEXT NOT NULL DEFAULT '';
UPDATE output SET folded = folded(path);
CREATE INDEX output_folded ON output (folded);
CREATE TABLE note (
    photo INTEGER NOT NULL REFERENCES photo (id) ON DELETE CASCADE,
    node TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (photo, node, text)
) WITHOUT ROWID;
""",
    2: """
ALTER TABLE job ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
DROP INDEX photo_state;
CREATE INDEX photo_state ON photo (job, state, crashes, attempts, place, size);
""",
}
"""The statements that lead from a version to the next one; they may call `stem` and `folded`."""

SCHEMA = """
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    created REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    name TEXT NOT NULL,
    graph TEXT NOT NULL,
    workflow TEXT,  -- the graph as the canvas saves it
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    settings TEXT NOT NULL,
    saves INTEGER NOT NULL,  -- outputs that make a photo done
    likeness TEXT NOT NULL,  -- equal where the same photo gives the same output at the same place
    scans INTEGER NOT NULL DEFAULT 0,
    left_out TEXT,  -- what the last scan passed over
    lost INTEGER NOT NULL DEFAULT 0  -- how many things of it may be photos of the folder
);
CREATE INDEX job_likeness ON job (likeness);
CREATE TABLE photo (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    place TEXT NOT NULL,  -- sorts as a person does, and is one to one with the path
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    width INTEGER,
    height INTEGER,
    sha256 TEXT,  -- of the content that was read last
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    alone INTEGER NOT NULL DEFAULT 0,  -- shares no prompt any more
    seconds REAL,
    finished REAL,
    error TEXT,
    scan INTEGER NOT NULL,
    stem TEXT NOT NULL DEFAULT '',  -- of the path: results of photos that share it may share a name
    UNIQUE (job, place)
);
-- all that choosing the next photo and counting read
CREATE INDEX photo_state ON photo (job, state, crashes, attempts, place, size);
CREATE INDEX photo_finished ON photo (job, finished) WHERE finished IS NOT NULL;
CREATE INDEX photo_stem ON photo (job, stem);
CREATE TABLE output (
    photo INTEGER NOT NULL REFERENCES photo (id) ON DELETE CASCADE,
    node TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    before TEXT NOT NULL DEFAULT '',  -- the sha256 of all that was announced there earlier
    size INTEGER,
    mtime_ns INTEGER,
    state TEXT NOT NULL,  -- announced | done | old, of an attempt before the present one
    folded TEXT NOT NULL DEFAULT '',  -- the path, as a disk may have it that knows no case
    PRIMARY KEY (photo, node)
) WITHOUT ROWID;
CREATE INDEX output_path ON output (path);
CREATE INDEX output_folded ON output (folded);
CREATE TABLE measure (
    photo INTEGER NOT NULL REFERENCES photo (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value REAL,  -- not a number is NULL
    PRIMARY KEY (photo, name)
) WITHOUT ROWID;
CREATE TABLE note (
    photo INTEGER NOT NULL REFERENCES photo (id) ON DELETE CASCADE,
    node TEXT NOT NULL,  -- which wrote what could not hold it all, or none: the reading
    text TEXT NOT NULL,
    PRIMARY KEY (photo, node, text)
) WITHOUT ROWID;
"""


class LedgerError(RuntimeError):
    """The ledger cannot be used as asked; one sentence says why."""


class Connection(sqlite3.Connection):
    """A connection that can be referred to weakly, so that it ends with its thread."""


class Database:
    """One file, opened by the first question."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._local = threading.local()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._ready = False

    def connection(self) -> Connection:
        """This thread's connection.

        Raises:
            LedgerError: the file is a newer version's.
        """
        found = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._opened()
        return found

    @contextmanager
    def writing(self, durable: bool = False) -> Iterator[Connection]:
        """A transaction, all or nothing; inside another of this thread it is a part of that one.

        Args:
            durable: on the disk at its end, whatever happens to the power.
        """
        connection = self.connection()
        if connection.in_transaction:
            yield connection
            return
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the connections of all threads, which must be at rest; a question opens anew."""
        for connection in list(self._open):
            connection.close()
        self._local, self._ready = threading.local(), False

    def _opened(self) -> Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.file,
            timeout=30,
            isolation_level=None,
            check_same_thread=False,  # so that `close` may close it
            factory=Connection,
        )
        connection.row_factory = sqlite3.Row
        for function in (folded, stem):
            connection.create_function(function.__name__, 1, function, deterministic=True)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
        with self._lock:
            if not self._ready:
                self._migrate(connection)
                self._ready = True
            self._open.add(connection)
        return connection

    def _migrate(self, connection: Connection) -> None:
        """Bring the tables to this version; two processes may try at once."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise LedgerError(
                f"The jobs in {self.file} were written by a newer RestoreFlow (version {version}, "
                f"this one knows {VERSION}); update RestoreFlow."
            )
        while version < VERSION:
            steps = MIGRATIONS[version] if version else SCHEMA
            following = version + 1 if version else VERSION
            try:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {steps}; PRAGMA user_version = {following}; COMMIT;"
                )
            except sqlite3.OperationalError:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if connection.execute("PRAGMA user_version").fetchone()[0] == version:
                    raise
            version = connection.execute("PRAGMA user_version").fetchone()[0]
