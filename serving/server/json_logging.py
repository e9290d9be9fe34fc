"""Logging: one line per event, JSON or plain text, on stderr and in a rotating file per worker.

Lines of answered requests are written together, a moment later: see `access_log`.

The service logs no headers, bodies or query strings. Records of libraries, above all of the web server, are searched
for secrets, which are redacted.
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

from serving.server.access_log import NAME, AccessLog, Lines
from serving.server.worker_lock import WorkerLock

MAX_BYTES, BACKUPS = 10 * 2**20, 5  # size of a log file, and how many full ones are kept
MAX_PATH = 200
SERVER_LOGGERS = ("_granian", "granian.access", "gunicorn.error", "gunicorn.access", "werkzeug")

_ENCODER = JSONEncoder(ensure_ascii=False, default=str)
_REDACTIONS = [
    (re.compile(r"""(\b(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT) [^\s?"]*)\?[^\s"]*"""), r"\1"),
    (re.compile(r"(\w://)[^\s/@]+@"), r"\1…@"),
    (re.compile(r"(?i)\b(authorization|cookie|set-cookie|x-api-key)(['\"]?\s*[:=]\s*)[^\r\n]+"), r"\1\2…"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 …"),
    (re.compile(r"(?i)((?:secret|password|passwd|token|api_?key)[\w-]*['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&]+"), r"\1…"),
]
_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime"}  # a record's other attributes are `extra`
_SECRET = re.compile("(?i)secret|passw|token|api_?key|authorization|cookie")

log = logging.getLogger(NAME)
_answered: AccessLog | None = None  # None before `configure`: each line is written at once
_log_answered = True


def configure(
    folder: Path | None, worker: WorkerLock | str, level: str = "INFO", json: bool = True, answered: bool = True
) -> None:
    """Log to stderr and, with a `folder`, as JSON to `serving-<worker>.jsonl` in it; other processes have a name.

    Replaces any previous configuration, including the web server's own handlers. OSError when the file cannot be
    created, ValueError for an unknown level. Without `answered`, of requests only those that end in an error are
    logged. Call it in the process that serves.
    """
    global _answered, _log_answered
    lines = JsonFormatter(worker)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(lines if json else PlainFormatter())
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"serving-{worker}.jsonl"
        handlers.append(RotatingLogFile(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8"))
        handlers[1].setFormatter(lines)
    logging.basicConfig(level=level, handlers=handlers, force=True)
    logging.captureWarnings(True)
    for name in SERVER_LOGGERS:
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
    _answered, _log_answered = (None if isinstance(worker, str) else AccessLog(worker.number)), answered
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread_crash


def log_request(method: str, path: str, status: int, seconds: float, **fields: Any) -> None:
    """Log a request and its status; `path` has no query string and is shortened to a printable line."""
    if not log.isEnabledFor(logging.INFO) or (status < 400 and not _log_answered):
        return
    path = path[:MAX_PATH]
    if not path.isprintable():
        path = "".join(char if char.isprintable() else "_" for char in path)
    if status < 400 and _answered:
        _answered.add(method, path, status, seconds, tuple(fields.items()))
        return
    write_answered()  # what came before stands before it
    extra = {"method": method, "path": path, "status": status, "seconds": round(seconds, 6), **fields}
    log.info("%s %s %d", method, path, status, extra=extra)


def write_answered() -> None:
    """Write the lines of answered requests now."""
    if _answered:
        _answered.write()


def is_behind() -> bool:
    """Whether the next line of an answered request has to wait until others are written."""
    return _answered is not None and _answered.is_full


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time in UTC, level, logger, message, worker, exception as text, `extra` fields."""

    def __init__(self, worker: WorkerLock | str) -> None:
        super().__init__()
        self._worker = worker if isinstance(worker, str) else worker.number

    def format(self, record: logging.LogRecord) -> str:
        """Format a record with secrets redacted in its message, exception and extra fields."""
        if isinstance(record, Lines):
            return record.json
        event: dict[str, Any] = {"time": _time(record), "level": record.levelname, "logger": record.name}
        event |= {"message": record.getMessage(), "worker": self._worker}
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        event = extra | event
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            event["stack"] = self.formatStack(record.stack_info)
        if record.name != log.name:  # our own access lines hold no secrets, and redacting takes time
            event = {name: "…" if _SECRET.search(name) else _redact(value) for name, value in event.items()}
        return _ENCODER.encode(event)


class PlainFormatter(logging.Formatter):
    """A line for humans: time in UTC, level, logger, message; a traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format a record and its traceback with secrets redacted."""
        if isinstance(record, Lines):
            return record.getMessage()
        line = super().format(record)
        return line if record.name == log.name else str(_redact(line))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time in the format of the JSON lines."""
        return _time(record)


class RotatingLogFile(logging.handlers.RotatingFileHandler):
    """A log file that only its owner can read. If it cannot be written, the line is on stderr only."""

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore a full disk or a deleted folder."""


def _redact(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_redact(item) for item in value]
    if isinstance(value, dict):
        return {name: "…" if _SECRET.search(str(name)) else _redact(item) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    for pattern, replacement in _REDACTIONS:
        value = pattern.sub(replacement, value)
    return value


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    logging.getLogger("serving").critical("the process died of an exception", exc_info=(kind, error, trace))
    return None


def _log_thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "?"
    error = args.exc_value or args.exc_type()
    logging.getLogger("serving").critical("thread %s died of an exception", name, exc_info=error)
