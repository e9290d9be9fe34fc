"""A worker's side of the spool: each record is appended by one write(2) before its answer goes out.

What is written survives the end of the process, kill -9 too, since the kernel has it. What the kernel had not put on
the disk yet is lost with the power: at most what came between two calls of `sync`.

<folder>/<slot>-<time and chance>.jsonl      held by flock while its worker may still write to it
<folder>/.<slot>-<time and chance>.new       becomes one of these once it is held
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from serving.prediction_log.records import ENCODER, Entry, Feedback, new_id
from serving.server.worker_lock import Lock, Slot, take

MAX_BYTES = 16 * 2**20
LOOK = 0.1  # seconds between two looks at whether the file is still there
SUFFIX = ".jsonl"

log = logging.getLogger(__name__)


class Spool:
    """The files of one worker in `folder`, a new one after `max_bytes` or so. Threads may share it, processes not."""

    def __init__(self, folder: Path, slot: Slot, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.slot, self.max_bytes = folder, slot, max_bytes
        self.lost = 0  # records that could not be written
        self._file: Lock | None = None
        self._size = 0
        self._looked = 0.0
        self._guard = threading.Lock()
        self._failing = False
        self._dirty = self._new = False
        for path in folder.glob(f".{slot}-*.new"):  # of a worker that died before it held one
            path.unlink(missing_ok=True)

    def write(self, record: Entry | Feedback) -> bool:
        """Append a record; False, and one line in the log until it goes well again, when that cannot be."""
        try:
            line = ENCODER.encode(record) + b"\n"
            with self._guard:
                self._append(line)
                self._dirty = True
        except (OSError, ValueError, TypeError, RecursionError) as error:
            self._note_failure(error)
            return False
        if self._failing:
            self._failing = False
            log.warning("the prediction log is written again; %d records were lost so far", self.lost)
        return True

    def sync(self) -> None:
        """Put on the disk what was written since the last time; OSError when that fails."""
        with self._guard:
            if not self._dirty or self._file is None or self._file.descriptor < 0:
                return
            descriptor, new = os.dup(self._file.descriptor), self._new
            self._dirty = self._new = False
        try:
            _flush(descriptor, self.folder if new else None)
        except OSError:
            with self._guard:
                self._dirty, self._new = True, self._new or new
            raise
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """End the file. A later write begins another."""
        with self._guard:
            self._end()

    def _append(self, line: bytes) -> None:
        descriptor = self._ready()
        try:
            written = os.write(descriptor, line)
        except OSError:
            self._cut(descriptor)
            raise
        if written < len(line):
            self._cut(descriptor)
            raise OSError(f"{written} of {len(line)} bytes were taken")
        self._size += written

    def _cut(self, descriptor: int) -> None:
        """Take back a piece of a record; where even that fails, go on in another file, and let this one end torn."""
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self._end()

    def _ready(self) -> int:
        """Return the descriptor of a file that may grow and that others can find."""
        if self._file is not None:
            descriptor = self._file.descriptor  # a forked child has let go of its parent's
            if descriptor >= 0 and self._size < self.max_bytes and self._there(descriptor):
                return descriptor
            self._end()
        self._file, self._size, self._new = self._begin(), 0, True
        return self._file.descriptor

    def _there(self, descriptor: int) -> bool:
        """Tell whether the file has a name: a deleted one would take what nobody ever reads.

        Asked now and then only: each call of the kernel is one more change of threads.
        """
        now = time.monotonic()
        if now < self._looked + LOOK:
            return True
        self._looked = now
        return os.fstat(descriptor).st_nlink > 0

    def _begin(self) -> Lock:
        """Make a file that others see only once it is held, so that nobody takes it for a dead worker's."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{self.slot}-{new_id()}"
        draft, path = self.folder / f".{name}.new", self.folder / f"{name}{SUFFIX}"
        lock = take(draft)
        if lock is None:
            raise OSError(f"{draft} is held by another")
        try:
            draft.rename(path)
        except OSError:
            lock.release()
            draft.unlink(missing_ok=True)
            raise
        lock.path = path
        return lock

    def _end(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        if self._dirty and file.descriptor >= 0:
            try:
                _flush(file.descriptor, self.folder if self._new else None)
            except OSError as error:
                log.warning("the prediction log could not be put on the disk: %s", error)
        self._dirty = False
        file.release()

    def _note_failure(self, error: Exception) -> None:
        with self._guard:
            self.lost += 1
            said, self._failing = self._failing, True
        if not said:
            log.error("the prediction log cannot be written, answers go out without ids: %s", error)


def _flush(descriptor: int, folder: Path | None) -> None:
    os.fdatasync(descriptor)
    if folder is not None:  # a new file's name is on the disk only once its folder is
        entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
