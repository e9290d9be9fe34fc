"""Count the commas that separate values in JSON or CSV, without parsing it.

The count decides whether a body is worth parsing, so it must cost less than parsing: one pass over the bytes, in chunks
of numpy arrays that take some bytes for each byte of a chunk, whatever the body holds. numpy releases the GIL.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 17  # bytes
COMMA, QUOTE, BACKSLASH, LINE_FEED, CARRIAGE_RETURN = b',"\\\n\r'

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def count_json_separators(raw: bytes, limit: int) -> int:
    """Return the number of commas outside of JSON strings; the count stops soon after it exceeds `limit`.

    A line end closes a string: JSON does not allow one inside, and in JSON lines the next line starts afresh.
    """
    count, in_string, escaped = 0, False, False
    for chunk in _chunks(raw):
        quotes = chunk == QUOTE
        places, escaped = _escaped(np.flatnonzero(chunk == BACKSLASH), len(chunk), escaped)
        quotes[places] = False
        inside = _closed_by_line_ends(_inside(quotes, in_string), chunk == LINE_FEED)
        count += int(np.count_nonzero((chunk == COMMA) & ~inside))
        if count > limit:
            break
        in_string = bool(inside[-1])
    return count


def count_csv_separators(
    raw: bytes, limit: int, delimiter: int = COMMA, quote: int | None = QUOTE, escape: int | None = None
) -> int:
    """Return the number of delimiters outside of quoted fields; the count stops soon after it exceeds `limit`.

    A quote in the middle of an unquoted field is an ordinary character, and what is quoted after it cannot be known
    without parsing: from there on, every delimiter counts. So do all where there are no quotes, or where an escape
    character may hide one.
    """
    if quote is None or escape is not None:
        return raw.count(delimiter)
    count, in_field, previous = 0, False, LINE_FEED
    for number, chunk in enumerate(_chunks(raw)):
        quotes = chunk == quote
        inside = _inside(quotes, in_field)
        before = np.concatenate([[previous], chunk[:-1]])
        starts = (before == delimiter) | (before == LINE_FEED) | (before == CARRIAGE_RETURN) | (before == quote)
        if (quotes & inside & ~starts).any():
            return count + raw.count(delimiter, number * CHUNK)
        count += int(np.count_nonzero((chunk == delimiter) & ~inside))
        if count > limit:
            break
        in_field, previous = bool(inside[-1]), int(chunk[-1])
    return count


def _chunks(raw: bytes) -> Iterator[Bytes]:
    content = np.frombuffer(raw, dtype=np.uint8)
    content = content[len(BOM_UTF8) :] if raw.startswith(BOM_UTF8) else content
    return (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))


def _inside(quotes: Mask, open_before: bool) -> Mask:
    """Mark the bytes within quotes, the opening quote included: those after an odd number of quotes.

    Only the last bit of the sum matters, so it may wrap at 256.
    """
    inside: Mask = ((np.cumsum(quotes, dtype=np.uint8) + np.uint8(open_before)) & 1).view(np.bool_)
    return inside


def _closed_by_line_ends(inside: Mask, line_ends: Mask) -> Mask:
    """Flip what follows a line end within a string, up to the next line end."""
    if not (inside & line_ends).any():
        return inside
    places = np.arange(len(inside), dtype=np.int32)
    line_end = np.maximum.accumulate(np.where(line_ends, places, -1))  # the last one up to each byte
    closed: Mask = inside ^ (inside[line_end] & (line_end >= 0))
    return closed


def _escaped(backslashes: NDArray[np.intp], length: int, first: bool) -> tuple[NDArray[np.intp], bool]:
    """Return the escaped places of a chunk, given its backslashes, and whether the next chunk begins with one.

    A run of backslashes escapes the byte behind it when its length is odd. `first`: the chunk's first byte is escaped.
    """
    escaped = np.zeros(int(first), dtype=np.intp)
    if first and len(backslashes) and backslashes[0] == 0:
        backslashes = backslashes[1:]
    if not len(backslashes):
        return escaped, False
    starts = np.flatnonzero(np.diff(backslashes, prepend=-2) != 1)  # of each run, as an index into `backslashes`
    lengths = np.diff(starts, append=len(backslashes))
    behind = (backslashes[starts] + lengths)[lengths % 2 == 1]
    return np.concatenate([escaped, behind[behind < length]]), bool(len(behind) and behind[-1] == length)
