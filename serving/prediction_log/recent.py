"""Recent requests of a use case, and one prediction by its id: look-ups by index, so that a long log costs no more.

The list has neither ids nor inputs. Whoever knows an id may label its prediction, and sees its inputs: ids are given to
those who asked for the predictions, and cannot be guessed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import SHADOW, parse_id

SHOWN = 50  # requests
VERSIONS = 10  # the highest in the log whose requests are looked at
WAIT = 1.0  # seconds, for a prediction that is not ingested yet

# Each step is one look-up in requests_by_model, whose entries of a version are in the order of their numbers.
_BELOW = "SELECT max(version) FROM requests WHERE use_case = ? AND version < ?"
_LATEST = """SELECT number, at, version, status, seconds, kind, rows FROM requests
             WHERE use_case = ? AND version = ? ORDER BY number DESC LIMIT ?"""
_FIRST = """SELECT p.prediction, p.label, p.probability, f.truth FROM predictions p
            LEFT JOIN feedback f ON f.request = p.request AND f.row = p.row WHERE p.request = ? AND p.row = 0"""
_ONE = """SELECT r.at, r.version, r.seconds, s.columns, p.input, p.prediction, p.label, p.probability, f.truth
          FROM requests r JOIN predictions p ON p.request = r.number AND p.row = ?
          JOIN shapes s ON s.number = r.shape LEFT JOIN feedback f ON f.request = p.request AND f.row = p.row
          WHERE r.id = ? AND r.use_case = ? AND r.kind IS NULL"""


@dataclass(frozen=True)
class Answer:
    """A prediction: the label's name or a number, its probability or those of all labels, and the actual outcome."""

    prediction: Any
    label: str | None
    probability: float | dict[str, float] | None
    truth: Any

    @classmethod
    def of(cls, prediction: Any, label: str | None, probability: Any, truth: Any) -> Answer:
        """Read what the log has of a prediction."""
        return cls(prediction, label, json.loads(probability) if isinstance(probability, str) else probability, truth)


@dataclass(frozen=True)
class Request:
    """A request: of so many rows, the answer to its first one, or the kind of error."""

    at: datetime
    version: int | None
    status: int
    seconds: float
    kind: str | None
    rows: int
    answer: Answer | None


@dataclass(frozen=True)
class Prediction:
    """One prediction with its inputs by column, without the private ones, which are stored nowhere."""

    at: datetime
    version: int | None
    seconds: float
    inputs: dict[str, Any]
    answer: Answer


def recent(log: PredictionLog, use_case: str, versions: Collection[int]) -> list[Request] | None:
    """Return the last requests, the latest first, of these versions and the highest ones; None: it cannot be read.

    What a shadow predicted is no request.
    """
    try:
        with log.store.read_transaction() as connection:
            looked_at = sorted({*versions, *_versions(connection, use_case)})
            found = [row for each in looked_at for row in connection.execute(_LATEST, (use_case, each, SHOWN))]
            latest = sorted((row for row in found if row[5] != SHADOW), reverse=True)[:SHOWN]
            return [_request(connection, *row) for row in latest]
    except sqlite3.Error:
        return None


def find(log: PredictionLog, use_case: str, prediction_id: str) -> Prediction | None:
    """Return a prediction by its id; None if the use case has none of it, or it is deleted. Raises ValueError."""
    request, row = parse_id(prediction_id)
    key = (row, bytes.fromhex(request), use_case)
    found = _find(log, key)
    if found is None and log.wait_until_ingested(WAIT):
        found = _find(log, key)
    if found is None:
        return None
    at, version, seconds, columns, values, *answer = found
    inputs = dict(zip(json.loads(columns), json.loads(values), strict=True))
    return Prediction(_time(at), version or None, seconds, inputs, Answer.of(*answer))


def _find(log: PredictionLog, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    try:
        with log.store.read_transaction() as connection:
            found: tuple[Any, ...] | None = connection.execute(_ONE, key).fetchone()
            return found
    except sqlite3.Error:
        return None


def _versions(connection: sqlite3.Connection, use_case: str) -> Iterable[int]:
    below = 2**62
    for _ in range(VERSIONS):
        [version] = connection.execute(_BELOW, (use_case, below)).fetchone()
        if version is None:
            return
        yield version
        below = version


def _request(
    connection: sqlite3.Connection, number: int, at: float, version: int, status: int, seconds: float, kind: str | None,
    rows: int,
) -> Request:  # fmt: skip
    first = connection.execute(_FIRST, (number,)).fetchone() if kind is None else None
    return Request(_time(at), version or None, status, seconds, kind, rows, Answer.of(*first) if first else None)


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
