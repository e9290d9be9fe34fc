"""Calls a WSGI application for an RSGI request (PEP 3333; RSGI 1.6)."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Protocol

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?(?::[0-9]{{1,5}})?")
MAX_HOST = 300  # characters: a name has at most 253
IPV6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")

ARRIVED_AT = "updraft.arrived"  # environ key: time.perf_counter() when the request had arrived, if known
Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
RawResponse = tuple[int, list[tuple[str, str]], bytes]  # status, headers with names in lower case, body


class Scope(Protocol):
    """RSGI's description of a request."""

    method: str
    path: str
    query_string: str
    http_version: str
    scheme: str
    server: str
    client: str
    authority: str | None
    headers: Any


def is_host(text: str) -> bool:
    """Whether a Host header is a valid host, with or without a port; it may be absent, as in HTTP/1.0."""
    return len(text) <= MAX_HOST and _is_host(text)


@lru_cache(maxsize=1024)
def _is_host(text: str) -> bool:
    if not text or IPV6.fullmatch(text):
        return True
    name = text.partition(":")[0]
    try:
        return HOST.fullmatch(text) is not None and len(name.encode().decode("idna")) < 254
    except UnicodeError:
        return False


def environ(scope: Scope, body: bytes) -> Environ:
    """Return the WSGI environ of a request whose body has arrived."""
    host, _, port = scope.server.rpartition(":")
    result: Environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),  # PEP 3333: each character of a string stands for a byte
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        key = f"HTTP_{name.upper().replace('-', '_')}"
        if "_" not in name:  # x_api_key would become the same key as x-api-key: a proxy filters only the latter
            result[key] = f"{result[key]}{'; ' if name == 'cookie' else ','}{value}" if key in result else value
    if scope.authority:
        result.setdefault("HTTP_HOST", scope.authority)
    result.pop("HTTP_TRANSFER_ENCODING", None)
    if content_type := result.pop("HTTP_CONTENT_TYPE", None):
        result["CONTENT_TYPE"] = content_type
    result.pop("HTTP_CONTENT_LENGTH", None)
    return result | {"CONTENT_LENGTH": str(len(body))}


def call(app: Application, request: Environ) -> RawResponse:
    """Call a WSGI application and return its whole response."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], error: object = None) -> None:
        started[:] = [(status, headers)]

    chunks = app(request, start)
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close:
            close()
    status, headers = started[0]
    return int(status[:3]), [(name.lower(), value) for name, value in headers], body
