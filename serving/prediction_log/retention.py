"""Deletes the oldest predictions of the log, by age and by size, and gives their space back. Totals stay."""

from __future__ import annotations

import sqlite3

from serving.prediction_log.inserts import count

ROWS = 2000  # predictions, or the one request that has more, that go in one transaction
REQUESTS = 500
PAGES = 4000  # at most so many are given back at once

_OLDEST = {
    "age": "SELECT number, rows FROM requests WHERE at < ? ORDER BY at LIMIT ?",
    "refused": "SELECT number, rows FROM requests WHERE kind IS NOT NULL AND number > ? ORDER BY number LIMIT ?",
    "size": "SELECT number, rows FROM requests WHERE number > ? ORDER BY number LIMIT ?",
}


def expire(connection: sqlite3.Connection, before: float, max_bytes: int) -> bool:
    """Delete a batch of what came `before` this Unix time, or of the oldest above the size; return whether any went.

    Above the size what was refused goes first: anybody can send that.
    """
    gone = _delete(connection, "age", before)
    if not gone and used(connection) > max_bytes:
        gone = _delete(connection, "refused", -1) or _delete(connection, "size", -1)
    if gone:
        connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")  # `execute` stops after one page
    return gone


def used(connection: sqlite3.Connection) -> int:
    """Count the bytes that the tables hold, free pages left out."""
    pages, free, size = (_number(connection, name) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def _delete(connection: sqlite3.Connection, by: str, least: float) -> bool:
    numbers, rows = [], 0
    for number, many in connection.execute(_OLDEST[by], (least, REQUESTS)).fetchall():
        numbers.append((number,))
        rows += many
        if rows >= ROWS:
            break
    if not numbers:
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, key in (("feedback", "request"), ("predictions", "request"), ("requests", "number")):
            connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", numbers)  # noqa: S608
        count(connection, "expired", rows)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return True


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    [number] = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)
