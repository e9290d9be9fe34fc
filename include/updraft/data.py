"""`ingest`: source → dataset, one Parquet file. `transform`: dataset → split, train and test rows, raw.

And `load`, which fills a MongoDB collection.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from updraft.errors import UserError
from updraft.sources import ARROW, Source, translated
from updraft.usecase import UseCase

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymongo.collection import Collection

log = logging.getLogger(__name__)

DATASET, QUARANTINE, TRAIN, TEST = "dataset.parquet", "quarantine.jsonl", "train.parquet", "test.parquet"
HASH, FOLD = "__hash", "__fold"

Progress = Callable[[int, int | None], None]


class BadData(UserError):
    """The rows cannot be used; the message says which, where the rest is kept, and what was expected."""


def ingest(case: UseCase, source: Source, out: Path, progress: Progress | None = None) -> Path:
    """Stream rows that fit the suite's types into `out/dataset.parquet` (zstd), others into `out/quarantine.jsonl`.

    `progress` is called with the rows read so far and their total, where it is known. Returns the dataset's path.
    Raises BadData when no row is left or more than `case.quarantine_budget` of them do not fit.
    """
    fresh(out)
    started = time.monotonic()
    read = kept = nans = 0
    reasons: Counter[str] = Counter()
    schema = pa.schema([(column.name, ARROW[column.type]) for column in source.columns])
    with (
        pq.ParquetWriter(out / DATASET, schema, compression="zstd") as parquet,
        (out / QUARANTINE).open("w") as rejected,
    ):
        for batch in source.batches():
            parquet.write_table(batch.table)
            for reject in batch.rejects:
                line = {"place": reject.place, "reason": reject.reason, "row": reject.row}
                rejected.write(json.dumps(line, default=str, ensure_ascii=False) + "\n")
                reasons[reject.reason.partition(":")[0]] += 1
            kept += batch.table.num_rows
            read += batch.table.num_rows + len(batch.rejects)
            nans += batch.nans
            log.info("%s rows read, %.1f s%s", f"{read:,}", time.monotonic() - started, _share(read, source.total))
            if progress:
                progress(read, source.total)
    facts = {"source": str(source), "rows_read": read, "rows": kept, "quarantined": read - kept, "nan_as_null": nans}
    facts |= {"reasons": dict(reasons.most_common()), "absent_columns": source.absent}
    write_json(out / "ingest.json", facts | {"seconds": round(time.monotonic() - started, 2)})
    _report(facts, out)
    _within_budget(case, read, kept, out, reasons)
    return out / DATASET


def transform(case: UseCase, dataset: Path, out: Path) -> Path:
    """Split the dataset into `out/train.parquet` and `out/test.parquet`; nothing is fitted here.

    The side is drawn from a seeded hash of the features alone: rows of identical features never straddle the split, nor
    two folds, and rows that are appended later leave the others where they were. Rows come sorted by that hash, so that
    the source's order is of no account. Raises BadData when a side has no row of a label. Returns `out`.
    """
    fresh(out)
    frame = read_frame(case, dataset)
    frame[HASH] = row_hash(frame[[column.name for column in case.features]], case.seed)
    frame[FOLD] = frame[HASH].mod(case.folds).astype("int8")
    order = [HASH, case.target] + ([case.id] if case.id else [])
    frame = frame.sort_values(order, kind="stable", ignore_index=True)
    in_test = (frame[HASH] // 2**11).astype("float64") / 2**53 < case.test_share
    sides = {TRAIN: frame[~in_test], TEST: frame[in_test]}
    for name, side in sides.items():
        _has_every_label(case, side, name)
        side.drop(columns=HASH).to_parquet(out / name, compression="zstd", index=False)
    facts: dict[str, Any] = {"seed": case.seed, "test_share": case.test_share, "folds": case.folds}
    facts |= {"distinct_rows": int(frame[HASH].nunique()), "rows": len(frame)}
    facts |= {Path(name).stem: _counts(case, side) for name, side in sides.items()}
    write_json(out / "split.json", facts)
    log.info("%s rows, %s of them distinct in their features", f"{len(frame):,}", f"{facts['distinct_rows']:,}")
    log.info("train %s · test %s", facts["train"], facts["test"])
    return out


def load(case: UseCase, source: Source, collection: Collection[Any], progress: Progress | None = None) -> int:
    """Replace the collection's content by the source's rows at one stroke: a temporary collection, then a rename.

    Rows that do not fit go in as they were found, for `ingest` to set aside. Returns the number of documents.
    """
    fresh_one = collection.database[f"{collection.name}.loading"]
    with translated(collection):
        fresh_one.drop()
        count = 0
        for batch in source.batches():
            documents = batch.table.to_pylist() + [reject.row for reject in batch.rejects]
            if documents:
                fresh_one.insert_many(documents, ordered=False)
            count += len(documents)
            if progress:
                progress(count, source.total)
        if not count:
            raise BadData(f"{source}: no rows; {collection.full_name} is left as it was")
        fresh_one.rename(collection.name, dropTarget=True)
    return count


def read_frame(case: UseCase, path: Path) -> pd.DataFrame:
    """Read a dataset or a side of a split, validated rows, in the suite's dtypes."""
    return pd.read_parquet(path).astype({column.name: column.type for column in case.columns})


def row_hash(features: pd.DataFrame, seed: int) -> pd.Series[Any]:
    """Hash each row, uint64: pandas' own row hash, the same on every machine, mixed with the seed by splitmix64."""
    mixed: NDArray[Any] = pd.util.hash_pandas_object(features, index=False).to_numpy().copy()
    mixed += _splitmix64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> shift)) * mixed.dtype.type(factor)
    return pd.Series(mixed ^ (mixed >> 31), index=features.index)


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


def _splitmix64(seed: int) -> int:
    return (seed + 1) * 0x9E3779B97F4A7C15 % 2**64


def _share(read: int, total: int | None) -> str:
    return f", {min(read / total, 1):.0%}" if total else ""


def _report(facts: dict[str, Any], out: Path) -> None:
    log.info("%s: %s rows read, %s fit", facts["source"], f"{facts['rows_read']:,}", f"{facts['rows']:,}")
    if facts["absent_columns"]:
        log.warning("columns of the suite that no row has: %s", ", ".join(facts["absent_columns"]))
    if facts["nan_as_null"]:
        log.warning("%s NaN read as null", f"{facts['nan_as_null']:,}")
    if facts["quarantined"]:
        worst = ", ".join(f"{column} ({count:,})" for column, count in list(facts["reasons"].items())[:5])
        log.warning("%s rows set aside in %s: %s", f"{facts['quarantined']:,}", out / QUARANTINE, worst)


def _within_budget(case: UseCase, read: int, kept: int, out: Path, reasons: Counter[str]) -> None:
    if not read:
        raise BadData(f"{case.name}: the source gave no rows")
    share = 1 - kept / read
    if not kept or share > case.quarantine_budget:
        column, count = reasons.most_common(1)[0]
        raise BadData(
            f"{case.name}: {share:.2%} of {read:,} rows do not fit, more than quarantine_budget "
            f"{case.quarantine_budget:.2%}; worst is {column!r} ({count:,}); see {out / QUARANTINE}"
        )


def _has_every_label(case: UseCase, side: pd.DataFrame, name: str) -> None:
    found = set(side[case.target].unique().tolist())
    expected = {label.value for label in case.labels}
    if missing := expected - found:
        raise BadData(
            f"{case.name}: {name} has {len(side)} rows and none with {case.target} = {', '.join(map(repr, missing))}; "
            "more rows are needed, or another test_share"
        )
    if unknown := found - expected:
        raise BadData(f"{case.name}: {case.target} has values that no label names: {', '.join(map(repr, unknown))}")


def _counts(case: UseCase, side: pd.DataFrame) -> dict[str, Any]:
    positive = side[case.target] == case.positive
    return {"rows": len(side), "positive": int(positive.sum()), "positive_share": round(float(positive.mean()), 4)}
