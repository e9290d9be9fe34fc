"""URLs of pages: the first, and the one after another."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from updraft.sources.json_page import Page
from updraft.sources.urls import joined, parsed, shown
from updraft.usecase.page_blocks import CursorPages, LinkPages, NumberPages, OffsetPages, Pages


def first_url(url: str, pages: Pages | None) -> str:
    """Return the first page's URL."""
    sized = {pages.size_parameter: pages.size} if pages and pages.size else {}
    if isinstance(pages, NumberPages | OffsetPages):
        return _with(url, sized | {pages.parameter: pages.start})
    return _with(url, sized) if sized else url


def next_url(url: str, page: Page, pages: Pages | None, done: int, read: int) -> str | None:
    """Return the URL after that of a page, the last of `done` pages with `read` rows together; None at the end."""
    if pages is None or page.more is False or (page.total is not None and read >= page.total):
        return None
    if isinstance(pages, LinkPages):
        return joined(url, page.next, f"{shown(url)}: its next page") if page.next else None
    if isinstance(pages, CursorPages):
        return _with(url, {pages.parameter: page.next}) if page.next else None
    if not page.rows:
        return None
    if isinstance(pages, NumberPages):
        return _with(url, {pages.parameter: pages.start + done})
    return _with(url, {pages.parameter: pages.start + read}) if isinstance(pages, OffsetPages) else None


def _with(url: str, parameters: dict[str, Any]) -> str:
    parts = parsed(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in parameters]
    return parts._replace(query=urlencode([*kept, *parameters.items()])).geturl()
