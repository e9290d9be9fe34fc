"""Chunks of a source's rows, as its driver gives them, → batches of the suite's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa

from updraft.model.columns import Column
from updraft.sources.by_column import Values, as_column, read_by_column
from updraft.sources.first_row import hint_of_no_header
from updraft.sources.format import Chunk
from updraft.sources.rows import RowConverter
from updraft.sources.source import BadSource, Batch
from updraft.usecase.blocks import Reading

MOST_LISTED = 10


class Schema(Protocol):
    """What rows are read by: a use case, or what a model's signature says of it."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns to read."""
        ...

    @property
    def read(self) -> Reading:
        """The reading rules."""
        ...


class BatchReader:
    """Reads chunks of rows into batches, under the suite's names and in its types.

    `source` stands in messages; `there` are the columns' names in the source. `textual` says that all values are text,
    so that text may be a number. `names` are the source's names of `columns`; `absent` are columns that it lacks;
    `others` are its own that no suite names. Raises BadSource when it has no column of the suite, or one twice.
    """

    def __init__(self, source: object, there: Sequence[str], schema: Schema, *, textual: bool) -> None:
        matches = RowConverter(schema.columns, schema.read, textual).match_columns(there)
        if not matches:
            found = ", ".join(map(repr, there[:MOST_LISTED])) or "none"
            expected = ", ".join(column.name for column in schema.columns)
            hint = hint_of_no_header(there, schema.columns, schema.read, textual=textual)
            raise BadSource(f"{source}: no column of the suite in it; found {found}, expected {expected}{hint}")
        times = Counter(there)
        if twice := sorted({name for name in matches.values() if times[name] > 1}):
            raise BadSource(f"{source}: header names {', '.join(map(repr, twice))} more than once")
        self.columns = [column for column in schema.columns if column.name in matches]
        self.absent = [column.name for column in schema.columns if column.name not in matches]
        self.others = sorted({name for name in there if name.strip()} - set(matches.values()))
        self.names = [matches[column.name] for column in self.columns]
        self._converter = RowConverter(self.columns, schema.read, textual)

    def read(self, chunk: Chunk, most: int | None = None, place: Callable[[int], str] = "row {}".format) -> Batch:
        """Read a chunk, or its first `most` rows; `place` says where a row lies, by its number."""
        rows = chunk.rows[:most] if isinstance(chunk.rows, list) else chunk.rows.slice(0, most)
        if isinstance(rows, list):
            named = zip(self.columns, self.names, strict=True)
            optional: dict[str, Any] = {name: None for column, name in named if column.nullable}
            rows = [optional | row for row in rows]
            odd = {index for index, row in enumerate(rows) if not row.keys() >= set(self.names)}
            columns: list[Values] = [as_column([row.get(name) for row in rows]) for name in self.names]
        else:
            odd, columns = set(), [rows[name] for name in self.names]

        def placed(indices: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
            places = [place(chunk.numbers[index]) for index in indices]
            return list(zip(places, self._some(rows, indices), strict=True))

        batch = read_by_column(self._converter, columns, placed, odd, chunk.torn)
        return replace(batch, rows=[chunk.numbers[index] for index in batch.rows])

    def _some(self, rows: pa.Table | list[dict[str, Any]], indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return some rows; those of a table have columns by the suite's names."""
        if isinstance(rows, list):
            return [rows[index] for index in indices]
        ours = {name: column.name for column, name in zip(self.columns, self.names, strict=True)}
        some: list[dict[str, Any]] = rows.take(pa.array(indices, pa.int64())).rename_columns(ours).to_pylist()
        return some
