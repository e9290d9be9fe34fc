"""How many shipped predictions are new, without reading them: by the names of objects, and what is at their ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq

from updraft.predictions.layout import Stored, stored
from updraft.registry.s3 import Bucket

TAIL = 1 << 16  # bytes: the footer of a file of ours, with the number of its rows, takes a few thousand


@dataclass
class Counter:
    """Counts what is new of a use case. How many rows an object has is asked for once."""

    bucket: Bucket
    use_case: str
    _rows: dict[str, int] = field(default_factory=dict)

    def objects(self, since: date) -> list[Stored]:
        """List what was shipped of the predictions since a day."""
        return stored(self.bucket, self.use_case, "predictions", since)

    def rows_after(self, seen: Mapping[str, int], objects: Iterable[Stored]) -> int:
        """Count the rows of the objects that are later than `seen`, as `positions` returned it."""
        new = [each.key for each in objects if each.first > seen.get(each.instance, 0)]
        self._rows = {key: self._rows[key] if key in self._rows else _rows(self.bucket, key) for key in new}
        return sum(self._rows.values())


def positions(objects: Iterable[Stored]) -> dict[str, int]:
    """Return up to which number each instance has shipped: its later objects have higher ones, whatever their day."""
    found: dict[str, int] = {}
    for each in objects:
        found[each.instance] = max(each.last, found.get(each.instance, 0))
    return found


def _rows(bucket: Bucket, key: str) -> int:
    return int(pq.read_metadata(pa.BufferReader(bucket.tail(key, TAIL))).num_rows)
