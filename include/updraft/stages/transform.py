"""`transform`: dataset → split into raw training and test rows."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from updraft.errors import BadData
from updraft.model.number_format import format_number
from updraft.stages.split_rows import split_rows
from updraft.stages.stage_folder import TEST, TRAIN, other_columns, recreate_folder, uneven_quarantine, write_json
from updraft.stages.usable_rows import UsableRows
from updraft.usecase import UseCase
from updraft.usecase.blocks import TimeSplit
from updraft.usecase.schema import FOLDS_UP_TO

log = logging.getLogger(__name__)


def transform(case: UseCase, dataset: Path, out: Path) -> Path:
    """Split the dataset into `out/train.parquet` and `out/test.parquet` by the use case's rule; fits nothing.

    Rows without a target (where the suite allows nulls) are left out and counted. So are, with `deduplicate`, rows that
    equal an earlier one in all columns but the id. Raises BadData when a side has no row of a label, or when a
    regression's target is not finite or constant. Returns `out`.
    """
    recreate_folder(out)
    rows = UsableRows(case, dataset)
    with tempfile.TemporaryDirectory(dir=out, prefix=".rows-") as scratch:
        _write(split_rows(rows, Path(scratch)), out)
    sides = {name: _columns_that_count(case, out / name) for name in (TRAIN, TEST)}
    for name, side in sides.items():
        _check_target(case, side[case.target], name)
    summary = _summary(case, rows) | {"constant": constant_columns(out / TRAIN, case.feature_names)}
    summary |= {Path(name).stem: _counts(case, side) for name, side in sides.items()}
    summary |= {"other_columns": other_columns(dataset), "uneven_quarantine": uneven_quarantine(dataset)}
    write_json(out / "split.json", summary)
    if rows.null_targets:
        log.warning("%s of %s rows are left out: %s is null", f"{rows.null_targets:,}", f"{rows.total:,}", case.target)
    if case.deduplicate:
        log.info("%s duplicates are left out", f"{rows.duplicates:,}")
    log.info("%s rows, %s of them distinct in their features", f"{len(rows):,}", f"{rows.distinct:,}")
    log.info("by %s: train %s · test %s", case.split.by, _sentence(summary["train"]), _sentence(summary["test"]))
    if summary["constant"]:
        log.warning("columns that are constant in the training rows: %s", ", ".join(summary["constant"]))
    return out


def _write(parts: Iterable[tuple[pd.DataFrame, pd.DataFrame]], out: Path) -> None:
    """Write the parts of both sides, each as a row group."""
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for sides in parts:
            for name, side in zip((TRAIN, TEST), sides, strict=True):
                table = pa.Table.from_pandas(side, preserve_index=False)
                if name not in writers:
                    writers[name] = stack.enter_context(pq.ParquetWriter(out / name, table.schema, compression="zstd"))
                if table.num_rows:
                    writers[name].write_table(table)


def _columns_that_count(case: UseCase, side: Path) -> pd.DataFrame:
    """Read what the summary of a side needs."""
    columns = [case.target, *([case.split.column] if isinstance(case.split, TimeSplit) else ())]
    return pd.read_parquet(side, columns=list(dict.fromkeys(columns)))


def _summary(case: UseCase, rows: UsableRows) -> dict[str, Any]:
    return {
        "seed": case.split_seed,
        "split": case.split.model_dump(mode="json"),
        **_validation(case, rows.total),
        "rows": len(rows),
        "null_targets": rows.null_targets,
        "duplicates": rows.duplicates,
        "distinct_rows": rows.distinct,
        "configuration_sha256": case.configuration_sha256,
    }


def _validation(case: UseCase, rows: int) -> dict[str, Any]:
    """Return how candidates are validated; log it where the number of rows has decided."""
    holdout = case.holdout(rows)
    if holdout is not None and case.validation is None:
        log.info("%s rows are more than %s: candidates are validated on %.0f %% of the training rows, not in folds; "
                 "`folds: %d` asks for these", f"{rows:,}", f"{FOLDS_UP_TO:,}", 100 * holdout, case.folds)  # fmt: skip
    return {"folds": case.folds if holdout is None else None, "holdout": holdout}


def constant_columns(file: Path, names: Sequence[str]) -> list[str]:
    """Return the columns that have only one value, or none; once a column varies it is not read on."""
    left, values = list(names), dict[str, Any]()
    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups if left else 0):
            frame = parquet.read_row_group(group, columns=left).to_pandas()
            for name in left.copy():
                value = frame[name].iloc[0]
                if not _constant(frame[name]) or not _same(values.setdefault(name, value), value):
                    left.remove(name)
    return left


def _same(one: Any, other: Any) -> bool:
    return bool(pd.isna(one) and pd.isna(other)) or bool(one == other)


def _check_target(case: UseCase, target: pd.Series[Any], name: str) -> None:
    if case.task == "regression":
        if not pd.api.types.is_numeric_dtype(target) or not np.isfinite(target.to_numpy("float64")).all():
            raise BadData(f"{case.name}: {case.target} of {name} is {target.dtype}, expected finite numbers")
        if _constant(target):
            only = format_number(float(target.iloc[0]))
            message = f"{case.name}: {name} has {len(target)} rows, all with {case.target} = {only}"
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
