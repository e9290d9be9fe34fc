"""The rules of an ETL's `clean` block, batch by batch: memory does not grow with the rows.

What needs a whole column, the bounds of its outliers, is found first, one column at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from updraft.etl.batch_rules import BatchRules
from updraft.etl.outliers import Bounds, find_bounds
from updraft.etl.schema import Etl
from updraft.etl.tally import Tally
from updraft.sources.source import Reject

BATCH, CELLS = 25_000, 2_000_000  # the most rows of a batch, and the most values


@dataclass(frozen=True)
class CleanedBatch:
    """Rows that fit, in the suite's types, and those that are left out; `read` is how many were read so far."""

    table: pa.Table
    rejects: list[Reject]
    read: int


class Cleaning:
    """The rules of one ETL, applied to the rows of a dataset. `tally` is complete after the last batch."""

    def __init__(self, etl: Etl, dataset: Path) -> None:
        self._etl, self._dataset = etl, dataset
        metadata = pq.read_metadata(dataset)
        self.rows = metadata.num_rows
        self._size = max(1, min(BATCH, CELLS // max(1, metadata.num_columns)))
        self.tally = Tally(etl)
        self.bounds: dict[str, Bounds] = {}
        for name in (*pq.read_schema(dataset).names, *etl.clean.derive):
            if rule := etl.clean.outliers.get(name):
                self.bounds[name] = find_bounds(name, self._column(name), rule)

    def batches(self) -> Iterator[CleanedBatch]:
        """Apply all rules."""
        for start, table in self._tables():
            rules = BatchRules(self._etl, self.bounds, self.tally, table)
            rules.apply()
            typed = rules.typed()
            rejects = [
                Reject(f"extracted row {start + index + 1}", row, reason) for index, row, reason in rules.rejected()
            ]
            self.tally.read += table.num_rows
            yield CleanedBatch(typed, rejects, self.tally.read)

    def _column(self, name: str) -> pa.ChunkedArray:
        """Return a whole column as it is when its own rules begin."""
        if name not in self._etl.clean.derive:
            return pq.read_table(self._dataset, columns=[name])[name]
        chunks: list[pa.Array] = []
        for _, table in self._tables():
            rules = BatchRules(self._etl, self.bounds, Tally(self._etl), table)
            rules.apply(until=name)
            chunks += rules.table[name].chunks
        return pa.chunked_array(chunks)

    def _tables(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield the dataset's rows in batches, with the index of the first of each."""
        start = 0
        with pq.ParquetFile(self._dataset) as parquet:
            for batch in parquet.iter_batches(self._size):
                yield start, pa.Table.from_batches([batch])
                start += batch.num_rows
