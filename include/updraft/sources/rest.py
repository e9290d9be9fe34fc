"""Rows of a JSON API, page by page: all of them, or an error."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from updraft.addresses import Connections
from updraft.sources.http_client import HttpServer
from updraft.sources.json_page import Page, read_page
from updraft.sources.json_rows import JsonRows
from updraft.sources.rest_overlap import Ids
from updraft.sources.rest_pages import first_url, next_url
from updraft.sources.source import BadSource, Batch, Extent
from updraft.sources.urls import shown
from updraft.usecase.rows_definition import RowsDefinition
from updraft.usecase.source_blocks import RestSource

log = logging.getLogger(__name__)

ROWS = 5_000  # in a batch at least, where there are that many


@contextmanager
def open_rest(
    settings: RestSource, case: RowsDefinition, connections: Connections, extent: Extent
) -> Iterator[RestRows]:
    """Open an API as a source of rows."""
    with closing(HttpServer(settings.url, settings.connection, connections, settings.header, settings.rate)) as server:
        yield RestRows(server, settings, case, extent.limit)


class RestRows:
    """The rows of all pages of an API, in its order.

    Raises BadSource where an answer is refused, is no page, or does not end as it should; ConnectionError where the
    server does not answer, or is in trouble.
    """

    is_log = False

    def __init__(self, server: HttpServer, settings: RestSource, case: RowsDefinition, limit: int | None) -> None:
        self._server, self._settings, self._limit = server, settings, limit
        self._pages = self._read = 0
        self._digest = hashlib.sha256()
        self.total: int | None = limit
        self._ids = Ids(case, str(self)) if settings.pages else None
        self._rows = JsonRows(self, case, self._records(), is_part=False)
        self.columns, self.absent, self.others = self._rows.columns, self._rows.absent, self._rows.others

    def __str__(self) -> str:
        return f"REST API {shown(self._server.url)!r}"

    def provenance(self) -> dict[str, Any]:
        what = {"url": shown(self._server.url), "rows": self._settings.rows}
        return {"kind": "rest", **what, "pages": self._pages, "sha256": self._digest.hexdigest()}

    def position(self) -> None:
        return None

    def batches(self) -> Iterator[Batch]:
        """Yield batches; a row's place is its page and its number there."""
        return self._rows.batches()

    def _records(self) -> Iterator[list[tuple[str, Any]]]:
        """Yield the rows of pages, several at a time, each with its place."""
        part: list[tuple[str, Any]] = []
        for page in self._all_pages():
            placed = [(f"page {self._pages}, row {number}", row) for number, row in enumerate(page.rows, start=1)]
            placed = self._ids.new(placed) if self._ids else placed
            found = placed if self._limit is None else placed[: self._limit - self._read]
            part += found
            self._read += len(found)
            if len(part) >= ROWS:
                yield part
                part = []
            if self._read == self._limit:
                break
        if self._ids and self._ids.repeated:
            log.warning("%s: %s rows came again on a later page, and are taken once: rows moved while the pages were "
                        "read", self, f"{self._ids.repeated:,}")  # fmt: skip
        if not self._read:
            raise BadSource(f"{self}: no rows at {self._settings.rows!r}: the list is empty")
        if part:
            yield part

    def _all_pages(self) -> Iterator[Page]:
        """Request page by page up to the stated end; one that comes twice would go on for ever."""
        pages, read = self._settings.pages, 0
        url: str | None = first_url(self._server.url, pages)
        seen, asked = set[str](), set[str]()
        while url:
            place = f"{self}: page {self._pages + 1}"
            if url in asked:
                raise BadSource(f"{place} is asked for again by a page after it: the API would never end")
            asked.add(url)
            page = self._server.read(url, partial(read_page, settings=self._settings, place=place))
            rows_sha256 = hashlib.sha256(json.dumps(page.rows, sort_keys=True).encode()).hexdigest()
            if page.rows and rows_sha256 in seen:
                raise BadSource(f"{place} is one that came before: does the API know the parameters of `pages`?")
            seen.add(rows_sha256)
            self._pages += 1
            self._digest.update(bytes.fromhex(page.sha256))
            read += len(page.rows)
            yield page
            url = next_url(url, page, pages, self._pages, read)
            if url is None and page.more:
                raise BadSource(f"{place} says that more follow, and names none")
            if url is None and page.total is not None and read != page.total:
                raise BadSource(f"{self}: {read:,} rows came, though it says that there are {page.total:,}")
