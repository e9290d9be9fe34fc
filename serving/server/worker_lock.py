"""File locks that the kernel releases when their process ends, even by kill -9, and worker numbers based on them.

They are flock(2) locks rather than files with a process id, which would outlive a killed worker. The folder must be on
a local disk: network file systems emulate flock or ignore it. A forked child releases its copies, so claim a worker
number in the process that serves.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from functools import cache
from pathlib import Path

MAX_WORKERS = 1000

_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """A file locked by this process, until `release` or the end of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        _register_fork_handler()
        _held.add(self)

    @property
    def descriptor(self) -> int:
        """The open file, for reading and appending; -1 once released."""
        return self._descriptor

    @property
    def held(self) -> bool:
        """Whether this process holds the lock and its file is still at `path`.

        If someone deleted or replaced the file, other processes lock another file, and this lock protects nothing.
        """
        try:
            return self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class WorkerLock:
    """The worker number of this process: the lowest that was free when it was claimed.

    Small reusable numbers keep the number of per-worker files (metrics, logs) bounded; process ids would not.
    """

    def __init__(self, number: int, lock: FileLock) -> None:
        self.number, self.lock = number, lock

    def __str__(self) -> str:
        return f"{self.number:02d}"


def claim(folder: Path) -> WorkerLock:
    """Claim the lowest free worker number in this state folder; OSError when its lock files cannot be created."""
    locks = folder / "slots"
    for path in (folder, locks):  # one by one: mkdir(parents=True) ignores the mode for parents
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(MAX_WORKERS):
        lock = try_lock(locks / f"{number:02d}.lock")
        if lock is not None:
            return WorkerLock(number, lock)
    raise OSError(f"{locks}: all {MAX_WORKERS} worker numbers are in use")


def try_lock(path: Path) -> FileLock | None:
    """Lock a file, creating it if needed; return None when another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return FileLock(path, descriptor)


@cache
def _register_fork_handler() -> None:
    os.register_at_fork(after_in_child=_release_in_child)


def _release_in_child() -> None:
    """Close the child's copies: a flock belongs to the open file description, so the child would keep it locked."""
    for lock in list(_held):
        lock.release()
    _held.clear()
