"""How many predictions are new: without reading them, whatever day they are of, once each."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.shipping import USE_CASE, bucket_of
from updraft.predictions.counting import Counter, positions
from updraft.predictions.layout import object_key
from updraft.predictions.schema import PREDICTIONS
from updraft.registry.s3 import Bucket


def ship(bucket: Bucket, instance: str, day: int, first: int, rows: int) -> None:
    row = {"prediction_id": "", "request_id": "", "row": 0, "at": datetime.now(UTC), "shadow": False, "seconds": 0.1}
    table = pa.Table.from_pylist([row | {"prediction": "1", "features": "{}"}] * rows, PREDICTIONS)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    key = object_key(USE_CASE, "predictions", date(2026, 11, day), instance, first, first + 9)
    assert bucket.create(key, sink.getvalue().to_pybytes())


def test_each_instance_counts_from_where_it_was(s3: dict[str, str]) -> None:
    bucket, _ = bucket_of(s3)
    counter, since = Counter(bucket, USE_CASE), date(2026, 11, 20)
    assert (counter.objects(since), positions([])) == ([], {})
    ship(bucket, "aa", 19, 1, 40)  # before the days that count
    ship(bucket, "aa", 20, 11, 3)
    ship(bucket, "bb", 21, 1, 4)
    assert counter.rows_after({}, counter.objects(since)) == 7
    seen = positions(counter.objects(since))
    assert seen == {"aa": 20, "bb": 10}
    ship(bucket, "bb", 20, 11, 5000)  # of an earlier day, and shipped later; its end alone is read
    ship(bucket, "cc", 22, 1, 1)
    for _ in range(2):
        assert counter.rows_after(seen, counter.objects(since)) == 5001
    assert counter.rows_after(positions(counter.objects(since)), counter.objects(since)) == 0
