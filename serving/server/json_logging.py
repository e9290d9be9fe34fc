"""The log: one line an event, JSON or plain, on stderr and in a file of each worker that rotates.

No headers, bodies or query strings go into it. What others log, the web server above all, is searched for them too.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import re
import sys
import threading
from datetime import UTC, datetime
from json import JSONEncoder
from pathlib import Path
from types import TracebackType
from typing import Any

from serving.server.worker_lock import Slot

MAX_BYTES, KEPT = 10 * 2**20, 5  # a file's size, and how many full ones are kept beside it
LONGEST_PATH = 200
SERVERS = ("_granian", "granian.access", "gunicorn.error", "gunicorn.access", "werkzeug")

_ENCODER = JSONEncoder(ensure_ascii=False, default=str)
_SECRETS = [
    (re.compile(r"""(\b(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT) [^\s?"]*)\?[^\s"]*"""), r"\1"),
    (re.compile(r"(\w://)[^\s/@]+@"), r"\1…@"),
    (re.compile(r"(?i)\b(authorization|cookie|set-cookie|x-api-key)(['\"]?\s*[:=]\s*)[^\r\n]+"), r"\1\2…"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 …"),
    (re.compile(r"(?i)((?:secret|password|passwd|token|api_?key)[\w-]*['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&]+"), r"\1…"),
]
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime"}  # of every record; what else it has is `extra`
_SECRET = re.compile("(?i)secret|passw|token|api_?key|authorization|cookie")

log = logging.getLogger("serving.access")


def configure(folder: Path | None, slot: Slot, level: str = "INFO", json: bool = True) -> None:
    """Log to stderr, and as JSON to `serving-<slot>.jsonl` in `folder` where one is given.

    Takes the place of what was configured before, the web server's own handlers too. OSError when the file cannot be
    made, ValueError for an unknown level. To be called in the process that serves.
    """
    lines = JsonLines(slot)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(lines if json else Plain())
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"serving-{slot}.jsonl"
        handlers.append(Rotating(path, maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8"))
        handlers[1].setFormatter(lines)
    logging.basicConfig(level=level, handlers=handlers, force=True)
    logging.captureWarnings(True)
    for name in SERVERS:
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
    sys.excepthook = _crashed
    threading.excepthook = _thread_crashed


def answered(method: str, path: str, status: int, seconds: float, **fields: Any) -> None:
    """Log an answered request; `path` without its query, cut where it is long, and always of one line."""
    path = "".join(each if each.isprintable() else "_" for each in path[:LONGEST_PATH])
    extra = {"method": method, "path": path, "status": status, "seconds": round(seconds, 6), **fields}
    log.info("%s %s %d", method, path, status, extra=extra)


class JsonLines(logging.Formatter):
    """One JSON object a line: time in UTC, level, logger, message, worker, exception as text, what came as `extra`."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self._worker = slot.number

    def format(self, record: logging.LogRecord) -> str:
        """Format a record without what is secret in its message, exception and further fields."""
        told: dict[str, Any] = {"time": _time(record), "level": record.levelname, "logger": record.name}
        told |= {"message": record.getMessage(), "worker": self._worker}
        told |= {name: value for name, value in vars(record).items() if name not in _OWN and name not in told}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack"] = self.formatStack(record.stack_info)
        if record.name != log.name:  # those are made here, of what is no secret
            told = {name: "…" if _SECRET.search(name) else _discreet(value) for name, value in told.items()}
        return _ENCODER.encode(told)


class Plain(logging.Formatter):
    """A line for people: time in UTC, level, logger, message; a traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, and what hangs on it, without what is secret."""
        line = super().format(record)
        return line if record.name == log.name else str(_discreet(line))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Give the time as the JSON has it."""
        return _time(record)


class Rotating(logging.handlers.RotatingFileHandler):
    """A file that only its owner reads. Where it cannot be written the line is on stderr alone, and none is raised."""

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        """Pass over a full disk or a folder that is gone."""


def _discreet(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_discreet(each) for each in value]
    if isinstance(value, dict):
        return {name: "…" if _SECRET.search(str(name)) else _discreet(each) for name, each in value.items()}
    if not isinstance(value, str):
        return value
    for pattern, told in _SECRETS:
        value = pattern.sub(told, value)
    return value


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    logging.getLogger("serving").critical("the process ends by an exception", exc_info=(kind, error, trace))
    return None


def _thread_crashed(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is SystemExit:
        return
    name = told.thread.name if told.thread else "?"
    error = told.exc_value or told.exc_type()
    logging.getLogger("serving").critical("thread %s ends by an exception", name, exc_info=error)
