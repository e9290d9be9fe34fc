"""The client of Airflow's REST API, on a real api-server; how it waits and what it repeats, on a server of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.airflow_server import LIVE, AirflowServer
from updraft.airflow_client import Airflow, AirflowError, ModelEvent
from updraft.local_stack.credentials import SERVICE
from updraft.local_stack.servers import HOST, free_port, wait_for_port
from updraft.stages.runs import STAGES
from updraft.usecase import paths

DAG = f"train_{LIVE}"
PASSWORD = "a password of ours"


def test_a_run_from_trigger_to_failure(api_server: AirflowServer) -> None:
    airflow = api_server.admin
    started = airflow.trigger(DAG, "a.run~1", {"seed": 1})
    assert started is not None and (started.state, started.conf) == ("queued", {"seed": 1})
    assert airflow.trigger(DAG, "a.run~1") is None  # it exists
    assert airflow.state(DAG, "a.run~1") == "queued"

    tasks = airflow.tasks(DAG, "a.run~1")
    assert {task.task_id for task in tasks} == {*STAGES, "approve"}
    assert {(task.state, task.start_date, task.pid) for task in tasks} == {(None, None, None)}
    assert airflow.failure(tasks[0]) == "No logs available for this task."
    assert airflow.result(DAG, "a.run~1", "evaluate") is None
    assert airflow.model_event(DAG, "a.run~1") == ModelEvent()


def test_what_does_not_exist(api_server: AirflowServer) -> None:
    airflow = api_server.admin
    assert airflow.dag("train_nothing") is None and airflow.run(DAG, "nothing") is None
    with pytest.raises(AirflowError, match=f"{DAG} has no run nothing"):
        airflow.state(DAG, "nothing")
    with pytest.raises(AirflowError, match="GET dags/train_nothing: 404"):
        airflow.request("GET", "dags/train_nothing")


def test_dags(api_server: AirflowServer) -> None:
    airflow = api_server.admin
    assert airflow.use_cases() == sorted(path.stem for path in paths())
    assert airflow.import_errors() == []
    paused = f"train_{next(name for name in airflow.use_cases() if name != LIVE)}"
    try:
        for expected in (True, False):
            dag = airflow.dag(paused)
            assert dag is not None and dag.is_paused == expected
            airflow.unpause(paused)
    finally:
        airflow.request("PATCH", f"dags/{paused}", {"is_paused": True})


def test_what_a_user_may_not_do_is_one_line(api_server: AirflowServer) -> None:
    service = Airflow.patient(api_server.url, SERVICE, api_server.password)
    with pytest.raises(AirflowError, match=f"^Airflow at {api_server.url}: GET connections: 403 "):
        service.request("GET", "connections")


@contextmanager
def server(
    respond: Callable[[BaseHTTPRequestHandler], None], port: int = 0, delay: float = 0
) -> Iterator[tuple[str, list[str]]]:
    """Run an HTTP server after `delay` seconds; yield its URL and the methods of the requests it gets."""
    methods: list[str] = []
    port = port or free_port()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/auth/token":
                return _json(self, 201, b'{"access_token": "a"}')
            methods.append(self.command)
            return respond(self)

        do_POST = do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            return

    stop = threading.Event()

    def run() -> None:
        time.sleep(delay)
        with HTTPServer((HOST, port), Handler) as http:
            http.timeout = 0.05
            while not stop.is_set():
                http.handle_request()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if not delay:
            wait_for_port(port)
        yield f"http://{HOST}:{port}", methods
    finally:
        stop.set()
        thread.join()


def _json(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_the_patient_client_waits_for_a_server_that_starts() -> None:
    port = free_port()
    with server(lambda handler: _json(handler, 200, b'{"version": "3"}'), port, delay=1.0) as (url, _):
        assert Airflow.patient(url, SERVICE, PASSWORD).request("GET", "version") == {"version": "3"}


def test_a_client_that_is_not_patient_fails_at_once_where_nothing_listens() -> None:
    began = time.monotonic()
    with pytest.raises(AirflowError, match="does not answer: POST /auth/token: NewConnectionError"):
        Airflow(f"http://{HOST}:{free_port()}", SERVICE, PASSWORD).dag(DAG)
    assert time.monotonic() - began < 1.0


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize(("patient", "most"), [(False, 2), (True, 6)])
def test_only_a_get_is_repeated(patient: bool, most: int) -> None:
    with server(lambda handler: _json(handler, 503, b"{}")) as (url, methods):
        airflow = (Airflow.patient if patient else Airflow)(url, SERVICE, PASSWORD)
        for method, count in (("GET", most), ("POST", 1), ("PATCH", 1)):
            with pytest.raises(AirflowError, match=f"{method} version: 503"):
                airflow.request(method, "version")
            assert methods.count(method) == count


def test_an_error_never_repeats_the_password() -> None:
    with server(lambda handler: _json(handler, 400, f"a wrong {PASSWORD}".encode())) as (url, _):
        with pytest.raises(AirflowError) as caught:
            Airflow(url, SERVICE, PASSWORD).request("GET", "version")
        assert PASSWORD not in str(caught.value) and "a wrong ***" in str(caught.value)


def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with server(lambda handler: _json(handler, 200, b"{}")) as (url, _):
        assert Airflow.patient(url, SERVICE, PASSWORD).request("GET", "version") == {}
