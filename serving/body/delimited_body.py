"""Delimited text in a request, read as the training data's files were: encoding, delimiter, quotes, header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from serving.body import json_body
from serving.body.value_count import count_csv_separators
from updraft.model.reading import NONE
from updraft.model.signature import Signature

DELIMITERS = ",\t;|"
SEPARATOR = re.compile(r'\ufeff?"?sep=([^\r\n])"?(\r\n|\r|\n)', re.I)  # the line by which Excel names the delimiter
HEAD = 1 << 16  # characters in which the header is looked for
csv.field_size_limit(2**31 - 1)  # the size of the body is limited already


@dataclass(frozen=True)
class Delimited:
    """The text of a body, and how it is written."""

    text: str
    delimiter: str
    quote: str | None
    escape: str | None
    has_header: bool

    def rows(self) -> Iterator[list[str]]:
        """Yield the header and the non-empty lines; in a table of one column an empty line is an empty cell, except at
        the end. Raises BadRequest where a quote is open at the end, or more than a delimiter follows a closed one.
        """
        lines = csv.reader(
            io.StringIO(self.text, newline=""),
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape,
            strict=True,
        )
        try:
            yield from self._numbered(_without_blank_lines(lines))
        except csv.Error as error:
            raise BadRequest(f"The body is not CSV: {error} at line {lines.line_num}.") from None

    def _numbered(self, lines: Iterator[list[str]]) -> Iterator[list[str]]:
        first = next(lines, None)
        if first is None:
            return
        yield [name.strip() for name in first] if self.has_header else _numbers(first)
        if not self.has_header:
            yield first
        yield from lines


def open_body(raw: bytes, signature: Signature) -> Delimited:
    """Decode a body and tell how it is written: as the training data's files, or with another usual delimiter where the
    header then names the columns. Raises BadRequest for text in another encoding.
    """
    reading = signature.reading
    text = _decode(raw, reading.encoding)
    named = SEPARATOR.match(text)
    text = text[named.end() if named else 0 :].removeprefix("\ufeff")
    quote = None if reading.quote == NONE else reading.quote
    header = next(iter(text[:HEAD].lstrip("\r\n").splitlines()), "")
    candidates = [named[1]] if named else list(dict.fromkeys((reading.delimiter, *DELIMITERS)))
    usable = [delimiter for delimiter in candidates if delimiter not in (quote, reading.escape)] or candidates

    def matched(delimiter: str) -> int:
        names = next(csv.reader([header], delimiter=delimiter, quotechar=quote or '"'), [])
        return len(signature.names) - len(list(signature.missing([name.strip() for name in names])))

    delimiter = max(usable, key=matched)  # the first of equally good ones
    has_header = reading.header != NONE or matched(delimiter) == len(signature.names)
    return Delimited(text, delimiter if has_header else usable[0], quote, reading.escape, has_header)


def check_value_count(body: Delimited, raw: bytes, values: int) -> None:
    """Raise RequestEntityTooLarge when a body has more than `values` values, before parsing spends memory on them."""
    delimiter, quote, escape = (ord(char) if char else None for char in (body.delimiter, body.quote, body.escape))
    if delimiter and raw.count(delimiter) > values:
        count = count_csv_separators(raw, values, delimiter, quote, escape)
        if count > values:
            raise RequestEntityTooLarge(f"The body contains more than {values} values.")


def _decode(raw: bytes, encoding: str) -> str:
    """Decode UTF-8, else the training data's encoding; UTF-16 of plain letters would be UTF-8 with NUL bytes."""
    other = codecs.lookup(encoding).name != "utf-8"
    if other and b"\0" in raw:
        return _decode_as(raw, encoding)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _decode_as(raw, encoding) if other else json_body.decode_text(raw)


def _decode_as(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is neither UTF-8 nor {encoding} text: at byte {error.start}.") from None


def _numbers(cells: list[str]) -> list[str]:
    return [f"column_{number}" for number in range(1, len(cells) + 1)]


def _without_blank_lines(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    width, empty = 0, 0
    for cells in lines:
        if not cells:
            empty += 1
            continue
        if width == 1:
            yield from ([""] for _ in range(empty))
        width, empty = width or len(cells), 0
        yield cells
