"""A worker's prediction log: every request and its predictions go through the spool into SQLite, exactly once.

<folder>/slots/         locks of the worker numbers
<folder>/spool/         records not in SQLite yet; bad.txt has malformed lines
<folder>/predictions.sqlite
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from serving.prediction_log import spool_reader
from serving.prediction_log.ingester import Ingester, Retention
from serving.prediction_log.records import Entry, Feedback, Truth
from serving.prediction_log.spool_writer import Spool
from serving.prediction_log.store import Store
from serving.server.worker_lock import WorkerLock

POLL_SECONDS = 0.02  # between two checks of the ingested offsets
LOCK_TIMEOUT = 0.1  # seconds to wait while another thread waits for ingestion


class PredictionLog:
    """The log in `folder`, kept for `days` and up to `max_mb` of tables; OSError if the folder cannot be created."""

    def __init__(self, folder: Path, worker: WorkerLock, days: float = 30.0, max_mb: float = 1024.0) -> None:
        spool = folder / "spool"
        for path in (folder, spool):  # one by one: mkdir(parents=True) ignores the mode for parents
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store = Store(folder)
        self._spool = Spool(spool, worker)
        self._waiting = threading.Lock()
        self._ingester = Ingester(self._spool, self.store, Retention(days * 86400.0, int(max_mb * 2**20)))

    def write(self, entry: Entry) -> bool:
        """Append an entry before its response is sent; False if that failed: the response then carries no ids."""
        return self._spool.write(entry)

    def write_feedback(self, truths: list[tuple[str, Truth]]) -> bool:
        """Append true labels, as values of the target, by prediction id; False if that failed."""
        written = self._spool.write(Feedback(time.time(), truths))
        self._ingester.wake()
        return written

    def backlog_bytes(self) -> int:
        """Return the number of bytes in the spools of all workers that are not in SQLite yet."""
        return spool_reader.backlog_bytes(self._spool.folder, self.store.offsets())

    def wait_until_ingested(self, seconds: float) -> bool:
        """Wait up to `seconds` until everything written before now is in SQLite; return whether it is.

        Only one thread waits at a time; others get False at once: if ingestion lags, waiting requests must not take all
        the threads that predictions need.
        """
        if not self._waiting.acquire(timeout=LOCK_TIMEOUT):
            return False
        try:
            return self._wait_until_ingested(time.monotonic() + seconds)
        finally:
            self._waiting.release()

    def start(self) -> None:
        """Start the thread that ingests or stands by. Call it in the process that serves."""
        self._ingester.start()

    def close(self) -> None:
        """Stop the thread and close this worker's file; another worker ingests the rest, now or at the next start."""
        self._ingester.close()
        self._spool.close()

    def _wait_until_ingested(self, end: float) -> bool:
        target = spool_reader.file_sizes(self._spool.folder)
        self._ingester.wake()
        while True:
            # In this order: a file that is deleted in between is ingested, though the offsets read before lag behind.
            offsets, files = self.store.offsets(), spool_reader.file_sizes(self._spool.folder)
            if all(offsets.get(name, 0) >= size or name not in files for name, size in target.items()):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(POLL_SECONDS)
