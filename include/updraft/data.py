"""`ingest`: source → dataset, one Parquet file. `transform`: dataset → split, train and test rows, raw.

And `load`, which fills a MongoDB collection.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from updraft.blocks import TimeSplit
from updraft.rows import ARROW, Reject
from updraft.sources import Source, translated
from updraft.splits import BadData, divide, feature_hash
from updraft.usecase import UseCase

if TYPE_CHECKING:
    from pymongo.collection import Collection

log = logging.getLogger(__name__)

DATASET, QUARANTINE, TRAIN, TEST = "dataset.parquet", "quarantine.jsonl", "train.parquet", "test.parquet"

WIDE = 90  # with that many columns, pandas warns of one block each; a copy is in one piece

Progress = Callable[[int, int | None], None]


def ingest(case: UseCase, source: Source, out: Path, progress: Progress | None = None) -> Path:
    """Stream rows that fit the suite's types into `out/dataset.parquet` (zstd), others into `out/quarantine.jsonl`.

    `progress` is called with the rows read so far and their total, where it is known. Returns the dataset's path.
    Raises BadData when no row is left or more than `case.quarantine_budget` of them do not fit.
    """
    fresh(out)
    started = time.monotonic()
    read = kept = nans = 0
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    units: dict[str, set[str]] = {}
    schema = pa.schema([(column.name, ARROW[column.type]) for column in source.columns])
    with (
        pq.ParquetWriter(out / DATASET, schema, compression="zstd") as parquet,
        (out / QUARANTINE).open("w", encoding="utf-8", errors="backslashreplace") as rejected,
    ):
        for batch in source.batches():
            parquet.write_table(batch.table)
            for reject in batch.rejects:
                rejected.write(_quarantined(reject) + "\n")
                for column in reject.reason.partition(":")[0].split(", "):
                    reasons[column] += 1
                    examples.setdefault(column, f"{reject.place}: {reject.reason}")
            kept += batch.table.num_rows
            read += batch.table.num_rows + len(batch.rejects)
            nans += batch.nans
            units = batch.units
            log.info("%s rows read, %.1f s%s", f"{read:,}", time.monotonic() - started, _share(read, source.total))
            if progress:
                progress(read, source.total)
    facts = {"source": str(source), "rows_read": read, "rows": kept, "quarantined": read - kept, "nan_as_null": nans}
    facts |= {"reasons": dict(reasons.most_common()), "examples": examples}
    facts |= {"absent_columns": source.absent, "other_columns": source.others}
    facts |= {"units": {column: sorted(found) for column, found in units.items()}}
    write_json(out / "ingest.json", facts | {"seconds": round(time.monotonic() - started, 2)})
    _report(facts, out)
    _within_budget(case, facts, out)
    return out / DATASET


def transform(case: UseCase, dataset: Path, out: Path) -> Path:
    """Split the dataset into `out/train.parquet` and `out/test.parquet` by the use case's rule; nothing is fitted here.

    Rows whose target is null (where the suite lets it be) teach nothing: they are left out and counted. So are, with
    `deduplicate`, rows that equal an earlier one in all columns but the id. Raises BadData when a side has no row of a
    label, or a regression's target is not finite or never varies. Returns `out`.
    """
    fresh(out)
    frame, facts = _usable(case, read_frame(case, dataset))
    sides = dict(zip((TRAIN, TEST), divide(case, frame), strict=True))
    for name, side in sides.items():
        _check_target(case, side[case.target], name)
        side.to_parquet(out / name, compression="zstd", index=False)
    facts |= {"constant": [column.name for column in case.features if _constant(sides[TRAIN][column.name])]}
    facts |= {Path(name).stem: _counts(case, side) for name, side in sides.items()}
    write_json(out / "split.json", facts)
    log.info("%s rows, %s of them distinct in their features", f"{len(frame):,}", f"{facts['distinct_rows']:,}")
    log.info("by %s: train %s · test %s", case.split.by, facts["train"], facts["test"])
    if facts["constant"]:
        log.warning("columns that never vary in the training rows: %s", ", ".join(facts["constant"]))
    return out


def load(source: Source, collection: Collection[Any], progress: Progress | None = None) -> int:
    """Replace the collection's content by the source's rows at one stroke: a temporary collection, then a rename.

    Rows that fit go in under the suite's names and in its types, dates to the millisecond; rows that do not fit go in
    as they were found, for `ingest` to set aside. Returns the number of documents.
    """
    from pymongo.write_concern import WriteConcern

    fresh_one = collection.database[f"{collection.name}.loading.{uuid.uuid4().hex[:8]}"]
    with translated(collection):
        try:
            count = _fill(fresh_one, source, progress)
            if not count:
                raise BadData(f"{source}: no rows; {collection.full_name} is left as it was")
            _copy_indexes(collection, fresh_one)
            on_disk = WriteConcern(w="majority", j=True)  # this, and so all that was written before it
            fresh_one.with_options(write_concern=on_disk).rename(collection.name, dropTarget=True)
        finally:
            fresh_one.drop()
    return count


def _fill(collection: Collection[Any], source: Source, progress: Progress | None) -> int:
    count = 0
    for batch in source.batches():
        documents = batch.table.to_pylist() + [_storable(reject.row) for reject in batch.rejects]
        if documents:
            collection.insert_many(documents, ordered=False)
        count += len(documents)
        if progress:
            progress(count, source.total)
    return count


def _copy_indexes(old: Collection[Any], new: Collection[Any]) -> None:
    for name, told in old.index_information().items():
        if name != "_id_":
            options = {key: told[key] for key in told.keys() - {"key", "v", "ns"}}
            new.create_index(told["key"], name=name, **options)


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


def fresh(out: Path) -> Path:
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


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is when MongoDB can hold it, else its values as text."""
    from bson import encode
    from bson.errors import BSONError

    try:
        encode(row)
    except (BSONError, OverflowError, UnicodeError):
        return {name: str(value).encode("utf-8", "replace").decode() for name, value in row.items()}
    return row


def _quarantined(reject: Reject) -> str:
    """Write a refused row as one line of JSON; what JSON does not have, such as infinity, becomes text."""
    line = {"place": reject.place, "reason": reject.reason, "row": reject.row}
    try:
        return json.dumps(line, default=str, ensure_ascii=False, allow_nan=False)
    except ValueError:
        plain = {name: str(value) for name, value in reject.row.items()}
        return json.dumps(line | {"row": plain}, ensure_ascii=False)


def _share(read: int, total: int | None) -> str:
    return f", {min(read / total, 1):.0%}" if total else ""


def _report(facts: dict[str, Any], out: Path) -> None:
    log.info("%s: %s rows read, %s fit", facts["source"], f"{facts['rows_read']:,}", f"{facts['rows']:,}")
    if facts["absent_columns"]:
        log.warning("columns of the suite that no row has: %s", ", ".join(facts["absent_columns"]))
    if facts["other_columns"]:
        log.info("left out, as the suite does not name them: %s", ", ".join(facts["other_columns"]))
    if facts["nan_as_null"]:
        log.warning("%s NaN read as null", f"{facts['nan_as_null']:,}")
    for column, found in facts["units"].items():
        if len(found) > 1:
            log.warning("%s: numbers are read from texts with different units: %s", column, ", ".join(map(repr, found)))
    if facts["quarantined"]:
        worst = ", ".join(f"{column} ({count:,})" for column, count in list(facts["reasons"].items())[:5])
        log.warning("%s rows set aside in %s: %s", f"{facts['quarantined']:,}", out / QUARANTINE, worst)


def _within_budget(case: UseCase, facts: dict[str, Any], out: Path) -> None:
    read, kept = facts["rows_read"], facts["rows"]
    if not read:
        raise BadData(f"{case.name}: the source gave no rows")
    share = 1 - kept / read
    if not kept or share > case.quarantine_budget:
        column, count = next(iter(facts["reasons"].items()))
        raise BadData(
            f"{case.name}: {share:.2%} of {read:,} rows do not fit, more than quarantine_budget "
            f"{case.quarantine_budget:.2%}; worst is {column!r} ({count:,}), such as {facts['examples'][column]}; "
            f"see {out / QUARANTINE}"
        )


def _usable(case: UseCase, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Leave out rows without a target, and duplicates where the use case says so; return the facts with the rest."""
    rows = frame[frame[case.target].notna()]
    no_target = len(frame) - len(rows)
    if no_target:
        log.warning("%s of %s rows are left out: %s is null", f"{no_target:,}", f"{len(frame):,}", case.target)
    if case.deduplicate:
        rows = rows.drop_duplicates([column.name for column in case.columns if column.name != case.id])
        log.info("%s duplicates are left out", f"{len(frame) - no_target - len(rows):,}")
    if rows.empty:
        raise BadData(f"{case.name}: none of {len(frame):,} rows has a {case.target}")
    facts: dict[str, Any] = {"seed": case.split_seed, "split": case.split.model_dump(mode="json"), "folds": case.folds}
    facts |= {"rows": len(rows), "null_targets": no_target, "duplicates": len(frame) - no_target - len(rows)}
    return rows, facts | {"distinct_rows": int(feature_hash(case, rows).nunique())}


def _check_target(case: UseCase, target: pd.Series[Any], name: str) -> None:
    if case.task == "regression":
        if not pd.api.types.is_numeric_dtype(target) or not np.isfinite(target.to_numpy("float64")).all():
            raise BadData(f"{case.name}: {case.target} of {name} is {target.dtype}, expected finite numbers")
        if _constant(target):
            told = f"{case.name}: {name} has {len(target)} rows, all with {case.target} = {target.iloc[0]:g}"
            raise BadData(f"{told}; a regression needs a target that varies")
        return
    found = set(target.unique().tolist())
    expected = {label.value for label in case.labels}
    if unknown := found - expected:
        raise BadData(f"{case.name}: {case.target} has values that no label names: {', '.join(map(repr, unknown))}")
    if missing := expected - found:
        raise BadData(
            f"{case.name}: {name} has {len(target)} rows and none with {case.target} = "
            f"{', '.join(map(repr, missing))}; more rows are needed, or another split"
        )


def _constant(values: pd.Series[Any]) -> bool:
    """Tell whether a column has one value only, or none."""
    first = values.iloc[0]
    return bool(values.isna().all() if pd.isna(first) else (values == first).all())


def _counts(case: UseCase, side: pd.DataFrame) -> dict[str, Any]:
    target = side[case.target]
    facts: dict[str, Any] = {"rows": len(side)}
    if isinstance(case.split, TimeSplit):
        facts |= {"from": str(side[case.split.column].min()), "to": str(side[case.split.column].max())}
    if case.task == "regression":
        return facts | {"mean": float(target.mean()), "least": float(target.min()), "most": float(target.max())}
    if case.task == "multiclass":
        return facts | {"labels": {str(label.value): int((target == label.value).sum()) for label in case.labels}}
    positive = target == case.positive
    return facts | {"positive": int(positive.sum()), "positive_share": round(float(positive.mean()), 4)}
