"""The thread that brings the spool into SQLite: one in each worker, one of which does it for all.

What is read moves its offset in the same transaction, so a record is in the tables once, whoever dies when. The one
that ingests holds `ingester.lock`; another takes over within seconds of its end: it checks the tables first.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from serving.prediction_log import retention, spool_reader
from serving.prediction_log.inserts import count, take_in
from serving.prediction_log.retry import Attempts
from serving.prediction_log.spool_writer import Spool
from serving.prediction_log.store import Store, spoilt
from serving.server.worker_lock import Lock, take

PAUSE, SYNC, LONGEST_PAUSE = 0.2, 1.0, 10.0  # seconds
RETENTION_PAUSE = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retention:
    """How long predictions are kept, and how much room they may take."""

    seconds: float = 30 * 86400.0
    max_bytes: int = 1024 * 2**20


class Ingester:
    """Ingests the folder of `spool` into `store` for as long as it holds the lock, and syncs its own worker's spool."""

    def __init__(self, spool: Spool, store: Store, keep: Retention) -> None:
        self.spool, self.store, self.keep = spool, store, keep
        self._nudged = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._lock: Lock | None = None
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._synced = self._due = self._expired = float("-inf")
        self._syncing = Attempts("what is in the spool is not on the disk yet", "the spool is on the disk again")
        self._ingesting = Attempts("predictions stay in the spool for now", "predictions leave the spool again")

    def start(self) -> None:
        """Start the daemon thread, in the process that serves: a thread does not survive a fork."""
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Have the next round at once."""
        self._nudged.set()

    def close(self) -> None:
        """End after the round that runs, and let another worker take over."""
        self._closed = True
        self.nudge()
        if self._thread is not None:
            self._thread.join(LONGEST_PAUSE)

    def round(self) -> bool:
        """Ingest all that is there, if it is this worker's turn; return whether it is.

        Raises OSError or sqlite3.Error for what passes by itself: nothing is lost, the next round goes on from there.
        """
        if not self._leads():
            return False
        connection = self._open()
        try:
            for name in spool_reader.names(self.spool.folder):
                self._ingest(connection, name)
                if self._closed:
                    return True
            self._retain(connection)
        except sqlite3.DatabaseError as error:
            self._recover(connection)
            if not spoilt(error):
                raise
            self._shut()
            self.store.set_aside(str(error))
        return True

    def _run(self) -> None:
        nudged = False
        while not self._closed:
            if time.monotonic() >= self._synced + SYNC:
                self._synced = time.monotonic()
                self._syncing.make(self.spool.sync)
            if nudged or time.monotonic() >= self._due:
                self._ingesting.make(self.round)
                self._due = time.monotonic() + min(PAUSE * 2.0 ** min(self._ingesting.failed, 10), LONGEST_PAUSE)
            nudged = self._nudged.wait(min(max(self._due - time.monotonic(), 0.0), SYNC))
            self._nudged.clear()
        self._shut()
        if self._lock is not None:
            self._lock.release()

    def _leads(self) -> bool:
        """Tell whether this worker holds the lock, or take it where nobody does."""
        if self._lock is not None and not self._lock.held:  # the folder was emptied: others see another file
            self._shut()
            self._lock.release()
            self._lock = None
        if self._lock is None:
            self._lock = take(self.store.folder / "ingester.lock")
        return self._lock is not None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and not self.store.same(self._inode):
            log.error("%s is gone; a new one is begun", self.store.path)
            self._shut()
        if self._connection is None:
            self._connection = self.store.open()
            self._inode = self.store.path.stat().st_ino
            self._drop_offsets(self._connection)
        return self._connection

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _recover(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._shut()

    def _drop_offsets(self, connection: sqlite3.Connection) -> None:
        """Forget files that are deleted: a worker may have died between the one and the other."""
        there = spool_reader.names(self.spool.folder)
        gone = [(name,) for (name,) in connection.execute("SELECT name FROM spool") if name not in there]
        connection.executemany("DELETE FROM spool WHERE name = ?", gone)

    def _ingest(self, connection: sqlite3.Connection, name: str) -> None:
        """Bring in all whole lines of a file, a batch at a time, and delete it when nobody writes it any more."""
        path = self.spool.folder / name
        try:
            while self._batch(connection, path) and not self._closed:
                pass
            torn = spool_reader.finish(path, _offset(connection, name))
        except FileNotFoundError:
            return
        if torn is None:
            return
        connection.execute("DELETE FROM spool WHERE name = ?", (name,))
        if torn:
            log.warning("%s ended in the middle of a record, whose answer never went out: dropped", name)
            count(connection, "torn", 1)

    def _batch(self, connection: sqlite3.Connection, path: Path) -> bool:
        """Ingest some 1,000 records of a file; return whether there were any."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            told = spool_reader.read(path, _offset(connection, path.name))
            for line in take_in(connection, told.lines):
                log.error("%s: a line is no record, kept in %s", path.name, spool_reader.BAD)
                spool_reader.set_aside(self.spool.folder, line)
            if told.lines:
                connection.execute("INSERT OR REPLACE INTO spool VALUES (?, ?)", (path.name, told.end))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return bool(told.lines)

    def _retain(self, connection: sqlite3.Connection) -> None:
        """Delete what is too old or too much, now and then, some of it in each round."""
        if time.monotonic() < self._expired + RETENTION_PAUSE:
            return
        end = time.monotonic() + PAUSE
        while retention.expire(connection, time.time() - self.keep.seconds, self.keep.max_bytes):
            if time.monotonic() > end or self._closed:
                return
        self._expired = time.monotonic()


def _offset(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT offset FROM spool WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0
