"""A stream of JSON records → batches: what a topic and pages have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from updraft.sources.batch_reader import MOST_LISTED, BatchReader, Schema
from updraft.sources.documents import ABSENT, follow
from updraft.sources.format import Chunk
from updraft.sources.json_records import check_record, parse_record
from updraft.sources.rows import RowConverter
from updraft.sources.source import BadSource, Batch, Reject

Record = tuple[str, Any]  # its place, and its text or its value


class JsonRows:
    """Records that come in parts, of which the first shows what columns there are.

    A column that is in no record of the first part may still come later; only where the first part is all there is (and
    no part of more, as after a position), is such a column absent. One that never comes is an error at the end. Names
    with a dot in `rename` reach into objects.
    """

    def __init__(self, source: object, case: Schema, parts: Iterable[Sequence[Record]], *, is_part: bool) -> None:
        self._paths = [name for name in case.read.rename if "." in name]
        stream = iter(parts)
        first, second = next(stream, None), next(stream, None)
        self._parts = chain([part for part in (first, second) if part], stream)
        names: dict[str, None] = {}
        for place, record in first or ():
            row = self._row(place, record)
            names |= dict.fromkeys(row) if isinstance(row, dict) else {}
        matched = RowConverter(case.columns, case.read).match_columns(names)
        is_all = second is None and not is_part and first is not None
        expected = [] if is_all else [column.name for column in case.columns if column.name not in matched]
        self._reader = BatchReader(source, [*names, *expected], case, textual=False)
        self.columns, self.absent = self._reader.columns, self._reader.absent
        self.others = [
            name for name in self._reader.others if not any(path.startswith(f"{name}.") for path in self._paths)
        ]
        self._source = source
        self._unseen = set() if is_part else {name for name in self._reader.names if name not in names}

    def batches(self) -> Iterator[Batch]:
        """Yield a batch for each part."""
        done = 0
        for part in self._parts:
            batch = self._batch(part, done)
            done += batch.table.num_rows + len(batch.rejects)
            yield batch
        self._require_seen()

    def _require_seen(self) -> None:
        """Raise BadSource for a column that was to come later and never came."""
        if unseen := sorted(self._unseen):
            there = f"; its other fields: {', '.join(map(repr, self.others[:MOST_LISTED]))}" if self.others else ""
            raise BadSource(f"{self._source}: no record has {', '.join(map(repr, unseen))}{there}")

    def _batch(self, part: Sequence[Record], before: int) -> Batch:
        rows = [self._row(place, record) for place, record in part]
        places = [place for (place, _), row in zip(part, rows, strict=True) if isinstance(row, dict)]
        fitting = [row for row in rows if isinstance(row, dict)]
        self._unseen = {name for name in self._unseen if not any(name in row for row in fitting)}
        chunk = Chunk(fitting, range(before, before + len(fitting)))
        batch = self._reader.read(chunk, place=lambda number: places[number - before])
        return replace(batch, rejects=batch.rejects + [row for row in rows if isinstance(row, Reject)])

    def _row(self, place: str, record: Any) -> dict[str, Any] | Reject:
        row = parse_record(place, record) if isinstance(record, bytes | str) else check_record(place, record)
        if isinstance(row, dict):
            found = {path: follow(row, path) for path in self._paths if path not in row}
            return row | {path: value for path, value in found.items() if value is not ABSENT}
        return row
