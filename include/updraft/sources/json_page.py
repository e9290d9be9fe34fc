"""A page of a JSON API: its rows, and what it says of the next page and of all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from updraft.sources.json_records import unique
from updraft.sources.source import BadSource
from updraft.usecase.page_blocks import CursorPages, LinkPages
from updraft.usecase.source_blocks import RestSource

if TYPE_CHECKING:
    import requests

LARGEST = 64 << 20  # bytes of a page
PIECE = 1 << 18
ABSENT = object()


@dataclass(frozen=True)
class Page:
    """The rows of a page, its hash, the next page's cursor or URL, whether there are more, and how many in all."""

    rows: list[Any]
    sha256: str
    next: str | None
    more: bool | None
    total: int | None


def read_page(response: requests.Response, settings: RestSource, place: str) -> Page:
    """Read a page; raise BadSource, which names `place`, where it is none: not JSON, or no list where the rows are."""
    document, sha256 = read_document(response, place)
    rows, pages = resolve(document, settings.rows), settings.pages
    if not isinstance(rows, list):
        has = f"; it has {', '.join(list(document)[:10])}" if isinstance(document, dict) else ""
        raise BadSource(f"{place}: expected a list at {settings.rows!r}, found {_kind(rows)}{has}")
    if pages is None:
        return Page(rows, sha256, None, None, None)
    following = None
    if isinstance(pages, CursorPages | LinkPages):
        pointer = pages.next
        following = response.links.get("next", {}).get("url") if pointer is None else _next(document, pointer, place)
    more = resolve(document, pages.more) if pages.more is not None else None
    if more is not None and not isinstance(more, bool):
        raise BadSource(f"{place}: expected true or false at {pages.more!r}, found {_kind(more)}")
    total = resolve(document, pages.total) if pages.total is not None else None
    if total is not None and (not isinstance(total, int) or isinstance(total, bool)):
        raise BadSource(f"{place}: expected a whole number at {pages.total!r}, found {_kind(total)}")
    return Page(rows, sha256, following, more, total)


def read_document(response: requests.Response, place: str) -> tuple[Any, str]:
    """Read a JSON document; return it with its sha256. Raises BadSource, which names `place`, where it is none."""
    body = _body(response, place)
    try:
        document = json.loads(body, object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        kind = response.headers.get("Content-Type", "unknown").partition(";")[0]
        raise BadSource(f"{place} is not JSON, but {kind}") from None
    except ValueError as error:
        raise BadSource(f"{place}: {error}") from None
    return document, hashlib.sha256(body).hexdigest()


def resolve(value: Any, pointer: str) -> Any:
    """Return what a JSON Pointer leads to; ABSENT where there is nothing."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return ABSENT
    return value


def _next(document: Any, pointer: str, place: str) -> str | None:
    """Return a cursor or a URL; nothing, null, false and an empty text are the end."""
    value = resolve(document, pointer)
    if value in (ABSENT, None, False, ""):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadSource(f"{place}: expected a text or a number at {pointer!r}, found {_kind(value)}")
    return str(value)


def _body(response: requests.Response, place: str) -> bytes:
    from updraft.sources.http_client import translated

    body = bytearray()
    with translated(response.url):
        for piece in response.iter_content(PIECE):
            body += piece
            if len(body) > LARGEST:
                raise BadSource(f"{place} has more than {LARGEST >> 20} MB; ask for smaller pages with `size`")
    return bytes(body)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return "nothing" if value is ABSENT else kinds.get(type(value), "a number")
