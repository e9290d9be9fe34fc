"""A real HTTP server for the tests, on a free port of 127.0.0.1, whose answers a test writes itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What the server sends back; with `cut`, it breaks off after so many bytes of the body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class Request:
    """What was asked for."""

    path: str
    headers: dict[str, str]
    body: bytes = b""
    method: str = "GET"


Answers = Callable[[Request], Answer]


class WebServer:
    """A server that asks a function for each answer, and keeps the requests."""

    def __init__(self, answer: Answers) -> None:
        self.requests: list[Request] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.path, headers, body, self.command)
                owner.requests.append(request)
                found = answer(request)
                self.send_response(found.status)
                for name, value in ({"Content-Length": str(len(found.body))} | found.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(found.body[: found.cut])
                self.close_connection = self.close_connection or found.cut is not None

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[WebServer]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@contextmanager
def web_server(answer: Answers) -> Iterator[WebServer]:
    """Run a server until the block ends."""
    with WebServer(answer).running() as server:
        yield server


def ranged(body: bytes, request: Request, etag: str, cut: int | None = None) -> Answer:
    """Answer a request for a file as most servers do: with what the Range asks for where the version is the same."""
    asked = request.headers.get("range", "").removeprefix("bytes=").rstrip("-")
    if not asked or request.headers.get("if-range") != etag:
        return Answer(body, headers={"ETag": etag}, cut=cut)
    start = int(asked)
    content_range = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}", "ETag": etag}
    return Answer(body[start:], 206, content_range, cut)
