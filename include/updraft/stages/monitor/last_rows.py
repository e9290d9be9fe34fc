"""The last rows of a stream, as one Parquet file: how many there are to come is not known before they have come."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class LastRows:
    """Writes the last `at_most` rows that it is given to `path`; on disk there are never more than three times as many.

    `rows` is how many there were in all. The file is complete when the block ends.
    """

    def __init__(self, path: Path, schema: pa.Schema, at_most: int) -> None:
        self._path, self._schema, self._at_most = path, schema, at_most
        self._earlier = path.with_name(f"{path.name}.earlier")  # as many as `at_most`, if any
        self._written = self.rows = 0
        self._writer = pq.ParquetWriter(path, schema)

    def __enter__(self) -> LastRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        if kind is None and self._earlier.exists():
            self._join()
        self._earlier.unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self.rows += table.num_rows
        while table.num_rows:
            if self._written == self._at_most:
                self._begin_anew()
            part = table.slice(0, self._at_most - self._written)
            self._writer.write_table(part)
            self._written += part.num_rows
            table = table.slice(part.num_rows)

    def _begin_anew(self) -> None:
        self._writer.close()
        self._path.replace(self._earlier)
        self._writer, self._written = pq.ParquetWriter(self._path, self._schema), 0

    def _join(self) -> None:
        """Put the end of the earlier file before the last one."""
        joined = self._path.with_name(f"{self._path.name}.joined")
        with pq.ParquetWriter(joined, self._schema) as writer:
            for table in chain(_after(self._earlier, self._written), _after(self._path, 0)):
                writer.write_table(table)
        joined.replace(self._path)


def _after(path: Path, skipped: int) -> Iterator[pa.Table]:
    """Yield a file's rows but for the first."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            if skipped < batch.num_rows:
                yield pa.Table.from_batches([batch.slice(skipped)])
            skipped = max(skipped - batch.num_rows, 0)
