"""Starts the ingester beside the workers, as a process of its own: in a worker it would hold up requests.

Whichever worker finds that nobody holds `ingester.lock` takes it, starts the process, and leaves the lock to it: the
lock belongs to the open file, so there is no moment at which two could run, nor one at which the lock is free.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import msgspec

from serving.prediction_log.ingester import LAST_SECONDS, LOCK
from serving.prediction_log.retention import Retention
from serving.server.worker_lock import FileLock, try_lock

MODULE = "serving.prediction_log"
STABLE_SECONDS, MAX_BACKOFF = 10.0, 30.0  # a process that ends earlier than this is started again after a while
STOP_SECONDS = LAST_SECONDS + 5.0

log = logging.getLogger(__name__)


class Job(msgspec.Struct, frozen=True):
    """What the process is to do, and how it logs."""

    folder: str
    retention: Retention
    log_level: str = "INFO"
    log_json: bool = False


class IngesterProcess:
    """The ingester, if it is a child of this process. Used by one thread, but for `wake`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process: subprocess.Popen[bytes] | None = None
        self._input_lock = threading.Lock()  # a descriptor that is closed may become that of another file
        self._started = self._due = float("-inf")
        self._failures = 0

    def ensure(self) -> None:
        """Start the process if none runs, here or as another worker's child; OSError when that fails."""
        if self._process is not None:
            if (code := self._process.poll()) is None:
                return
            self._note_end(code)
        if time.monotonic() < self._due:
            return
        lock = try_lock(Path(self._job.folder, LOCK))
        if lock is None:
            return
        try:
            self._process = _spawn(self._job, lock)
            self._started = time.monotonic()
        finally:
            lock.release()

    def wake(self) -> None:
        """Have it ingest now, if it is a child of this process."""
        with self._input_lock, contextlib.suppress(OSError):  # it has just ended, or has not read what was sent
            if self._process is not None:
                _input(self._process).write(b"\n")

    def stop(self) -> None:
        """Let it ingest what is in the spool, and end."""
        process = self._let_go()
        if process is None:
            return
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.error("the ingester does not end; killed: what it had not ingested stays in the spool")
            process.kill()
            process.wait()

    def _let_go(self) -> subprocess.Popen[bytes] | None:
        """Close the input of the process, which ends it if it lives."""
        with self._input_lock:
            process, self._process = self._process, None
            if process is not None:
                with contextlib.suppress(OSError):
                    _input(process).close()
        return process

    def _note_end(self, code: int) -> None:
        """Start another at once if this one has run for a while, else later each time."""
        self._let_go()
        lived = time.monotonic() - self._started
        self._failures = 0 if lived > STABLE_SECONDS else self._failures + 1
        self._due = time.monotonic() + (min(2.0**self._failures, MAX_BACKOFF) if self._failures > 1 else 0.0)
        log.warning("the ingester ended with exit code %d after %.1f s; another is started", code, lived)


def _spawn(job: Job, lock: FileLock) -> subprocess.Popen[bytes]:
    options = ["-X", "utf8", *(["-X", f"pycache_prefix={sys.pycache_prefix}"] if sys.pycache_prefix else [])]
    process = subprocess.Popen(
        [sys.executable, *options, "-m", MODULE, msgspec.json.encode(job).decode(), str(lock.descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        bufsize=0,
        pass_fds=[lock.descriptor],
        env={"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},  # and no secrets
    )
    os.set_blocking(_input(process).fileno(), False)  # a stopped process that reads nothing must not hold up a request
    return process


def _input(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None  # noqa: S101  # a pipe was asked for
    return process.stdin
