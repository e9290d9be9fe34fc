"""Files of rows on the web."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import has_magic
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from updraft.addresses import Connections
from updraft.sources.file_formats import ending_of
from updraft.sources.format import LocalFile
from updraft.sources.found_files import CHANGED, FoundFile
from updraft.sources.http_client import HttpServer, translated
from updraft.sources.scratch import download, scratch_file
from updraft.sources.source import BadSource
from updraft.sources.urls import parsed, shown

if TYPE_CHECKING:
    import requests

PIECE = 1 << 20
AS_IT_IS = {"Accept-Encoding": "identity"}
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
# The endings for media types, where the URL has none.
TYPES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
}


class WebFile:
    """A file behind a URL: fetched by one request, or by several for parts of the same version of it."""

    def __init__(self, server: HttpServer) -> None:
        self._server, self.name = server, shown(server.url)
        self.label = unquote(urlsplit(server.url).path).rpartition("/")[2]
        self.size: int | None = None
        self._version: dict[str, str] = {}
        self._ending, self._sha256 = self.label, ""

    @contextmanager
    def local(self) -> Iterator[LocalFile]:
        with scratch_file() as (file, path):
            self._version, self.size = {}, None
            self._sha256 = download(f"file {self.name!r}", self._fetch, lambda: self.size, file)
            self.size = file.tell()
            yield LocalFile(path, self.name, self._ending)

    def describe(self) -> dict[str, Any]:
        return {"path": self.name, "sha256": self._sha256, "size": self.size, **self._version}

    def _fetch(self, start: int) -> tuple[int, Iterator[bytes]]:
        """Request the bytes from `start` on; from the first one where this version of the file cannot be named."""
        validator = self._version.get("etag") or self._version.get("last_modified", "")
        resumes = start and validator and not validator.startswith("W/")
        pieces = self._pieces({"Range": f"bytes={start}-", "If-Range": validator} if resumes else {})
        return next(pieces), pieces  # type: ignore[return-value]

    def _pieces(self, headers: dict[str, str]) -> Iterator[int | bytes]:
        """Yield the place of the first byte, then the bytes, as they are on the wire."""
        with self._server.get(self._server.url, headers=AS_IT_IS | headers) as response:
            version = _version(response)
            if self._version and version != self._version:
                raise BadSource(f"file {self.name!r}: {CHANGED}")
            self._version = version
            packed = response.headers.get("Content-Encoding", "identity").lower()
            if packed not in ("", "identity", "gzip"):
                raise BadSource(f"file {self.name!r}: its server packs it by {packed}, though nothing was to be packed")
            partly = response.status_code == 206
            part = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "")) if partly else None
            if partly and not (part and "Range" in headers):
                raise BadSource(f"file {self.name!r}: its server gives a part (206) that was not asked for")
            if not partly:
                self.size = _length(response)
                self._ending = _ending(self.label, response)
            yield int(part[1]) if part else 0
            with translated(self._server.url):
                while piece := response.raw.read(PIECE, decode_content=False):
                    yield piece

    def require_unchanged(self) -> None:
        """Ask once more: a server that reads from its disk may have sent a mix of two versions."""
        version = self._version
        with suppress(ConnectionError), self._server.get(self._server.url, headers=AS_IT_IS) as response:
            version = _version(response)
        if version != self._version:
            raise BadSource(f"file {self.name!r}: {CHANGED}")


def http_files(url: str, connection: str | None, connections: Connections) -> list[FoundFile]:
    """Find the file of a URL; the web knows neither folders nor patterns."""
    if has_magic(parsed(url).path) or url.endswith("/"):
        raise BadSource(f"file {shown(url)!r}: expected one file, as HTTP lists no folders")
    return [WebFile(HttpServer(url, connection, connections))]


def _version(response: requests.Response) -> dict[str, str]:
    """Return what names a version of a file; a time of now is that of a page made on request."""
    found = {"etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}
    if found["last_modified"] == response.headers.get("Date"):
        del found["last_modified"]
    return {name: value for name, value in found.items() if value}


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _ending(name: str, response: requests.Response) -> str:
    """Return the ending by the URL's name, else by the media type; packed on its way is packed."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    ending = ending_of(name) or TYPES.get(media_type, name)
    packed = response.headers.get("Content-Encoding", "").lower() == "gzip"
    return f"{ending}.gz" if packed and not ending.endswith(".gz") else ending
