"""Measure whether a process makes progress: its process tree uses CPU time, or its log grows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

WINDOW = 5.0  # seconds between two samples: psutil counts CPU time in steps of 10 ms
# Of one core. A loop that sleeps and wakes stays below; an import from a slow disk or at a load of 20 is above.
BUSY = 0.005


@dataclass(frozen=True)
class Sample:
    """What a process had used and logged at one moment."""

    pid: int
    cpu_seconds: float
    log_bytes: int


class Progress:
    """Watches one program; `log` is its log file, which may not exist yet."""

    def __init__(self, log: Path, window: float = WINDOW) -> None:
        self._log, self._window = log, window
        self._last_progress = self._sampled_at = time.monotonic()
        self._sample: Sample | None = None

    def idle_seconds(self, pid: int) -> float:
        """Return for how long the process has neither worked nor logged; `pid` 0 is a process that does not run."""
        now = time.monotonic()
        if self._sample is None or now - self._sampled_at >= self._window:
            before, self._sample = self._sample, Sample(pid, _cpu_seconds(pid), _size(self._log))
            if before is None or self._is_progress(before, self._sample, now - self._sampled_at):
                self._last_progress = now
            self._sampled_at = now
        return now - self._last_progress

    def _is_progress(self, before: Sample, after: Sample, seconds: float) -> bool:
        # The sum falls when a child ends whose time nobody collects: a change, too.
        worked = abs(after.cpu_seconds - before.cpu_seconds) >= BUSY * seconds
        return worked or (before.pid, before.log_bytes) != (after.pid, after.log_bytes)


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants, also of those that have ended."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except (psutil.Error, ValueError):
        return 0.0
    return sum(map(_own_cpu_seconds, tree)) if pid else 0.0


def _own_cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
