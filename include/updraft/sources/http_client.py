"""Requests to a server of rows: login, redirects, retries with Retry-After, and its errors in one line each."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from updraft.addresses import Connections, variable_of
from updraft.sources.source import BadSource
from updraft.sources.urls import composed, joined, origin_of, parsed, shown

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import requests
    from urllib3 import BaseHTTPResponse
    from urllib3.connectionpool import ConnectionPool
    from urllib3.util import Retry

TIMEOUT = (10, 120)  # seconds to connect, and between two bytes
RETRIES, LONGEST_PAUSE = 4, 300  # seconds; where a server asks for a longer one, its answer is the error
FIRST_PAUSE = 0.5  # seconds; from the second pause on, twice as long each time
NO_LIMIT = 10**9  # seconds
BODY_TRIES = 3
T = TypeVar("T")
RETRIED = (429, 500, 502, 503, 504)
WORDS = {
    401: "refuses the login (401)",
    403: "refuses the login, or does not allow it (403)",
    404: "there is nothing (404)",
    410: "there is nothing any more (410)",
}


class HttpServer:
    """A server of rows, with the login of a connection, which is sent to its own origin and nowhere else.

    Without a connection, `url` is absolute and there is no login; with one, it may be relative (`urls.composed`).
    A password is sent as a bearer token, with a user as HTTP Basic, or as it is in a header of the name `header`.
    """

    def __init__(
        self,
        url: str,
        connection: str | None,
        connections: Connections,
        header: str | None = None,
        rate: float | None = None,
    ) -> None:
        base, secret = "", ("", "")
        if connection:
            address = connections(connection, variable_of(connection))
            base, secret = _without_login(address.origin, address.url)
        self.url = composed(base, url)
        if "@" in parsed(self.url).netloc:
            raise BadSource(f"{shown(url)}: a login does not belong into a URL here; name a `connection`")
        if base and origin_of(self.url) != origin_of(base):
            raise BadSource(f"{shown(url)}: expected a URL of {origin_of(base)}, where connection {connection!r} leads")
        login = _login(*secret, header) if any(secret) else {}
        if not all(_fits_a_header(value) for value in login.values()):
            raise BadSource(f"{address.origin}: its token holds a character that no HTTP header can hold")
        self._session = _session(login, origin_of(self.url))

        self._pause, self._last = 1 / rate if rate else 0, 0.0

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    @contextmanager
    def get(self, url: str, *, headers: dict[str, str] | None = None) -> Iterator[requests.Response]:
        """Request a URL as a stream of its body; raise BadSource, or ConnectionError where a second try may help."""
        if origin_of(url) != origin_of(self.url):
            raise BadSource(f"{shown(url)}: expected a URL of {origin_of(self.url)}")
        time.sleep(max(self._last + self._pause - time.monotonic(), 0))
        self._last = time.monotonic()
        with translated(url):
            response = self._session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        with response:
            _check_status(url, response)
            yield response

    def read(self, url: str, take: Callable[[requests.Response], T]) -> T:
        """Request a URL and take what it gives, again where its body breaks off."""
        for left in reversed(range(BODY_TRIES)):
            with self.get(url) as response:
                try:
                    return take(response)
                except ConnectionError:
                    if not left:
                        raise
        raise AssertionError


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the errors of requests into one line each, which do not repeat the URL's query."""
    import requests
    import urllib3

    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise BadSource(f"{shown(url)}: not a URL that can be requested") from None
    except requests.exceptions.TooManyRedirects:
        raise BadSource(f"{shown(url)}: redirects without end") from None
    except requests.exceptions.SSLError as error:
        raise BadSource(f"{shown(url)}: its certificate is not accepted ({_cause(error)})") from None
    except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError):
        raise ConnectionError(f"{shown(url)}: the connection broke off") from None
    except requests.exceptions.Timeout:
        raise ConnectionError(f"{shown(url)}: no answer within {TIMEOUT[1]} s") from None
    except requests.exceptions.RequestException as error:
        raise ConnectionError(f"{shown(url)}: no server answers ({_cause(error)})") from None


def _cause(error: BaseException) -> str:
    """Name what is at the bottom of an error; its text may hold the whole URL."""
    reason: Any = error.args[0] if error.args else error
    reason = getattr(reason, "reason", reason)
    return type(reason).__name__


def _check_status(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in RETRIED and (seconds := _asked_pause(response)) > LONGEST_PAUSE:
        raise ConnectionError(
            f"{shown(url)}: the server says {status} and asks to wait {seconds:,.0f} s, more than {LONGEST_PAUSE} s"
        )
    if status in RETRIED:
        raise ConnectionError(f"{shown(url)}: the server says {status}, again and again")
    raise BadSource(f"{shown(url)}: {WORDS.get(status, f'the server says {status}')}")


def _without_login(origin: str, url: str) -> tuple[str, tuple[str, str]]:
    """Split a connection's URL into its address and its user and password."""
    try:
        parts = parsed(url)
    except BadSource:
        raise BadSource(f"{origin}: expected https://user:password@host, or https://:token@host") from None
    login = unquote(parts.username or ""), unquote(parts.password or "")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), login


def _login(user: str, password: str, header: str | None) -> dict[str, str]:
    if header:
        return {header: password}
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {basic}" if user else f"Bearer {password}"}


def _fits_a_header(value: str) -> bool:
    return value == value.strip() and all(" " <= character <= "\xff" and character != "\x7f" for character in value)


def _session(secret: dict[str, str], origin: str) -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter

    class Login(requests.auth.AuthBase):
        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers.update(secret if origin_of(str(request.url)) == origin else {})
            return request

    class Session(requests.Session):
        def get_redirect_target(self, response: requests.Response) -> str | None:
            target = super().get_redirect_target(response)
            try:
                return target and joined(response.url, target, f"{shown(response.url)}: its redirect leads nowhere")
            except BadSource:
                response.close()
                raise

        def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
            if origin_of(str(prepared_request.url)) != origin:
                for name in secret:
                    prepared_request.headers.pop(name, None)

    session = Session()
    session.auth = Login()

    retry = _patient()(
        total=RETRIES,
        backoff_factor=FIRST_PAUSE,
        status_forcelist=RETRIED,
        allowed_methods={"GET"},
        raise_on_status=False,
        retry_after_max=NO_LIMIT,
    )
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _patient() -> type[Retry]:
    """Return urllib3's Retry, but for what a server says in Retry-After."""
    from urllib3.exceptions import InvalidHeader, MaxRetryError
    from urllib3.util import Retry

    class Patient(Retry):
        def parse_retry_after(self, retry_after: str) -> float:
            try:
                return super().parse_retry_after(retry_after)
            except (InvalidHeader, OverflowError, ValueError):  # no time: we wait our own pause
                return 0.0

        def increment(
            self,
            method: str | None = None,
            url: str | None = None,
            response: BaseHTTPResponse | None = None,
            error: Exception | None = None,
            _pool: ConnectionPool | None = None,
            _stacktrace: TracebackType | None = None,
        ) -> Self:
            if response and _pool and (self.get_retry_after(response) or 0) > LONGEST_PAUSE:
                raise MaxRetryError(_pool, url or "")  # ends the tries: the response is the result
            return super().increment(method, url, response, error, _pool, _stacktrace)

    return Patient


def _asked_pause(response: requests.Response) -> float:
    return _patient()(retry_after_max=NO_LIMIT).get_retry_after(response.raw) or 0
