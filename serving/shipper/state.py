"""What has been shipped: a SQLite file that only the shipper opens, and a status file that the workers read.

A range of rows is fixed here before its upload. Whenever the shipper dies, the next one uploads the same range to the
same keys, which are created only once, so that no row is uploaded twice under another name and none is left out.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.prediction_log.shipping import Status
from updraft.predictions.layout import KINDS, Kind

FILE = "shipper.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (log TEXT PRIMARY KEY, instance TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ranges (
    instance TEXT NOT NULL, kind TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, id TEXT NOT NULL,
    rows INTEGER, PRIMARY KEY (instance, kind, first)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Range:
    """Numbers of requests, or of labels, from `first` to `last`; `id` is random."""

    instance: str
    kind: Kind
    first: int
    last: int
    id: str


class State:
    """The ranges of the logs that `folder` has had."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / FILE, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(SCHEMA)
        (folder / FILE).chmod(0o600)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def instance(self, log: str) -> str:
        """Return the name under which a log is shipped."""
        name = secrets.token_hex(8)
        self._connection.execute("INSERT OR IGNORE INTO instances VALUES (?, ?)", (log, name))
        [(name,)] = self._connection.execute("SELECT instance FROM instances WHERE log = ?", (log,))
        return str(name)

    def rename(self, log: str) -> None:
        """Ship a log under a new name: another service, with a copy of this state, uses the one it has.

        What is shipped stays so; only what is not goes under the new name.
        """
        old, new = self.instance(log), secrets.token_hex(8)
        with self._transaction():
            self._connection.execute("UPDATE instances SET instance = ? WHERE log = ?", (new, log))
            self._connection.execute("UPDATE ranges SET instance = ? WHERE instance = ?", (new, old))

    def last(self, instance: str, kind: Kind, *, shipped: bool = False) -> int:
        """Return the last number that is in a range, or in one that is shipped; 0 without any."""
        query = "SELECT coalesce(max(last), 0) FROM ranges WHERE instance = ? AND kind = ?"
        query += " AND rows IS NOT NULL" if shipped else ""
        [(last,)] = self._connection.execute(query, (instance, kind))
        return int(last)

    def fix(self, instance: str, kind: Kind, last: int) -> None:
        """Fix the next range."""
        first = self.last(instance, kind) + 1
        values = (instance, kind, first, last, secrets.token_hex(16))
        self._connection.execute("INSERT INTO ranges VALUES (?, ?, ?, ?, ?, NULL)", values)

    def open_ranges(self, instance: str) -> list[Range]:
        """List the ranges that are not shipped, in their order."""
        query = "SELECT instance, kind, first, last, id FROM ranges WHERE instance = ? AND rows IS NULL ORDER BY 2, 3"
        return [Range(*row) for row in self._connection.execute(query, (instance,))]

    def mark(self, done: Range, rows: int) -> None:
        """Mark a range as shipped, and merge it with the one before it: the table stays small."""
        key = (done.instance, done.kind, done.first)
        with self._transaction():
            query = "UPDATE ranges SET rows = ? WHERE instance = ? AND kind = ? AND first = ?"
            self._connection.execute(query, (rows, *key))
            query = (
                """SELECT first, rows FROM ranges WHERE instance = ? AND kind = ? AND last = ? AND rows IS NOT NULL"""
            )
            before = self._connection.execute(query, (done.instance, done.kind, done.first - 1)).fetchone()
            if before:
                self._connection.execute("DELETE FROM ranges WHERE instance = ? AND kind = ? AND first = ?", key)
                query = "UPDATE ranges SET last = ?, rows = ? WHERE instance = ? AND kind = ? AND first = ?"
                values = (done.last, before[1] + rows, done.instance, done.kind, before[0])
                self._connection.execute(query, values)

    def status(self, log: str, failures: int) -> Status:
        """Return what the workers are told: up to where the log is shipped, and how many rows in all."""
        instance = self.instance(log)
        shipped = {kind: self.last(instance, kind, shipped=True) for kind in KINDS}
        rows = dict.fromkeys(KINDS, 0)
        rows |= dict(self._connection.execute("SELECT kind, sum(rows) FROM ranges WHERE rows NOT NULL GROUP BY kind"))
        return Status(log, shipped["predictions"], shipped["feedback"], rows["predictions"], rows["feedback"], failures)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
