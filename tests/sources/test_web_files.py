"""Files behind URLs: one version of each, or an error in one line that says what is wrong and repeats no secret."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_cases import integer, small_case
from tests.support.web_server import Answer, Request, ranged, web_server
from updraft.addresses import Connections, from_environment
from updraft.local_stack.servers import free_port
from updraft.sources import open_source
from updraft.sources.source import BadSource
from updraft.usecase import UseCase

ROWS = b"a\n" + b"\n".join(b"%d" % number for number in range(100_000)) + b"\n"


def case_of(url: str, **settings: Any) -> UseCase:
    return small_case([integer("a")], source={"file": {"path": url, **settings}})


def read(url: str, connections: Connections | None = None, **settings: Any) -> tuple[list[int], dict[str, Any]]:
    with open_source(case_of(url, **settings), connections or from_environment({})) as source:
        rows = [number for batch in source.batches() for number in batch.table["a"].to_pylist()]
        return rows, source.provenance()["files"][0]


def refusal(url: str, kind: type[Exception] = BadSource, **more: Any) -> str:
    with pytest.raises(kind) as refused:
        read(url, **more)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("rows.csv", Answer(ROWS)),
        ("rows.csv.gz", Answer(gzip.compress(ROWS))),
        ("rows.csv", Answer(gzip.compress(ROWS), headers={"Content-Encoding": "gzip"})),
        ("export", Answer(ROWS, headers={"Content-Type": "text/csv; charset=utf-8"})),
    ],
)
def test_a_file_is_read_by_its_name_or_its_media_type(name: str, answer: Answer) -> None:
    with web_server(lambda request: answer) as server:
        rows, described = read(f"{server.url}/some/{name}?token=secret")
    assert rows == list(range(100_000))
    assert described == {
        "path": f"{server.url}/some/{name}",
        "sha256": hashlib.sha256(answer.body).hexdigest(),
        "size": len(answer.body),
    }


@pytest.mark.parametrize("packed", ["deflate", "br", "zstd, gzip"])
def test_a_file_that_is_packed_in_another_way_is_refused(packed: str) -> None:
    with web_server(lambda request: Answer(zlib.compress(ROWS), headers={"Content-Encoding": packed})) as server:
        message = refusal(f"{server.url}/rows.csv?token=secret")
    assert message == f"file '{server.url}/rows.csv': its server packs it by {packed}, though nothing was to be packed"


@pytest.mark.usefixtures("short_pauses")
def test_a_file_that_ends_too_soon_again_and_again_is_named() -> None:
    short = Answer(b"a\n1\n", headers={"Content-Length": "44"}, cut=4)
    with web_server(lambda request: short) as server:
        message = refusal(f"{server.url}/rows.csv", ConnectionError)
    assert f"{server.url}/rows.csv" in message and ("ended after 4 of 44 bytes" in message or "broke off" in message)


def test_what_breaks_off_goes_on_where_it_was() -> None:
    def answer(request: Request) -> Answer:
        return ranged(ROWS, request, '"one"', cut=None if "range" in request.headers else 5000)

    with web_server(answer) as server:
        rows, described = read(f"{server.url}/rows.csv")
    assert rows == list(range(100_000)) and described["etag"] == '"one"'
    assert [request.headers.get("range") for request in server.requests[:2]] == [None, "bytes=5000-"]


def test_without_a_version_what_breaks_off_starts_again() -> None:
    answers = iter([Answer(b"a\n77777", cut=None, headers={"Content-Length": "900"}, status=200)])

    def answer(request: Request) -> Answer:
        first = next(answers, None)
        return Answer(first.body, headers=first.headers, cut=len(first.body)) if first else Answer(b"a\n1\n")

    with web_server(answer) as server:
        assert read(f"{server.url}/rows.csv")[0] == [1]


def test_another_version_after_a_break_is_an_error_and_so_is_one_at_the_end() -> None:
    def exchanged(request: Request) -> Answer:
        return ranged(ROWS, request, '"two"' if "range" in request.headers else '"one"', 5000)

    seen: list[str] = []

    def later(request: Request) -> Answer:
        seen.append(request.path)
        return Answer(b"a\n1\n", headers={"Last-Modified": f"Sun, 0{len(seen)} Nov 2026 10:00:00 GMT"})

    for answer in (exchanged, later):
        with web_server(answer) as server:
            assert "/rows.csv': changed while it was read" in refusal(f"{server.url}/rows.csv")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "there is nothing (404)"),
        (401, "refuses the login (401)"),
        (403, "refuses the login, or does not allow it (403)"),
        (400, "the server says 400"),
    ],
)
def test_refusals_are_told_apart_and_repeat_no_query(status: int, message: str) -> None:
    with web_server(lambda request: Answer(b"<h1>secret</h1>", status)) as server:
        assert refusal(f"{server.url}/rows.csv?X-Amz-Signature=secret") == f"{server.url}/rows.csv: {message}"


@pytest.mark.usefixtures("short_pauses")
def test_a_server_in_trouble_is_asked_again_when_it_says() -> None:
    answers = iter([Answer(status=503, headers={"Retry-After": "1"}), Answer(status=500)])
    with web_server(lambda request: next(answers, Answer(b"a\n1\n"))) as server:
        assert read(f"{server.url}/rows.csv")[0] == [1]
    for odd in ("soon", "-5", "1.5"):  # is no time to wait
        answers = iter([Answer(status=503, headers={"Retry-After": odd})])
        with web_server(lambda request, left=answers: next(left, Answer(b"a\n1\n"))) as server:
            assert read(f"{server.url}/rows.csv")[0] == [1]
    with web_server(lambda request: Answer(status=503, headers={"Retry-After": "0"})) as server:
        message = refusal(f"{server.url}/rows.csv?token=secret", ConnectionError)
    assert message == f"{server.url}/rows.csv: the server says 503, again and again"


@pytest.mark.usefixtures("short_pauses")
def test_no_server_is_one_line_without_the_query() -> None:
    message = refusal(f"http://127.0.0.1:{free_port()}/rows.csv?token=secret", ConnectionError)
    assert "no server answers" in message and "secret" not in message and "\n" not in message


def test_a_login_goes_to_its_own_server_only() -> None:
    with web_server(lambda request: Answer(b"a\n1\n")) as other:
        elsewhere = Answer(status=302, headers={"Location": f"{other.url}/rows.csv"})
        with web_server(lambda request: elsewhere) as server:
            connections = from_environment({"DATA_URL": server.url.replace("://", "://:to%2Fken@")})
            assert read(f"{server.url}/private/rows.csv?x=1", connections, connection="data")[0] == [1]
            assert server.requests[0].headers["authorization"] == "Bearer to/ken"
            assert "authorization" not in other.requests[0].headers
            message = refusal(f"{other.url}/rows.csv", connections=connections, connection="data")
    assert f"expected a URL of {server.url}" in message and "ken" not in message


@pytest.mark.parametrize("url", ["http://h/*.csv", "https://h/folder/"])
def test_the_web_lists_no_files(url: str) -> None:
    assert refusal(url) == f"file '{url}': expected one file, as HTTP lists no folders"


@pytest.mark.parametrize("url", ["https://me:secret@h/rows.csv", "https:///rows.csv", "https://me:p/secret@h/rows.csv"])
def test_a_url_that_is_none_or_holds_a_login_is_refused(url: str) -> None:
    assert "secret" not in refusal(url)


def test_nothing_of_a_file_stays_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with web_server(lambda request: Answer(ROWS)) as server:
        with open_source(case_of(f"{server.url}/rows.csv"), from_environment({})) as source:
            assert list(tmp_path.iterdir()) == [] and any(tmp_path in file.parents for file in open_files())
            list(source.batches())
    assert not any(tmp_path in file.parents for file in open_files())


def open_files() -> list[Path]:
    return [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


@pytest.mark.parametrize("content_range", ["bytes 0-5/44", "", "bytes a-b/c"])
def test_a_part_that_was_not_asked_for_is_no_file(content_range: str) -> None:
    part = Answer(b"a\n1\n2\n", headers={"Content-Range": content_range} if content_range else {}, status=206)
    with web_server(lambda request: part) as server:
        assert "gives a part (206) that was not asked for" in refusal(f"{server.url}/rows.csv")
