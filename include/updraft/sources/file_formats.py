"""The formats of files, chosen by the ending of their names: delimited text, JSON lines and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from updraft.sources.decoded import Decoded, read_head
from updraft.sources.delimited import Delimited
from updraft.sources.format import ANY, Chunk, Enough, Format, LocalFile
from updraft.sources.json_records import parse_record
from updraft.sources.source import BadSource, Reject
from updraft.usecase.blocks import Reading

ROWS = 25_000


class JsonLines:
    """A JSON object on each line. A field that is left out is null where the suite lets it be, else missing."""

    textual = False
    total: int | None = None
    types = None

    def __init__(self, file: LocalFile, reading: Reading) -> None:
        self._file, self._encoding = file, reading.encoding
        read_head(file, reading.encoding)

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
        with Decoded(self._file, self._encoding) as text:
            for number, line in enumerate(text.buffered(), start=1):
                if line.strip():
                    yield number, parse_record(f"row {number}", line.decode())


class Parquet:
    """A Parquet file; its own types are held against the suite's, and nothing is read out of text."""

    textual = False

    def __init__(self, file: LocalFile, reading: Reading) -> None:
        self._file = pq.ParquetFile(file.path)
        self.total: int | None = self._file.metadata.num_rows
        self.types = {field.name: _kind(field.type) for field in self._file.schema_arrow}

    def names(self, enough: Enough) -> list[str]:
        return list(self._file.schema_arrow.names)

    def chunks(self, names: list[str]) -> Iterator[Chunk]:
        start = 1
        for record in self._file.iter_batches(ROWS, columns=names):
            table = pa.table([_plain(column) for column in record.columns], names=record.schema.names)
            yield Chunk(table, range(start, start + len(record)))
            start += len(record)


FORMATS: dict[str, Callable[[LocalFile, Reading], Format]] = {
    ".csv": Delimited,
    ".tsv": partial(Delimited, tab=True),
    ".txt": Delimited,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
}
FORMATS |= {f"{ending}.gz": format_ for ending, format_ in FORMATS.items()} | {".parquet": Parquet}


def ending_of(name: str) -> str | None:
    """Return the ending by which a file's name tells its format; None for any other name."""
    return next((ending for ending in FORMATS if name.lower().endswith(ending)), None)


def open_format(file: LocalFile, reading: Reading) -> Format:
    """Open a file in the format that its name tells; raise BadSource for any other name."""
    ending = ending_of(file.ending)
    if ending is None:
        raise BadSource(f"{file}: expected a name that ends in {', '.join(FORMATS)}")
    return FORMATS[ending](file, reading)


def _plain(values: pa.Array) -> pa.Array:
    """Unpack values that Parquet holds by number, as pandas writes categories."""
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _kind(type_: pa.DataType) -> str:
    """Name what a column holds; a whole number may become a fraction when a null comes along, as in pandas."""
    kinds = {
        "numbers": (types.is_integer, types.is_floating, types.is_decimal),
        "texts": (types.is_string, types.is_large_string, types.is_string_view),
        "dates": (types.is_timestamp, types.is_date),
        ANY: (types.is_null,),
    }
    plain = type_.value_type if types.is_dictionary(type_) else type_
    return next((kind for kind, tests in kinds.items() if any(test(plain) for test in tests)), str(plain))
