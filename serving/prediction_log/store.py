"""The prediction log's SQLite file: one process writes it, the one that ingests; all may read.

It is in WAL mode with synchronous=FULL: what is ingested is on the disk before its spool file is deleted. That costs
one fsync for a batch, not for a request. WAL needs a disk of this machine, and SQLite before 3.51.3 may spoil a WAL
file that two connections write or checkpoint at the same instant; here only one does either.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

FILE = "predictions.sqlite"
SCHEMAS = [
    """
    CREATE TABLE spool (name TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE facts (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE shapes (number INTEGER PRIMARY KEY, columns TEXT NOT NULL UNIQUE);
    CREATE TABLE requests (
        number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, at REAL NOT NULL, use_case TEXT NOT NULL,
        version INTEGER NOT NULL, status INTEGER NOT NULL, seconds REAL NOT NULL, kind TEXT, rows INTEGER NOT NULL,
        shape INTEGER NOT NULL REFERENCES shapes (number));
    CREATE INDEX requests_by_time ON requests (at);
    CREATE INDEX requests_refused ON requests (number) WHERE kind IS NOT NULL;
    CREATE INDEX requests_by_model ON requests (use_case, version);
    CREATE TABLE predictions (
        request INTEGER NOT NULL REFERENCES requests (number), row INTEGER NOT NULL, input TEXT NOT NULL,
        prediction NOT NULL, label TEXT, probability, PRIMARY KEY (request, row)) WITHOUT ROWID;
    CREATE TABLE feedback (
        request INTEGER NOT NULL, row INTEGER NOT NULL, truth NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (request, row)) WITHOUT ROWID;
    CREATE TABLE totals (
        hour INTEGER NOT NULL, use_case TEXT NOT NULL, version INTEGER NOT NULL, requests INTEGER NOT NULL DEFAULT 0,
        rows INTEGER NOT NULL DEFAULT 0, feedback INTEGER NOT NULL DEFAULT 0, correct INTEGER NOT NULL DEFAULT 0,
        error REAL NOT NULL DEFAULT 0, PRIMARY KEY (hour, use_case, version)) WITHOUT ROWID;
    CREATE TABLE counts (
        hour INTEGER NOT NULL, use_case TEXT NOT NULL, version INTEGER NOT NULL, what TEXT NOT NULL,
        name TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (hour, use_case, version, what, name)) WITHOUT ROWID;
    """
]
SPOILT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
JOURNAL_BYTES = 16 * 2**20
PATIENCE = 1.0  # seconds to wait for somebody who locks the file

log = logging.getLogger(__name__)


class Spoilt(Exception):
    """The file is no database, a damaged one, or of a later version of this program."""


class Store:
    """The SQLite file in `folder`. Totals are kept by the hour, and stay when predictions are deleted.

    In `requests` and `totals` version 0 stands for none. `prediction`, `truth` and `probability` have the type that the
    model answers; the probabilities of a multiclass model are a JSON object.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE

    def open(self) -> sqlite3.Connection:
        """Open the file for the one that writes, made where it is not there; a spoilt one is moved aside first.

        Raises OSError or sqlite3.Error for what passes by itself.
        """
        try:
            return self._open()
        except Spoilt as error:
            self.set_aside(str(error))
        return self._open()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that only reads, in one transaction: all that is asked is of one moment.

        Raises sqlite3.Error, also while there is no file yet.
        """
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            yield connection

    def offsets(self) -> dict[str, int]:
        """Read how far each file of the spool is ingested; nothing where that cannot be read."""
        try:
            with self.reading() as connection:
                return dict(connection.execute("SELECT name, offset FROM spool"))
        except sqlite3.Error:
            return {}

    def size(self) -> int:
        """Count the bytes of the file and of what SQLite keeps beside it."""
        return sum(path.stat().st_size for path in self._files() if path.exists())

    def same(self, inode: int) -> bool:
        """Tell whether the file is still the one that was opened."""
        try:
            return self.path.stat().st_ino == inode
        except OSError:
            return False

    def set_aside(self, why: str) -> None:
        """Move a spoilt file, with its WAL, out of the way of a new one.

        Its predictions, feedback and totals are no longer counted; what still lies in the spool is ingested into the
        new one. `sqlite3 <file> .recover` may save what is in the old one.
        """
        number = 1
        while (path := self.folder / f"predictions.corrupt-{number}.sqlite").exists():
            number += 1
        # The WAL goes first, so that it never lies beside a new file.
        for suffix in ("-wal", "-shm", ""):
            source = Path(f"{self.path}{suffix}")
            if source.exists():
                source.rename(f"{path}{suffix}")
        log.critical("%s: %s: moved to %s, a new one is begun and its totals start at 0", self.path, why, path.name)

    def _open(self) -> sqlite3.Connection:
        self._ready()
        connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except Spoilt:
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            connection.close()
            if spoilt(error):
                raise Spoilt(str(error)) from None
            raise
        return connection

    def _ready(self) -> None:
        """Make the file, readable to its owner alone: SQLite gives its own files the same mode."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except (PermissionError, IsADirectoryError) as error:
            raise Spoilt(str(error)) from None

    def _files(self) -> list[Path]:
        return [Path(f"{self.path}{suffix}") for suffix in ("", "-wal", "-shm")]


def spoilt(error: sqlite3.Error) -> bool:
    """Tell an error that says the file is damaged from one that passes by itself: a full disk, a lock."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in SPOILT


def _prepare(connection: sqlite3.Connection) -> None:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version > len(SCHEMAS):
        raise Spoilt(f"of a later version of this program (schema {version}, known {len(SCHEMAS)})")
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before there is a table
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    [told] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if told != "ok":
        raise Spoilt(f"damaged: {told}")
    for number, schema in enumerate(SCHEMAS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {schema}; PRAGMA user_version = {number}; COMMIT;")
