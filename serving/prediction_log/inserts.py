"""Inserts records from the spool into the tables, within the transaction that also advances the spool's offset."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from serving.prediction_log.exact_sums import exact_error
from serving.prediction_log.records import (
    DECODER,
    ENCODER,
    SHADOW,
    Feedback,
    StoredEntry,
    StoredShadow,
    Truth,
    parse_id,
)

HOUR = 3600
SHADOW_LABEL = "shadow label"

Cell = tuple[int, str, int]  # hour, use case, version
BAD_RECORD = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    TypeError,
    OverflowError,
)

_REQUEST = "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PREDICTION = "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?)"
_COUNT = """INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET count = count + excluded.count"""
_TOTAL = """INSERT INTO totals (hour, use_case, version, requests, rows) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, rows = rows + excluded.rows"""
_ADD_FEEDBACK = """UPDATE totals SET feedback = feedback + ?, correct = correct + ?,
             exact_error = exact_add(exact_error, ?) WHERE hour = ? AND use_case = ? AND version = ?"""
_LOG_FEEDBACK = "INSERT INTO feedback_log (use_case, id, row, truth, at) VALUES (?, ?, ?, ?, ?)"
_PREDICTED = """SELECT r.number, r.at, r.use_case, r.version, p.prediction, p.label, f.truth
                FROM requests r JOIN predictions p ON p.request = r.number AND p.row = ?
                LEFT JOIN feedback f ON f.request = p.request AND f.row = p.row WHERE r.id = ?"""
_INCREMENT = "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"


def insert_lines(connection: sqlite3.Connection, lines: Iterable[bytes]) -> list[bytes]:
    """Insert the records of some lines within the caller's transaction; return the malformed lines.

    A record that is already there is ignored. All are inserted together, which is fast, and one by one only if that
    fails, so that a single bad record cannot block the log.
    """
    records, bad = _decode(lines)
    try:
        _insert(connection, [record for record, _ in records])
    except BAD_RECORD:
        for record, line in records:
            try:
                if not _is_duplicate(connection, record):
                    _insert(connection, [record])
            except BAD_RECORD:
                bad.append(line)
    if bad:
        increment(connection, "bad", len(bad))
    return bad


def increment(connection: sqlite3.Connection, counter: str, by: int) -> None:
    """Increment a persistent counter: bad, torn, repeated, orphaned, expired, unshipped or erased records."""
    connection.execute(_INCREMENT, (counter, by))


def _decode(lines: Iterable[bytes]) -> tuple[list[tuple[StoredEntry | Feedback, bytes]], list[bytes]]:
    records, bad = [], []
    for line in lines:
        try:
            records.append((DECODER.decode(line), line))
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            bad.append(line)
    return records, bad


def _insert(connection: sqlite3.Connection, records: list[StoredEntry | Feedback]) -> None:
    connection.execute("SAVEPOINT batch")
    try:
        _insert_predictions(connection, [record for record in records if isinstance(record, StoredEntry)])
        for record in records:
            if isinstance(record, Feedback):
                for prediction_id, truth in record.truths:
                    _insert_label(connection, prediction_id, truth, record.at)
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back the whole transaction itself when the disk is full
            connection.execute("ROLLBACK TO batch")
            connection.execute("RELEASE batch")
        raise
    connection.execute("RELEASE batch")


def _insert_predictions(connection: sqlite3.Connection, records: list[StoredEntry]) -> None:
    requests: list[tuple[Any, ...]] = []
    predictions: list[tuple[Any, ...]] = []
    totals: dict[Cell, tuple[int, int]] = {}
    counts: Counter[tuple[int, str, int, str, str]] = Counter()
    shapes: dict[bytes, int] = {}
    [number] = connection.execute("SELECT last_request FROM numbers").fetchone()
    for record in records:
        number += 1
        shape = _shape(connection, bytes(record.columns), shapes)
        version, row_count = record.version or 0, len(record.rows)
        answer = bytes.fromhex(record.answer) if isinstance(record, StoredShadow) else None
        details = (record.use_case, version, record.status, record.seconds, record.kind, row_count, shape, answer)
        requests.append((number, bytes.fromhex(record.id), record.at, *details))
        predictions += _predictions(number, record)
        cell = (int(record.at // HOUR), record.use_case, version)
        request_total, row_total = totals.get(cell, (0, 0))
        if record.kind == SHADOW:  # no answer: counted apart
            totals[cell] = request_total, row_total
            counts[*cell, SHADOW, "requests"] += 1
            counts[*cell, SHADOW, "rows"] += row_count
            for label in record.labels or ():
                counts[*cell, SHADOW_LABEL, label] += 1
            continue
        totals[cell] = request_total + 1, row_total + row_count
        if record.kind is not None:
            counts[*cell, "refused", record.kind] += 1
        for label in record.labels or ():
            counts[*cell, "label", label] += 1
    connection.executemany(_REQUEST, requests)
    connection.execute("UPDATE numbers SET last_request = ?", (number,))
    connection.executemany(_PREDICTION, predictions)
    connection.executemany(_TOTAL, [(*cell, *sums) for cell, sums in totals.items()])
    connection.executemany(_COUNT, [(*key, count) for key, count in counts.items()])


def _predictions(number: int, record: StoredEntry) -> Iterable[tuple[Any, ...]]:
    none = [None] * len(record.rows)
    labels: Iterable[str | None] = none if record.labels is None else record.labels
    probabilities: Iterable[Any] = none if record.probabilities is None else record.probabilities
    rows = zip(record.rows, record.predictions, labels, probabilities, strict=True)
    for row, (values, prediction, label, probability) in enumerate(rows):
        if isinstance(probability, dict):
            probability = ENCODER.encode(probability).decode()
        yield number, row, bytes(values).decode(), prediction, label, probability


def _shape(connection: sqlite3.Connection, columns: bytes, known: dict[bytes, int]) -> int:
    """Return the number of a list of columns, which is stored once for all requests that share it."""
    if columns not in known:
        text = columns.decode()
        connection.execute("INSERT OR IGNORE INTO shapes (columns) VALUES (?)", (text,))
        [known[columns]] = connection.execute("SELECT number FROM shapes WHERE columns = ?", (text,)).fetchone()
    return known[columns]


def _is_duplicate(connection: sqlite3.Connection, record: StoredEntry | Feedback) -> bool:
    """Return whether a request is already in the tables: its spool file, or the database, was restored from a copy."""
    if isinstance(record, Feedback):
        return False
    found = connection.execute("SELECT 1 FROM requests WHERE id = ?", (bytes.fromhex(record.id),)).fetchone()
    if found:
        increment(connection, "repeated", 1)
    return bool(found)


def _insert_label(connection: sqlite3.Connection, prediction_id: str, truth: Truth, at: float) -> None:
    """Store the true label of a prediction, replacing an earlier one, and update the totals."""
    request, row = parse_id(prediction_id)
    found = connection.execute(_PREDICTED, (row, bytes.fromhex(request))).fetchone()
    if found is None:  # deleted since it was accepted
        return increment(connection, "orphaned", 1)
    number, predicted_at, use_case, version, prediction, label, previous = found
    if previous is not None and previous == truth:
        return None
    count, correct, error = _score(prediction, label, truth)
    if previous is not None:
        before = _score(prediction, label, previous)
        count, correct, error = count - before[0], correct - before[1], error - before[2]
    connection.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?)", (number, row, truth, at))
    connection.execute(_LOG_FEEDBACK, (use_case, bytes.fromhex(request), row, truth, at))
    connection.execute(_ADD_FEEDBACK, (count, correct, str(error), int(predicted_at // HOUR), use_case, version))
    return None


def _score(prediction: Any, label: str | None, truth: Truth) -> tuple[int, int, Fraction]:
    """Return what a prediction adds to the totals: 1, whether it is correct, and a regression's absolute error."""
    if label is not None:
        return 1, int(prediction == truth), Fraction()
    return 1, 0, exact_error(float(prediction), float(truth))
