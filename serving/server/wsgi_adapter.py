"""A WSGI application called with what RSGI tells of a request (PEP 3333; RSGI 1.6)."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?(?::[0-9]{{1,5}})?")
IPV6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")

ARRIVED = "updraft.arrived"  # in the environment: time.perf_counter() when the request was there, if known
Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Answer = tuple[int, list[tuple[str, str]], bytes]  # status, headers with names in lower case, body


class Scope(Protocol):
    """What RSGI tells of a request."""

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
    """Tell whether a Host header names a host, with or without a port; none at all is HTTP/1.0's way."""
    if not text or IPV6.fullmatch(text):
        return True
    name = text.partition(":")[0]
    try:
        return HOST.fullmatch(text) is not None and len(name.encode().decode("idna")) < 254
    except UnicodeError:
        return False


def environ(scope: Scope, body: bytes) -> Environ:
    """Make the WSGI environment of a request whose body is here."""
    host, _, port = scope.server.rpartition(":")
    told: Environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),  # WSGI's strings are bytes in disguise
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
        if "_" not in name:  # which could stand for a hyphen
            told[key] = f"{told[key]}{'; ' if name == 'cookie' else ','}{value}" if key in told else value
    if scope.authority:
        told.setdefault("HTTP_HOST", scope.authority)
    told.pop("HTTP_TRANSFER_ENCODING", None)
    if kind := told.pop("HTTP_CONTENT_TYPE", None):
        told["CONTENT_TYPE"] = kind
    told.pop("HTTP_CONTENT_LENGTH", None)
    return told | {"CONTENT_LENGTH": str(len(body))}


def call(app: Application, asked: Environ) -> Answer:
    """Call a WSGI application; return all that it answers."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], error: object = None) -> None:
        started[:] = [(status, headers)]

    parts = app(asked, start)
    try:
        body = b"".join(parts)
    finally:
        close = getattr(parts, "close", None)
        if close:
            close()
    status, headers = started[0]
    return int(status[:3]), [(name.lower(), value) for name, value in headers], body
