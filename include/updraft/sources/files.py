"""Rows out of files: delimited text, JSON lines and Parquet, chosen by the extension of their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from updraft.addresses import Connections
from updraft.registry.folder_hashes import describe_file
from updraft.sources.batch_reader import BatchReader, Schema
from updraft.sources.decoded import Decoded, read_head
from updraft.sources.delimited import Delimited
from updraft.sources.format import Chunk, Enough, Format
from updraft.sources.rows import RowConverter
from updraft.sources.source import BadSource, Batch, Extent, Reject
from updraft.usecase.blocks import Reading
from updraft.usecase.rows_definition import RowsDefinition
from updraft.usecase.source_blocks import FileSource

ROWS = 25_000


@contextmanager
def open_file(settings: FileSource, case: RowsDefinition, connections: Connections, extent: Extent) -> Iterator[File]:
    """Open a file as a source of rows; it needs no connection."""
    yield File(Path(settings.path), case, extent.limit)


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
        self._reader = BatchReader(self, there, case, textual=self._format.textual)
        self.columns, self.absent, self.others = self._reader.columns, self._reader.absent, self._reader.others
        self.total = min((n for n in (limit, self._format.total) if n is not None), default=None)

    def __str__(self) -> str:
        return f"file {str(self._path)!r}"

    def provenance(self) -> dict[str, Any]:
        described = describe_file(self._path)
        return {"kind": "file", "files": [{"path": str(self._path), **described}]}

    def position(self) -> None:
        return None

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
