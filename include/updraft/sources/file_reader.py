"""Rows out of one file on this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from updraft.sources.batch_reader import BatchReader, Schema
from updraft.sources.file_formats import open_format
from updraft.sources.format import ANY, LocalFile
from updraft.sources.rows import RowConverter
from updraft.sources.source import BadSource, Batch


@dataclass(frozen=True)
class FileColumns:
    """The columns of a file: the types by name, where its format states them, and which of the suite's it has."""

    types: Mapping[str, str] | None
    ours: frozenset[str]

    def difference(self, other: FileColumns) -> str | None:
        """Say how the columns of another file differ; their order does not matter."""
        old, new = (self.types, other.types) if self.types and other.types else (_untyped(self), _untyped(other))
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                return f"no column {name!r}"
            if name not in old:
                return f"a column {name!r}"
            if old[name] != new[name] and ANY not in (old[name], new[name]):
                return f"column {name!r} holds {new[name]}, not {old[name]}"
        return None


class FileReader:
    """One file of rows: .csv, .tsv or .txt with a header, .jsonl or .ndjson (each also .gz), or .parquet.

    In delimited text an empty field is null. Raises BadSource when it cannot be read.
    """

    def __init__(self, file: LocalFile, case: Schema, limit: int | None, expected: Collection[str] = ()) -> None:
        """Read the names of the columns; in JSON lines one of the `expected` may be left out where it may be null."""
        self._file, self._limit = file, limit
        with self._translated():
            self._format = open_format(self._file, case.read)
            converter = RowConverter(case.columns, case.read, self._format.textual)
            names = self._format.names(lambda names: len(converter.match_columns(names)) == len(case.columns))
        if self._format.types is None:
            there = converter.match_columns(names)
            optional = [c.name for c in case.columns if c.nullable and c.name in expected and c.name not in there]
            names = [*names, *optional]
        self._reader = BatchReader(self, names, case, textual=self._format.textual)
        self.columns, self.absent, self.others = self._reader.columns, self._reader.absent, self._reader.others
        self.file_columns = FileColumns(self._format.types, frozenset(column.name for column in self.columns))
        self.total = min((n for n in (limit, self._format.total) if n is not None), default=None)

    def __str__(self) -> str:
        return str(self._file)

    def batches(self) -> Iterator[Batch]:
        """Yield batches in the file's order; a row's place counts from the first line, a header being row 1."""
        left = self._limit
        pa.enable_signal_handlers(False)  # Ctrl-C is the caller's
        with self._translated():
            for part in self._format.chunks(self._reader.names):
                batch = self._reader.read(part, left)
                yield replace(batch, rejects=batch.rejects + part.broken)
                left = None if left is None else left - batch.table.num_rows - len(batch.rejects)
                if left == 0:
                    return

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, UnicodeError, OSError, EOFError) as error:
            raise BadSource(f"{self}: {' '.join(str(error).split())}") from None


def _untyped(columns: FileColumns) -> Mapping[str, str]:
    return dict.fromkeys(columns.ours, ANY)
