"""One round of the shipper: fix ranges, upload what is not uploaded, say how far it is."""

from __future__ import annotations

import io
import logging
import sqlite3
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from serving.prediction_log import erasing, shipping
from serving.prediction_log.store import Store
from serving.shipper import rows
from serving.shipper.state import Range, State
from updraft.predictions import erasures
from updraft.predictions.erasure import Erasure
from updraft.predictions.layout import ENDED, INSTANCES, KINDS, RANGE_ID, object_key
from updraft.registry.s3 import Bucket

EXISTS = (409, 412)  # 409: another conditional write is under way

log = logging.getLogger(__name__)


class KeyTaken(Exception):
    """Another service has stored another range under our name: it has a copy of our state."""


@dataclass(frozen=True)
class Pace:
    """How old, in seconds, the oldest row becomes before it is shipped; and between two rounds."""

    seconds: float = 60.0
    poll_seconds: float = 2.0


class Shipper:
    """Ships the log in `folder` to `bucket`."""

    def __init__(self, folder: Path, bucket: Bucket, pace: Pace) -> None:
        self.folder, self.bucket, self.pace = folder, bucket, pace
        self.store, self.state = Store(folder), State(folder)
        self.failures = shipping.read(folder).failures
        self._known = ""  # the instance that S3 knows of
        self._looked = float("-inf")

    def run_once(self, *, everything: bool = False) -> bool:
        """Ship what is due, or `everything`; return whether more is waiting. Raises what S3 and SQLite raise."""
        with self.store.read_transaction() as connection:
            log_id = rows.log_id(connection)
            if log_id is None:
                return False
            instance = self._instance(log_id)
            more = self._fix(connection, instance, everything=everything)
        open_ranges = self.state.open_ranges(instance)
        if open_ranges or time.monotonic() >= self._looked + self.pace.seconds or everything:
            erased = self._exchange(log_id, instance)
            for part in open_ranges:
                try:
                    self._ship(part, erased)
                except KeyTaken as error:
                    log.warning("%s; what is not shipped goes under a new name", error)
                    self.state.rename(log_id)
                    more = True
                    break
        shipping.write(self.folder, self.state.status(log_id, self.failures))
        return more

    def end(self) -> None:
        """Ship all that the log has, and say that it ends: nobody waits for it any more. Raises as `run_once` does."""
        while self.run_once(everything=True):
            pass
        if self._known:
            self.bucket.create(ENDED + self._known, b"")

    def note_failure(self) -> None:
        """Count a round that failed."""
        self.failures += 1
        shipping.write(self.folder, _with_failures(shipping.read(self.folder), self.failures))

    def _instance(self, log_id: str) -> str:
        """Return the name to ship under: a new one for a log that was to end under the one it had, and goes on."""
        instance = self.state.instance(log_id)
        if self._known != instance and self.bucket.get(ENDED + instance) is not None:
            self.state.rename(log_id)
            return self.state.instance(log_id)
        return instance

    def _fix(self, connection: sqlite3.Connection, instance: str, *, everything: bool) -> bool:
        """Fix a range of each kind that is full or old enough; return whether one was full."""
        more = False
        for kind in KINDS:
            found = rows.pending(connection, kind, self.state.last(instance, kind))
            if found is None:
                continue
            last, count, oldest = found
            full = count >= rows.MAX_ROWS / 2
            if full or everything or time.time() - oldest >= self.pace.seconds:
                self.state.fix(instance, kind, last)
                more |= full
        return more

    def _exchange(self, log_id: str, instance: str) -> list[Erasure]:
        """Say that we ship here, read what is to be erased, have the ingester erase it, and acknowledge what it has.

        An upload that began before we knew of an erasure is over by then: they are made one after the other.
        """
        if self._known != instance:
            self.bucket.create_if_missing()
            self.bucket.create(INSTANCES + instance, b"")
            self._known = instance
        found = erasures.find(self.bucket)
        erasing.order(self.folder, found)
        for name, count in erasing.finished(self.folder, log_id, instance).items():
            erasures.acknowledge(self.bucket, name, instance, count)
            erasing.note_acknowledged(self.folder, name, instance)
        self._looked = time.monotonic()
        return found

    def _ship(self, part: Range, erased: list[Erasure]) -> None:
        """Upload a range, an object for each use case and day, and mark it."""
        count = 0
        with self.store.read_transaction() as connection:
            for (use_case, folder, day), table in rows.tables(connection, part, erased):
                key = object_key(use_case, folder, day, part.instance, part.first, part.last)
                self._create(key, _parquet(table), part.id)
                count += table.num_rows if folder == part.kind else 0
        self.state.mark(part, count)
        log.info("shipped %s %d to %d: %d rows", part.kind, part.first, part.last, count)

    def _create(self, key: str, body: bytes, range_id: str) -> None:
        """Create an object, or find that an earlier attempt has. Raises KeyTaken."""
        name = self.bucket.base + key
        put = partial(self.bucket.client.put_object, Bucket=self.bucket.name, Key=name, Body=body, IfNoneMatch="*")
        try:
            put(Metadata={RANGE_ID: range_id})
        except ClientError as error:
            if int(error.response["ResponseMetadata"]["HTTPStatusCode"]) not in EXISTS:
                raise
            found = self.bucket.client.head_object(Bucket=self.bucket.name, Key=name)
            if found["Metadata"].get(RANGE_ID) != range_id:
                raise KeyTaken(f"{self.bucket}/{key} holds rows of another service") from None


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _with_failures(status: shipping.Status, failures: int) -> shipping.Status:
    counts = (status.requests, status.labels, status.prediction_rows, status.feedback_rows)
    return shipping.Status(status.log, *counts, failures)
