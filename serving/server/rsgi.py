"""The service as an RSGI application: receives bodies without occupying a thread, and sheds load beyond its limits.

granian calls it. A request that has arrived completely is answered here, in the event loop, if that takes no time to
speak of, or else by a thread, so a slow client costs a little memory and no thread. Under a plain WSGI server, put a
buffering proxy in front instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from flask import Response
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # its documented name

from serving.server import problems, security_headers
from serving.server.limits import Limits, in_words
from serving.server.watchdog import Watchdog
from serving.server.wsgi_adapter import ARRIVED_AT, Application, Environ, RawResponse, Scope, call, environ, is_host

DRAIN_FACTOR = 8  # how far beyond the limit the rest of a too large body is read, as a multiple of the limit
RETRY_AFTER = "1"
PROBES = {"/healthz", "/readyz"}
MAX_PROBES = 32
INCOMPLETE = "The body is incomplete."
SMALL_BODY = 8192  # bytes: a body up to this is received at once, not in chunks

# From a request, its headers, its body and its arrival to its response, or None to leave it to the app.
AnswerInLoop = Callable[[Scope, list[tuple[str, str]], bytes, float], RawResponse | None]
RefusedPage = Callable[[Scope, int, str], bytes | None]  # from a request, the status and the sentence


class Proto(Protocol):
    """RSGI's HTTP protocol object: reads the body, at once or in chunks, and sends the response."""

    def __call__(self) -> Awaitable[bytes]: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...


class RequestRefused(Exception):
    """A request that never reaches the app: the response's `status` and a sentence for the caller."""

    def __init__(self, status: int, detail: str) -> None:
        self.status, self.detail = status, detail


class RsgiApp:
    """An RSGI application around a WSGI one.

    `log_refused` is called with method, path, status and seconds of each request refused here; `close` when the server
    stops. What `answer_in_loop` answers, no thread sees: it must not wait for anything. `refused_page` returns the page
    that a browser is shown of such a request, or None for a program, which gets a problem.
    """

    def __init__(
        self,
        app: Application,
        limits: Limits,
        log_refused: Callable[[str, str, int, float], None],
        close: Callable[[], None] = lambda: None,
        answer_in_loop: AnswerInLoop = lambda scope, headers, body, arrived_at: None,
        refused_page: RefusedPage = lambda scope, status, detail: None,
    ) -> None:
        self._app, self._limits, self._log_refused, self._close = app, limits, log_refused, close
        self._answer_in_loop, self._watchdog = answer_in_loop, Watchdog(limits.body_timeout)
        self._refused_page = refused_page
        self._threads = ThreadPoolExecutor(limits.threads, "request")
        # Probes have their own thread: a busy service is still alive, and must not be restarted for being busy.
        self._probe_thread = ThreadPoolExecutor(1, "probe")
        # Counters need no lock: only the event loop changes them, and never across an await.
        self._pending_requests = self._pending_probes = 0
        self._buffered_bytes, self._small_body = 0, min(SMALL_BODY, limits.body_bytes)

    async def __rsgi__(self, scope: Scope, proto: Proto) -> None:
        """Handle a request."""
        started = time.perf_counter()
        try:
            headers, length = self._check_headers(scope)
            receive = self._receive_small if 0 <= length <= self._small_body else self._receive_chunks
            body = await receive(proto, length)  # its bytes count as buffered until the response is ready
            try:
                arrived_at = time.perf_counter()
                response = self._answer_in_loop(scope, headers, body, arrived_at)
                if response is None:
                    response = await self._dispatch(environ(scope, body), arrived_at)
            finally:
                self._buffered_bytes -= len(body)
        except RequestRefused as refused:
            request = scope.method, scope.path, refused.status, time.perf_counter() - started
            # Logging writes to files, so not in the event loop; and the request threads may all be busy.
            asyncio.get_running_loop().run_in_executor(self._probe_thread, self._log_refused, *request)
            response = _problem(refused, self._refused_page(scope, refused.status, refused.detail))
        proto.response_bytes(*response)

    def __rsgi_del__(self, loop: object) -> None:
        """Stop what the service started, after the last response."""
        self._close()

    def _check_headers(self, scope: Scope) -> tuple[list[tuple[str, str]], int]:
        """Refuse a request that its headers alone rule out; return its headers and its body's length, -1 if unknown."""
        if not is_host(scope.headers.get("host", scope.authority or "")):
            raise RequestRefused(400, "The Host header is not a valid host name.")
        # granian lists a header whose value is not ASCII among the keys but not among the items.
        headers, names = scope.headers.items(), scope.headers.keys()
        if len(sent := dict(headers)) < len(names):
            raise RequestRefused(400, f"The header {min(set(names) - sent.keys())} contains non-ASCII characters.")
        # granian does not report a chunked body that ends early: half a body would look complete.
        if "transfer-encoding" in sent:
            raise RequestRefused(411, "The body has no Content-Length.")
        return headers, int(sent.get("content-length") or -1)

    async def _receive_small(self, proto: Proto, length: int) -> bytes:
        """Receive a body as a whole, which takes half the time that it takes to ask for its chunks.

        Room is reserved for all of it, so that many bodies that come slowly do not get more than there is.
        """
        self._require_room(length)
        self._buffered_bytes += length
        body = b""
        try:
            with self._watchdog.limit():
                body = await proto()
        except TimeoutError:
            raise self._late() from None
        except ProtocolClosed:
            raise RequestRefused(400, INCOMPLETE) from None
        finally:
            self._buffered_bytes += len(body) - length
        return body

    async def _receive_chunks(self, proto: Proto, length: int) -> bytes:
        chunks: list[bytes] = []
        try:
            with self._watchdog.limit():
                await self._read_chunks(proto, chunks)
        except TimeoutError:
            self._discard(chunks)
            raise self._late() from None
        except BaseException:
            self._discard(chunks)
            raise
        body = b"".join(chunks)
        if len(body) < length:
            self._discard(chunks)
            raise RequestRefused(400, INCOMPLETE)
        return body

    def _late(self) -> RequestRefused:
        return RequestRefused(408, f"The body did not arrive within {self._limits.body_timeout:g} seconds.")

    def _require_room(self, length: int) -> None:
        if self._buffered_bytes + length > self._limits.total_bytes:
            raise RequestRefused(503, "Too many request bodies are being received.")

    async def _read_chunks(self, proto: Proto, chunks: list[bytes]) -> None:
        size = 0
        async for chunk in proto:
            size += len(chunk)
            if size > self._limits.body_bytes * DRAIN_FACTOR:
                break
            # Read on and discard: a client that sends everything before it reads would see a reset, not the 413.
            if size > self._limits.body_bytes:
                self._discard(chunks)
                continue
            self._require_room(len(chunk))
            self._buffered_bytes += len(chunk)
            chunks.append(chunk)
        if size > self._limits.body_bytes:
            raise RequestRefused(413, f"The body is larger than {in_words(self._limits.body_bytes)}.")

    def _discard(self, chunks: list[bytes]) -> None:
        self._buffered_bytes -= sum(map(len, chunks))
        chunks.clear()

    async def _dispatch(self, request: Environ, arrived_at: float) -> RawResponse:
        """Have a thread run the app; a probe never waits behind predictions."""
        run = asyncio.get_running_loop().run_in_executor
        if request["PATH_INFO"] in PROBES:
            if self._pending_probes >= MAX_PROBES:
                raise RequestRefused(503, "Too many health checks are waiting.")
            self._pending_probes += 1
            try:
                return await run(self._probe_thread, call, self._app, request)
            finally:
                self._pending_probes -= 1
        if self._pending_requests >= self._limits.queue_size + self._limits.threads:
            raise RequestRefused(503, "Too many requests are waiting.")
        self._pending_requests += 1
        try:
            return await run(self._threads, self._call_app, request, arrived_at)
        finally:
            self._pending_requests -= 1

    def _call_app(self, request: Environ, arrived_at: float) -> RawResponse:
        if time.perf_counter() - arrived_at > self._limits.queue_timeout:
            raise RequestRefused(503, f"The request waited longer than {self._limits.queue_timeout:g} seconds.")
        return call(self._app, request | {ARRIVED_AT: arrived_at})


def _problem(refused: RequestRefused, page: bytes | None) -> RawResponse:
    response = problems.problem(refused.status, refused.detail)
    if page is not None:
        response = Response(page, refused.status, {"Vary": "Accept"}, content_type="text/html; charset=utf-8")
    headers = [(name.lower(), value) for name, value in response.headers]
    if refused.status == 503:
        headers.append(("retry-after", RETRY_AFTER))
    return refused.status, [*headers, *security_headers.HEADERS.items()], response.data
