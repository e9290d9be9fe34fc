"""So many in a minute: counted in one SQLite file by all workers of a host, and across their restarts.

The usual library, `limits`, counts in the memory of each worker unless there is a Redis; this is one table instead.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

WINDOW = 60.0  # seconds
TABLE = "CREATE TABLE IF NOT EXISTS hits (who TEXT NOT NULL, at REAL NOT NULL)"

log = logging.getLogger(__name__)


class Rates:
    """Counts in `file`; without one in memory, which is a count for each worker.

    Safe to share between threads. While the file cannot be written, nothing is let in: ServiceUnavailable.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = str(file or ":memory:")
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def take(self, who: str, most: int) -> None:
        """Count one of `who`'s; TooManyRequests instead when there were `most` in the last minute."""
        try:
            with self._lock:
                wait = self._wait(self._open(), who, most)
        except sqlite3.Error as error:
            log.error("the rate limits cannot be counted: %s", error)
            with self._lock, suppress(sqlite3.Error):
                self._close()
            raise ServiceUnavailable("The service cannot count requests now.", retry_after=10) from None
        if wait > 0:
            raise TooManyRequests(f"At most {most} in a minute are taken.", retry_after=int(wait) + 1)

    def _wait(self, connection: sqlite3.Connection, who: str, most: int) -> float:
        """Return the seconds until one more fits; count one when it fits now."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            now = time.time()  # within: what another worker wrote before is not of the future
            connection.execute("DELETE FROM hits WHERE at <= ? OR at > ?", (now - WINDOW, now))
            of = "SELECT at FROM hits WHERE who = ? ORDER BY at DESC LIMIT 1 OFFSET ?"
            full = connection.execute(of, (who, most - 1)).fetchone()
            if full is None:
                connection.execute("INSERT INTO hits VALUES (?, ?)", (who, now))
        return float(full[0]) + WINDOW - now if full else 0.0

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._file, timeout=2, isolation_level=None, check_same_thread=False)
            self._connection.execute(TABLE)
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
