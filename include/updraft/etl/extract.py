"""`extract`: source → dataset, as `ingest` does it, with the columns that `clean` derives from."""

from __future__ import annotations

from pathlib import Path

from updraft.errors import BadData
from updraft.etl.schema import Etl
from updraft.sources.source import Progress, Source
from updraft.stages.ingest import ingest
from updraft.stages.missing_columns import describe_missing


def extract(etl: Etl, source: Source, out: Path, progress: Progress | None = None) -> Path:
    """Stream rows that fit into `out/dataset.parquet`, others into `out/quarantine.jsonl`; return the dataset's path.

    Raises BadData when the source lacks a column, or when too many rows do not fit, as `ingest` does.
    """
    if source.absent:
        raise BadData(f"{etl.dag_id}: {source}: {describe_missing(source.absent, source.others)}")
    return ingest(etl.extracted, source, out, progress)
