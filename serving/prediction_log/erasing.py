"""Erasures of the local log: the shipper orders them in files, the ingester, which alone writes the log, obeys.

<folder>/erasures/<id>.json             the erasure
<folder>/erasures/<id>-<log>.done       how many rows of this log were erased
<folder>/erasures/<id>-<instance>.known acknowledged on S3 by this instance
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import msgspec

from serving.prediction_log.inserts import increment
from updraft.predictions.erasure import Erasure

FOLDER = "erasures"
REQUESTS = 2000  # looked at in one transaction: ingestion goes on in between

_ROWS = """SELECT r.number, r.id, r.at, s.columns, p.row, p.input FROM requests r JOIN shapes s ON s.number = r.shape
           JOIN predictions p ON p.request = r.number WHERE r.number BETWEEN ? AND ? AND r.use_case = ?"""


def order(folder: Path, found: Iterable[Erasure]) -> None:
    """Write a file for each erasure that has none."""
    orders = folder / FOLDER
    orders.mkdir(mode=0o700, exist_ok=True)
    for erasure in found:
        if not (path := orders / f"{erasure.id}.json").exists():
            _write(path, msgspec.json.encode(asdict(erasure)))


def finished(folder: Path, log_id: str, instance: str) -> dict[str, int]:
    """Return the erasures that are done in this log and not acknowledged, with their rows."""
    counts = {path.name.partition("-")[0]: path for path in (folder / FOLDER).glob(f"*-{log_id}.done")}
    known = {path.name.partition("-")[0] for path in (folder / FOLDER).glob(f"*-{instance}.known")}
    return {name: int(path.read_text()) for name, path in counts.items() if name not in known}


def note_acknowledged(folder: Path, name: str, instance: str) -> None:
    """Remember that S3 has our acknowledgement of an erasure."""
    _write(folder / FOLDER / f"{name}-{instance}.known", b"")


def due(folder: Path, log_id: str) -> Path | None:
    """Return the file of an erasure that is not done in this log, or None."""
    try:
        names = {path.name for path in (folder / FOLDER).iterdir()}
    except FileNotFoundError:
        return None
    orders = sorted(name for name in names if name.endswith(".json"))
    undone = (name for name in orders if f"{name.removesuffix('.json')}-{log_id}.done" not in names)
    return next((folder / FOLDER / name for name in undone), None)


def apply(connection: sqlite3.Connection, path: Path, log_id: str) -> int:
    """Erase the rows of an erasure from the log, in steps; return how many. A repetition erases the rest.

    `secure_delete` overwrites them; the checkpoint removes them from the WAL, too.
    """
    erasure = msgspec.json.decode(path.read_bytes(), type=Erasure)
    connection.execute("PRAGMA secure_delete = ON")
    [(last,)] = connection.execute("SELECT coalesce(max(number), 0) FROM requests")
    [(first,)] = connection.execute("SELECT coalesce(min(number), 0) FROM requests")
    count = sum(_erase(connection, erasure, start) for start in range(first, last + 1, REQUESTS))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    _write(path.with_name(f"{path.stem}-{log_id}.done"), str(count).encode())
    return count


def _erase(connection: sqlite3.Connection, erasure: Erasure, first: int) -> int:
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = [
            (number, row, request)
            for number, request, at, columns, row, values in connection.execute(
                _ROWS, (first, first + REQUESTS - 1, erasure.use_case)
            )
            if erasure.matches(dict(zip(msgspec.json.decode(columns), msgspec.json.decode(values), strict=True)), at)
        ]
        for number, row, request in found:
            connection.execute("DELETE FROM predictions WHERE request = ? AND row = ?", (number, row))
            connection.execute("DELETE FROM feedback WHERE request = ? AND row = ?", (number, row))
            connection.execute("DELETE FROM feedback_log WHERE id = ? AND row = ?", (request, row))
        if found:
            increment(connection, "erased", len(found))
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return len(found)


def _write(path: Path, body: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
