"""A file's text as UTF-8, whatever its encoding; and what is no text of rows at all."""

from __future__ import annotations

import codecs
import io
import re
import threading
from typing import Any, Protocol

from updraft.sources.format import LocalFile
from updraft.sources.source import BadSource

BLOCK = 4 << 20
HEAD = 64 << 10  # bytes in which a file shows what it is
# What other files begin with. A ZIP archive or a PDF also holds NUL bytes, but its own name says more.
MAGIC = {
    "PK\x03\x04": "a ZIP archive or an Excel workbook",
    "%PDF": "a PDF",
    "PAR1": "a Parquet file: its name must end in .parquet",
    "\x1f": "compressed: its name must end in .gz",
    "version https://git-lfs": "a pointer of Git LFS: fetch the file itself with `git lfs pull`",
}
MARKUP = re.compile(r"\s*<(!doctype\s+html|html|head|body|\?xml|!--)", re.I)


class Edit(Protocol):
    """Changes a text that comes in parts."""

    def __call__(self, part: bytes, *, is_last: bool) -> bytes: ...


class Decoded(io.RawIOBase):
    """A file's text, unpacked, as UTF-8, and `tail` as a last line of its own.

    What is not of its encoding becomes U+FFFD; `torn` once there is any, `quoted` once there is a character `quote`,
    `ended` at the end. The first `skip` characters after a byte order mark are left out. `edit` changes the text, part
    by part, before it is read.
    """

    def __init__(
        self,
        file: LocalFile,
        encoding: str,
        *,
        quote: str = "",
        tail: str = "",
        skip: int = 0,
        edit: Edit | None = None,
    ) -> None:
        self._raw = file.open()
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._ready = memoryview(b"")
        self._quote, self._tail, self._skip, self._edit = quote.encode(), tail.encode(), skip, edit
        self._in_line, self._reading = False, threading.Lock()
        self.torn = self.quoted = self.ended = False

    def readable(self) -> bool:
        return True

    def buffered(self) -> io.BufferedReader:
        """Give a reader that reads as much as it is asked for."""
        return io.BufferedReader(self, BLOCK)

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self.ended:
            self._ready = memoryview(self._next())
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _next(self) -> bytes:
        with self._reading:
            packed = b"" if self._raw.closed else self._raw.read(1 << 20)
        text = self._decoder.decode(packed, final=not packed)
        if self._skip and text:
            text, self._skip = text.removeprefix("\ufeff")[self._skip :], 0
        self.torn = self.torn or "\ufffd" in text
        data = text.encode("utf-8", "replace")
        self.quoted = self.quoted or (bool(self._quote) and self._quote in data)
        self._in_line = data[-1:] not in (b"\n", b"\r") if data else self._in_line
        if self._edit:
            data = self._edit(data, is_last=not packed)
        if not packed:
            self.ended = True
            data += (b"\n" if self._in_line and self._tail else b"") + self._tail
        return data

    def close(self) -> None:
        with self._reading:  # pyarrow reads ahead in a thread of its own
            self._raw.close()
        super().close()


def read_head(file: LocalFile, encoding: str) -> str:
    """Return the first characters of a text file; raise BadSource when it is no text of rows."""
    with file.open() as raw:
        begins = raw.read(2)
    if begins in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and not encoding.lower().startswith(("utf-16", "utf_16")):
        raise BadSource(f"{file} is UTF-16, as its byte order mark says: set `read: {{encoding: utf-16}}`")
    with Decoded(file, encoding) as text:
        head = text.buffered().read(HEAD).decode("utf-8", "replace").removeprefix("\ufeff")
    if kind := next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None):
        raise BadSource(f"{file} is {kind}")
    if "\0" in head:
        line = head[: head.index("\0")].count("\n") + 1
        raise BadSource(
            f"{file}: line {line} holds NUL bytes, which no text has: perhaps it is UTF-16 without a byte "
            "order mark; save it as UTF-8, or set `read: {encoding: utf-16-le}`"
        )
    if markup := MARKUP.match(head):
        kind = "an XML document" if "xml" in markup[1].lower() and "<html" not in head.lower() else "an HTML page"
        raise BadSource(f"{file} is {kind}, not rows: was a page about a login or an error saved?")
    return head
