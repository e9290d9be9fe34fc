"""Writes a worker's part of the spool: each record is appended by a single write(2) before its response is sent.

A spool, because SQLite allows one writer at a time and a durable commit costs an fsync: workers would wait for each
other and for the disk in every request. An append costs microseconds and survives the process, even kill -9, since the
kernel has the bytes. A power failure loses what the kernel had not yet written to disk: at most the records since the
last `sync`, which another thread than those that write should call: it waits for the disk.

<folder>/<worker>-<id>.jsonl    locked by flock while its worker may still write to it
<folder>/.<worker>-<id>.new     not locked yet, renamed to the above once it is
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from serving.prediction_log.records import ENCODER, Entry, Feedback, new_id
from serving.server.worker_lock import FileLock, WorkerLock, try_lock

MAX_BYTES = 16 * 2**20
MAX_FULL = 64  # files that wait to be flushed: on a disk that never succeeds, the number of open files stays bounded
LINK_CHECK_SECONDS = 0.1  # between two checks that the file still exists
SUFFIX = ".jsonl"

log = logging.getLogger(__name__)


class _Flush(NamedTuple):
    """A file to flush to disk, and whether its name may not be on the disk yet."""

    descriptor: int
    new: bool


class Spool:
    """The spool files of one worker in `folder`; a new one starts after about `max_bytes`. Safe for threads only."""

    def __init__(self, folder: Path, worker: WorkerLock, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.worker, self.max_bytes = folder, worker, max_bytes
        self.lost = 0  # records that could not be written
        self._file: FileLock | None = None
        self._size = 0
        self._link_checked = 0.0
        self._lock = threading.Lock()
        self._failing = False
        self._dirty = self._new = False
        self._full: list[_Flush] = []  # files before this one that are not on the disk yet
        for path in folder.glob(f".{worker}-*.new"):  # left by a worker that died before it locked its file
            path.unlink(missing_ok=True)

    def write(self, record: Entry | Feedback) -> bool:
        """Append a record; return False if that fails, logging only the first of consecutive failures."""
        try:
            line = ENCODER.encode(record) + b"\n"
            with self._lock:
                self._append(line)
                self._dirty = True
        except (OSError, ValueError, TypeError, RecursionError) as error:
            self._note_failure(error)
            return False
        if self._failing:
            self._failing = False
            log.warning("the prediction log can be written again; %d records lost so far", self.lost)
        return True

    def sync(self) -> None:
        """Flush what was written since the last call to disk; OSError when that fails."""
        with self._lock:
            waiting, self._full = self._full, []
            current = self._file if self._dirty and self._file and self._file.descriptor >= 0 else None
            if current is not None:
                # A duplicate, to flush without holding the lock: that takes milliseconds, and requests are waiting.
                waiting.append(_Flush(os.dup(current.descriptor), self._new))
                self._dirty = self._new = False
        try:
            while waiting:
                _flush(waiting[0].descriptor, self.folder if waiting[0].new else None)
                os.close(waiting.pop(0).descriptor)
        finally:
            self._put_back(waiting, current)

    def _put_back(self, waiting: list[_Flush], current: FileLock | None) -> None:
        """Leave the files that could not be flushed, of which the last may still be written to, to the next call."""
        with self._lock:
            if waiting and current is not None and current is self._file:
                failed = waiting.pop()
                os.close(failed.descriptor)
                self._dirty, self._new = True, self._new or failed.new
            self._full = waiting + self._full

    def close(self) -> None:
        """Flush and close the file. A later write opens another."""
        with self._lock:
            self._close_file()
        try:
            self.sync()
        except OSError as error:
            log.warning("the prediction log could not be flushed to disk: %s", error)

    def _append(self, line: bytes) -> None:
        descriptor = self._writable_descriptor()
        try:
            written = os.write(descriptor, line)
        except OSError:
            self._truncate(descriptor)
            raise
        if written < len(line):
            self._truncate(descriptor)
            raise OSError(f"only {written} of {len(line)} bytes were written")
        self._size += written

    def _truncate(self, descriptor: int) -> None:
        """Remove a partly written record; if that fails too, close the file, so that nothing follows a partial line."""
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self._close_file()

    def _writable_descriptor(self) -> int:
        """Return the descriptor of a file that has room and still exists."""
        if self._file is not None:
            descriptor = self._file.descriptor  # -1 in a forked child, which released its parent's lock
            if descriptor >= 0 and self._size < self.max_bytes and self._is_linked(descriptor):
                return descriptor
            self._close_file()
        self._file, self._size, self._new = self._open_file(), 0, True
        return self._file.descriptor

    def _is_linked(self, descriptor: int) -> bool:
        """Return whether the file still has a name: records in a deleted file would never be read.

        Checked only now and then: each system call releases the GIL, and getting it back takes longer than the call.
        """
        now = time.monotonic()
        if now < self._link_checked + LINK_CHECK_SECONDS:
            return True
        self._link_checked = now
        return os.fstat(descriptor).st_nlink > 0

    def _open_file(self) -> FileLock:
        """Create a file under a temporary name and rename it once it is locked.

        An unlocked file looks like a dead worker's, which the ingester deletes.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{self.worker}-{new_id()}"
        draft, path = self.folder / f".{name}.new", self.folder / f"{name}{SUFFIX}"
        lock = try_lock(draft)
        if lock is None:
            raise OSError(f"{draft} is locked by another process")
        try:
            draft.rename(path)
        except OSError:
            lock.release()
            draft.unlink(missing_ok=True)
            raise
        lock.path = path
        return lock

    def _close_file(self) -> None:
        """Let the ingester have the file, and leave it to `sync` to flush it: a request must not wait for the disk."""
        if self._file is None:
            return
        file, self._file = self._file, None
        if self._dirty and file.descriptor >= 0 and len(self._full) < MAX_FULL:
            fcntl.flock(file.descriptor, fcntl.LOCK_UN)  # a duplicate of the descriptor would keep it
            self._full.append(_Flush(os.dup(file.descriptor), self._new))
        self._dirty = self._new = False
        file.release()

    def _note_failure(self, error: Exception) -> None:
        with self._lock:
            self.lost += 1
            reported, self._failing = self._failing, True
        if not reported:
            log.error("the prediction log cannot be written, responses carry no prediction ids: %s", error)


def _flush(descriptor: int, folder: Path | None) -> None:
    os.fdatasync(descriptor)
    # The contents first, then the name: a new file survives a power failure only once its folder is flushed too.
    if folder is not None:
        entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
