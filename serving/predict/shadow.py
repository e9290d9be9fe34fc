"""Scores copies of answered requests with the version that is tried as a shadow, off the response path.

One thread, a bounded queue: what does not fit is dropped and counted. The thread rests three times as long as it works,
so that it leaves the processor, and Python's lock, to the requests; a busy service is thereby shadowed in part.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from serving.metrics import Metrics
from serving.models.rollouts import LiveRollout
from updraft.model.signature import BadRow, Rows

MAX_ROWS, MAX_REQUESTS = 10_000, 1_000  # that wait
REST = 3.0  # times as long as a score took, and at most
MAX_REST = 2.0  # seconds


class Answered(NamedTuple):
    """A request that another version has answered: its rows, when, in Unix seconds, and its id where it is logged."""

    rows: Rows
    at: float
    id: str | None


Record = Callable[[LiveRollout, Answered], None]  # scores and logs
IsTried = Callable[[LiveRollout], bool]

log = logging.getLogger(__name__)


class Shadow:
    """The queue and the thread of this process, which starts with the first request. `record` scores and logs."""

    def __init__(self, metrics: Metrics, record: Record, is_tried: IsTried) -> None:
        self._metrics, self._record, self._is_tried = metrics, record, is_tried
        self._queue: deque[tuple[LiveRollout, Answered]] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._warned: LiveRollout | None = None

    def offer(self, tried: LiveRollout, answered: Answered) -> None:
        """Queue rows to be scored, or drop them if too many wait; never waits for a score, and raises nothing."""
        rows = answered.rows
        try:
            with self._changed:
                fits = len(self._queue) < MAX_REQUESTS and self._rows + len(rows) <= MAX_ROWS
                if fits:
                    self._queue.append((tried, answered))
                    self._rows += len(rows)
                    self._start()
                    self._changed.notify()
            if not fits:
                self._metrics.shadow_dropped.labels(tried.live.use_case).inc(len(rows))
        except Exception:  # a shadow must not cost the answer
            log.exception("a request could not be shadowed")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                tried, answered = self._queue.popleft()
                self._rows -= len(answered.rows)
            began = time.perf_counter()
            self._score(tried, answered)
            time.sleep(min(REST * (time.perf_counter() - began), MAX_REST))

    def _score(self, tried: LiveRollout, answered: Answered) -> None:
        rows, name, version = answered.rows, tried.live.use_case, str(tried.live.version)
        try:
            if not self._is_tried(tried):  # the rollout ended
                self._metrics.shadow_dropped.labels(name).inc(len(rows))
                return
            self._record(tried, answered)
            self._metrics.rollout_rows.labels(name, version, "shadow").inc(len(rows))
        except Exception as error:  # whatever a tried version does, the next request is shadowed, too
            self._metrics.shadow_errors.labels(name, version).inc()
            if self._warned is not tried:
                self._warned = tried
                log.warning("%s: version %s failed as a shadow: %s", name, version, _reason(error))


def _reason(error: Exception) -> str:
    """Say why a version failed, without the value of a row that its suite refuses: it may be private."""
    cause = error.__cause__ or error
    if isinstance(cause, BadRow):
        return f"a row that production has answered does not match its schema, at {cause.errors[0]['pointer']}"
    return f"{type(cause).__name__}: {cause}"
