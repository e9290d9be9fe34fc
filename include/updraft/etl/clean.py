"""`clean`: extracted rows → cleaned rows, as Parquet and as JSON lines, held against the ETL's suite.

Rows pass through in batches; of all of them there is one column at a time in memory, and 16 bytes for each row. Only
the suite takes them as a whole.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from updraft.datasets.manifest import DATASET
from updraft.errors import BadData
from updraft.etl.cleaned_files import cleaned_files, keep_rows
from updraft.etl.cleaning import BATCH, Cleaning
from updraft.etl.duplicates import RowHashes, describe_duplicates
from updraft.etl.schema import Etl
from updraft.etl.tally import Tally
from updraft.model.columns import quoted
from updraft.sources.rows import ARROW
from updraft.sources.source import Progress
from updraft.stages.ingest import quarantined_line
from updraft.stages.stage_folder import OTHER_COLUMNS, QUARANTINE, other_columns, recreate_folder, write_json
from updraft.stages.validate import validate

FACTS, GATE = "clean.json", "validate"
log = logging.getLogger(__name__)


def clean(etl: Etl, dataset: Path, out: Path, progress: Progress | None = None) -> Path:
    """Clean the rows by the YAML's rules and validate them; return the path of `out/dataset.parquet`.

    Writes the same rows as JSON lines, the rows that were left out with their reasons, and the counts of every rule to
    `clean.json`. Raises BadData when no row is left or too many do not fit, ValidationFailed when the suite says no.
    """
    recreate_folder(out)
    started = time.monotonic()
    cleaning = Cleaning(etl, dataset)
    duplicates, first = _write(cleaning, _schema(etl, dataset), out, progress).count_duplicates()
    drops = etl.clean.duplicates == "drop" or etl.id is not None  # rows with an id are one row in a store anyway
    if drops and duplicates["duplicates"]:
        keep_rows(out, first)
    facts: dict[str, Any] = {"configuration_sha256": etl.configuration_sha256, "rows_read": cleaning.rows}
    facts |= {"rows": duplicates["distinct"] if drops else len(first), **cleaning.tally.facts(cleaning.bounds)}
    write_json(out / FACTS, facts | duplicates | {"seconds": round(time.monotonic() - started, 2)})
    cleaning.tally.report(facts)
    if sentence := describe_duplicates(len(first), duplicates, drops):
        log.warning("%s", sentence)
    _within_budget(etl, cleaning.tally, facts["rows"], out)
    _check_id(etl, out / DATASET)
    validate(etl.renamed(), out / DATASET, out / GATE)
    return out / DATASET


def _schema(etl: Etl, dataset: Path) -> pa.Schema:
    metadata = {OTHER_COLUMNS: json.dumps(other_columns(dataset))}
    return pa.schema([(column.name, ARROW[column.type]) for column in etl.columns], metadata)


def _write(cleaning: Cleaning, schema: pa.Schema, out: Path, progress: Progress | None) -> RowHashes:
    """Write the rows that fit, with their equals, and those that are left out; return the hashes of the former."""
    hashes = RowHashes(cleaning.rows)
    with (
        cleaned_files(out, schema) as files,
        (out / QUARANTINE).open("w", encoding="utf-8", errors="backslashreplace") as rejected,
    ):
        for batch in cleaning.batches():
            hashes.add(files.write(batch.table))
            rejected.writelines(quarantined_line(reject) + "\n" for reject in batch.rejects)
            if progress:
                progress(batch.read, cleaning.rows)
    return hashes


def _within_budget(etl: Etl, tally: Tally, rows: int, out: Path) -> None:
    """Raise BadData when no row is left, or too many do not fit; rows that a rule quarantines are no misfits."""
    share = tally.misfits / max(1, tally.read)
    if rows and share <= etl.quarantine_budget:
        return
    problem = (
        f"{share:.2%} of {tally.read:,} rows do not fit, more than quarantine_budget {etl.quarantine_budget:.2%}"
        if rows
        else f"none of {tally.read:,} rows is left"
    )
    raise BadData(f"{etl.dag_id}: {problem}; worst is {tally.worst()}; see {out / QUARANTINE}")


def _check_id(etl: Etl, dataset: Path) -> None:
    """Raise BadData when different rows have the same id: a store would keep either of them."""
    if etl.id is None:
        return
    hashes = RowHashes(pq.read_metadata(dataset).num_rows)
    for ids in _ids(dataset, etl.id):
        hashes.add(str(value).encode() for value in ids.to_pylist())
    counts, first = hashes.count_duplicates()
    if counts["duplicates"]:
        twice = pc.unique(pa.chunked_array(_ids(dataset, etl.id)).filter(pa.array(~first)))
        some = ", ".join(map(quoted, twice[:3].to_pylist()))
        raise BadData(f"{etl.dag_id}: id {etl.id!r}: {len(twice):,} values stand in several different rows: {some}")


def _ids(dataset: Path, name: str) -> Iterator[pa.Array]:
    with pq.ParquetFile(dataset) as parquet:
        for batch in parquet.iter_batches(BATCH, columns=[name]):
            yield batch[name]
