"""Rows that lie inside another row's value, because a quote before them was not meant as one."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

FEW = 0.01  # of a column's values: where more of them span lines, texts of several lines are what it holds
CERTAIN = 10  # lines in a row with as many fields as the header has: no text does that by chance
LABELS, SAMPLE = 50, 1000  # a column of so few different values is recognised by them


@dataclass
class OpenQuotes:
    """Find rows of which a value has swallowed other rows, in one part of a file after the other.

    Such a value spans lines, and its lines split into fields as rows do. That alone would also be true of some texts of
    several lines (an address with its commas); so it must be rare in its column, long, or begin its lines as rows do.
    """

    delimiter: str
    quote: str
    width: int  # fields in a row
    _seen: int = 0
    _spanning: Counter[int] = field(default_factory=Counter)

    def find(self, part: pa.RecordBatch) -> set[int]:
        """Return the indices of the rows that have swallowed others."""
        self._seen += len(part)
        found: set[int] = set()
        if self.width < 2:
            return found
        profiles = _Profiles(part)
        for column, values in enumerate(part.columns):
            if not (line_end := _line_end(values)):
                continue
            counts = (
                pc.count_substring(values, "\n") if line_end == "\n" else pc.count_substring_regex(values, line_end)
            )
            ends = pc.fill_null(counts, 0)
            self._spanning[column] += pc.sum(pc.greater(ends, 0)).as_py() or 0
            rare = self._spanning[column] <= max(1, FEW * self._seen)
            # Rows that were swallowed bring their delimiters: few texts have just as many, and these are looked at.
            delimiters = pc.fill_null(pc.count_substring(values, self.delimiter), -1)
            as_rows = pc.and_(pc.greater(ends, 0), pc.equal(delimiters, pc.multiply(ends, self.width - 1)))
            for row in pc.indices_nonzero(as_rows).to_pylist():
                lines = lines_of(values[row].as_py())
                if self._splits_as_rows(lines, column) and self._is_certain(lines, column, profiles, rare):
                    found.add(row)
        return found

    def are_rows(self, text: str) -> bool:
        """Tell whether the lines of a row with too many or too few fields are rows themselves."""
        first, *others = lines_of(text)
        width = self.width - 1
        if others and all(line.count(self.delimiter) == width for line in (first, *others)):
            return True
        return bool(others) and first.count(self.delimiter) >= width and all(map(self._is_row, others))

    def _is_row(self, line: str) -> bool:
        """Tell whether a line is a row of which each field that has a quote stands in a pair of them."""
        fields = next(csv.reader([line], delimiter=self.delimiter, quotechar=self.quote), [])
        # Each field's own pair is left when the doubled ones are taken away.
        pairs = line.count(self.quote) - 2 * sum(field.count(self.quote) for field in fields)
        return len(fields) == self.width and pairs >= 0 and pairs % 2 == 0

    def _splits_as_rows(self, lines: list[str], column: int) -> bool:
        """Tell whether lines have as many delimiters as they had if each were a row: the first begins in the column."""
        counts = [line.count(self.delimiter) for line in lines]
        within = all(count == self.width - 1 for count in counts[1:-1])
        return within and counts[0] == self.width - 1 - column and counts[-1] == column

    def _is_certain(self, lines: list[str], column: int, profiles: _Profiles, rare: bool) -> bool:
        if len(lines) - 2 >= CERTAIN:
            return True
        likenesses = Counter(profiles.likeness(*piece) for piece in self._pieces(lines, column))
        if likenesses[False] > likenesses[True]:
            return False
        return rare or likenesses[True] > likenesses[False]

    def _pieces(self, lines: list[str], column: int) -> Iterator[tuple[int, str]]:
        """Yield the whole fields in the lines with their columns: the first and the last line have a part of one."""
        yield from enumerate(lines[0].split(self.delimiter)[1:], start=column + 1)
        for line in lines[1:-1]:
            yield from enumerate(line.split(self.delimiter))
        yield from enumerate(lines[-1].split(self.delimiter)[:-1])


def lines_of(text: str) -> list[str]:
    """Split a text at every kind of line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


class _Profiles:
    """What tells a column's values: a few labels, or numbers."""

    def __init__(self, part: pa.RecordBatch) -> None:
        self._part = part
        self._labels: dict[int, set[str]] = {}

    def likeness(self, column: int, text: str) -> bool | None:
        """Tell whether a text is like the column's values; None where that says nothing."""
        if not text:
            return None
        if column not in self._labels:
            counts = Counter(value for value in self._part.columns[column][:SAMPLE].to_pylist() if value)
            # A label occurs again: with a value on each row, to be among them means nothing.
            self._labels[column] = set(counts) if len(counts) <= min(LABELS, sum(counts.values()) / 3) else set()
        if labels := self._labels[column]:
            return text in labels
        # That a line begins with a number is no sign of a row (a postcode may stand there); that it does not, is.
        return False if column in self._numeric and not _is_number(text) else None

    @cached_property
    def _numeric(self) -> set[int]:
        heads = enumerate(values[:50].drop_null().to_pylist() for values in self._part.columns)
        return {column for column, head in heads if sum(map(_is_number, head)) > 0.9 * len(head) > 0}


def _line_end(values: pa.Array) -> str:
    """Return a pattern of the line ends in a column, or nothing; much faster than by looking at each value."""
    data = values.buffers()[2]
    raw = data.to_pybytes() if data is not None else b""
    return "\r\n?|\n" if b"\r" in raw else "\n" if b"\n" in raw else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
