"""A version in production with all that the monitor reads, and shipped predictions of it."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.trained import Trained
from updraft.model.model import Model
from updraft.model.version_files import MODEL, SIGNATURE
from updraft.monitoring.reference import REFERENCE
from updraft.predictions.layout import KINDS, day_of, object_key
from updraft.predictions.schema import FEEDBACK, JOINED, PREDICTIONS
from updraft.registry.registry import Registry
from updraft.registry.s3 import Bucket
from updraft.stages.evaluate import EVALUATION
from updraft.stages.stage_folder import read_json

NAME = "vehicle_insurance"


def version_folder(trained: Trained, folder: Path) -> Path:
    """Copy the files of the chosen model into `folder`."""
    folder.mkdir(parents=True)
    chosen = read_json(trained.evaluation / EVALUATION)["chosen"]
    for name in (MODEL, SIGNATURE):
        shutil.copy2(trained.models[0].parent / chosen / name, folder)
    for name in (REFERENCE, EVALUATION):
        shutil.copy2(trained.evaluation / name, folder)
    return folder


def put_into_production(registry: Registry, trained: Trained, tmp_path: Path, count: int = 1) -> Path:
    """Push and promote versions that differ in a byte, and return the last one's files."""
    for number in range(1, count + 1):
        files = version_folder(trained, tmp_path / f"version {number}")
        if number < count:
            with (files / MODEL).open("ab") as model:
                model.write(b"\0" * number)
        registry.push(NAME, files, {}, f"run {number}")
        registry.promote(NAME, number, expect=registry.production(NAME), who="a test", why=f"version {number}")
    return files


def predicted(files: Path, frame: pd.DataFrame, version: int, at: datetime | None = None) -> pa.Table:
    """Return predictions of rows by the model in `files`, as a service ships them."""
    model = Model.load(files)
    features = [column.name for column in model.signature.columns]
    made = model.predict(frame[features].astype({column.name: column.type for column in model.signature.columns}))
    public = [name for name in features if name not in model.signature.private]
    rows, count = json.loads(frame[public].to_json(orient="records")), len(frame)
    request = f"{int((at or datetime.now(UTC)).timestamp() * 1000):012x}{secrets.token_hex(10)}"
    columns = {
        "prediction_id": [f"{request}.{row}" for row in range(count)],
        "request_id": [request] * count,
        "row": range(count),
        "at": [at or datetime.now(UTC)] * count,
        "version": [version] * count,
        "shadow": [False] * count,
        "seconds": [0.01] * count,
        "prediction": [json.dumps(each) for each in made.predictions],
        "label": made.names,
        "value": [float(each) for each in made.predictions],
        "probability": made.probabilities,
        "probabilities": [None] * count,
        "features": [json.dumps(row) for row in rows],
    }
    return pa.table(columns, schema=PREDICTIONS)


def joined(files: Path, frame: pd.DataFrame, version: int, truths: Sequence[Any]) -> pa.Table:
    """Return predictions of rows with what became true (None: not known yet)."""
    made = predicted(files, frame, version)
    texts = [None if each is None else json.dumps(each) for each in truths]
    known = [texts, [None if each is None else float(each) for each in truths], [None] * len(frame)]
    more = [pa.array(values, field.type) for values, field in zip(known, list(JOINED)[-3:], strict=True)]
    return pa.table([*made.columns, *more], schema=JOINED)


def ship(bucket: Bucket, rows: pa.Table, truths: Sequence[Any] = (), number: int = 1) -> None:
    """Store predictions, and labels of the first of them, as a service ships them."""
    ids = rows["prediction_id"].to_pylist()[: len(truths)]
    now = [datetime.now(UTC)] * len(ids)
    texts = [json.dumps(each) for each in truths]
    columns = [ids, now, texts, [float(each) for each in truths]]
    labels = pa.table([pa.array(x, f.type) for x, f in zip(columns, FEEDBACK, strict=True)], schema=FEEDBACK)
    first = number * 1_000_000
    for kind, table in zip(KINDS, (rows, labels), strict=True):
        if table.num_rows:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            day = day_of(table["at"][0].as_py().timestamp())
            key = object_key(NAME, kind, day, "0" * 16, first, first + table.num_rows - 1)
            assert bucket.create(key, sink.getvalue().to_pybytes())
