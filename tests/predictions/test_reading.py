"""Reading what was shipped: each prediction once, and nothing that is not ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.shipper.ship import Pace, Shipper
from tests.support.prediction_log_files import entry
from tests.support.shipping import USE_CASE, bucket_of, filled, raw_ids, rows
from updraft.predictions.layout import open_bucket
from updraft.predictions.reading import BadObject
from updraft.registry.s3 import BadRegistry


def test_a_prediction_in_two_objects_is_read_once(s3: dict[str, str], tmp_path: Path) -> None:
    """As after a log was damaged, and began anew from the spool under another name."""
    bucket, _ = bucket_of(s3)
    with filled(tmp_path / "one") as it:
        it.add(written := entry(3))
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    for name in ("one", "other"):
        Shipper(tmp_path / name, bucket, Pace(0.0)).run_once()
    assert len(raw_ids(bucket)) == 6
    assert [row["row"] for row in rows(bucket)] == [0, 1, 2]
    assert {row["request_id"] for row in rows(bucket)} == {written.id}


def test_what_is_not_ours_is_ignored_or_named(s3: dict[str, str]) -> None:
    bucket, _ = bucket_of(s3)
    bucket.put(f"{USE_CASE}/date=2026-01-01/notes.txt", b"x")
    bucket.put(f"{USE_CASE}/readme", b"x")
    assert rows(bucket) == []
    key = f"{USE_CASE}/date=2026-01-01/00ff-000000000001-000000000002.parquet"
    bucket.put(key, b"x")
    with pytest.raises(BadObject, match=f"{key} is not Parquet"):
        rows(bucket)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SERVING_PREDICTIONS": "here"}, "SERVING_PREDICTIONS: 'here' is not s3://bucket"),
        ({"SERVING_PREDICTIONS_ACCESS_KEY_ID": "a"}, "SERVING_PREDICTIONS_SECRET_ACCESS_KEY: not set"),
    ],
)
def test_a_bad_setting_is_named(changes: dict[str, str], message: str) -> None:
    with pytest.raises(BadRegistry, match=message):
        open_bucket({"SERVING_PREDICTIONS": "s3://some-bucket", **changes})
