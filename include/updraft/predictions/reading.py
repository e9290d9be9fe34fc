"""Reads shipped predictions and their feedback: each prediction once, with its latest label, in bounded memory.

Which ids have been read, and the labels, are kept in a temporary SQLite file: they may be more than memory holds.
"""

from __future__ import annotations

import io
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from updraft.errors import UserError
from updraft.predictions.layout import Folder, Stored, stored
from updraft.predictions.schema import JOINED, PREDICTIONS, SCHEMAS
from updraft.registry.s3 import Bucket

LARGEST = 512 * 2**20  # bytes of an object: one holds at most 20,000 rows, or one request
_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE truths (id TEXT PRIMARY KEY, truth TEXT NOT NULL, value REAL, at INTEGER NOT NULL) WITHOUT ROWID;
"""
_TRUTH = """INSERT INTO truths VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET truth = excluded.truth,
            value = excluded.value, at = excluded.at WHERE excluded.at >= at"""


class BadObject(UserError):
    """An object that does not hold what we ship."""


@dataclass(frozen=True)
class Period:
    """From `since` on, up to before `until`; None is open."""

    since: datetime | None = None
    until: datetime | None = None

    def has_day(self, day: date) -> bool:
        """Return whether any of a day is in the period."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        after = self.since is None or start + timedelta(days=1) > self.since
        return after and (self.until is None or start < self.until)


ALWAYS = Period()


def read(bucket: Bucket, use_case: str, period: Period = ALWAYS) -> Iterator[pa.RecordBatch]:
    """Yield the predictions of a period, by the time of their request, with the labels known by now (schema JOINED).

    Raises BadObject, and what S3 raises.
    """
    with _scratch() as scratch:
        _load_truths(bucket, use_case, period, scratch)
        for found in stored(bucket, use_case, "predictions", period.since and period.since.date()):
            if period.has_day(found.day):
                for batch in _open(bucket, found, "predictions").iter_batches(columns=PREDICTIONS.names):
                    yield from _join(_in_period(batch, period), scratch)


def read_errors(bucket: Bucket, use_case: str, period: Period = ALWAYS) -> Iterator[pa.RecordBatch]:
    """Yield the requests of a period that ended in an error (schema ERRORS). Raises BadObject, and what S3 raises."""
    for found in stored(bucket, use_case, "errors", period.since and period.since.date()):
        if period.has_day(found.day):
            for batch in _open(bucket, found, "errors").iter_batches():
                yield _in_period(batch, period)


def find(bucket: Bucket, use_case: str, prediction_id: str) -> dict[str, Any] | None:
    """Return a prediction with its label, or None. An id begins with its time, so that only two days are read."""
    at = datetime.fromtimestamp(int(prediction_id[:12], 16) / 1000, UTC)
    # The id is made when the request is answered, `at` is when it arrived; clocks may be set in between.
    near = Period(at - timedelta(hours=1), at + timedelta(hours=1))
    for batch in read(bucket, use_case, near):
        found = batch.filter(pc.equal(batch["prediction_id"], prediction_id))
        if found.num_rows:
            row: dict[str, Any] = found.to_pylist()[0]
            return row
    return None


def open_object(bucket: Bucket, key: str, kind: Folder) -> pa.Table:
    """Read an object whole. Raises BadObject, FileNotFoundError."""
    return _parquet(bucket, key, kind).read()


def _open(bucket: Bucket, found: Stored, kind: Folder) -> pq.ParquetFile:
    return _parquet(bucket, found.key, kind)


def _parquet(bucket: Bucket, key: str, kind: Folder) -> pq.ParquetFile:
    body = io.BytesIO()
    for chunk in bucket.stream(key):
        body.write(chunk)
        if body.tell() > LARGEST:
            raise BadObject(f"{bucket}/{key} has more than {LARGEST:,} bytes")
    try:
        file = pq.ParquetFile(body)
    except pa.ArrowInvalid as error:
        raise BadObject(f"{bucket}/{key} is not Parquet: {error}") from None
    if not file.schema_arrow.equals(SCHEMAS[kind]):
        raise BadObject(f"{bucket}/{key} has other columns than {kind} have")
    return file


def _load_truths(bucket: Bucket, use_case: str, period: Period, scratch: sqlite3.Connection) -> None:
    """Keep the latest label of each prediction; labels come after their predictions, at any time."""
    later = Period(None if period.since is None else period.since - timedelta(days=1))
    for found in stored(bucket, use_case, "feedback", later.since and later.since.date()):
        if later.has_day(found.day):
            for batch in _open(bucket, found, "feedback").iter_batches():
                columns = [batch[name].to_pylist() for name in ("prediction_id", "truth", "truth_value")]
                scratch.executemany(_TRUTH, zip(*columns, batch["at"].cast(pa.int64()).to_pylist(), strict=True))


def _in_period(batch: pa.RecordBatch, period: Period) -> pa.RecordBatch:
    if period.since is not None:
        batch = batch.filter(pc.greater_equal(batch["at"], pa.scalar(period.since, batch["at"].type)))
    if period.until is not None:
        batch = batch.filter(pc.less(batch["at"], pa.scalar(period.until, batch["at"].type)))
    return batch


def _join(batch: pa.RecordBatch, scratch: sqlite3.Connection) -> Iterator[pa.RecordBatch]:
    """Leave out what was read before, and add the labels."""
    new, truths = [], []
    names, requests, rows = (batch[column].to_pylist() for column in ("prediction_id", "request_id", "row"))
    for name, request, row in zip(names, requests, rows, strict=True):
        new.append(scratch.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount == 1)
        answer = f"{request}.{row}"  # of a shadow's prediction, the one that was answered, for which labels are sent
        found = scratch.execute("SELECT truth, value, at FROM truths WHERE id = ?", (answer,)).fetchone()
        truths.append(found or (None, None, None))
    columns = [pa.array([row[place] for row in truths], type_) for place, type_ in enumerate(_TRUTH_TYPES)]
    arrays = [*batch.columns, columns[0], columns[1], columns[2].cast(JOINED.field("truth_at").type)]
    joined = pa.RecordBatch.from_arrays(arrays, schema=JOINED).filter(pa.array(new, pa.bool_()))
    if joined.num_rows:
        yield joined


_TRUTH_TYPES = (pa.string(), pa.float64(), pa.int64())


@contextmanager
def _scratch() -> Iterator[sqlite3.Connection]:
    with (
        tempfile.TemporaryDirectory(prefix="updraft-predictions-") as folder,
        closing(sqlite3.connect(Path(folder) / "scratch.sqlite", isolation_level=None)) as connection,
    ):
        connection.executescript(_TABLES)
        connection.execute("BEGIN")
        yield connection
