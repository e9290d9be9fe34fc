"""`clean`: extracted rows → cleaned rows, as Parquet and as JSON lines, held against the ETL's suite.

All rows are in memory at once, as they are for the suite.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from updraft.datasets.manifest import DATASET
from updraft.errors import BadData
from updraft.etl.cleaning import Cleaning
from updraft.etl.schema import Etl
from updraft.model.columns import quoted
from updraft.sources.source import Progress, Reject
from updraft.stages.ingest import quarantined_line
from updraft.stages.stage_folder import OTHER_COLUMNS, QUARANTINE, other_columns, recreate_folder, write_json
from updraft.stages.validate import validate

JSON_LINES, FACTS, GATE = "dataset.jsonl", "clean.json", "validate"
BATCH = 25_000


def clean(etl: Etl, dataset: Path, out: Path, progress: Progress | None = None) -> Path:
    """Clean the rows by the YAML's rules and validate them; return the path of `out/dataset.parquet`.

    Writes the same rows as JSON lines, the rows that were left out with their reasons, and the counts of every rule to
    `clean.json`. Raises BadData when no row is left or too many do not fit, ValidationFailed when the suite says no.
    """
    recreate_folder(out)
    started = time.monotonic()
    cleaning = Cleaning(etl, pq.read_table(dataset))
    cleaning.apply()
    table = cleaning.cleaned()
    facts = {"configuration_sha256": etl.configuration_sha256, "rows_read": cleaning.table.num_rows}
    facts |= {"rows": table.num_rows, **cleaning.facts, "seconds": round(time.monotonic() - started, 2)}
    metadata = {OTHER_COLUMNS: json.dumps(other_columns(dataset))}
    pq.write_table(table.replace_schema_metadata(metadata), out / DATASET, compression="zstd")
    _write_lines(table, out / JSON_LINES, progress)
    _write_rejects(cleaning, out / QUARANTINE)
    write_json(out / FACTS, facts)
    cleaning.report(table.num_rows)
    _within_budget(etl, cleaning, table.num_rows, out)
    _check_id(etl, table)
    validate(etl.renamed(), out / DATASET, out / GATE)
    return out / DATASET


def _write_lines(table: pa.Table, path: Path, progress: Progress | None) -> None:
    written = 0
    with path.open("w", encoding="utf-8") as lines:
        for batch in table.to_batches(BATCH):
            for row in batch.to_pylist():
                lines.write(json.dumps(row, default=lambda date: date.isoformat(), ensure_ascii=False) + "\n")
            written += batch.num_rows
            if progress:
                progress(written, table.num_rows)


def _write_rejects(cleaning: Cleaning, path: Path) -> None:
    indices = sorted(cleaning.rejects)
    rows = cleaning.table.take(pa.array(indices, pa.int64())).to_pylist()
    with path.open("w", encoding="utf-8", errors="backslashreplace") as rejected:
        for index, row in zip(indices, rows, strict=True):
            reject = Reject(f"extracted row {index + 1}", row, cleaning.rejects[index])
            rejected.write(quarantined_line(reject) + "\n")


def _within_budget(etl: Etl, cleaning: Cleaning, rows: int, out: Path) -> None:
    """Raise BadData when no row is left, or too many do not fit; rows that a rule quarantines are no misfits."""
    misfits, read = cleaning.misfits, cleaning.table.num_rows
    if rows and len(misfits) / read <= etl.quarantine_budget:
        return
    reasons = Counter(cleaning.rejects[index].partition(":")[0] for index in misfits or cleaning.rejects)
    worst, count = reasons.most_common(1)[0]
    example = next(reason for reason in cleaning.rejects.values() if reason.startswith(worst))
    problem = (
        f"{len(misfits) / read:.2%} of {read:,} rows do not fit, more than quarantine_budget "
        f"{etl.quarantine_budget:.2%}"
        if rows
        else f"none of {read:,} rows is left"
    )
    raise BadData(f"{etl.dag_id}: {problem}; worst is {worst} ({count:,}), such as {example}; see {out / QUARANTINE}")


def _check_id(etl: Etl, table: pa.Table) -> None:
    """Raise BadData when different rows have the same id: a store would keep either of them."""
    if etl.id is None:
        return
    counts = pc.value_counts(table[etl.id].combine_chunks()).to_pylist()
    if twice := [each["values"] for each in counts if each["counts"] > 1]:
        some = ", ".join(map(quoted, twice[:3]))
        raise BadData(f"{etl.dag_id}: id {etl.id!r}: {len(twice):,} values stand in several different rows: {some}")
