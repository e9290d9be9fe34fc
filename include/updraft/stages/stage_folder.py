"""A stage's folder: the names of its files, reading and writing them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from updraft.usecase import UseCase

QUARANTINE, TRAIN, TEST = "quarantine.jsonl", "train.parquet", "test.parquet"
OTHER_COLUMNS = "updraft.other_columns"  # in a dataset's metadata: the source's columns that no suite names, as JSON
UNEVEN_QUARANTINE = "updraft.uneven_quarantine"  # in a dataset's metadata: a sentence, or nothing
WIDE = 90  # columns from which pandas may warn that a frame is fragmented, which a copy mends


def read_frame(case: UseCase, path: Path) -> pd.DataFrame:
    """Read a dataset, or one side of a split, in the suite's dtypes."""
    return in_suite_types(case, pd.read_parquet(path))


def in_suite_types(case: UseCase, frame: pd.DataFrame) -> pd.DataFrame:
    """Give the columns of a frame, all or some of the suite's, the suite's dtypes."""
    frame = frame.astype({c.name: c.type for c in case.columns if c.name in frame and frame[c.name].dtype != c.type})
    return frame.copy() if frame.shape[1] >= WIDE else frame


def other_columns(dataset: Path) -> list[str]:
    """Return the columns that the source had and the suite does not name."""
    metadata = pq.read_schema(dataset).metadata or {}
    names: list[str] = json.loads(metadata.get(OTHER_COLUMNS.encode(), b"[]"))
    return names


def uneven_quarantine(dataset: Path) -> str:
    """Return what `ingest` says of labels that lost far more rows than others; empty where none did."""
    metadata = pq.read_metadata(dataset).metadata or {}
    return str(metadata.get(UNEVEN_QUARANTINE.encode(), b"").decode())


def first_row(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the first row as JSON, as a request to the service has it: dates in ISO 8601, missing values as null."""
    rows: list[dict[str, Any]] = json.loads(
        frame.head(1).to_json(orient="records", date_format="iso", double_precision=15)
    )
    return rows[0]


def recreate_folder(out: Path) -> Path:
    """Recreate a stage's folder, which an interrupted attempt may have left half full."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return out


def write_json(path: Path, content: Any) -> None:
    """Write JSON; raise ValueError for NaN."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file of a stage."""
    return json.loads(path.read_text(encoding="utf-8"))
