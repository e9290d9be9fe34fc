"""Shipping in tests: a bucket of its own, a log that is filled and ingested here, the shipper as a process."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from serving.prediction_log.ingester import Ingester
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import Entry
from serving.prediction_log.retention import Retention
from serving.server.worker_lock import claim
from tests.support.service import end
from updraft.defaults import ROOT
from updraft.predictions.layout import VARIABLE, open_bucket
from updraft.predictions.reading import read
from updraft.registry.s3 import Bucket

USE_CASE = "vehicle_insurance"


def bucket_of(s3: Mapping[str, str]) -> tuple[Bucket, dict[str, str]]:
    """Give a place on S3 that no other test uses, and the environment that leads to it."""
    environ = {**s3, VARIABLE: f"s3://updraft-predictions/{secrets.token_hex(6)}"}
    bucket = open_bucket(environ)
    assert bucket is not None
    bucket.create_if_missing()
    return bucket, environ


class Filled:
    """A prediction log in `folder` whose spool is ingested when the test says so."""

    def __init__(self, folder: Path, limits: Retention) -> None:
        self.folder, self.worker = folder, claim(folder)
        self.log, self.ingester = PredictionLog(folder, self.worker), Ingester(folder, limits)

    def add(self, *entries: Entry) -> None:
        assert all(map(self.log.write, entries))
        self.ingester.run_once()


@contextmanager
def filled(folder: Path, limits: Retention | None = None) -> Iterator[Filled]:
    it = Filled(folder, limits or Retention())
    try:
        yield it
    finally:
        it.log.close()
        it.ingester.close()
        it.worker.lock.release()


@contextmanager
def shipper(environ: Mapping[str, str], folder: Path, seconds: float = 0.1) -> Iterator[psutil.Popen]:
    """Run the shipper as a process."""
    with (folder.parent / f"{folder.name}-shipper.log").open("ab") as sink:
        process = psutil.Popen(
            [sys.executable, "-m", "serving.shipper"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT / 'include'}:{ROOT}",
                **environ,
                "SERVING_DATA": str(folder),
                "SERVING_SHIP_SECONDS": str(seconds),
            },
            cwd=ROOT,
            stdout=sink,
            stderr=sink,
        )
    try:
        yield process
    finally:
        end(process)


def raw_ids(bucket: Bucket, use_case: str = USE_CASE) -> list[str]:
    """List the prediction ids in all objects, as often as they are in there."""
    from updraft.predictions.layout import stored
    from updraft.predictions.reading import open_object

    found = []
    for each in stored(bucket, use_case, "predictions"):
        found += open_object(bucket, each.key, "predictions")["prediction_id"].to_pylist()
    return found


def rows(bucket: Bucket, use_case: str = USE_CASE) -> list[dict[str, object]]:
    return [row for batch in read(bucket, use_case) for row in batch.to_pylist()]
