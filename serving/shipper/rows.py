"""Reads ranges of the prediction log, as Arrow tables by use case and day."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pyarrow as pa

from serving.prediction_log.records import SHADOW, prediction_id
from serving.shipper.state import Range
from updraft.predictions.erasure import Erasure
from updraft.predictions.layout import FOLDERS, Folder, Kind, day_of
from updraft.predictions.schema import SCHEMAS

MAX_ROWS = 20_000  # of a range, or one request that has more

Group = tuple[str, Folder, date]  # use case, what it is, day
Erasures = Sequence[Erasure]

_PENDING = {
    "predictions": "SELECT number, rows, at FROM requests WHERE number > ? ORDER BY number LIMIT ?",
    "feedback": "SELECT number, 1, at FROM feedback_log WHERE number > ? ORDER BY number LIMIT ?",
}
_PREDICTIONS = """SELECT r.use_case, r.at, r.id, r.answer, r.version, r.kind, r.seconds, s.columns, p.row, p.input,
                  p.prediction, p.label, p.probability FROM requests r JOIN shapes s ON s.number = r.shape
                  JOIN predictions p ON p.request = r.number WHERE r.number BETWEEN ? AND ? ORDER BY r.number, p.row"""
_ERRORS = """SELECT use_case, at, id, version, kind, status, seconds FROM requests
             WHERE kind IS NOT NULL AND rows = 0 AND number BETWEEN ? AND ? ORDER BY number"""
_FEEDBACK = "SELECT use_case, at, id, row, truth FROM feedback_log WHERE number BETWEEN ? AND ? ORDER BY number"


def log_id(connection: sqlite3.Connection) -> str | None:
    """Return the id of a log's file; None before the ingester has made its tables, or brought them up to date."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'feedback_log'").fetchone():
        return None
    [(log,)] = connection.execute("SELECT log FROM numbers")
    return str(log)


def pending(connection: sqlite3.Connection, kind: Kind, after: int) -> tuple[int, int, float] | None:
    """Return the last number of the next range, its rows, and the time of its oldest; None when there is nothing."""
    last, rows, oldest = after, 0, float("inf")
    for number, count, at in connection.execute(_PENDING[kind], (after, MAX_ROWS)):
        if rows and rows + count > MAX_ROWS:
            break
        last, rows, oldest = number, rows + count, min(oldest, at)
    return (last, rows, oldest) if last > after else None


def tables(connection: sqlite3.Connection, part: Range, erasures: Erasures) -> Iterator[tuple[Group, pa.Table]]:
    """Yield the rows of a range by use case and day, without those that are erased.

    A range of requests has predictions and, apart, the requests that ended in an error.
    """
    for folder in FOLDERS[part.kind]:
        query, convert = _CONTENT[folder]
        groups: dict[Group, list[dict[str, Any]]] = defaultdict(list)
        for record in connection.execute(query, (part.first, part.last)):
            row = convert(record, erasures)
            if row is not None:
                groups[record[0], folder, day_of(record[1])].append(row)
        for group, rows in groups.items():
            yield group, pa.Table.from_pylist(rows, SCHEMAS[folder])


def _prediction(record: Sequence[Any], erasures: Erasures) -> dict[str, Any] | None:
    use_case, at, request, answer, version, kind, seconds, columns, row, values, prediction, label, probability = record
    features = dict(zip(msgspec.json.decode(columns), msgspec.json.decode(values), strict=True))
    if any(each.use_case == use_case and each.matches(features, at) for each in erasures):
        return None
    name = request.hex()
    return {
        "prediction_id": prediction_id(name, row),
        "request_id": answer.hex() if answer else name,
        "row": row,
        "at": datetime.fromtimestamp(at, UTC),
        "version": version or None,
        "shadow": kind == SHADOW,
        "seconds": seconds,
        "prediction": msgspec.json.encode(prediction).decode(),
        "label": label,
        "value": _number(prediction),
        "probability": _number(probability),
        "probabilities": probability if isinstance(probability, str) else None,
        "features": msgspec.json.encode(features).decode(),
    }


def _truth(record: Sequence[Any], erasures: Erasures) -> dict[str, Any] | None:
    _, at, request, row, truth = record  # the ingester has removed those of erased predictions
    return {
        "prediction_id": prediction_id(request.hex(), row),
        "at": datetime.fromtimestamp(at, UTC),
        "truth": msgspec.json.encode(truth).decode(),
        "truth_value": _number(truth),
    }


def _error(record: Sequence[Any], erasures: Erasures) -> dict[str, Any]:
    _, at, request, version, kind, status, seconds = record  # nothing of its body is known, so nothing can be erased
    return {
        "request_id": request.hex(),
        "at": datetime.fromtimestamp(at, UTC),
        "version": version or None,
        "shadow": kind == SHADOW,
        "status": status,
        "kind": kind,
        "seconds": seconds,
    }


Convert = Callable[[Sequence[Any], Erasures], dict[str, Any] | None]
_CONTENT: dict[Folder, tuple[str, Convert]] = {
    "predictions": (_PREDICTIONS, _prediction),
    "errors": (_ERRORS, _error),
    "feedback": (_FEEDBACK, _truth),
}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
