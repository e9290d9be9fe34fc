"""Deletes the oldest predictions by age and by size, and returns their space to the file system. Totals stay."""

from __future__ import annotations

import sqlite3

from serving.prediction_log.inserts import increment

ROWS = 2000  # predictions deleted per transaction, or a single request that has more: keeps the write lock short
REQUESTS = 500
PAGES = 4000  # freed at once

_OLDEST = {
    "age": "SELECT number, rows FROM requests WHERE at < ? ORDER BY at LIMIT ?",
    "refused": "SELECT number, rows FROM requests WHERE kind IS NOT NULL AND number > ? ORDER BY number LIMIT ?",
    "size": "SELECT number, rows FROM requests WHERE number > ? ORDER BY number LIMIT ?",
}


def expire(connection: sqlite3.Connection, before: float, max_bytes: int) -> bool:
    """Delete one batch of requests from `before` this Unix time, or of the oldest while the file is larger than
    `max_bytes`; return whether any was deleted.

    By size, refused requests go first: a caller with nothing but malformed requests must not displace predictions.
    """
    deleted = _delete(connection, "age", before)
    if not deleted and used_bytes(connection) > max_bytes:
        deleted = _delete(connection, "refused", -1) or _delete(connection, "size", -1)
    if deleted:
        # executescript: `execute` steps the statement once, which frees a single page.
        connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")
    return deleted


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of the tables in bytes, without free pages."""
    pages, free, size = (_number(connection, name) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def _delete(connection: sqlite3.Connection, by: str, bound: float) -> bool:
    numbers, rows = [], 0
    for number, row_count in connection.execute(_OLDEST[by], (bound, REQUESTS)).fetchall():
        numbers.append((number,))
        rows += row_count
        if rows >= ROWS:
            break
    if not numbers:
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, key in (("feedback", "request"), ("predictions", "request"), ("requests", "number")):
            connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", numbers)  # noqa: S608
        increment(connection, "expired", rows)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return True


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    [number] = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)
