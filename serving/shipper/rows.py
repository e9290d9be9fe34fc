"""Reads ranges of the prediction log, as Arrow tables by use case and day."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import lru_cache
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
Row = tuple[Any, ...]  # in the order of a schema
DAY = 86_400_000_000  # microseconds, as `at` has them in Parquet

_DECODE, _ENCODE = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

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
        groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
        for record in connection.execute(query, (part.first, part.last)):
            at = round(record[1] * 1e6)
            row = convert(record, at, erasures)
            if row is not None:
                groups[record[0], at // DAY].append(row)
        for (use_case, day), rows in groups.items():
            yield (use_case, folder, day_of(day * DAY / 1e6)), _table(rows, SCHEMAS[folder])


def _table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """Return rows, whose values are in the schema's order; by columns, as rows of names take twice the time."""
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _prediction(record: Sequence[Any], at: int, erasures: Erasures) -> Row | None:
    use_case, time, request, answer, version, kind, seconds, columns, row, values, prediction, label, probability = (
        record
    )
    features = dict(zip(_names(columns), _DECODE(values), strict=True))
    if erasures and any(each.use_case == use_case and each.matches(features, time) for each in erasures):
        return None
    name = request.hex()
    return (
        prediction_id(name, row),
        answer.hex() if answer else name,
        row,
        at,
        version or None,
        kind == SHADOW,
        seconds,
        _ENCODE(prediction).decode(),
        label,
        _number(prediction),
        _number(probability),
        probability if isinstance(probability, str) else None,
        _ENCODE(features).decode(),
    )


def _truth(record: Sequence[Any], at: int, erasures: Erasures) -> Row:
    _, _, request, row, truth = record  # the ingester has removed those of erased predictions
    return (prediction_id(request.hex(), row), at, _ENCODE(truth).decode(), _number(truth))


def _error(record: Sequence[Any], at: int, erasures: Erasures) -> Row:
    _, _, request, version, kind, status, seconds = record  # nothing of its body is known, so nothing can be erased
    return (request.hex(), at, version or None, kind == SHADOW, status, kind, seconds)


@lru_cache(maxsize=64)
def _names(columns: str) -> list[str]:
    return msgspec.json.decode(columns, type=list[str])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


Convert = Callable[[Sequence[Any], int, Erasures], Row | None]
_CONTENT: dict[Folder, tuple[str, Convert]] = {
    "predictions": (_PREDICTIONS, _prediction),
    "errors": (_ERRORS, _error),
    "feedback": (_FEEDBACK, _truth),
}
