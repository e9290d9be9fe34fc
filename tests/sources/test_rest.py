"""A JSON API is read to its stated end, page by page, or the run stops: never half of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connections import source_address
from tests.support.small_cases import integer, small_case, text
from tests.support.web_server import Answer, Request, web_server
from updraft.addresses import Connections, from_environment
from updraft.local_stack.servers import free_port
from updraft.sources import open_source
from updraft.sources.source import BadSource
from updraft.usecase import UseCase

ROWS = [{"a": number, "t": "ä"} for number in range(25)]


def case_of(url: str, read: dict[str, Any] | None = None, **settings: Any) -> UseCase:
    columns = [integer("a"), text("t")]
    return small_case(columns, source={"rest": {"url": url, **settings}}, read=read or {})


def numbers(url: str, limit: int | None = None, connections: Connections | None = None, **settings: Any) -> list[int]:
    with open_source(case_of(url, **settings), connections or from_environment({}), limit) as source:
        return [number for batch in source.batches() for number in batch.table["a"].to_pylist()]


def refusal(url: str, kind: type[Exception] = BadSource, **settings: Any) -> str:
    with pytest.raises(kind) as refused:
        numbers(url, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def answer(document: Any, **more: Any) -> Answer:
    return Answer(json.dumps(document).encode(), headers={"Content-Type": "application/json"}, **more)


def query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}


def by_offset(request: Request, size: int = 10) -> list[dict[str, Any]]:
    asked = query(request)
    start = int(asked.get("offset", (int(asked.get("page", 1)) - 1) * size))
    return ROWS[start : start + size]


def test_one_page_is_all_without_pages() -> None:
    with web_server(lambda request: answer({"data": {"items": ROWS}})) as server:
        assert numbers(f"{server.url}/v1/orders?key=secret", rows="/data/items") == list(range(25))
        assert len(server.requests) == 1
        with open_source(case_of(f"{server.url}/v1?key=secret", rows="/data/items"), from_environment({})) as source:
            list(source.batches())
            assert str(source) == f"REST API '{server.url}/v1'" and "secret" not in json.dumps(source.provenance())


@pytest.mark.parametrize(
    ("pages", "requests"),
    [
        ({"by": "number"}, 4),
        ({"by": "number", "total": "/total"}, 3),
        ({"by": "number", "more": "/more"}, 3),
        ({"by": "number", "parameter": "page", "start": 1, "size": 500, "size_parameter": "per_page"}, 4),
        ({"by": "offset"}, 4),
        ({"by": "offset", "size": 500, "total": "/total"}, 3),
        ({"by": "cursor", "parameter": "offset", "next": "/next"}, 3),
        ({"by": "link"}, 3),
        ({"by": "link", "next": "/links/0"}, 3),
    ],
)
def test_pages_are_read_to_their_end(pages: dict[str, Any], requests: int) -> None:
    def api(request: Request) -> Answer:
        rows = by_offset(request)  # a server that gives less than is asked for
        following = rows[-1]["a"] + 1 if rows and rows[-1]["a"] < 24 else None
        link = f"/v1?offset={following}&keep=1" if following else None
        document = {"rows": rows, "total": 25, "more": following is not None, "next": following, "links": [link]}
        found = answer(document)
        return Answer(found.body, headers={"Link": f'<{link}>; rel="next"'} if link else {})

    with web_server(api) as server:
        assert numbers(f"{server.url}/v1?keep=1", rows="/rows", pages=pages) == list(range(25))
        assert len(server.requests) == requests
        assert all(query(request)["keep"] == "1" for request in server.requests)
        assert numbers(f"{server.url}/v1", limit=12, rows="/rows", pages=pages) == list(range(12))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Answer(b"<h1>busy</h1>", headers={"Content-Type": "text/html"}), "page 2 is not JSON, but text/html"),
        (answer({"error": "busy"}), "page 2: expected a list at '/rows', found nothing; it has error"),
        (answer({"rows": None, "error": "busy"}), "page 2: expected a list at '/rows', found null"),
        (answer({"rows": ROWS[:10], "total": 25, "more": True}), "page 2 is one that came before: does the API know"),
        (answer({"rows": [], "more": True}), "page 2 says that more follow, and names none"),
        (answer({"rows": [], "total": 25}), "10 rows came, though it says that there are 25"),
        (Answer(status=404), "/v1: there is nothing (404)"),
        (Answer(status=401), "/v1: refuses the login (401)"),
        (answer({"rows": [], "total": "25"}), "page 2: expected a whole number at '/total', found a text"),
    ],
)
def test_an_error_in_the_middle_stops_the_run(second: Answer, message: str) -> None:
    def api(request: Request) -> Answer:
        first = {"rows": ROWS[:10], "total": 25, "more": True}
        return answer(first) if query(request)["page"] == "1" else second

    with web_server(api) as server:
        pages = {"by": "number", "total": "/total", "more": "/more"}
        kept = {key: value for key, value in pages.items() if key == "by" or key.encode() in second.body}
        assert message in refusal(f"{server.url}/v1?key=secret", rows="/rows", pages=kept)


@pytest.mark.usefixtures("short_pauses")
def test_a_server_in_trouble_is_asked_again_and_then_stops_the_run() -> None:
    answers = iter([Answer(status=429, headers={"Retry-After": "1"}), Answer(status=503), answer(ROWS, cut=9)])
    with web_server(lambda request: next(answers, answer(ROWS))) as server:
        started = time.monotonic()
        assert numbers(f"{server.url}/v1") == list(range(25))
        assert time.monotonic() - started > 1
    with web_server(lambda request: Answer(status=500, headers={"Retry-After": "0"})) as server:
        message = refusal(f"{server.url}/v1?key=secret", ConnectionError)
    assert message == f"{server.url}/v1: the server says 500, again and again"
    with web_server(lambda request: answer(ROWS, cut=9)) as server:
        assert "the connection broke off" in refusal(f"{server.url}/v1", ConnectionError)
    nowhere = refusal(f"http://127.0.0.1:{free_port()}/v1?key=secret", ConnectionError)
    assert "no server answers" in nowhere and "secret" not in nowhere


def test_a_pause_that_is_too_long_is_not_waited_out() -> None:
    slow = Answer(status=429, headers={"Retry-After": "86400"})
    with web_server(lambda request: slow) as server:
        started = time.monotonic()
        message = refusal(f"{server.url}/v1?key=secret", ConnectionError)
        assert time.monotonic() - started < 5 and len(server.requests) == 1
    assert message == f"{server.url}/v1: the server says 429 and asks to wait 86,400 s, more than 300 s"


BAD_URLS = [
    "http://127.0.0.1:abc/x?key=secret",
    "http://127.0.0.1:999999/x",
    "http://[::1/x",
    "http://:80/x",
    "http://x:0/",
]


@pytest.mark.parametrize("bad", BAD_URLS)
def test_a_url_that_is_none_is_one_line_whoever_gives_it(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(bad).endswith("expected a URL such as https://host/rows")
    with pytest.raises(BadSource, match="ORDERS_URL: expected https://user"):
        numbers("/v1", connection="orders", connections=from_environment({"ORDERS_URL": bad}))
    redirect = Answer(status=302, headers={"Location": bad})
    with web_server(lambda request: redirect) as server:
        assert "/v1: its redirect leads nowhere: http" in refusal(f"{server.url}/v1")
    for body, headers, pages in (
        (ROWS, {"Link": f'<{bad}>; rel="next"'}, {"by": "link"}),
        ({"rows": ROWS, "next": bad}, {}, {"by": "link", "next": "/next"}),
    ):
        page = Answer(json.dumps(body).encode(), headers={"Content-Type": "application/json", **headers})
        with web_server(lambda request, page=page: page) as server:
            message = refusal(f"{server.url}/v1", pages=pages, rows="/rows" if "rows" in body else "")
        assert "/v1: its next page: http" in message and "secret" not in message


@pytest.mark.parametrize(
    ("base", "relative", "path"),
    [
        ("/v1/", "orders", "/v1/orders"),
        ("/v1", "orders?a=1", "/v1/orders?a=1"),
        ("/v1?key=k", "orders?a=1", "/v1/orders?key=k&a=1"),
        ("/v1?key=k", "/orders", "/orders?key=k"),
        ("/v1?key=k", "?a=1", "/v1?key=k&a=1"),
        ("", "orders", "/orders"),
    ],
)
def test_a_relative_url_begins_where_the_connection_leads(base: str, relative: str, path: str) -> None:
    with web_server(lambda request: answer(ROWS)) as server:
        connections = from_environment({"ORDERS_URL": server.url + base})
        assert numbers(relative, connection="orders", connections=connections) == list(range(25))
        assert [request.path for request in server.requests] == [path]


def overlapping(changed: Any) -> Callable[[Request], Answer]:
    """Answer by offset; before the second page is read, a row comes in front, and moves the others."""

    def api(request: Request) -> Answer:
        start = int(query(request)["offset"])
        return answer(ROWS[:10] if not start else [{**ROWS[9], **changed}, *ROWS[10:19]] if start == 10 else [])

    return api


def test_a_row_that_moves_to_a_later_page_is_taken_once(caplog: pytest.LogCaptureFixture) -> None:
    columns = [integer("a"), text("t")]
    for changed in ({}, {"t": "new"}):
        with web_server(overlapping(changed)) as server:
            source_block = {"rest": {"url": f"{server.url}/v1", "pages": {"by": "offset"}}}
            case = small_case(columns, source=source_block, id="a")
            if changed:
                with (
                    pytest.raises(BadSource, match="page 2, row 1: id 9 came on an earlier page as another row"),
                    open_source(case, from_environment({}), None),
                ):
                    pass
                continue
            with open_source(case, from_environment({}), None) as source:
                found = [each for batch in source.batches() for each in batch.table["a"].to_pylist()]
            assert found == list(range(19))
            assert "1 rows came again on a later page" in caplog.text


def test_a_name_that_comes_twice_in_an_object_stops_the_run() -> None:
    with web_server(lambda request: Answer(b'[{"a": 1, "a": 2, "t": "x"}]')) as server:
        assert "page 1: 'a' comes twice in an object" in refusal(f"{server.url}/v1")


def test_no_more_requests_are_sent_than_the_rate_allows() -> None:
    with web_server(lambda request: answer(by_offset(request))) as server:
        started = time.monotonic()
        numbers(f"{server.url}/v1", pages={"by": "offset"}, rate=4)
        assert len(server.requests) == 4 and time.monotonic() - started > 0.75


@pytest.mark.parametrize(
    ("login", "header", "sent"),
    [
        (":to%2Fken", None, ("authorization", "Bearer to/ken")),
        ("me:to%2Fken", None, ("authorization", "Basic bWU6dG8va2Vu")),
        (":to%2Fken", "X-Api-Key", ("x-api-key", "to/ken")),
    ],
)
def test_a_login_is_sent_to_its_own_server(login: str, header: str | None, sent: tuple[str, str]) -> None:
    with web_server(lambda request: answer(ROWS)) as server:
        connections = from_environment({"ORDERS_URL": server.url.replace("://", f"://{login}@")})
        settings = {"header": header} if header else {}
        assert numbers("/v1/orders", connections=connections, connection="orders", **settings) == list(range(25))
        assert server.requests[0].path == "/v1/orders" and server.requests[0].headers[sent[0]] == sent[1]


@pytest.mark.parametrize("header", [None, "X-Api-Key"])
@pytest.mark.parametrize("token", ["SECRET%0A", "SECRET%0D%0AX: y", "%E5%AF%86SECRET"])
def test_a_token_that_no_header_can_hold_is_one_line_without_it(token: str, header: str | None) -> None:
    settings = {"header": header} if header else {}
    case = case_of("/rows", connection="orders", **settings)
    with (
        pytest.raises(BadSource) as refused,
        open_source(case, from_environment({"ORDERS_URL": f"http://:{token}@127.0.0.1:9"})),
    ):
        pass
    assert str(refused.value) == "ORDERS_URL: its token holds a character that no HTTP header can hold"


def test_no_page_leads_to_another_server() -> None:
    with web_server(lambda request: answer(ROWS)) as other:
        with web_server(lambda request: answer({"rows": ROWS, "next": f"{other.url}/?steal=1"})) as server:
            message = refusal(f"{server.url}/v1", rows="/rows", pages={"by": "link", "next": "/next"})
        assert message == f"{other.url}/: expected a URL of {server.url}" and other.requests == []


def test_an_airflow_connection_leads_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(lambda request: answer(ROWS)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        connection = {"conn_type": "http", "host": host, "port": int(port), "password": "only/here"}
        for schema, place in ((None, host), ("http", host), (None, f"http://{host}")):
            monkeypatch.setenv("AIRFLOW_CONN_ORDERS", json.dumps(connection | {"schema": schema, "host": place}))
            assert numbers("v1", connections=source_address, connection="orders") == list(range(25))
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer only/here"}


def test_rows_that_do_not_fit_are_named_by_page_and_number() -> None:
    rows = [{"a": 1, "x": {"y": "deep"}}, 7, {"a": "x"}, {"t": "no a"}]
    with web_server(lambda request: answer(rows)) as server:
        case = case_of(f"{server.url}/v1", {"rename": {"x.y": "t"}})
        with open_source(case, from_environment({})) as source:
            (batch,) = source.batches()
    assert batch.table.to_pylist() == [{"a": 1, "t": "deep"}]
    assert {reject.place: reject.reason.partition(" (")[0] for reject in batch.rejects} == {
        "page 1, row 3": "a: 'x'",
        "page 1, row 4": "a: missing",
        "page 1, row 2": "not a JSON object",
    }


Api = Callable[[Request], Answer]


@pytest.mark.parametrize(
    ("api", "message"),
    [
        (lambda request: answer([]), "no rows at '': the list is empty"),
        (lambda request: answer([{"b": 1}]), "no column of the suite in it; found 'b', expected a, t"),
        (lambda request: Answer(b"[" + b" " * (65 << 20) + b"]"), "page 1 has more than 64 MB"),
        (lambda request: Answer(b"[" * 100_000), "page 1 is not JSON"),
        (lambda request: Answer(status=302, headers={"Location": "/v1"}), "redirects without end"),
    ],
)
def test_what_is_no_list_of_rows_is_one_line(api: Api, message: str) -> None:
    with web_server(api) as server:
        assert message in refusal(f"{server.url}/v1")


def test_a_url_without_a_server_needs_a_connection() -> None:
    assert "expected a URL such as https://host/rows" in refusal("/v1/orders")
    with pytest.raises(BadSource, match=r"^ORDERS_URL: expected https://user:password@host, or https://:token@host$"):
        numbers("/v1", connection="orders")


@pytest.mark.parametrize(
    ("pages", "body"),
    [
        ({"by": "number"}, lambda number: {"rows": ROWS, "at": number}),  # the parameter is ignored
        ({"by": "link", "next": "/next"}, lambda number: {"rows": [{"a": number, "t": "x"}], "next": "/v1"}),
        ({"by": "cursor", "next": "/next"}, lambda number: {"rows": [{"a": number, "t": "x"}], "next": "c"}),
        ({"by": "cursor", "next": "/next"}, lambda number: {"rows": [], "next": "c"}),
    ],
)
def test_pages_that_go_round_are_not_read_for_ever(pages: dict[str, Any], body: Callable[[int], Any]) -> None:
    count = 0

    def api(request: Request) -> Answer:
        nonlocal count
        count += 1
        return answer(body(count))

    with web_server(api) as server:
        message = refusal(f"{server.url}/v1", rows="/rows", pages=pages)
    assert "came before" in message or "would never end" in message
    assert count <= 3
