"""The rows of a dataset that a model may learn from: those with a target, each once where the YAML says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from updraft.learning.splits import feature_hash
from updraft.stages.row_buckets import Buckets, buckets_for
from updraft.stages.stage_folder import in_suite_types
from updraft.usecase import UseCase

ROWS, CELLS = 100_000, 2_000_000  # the most rows, and values, of a batch


class UsableRows:
    """A dataset's usable rows, streamed in its order.

    `total` counts all rows, `null_targets` those without a target, `duplicates` those that equal an earlier one in all
    columns but the id, `distinct` what is left as a model sees it: equal features count once. All but the first are
    known after `examine`, or when whoever sees rows with equal features together has called `without_duplicates`.
    """

    def __init__(self, case: UseCase, dataset: Path) -> None:
        self.case, self._dataset = case, dataset
        known = {column.name for column in case.columns}
        self.names = [name for name in pq.read_schema(dataset).names if name in known]
        self.total = int(pq.read_metadata(dataset).num_rows)
        self.null_targets = self.duplicates = self.distinct = 0
        self._kept: npt.NDArray[np.bool_] | None = None  # of the rows with a target

    def __len__(self) -> int:
        """Count the usable rows."""
        return self.total - self.null_targets - self.duplicates

    def frames(self, names: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield usable rows in batches: these columns, in the suite's types; the index counts rows with a target."""
        wanted = [name for name in self.names if names is None or name in names]
        read = wanted if self.case.target in wanted else [*wanted, self.case.target]
        start = missing = 0
        with pq.ParquetFile(self._dataset) as parquet:
            for batch in parquet.iter_batches(max(1, min(ROWS, CELLS // len(read))), columns=read):
                frame = pa.Table.from_batches([batch]).to_pandas()
                with_target = frame[self.case.target].notna()
                missing += int((~with_target).sum())
                frame = frame[with_target][wanted]
                frame.index = pd.RangeIndex(start, start + len(frame))
                start += len(frame)
                if self._kept is not None:
                    frame = frame[self._kept[frame.index]]
                yield in_suite_types(self.case, frame)
        self.null_targets = missing

    def examine(self, scratch: Path) -> None:
        """Count the rows, and leave duplicates out of later `frames`."""
        case = self.case
        columns = [name for name in self.names if name != case.id] if case.deduplicate else case.feature_names
        count = buckets_for(self.total, len(columns) if case.deduplicate else 2)
        buckets = Buckets(scratch, count)
        for frame in self.frames(columns):
            hashes = feature_hash(case, frame).to_numpy()
            table = pa.table({"__row": hashes, "__place": frame.index.to_numpy()})
            if case.deduplicate:
                keys = pa.Table.from_pandas(frame, preserve_index=False)
                table = pa.table([*table.columns, *keys.columns], names=[*table.column_names, *keys.column_names])
            buckets.add(table, bucket_of(hashes, count))
        kept = np.ones(self.total - self.null_targets, np.bool_)
        for table in buckets.tables():
            frame = self.without_duplicates(table.to_pandas())
            if case.deduplicate:
                kept[table["__place"].to_numpy()] = False
                kept[frame["__place"]] = True
        self._kept = kept if self.duplicates else None

    def without_duplicates(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Drop duplicates if configured, and count; `frame` has all rows with its features' hashes, `__row`."""
        rows = frame
        if self.case.deduplicate:
            rows = frame.drop_duplicates([name for name in self.names if name != self.case.id])
        self.duplicates += len(frame) - len(rows)
        self.distinct += rows["__row"].nunique()
        return rows


def bucket_of(hashes: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.uint64]:
    """Return each hash's bucket; those of a lower bucket are lower."""
    return (hashes >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
