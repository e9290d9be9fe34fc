"""A time limit that many tasks share, by one timer: a timer for each request costs as much as reading its body."""

from __future__ import annotations

import asyncio


class Limit:
    """What a `with` block enters and leaves; a class, since a generator would take longer than the rest of it."""

    __slots__ = ("_task", "_watchdog")

    def __init__(self, watchdog: Watchdog, task: asyncio.Task[object]) -> None:
        self._watchdog, self._task = watchdog, task

    def __enter__(self) -> None:
        self._watchdog.watch(self._task)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        is_late = self._watchdog.leave(self._task)
        # As asyncio.timeout does: a task that somebody else cancelled, too, stays cancelled.
        if is_late and kind is asyncio.CancelledError and self._task.uncancel() <= 0:
            raise TimeoutError from None


class Watchdog:
    """Cancels what a task does within `limit` for longer than `seconds`. For tasks of one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[asyncio.Task[object], float] = {}  # in the order of their ends, as all have the same time
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> Limit:
        """Limit the time of a `with` block of the current task, which awaits; TimeoutError if it takes longer."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task")
        return Limit(self, task)

    def watch(self, task: asyncio.Task[object]) -> None:
        """Cancel a task when its time is over."""
        loop = task.get_loop()
        self._ends[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._check, loop)

    def leave(self, task: asyncio.Task[object]) -> bool:
        """Watch a task no longer; return whether it was cancelled."""
        self._ends.pop(task, None)
        if task not in self._late:
            return False
        self._late.discard(task)
        return True

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
