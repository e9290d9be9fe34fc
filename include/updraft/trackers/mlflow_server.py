"""Requests to an MLflow server by its REST API: bounded in time and size, with one-line errors that hold no login."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec
import requests
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from updraft.errors import UserError

VARIABLE = "MLFLOW_TRACKING_URI"
USER, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
EXPECTED = "expected http://host:port or https://host/path, of an MLflow server"
CONNECT, READ = 3.0, 5.0  # seconds to connect, and for a response
MAX_RESPONSE = 16 << 20  # bytes
NO_SUCH, EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
Answer = TypeVar("Answer")


class TrackerError(UserError):
    """A tracker cannot be reached, refused a request, or sent an unexpected response. The message holds no secret."""

    def __init__(self, message: str, code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class _Failure(msgspec.Struct):
    error_code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Address:
    """Where a server is, the header by which we log in, if any, and the texts that no message may hold."""

    url: str
    authorization: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def redact(self, message: str) -> str:
        """Return a text without the login."""
        for secret in self.secrets:
            message = message.replace(secret, "***")
        return message


def read_address(environ: Mapping[str, str]) -> Address:
    """Read the variables of MLflow's own client: a user and a password, in the URI or beside it, else a token.

    Raises UserError, which repeats no secret.
    """
    url, user, password = split_uri(environ[VARIABLE])
    user, password = environ.get(USER) or user, environ.get(PASSWORD) or password
    token = environ.get(TOKEN, "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    if not (user and password):
        basic = ""
    if not basic and not re.fullmatch(r"[\x21-\x7e]*", token):
        raise UserError(f"{TOKEN}: holds a character that no HTTP header can hold")
    authorization = f"Basic {basic}" if basic else f"Bearer {token}" if token else ""
    secrets = {password, quote(password, safe=""), token, basic} - {""}
    return Address(url, authorization, tuple(sorted(secrets, key=len, reverse=True)))


def split_uri(uri: str) -> tuple[str, str, str]:
    """Split a URI into its address, and the user and password in it. Raises UserError, which repeats no password."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UserError(f"{VARIABLE}: not a URL; {EXPECTED}") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        shown = re.sub(r"^([^@]*//)?[^@]*@", r"\1", uri.partition("?")[0].partition("#")[0])
        raise UserError(f"{VARIABLE}: {shown!r}; {EXPECTED}")
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return url, unquote(parts.username or ""), unquote(parts.password or "")


class MlflowServer:
    """A server; all requests together take `seconds` at most, None for no limit. Every method raises TrackerError."""

    def __init__(self, address: Address, seconds: float | None = None) -> None:
        self._address = address
        self._until = float("inf") if seconds is None else time.monotonic() + seconds
        self._session = requests.Session()

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def get(self, path: str, kind: type[Answer], **query: str | int) -> Answer:
        """Read what is at a path below /api/2.0/mlflow/."""
        return self._decoded(self._request("GET", f"mlflow/{path}", params=query), kind)

    def post(self, path: str, kind: type[Answer], **body: Any) -> Answer:
        """Send JSON to a path below /api/2.0/mlflow/."""
        return self._decoded(self._request("POST", f"mlflow/{path}", json=body), kind)

    def delete(self, path: str, **body: Any) -> None:
        """Delete what a path below /api/2.0/mlflow/ and `body` name."""
        self._request("DELETE", f"mlflow/{path}", json=body)

    def put_artifact(self, path: str, content: bytes) -> None:
        """Write an artifact through the server's proxy of artifacts, in place of one of that path."""
        self._request("PUT", f"mlflow-artifacts/artifacts/{quote(path.lstrip('/'))}", data=content)

    def _request(self, method: str, path: str, **content: Any) -> bytes:
        what = f"{self._address.url}: {method} {path}"
        until = min(self._until, time.monotonic() + READ)
        left = until - time.monotonic()
        if left <= 0:
            raise TrackerError(f"{self._address.url}: takes too long")
        url, timeout = f"{self._address.url}/api/2.0/{path}", (min(CONNECT, left), left)
        try:
            with self._session.request(
                method, url, timeout=timeout, auth=self._log_in, stream=True, allow_redirects=False, **content
            ) as response:
                body = _read(response, until, what)
        except (RequestException, HTTPError, OSError) as error:
            raise TrackerError(f"{what}: no answer ({_cause(error)})") from None
        if response.status_code != HTTPStatus.OK:
            raise self._failure(what, response.status_code, body)
        return body

    def _log_in(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header; as a function of our own, so that no ~/.netrc replaces it."""
        if self._address.authorization:
            request.headers["Authorization"] = self._address.authorization
        return request

    def _decoded(self, body: bytes, kind: type[Answer]) -> Answer:
        try:
            return msgspec.json.decode(body or b"{}", type=kind, strict=False)
        except (ValueError, RecursionError) as error:
            cause = str(error) if isinstance(error, msgspec.ValidationError) else type(error).__name__
            message = f"{self._address.url}: unexpected response ({cause}): does {VARIABLE} lead to MLflow?"
            raise TrackerError(message) from None

    def _failure(self, what: str, status: int, body: bytes) -> TrackerError:
        try:
            failure = msgspec.json.decode(body, type=_Failure)
        except (ValueError, RecursionError):
            failure = _Failure()
        said = {401: "refuses the login", 403: "does not allow it"}.get(status, self._address.redact(failure.message))
        message = " ".join(f"{what}: {status} {failure.error_code} {said[:300]}".split())
        return TrackerError(message, failure.error_code, status)


def _read(response: requests.Response, until: float, what: str) -> bytes:
    """Read a body that may come in drops, and without end."""
    body = b""
    while chunk := response.raw.read1(1 << 16, decode_content=True):
        body += chunk
        if len(body) > MAX_RESPONSE:
            raise TrackerError(f"{what}: the response is too large")
        if time.monotonic() > until:
            raise TrackerError(f"{what}: takes too long")
    return body


def _cause(error: BaseException) -> str:
    """Name what is at the bottom of an error; its text may hold the whole URL."""
    reason: Any = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    return type(getattr(reason, "reason", reason)).__name__
