"""The files of the cleaned rows: Parquet, and the same rows as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from updraft.datasets.manifest import DATASET

JSON_LINES = "dataset.jsonl"
ROWS = 2_000  # that are Python's objects at a time
_encode = json.JSONEncoder(default=lambda date: date.isoformat(), ensure_ascii=False).encode


class CleanedFiles:
    """Both files, open to be written."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._parquet = pq.ParquetWriter(folder / DATASET, schema, compression="zstd")
        self._lines = (folder / JSON_LINES).open("wb")

    def write(self, table: pa.Table) -> list[bytes]:
        """Write rows to both files; return them as JSON lines: those of equal rows are equal."""
        self._parquet.write_table(table)
        lines = [
            _encode(row).encode() + b"\n" for batch in table.to_batches(max_chunksize=ROWS) for row in batch.to_pylist()
        ]
        self._lines.writelines(lines)
        return lines

    def close(self) -> None:
        """Close both files."""
        self._parquet.close()
        self._lines.close()


@contextmanager
def cleaned_files(folder: Path, schema: pa.Schema) -> Iterator[CleanedFiles]:
    """Open both files in `folder`."""
    files = CleanedFiles(folder, schema)
    try:
        yield files
    finally:
        files.close()


def keep_rows(folder: Path, kept: npt.NDArray[np.bool_]) -> None:
    """Leave out of both files the rows that are not `kept`."""
    parquet, lines = folder / DATASET, folder / JSON_LINES
    rest = [file.with_name(f".{file.name}") for file in (parquet, lines)]
    start = 0
    with pq.ParquetFile(parquet) as rows, pq.ParquetWriter(rest[0], rows.schema_arrow, compression="zstd") as writer:
        for group in range(rows.num_row_groups):
            table = rows.read_row_group(group)
            writer.write_table(table.filter(pa.array(kept[start : start + table.num_rows])))
            start += table.num_rows
    with lines.open("rb") as all_lines, rest[1].open("wb") as some:
        some.writelines(line for line, keep in zip(all_lines, kept, strict=True) if keep)
    for file, new in zip((parquet, lines), rest, strict=True):
        new.replace(file)
