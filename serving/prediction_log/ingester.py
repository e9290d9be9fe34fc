"""Moves the spools of all workers into SQLite.

A batch of records and the spool offset behind it are committed in one transaction, so that each record is in the tables
exactly once, whichever process dies when. Only one process does it, since SQLite takes one writer at a time, and since
two that read the same offset would insert the same records: it holds `ingester.lock`, which the kernel releases when
the process ends.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from pathlib import Path

from serving.prediction_log import erasing, retention, shipping, spool_reader
from serving.prediction_log.inserts import increment, insert_lines
from serving.prediction_log.retention import ALL, Retention, Shipped
from serving.prediction_log.retry import RepeatedTask
from serving.prediction_log.store import Store, is_corrupt
from serving.server.worker_lock import FileLock, try_lock

INGEST_SECONDS, RETENTION_SECONDS = 0.2, 60.0  # between two runs
MAX_BACKOFF = 10.0
LAST_SECONDS = 5.0  # for what is in the spool when it is told to stop

SPOOL, LOCK = "spool", "ingester.lock"

log = logging.getLogger(__name__)


class Ingester:
    """Ingests the spool in `folder` into its tables while this process holds the lock, which it may be given."""

    def __init__(self, folder: Path, limits: Retention, lock: FileLock | None = None) -> None:
        self.spool, self.store, self.limits = folder / SPOOL, Store(folder), limits
        self._wake_up = threading.Event()
        self._end = math.inf  # when to stop at the latest
        self._lock = lock
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._due = self._expired = float("-inf")
        self._ingesting = RepeatedTask("predictions stay in the spool for now", "predictions are ingested again")

    def wake(self) -> None:
        """Ingest now instead of at the next interval."""
        self._wake_up.set()

    def stop(self) -> None:
        """Make `run` return once it has ingested what is in the spool, or has tried to for LAST_SECONDS."""
        self._end = min(self._end, time.monotonic() + LAST_SECONDS)
        self.wake()

    def run(self) -> None:
        """Ingest again and again, until `stop`."""
        last = False
        while not last:
            last = self._end < math.inf
            self._ingesting.run(self.run_once)
            self._due = time.monotonic() + min(INGEST_SECONDS * 2.0 ** min(self._ingesting.failures, 10), MAX_BACKOFF)
            if not last:
                self._wake_up.wait(max(self._due - time.monotonic(), 0.0))
                self._wake_up.clear()
        self.close()

    def close(self) -> None:
        """Close the tables and release the lock."""
        self._close_connection()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def run_once(self) -> bool:
        """Ingest the whole spool if this process holds the lock or can have it; return whether it does.

        Raises OSError or sqlite3.Error for temporary failures: nothing is lost, and the next run continues from there.
        """
        if not self._has_lock():
            return False
        connection = self._open_store()
        try:
            for name in spool_reader.file_sizes(self.spool):
                self._ingest_file(connection, name)
                if self._is_late():
                    return True
            self._erase(connection)
            self._apply_retention(connection)
        except sqlite3.DatabaseError as error:
            self._roll_back(connection)
            if not is_corrupt(error):
                raise
            self._close_connection()
            self.store.move_corrupt_file(str(error))
        return True

    def _is_late(self) -> bool:
        return time.monotonic() > self._end

    def _has_lock(self) -> bool:
        """Return whether this process holds the lock, taking it if nobody does."""
        if self._lock is not None and not self._lock.held:  # its file was deleted: another process may ingest by now
            self.close()
        if self._lock is None:
            self._lock = try_lock(self.store.folder / LOCK)
        return self._lock is not None

    def _open_store(self) -> sqlite3.Connection:
        if self._connection is not None and not self.store.is_same_file(self._inode):
            log.error("%s was deleted; creating a new one", self.store.path)
            self._close_connection()
        if self._connection is None:
            self._connection = self.store.open()
            self._inode = self.store.path.stat().st_ino
            self._forget_deleted_files(self._connection)
        return self._connection

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._close_connection()

    def _forget_deleted_files(self, connection: sqlite3.Connection) -> None:
        """Delete the offsets of deleted files: an ingester may have died between deleting a file and its offset."""
        files = spool_reader.file_sizes(self.spool)
        deleted = [(name,) for (name,) in connection.execute("SELECT name FROM spool") if name not in files]
        connection.executemany("DELETE FROM spool WHERE name = ?", deleted)

    def _ingest_file(self, connection: sqlite3.Connection, name: str) -> None:
        """Ingest all complete lines of a file, batch by batch, and delete it if it is no longer written to."""
        path = self.spool / name
        try:
            while self._ingest_batch(connection, path) and not self._is_late():
                pass
            # The file first, then its offset: the reverse order would ingest the file again after a crash in between.
            incomplete = spool_reader.delete_if_finished(path, _offset(connection, name))
        except FileNotFoundError:
            return
        if incomplete is None:
            return
        connection.execute("DELETE FROM spool WHERE name = ?", (name,))
        if incomplete:
            log.warning("%s ends with an incomplete record, dropped: its response was never sent", name)
            increment(connection, "torn", 1)

    def _ingest_batch(self, connection: sqlite3.Connection, path: Path) -> bool:
        """Ingest some 1,000 records of a file; return whether there were any."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            chunk = spool_reader.read(path, _offset(connection, path.name))
            for line in insert_lines(connection, chunk.lines):
                log.error("%s: malformed line, kept in %s", path.name, spool_reader.BAD_FILE)
                spool_reader.keep_bad_line(self.spool, line)
            if chunk.lines:
                connection.execute("INSERT OR REPLACE INTO spool VALUES (?, ?)", (path.name, chunk.end))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return bool(chunk.lines)

    def _erase(self, connection: sqlite3.Connection) -> None:
        """Erase what the shipper was told to have erased. All that was in the spool before is in the tables now."""
        if (path := erasing.due(self.store.folder, _log(connection))) is not None:
            count = erasing.apply(connection, path, _log(connection))
            log.info("erasure %s: %d rows", path.stem, count)

    def _shipped(self, connection: sqlite3.Connection) -> Shipped:
        """Return what may be deleted, since it is shipped; everything where nothing is."""
        if not self.limits.ships:
            return ALL
        status = shipping.read(self.store.folder)
        return Shipped(status.requests, status.labels) if status.log == _log(connection) else Shipped(0, 0)

    def _apply_retention(self, connection: sqlite3.Connection) -> None:
        """Delete expired predictions, for a limited time per run so that ingestion is not held up."""
        if time.monotonic() < self._expired + RETENTION_SECONDS:
            return
        end, shipped = time.monotonic() + INGEST_SECONDS, self._shipped(connection)
        while retention.expire(connection, time.time(), self.limits, shipped):
            if time.monotonic() > min(end, self._end):
                return  # continued in the next run
        self._expired = time.monotonic()


def _offset(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT offset FROM spool WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def _log(connection: sqlite3.Connection) -> str:
    [(log_id,)] = connection.execute("SELECT log FROM numbers")
    return str(log_id)
