"""URLs that a user or a server gives: every one is taken apart here, and one that is none is an error in one line."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urljoin, urlsplit

from updraft.sources.source import BadSource


def parsed(url: str, told_by: str = "") -> SplitResult:
    """Take an http(s) URL apart; raise BadSource, which says who told it, for what is none."""
    if (parts := _parsed(url)) is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSource(f"{told_by and f'{told_by}: '}{shown(url)}: expected a URL such as https://host/rows")
    return parts


def joined(base: str, url: str, told_by: str) -> str:
    """Return what a URL, perhaps a relative one, leads to from a page; raise BadSource as `parsed` does."""
    try:
        whole = urljoin(base, url)
    except ValueError:
        whole = url
    return parsed(whole, told_by).geturl()


def composed(base: str, url: str) -> str:
    """Return the URL of a connection with a relative one: `/rows` begins at the server's root, `rows` at its path.

    The parameters of the connection's query are added to a relative one's.
    """
    if not base or _is_absolute(url):
        return url
    root = parsed(base)
    path, _, query = url.partition("#")[0].partition("?")
    if not path.startswith("/"):
        path = f"{root.path.rstrip('/')}/{path}" if path else root.path
    return root._replace(path=path, query="&".join(filter(None, (root.query, query)))).geturl()


def shown(url: str) -> str:
    """Return a URL as messages have it: without a login and a query, which may hold a secret."""
    if _parsed(url) is None and "@" in url:  # a password with a slash in it looks like this
        return f"{url.partition('://')[0]}://…"
    return re.sub(r"(?<=://)[^/?#]*@", "", url, count=1).partition("?")[0].partition("#")[0]


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL; raise BadSource as `parsed` does."""
    parts = parsed(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _is_absolute(url: str) -> bool:
    return "://" in url.partition("?")[0] or url.startswith("//")


def _parsed(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return None if parts.port == 0 else parts
    except ValueError:
        return None
