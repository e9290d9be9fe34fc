"""A time limit that many tasks share, by one timer: a timer for each request costs as much as reading its body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Watchdog:
    """Cancels what a task does within `limit` for longer than `seconds`. For tasks of one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[asyncio.Task[object], float] = {}  # in the order of their ends, as all have the same time
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Limit the time of a `with` block of the current task, which awaits; TimeoutError if it takes longer."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task")
        loop = task.get_loop()
        self._ends[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._check, loop)
        try:
            yield
        except asyncio.CancelledError:
            # As asyncio.timeout does: a task that somebody else cancelled, too, stays cancelled.
            if task in self._late and task.uncancel() <= 0:
                raise TimeoutError from None
            raise
        finally:
            self._ends.pop(task, None)
            self._late.discard(task)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._ends:
            task, end = next(iter(self._ends.items()))
            if end > now:
                self._timer = loop.call_at(end, self._check, loop)
                return
            del self._ends[task]
            self._late.add(task)
            task.cancel()
