"""Who may ask: API keys for everything but the two health pages, tokens, and where such secrets come from.

A key comes as `X-API-Key: <key>`, as `Authorization: Bearer <key>`, or as the password of HTTP Basic, whose user name
is passed over, so that a browser can ask for it; the first of these that is there counts. Training asks for its token
as `Authorization: Bearer <token>` on top: who has both sends the key as `X-API-Key`.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from flask import Flask, Request, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from updraft.api_keys import parse_keys

OPEN = frozenset({"/healthz", "/readyz"})


class Challenge(WWWAuthenticate):
    """A challenge with its realm in quotes, which RFC 9110 asks for and werkzeug leaves out."""

    def to_header(self) -> str:
        return f'{self.type.title()} realm="{self["realm"]}"'


class Keys:
    """API keys by the names of those who have them; kept as digests."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._digests = {name: digest(key) for name, key in keys.items()}

    @classmethod
    def read(cls, text: str) -> Keys:
        """Read lines `name:key`. ValueError names a line, never a key."""
        return cls(parse_keys(text))

    def name(self, key: str) -> str | None:
        """Name whose key it is, in a time that does not tell how much of one was right."""
        asked, found = digest(key), None
        for name, known in self._digests.items():
            if hmac.compare_digest(asked, known):
                found = name
        return found


def digest(secret: str) -> bytes:
    """Make of a secret what can be compared in constant time: of one length, whatever is sent."""
    return sha256(secret.encode(errors="surrogatepass")).digest()


def require(app: Flask, keys: Keys) -> None:
    """Let nobody without a key into `app`; `g.key_name` says whose it was.

    To be called after what has to see refused requests too: Flask asks in the order of the calls.
    """

    @app.before_request
    def guard() -> None:
        if request.path in OPEN:
            return
        key = _key(request)
        name = keys.name(key) if key else None
        if name is None:
            _refuse("This API key is not known." if key else "An API key is needed.")
        g.key_name = name


def bearer(request: Request) -> str | None:
    """Return what came as `Authorization: Bearer`."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def secret(environment: Mapping[str, str], name: str) -> str | None:
    """Return the value of the variable `name`, or what the file holds that NAME_FILE names; None when both are empty.

    Raises ValueError when both are set, or the file is unreadable or empty; its path is not told, since a secret may
    have been put there by mistake.
    """
    value, file = environment.get(name), environment.get(f"{name}_FILE")
    if value and file:
        raise ValueError(f"{name} and {name}_FILE: both are set, expected one of them")
    if not file:
        return value or None
    try:
        held = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{name}_FILE: the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{name}_FILE: expected the path of a file of UTF-8 text") from None
    if not held:
        raise ValueError(f"{name}_FILE: the file is empty")
    return held


def _key(request: Request) -> str | None:
    named = request.headers.get("X-API-Key", "").strip()
    basic = request.authorization
    password = basic.password if basic is not None and basic.type == "basic" else None
    return named or bearer(request) or password


def _refuse(detail: str) -> NoReturn:
    challenges = [Challenge("bearer", {"realm": "updraft"})]
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        challenges.append(Challenge("basic", {"realm": "updraft"}))
    raise Unauthorized(detail, www_authenticate=challenges)
