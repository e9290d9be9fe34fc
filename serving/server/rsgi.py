"""The server's side of the service: takes bodies in without holding a thread, and sheds what would only wait.

granian calls it by RSGI. A thread sees a request only when all of it has arrived, so that slow clients cost a little
memory each and no more. Under another WSGI server, put a proxy that buffers in front.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from serving.server import problems, security_headers
from serving.server.limits import Limits
from serving.server.wsgi_adapter import ARRIVED, Answer, Application, Environ, Scope, call, environ, is_host

DRAIN = 8  # times the limit that is read on of a body too large
RETRY_AFTER = "1"
PROBES = {"/healthz", "/readyz"}
MOST_PROBES = 32


class Proto(Protocol):
    """RSGI's way to the body and to the answer."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...


class Refused(Exception):
    """A request that is answered here: `status`, and a sentence for the caller."""

    def __init__(self, status: int, detail: str) -> None:
        self.status, self.detail = status, detail


class Front:
    """An RSGI application over a WSGI one.

    `note` is told of what is refused here: method, path, status and seconds. `close` is called when the server ends.
    """

    def __init__(
        self,
        app: Application,
        limits: Limits,
        note: Callable[[str, str, int, float], None],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._app, self._limits, self._note, self._close = app, limits, note, close
        self._threads = ThreadPoolExecutor(limits.threads, "request")
        self._probes = ThreadPoolExecutor(1, "probe")
        self._requests = self._probed = 0  # that have arrived whole; the event loop alone counts, as it does below
        self._bytes = 0  # of all bodies that are here

    async def __rsgi__(self, scope: Scope, proto: Proto) -> None:
        """Answer a request."""
        began = time.perf_counter()
        try:
            self._look_at(scope)
            body = await self._take_in(scope, proto)
            try:
                answer = await self._ask(environ(scope, body))
            finally:
                self._bytes -= len(body)
        except Refused as refused:
            told = scope.method, scope.path, refused.status, time.perf_counter() - began
            asyncio.get_running_loop().run_in_executor(self._probes, self._note, *told)
            answer = _problem(refused)
        proto.response_bytes(*answer)

    def __rsgi_del__(self, loop: object) -> None:
        """End what the service started, after the last answer."""
        self._close()

    def _look_at(self, scope: Scope) -> None:
        """Refuse what its headers give away."""
        if not is_host(scope.headers.get("host", scope.authority or "")):
            raise Refused(400, "The Host header is no name of a host.")
        if lost := set(scope.headers.keys()) - {name for name, _ in scope.headers.items()}:
            raise Refused(400, f"The header {min(lost)} holds more than ASCII.")  # granian keeps its value to itself
        if "transfer-encoding" in scope.headers:  # of a body that breaks off, granian does not tell
            raise Refused(411, "The body has no Content-Length.")

    async def _take_in(self, scope: Scope, proto: Proto) -> bytes:
        """Return the body, whose bytes are counted until the answer is there."""
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                await self._read(proto, chunks)
        except TimeoutError:
            self._drop(chunks)
            raise Refused(408, f"The body did not arrive within {self._limits.body_seconds:g} seconds.") from None
        except BaseException:
            self._drop(chunks)
            raise
        body = b"".join(chunks)
        if len(body) < int(scope.headers.get("content-length") or 0):
            self._drop(chunks)
            raise Refused(400, "The body broke off.")
        return body

    async def _read(self, proto: Proto, chunks: list[bytes]) -> None:
        size = 0
        async for chunk in proto:
            size += len(chunk)
            if size > self._limits.body * DRAIN:
                break
            if size > self._limits.body:  # read on and thrown away: a client that sends first gets to see the answer
                self._drop(chunks)
                continue
            if self._bytes + len(chunk) > self._limits.bodies:
                raise Refused(503, "Too many bodies are on their way already.")
            self._bytes += len(chunk)
            chunks.append(chunk)
        if size > self._limits.body:
            raise Refused(413, f"The body is larger than {self._limits.body} bytes.")

    def _drop(self, chunks: list[bytes]) -> None:
        self._bytes -= sum(map(len, chunks))
        chunks.clear()

    async def _ask(self, asked: Environ) -> Answer:
        """Have a thread answer; a probe never waits behind predictions."""
        run = asyncio.get_running_loop().run_in_executor
        if asked["PATH_INFO"] in PROBES:
            if self._probed >= MOST_PROBES:
                raise Refused(503, "Too many ask for that already.")
            self._probed += 1
            try:
                return await run(self._probes, call, self._app, asked)
            finally:
                self._probed -= 1
        if self._requests >= self._limits.waiting + self._limits.threads:
            raise Refused(503, "Too many requests wait already.")
        self._requests += 1
        try:
            return await run(self._threads, self._call, asked, time.perf_counter())
        finally:
            self._requests -= 1

    def _call(self, asked: Environ, arrived: float) -> Answer:
        if time.perf_counter() - arrived > self._limits.wait_seconds:
            raise Refused(503, f"The request waited longer than {self._limits.wait_seconds:g} seconds.")
        return call(self._app, asked | {ARRIVED: arrived})


def _problem(refused: Refused) -> Answer:
    response = problems.problem(refused.status, refused.detail)
    headers = [(name.lower(), value) for name, value in response.headers]
    if refused.status == 503:
        headers.append(("retry-after", RETRY_AFTER))
    return refused.status, [*headers, *security_headers.HEADERS.items()], response.data
