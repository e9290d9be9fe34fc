"""Rows out of files: delimited text, JSON lines and Parquet, chosen by the extension of their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from updraft.addresses import Connections
from updraft.model.columns import Column
from updraft.sources.by_column import Values, as_column, read_by_column
from updraft.sources.decoded import Decoded, read_head
from updraft.sources.delimited import Delimited
from updraft.sources.format import Chunk, Enough, Format
from updraft.sources.rows import RowConverter
from updraft.sources.source import BadSource, Batch, Reject
from updraft.usecase import UseCase
from updraft.usecase.blocks import Reading
from updraft.usecase.source_blocks import FileSource

ROWS = 25_000


@contextmanager
def open_file(settings: FileSource, case: UseCase, connections: Connections, limit: int | None) -> Iterator[File]:
    """Open a file as a source of rows; it needs no connection."""
    yield File(Path(settings.path), case, limit)


class Schema(Protocol):
    """What a file is read by: a use case, or what a model's signature says of it."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns to read."""
        ...

    @property
    def read(self) -> Reading:
        """The reading rules."""
        ...


class File:
    """A file of rows: .csv, .tsv or .txt with a header, .jsonl or .ndjson (all of them also .gz), or .parquet.

    In delimited text an empty field is null. Raises BadSource when it cannot be read.
    """

    def __init__(self, path: Path, case: Schema, limit: int | None = None) -> None:
        self._path, self._limit = path, limit
        if not path.is_file():
            raise BadSource(f"{self}: no such file")
        ending = next((each for each in FORMATS if path.name.lower().endswith(each)), None)
        if ending is None:
            raise BadSource(f"{self}: expected a name that ends in {', '.join(FORMATS)}")
        with self._translated():
            self._format = FORMATS[ending](path, case.read)
            converter = RowConverter(case.columns, case.read, self._format.textual)
            there = self._format.names(lambda names: len(converter.match_columns(names)) == len(case.columns))
        self._names = converter.match_columns(there)
        if not self._names:
            found = ", ".join(map(repr, there[:10])) or "none"
            raise BadSource(f"{self}: no column of the suite in it; found {found}, expected {_listed(case.columns)}")
        if twice := sorted({name for name in self._names.values() if there.count(name) > 1}):
            raise BadSource(f"{self}: header names {', '.join(map(repr, twice))} more than once")
        self.columns = [column for column in case.columns if column.name in self._names]
        self.absent = [column.name for column in case.columns if column.name not in self._names]
        self.others = sorted({name for name in there if name.strip()} - set(self._names.values()))
        self.total = min((n for n in (limit, self._format.total) if n is not None), default=None)
        self._converter = RowConverter(self.columns, case.read, self._format.textual)

    def __str__(self) -> str:
        return f"file {str(self._path)!r}"

    def batches(self) -> Iterator[Batch]:
        """Yield batches in the file's order; a row's place counts from the first line, a header being row 1."""
        left = self._limit
        pa.enable_signal_handlers(False)  # Ctrl-C is the caller's
        with self._translated():
            for part in self._format.chunks(list(self._names.values())):
                batch = self._decode(part, left)
                yield replace(batch, rejects=batch.rejects + part.broken)
                left = None if left is None else left - batch.table.num_rows - len(batch.rejects)
                if left == 0:
                    return

    def _decode(self, part: Chunk, most: int | None) -> Batch:
        names = [self._names[column.name] for column in self.columns]
        rows = part.rows[:most] if isinstance(part.rows, list) else part.rows.slice(0, most)
        if isinstance(rows, list):
            optional: dict[str, Any] = {self._names[column.name]: None for column in self.columns if column.nullable}
            rows = [optional | row for row in rows]
            odd = {index for index, row in enumerate(rows) if not row.keys() >= set(names)}
            columns: list[Values] = [as_column([row.get(name) for row in rows]) for name in names]
        else:
            odd, columns = set(), [rows[name] for name in names]
        batch = read_by_column(self._converter, columns, partial(self._placed, part.numbers, rows), odd, part.torn)
        return replace(batch, rows=[part.numbers[index] for index in batch.rows])

    def _placed(
        self, numbers: Sequence[int], rows: pa.Table | list[dict[str, Any]], indices: Sequence[int]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return some rows with their places, columns by the suite's names."""
        if isinstance(rows, list):
            chosen = [rows[index] for index in indices]
        else:
            ours = {theirs: ours for ours, theirs in self._names.items()}
            chosen = rows.take(pa.array(indices, pa.int64())).rename_columns(ours).to_pylist()
        return [(f"row {numbers[index]}", row) for index, row in zip(indices, chosen, strict=True)]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, UnicodeError, OSError, EOFError) as error:
            raise BadSource(f"{self}: {' '.join(str(error).split())}") from None


class JsonLines:
    """A JSON object on each line. A field that is left out is null where the suite lets it be, else missing."""

    textual = False
    total: int | None = None

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path, self._encoding = path, reading.encoding
        read_head(path, reading.encoding)

    def names(self, enough: Enough) -> list[str]:
        """List the names in the lines up to where they are enough."""
        seen: dict[str, None] = {}
        for _, row in self._lines():
            if isinstance(row, dict):
                known = len(seen)
                seen |= dict.fromkeys(row)
                if len(seen) > known and enough(list(seen)):
                    break
        return list(seen)

    def chunks(self, names: list[str]) -> Iterator[Chunk]:
        lines = self._lines()
        while some := list(islice(lines, ROWS)):
            rows = [(number, row) for number, row in some if isinstance(row, dict)]
            broken = [row for _, row in some if isinstance(row, Reject)]
            yield Chunk([row for _, row in rows], [number for number, _ in rows], broken)

    def _lines(self) -> Iterator[tuple[int, dict[str, Any] | Reject]]:
        with Decoded(self._path, self._encoding) as text:
            for number, line in enumerate(text.buffered(), start=1):
                if line.strip():
                    yield number, _object(f"row {number}", line.decode().removeprefix("\ufeff"))


class Parquet:
    """A Parquet file; its own types are held against the suite's, and nothing is read out of text."""

    textual = False

    def __init__(self, path: Path, reading: Reading) -> None:
        self._file = pq.ParquetFile(path)
        self.total: int | None = self._file.metadata.num_rows

    def names(self, enough: Enough) -> list[str]:
        return list(self._file.schema_arrow.names)

    def chunks(self, names: list[str]) -> Iterator[Chunk]:
        start = 1
        for record in self._file.iter_batches(ROWS, columns=names):
            table = pa.table([_plain(column) for column in record.columns], names=record.schema.names)
            yield Chunk(table, range(start, start + len(record)))
            start += len(record)


FORMATS: dict[str, Callable[[Path, Reading], Format]] = {
    ".csv": Delimited,
    ".tsv": partial(Delimited, tab=True),
    ".txt": Delimited,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
}
FORMATS |= {f"{ending}.gz": format_ for ending, format_ in FORMATS.items()} | {".parquet": Parquet}


def _object(place: str, line: str) -> dict[str, Any] | Reject:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Reject(place, {"text": line.rstrip("\n")}, f"not JSON: {error}")
    return row if isinstance(row, dict) else Reject(place, {"text": line.rstrip("\n")}, "not a JSON object")


def _plain(values: pa.Array) -> pa.Array:
    """Unpack values that Parquet holds by number, as pandas writes categories."""
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _listed(columns: Sequence[Column]) -> str:
    return ", ".join(column.name for column in columns)
