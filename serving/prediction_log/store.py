"""The prediction log's SQLite file: only the ingesting worker writes it, all may read.

WAL mode, so that readers (GET /stats, POST /feedback) and the writer do not block each other. synchronous=FULL rather
than NORMAL, with which the last commits of a WAL are only in the page cache: a spool file is deleted right after its
commit, so its records must be on disk by then. That costs one fsync per batch, not per request. WAL needs a local disk,
and SQLite before 3.51.3 may corrupt a WAL that two connections write or checkpoint at once; here only one does either.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from serving.prediction_log.exact_sums import add_functions

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
    """,
    # The sum of absolute errors as an exact fraction: in a REAL, one wrong label that was later corrected left a trace.
    """
    ALTER TABLE totals ADD COLUMN exact_error TEXT NOT NULL DEFAULT '0';
    UPDATE totals SET exact_error = printf('%!.17g', error) WHERE abs(error) < 1e308;
    ALTER TABLE totals DROP COLUMN error;
    """,
    # For the shipper: numbers that never come twice, in a log with a name, and labels in the order in which they came.
    """
    CREATE TABLE numbers (log TEXT NOT NULL, last_request INTEGER NOT NULL);
    INSERT INTO numbers SELECT lower(hex(randomblob(8))), coalesce(max(number), 0) FROM requests;
    CREATE TABLE feedback_log (
        number INTEGER PRIMARY KEY AUTOINCREMENT, use_case TEXT NOT NULL, id BLOB NOT NULL, row INTEGER NOT NULL,
        truth NOT NULL, at REAL NOT NULL);
    CREATE INDEX feedback_log_by_id ON feedback_log (id);
    INSERT INTO feedback_log (use_case, id, row, truth, at)
        SELECT r.use_case, r.id, f.row, f.truth, f.at FROM feedback f JOIN requests r ON r.number = f.request
        ORDER BY f.at;
    """,
    # Of what a shadow predicted, the id of the request that was answered: labels are sent for that one.
    "ALTER TABLE requests ADD COLUMN answer BLOB;",
]
CORRUPT_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
JOURNAL_BYTES = 16 * 2**20
LOCK_TIMEOUT = 1.0  # seconds to wait while another process locks the file

log = logging.getLogger(__name__)


class CorruptDatabase(Exception):
    """The file is not a database, is damaged, or was written by a later version of this program."""


class Store:
    """The SQLite file in `folder`. Totals are hourly, and stay when predictions are deleted.

    In `requests` and `totals`, version 0 means none. `prediction`, `truth` and `probability` have the type that the
    model returns; the probabilities of a multiclass model are a JSON object.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE

    def open(self) -> sqlite3.Connection:
        """Open the file for writing and create it if needed; a corrupt one is renamed first.

        Raises OSError or sqlite3.Error for temporary failures.
        """
        try:
            return self._open()
        except CorruptDatabase as error:
            self.move_corrupt_file(str(error))
        return self._open()

    @contextmanager
    def read_transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a read-only connection in a single transaction, so that all queries see the same state.

        Raises sqlite3.Error, also while the file does not exist yet.
        """
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT, isolation_level=None)) as connection:
            add_functions(connection)
            connection.execute("BEGIN")
            yield connection

    def offsets(self) -> dict[str, int]:
        """Return up to which offset each spool file is ingested; empty if the database cannot be read."""
        try:
            with self.read_transaction() as connection:
                return dict(connection.execute("SELECT name, offset FROM spool"))
        except sqlite3.Error:
            return {}

    def size(self) -> int:
        """Return the size in bytes of the file, its WAL and its shared-memory file."""
        return sum(path.stat().st_size for path in self._files() if path.exists())

    def is_same_file(self, inode: int) -> bool:
        """Return whether the file is still the one that was opened."""
        try:
            return self.path.stat().st_ino == inode
        except OSError:
            return False

    def move_corrupt_file(self, reason: str) -> None:
        """Rename a corrupt file and its WAL to predictions.corrupt-<n>.sqlite.

        Its predictions, feedback and totals no longer count; what is still in the spool is ingested into a new file.
        `sqlite3 <file> .recover` may recover the old contents.
        """
        number = 1
        while (path := self.folder / f"predictions.corrupt-{number}.sqlite").exists():
            number += 1
        # The WAL first: SQLite would apply a left-over WAL to the new file, should the process die in between.
        for suffix in ("-wal", "-shm", ""):
            source = Path(f"{self.path}{suffix}")
            if source.exists():
                source.rename(f"{path}{suffix}")
        log.critical("%s: %s: kept as %s; a new file starts with all totals at 0", self.path, reason, path.name)

    def _open(self) -> sqlite3.Connection:
        self._create_file()
        connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
        add_functions(connection)
        try:
            _prepare(connection)
        except CorruptDatabase:
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            connection.close()
            if is_corrupt(error):
                raise CorruptDatabase(str(error)) from None
            raise
        return connection

    def _create_file(self) -> None:
        """Create the file, readable by its owner only: SQLite creates the WAL with the mode of the database."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except (PermissionError, IsADirectoryError) as error:
            raise CorruptDatabase(str(error)) from None

    def _files(self) -> list[Path]:
        return [Path(f"{self.path}{suffix}") for suffix in ("", "-wal", "-shm")]


def is_corrupt(error: sqlite3.Error) -> bool:
    """Return whether an error means that the file is damaged, rather than a full disk, a lock or the like."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in CORRUPT_CODES


def _prepare(connection: sqlite3.Connection) -> None:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version > len(SCHEMAS):
        raise CorruptDatabase(f"written by a later version of this program (schema {version}, known {len(SCHEMAS)})")
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only takes effect before the first table
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    [result] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise CorruptDatabase(f"damaged: {result}")
    for number, schema in enumerate(SCHEMAS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {schema}; PRAGMA user_version = {number}; COMMIT;")
