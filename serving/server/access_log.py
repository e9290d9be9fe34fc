"""The log lines of answered requests: formatted at once, written together a moment later.

A logging call for each would cost more than a prediction. Lines of errors are written at once, by `logging`.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec.json import Encoder

NAME = "serving.access"
WRITE_SECONDS = 0.25  # between two writes
MAX_LINES = 20_000  # that wait: beyond, who adds one writes, and waits as long as stderr makes it wait

_ENCODER = Encoder(enc_hook=str)

log = logging.getLogger(NAME)


class Line(NamedTuple):
    """A line in both formats."""

    json: str
    plain: str


class Lines(logging.LogRecord):
    """Many lines as one record: handlers rotate, and fail, as they do for any other."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__(NAME, logging.INFO, "", 0, "\n".join(line.plain for line in lines), None, None)
        self.json = "\n".join(line.json for line in lines)


class AccessLog:
    """Keeps lines until its thread, or `write`, passes them on to `logging`; nothing is lost at the interpreter's exit.

    Create it in the process that serves: a thread does not survive a fork.
    """

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._lines: deque[Line] = deque()
        self._writing = threading.Lock()
        threading.Thread(target=self._run, name="access-log", daemon=True).start()
        atexit.register(self.write)

    @property
    def is_full(self) -> bool:
        """Whether the next line makes its thread wait for the others to be written."""
        return len(self._lines) >= MAX_LINES

    def add(self, method: str, path: str, status: int, seconds: float, fields: tuple[tuple[str, Any], ...]) -> None:
        """Add the line of a request; `path` is fit to be logged, and the values of more fields are hashable."""
        at = _text(time.time())
        event, message = _parts(method, path, status, fields, self._worker)
        line = Line(f'{event},"seconds":{seconds:.6f},"time":"{at}"}}', f"{at} INFO {NAME}: {message}")
        self._lines.append(line)
        if len(self._lines) > MAX_LINES:
            self.write()

    def write(self) -> None:
        """Write all lines that were added before."""
        with self._writing:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines:
                log.handle(Lines(lines))

    def _run(self) -> None:
        while True:
            time.sleep(WRITE_SECONDS)
            self.write()


@lru_cache(maxsize=512)
def _parts(method: str, path: str, status: int, fields: tuple[tuple[str, Any], ...], worker: int) -> tuple[str, str]:
    """Return what is the same in the lines of such requests: a JSON object that is not closed yet, and a message."""
    message = f"{method} {path} {status}"
    event = {"method": method, "path": path, "status": status, **dict(fields)}
    event |= {"level": "INFO", "logger": NAME, "message": message, "worker": worker}
    return _ENCODER.encode(event).decode().removesuffix("}"), message


def _text(at: float) -> str:
    return f"{_second(int(at))}.{int(at % 1 * 1000):03d}+00:00"


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
