"""Rows in buckets on disk: what has to be sorted as a whole is sorted bucket by bucket, with one of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

CELLS = 2_000_000  # values of a bucket, if rows fall evenly
MOST = 256  # buckets: each is an open file


def buckets_for(rows: int, columns: int) -> int:
    """Return how many buckets so many rows take."""
    return max(1, min(MOST, -(-rows * columns // CELLS)))


class Buckets:
    """Buckets of rows; each gives its rows in the order in which they were added. A single one stays in memory."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._writers: dict[int, Any] = {}
        self._only: list[pa.Table] = []

    def add(self, table: pa.Table, bucket: npt.NDArray[Any]) -> None:
        """Add rows; `bucket` has the number of each row's bucket."""
        if self._count == 1:
            self._only.append(table)
            return
        order = np.argsort(bucket, kind="stable")
        table = table.take(pa.array(order))
        ends = np.searchsorted(bucket[order], np.arange(self._count + 1))
        for number in np.flatnonzero(np.diff(ends)).tolist():
            if number not in self._writers:
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._writers[number] = pa.ipc.new_file(self._path(number), table.schema, options=options)
            self._writers[number].write_table(table.slice(ends[number], ends[number + 1] - ends[number]))

    def tables(self) -> Iterator[pa.Table]:
        """Yield each bucket that has rows, by number; its file is removed."""
        if self._only:
            yield pa.concat_tables(self._only)
        self._only = []
        for number in sorted(self._writers):
            self._writers[number].close()
            with pa.OSFile(str(self._path(number))) as file:
                yield pa.ipc.open_file(file).read_all()
            self._path(number).unlink()
            pa.default_memory_pool().release_unused()  # else it keeps what several buckets took

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.arrow"
