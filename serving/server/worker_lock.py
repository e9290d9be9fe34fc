"""Locks that end with their process, also by kill -9, and the worker number that is made of one.

They are flock(2) locks, so the folder has to lie on a disk of this machine. A child that Python forks lets go of its
copy of a lock, and its parent keeps it: claim in the process that serves.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from functools import cache
from pathlib import Path

MOST = 1000

_held: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A file held by this process alone, until `release` or its end."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        _watch_forks()
        _held.add(self)

    @property
    def descriptor(self) -> int:
        """The open file, to read and to append to; -1 once it is let go of."""
        return self._descriptor

    @property
    def held(self) -> bool:
        """Tell whether it is held by this process, and its file is still the one that others would find."""
        try:
            return self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Let go of it; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Slot:
    """The worker number of this process: the lowest that was free when it was claimed."""

    def __init__(self, number: int, lock: Lock) -> None:
        self.number, self.lock = number, lock

    def __str__(self) -> str:
        return f"{self.number:02d}"


def claim(folder: Path) -> Slot:
    """Take the lowest free worker number of this state folder; OSError when its files cannot be made."""
    home = folder / "slots"
    for each in (folder, home):  # parents get no mode
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(MOST):
        lock = take(home / f"{number:02d}.lock")
        if lock is not None:
            return Slot(number, lock)
    raise OSError(f"{home}: all {MOST} worker numbers are taken")


def take(path: Path) -> Lock | None:
    """Lock a file, made where it is not there; None when another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(path, descriptor)


@cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    """Close a child's copies: the lock belongs to the open file, and would outlive the parent in the child."""
    for lock in list(_held):
        lock.release()
    _held.clear()
