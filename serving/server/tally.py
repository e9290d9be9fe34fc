"""Adds up what requests count, and passes the sums on to Prometheus's metrics a moment later.

An addition to a metric that workers share takes a lock, checks the process and writes to a memory-mapped file. Those of
one request took longer than reading and checking its row.
"""

from __future__ import annotations

import atexit
import threading
from bisect import bisect_left
from collections import Counter as Count
from collections import defaultdict, deque

from prometheus_client import Counter, Histogram

FLUSH_SECONDS = 0.05  # from the first request to when its counts are in the metrics; a killed process loses as much


class Tally:
    """Keeps what is counted until it is passed on. Safe for threads."""

    def __init__(self) -> None:
        self._counted: deque[tuple[Counter, float]] = deque()
        self._observed: deque[tuple[Histogram, float]] = deque()
        self._flushing = threading.Lock()
        self._is_due = False  # a thread that will flush has been started
        atexit.register(self.flush)

    def add(self, counter: Counter, amount: float = 1) -> None:
        """Add to a counter that has its labels."""
        self._counted.append((counter, amount))
        if not self._is_due:
            self._flush_later()

    def observe(self, histogram: Histogram, seconds: float) -> None:
        """Observe a duration for a histogram that has its labels."""
        self._observed.append((histogram, seconds))
        if not self._is_due:
            self._flush_later()

    def flush(self) -> None:
        """Pass on all that was counted before."""
        with self._flushing:
            self._is_due = False  # first: what is counted from here on starts another thread
            counts: dict[Counter, float] = defaultdict(float)
            for _ in range(len(self._counted)):
                counter, amount = self._counted.popleft()
                counts[counter] += amount
            durations: dict[Histogram, list[float]] = defaultdict(list)
            for _ in range(len(self._observed)):
                histogram, seconds = self._observed.popleft()
                durations[histogram].append(seconds)
            for counter, amount in counts.items():
                counter.inc(amount)
            for histogram, observed in durations.items():
                _observe(histogram, observed)

    def _flush_later(self) -> None:
        self._is_due = True
        timer = threading.Timer(FLUSH_SECONDS, self.flush)
        timer.daemon, timer.name = True, "tally"
        try:
            timer.start()
        except RuntimeError:  # no more threads
            self.flush()


def _observe(histogram: Histogram, observed: list[float]) -> None:
    """Do what `Histogram.observe` does, for many values at once."""
    # prometheus_client has no such method; tests/serving/server/test_tally.py compares the two.
    histogram._sum.inc(sum(observed))
    for bucket, count in Count(bisect_left(histogram._upper_bounds, seconds) for seconds in observed).items():
        histogram._buckets[bucket].inc(count)
