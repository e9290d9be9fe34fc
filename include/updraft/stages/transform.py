"""`transform`: dataset → split into raw training and test rows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from updraft.errors import BadData
from updraft.learning.splits import feature_hash, split_rows
from updraft.stages.stage_folder import (
    TEST,
    TRAIN,
    other_columns,
    read_frame,
    recreate_folder,
    uneven_quarantine,
    write_json,
)
from updraft.usecase import UseCase
from updraft.usecase.blocks import TimeSplit

log = logging.getLogger(__name__)


def transform(case: UseCase, dataset: Path, out: Path) -> Path:
    """Split the dataset into `out/train.parquet` and `out/test.parquet` by the use case's rule; fits nothing.

    Rows without a target (where the suite allows nulls) are left out and counted. So are, with `deduplicate`, rows that
    equal an earlier one in all columns but the id. Raises BadData when a side has no row of a label, or when a
    regression's target is not finite or constant. Returns `out`.
    """
    recreate_folder(out)
    frame, summary = _usable(case, read_frame(case, dataset))
    sides = dict(zip((TRAIN, TEST), split_rows(case, frame), strict=True))
    for name, side in sides.items():
        _check_target(case, side[case.target], name)
        side.to_parquet(out / name, compression="zstd", index=False)
    summary |= {"configuration_sha256": case.configuration_sha256}
    summary |= {"constant": [column.name for column in case.features if _constant(sides[TRAIN][column.name])]}
    summary |= {Path(name).stem: _counts(case, side) for name, side in sides.items()}
    summary |= {"other_columns": other_columns(dataset), "uneven_quarantine": uneven_quarantine(dataset)}
    write_json(out / "split.json", summary)
    log.info("%s rows, %s of them distinct in their features", f"{len(frame):,}", f"{summary['distinct_rows']:,}")
    log.info("by %s: train %s · test %s", case.split.by, _sentence(summary["train"]), _sentence(summary["test"]))
    if summary["constant"]:
        log.warning("columns that are constant in the training rows: %s", ", ".join(summary["constant"]))
    return out


def _usable(case: UseCase, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Drop rows without a target, and duplicates if configured; return the rest, and a summary of what was dropped."""
    rows = frame[frame[case.target].notna()]
    no_target = len(frame) - len(rows)
    if no_target:
        log.warning("%s of %s rows are left out: %s is null", f"{no_target:,}", f"{len(frame):,}", case.target)
    if case.deduplicate:
        rows = rows.drop_duplicates([column.name for column in case.columns if column.name != case.id])
        log.info("%s duplicates are left out", f"{len(frame) - no_target - len(rows):,}")
    if rows.empty:
        raise BadData(f"{case.name}: none of {len(frame):,} rows has a {case.target}")
    summary: dict[str, Any] = {
        "seed": case.split_seed,
        "split": case.split.model_dump(mode="json"),
        "folds": case.folds,
    }
    summary |= {"rows": len(rows), "null_targets": no_target, "duplicates": len(frame) - no_target - len(rows)}
    return rows, summary | {"distinct_rows": int(feature_hash(case, rows).nunique())}


def _check_target(case: UseCase, target: pd.Series[Any], name: str) -> None:
    if case.task == "regression":
        if not pd.api.types.is_numeric_dtype(target) or not np.isfinite(target.to_numpy("float64")).all():
            raise BadData(f"{case.name}: {case.target} of {name} is {target.dtype}, expected finite numbers")
        if _constant(target):
            message = f"{case.name}: {name} has {len(target)} rows, all with {case.target} = {target.iloc[0]:g}"
            raise BadData(f"{message}; a regression needs a target that varies")
        return
    values = set(target.unique().tolist())
    expected = {label.value for label in case.labels}
    if unknown := values - expected:
        raise BadData(f"{case.name}: {case.target} has values without a label: {', '.join(map(repr, unknown))}")
    if missing := expected - values:
        raise BadData(
            f"{case.name}: {name} has {len(target)} rows and none with {case.target} = "
            f"{', '.join(map(repr, missing))}; more rows are needed, or another split"
        )


def _constant(values: pd.Series[Any]) -> bool:
    """Whether a column has only one value, or none."""
    first = values.iloc[0]
    return bool(values.isna().all() if pd.isna(first) else (values == first).all())


def _counts(case: UseCase, side: pd.DataFrame) -> dict[str, Any]:
    target = side[case.target]
    counts: dict[str, Any] = {"rows": len(side)}
    if isinstance(case.split, TimeSplit):
        counts |= {"from": str(side[case.split.column].min()), "to": str(side[case.split.column].max())}
    if case.task == "regression":
        return counts | {"mean": float(target.mean()), "least": float(target.min()), "most": float(target.max())}
    if case.task == "multiclass":
        return counts | {"labels": {str(label.value): int((target == label.value).sum()) for label in case.labels}}
    positive = target == case.positive
    return counts | {"positive": int(positive.sum()), "positive_share": round(float(positive.mean()), 4)}


def _sentence(counts: dict[str, Any]) -> str:
    """Format what `_counts` returns for the log."""
    parts = [f"{counts['rows']:,} rows"]
    if "from" in counts:
        parts.append(f"from {counts['from']} to {counts['to']}")
    if "mean" in counts:
        parts.append(f"target {counts['least']:.6g} to {counts['most']:.6g}, mean {counts['mean']:.6g}")
    parts += [f"{label} {count:,}" for label, count in counts.get("labels", {}).items()]
    if "positive" in counts:
        parts.append(f"{counts['positive']:,} positive ({counts['positive_share']:.1%})")
    return ", ".join(parts)
