"""A request's body, read strictly: what two JSON parsers could read differently is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from updraft.model.columns import quoted

CHARSETS = {"utf-8", "utf8", "us-ascii"}
TEXTS = re.compile(rb'"(?:[^"\\\\]|\\\\.)*"', re.DOTALL)  # in quotes, where a comma parts nothing
DRAIN = 8  # times the limit that is read on of a body too large


def read(request: Request, limit: int, values: int = 100_000) -> Any:
    """Read the JSON body of at most `limit` bytes and about so many values.

    Raises BadRequest for what is not JSON (NaN, Infinity, a key given twice and half a surrogate pair are not),
    UnsupportedMediaType for another type or an encoded body, RequestEntityTooLarge above a limit.
    """
    media_type(request, ["application/json"])
    raw = content(request, limit)
    uncrowded(raw, values)
    return parse(raw)


def media_type(request: Request, known: Collection[str]) -> str:
    """Return the body's media type; UnsupportedMediaType when it is not a known one, packed or not UTF-8."""
    if request.mimetype not in known:
        raise UnsupportedMediaType(
            f"Content-Type is {quoted(request.mimetype)}, expected {' or '.join(sorted(known))}."
        )
    if request.content_encoding not in {None, "identity"}:
        raise UnsupportedMediaType(f"Content-Encoding {quoted(request.content_encoding)} is not taken: send it plain.")
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in CHARSETS:
        raise UnsupportedMediaType(f"The charset is {quoted(charset)}, expected utf-8.")
    return request.mimetype


def content(request: Request, limit: int) -> bytes:
    """Return the body; RequestEntityTooLarge when it has more than `limit` bytes."""
    request.max_content_length = limit + 1  # werkzeug cuts a body of unknown length there without a word
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raw = None
    if raw is None or len(raw) > limit:
        _drain(request, limit * DRAIN)
        raise RequestEntityTooLarge(f"The body is larger than {limit} bytes.")
    return raw


def uncrowded(raw: bytes, values: int) -> None:
    """Raise RequestEntityTooLarge when JSON or CSV holds more than so many values, before memory is spent on them."""
    if raw.count(b",") > values and TEXTS.sub(b"", raw).count(b",") > values:
        raise RequestEntityTooLarge(f"The body holds more than {values} values.")


def text(raw: bytes) -> str:
    """Decode UTF-8, a byte order mark let pass; BadRequest says where it is none."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8 text: at byte {error.start}.") from None


def parse(raw: bytes, place: str = "") -> Any:
    """Parse strict JSON in UTF-8; BadRequest says where it is not, after the words of `place`."""
    told = text(raw)
    try:
        value = json.loads(told, parse_constant=_no_constant, object_pairs_hook=_object)
        if "\\ud" in told.lower():  # the one way to half a surrogate pair, which is no text
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{place}The body is not UTF-8 text: half a surrogate pair.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadRequest(f"{place}The body is not JSON: {error.msg} at {where}.") from None
    except RecursionError:
        raise BadRequest(f"{place}The body is nested too deep.") from None
    except BadRequest as error:
        raise BadRequest(f"{place}{error.description}") from None
    except ValueError:  # what is left: an integer of more digits than Python converts
        raise BadRequest(f"{place}The body holds a number of too many digits.") from None
    return value


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
        raise BadRequest(f"The body gives the key {quoted(name)} twice in one object.")
    return value
