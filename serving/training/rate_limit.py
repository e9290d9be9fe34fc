"""Rate limits per minute, counted in one SQLite file by all workers of a host and across restarts.

The usual library, `limits`, counts in each worker's memory unless there is a Redis; this is a single table instead.
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


class RateLimiter:
    """Counts in `file`, or in memory without one, which limits each worker separately.

    Safe to share between threads. While the file cannot be written, every hit raises ServiceUnavailable: a full disk
    must not switch off the protection against guessing tokens.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = str(file or ":memory:")
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def hit(self, who: str, limit: int) -> None:
        """Count a hit by `who`; TooManyRequests if there were `limit` hits within the last minute."""
        try:
            with self._lock:
                wait = self._wait(self._open(), who, limit)
        except sqlite3.Error as error:
            log.error("the rate limiter cannot count: %s", error)
            with self._lock, suppress(sqlite3.Error):
                self._close()
            raise ServiceUnavailable("The service cannot check its rate limits now.", retry_after=10) from None
        if wait > 0:
            seconds = int(wait) + 1
            raise TooManyRequests(f"At most {limit} per minute: try again in {seconds} s.", retry_after=seconds)

    def _wait(self, connection: sqlite3.Connection, who: str, limit: int) -> float:
        """Return the seconds until the next hit is allowed; count one if it is allowed now."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            now = time.time()  # after BEGIN has waited for other workers, so that none of their hits is in the future
            connection.execute("DELETE FROM hits WHERE at <= ? OR at > ?", (now - WINDOW, now))
            query = "SELECT at FROM hits WHERE who = ? ORDER BY at DESC LIMIT 1 OFFSET ?"
            oldest = connection.execute(query, (who, limit - 1)).fetchone()  # of the last `limit` hits
            if oldest is None:
                connection.execute("INSERT INTO hits VALUES (?, ?)", (who, now))
        return float(oldest[0]) + WINDOW - now if oldest else 0.0

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._file, timeout=2, isolation_level=None, check_same_thread=False)
            self._connection.execute(TABLE)
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
