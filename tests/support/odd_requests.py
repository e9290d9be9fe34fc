"""Requests to POST /predict/<use case>, as bytes: good, odd and hostile ones, drawn and written by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.support.service import PREDICT
from tests.support.small_models import ROW

HEADER = "x-answered-in-loop"  # of `loop_app`
JSON = "Content-Type: application/json"
CLOSE = "Connection: close"
GOOD = json.dumps(ROW).encode()
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        44,
        44.0,
        44.5,
        1e3,
        -0.0,
        1e-320,
        1e308,
        2**53,
        2**63,
        10**30,
        "",
        "44",
        "NaN",
        "Male",
    ),
    *("Female", "> 2 Years", "é", "e\u0301", "🚗", "\x00", "a" * 300, [], {}, [44], {"Age": 44}),
]
SPELLINGS = [
    b"NaN",
    b"Infinity",
    b"1e999",
    b"044",
    b"+44",
    b"44.",
    b".5",
    b"4_4",
    b'"\\ud800"',
    b'"\\u0041"',
    b"4e1",
    b"'a'",
]
HEADERS = [
    *("Accept: */*", "Accept: text/csv", "Accept: application/json;q=0.1, text/csv", "Accept: text/html", "Accept:"),
    *(
        "Accept: text/csv;q=0, */*",
        "Accept: ;;,,q=",
        "Accept: application/json, text/plain, */*",
        "Accept: " + "a," * 200,
    ),
    *(
        "Content-Encoding: gzip",
        "Content-Encoding: identity",
        "Content-Encoding:",
        "Cookie: a=b",
        "X-Api-Key: a-key-of-the-tests",
    ),
    *(
        "Authorization: Bearer a-key-of-the-tests",
        "Authorization: bearer  a-key-of-the-tests ",
        "Authorization: Basic eDphLWtleS1vZi10aGUtdGVzdHM=",
    ),
    *(
        "Authorization: Basic !!",
        "Authorization: Digest a",
        "X-API-Key: wrong",
        "X-API-Key:",
        "X_API_Key: a-key-of-the-tests",
    ),
    *(
        "X-Forwarded-Host: other.example",
        "X-Forwarded-Host: a.served.example",
        "X-Forwarded-Host: a.served.example:443\r\nX-Forwarded-Proto: https",
        "X-Forwarded-Host: served.example, other.example",
        "X-Forwarded-Host: other.example, a.served.example, served.example",
        'X-Forwarded-Host: "a.served.example"',
        "X-Forwarded-Host: a..served.example",
        "X-Forwarded-Host: a b",
        "X-Forwarded-Host: served.example:0",
        "X-Forwarded-Host:",
        "X-Forwarded-Host: ,",
        "X-Forwarded-Host: " + "a" * 400,
        "X-Forwarded-Host: served.example\r\nX-Forwarded-Host: other.example",
        "X-Forwarded-For: 1.2.3.4, 5.6.7.8",
        "X-Forwarded-Proto: https",
        "Range: bytes=0-1",
    ),
    *("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "User-Agent: x", "If-None-Match: *"),
    *(
        "X-HTTP-Method-Override: DELETE",
        "Upgrade: h2c",
        "Content-Language: de",
        "X-Odd: é",
        "Expect: 200-maybe",
        "Host: x",
    ),
]
TYPES = [
    *(
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF8",
        'APPLICATION/JSON; charset="us-ascii"',
    ),
    *(
        "application/json; charset=latin-1",
        "application/json; charset",
        "application/json;",
        "application/jsonl",
        "text/csv",
    ),
    *(
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "json",
        "application/json, text/csv",
        "application/problem+json",
    ),
    *("application/json; " + "a=b; " * 60, "application/json; charset*=utf-8''latin-1", "application/json; q=1"),
]
HOSTS = [
    *(
        "x",
        "served.example",
        "a.served.example",
        "SERVED.example:80",
        "served.example.",
        "served.example:0",
        "[::1]:80",
        "127.0.0.1",
    ),
    *(
        "",
        "a b",
        "x:99999",
        "x:999999",
        "é.example",
        "a..b",
        "-a",
        "x@served.example",
        "served.example,x",
        "a" * 400,
        "xn--a",
    ),
]
LINES = [
    *(
        f"POST {path} HTTP/1.1"
        for path in (PREDICT + "/", "/" + PREDICT, PREDICT + "?a=b", PREDICT + "?", "/predict/unknown")
    ),
    *(
        f"POST {path} HTTP/1.1"
        for path in ("/predict/", PREDICT.upper(), PREDICT.replace("_", "%5F"), PREDICT + "%00", "/predict/a/b")
    ),
    *(f"{method} {PREDICT} HTTP/1.1" for method in ("GET", "PUT", "HEAD", "OPTIONS", "post", "DELETE", "PATCH")),
    *(
        f"POST {PREDICT} HTTP/1.0",
        f"POST http://served.example{PREDICT} HTTP/1.1",
        f"POST {PREDICT}/../{PREDICT} HTTP/1.1",
    ),
]


def requests(count: int, own: list[str], seed: int = 1) -> Iterator[bytes]:
    """Yield all that is written by hand, then `count` drawn requests; `own` headers are sent with most of them."""
    for line in LINES:
        yield request(GOOD, [JSON, *own], line=line)
    for header in HEADERS:
        yield request(GOOD, [JSON, *own, header])
        yield request(GOOD, [JSON, header])
    for kind in TYPES:
        yield request(GOOD, [f"Content-Type: {kind}", *own])
    for host in HOSTS:
        yield request(GOOD, [JSON, *own], host=host)
    for body in _bodies():
        yield request(body, [JSON, *own])
    yield request(GOOD, own)
    yield request(GOOD, [JSON, *own], host=None)
    draw = random.Random(seed)
    for _ in range(count):
        yield _drawn(draw, own)


def request(
    body: bytes, headers: list[str], line: str = f"POST {PREDICT} HTTP/1.1", host: str | None = "served.example"
) -> bytes:
    """Return the bytes of a request, after which the connection ends."""
    lines = [line, *([] if host is None else [f"Host: {host}"]), *headers, CLOSE, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _bodies() -> Iterator[bytes]:
    yield from (
        b"",
        b" ",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"\xef\xbb\xbf" + GOOD,
        GOOD[:-1],
        GOOD + b"}",
        b" " + GOOD + b"\n",
    )
    yield from (b"[" * 5000, b'{"rows":' * 500, GOOD.decode().encode("utf-16"), GOOD + b"\xff", b"\x00" + GOOD)
    yield GOOD[:-1] + b"," * 10 + b"}"
    yield GOOD[:-1] + b" " * 8192 + b"}"
    yield GOOD.ljust(8192)
    yield GOOD.ljust(8193)
    for spelling in SPELLINGS:
        yield GOOD.replace(b"44", spelling, 1)
    for rows in ([], [ROW], [ROW] * 3, [ROW, {}], [ROW, 1], {}, None):
        yield json.dumps({"rows": rows}).encode()
    yield json.dumps({"rows": [ROW], "a": 1}).encode()
    for names in ([*ROW], [*ROW][:-1]):
        yield json.dumps({"columns": {name: [ROW[name]] * 3 for name in names}}).encode()
    yield json.dumps({"columns": {name: [ROW[name]] * (1 + len(name) % 2) for name in ROW}}).encode()
    yield GOOD[:-1] + b', "Age": 21}'
    yield json.dumps(ROW | {"id": 7}).encode()
    yield json.dumps(ROW | {"id": "seven", "Response": 1}).encode()
    yield json.dumps(ROW | {"unknown": 1, "\u202e": 2}).encode()


def _drawn(draw: random.Random, own: list[str]) -> bytes:
    headers = [JSON if draw.random() < 0.9 else f"Content-Type: {draw.choice(TYPES)}"]
    headers += own if draw.random() < 0.95 else []
    headers += draw.sample(HEADERS, draw.choice([0, 0, 0, 0, 0, 0, 1, 2]))
    line = f"POST {PREDICT} HTTP/1.1" if draw.random() < 0.95 else draw.choice(LINES)
    host = "served.example" if draw.random() < 0.9 else draw.choice(HOSTS)
    return request(_body(draw), headers, line, host)


def _body(draw: random.Random) -> bytes:
    rows = [_row(draw) for _ in range(draw.choice([1, 1, 1, 1, 2, 5]))]
    value: Any = rows[0]
    if len(rows) > 1 or draw.random() < 0.1:
        value = (
            {"rows": rows}
            if draw.random() < 0.6
            else {"columns": {name: [row.get(name) for row in rows] for name in ROW}}
        )
    body = json.dumps(value, ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, None, 1]))
    raw = body.encode(errors="surrogatepass")
    if draw.random() < 0.1:  # broken somewhere
        at = draw.randrange(len(raw))
        raw = (
            raw[:at] + draw.choice([b"", b'"', b",", b"\\", b"\xff", b"}", b"\n", b"0"]) + raw[at + draw.randrange(2) :]
        )
    return raw


def _row(draw: random.Random) -> dict[str, Any]:
    row = ROW | {
        "Age": draw.randint(20, 85),
        "Annual_Premium": draw.randint(2630, 500_000) / 4,
        "Vintage": draw.randint(10, 299),
    }
    if draw.random() < 0.25:
        row[draw.choice([*ROW])] = draw.choice(VALUES)
    if draw.random() < 0.05:
        del row[draw.choice([*ROW])]
    if draw.random() < 0.05:
        row[draw.choice(["id", "Response", "unknown", "age", ""])] = draw.choice(VALUES)
    names = [*row]
    if draw.random() < 0.3:
        draw.shuffle(names)
    return {name: row[name] for name in names}
