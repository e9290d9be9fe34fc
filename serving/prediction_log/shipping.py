"""What the shipper tells the workers and the ingester, in a file: up to where the log is shipped.

The shipper never writes to the log: SQLite takes one writer, the ingester.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from pathlib import Path

import msgspec

from serving.prediction_log.store import Store

FILE = "shipped.json"


class Status(msgspec.Struct, frozen=True):
    """Of the log with the id `log`, requests up to `requests` and labels up to `labels` are shipped.

    `prediction_rows` and `feedback_rows` are all that were ever shipped from here, `failures` the failed attempts.
    """

    log: str = ""
    requests: int = 0
    labels: int = 0
    prediction_rows: int = 0
    feedback_rows: int = 0
    failures: int = 0


def write(folder: Path, status: Status) -> None:
    """Replace the file, so that a reader sees the old one or the new one."""
    draft = folder / f".{FILE}.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(status))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE)


def read(folder: Path) -> Status:
    """Read the file; without one, or with one that is broken, nothing is shipped."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError):
        return Status()


def waiting(store: Store, status: Status) -> tuple[float, float]:
    """Return the age in seconds of the oldest prediction that is not shipped, 0 without one, and how many rows were
    deleted before they were; NaN while the log cannot be read.
    """
    try:
        with store.read_transaction() as connection:
            [(log,)] = connection.execute("SELECT log FROM numbers")
            last = status.requests if status.log == log else 0
            query = "SELECT at FROM requests WHERE number > ? AND rows > 0 ORDER BY number LIMIT 1"
            oldest = connection.execute(query, (last,)).fetchone()
            lost = connection.execute("SELECT count FROM facts WHERE name = 'unshipped'").fetchone()
    except sqlite3.Error:
        return math.nan, math.nan
    return max(time.time() - oldest[0], 0.0) if oldest else 0.0, lost[0] if lost else 0
