"""Delimited text: .csv, .tsv and .txt files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, count, islice
from typing import Any

import pyarrow as pa
import pyarrow.csv

from updraft.model.reading import NONE, Reading
from updraft.sources.decoded import BLOCK, Decoded, read_head
from updraft.sources.escaped_nulls import EscapedNulls
from updraft.sources.format import ANY, Chunk, Enough, LocalFile
from updraft.sources.open_quotes import OpenQuotes, lines_of
from updraft.sources.source import BadSource, Reject

SEPARATOR = re.compile(r'"?sep=([^\r\n])"?(\r\n|\r|\n)', re.I)  # the line by which Excel names the delimiter
QUOTE_NONE = "`read: {quote: none}` reads quotes as they are"
ESCAPE = 'its text holds \\", which `read: {escape: "\\\\"}` reads as a quote inside a value'
END = "\x04\x05\x06\x07\x0e\x0f"  # a last line that is added: where it ends up tells whether a quote is still open


class Delimited:
    """Text with a delimiter and a header; fields with delimiters or line ends in them stand in quotes.

    Raises BadSource when the file is no text of rows. Rows that an open quote has swallowed are broken, each by itself.
    """

    textual = True
    total: int | None = None

    def __init__(self, file: LocalFile, reading: Reading, tab: bool = False) -> None:
        self._file, self._reading = file, reading
        self.delimiter = "\t" if tab and "delimiter" not in reading.model_fields_set else reading.delimiter
        separator = SEPARATOR.match(read_head(file, reading.encoding))
        if separator:
            self.delimiter = separator[1]
        self._skip = separator.end() if separator else 0
        self._has_header = reading.header != NONE
        self._end = "".join(char for char in END if char not in (self.delimiter, reading.quote, reading.escape))
        self._header: list[str] | None = None

    def names(self, enough: Enough) -> list[str]:
        if self._header is None:
            with self._text() as text:
                options = pyarrow.csv.ReadOptions(autogenerate_column_names=not self._has_header, block_size=BLOCK)
                header = list(self._open(text, options, lambda row: "skip").schema.names)
            numbered = [f"column_{number}" for number in range(1, len(header) + 1)]
            self._header = header if self._has_header else numbered
        return self._header

    @property
    def types(self) -> dict[str, str]:
        """All columns of text hold text, whatever it means."""
        return {name.strip(): ANY for name in self.names(lambda _: True)}

    def chunks(self, names: list[str]) -> Iterator[Chunk]:
        """Read every column as text: what a text means is the suite's matter, not the reader's guess."""
        header = self.names(lambda _: True)
        indices = {name: number for number, name in reversed(list(enumerate(header)))}  # the first of a name
        quotes = OpenQuotes(self.delimiter, self._reading.quote, len(header))
        broken: list[Reject] = []
        missing: set[int] = set()
        first = 1 + bool(self._skip)  # the number of the first line that is read

        def set_aside(row: Any) -> str:
            number = row.number + first - 1
            missing.add(number)
            broken.extend(self._rejected(number, row, quotes))
            return "skip"

        numbers = (number for number in count(first + self._has_header) if number not in missing)
        options = pyarrow.csv.ReadOptions(
            use_threads=False,  # threads: no row numbers
            block_size=BLOCK,
            column_names=None if self._has_header else header,
        )
        last = first
        with self._text(self._end) as text:
            reader = self._open(text, options, set_aside, header)
            while (record := self._next(reader, last)) is not None:
                places = list(islice(numbers, len(record)))
                last = places[-1] if places else last
                if text.quoted or text.ended:
                    record, places, swallowed = self._without_swallowed(record, places, quotes)
                    broken += swallowed
                yield Chunk(
                    pa.table([record[indices[name]] for name in names], names), places, broken.copy(), text.torn
                )
                broken.clear()
        if broken:
            yield Chunk([], [], broken)

    def _text(self, tail: str = "") -> Decoded:
        quote = "" if self._reading.quote == NONE else self._reading.quote
        escape = self._reading.escape
        markers = [text for text in self._reading.nulls if escape and text.startswith(escape)]
        edit = EscapedNulls(self.delimiter, escape, markers) if escape and markers else None
        return Decoded(self._file, self._reading.encoding, quote=quote, tail=tail, skip=self._skip, edit=edit)

    def _open(
        self, text: Decoded, options: pyarrow.csv.ReadOptions, handler: Callable[[Any], str], header: Sequence[str] = ()
    ) -> pyarrow.csv.CSVStreamingReader:
        read = self._reading
        parse = pyarrow.csv.ParseOptions(
            delimiter=self.delimiter,
            quote_char=False if read.quote == NONE else read.quote,
            escape_char=read.escape or False,
            newlines_in_values=True,
            invalid_row_handler=handler,
        )
        convert = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            strings_can_be_null=True,
            null_values=["", *read.nulls],
        )
        with self._spanned(1):
            return pyarrow.csv.open_csv(text.buffered(), options, parse, convert)

    def _next(self, reader: pyarrow.csv.CSVStreamingReader, last: int) -> pa.RecordBatch | None:
        with self._spanned(last):
            return next(reader, None)

    @contextmanager
    def _spanned(self, last: int) -> Iterator[None]:
        """Say what is wrong where a row is longer than two blocks, which no row is."""
        try:
            yield
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
            raise BadSource(
                f"{self._file}: a value after row {last} goes on for more than {BLOCK >> 20} MB: "
                f"a quote that is never closed? {QUOTE_NONE}"
            ) from None

    def _rejected(self, number: int, row: Any, quotes: OpenQuotes) -> Iterator[Reject]:
        """Give the rejects of a row with too many or too few fields: one, or one for each row that it has swallowed."""
        text = row.text.removesuffix(self._end)
        if row.text == self._end:
            return
        if text != row.text:
            yield from _lost(number, text, f"open quote: it is never closed; {QUOTE_NONE}")
        elif self._reading.quote != NONE and quotes.are_rows(text):
            yield from _lost(number, text, f"open quote: the lines up to the next one are rows; {QUOTE_NONE}")
        else:
            hint = f": {ESCAPE}" if '\\"' in text and not self._reading.escape else ""
            yield Reject(
                f"row {number}",
                {"text": text},
                f"{row.actual_columns} fields where the header has {row.expected_columns}{hint}",
            )

    def _without_swallowed(
        self, record: pa.RecordBatch, places: list[int], quotes: OpenQuotes
    ) -> tuple[pa.RecordBatch, list[int], list[Reject]]:
        """Take out the rows that have swallowed others, and the last one if it ends in a quote that is still open."""
        swallowing = dict.fromkeys(quotes.find(record), "goes on over lines that are rows")
        final = [values[-1].as_py() or "" for values in record.columns] if len(record) else []
        if any(value.endswith(self._end) for value in final):
            swallowing[len(record) - 1] = "is never closed"
        if not swallowing:
            return record, places, []
        rejects: list[Reject] = []
        for index, fault in sorted(swallowing.items()):
            text = self.delimiter.join(values[index].as_py() or "" for values in record.columns)
            if text != self._end:  # the last line of a file with one column is a row of it
                rejects += _lost(places[index], text.removesuffix(self._end), f"open quote: it {fault}; {QUOTE_NONE}")
        keep = [index not in swallowing for index in range(len(record))]
        return record.filter(pa.array(keep)), list(compress(places, keep)), rejects


def _lost(number: int, text: str, reason: str) -> Iterator[Reject]:
    """Give a reject for each row that was swallowed, so that all of them count."""
    lines = [line for line in lines_of(text) if line.strip()]
    yield Reject(f"row {number}", {"text": lines[0] if lines else text}, reason)
    for index, line in enumerate(lines[1:], start=2):
        yield Reject(f"row {number}, line {index} of {len(lines)}", {"text": line}, reason)
