"""Erases rows from the Parquet files on S3. It needs the right to overwrite there, which the service need not have.

An object is replaced by one without the rows, under its key, so that no shipper can create it again. The labels go
before their predictions: whoever repeats an erasure that was interrupted still finds the ids.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from updraft.errors import UserError
from updraft.predictions.erasure import Erasure
from updraft.predictions.layout import Kind, stored
from updraft.predictions.reading import open_object
from updraft.registry.s3 import Bucket


@dataclass(frozen=True)
class Matches:
    """What is to be erased: ids of predictions, in these objects; `columns` are all that any prediction has."""

    ids: frozenset[str]
    keys: tuple[str, ...]
    objects: int
    columns: frozenset[str]


def find(bucket: Bucket, erasure: Erasure) -> Matches:
    """Find the predictions that match. Raises UserError for a column that no prediction has."""
    ids: set[str] = set()
    keys: list[str] = []
    columns: set[str] = set()
    objects = stored(bucket, erasure.use_case, "predictions")
    for each in objects:
        table = open_object(bucket, each.key, "predictions")
        rows = _rows(table, erasure)
        columns.update(*(names for _, _, names in rows))
        if found := {name for name, matches, _ in rows if matches}:
            ids |= found
            keys.append(each.key)
    if columns and erasure.column not in columns:
        known = ", ".join(sorted(columns))
        raise UserError(
            f"--erase: no prediction of {erasure.use_case} has a column {erasure.column!r} (private ones are not "
            f"kept), expected one of {known}"
        )
    return Matches(frozenset(ids), tuple(keys), len(objects), frozenset(columns))


def count_labels(bucket: Bucket, erasure: Erasure, found: Matches) -> int:
    """Count the labels of these predictions."""
    return sum(
        pc.sum(_has(open_object(bucket, each.key, "feedback"), found)).as_py() or 0
        for each in (stored(bucket, erasure.use_case, "feedback") if found.ids else ())
    )


def erase(bucket: Bucket, erasure: Erasure, found: Matches) -> tuple[int, int]:
    """Remove labels, then predictions; return how many of each. What changed meanwhile is an error: repeat it."""
    labels = sum(
        _rewrite(bucket, each.key, "feedback", found)
        for each in (stored(bucket, erasure.use_case, "feedback") if found.ids else ())
    )
    return sum(_rewrite(bucket, key, "predictions", found) for key in found.keys), labels


def _rows(table: pa.Table, erasure: Erasure) -> list[tuple[str, bool, set[str]]]:
    """Return the id of each row, whether it matches, and its columns."""
    rows = []
    names, texts = table["prediction_id"].to_pylist(), table["features"].to_pylist()
    for name, text, at in zip(names, texts, table["at"].cast(pa.int64()).to_pylist(), strict=True):
        features = msgspec.json.decode(text)
        rows.append((name, erasure.matches(features, at / 1e6), set(features)))
    return rows


def _has(table: pa.Table, found: Matches) -> pa.ChunkedArray:
    return pc.is_in(table["prediction_id"], pa.array(sorted(found.ids), pa.string()))


def _rewrite(bucket: Bucket, key: str, kind: Kind, found: Matches) -> int:
    """Replace an object by one without these rows, if it is still the one that was read; return how many they were."""
    head = bucket.client.head_object(Bucket=bucket.name, Key=bucket.base + key)
    table = open_object(bucket, key, kind)
    rest = table.filter(pc.invert(_has(table, found)))
    if rest.num_rows == table.num_rows:
        return 0
    sink = io.BytesIO()
    pq.write_table(rest, sink, compression="zstd")
    bucket.client.put_object(
        Bucket=bucket.name,
        Key=bucket.base + key,
        Body=sink.getvalue(),
        IfMatch=head["ETag"],
        Metadata=head["Metadata"],
    )
    return int(table.num_rows - rest.num_rows)
