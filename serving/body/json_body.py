"""Strict JSON bodies: anything that two JSON parsers could read differently is refused."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.http import parse_options_header

from serving.body.value_count import count_json_separators
from serving.server.limits import in_words
from updraft.model.columns import quoted

CHARSETS = {"utf-8", "utf8", "us-ascii"}
DRAIN_FACTOR = 8  # how far beyond the limit the rest of a too large body is read, as a multiple of the limit


def read(request: Request, limit: int, values: int = 100_000) -> Any:
    """Read a JSON body of at most `limit` bytes and about `values` values.

    Raises BadRequest for invalid JSON (including NaN, Infinity, duplicate keys and lone surrogates),
    UnsupportedMediaType for another media type or a compressed body, RequestEntityTooLarge above a limit.
    """
    check_media_type(request, ["application/json"])
    raw = read_body(request, limit)
    check_value_count(raw, values)
    return parse(raw)


def check_media_type(request: Request, known: Collection[str], csv_encoding: str = "utf-8") -> str:
    """Return the body's media type; UnsupportedMediaType if it is unknown, compressed or not UTF-8.

    CSV may also be in `csv_encoding`.
    """
    media_type, charset = content_type(request.headers.get("Content-Type", ""))
    if media_type not in known:
        raise UnsupportedMediaType(f"Content-Type is {quoted(media_type)}, expected {' or '.join(sorted(known))}.")
    if request.content_encoding not in {None, "identity"}:
        encoding = quoted(request.content_encoding)
        raise UnsupportedMediaType(f"Content-Encoding {encoding} is not supported: send the body uncompressed.")
    if charset.lower() not in CHARSETS and not (media_type == "text/csv" and _same(charset, csv_encoding)):
        raise UnsupportedMediaType(f"The charset is {quoted(charset)}, expected utf-8.")
    return media_type


def content_type(header: str) -> tuple[str, str]:
    """Return the media type and the charset that a Content-Type header names; utf-8 if it names none."""
    media_type, parameters = parse_options_header(header)
    return media_type.lower(), parameters.get("charset", "utf-8")


@lru_cache(maxsize=64)
def is_plain_json(header: str) -> bool:
    """Whether a Content-Type header is one that `read` takes for a JSON body."""
    media_type, charset = content_type(header)
    return media_type == "application/json" and charset.lower() in CHARSETS


def read_body(request: Request, limit: int, *, keep: bool = False) -> bytes:
    """Return the body; RequestEntityTooLarge when it has more than `limit` bytes. `keep` it to read it once more."""
    request.max_content_length = limit + 1  # werkzeug silently truncates a body of unknown length there
    try:
        raw = request.get_data(cache=keep)
    except RequestEntityTooLarge:
        raw = None
    if raw is None or len(raw) > limit:
        _drain(request, limit * DRAIN_FACTOR)
        raise RequestEntityTooLarge(f"The body is larger than {in_words(limit)}.")
    return raw


def check_value_count(raw: bytes, values: int) -> None:
    """Raise RequestEntityTooLarge when JSON has more than `values` values.

    Counts commas, before parsing spends memory: a 16 MB body of `0,0,0,…` would become 8 million Python objects.
    """
    if raw.count(b",") > values and count_json_separators(raw, values) > values:
        raise RequestEntityTooLarge(f"The body contains more than {values} values.")


def decode_text(raw: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark; BadRequest names the first invalid byte."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8 text: at byte {error.start}.") from None


def parse(raw: bytes, place: str = "") -> Any:
    """Parse strict JSON in UTF-8; BadRequest names the location of an error, prefixed by `place`."""
    content = decode_text(raw)
    try:
        value = json.loads(content, parse_constant=_reject_constant, object_pairs_hook=_unique_keys)
        if "\\ud" in content.lower():  # only an escape can produce a lone surrogate, which is not valid text
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{place}The body is not UTF-8 text: it contains a lone surrogate.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadRequest(f"{place}The body is not JSON: {error.msg} at {where}.") from None
    except RecursionError:
        raise BadRequest(f"{place}The body is nested too deeply.") from None
    except BadRequest as error:
        raise BadRequest(f"{place}{error.description}") from None
    except ValueError:  # the only remaining one: an integer with more digits than Python converts
        raise BadRequest(f"{place}The body contains a number with too many digits.") from None
    return value


def _same(charset: str, encoding: str) -> bool:
    try:
        return codecs.lookup(charset).name == codecs.lookup(encoding).name
    except (LookupError, ValueError):
        return False


def _drain(request: Request, limit: int) -> None:
    """Read and discard the rest: a client that sends everything before it reads would see a reset, not the response."""
    stream = request.environ["wsgi.input"]
    while limit > 0 and (chunk := stream.read(min(limit, 65536))):
        limit -= len(chunk)


def _reject_constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not JSON: {name} is not a JSON number.")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadRequest(f"The body contains the key {quoted(name)} twice in one object.")
    return value
