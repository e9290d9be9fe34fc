"""A request as a stream of Arrow's IPC format: its columns as Python values, by pyarrow, within the limits of a body.

What a stream claims is checked before pyarrow reads it: a few bytes may claim a billion rows of nulls, and compressed
buffers any size.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import types
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from updraft.model.columns import quoted

IS_SCALAR = (
    *(types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_date, types.is_timestamp),
    *(types.is_string, types.is_large_string, types.is_string_view),
)
CONTINUATION = 0xFFFFFFFF
DICTIONARY_BATCH, RECORD_BATCH = 2, 3  # of Arrow's format, Message.fbs; below, the places of fields in their tables
HEADER_TYPE, HEADER, BODY_LENGTH = 1, 2, 3
LENGTH, COMPRESSION = 0, 3
DATA = 1

Columns = list[tuple[str, list[Any]]]  # in the order of the stream, whose names may repeat


def read(raw: bytes, max_rows: int, max_values: int) -> Columns:
    """Return the columns of a stream; dates with an offset are in UTC, and none has nanoseconds.

    Raises RequestEntityTooLarge beyond `max_rows` or `max_values`, and BadRequest for what is not such a stream, is
    compressed, or has columns of other types than numbers, texts, booleans and dates.
    """
    claims = _claims(raw)
    if claims.rows > max_rows:
        raise RequestEntityTooLarge(f"More than {max_rows:,} rows in one request.")
    try:
        reader = pa.ipc.open_stream(pa.py_buffer(raw[: claims.end]))
        if max(claims.rows * len(reader.schema), len(reader.schema), claims.entries) > max_values:
            raise RequestEntityTooLarge(f"The body contains more than {max_values} values.")
        for field in reader.schema:
            _require_scalar(field)
        columns: Columns = [(field.name, []) for field in reader.schema]
        for batch in reader:
            batch.validate(full=True)
            if batch.nbytes > len(raw):  # columns that share their bytes may be far larger than the body
                raise BadRequest("The body is not an Arrow stream that can be read: columns overlap.")
            for (_, values), column in zip(columns, batch.columns, strict=True):
                values += _values(column)
    except (pa.ArrowException, ValueError, OSError) as error:  # ArrowInvalid is a ValueError
        raise BadRequest(f"The body is not an Arrow stream that can be read: {_first_line(error)}") from None
    return columns


def _require_scalar(field: pa.Field) -> None:
    type_ = field.type.value_type if types.is_dictionary(field.type) else field.type
    if not any(is_it(type_) for is_it in IS_SCALAR):
        expected = "numbers, texts, booleans or dates"
        raise BadRequest(f"The column {quoted(field.name)} is of Arrow's type {type_}, expected {expected}.")


def _values(column: pa.Array) -> list[Any]:
    if types.is_dictionary(column.type):  # its values once: a long one may stand in each row
        values = _values(column.dictionary)
        return [None if place is None else values[place] for place in column.indices.to_pylist()]
    if types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"), safe=False)
    elif types.is_float16(column.type):
        column = column.cast(pa.float32())
    found: list[Any] = column.to_pylist()
    return found


class Claims(NamedTuple):
    """What a stream says of itself: how many rows, entries of dictionaries, and bytes up to its end."""

    rows: int
    entries: int
    end: int


def _claims(raw: bytes) -> Claims:
    """Read what a stream's messages claim. Raises BadRequest where it is cut off, compressed, or of an older format."""
    rows, entries, at = 0, 0, 0
    try:
        while at < len(raw):
            [mark, size] = struct.unpack_from("<Ii", raw, at)
            if mark != CONTINUATION or size < 0:
                raise struct.error
            at += 8
            if size == 0:  # the end, as far as it is marked
                break
            message = Table.root(raw, at)
            kind, body = message.uint8(HEADER_TYPE), message.int64(BODY_LENGTH)
            if kind in (DICTIONARY_BATCH, RECORD_BATCH):
                length = _length(message.table(HEADER), kind)
                rows, entries = (rows + length, entries) if kind == RECORD_BATCH else (rows, entries + length)
            at += size + body
            if body < 0 or at > len(raw):
                raise struct.error
    except (struct.error, OverflowError):
        raise BadRequest("The body is not an Arrow stream, or not all of it.") from None
    return Claims(rows, entries, at)


def _length(header: Table, kind: int) -> int:
    batch = header.table(DATA) if kind == DICTIONARY_BATCH else header
    if batch.has(COMPRESSION):
        raise BadRequest("The Arrow stream is compressed: write it without compression.")
    length = batch.int64(LENGTH)
    if length < 0:
        raise struct.error
    return length


class Table:
    """A table of a FlatBuffer (https://flatbuffers.dev/internals): what Arrow's messages are written in."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw, self._at = raw, at
        self._fields = at - self._read("<i", at)
        self._size = self._read("<H", self._fields)

    @classmethod
    def root(cls, raw: bytes, at: int) -> Table:
        [offset] = struct.unpack_from("<I", raw, at)
        return cls(raw, at + offset)

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def uint8(self, field: int) -> int:
        return self._number("<B", field)

    def int64(self, field: int) -> int:
        return self._number("<q", field)

    def table(self, field: int) -> Table:
        place = self._place(field)
        if place is None:
            raise struct.error
        return Table(self._raw, place + self._read("<I", place))

    def _number(self, format_: str, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else self._read(format_, place)

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = self._read("<H", self._fields + entry) if entry < self._size else 0
        return self._at + offset if offset else None

    def _read(self, format_: str, at: int) -> int:
        if at < 0:
            raise struct.error
        return int(struct.unpack_from(format_, self._raw, at)[0])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
