"""Deletes the oldest predictions by age and by size, and returns their space to the file system. Totals stay.

Where predictions are shipped, those that are not shipped yet stay up to twice the age and twice the size. What goes
unshipped all the same is counted.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass

from serving.prediction_log.inserts import increment

ROWS = 2000  # predictions deleted per transaction, or a single request that has more: keeps the write lock short
REQUESTS = 500
PAGES = 4000  # freed at once
EVERYTHING = 2**62

_OLDEST = {
    "age": "SELECT number, rows FROM requests WHERE at < ? AND number <= ? ORDER BY at LIMIT ?",
    "refused": """SELECT number, rows FROM requests WHERE kind IS NOT NULL AND number > ? AND number <= ?
                  ORDER BY number LIMIT ?""",
    "size": "SELECT number, rows FROM requests WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",
}
_LABELS = "DELETE FROM feedback_log WHERE number IN (SELECT number FROM feedback_log WHERE {} ORDER BY number LIMIT ?)"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retention:
    """How long predictions are kept, and how much disk space they may use; `ships`: whether a shipper takes them."""

    seconds: float = 30 * 86400.0
    max_bytes: int = 1024 * 2**20
    ships: bool = False


@dataclass(frozen=True)
class Shipped:
    """The last request and the last label that are shipped."""

    request: int = EVERYTHING
    label: int = EVERYTHING


ALL = Shipped()


def expire(connection: sqlite3.Connection, now: float, limits: Retention, shipped: Shipped = ALL) -> bool:
    """Delete one batch of the requests that are too old at this Unix time, or of the oldest while the file is too
    large; return whether any was deleted.

    By size, refused requests go first: a caller with nothing but malformed requests must not displace predictions.
    """
    deleted = (
        _delete(connection, "age", now - limits.seconds, shipped.request)
        or _too_large(connection, limits.max_bytes, shipped.request)
        or (limits.ships and _delete_unshipped(connection, now, limits, shipped))
        or _delete_labels(connection, now, limits, shipped)
    )
    if deleted:
        # executescript: `execute` steps the statement once, which frees a single page.
        connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")
    return deleted


def _too_large(connection: sqlite3.Connection, max_bytes: int, last: int) -> bool:
    if used_bytes(connection) <= max_bytes:
        return False
    return _delete(connection, "refused", -1, last) or _delete(connection, "size", -1, last)


def _delete_unshipped(connection: sqlite3.Connection, now: float, limits: Retention, shipped: Shipped) -> bool:
    """Delete what has waited for its upload until it is twice as old, or the file twice as large, as it may be."""
    before = _number(connection, "SELECT coalesce(sum(count), 0) FROM facts WHERE name = 'expired'")
    deleted = _delete(connection, "age", now - 2 * limits.seconds, EVERYTHING) or _too_large(
        connection, 2 * limits.max_bytes, EVERYTHING
    )
    if deleted:
        lost = _number(connection, "SELECT count FROM facts WHERE name = 'expired'") - before
        increment(connection, "unshipped", lost)
        log.error(
            "%d predictions were deleted that had not been shipped: they would have exceeded twice the limits", lost
        )
    return deleted


def _delete_labels(connection: sqlite3.Connection, now: float, limits: Retention, shipped: Shipped) -> bool:
    """Delete what the shipper reads of labels: once shipped, or too old. `feedback` keeps the labels."""
    parameters: tuple[float, ...]
    condition, parameters = "at < ?", (now - limits.seconds * (2 if limits.ships else 1),)
    if limits.ships:
        condition, parameters = f"number <= ? OR {condition}", (shipped.label, *parameters)
    if used_bytes(connection) > 2 * limits.max_bytes:
        condition, parameters = "1", ()
    done = connection.execute(_LABELS.format(condition), (*parameters, ROWS))
    return done.rowcount > 0


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of the tables in bytes, without free pages."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (_number(connection, f"PRAGMA {name}") for name in names)
    return (pages - free) * size


def _delete(connection: sqlite3.Connection, by: str, bound: float, last: int) -> bool:
    """Delete a batch of requests with numbers up to `last`."""
    numbers, rows = [], 0
    for number, row_count in connection.execute(_OLDEST[by], (bound, last, REQUESTS)).fetchall():
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


def _number(connection: sqlite3.Connection, query: str) -> int:
    [number] = connection.execute(query).fetchone()
    return int(number)
