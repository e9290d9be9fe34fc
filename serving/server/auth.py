"""Authentication: API keys for everything but the two health checks, the training token, and reading such secrets.

A key is sent as `X-API-Key: <key>`, as `Authorization: Bearer <key>`, or as the password of HTTP Basic, so that a
browser can ask for it (the user name is ignored); the first one present counts. Training needs its own token as
`Authorization: Bearer <token>`: a caller who needs both sends the key as `X-API-Key`.
"""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from flask import Flask, Request, g, request
from werkzeug.datastructures import Authorization, WWWAuthenticate
from werkzeug.exceptions import BadRequest, Unauthorized
from werkzeug.sansio.utils import host_is_trusted

from updraft.api_keys import parse_keys

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})

log = logging.getLogger(__name__)


class Challenge(WWWAuthenticate):
    """A challenge with its realm in quotes, which RFC 9110 requires and werkzeug omits."""

    def to_header(self) -> str:
        return f'{self.type.title()} realm="{self["realm"]}"'


class ApiKeys:
    """API keys by the names of their owners, held as digests so that no dump or repr shows one."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._digests = {name: digest(key) for name, key in keys.items()}

    @classmethod
    def read(cls, text: str) -> ApiKeys:
        """Read `name:key` lines. ValueError names a line, never a key."""
        return cls(parse_keys(text))

    def owner(self, key: str) -> str | None:
        """Return the name of the key's owner, or None.

        Compares in constant time and with every key, so that the time does not reveal how close a guess was.
        """
        presented, owner = digest(key), None
        for name, known in self._digests.items():
            if hmac.compare_digest(presented, known):
                owner = name
        return owner


class KeysFile(ApiKeys):
    """API keys in a file that is read again when it changes; the last good keys stay while it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._seen = self._state()
        super().__init__(parse_keys(path.read_text(encoding="utf-8")))

    def owner(self, key: str) -> str | None:
        """Return the name of the key's owner, or None, by the file as it is now."""
        state = self._state()
        if state != self._seen:
            with self._lock:
                if state != self._seen:
                    self._read_again(state)
        return super().owner(key)

    def _read_again(self, state: tuple[int, ...] | None) -> None:
        self._seen = state  # also when it is invalid: one message for each change
        try:
            keys = parse_keys(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            log.error("SERVING_API_KEYS_FILE: the keys of before stay: %s", reason)
            return
        before, self._digests = self._digests, {name: digest(key) for name, key in keys.items()}
        gone = sorted(before.keys() - keys.keys())
        log.info("SERVING_API_KEYS_FILE: %d keys now%s", len(keys), f"; gone: {', '.join(gone)}" if gone else "")

    def _state(self) -> tuple[int, ...] | None:
        """Return what changes with the file, as when a mounted secret becomes another one; None when there is none."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def require_host(app: Flask, hosts: tuple[str, ...]) -> None:
    """Refuse requests whose Host is not one of `hosts`: see `is_served`."""

    @app.before_request
    def guard_host() -> None:
        if request.path not in PUBLIC_PATHS and not is_served(request.host, hosts):
            raise BadRequest("This host is not served here.")


@lru_cache(maxsize=1024)
def is_served(host: str, hosts: tuple[str, ...]) -> bool:
    """Whether a valid host is one of `hosts`, in which `.example.com` stands for all below it."""
    return host_is_trusted(host.lower(), hosts)


def digest(secret: str) -> bytes:
    """Hash a secret for comparison in constant time: compare_digest would reveal the length of the secret itself."""
    return sha256(secret.encode(errors="surrogatepass")).digest()


def require_api_key(app: Flask, keys: ApiKeys) -> None:
    """Refuse every request to `app` without a known key, and set `g.key_name` to the key's owner.

    Call it after registering the hooks that must also see refused requests: Flask runs them in that order.
    """

    @app.before_request
    def guard() -> None:
        if request.path in PUBLIC_PATHS or request.endpoint == "static":  # the page that asks for a key needs its style
            return
        key = presented_key(request.headers.get("X-API-Key", ""), request.headers.get("Authorization", ""))
        name = keys.owner(key) if key else None
        if name is None:
            _challenge("Unknown API key." if key else "An API key is required.")
        g.key_name = name


def bearer_token(request: Request) -> str | None:
    """Return the token sent as `Authorization: Bearer`."""
    return _bearer(request.headers.get("Authorization", ""))


def presented_key(own: str, authorization: str) -> str | None:
    """Return the key of a request by its headers X-API-Key and Authorization, empty if it has none."""
    if key := own.strip() or _bearer(authorization):
        return key
    basic = Authorization.from_header(authorization)
    return basic.password if basic is not None and basic.type == "basic" else None


def read_secret(environment: Mapping[str, str], name: str) -> str | None:
    """Return the value of the variable `name`, or the contents of the file NAME_FILE; None when both are empty.

    Raises ValueError when both are set, or the file is unreadable or empty. The message does not repeat the path, since
    it may be a secret put into the wrong variable.
    """
    value, file = environment.get(name), environment.get(f"{name}_FILE")
    if value and file:
        raise ValueError(f"{name} and {name}_FILE: both are set, expected one of them")
    if not file:
        return value or None
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{name}_FILE: cannot read the file: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{name}_FILE: expected the path of a UTF-8 text file") from None
    if not secret:
        raise ValueError(f"{name}_FILE: the file is empty")
    return secret


def secret_file(environment: Mapping[str, str], name: str) -> Path | None:
    """Return the file that a secret is read from, if it is."""
    file = environment.get(f"{name}_FILE")
    return Path(file) if file else None


def _bearer(authorization: str) -> str | None:
    scheme, _, value = authorization.partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def _challenge(detail: str) -> NoReturn:
    challenges = [Challenge("bearer", {"realm": "updraft"})]
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        challenges.append(Challenge("basic", {"realm": "updraft"}))
    raise Unauthorized(detail, www_authenticate=challenges)
