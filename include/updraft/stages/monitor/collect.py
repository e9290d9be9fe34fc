"""`collect`: predictions and what became of them → one file of rows, with the version that is measured beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from updraft.model.columns import Type
from updraft.stages.monitor.last_rows import LastRows
from updraft.stages.monitor.subject import COLLECTED, Subject
from updraft.stages.stage_folder import recreate_folder, write_json

log = logging.getLogger(__name__)

ROWS = "rows.parquet"
MAX_ROWS = 4_000_000  # are measured, the last ones
SCORE = "(score)"  # a number, or the probability of each label in the order of the signature; no column is called so
ARROW: dict[Type, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "str": pa.string(),
    "datetime64[us]": pa.timestamp("us"),
}


@dataclass(frozen=True)
class Observed:
    """Some rows: features by name, SCORE, and the target where the rows have it, null while it is not known.

    `refused` is the number of rows beside them that did not fit.
    """

    table: pa.Table
    refused: int = 0


@dataclass(frozen=True)
class Extent:
    """Which rows were asked for, and where they come from: a file, or predictions `since` and `until` a time."""

    source: str
    since: str | None = None
    until: str | None = None


def collect(
    subject: Subject, observed: Iterable[Observed], extent: Extent, out: Path, *, at_most: int = MAX_ROWS
) -> Path:
    """Write the rows, the last `at_most` of them, to `out/rows.parquet`, in the types of the version's signature.

    Returns `out`. Columns that no batch has are left out. Memory does not grow with the rows. `out/collected.json`
    counts them, and those that were `left_out`.
    """
    recreate_folder(out)
    subject.write(out)
    known, target = schema(subject), subject.reference.target
    refused = 0
    columns: set[str] = set()
    with LastRows(out / ROWS, known, at_most) as last:
        for batch in observed:
            last.write(_fit(batch.table, known))
            refused += batch.refused
            columns |= set(batch.table.column_names)
    rows = min(last.rows, at_most)
    labels = sum(table.num_rows - table[target].null_count for table in read_rows(out, [target]))
    facts = {
        "use_case": subject.name,
        "version": subject.version,
        "sequence": subject.sequence,
        "source": extent.source,
        "since": extent.since,
        "until": extent.until,
        "rows": rows,
        "labels": labels,
        "refused": refused,
        "left_out": last.rows - rows,
        "columns": [name for name in known.names if name in columns],
    }
    write_json(out / COLLECTED, facts)
    if last.rows > rows:
        log.warning("%s: only the last %s of %s rows are measured", subject, f"{rows:,}", f"{last.rows:,}")
    log.info("%s: %s rows, %s of them with a label, %s refused", subject, f"{rows:,}", f"{labels:,}", f"{refused:,}")
    return out


def schema(subject: Subject) -> pa.Schema:
    """Return the columns of `rows.parquet`: the features, the target, the score."""
    signature, known = subject.signature, subject.reference
    score = pa.list_(pa.float64()) if signature.task == "multiclass" else pa.float64()
    features = [(column.name, ARROW[column.type]) for column in signature.columns]
    target: Any = ARROW[known.columns[known.target].type]  # type: ignore[index]  # a profile's type is a column's
    return pa.schema([*features, (known.target, target), (SCORE, score)])


def read_rows(collected: Path, columns: list[str]) -> Iterator[pa.Table]:
    """Yield the rows batch by batch."""
    with pq.ParquetFile(collected / ROWS) as file:
        for batch in file.iter_batches(batch_size=50_000, columns=columns):
            yield pa.Table.from_batches([batch])


def _fit(table: pa.Table, known: pa.Schema) -> pa.Table:
    """Return the table in the known columns and types; a column that it does not have is null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in known
    ]
    return pa.table(columns, schema=known)
