"""Records out of the spool into the tables, all of a batch in the transaction that moves the spool's offset."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Any

from serving.prediction_log.records import DECODER, ENCODER, Feedback, StoredEntry, Truth, parse_id

HOUR = 3600

Cell = tuple[int, str, int]  # hour, use case, version
Bad = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    TypeError,
    OverflowError,
)

_REQUEST = "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PREDICTION = "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?)"
_COUNT = """INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET count = count + excluded.count"""
_TOTAL = """INSERT INTO totals (hour, use_case, version, requests, rows) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, rows = rows + excluded.rows"""
_JUDGED = """UPDATE totals SET feedback = feedback + ?, correct = correct + ?, error = error + ?
             WHERE hour = ? AND use_case = ? AND version = ?"""
_PREDICTED = """SELECT r.number, r.at, r.use_case, r.version, p.prediction, p.label, f.truth
                FROM requests r JOIN predictions p ON p.request = r.number AND p.row = ?
                LEFT JOIN feedback f ON f.request = p.request AND f.row = p.row WHERE r.id = ?"""
_FACT = "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"


def take_in(connection: sqlite3.Connection, lines: Iterable[bytes]) -> list[bytes]:
    """Insert the records of some lines, within the caller's transaction; return the lines that are none.

    A record that is there already is passed over. All of them are tried together, and one by one if that fails.
    """
    records, bad = _decode(lines)
    try:
        _insert(connection, [record for record, _ in records])
    except Bad:
        for record, line in records:
            try:
                if not _known(connection, record):
                    _insert(connection, [record])
            except Bad:
                bad.append(line)
    if bad:
        count(connection, "bad", len(bad))
    return bad


def count(connection: sqlite3.Connection, fact: str, by: int) -> None:
    """Add to one of the counters that outlive a process: bad, torn, repeated, orphaned, expired."""
    connection.execute(_FACT, (fact, by))


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
        _insert_answered(connection, [record for record in records if isinstance(record, StoredEntry)])
        for record in records:
            if isinstance(record, Feedback):
                for told, truth in record.truths:
                    _judge(connection, told, truth, record.at)
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back all of it when the disk is full
            connection.execute("ROLLBACK TO batch")
            connection.execute("RELEASE batch")
        raise
    connection.execute("RELEASE batch")


def _insert_answered(connection: sqlite3.Connection, records: list[StoredEntry]) -> None:
    requests: list[tuple[Any, ...]] = []
    predictions: list[tuple[Any, ...]] = []
    totals: dict[Cell, tuple[int, int]] = {}
    counts: Counter[tuple[int, str, int, str, str]] = Counter()
    shapes: dict[bytes, int] = {}
    [number] = connection.execute("SELECT coalesce(max(number), 0) FROM requests").fetchone()
    for each in records:
        number += 1
        shape = _shape(connection, bytes(each.columns), shapes)
        version, many = each.version or 0, len(each.rows)
        told = (each.use_case, version, each.status, each.seconds, each.kind, many, shape)
        requests.append((number, bytes.fromhex(each.id), each.at, *told))
        predictions += _predictions(number, each)
        cell = (int(each.at // HOUR), each.use_case, version)
        asked, rows = totals.get(cell, (0, 0))
        totals[cell] = asked + 1, rows + many
        if each.kind is not None:
            counts[*cell, "refused", each.kind] += 1
        for label in each.labels or ():
            counts[*cell, "label", label] += 1
    connection.executemany(_REQUEST, requests)
    connection.executemany(_PREDICTION, predictions)
    connection.executemany(_TOTAL, [(*cell, *sums) for cell, sums in totals.items()])
    connection.executemany(_COUNT, [(*key, many) for key, many in counts.items()])


def _predictions(number: int, record: StoredEntry) -> Iterable[tuple[Any, ...]]:
    many = len(record.rows)
    labels: Iterable[str | None] = [None] * many if record.labels is None else record.labels
    shares: Iterable[Any] = [None] * many if record.probabilities is None else record.probabilities
    for row, (raw, answer, label, share) in enumerate(
        zip(record.rows, record.predictions, labels, shares, strict=True)
    ):
        yield (
            number,
            row,
            bytes(raw).decode(),
            answer,
            label,
            ENCODER.encode(share).decode() if isinstance(share, dict) else share,
        )


def _shape(connection: sqlite3.Connection, columns: bytes, known: dict[bytes, int]) -> int:
    """Return the number under which a list of columns stands, once for all requests that have it."""
    if columns not in known:
        text = columns.decode()
        connection.execute("INSERT OR IGNORE INTO shapes (columns) VALUES (?)", (text,))
        [known[columns]] = connection.execute("SELECT number FROM shapes WHERE columns = ?", (text,)).fetchone()
    return known[columns]


def _known(connection: sqlite3.Connection, record: StoredEntry | Feedback) -> bool:
    """Tell whether a request is there: its spool file came back, or the tables did."""
    if isinstance(record, Feedback):
        return False
    found = connection.execute("SELECT 1 FROM requests WHERE id = ?", (bytes.fromhex(record.id),)).fetchone()
    if found:
        count(connection, "repeated", 1)
    return bool(found)


def _judge(connection: sqlite3.Connection, told: str, truth: Truth, at: float) -> None:
    """Join a true label to its prediction, in the place of an earlier one, and keep the totals right."""
    request, row = parse_id(told)
    found = connection.execute(_PREDICTED, (row, bytes.fromhex(request))).fetchone()
    if found is None:  # deleted since it was accepted
        return count(connection, "orphaned", 1)
    number, asked, use_case, version, prediction, label, before = found
    if before is not None and before == truth:
        return None
    changes = _score(prediction, label, truth)
    if before is not None:
        changes = tuple(new - old for new, old in zip(changes, _score(prediction, label, before), strict=True))
    connection.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?)", (number, row, truth, at))
    connection.execute(_JUDGED, (*changes, int(asked // HOUR), use_case, version))
    return None


def _score(prediction: Any, label: str | None, truth: Truth) -> tuple[float, ...]:
    """Score one answer: 1, whether it is right, and for a regression, which has no labels, how far off it is."""
    if label is not None:
        return 1, int(prediction == truth), 0.0
    return 1, 0, abs(float(prediction) - float(truth))
