"""A stage's folder: the names of its files, and how they are read and written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from updraft.usecase import UseCase

DATASET, QUARANTINE, TRAIN, TEST = "dataset.parquet", "quarantine.jsonl", "train.parquet", "test.parquet"


WIDE = 90  # with that many columns, pandas warns of one block each; a copy is in one piece


def read_frame(case: UseCase, path: Path) -> pd.DataFrame:
    """Read a dataset or a side of a split, validated rows, in the suite's dtypes."""
    frame = pd.read_parquet(path)
    frame = frame.astype({c.name: c.type for c in case.columns if frame[c.name].dtype != c.type})
    return frame.copy() if frame.shape[1] >= WIDE else frame


def first_row(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the first row as a request to the service has it: dates as ISO 8601, nothing as null."""
    rows: list[dict[str, Any]] = json.loads(
        frame.head(1).to_json(orient="records", date_format="iso", double_precision=15)
    )
    return rows[0]


def recreate_folder(out: Path) -> Path:
    """Empty a stage's folder, which a try that was cut off may have left half full."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return out


def write_json(path: Path, facts: Any) -> None:
    """Write facts as JSON; NaN is refused."""
    path.write_text(json.dumps(facts, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read facts that a stage wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
