"""A worker's prediction log: every request and its predictions go through the spool into SQLite, exactly once.

<folder>/slots/         locks of the worker numbers
<folder>/spool/         records not in SQLite yet; bad.txt has malformed lines
<folder>/predictions.sqlite
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from serving.prediction_log import spool_reader
from serving.prediction_log.ingester import SPOOL
from serving.prediction_log.ingester_process import IngesterProcess, Job
from serving.prediction_log.records import Entry, Feedback, Truth
from serving.prediction_log.retention import Retention
from serving.prediction_log.retry import RepeatedTask
from serving.prediction_log.spool_writer import Spool
from serving.prediction_log.store import Store
from serving.server.worker_lock import WorkerLock

SYNC_SECONDS = 1.0  # between two flushes of the spool, and two looks at the ingester
POLL_SECONDS = 0.02  # between two checks of the ingested offsets
LOCK_TIMEOUT = 0.1  # seconds to wait while another thread waits for ingestion


@dataclass(frozen=True)
class LogOptions:
    """How long predictions are kept, up to how many megabytes of tables, how the ingester logs, whether they ship."""

    days: float = 30.0
    max_mb: float = 1024.0
    log_level: str = "INFO"
    log_json: bool = False
    ships: bool = False


DEFAULTS = LogOptions()


class PredictionLog:
    """The log in `folder`; OSError if the folder cannot be created."""

    def __init__(self, folder: Path, worker: WorkerLock, options: LogOptions = DEFAULTS) -> None:
        spool = folder / SPOOL
        for path in (folder, spool):  # one by one: mkdir(parents=True) ignores the mode for parents
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store, self.ships = Store(folder), options.ships
        self._spool = Spool(spool, worker)
        self._waiting = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        retention = Retention(options.days * 86400.0, int(options.max_mb * 2**20), options.ships)
        self._process = IngesterProcess(Job(str(folder), retention, options.log_level, options.log_json))
        self._syncing = RepeatedTask("the spool cannot be flushed to disk", "the spool is flushed to disk again")
        self._starting = RepeatedTask("the ingester cannot be started", "the ingester is started again")

    def write(self, entry: Entry) -> bool:
        """Append an entry before its response is sent; False if that failed: the response then carries no ids."""
        return self._spool.write(entry)

    def write_feedback(self, truths: list[tuple[str, Truth]]) -> bool:
        """Append true labels, as values of the target, by prediction id; False if that failed."""
        written = self._spool.write(Feedback(time.time(), truths))
        self._process.wake()
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
        """Start the ingester, or stand by while another worker's runs. Call it in the process that serves.

        The thread that does so also flushes this worker's spool: waiting for the disk holds up no other thread.
        """
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close this worker's file, and end the ingester if it is this worker's, after it has ingested what is there.

        What comes later, from other workers, is ingested by another one, now or at the next start.
        """
        self._closed.set()
        if self._thread is not None:
            self._thread.join(SYNC_SECONDS * 10)
        self._spool.close()
        self._process.stop()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._starting.run(self._process.ensure)
            self._closed.wait(SYNC_SECONDS)
            self._syncing.run(self._spool.sync)

    def _wait_until_ingested(self, end: float) -> bool:
        target = spool_reader.file_sizes(self._spool.folder)
        self._process.wake()
        while True:
            # In this order: a file that is deleted in between is ingested, though the offsets read before lag behind.
            offsets, files = self.store.offsets(), spool_reader.file_sizes(self._spool.folder)
            if all(offsets.get(name, 0) >= size or name not in files for name, size in target.items()):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(POLL_SECONDS)
