"""The thread that moves the spool into SQLite: every worker has one, and the leader's does it for all workers.

A batch of records and the spool offset behind it are committed in one transaction, so that each record is in the tables
exactly once, whichever process dies when. There is a leader, since SQLite takes one writer at a time, and since two
processes reading the same offset would insert the same records. The leader holds `ingester.lock`, which the kernel
releases when its process ends; another worker takes over within seconds.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from serving.prediction_log import retention, spool_reader
from serving.prediction_log.inserts import increment, insert_lines
from serving.prediction_log.retry import RepeatedTask
from serving.prediction_log.spool_writer import Spool
from serving.prediction_log.store import Store, is_corrupt
from serving.server.worker_lock import FileLock, try_lock

INGEST_SECONDS, SYNC_SECONDS, RETENTION_SECONDS = 0.2, 1.0, 60.0  # between two runs
MAX_BACKOFF = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retention:
    """How long predictions are kept, and how much disk space they may use."""

    seconds: float = 30 * 86400.0
    max_bytes: int = 1024 * 2**20


class Ingester:
    """Ingests the folder of `spool` into `store` while it is the leader, and always syncs its own worker's spool."""

    def __init__(self, spool: Spool, store: Store, limits: Retention) -> None:
        self.spool, self.store, self.limits = spool, store, limits
        self._wake_up = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._lock: FileLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._synced = self._due = self._expired = float("-inf")
        self._syncing = RepeatedTask("the spool cannot be flushed to disk", "the spool is flushed to disk again")
        self._ingesting = RepeatedTask("predictions stay in the spool for now", "predictions are ingested again")

    def start(self) -> None:
        """Start the daemon thread. Call it in the process that serves: a thread does not survive a fork."""
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Ingest now instead of at the next interval."""
        self._wake_up.set()

    def close(self) -> None:
        """Stop after the current batch, and let another worker take over."""
        self._closed = True
        self.wake()
        if self._thread is not None:
            self._thread.join(MAX_BACKOFF)

    def run_once(self) -> bool:
        """Ingest the whole spool if this worker is the leader; return whether it is.

        Raises OSError or sqlite3.Error for temporary failures: nothing is lost, and the next run continues from there.
        """
        if not self._is_leader():
            return False
        connection = self._open_store()
        try:
            for name in spool_reader.file_sizes(self.spool.folder):
                self._ingest_file(connection, name)
                if self._closed:
                    return True
            self._apply_retention(connection)
        except sqlite3.DatabaseError as error:
            self._roll_back(connection)
            if not is_corrupt(error):
                raise
            self._close_connection()
            self.store.move_corrupt_file(str(error))
        return True

    def _run(self) -> None:
        woken = False
        while not self._closed:
            if time.monotonic() >= self._synced + SYNC_SECONDS:
                self._synced = time.monotonic()
                self._syncing.run(self.spool.sync)
            if woken or time.monotonic() >= self._due:
                self._ingesting.run(self.run_once)
                self._due = time.monotonic() + min(
                    INGEST_SECONDS * 2.0 ** min(self._ingesting.failures, 10), MAX_BACKOFF
                )
            woken = self._wake_up.wait(min(max(self._due - time.monotonic(), 0.0), SYNC_SECONDS))
            self._wake_up.clear()
        self._close_connection()
        if self._lock is not None:
            self._lock.release()

    def _is_leader(self) -> bool:
        """Return whether this worker is the leader, becoming it if there is none."""
        if self._lock is not None and not self._lock.held:  # its file was deleted: another worker may lead by now
            self._close_connection()
            self._lock.release()
            self._lock = None
        if self._lock is None:
            self._lock = try_lock(self.store.folder / "ingester.lock")
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
        """Delete the offsets of deleted files: a leader may have died between deleting a file and its offset."""
        files = spool_reader.file_sizes(self.spool.folder)
        deleted = [(name,) for (name,) in connection.execute("SELECT name FROM spool") if name not in files]
        connection.executemany("DELETE FROM spool WHERE name = ?", deleted)

    def _ingest_file(self, connection: sqlite3.Connection, name: str) -> None:
        """Ingest all complete lines of a file, batch by batch, and delete it if it is no longer written to."""
        path = self.spool.folder / name
        try:
            while self._ingest_batch(connection, path) and not self._closed:
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
                spool_reader.keep_bad_line(self.spool.folder, line)
            if chunk.lines:
                connection.execute("INSERT OR REPLACE INTO spool VALUES (?, ?)", (path.name, chunk.end))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return bool(chunk.lines)

    def _apply_retention(self, connection: sqlite3.Connection) -> None:
        """Delete expired predictions, for a limited time per run so that ingestion is not held up."""
        if time.monotonic() < self._expired + RETENTION_SECONDS:
            return
        end = time.monotonic() + INGEST_SECONDS
        while retention.expire(connection, time.time() - self.limits.seconds, self.limits.max_bytes):
            if time.monotonic() > end or self._closed:
                return  # continued in the next run
        self._expired = time.monotonic()


def _offset(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT offset FROM spool WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0
