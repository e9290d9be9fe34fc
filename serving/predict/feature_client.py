"""Asks Feast's Python feature server (`feast serve`) for the features of entities, in bounded time and memory."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import urllib3

from serving.body.stored_columns import Found, Key
from updraft.model.feature_store import FeatureStore

PATH = "/get-online-features"
MAX_ANSWER = 64 * 2**20  # bytes: some 10,000 entities with 100 features
MAX_ERROR = 2**16
CHUNK = 2**16
CONNECTIONS = 16  # to a server, that are kept open
# Feast answers a feature that its view lacks with status 500, as what went wrong by itself.
NO_VIEW, NO_FEATURE = "FeatureViewNotFoundException", re.compile(r"Feature (.{1,200}) not found in projection")
PRESENT, NOT_FOUND = "PRESENT", "NOT_FOUND"


class StoreFailed(Exception):
    """The feature server gave no usable answer. `kind` is one of a few fixed words; the message has no row's values."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class _Metadata(msgspec.Struct):
    feature_names: list[str]


class _Vector(msgspec.Struct):
    values: list[Any]
    statuses: list[str]


class _Answer(msgspec.Struct):
    metadata: _Metadata
    results: list[_Vector]


class FeatureClient:
    """Connections to feature servers, which are sent `token` as a bearer token if there is one."""

    def __init__(self, token: str | None = None) -> None:
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        self._headers |= {"Authorization": f"Bearer {token}"} if token else {}
        # Neither proxies of the environment nor redirects: only the address of the signed version is asked.
        self._pools = urllib3.PoolManager(maxsize=CONNECTIONS, retries=False)

    def fetch(self, store: FeatureStore, keys: Sequence[Key], columns: Sequence[str]) -> Found:
        """Return the columns of each key that the store knows. Raises StoreFailed."""
        body = {"features": [f"{store.view}:{name}" for name in columns], "entities": {store.entity.name: keys}}
        content = msgspec.json.encode(body | {"full_feature_names": False})
        deadline = time.monotonic() + store.timeout_seconds
        try:
            raw = self._post(store, content, deadline)
        except urllib3.exceptions.ProtocolError:  # most likely a kept connection that the server has closed meanwhile
            raw = self._retry(store, content, deadline)
        return _parse(raw, store, keys, columns)

    def _retry(self, store: FeatureStore, content: bytes, deadline: float) -> bytes:
        try:
            return self._post(store, content, deadline)
        except urllib3.exceptions.ProtocolError:
            raise StoreFailed("unreachable", "the connection broke off") from None

    def _post(self, store: FeatureStore, content: bytes, deadline: float) -> bytes:
        response = None
        try:
            response = self._pools.request(
                "POST",
                f"{store.url}{PATH}",
                body=content,
                headers=self._headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(total=max(deadline - time.monotonic(), 0.001)),
            )
            if response.status != 200:
                raise _refusal(response, store, deadline)
            raw = _read(response, deadline, MAX_ANSWER)
            response.release_conn()
        except urllib3.exceptions.NewConnectionError:  # one of the time-outs, by its class
            raise StoreFailed("unreachable", "no connection") from None
        except urllib3.exceptions.TimeoutError:
            raise StoreFailed("timeout", f"no answer within {store.timeout_seconds:g} s") from None
        except urllib3.exceptions.ProtocolError:
            raise
        except urllib3.exceptions.HTTPError as error:
            raise StoreFailed("unreachable", type(error).__name__) from None
        finally:
            if response is not None:
                response.close()
        return raw


def _refusal(response: urllib3.BaseHTTPResponse, store: FeatureStore, deadline: float) -> StoreFailed:
    """Return why there is no answer. Its text may have values of a row, so only what it says of columns is repeated."""
    status = response.status
    if status in (401, 403):
        return StoreFailed("refused", f"status {status}: the login is missing or not accepted")
    if 300 <= status < 400:
        return StoreFailed("refused", f"status {status}: redirects are not followed")
    text = _read(response, deadline, MAX_ERROR).decode(errors="replace")
    if NO_VIEW in text:
        return StoreFailed("missing", f"it has no feature view {store.view!r}")
    if (match := NO_FEATURE.search(text)) and match[1] in store.columns:
        return StoreFailed("missing", f"its feature view {store.view!r} has no {match[1]}")
    return StoreFailed("refused" if status < 500 else "failed", f"status {status}")


def _read(response: urllib3.BaseHTTPResponse, deadline: float, limit: int) -> bytes:
    """Read a body part by part, so that neither a large one nor a slow one is waited for."""
    parts, size = [], 0
    while part := response.read1(CHUNK):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise StoreFailed("invalid", f"an answer of more than {limit} bytes")
        if time.monotonic() > deadline:
            raise urllib3.exceptions.TimeoutError
    return b"".join(parts)


def _parse(raw: bytes, store: FeatureStore, keys: Sequence[Key], columns: Sequence[str]) -> Found:
    """Return what an answer has: a vector for each feature, with a value and a status for each entity."""
    try:
        answer = msgspec.json.decode(raw, type=_Answer)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise StoreFailed("invalid", "the answer is not what a Feast feature server sends") from None
    vectors = dict(zip(answer.metadata.feature_names, answer.results, strict=False))
    if missing := [name for name in columns if name not in vectors]:
        raise StoreFailed("missing", f"its feature view {store.view!r} has no {', '.join(missing)}")
    for name in columns:
        if not len(vectors[name].values) == len(vectors[name].statuses) == len(keys):
            raise StoreFailed("invalid", f"the answer has not one value of {name} for each key")
    return {key: row for place, key in enumerate(keys) if (row := _row(vectors, columns, place)) is not None}


def _row(vectors: Mapping[str, _Vector], columns: Sequence[str], place: int) -> dict[str, Any] | None:
    """Return an entity's values, null for one that is not there or too old; None where the store has none at all."""
    if all(vectors[name].statuses[place] == NOT_FOUND for name in columns):
        return None
    return {name: vectors[name].values[place] if vectors[name].statuses[place] == PRESENT else None for name in columns}
