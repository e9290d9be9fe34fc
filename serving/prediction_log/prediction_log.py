"""The prediction log of a worker: every request and its answer, by way of the spool into SQLite, exactly once.

<folder>/slots/         the workers' numbers
<folder>/spool/         what is not in SQLite yet; bad.txt: lines that are no records
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
from serving.server.worker_lock import Slot

LOOK = 0.02  # seconds between two looks
TURN = 0.1  # seconds to wait for another thread that waits


class PredictionLog:
    """The log in `folder`, kept for `days` and up to `max_mb` of tables; OSError when the folder cannot be made."""

    def __init__(self, folder: Path, slot: Slot, days: float = 30.0, max_mb: float = 1024.0) -> None:
        home = folder / "spool"
        for each in (folder, home):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store = Store(folder)
        self._spool = Spool(home, slot)
        self._settling = threading.Lock()
        self._ingester = Ingester(self._spool, self.store, Retention(days * 86400.0, int(max_mb * 2**20)))

    def write(self, entry: Entry) -> bool:
        """Append an entry before its answer goes out; False when it could not be: the answer then carries no ids."""
        return self._spool.write(entry)

    def judge(self, truths: list[tuple[str, Truth]]) -> bool:
        """Append true labels, as values of the target, by prediction id; False when they could not be."""
        written = self._spool.write(Feedback(time.time(), truths))
        self._ingester.nudge()
        return written

    def backlog_bytes(self) -> int:
        """Count the bytes of the spool that are not in SQLite yet, of all workers."""
        return spool_reader.waiting(self._spool.folder, self.store.offsets())

    def settle(self, seconds: float) -> bool:
        """Wait until all that was written before now is in SQLite, so long at most; return whether it is.

        One thread waits at a time, and another is told False: while the tables lag, predictions need the rest.
        """
        if not self._settling.acquire(timeout=TURN):
            return False
        try:
            return self._settle(time.monotonic() + seconds)
        finally:
            self._settling.release()

    def start(self) -> None:
        """Start the thread that ingests, or stands by; in the process that serves."""
        self._ingester.start()

    def close(self) -> None:
        """End the thread and this worker's file; another ingests the rest, now or at the next start."""
        self._ingester.close()
        self._spool.close()

    def _settle(self, end: float) -> bool:
        goal = spool_reader.names(self._spool.folder)
        self._ingester.nudge()
        while True:
            offsets, there = self.store.offsets(), spool_reader.names(self._spool.folder)
            if all(offsets.get(name, 0) >= size or name not in there for name, size in goal.items()):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(LOOK)
