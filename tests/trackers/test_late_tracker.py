"""A tracker that is down, slow, or something else altogether: a run goes on, and no log has its login."""

from __future__ import annotations

import base64
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.mlflow_stand_in import MlflowStandIn
from tests.support.versions import NAME, promoted, pushed
from tests.support.web_server import Answer, Request, web_server
from updraft.cli.main import app
from updraft.errors import UserError
from updraft.local_stack.servers import free_port
from updraft.registry.registry import Registry
from updraft.trackers.mlflow import Tracker, follow_with_tracker
from updraft.trackers.mlflow_server import read_address

PASSWORD, TOKEN = "p@ss word/1", "a-token-of-the-tests"
BASIC = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
BEARER = {"MLFLOW_TRACKING_TOKEN": TOKEN}


def test_a_tracker_that_is_down_costs_one_line_and_is_caught_up_later(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    follow_with_tracker(registry, {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}", **BEARER})
    with caplog.at_level(logging.INFO):
        promoted(registry, tmp_path, 1, 2)
    assert registry.production(NAME) == 2
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith(f"{NAME}: the tracker is late, and is tried again: http://127.0.0.1:") and TOKEN not in line
    stand_in = MlflowStandIn()
    with web_server(stand_in.answer) as server:
        assert Tracker(registry, {"MLFLOW_TRACKING_URI": server.url}).sync(NAME) == [1, 2]
    assert stand_in.models[NAME]["aliases"] == [{"alias": "champion", "version": "2"}]


@contextmanager
def dripping(first: bytes) -> Iterator[str]:
    """Run a server that says a little, and then a byte now and then, for ever."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(first)
                while not ended.wait(0.05):
                    connection.sendall(b" ")
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"], ids=["head", "body"])
def test_a_tracker_that_is_slow_is_given_up(first: bytes, registry: Registry, tmp_path: Path) -> None:
    """Without a limit this test would not end."""
    pushed(registry, tmp_path, 1)
    with dripping(first) as url:
        late = Tracker(registry, {"MLFLOW_TRACKING_URI": url}, seconds=0.5).follow(NAME)
    assert late and url in late


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>Welcome</html>"),
        Answer(b""),
        Answer(b"[1]"),
        Answer(b'{"registered_model": {"aliases": [{"alias": 3}]}}'),
        Answer(b"[" * 100_000),
        Answer(b"{}" + b" " * (17 << 20)),
        Answer(b"\xff\xfe", 500),
        Answer(b"", 302, {"Location": "/elsewhere"}),
        Answer(b"x", headers={"Content-Encoding": "gzip"}),
        Answer(f'{{"error_code": "X", "message": "no {PASSWORD}, no {TOKEN}"}}'.encode(), 400),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:20]!r}",
)
@pytest.mark.parametrize("login", [BASIC, BEARER], ids=["basic", "bearer"])
def test_what_is_no_tracker_ends_no_move(
    answer: Answer, login: dict[str, str], registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with web_server(lambda _: answer) as server, caplog.at_level(logging.DEBUG):
        follow_with_tracker(registry, {"MLFLOW_TRACKING_URI": server.url, **login})
        promoted(registry, tmp_path, 1)
        late = registry.followers[0].follow(NAME)
    assert registry.production(NAME) == 1
    assert late and server.url in late and "\n" not in late and len(late) < 1000
    basic = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    assert not [each for each in (*login.values(), basic) if each != "ann" and each in caplog.text + late]


@pytest.mark.parametrize(
    ("login", "header"),
    [
        ({}, None),
        (BASIC, "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()),
        (BEARER, f"Bearer {TOKEN}"),
        (BASIC | BEARER, "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()),
        ({"MLFLOW_TRACKING_USERNAME": "ann"}, None),
    ],
    ids=["none", "basic", "bearer", "both", "half"],
)
def test_the_login_is_that_of_mlflows_own_variables(
    login: dict[str, str], header: str | None, registry: Registry, tmp_path: Path
) -> None:
    pushed(registry, tmp_path, 1)
    stand_in = MlflowStandIn()
    with web_server(stand_in.answer) as server:
        Tracker(registry, {"MLFLOW_TRACKING_URI": f"{server.url}/", **login}).sync(NAME)
    assert {request.headers.get("authorization") for request in server.requests} == {header}


def test_a_login_in_the_uri_is_sent_and_not_shown() -> None:
    address = read_address({"MLFLOW_TRACKING_URI": "https://ann:p%40ss@dagshub.com/ann/shop.mlflow/"})
    assert address.url == "https://dagshub.com/ann/shop.mlflow"
    assert address.authorization == "Basic " + base64.b64encode(b"ann:p@ss").decode()
    assert "p@ss" not in f"{address}" and address.redact("no p@ss, no p%40ss") == "no ***, no ***"


@pytest.mark.parametrize(
    "uri", ["databricks", "file:///tmp/mlruns", "sqlite:///mlflow.db", "http://", "http://h:x", "//ann:secret@h", "[",
            "ftp://ann:secret@h", "http://h?token=secret"]
)  # fmt: skip
def test_a_uri_that_is_no_server_is_one_line_and_ends_no_move(
    uri: str, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=r"MLFLOW_TRACKING_URI.*expected http"):
        read_address({"MLFLOW_TRACKING_URI": uri})
    follow_with_tracker(registry, {"MLFLOW_TRACKING_URI": uri})
    promoted(registry, tmp_path, 1)
    assert registry.production(NAME) == 1 and "MLFLOW_TRACKING_URI" in caplog.text and "secret" not in caplog.text


def test_artifacts_that_the_server_does_not_take_are_left_out(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.joblib").write_text("x")
    (folder / "card.html").write_text("<p>card")
    registry.push(NAME, folder, {}, "run 1")
    stand_in = MlflowStandIn()

    def answer(request: Request) -> Answer:
        return Answer(b"{}", 503) if "mlflow-artifacts" in request.path else stand_in.answer(request)

    with web_server(answer) as server:
        assert Tracker(registry, {"MLFLOW_TRACKING_URI": server.url}).sync(NAME) == [1]
    assert [run["info"]["status"] for run in stand_in.runs.values()] == ["FINISHED"]


def test_the_command_records_what_is_missing(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2)
    run, unset = CliRunner(), {"MLFLOW_TRACKING_URI": ""}
    shown = run.invoke(app, ["tracker"], env=registry_environ | unset)
    assert (shown.exit_code, "MLFLOW_TRACKING_URI: not set" in shown.stderr) == (1, True)
    with web_server(MlflowStandIn().answer) as server:
        environ = registry_environ | {"MLFLOW_TRACKING_URI": server.url}
        first, again = (run.invoke(app, ["tracker"], env=environ) for _ in range(2))
        champion = f"version 2 is the champion: {server.url}"
        assert (first.exit_code, first.stdout) == (0, f"{NAME}: 2 new of 2 versions, {champion}\n")
        assert (again.exit_code, again.stdout) == (0, f"{NAME}: 0 new of 2 versions, {champion}\n")
        unknown = run.invoke(app, ["tracker", "nothing_here"], env=environ)
        assert (unknown.exit_code, "nothing_here: no version" in unknown.stderr) == (1, True)
    late = run.invoke(app, ["tracker"], env=environ | BEARER)
    assert (late.exit_code, f"updraft: late: {NAME}: {server.url}" in late.stderr, TOKEN in late.output) == (
        1,
        True,
        False,
    )
