"""Rows out of a request's body, read strictly: what two JSON parsers could read differently is refused."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from updraft.signature import BadRow
from updraft.suite import shown

DRAIN = 8  # times the limit that is read on of a body too large


def read(request: Request, limit: int) -> Any:
    """Read the JSON body of at most `limit` bytes.

    Raises BadRequest for what is not JSON (NaN, Infinity, a key given twice and half a surrogate pair are not),
    UnsupportedMediaType for another type or an encoded body, RequestEntityTooLarge above the limit.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType(f"Content-Type is {shown(request.mimetype)}, expected 'application/json'.")
    if request.content_encoding not in {None, "identity"}:
        raise UnsupportedMediaType(f"Content-Encoding {shown(request.content_encoding)} is not taken: send it plain.")
    return parse(_bytes(request, limit))


def parse(raw: bytes) -> Any:
    """Parse strict JSON in UTF-8; BadRequest says where it is not."""
    try:
        text = raw.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
        if "\\ud" in text.lower():  # the one way to half a surrogate pair, which is no text
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        where = f"at byte {error.start}" if isinstance(error, UnicodeDecodeError) else "half a surrogate pair"
        raise BadRequest(f"The body is not UTF-8 text: {where}.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadRequest(f"The body is not JSON: {error.msg} at {where}.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deep.") from None
    except ValueError:  # what is left: an integer of more digits than Python converts
        raise BadRequest("The body holds a number of too many digits.") from None
    return value


def rows(value: Any, limit: int) -> tuple[list[Any], bool]:
    """Return the rows, and whether they came as a batch: an object whose `rows` is a list. Raises BadRow."""
    if not isinstance(value, dict):
        raise BadRow([{"pointer": "", "detail": f"expected an object, found {shown(value)}"}])
    batch = value.get("rows")
    if not isinstance(batch, list):
        return [value], False
    if len(value) > 1:
        others = [name for name in value if name != "rows"]
        raise BadRow([{"pointer": "/rows", "detail": f"expected alone in its object, found {shown(others)} beside it"}])
    if not batch:
        raise BadRow([{"pointer": "/rows", "detail": "expected at least one row, found none"}])
    if len(batch) > limit:
        raise RequestEntityTooLarge(f"{len(batch)} rows, at most {limit} are taken at once.")
    return batch, True


def _bytes(request: Request, limit: int) -> bytes:
    request.max_content_length = limit + 1  # werkzeug cuts a body of unknown length there without a word
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raw = None
    if raw is None or len(raw) > limit:
        _drain(request, limit * DRAIN)
        raise RequestEntityTooLarge(f"The body is larger than {limit} bytes.")
    return raw


def _drain(request: Request, limit: int) -> None:
    """Read on and throw away, so that a client that sends before it reads gets to see the answer."""
    stream = request.environ["wsgi.input"]
    while limit > 0 and (chunk := stream.read(min(limit, 65536))):
        limit -= len(chunk)


def _no_constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not JSON: {name} is no JSON number.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadRequest(f"The body gives the key {shown(name)} twice in one object.")
    return value
