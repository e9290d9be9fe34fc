"""Training from the service, over a real api-server of Airflow."""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests
from werkzeug.test import TestResponse

from serving.server.problems import register_error_handlers
from serving.training.rate_limit import RateLimiter
from serving.training.trigger import CACHE_SECONDS, Trainer, open_trainer
from serving.training.views import OFF, blueprint
from tests.support import service
from tests.support.airflow_server import BEARER, LIVE, TOKEN, AirflowServer
from tests.support.rate_limits import let_in
from updraft.airflow_client import FAILURE, Airflow
from updraft.local_stack.credentials import SERVICE
from updraft.local_stack.servers import free_port
from updraft.model.signature import BadRow
from updraft.run_params import RunParams
from updraft.stages.runs import STAGES
from updraft.usecase import paths

PAUSED = "vehicle_price"  # a use case
POST = f"/train/{LIVE}"
PLENTY = 10_000


@pytest.fixture
def trainer(api_server: AirflowServer) -> Trainer:
    return Trainer(Airflow(api_server.url, SERVICE, api_server.password), TOKEN, starts=PLENTY)


@pytest.fixture
def client(trainer: Trainer) -> FlaskClient:
    return client_of(trainer)


def client_of(trainer: Trainer | None) -> FlaskClient:
    app = Flask(__name__, static_folder=None)
    register_error_handlers(app, lambda kind: None)
    app.register_blueprint(blueprint(trainer))
    return app.test_client()


def elsewhere(url: str, password: str = "a password of ours", read: float = 1.0) -> Trainer:
    return Trainer(Airflow(url, SERVICE, password, connect=1.0, read=read), TOKEN, starts=PLENTY)


def problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """Hold an answer against what every problem must be, and against what Airflow must not tell."""
    for secret in (TOKEN, "password", "127.0.0.1", "api/v2"):
        assert secret not in answer.text
    return service.problem(answer, status)


def run_id(answer: TestResponse) -> str:
    assert answer.status_code == 202, answer.text
    return str(answer.json["run_id"])


# --- starting ---------------------------------------------------------------------------------------------------------


def test_a_post_starts_a_run_that_a_get_follows(client: FlaskClient, api_server: AirflowServer) -> None:
    answer = client.post(POST, json={"seed": 7, "limit": None, "promote": "never"}, headers=BEARER)
    assert answer.status_code == 202
    body = answer.json
    assert re.fullmatch("service__[0-9a-f]{32}", body["run_id"])
    url = f"/train/{LIVE}/{body['run_id']}"
    assert body == {"use_case": LIVE, "run_id": body["run_id"], "state": "queued", "url": url}
    assert answer.headers["Location"] == url

    found = api_server.admin.request("GET", f"dags/train_{LIVE}/dagRuns/{body['run_id']}")
    assert found["conf"] == {"seed": 7, "promote": "never"}
    assert (found["triggering_user_name"], found["logical_date"]) == (SERVICE, None)

    followed = client.get(url, headers=BEARER)
    assert followed.status_code == 200
    nothing = dict.fromkeys(("started", "ended", "outcome", "version", "reason"))
    tasks = followed.json.pop("tasks")
    assert followed.json | {"tasks": tasks} == {
        "use_case": LIVE,
        "run_id": body["run_id"],
        "state": "queued",
        **nothing,
        "tasks": tasks,
        "airflow_url": f"{api_server.url}/dags/train_{LIVE}/runs/{body['run_id']}",
    }
    assert {task["name"] for task in tasks} == {*STAGES, "approve"}
    assert {task["state"] for task in tasks} == {"waiting"}


def test_no_body_at_all_and_an_empty_object_mean_the_yaml(client: FlaskClient, api_server: AirflowServer) -> None:
    for asked in ({}, {"json": {}}, {"data": b""}):
        found = run_id(client.post(POST, headers=BEARER, **asked))
        assert api_server.admin.request("GET", f"dags/train_{LIVE}/dagRuns/{found}")["conf"] == {}


def test_a_get_never_trains(client: FlaskClient, api_server: AirflowServer) -> None:
    before = api_server.runs(f"train_{LIVE}")
    for path in (POST, f"{POST}/service__nobody", f"{POST}/"):
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            assert client.open(path, method=method, headers=BEARER, json={}).status_code in {200, 404, 405}
    assert client.get(POST, headers=BEARER).status_code == 405
    assert api_server.runs(f"train_{LIVE}") == before


def test_a_paused_use_case_is_refused_before_anything_is_queued(client: FlaskClient, api_server: AirflowServer) -> None:
    problem_body = problem(client.post(f"/train/{PAUSED}", headers=BEARER), 409)
    assert "unpause it in Airflow" in problem_body["detail"]
    assert api_server.runs(f"train_{PAUSED}") == []


@pytest.mark.parametrize("name", ["nope", "%00", "~", "..", "Sms_spam", "a%2F..%2Fb", "%25", "x" * 300, "sms_spam%20"])
def test_an_unknown_use_case_is_a_404_that_lists_the_known_ones(name: str, client: FlaskClient) -> None:
    answer = client.post(f"/train/{name}", headers=BEARER)
    problem_body = problem(answer, 404)
    if "%2F" not in name and name != "..":  # which name another path
        known = ", ".join(path.stem for path in paths())
        assert problem_body["detail"] == f"Airflow has no DAG for this use case; known: {known}."


def test_all_errors_of_the_parameters_are_reported_and_nothing_is_started(
    client: FlaskClient, api_server: AirflowServer
) -> None:
    before = api_server.runs(f"train_{LIVE}")
    asked = {"sede": 1, "seed": -1, "limit": True, "promote": "always", "a/b~c": 1}
    problem_body = problem(client.post(POST, json=asked, headers=BEARER), 422)
    assert {fault["pointer"]: fault["detail"] for fault in problem_body["errors"]} == {
        "/sede": "unknown key; known: limit, seed, promote, read_all",
        "/seed": "expected greater than or equal to 0, found -1",
        "/limit": "expected a whole number, found True",
        "/promote": "expected 'auto', 'canary', 'shadow', 'approve' or 'never', found 'always'",
        "/a~1b~0c": "unknown key; known: limit, seed, promote, read_all",
    }
    for body, status in (([1], 422), ({"limit": 2**31}, 422), ({"seed": 2**32}, 422), ({"seed": 1.5}, 422)):
        problem(client.post(POST, json=body, headers=BEARER), status)
    for body, kind, status in (
        (b"{", "application/json", 400),
        (b'{"seed": 1, "seed": 2}', "application/json", 400),
        (b"seed=1", "application/x-www-form-urlencoded", 415),
        (b" " * 70_000 + b"{}", "application/json", 413),
    ):
        problem(client.post(POST, data=body, content_type=kind, headers=BEARER), status)
    assert api_server.runs(f"train_{LIVE}") == before


def test_a_key_too_long_is_not_sent_back_and_faults_are_capped() -> None:
    with pytest.raises(BadRow) as caught:
        RunParams.read({"k" * 1000: 1})
    assert len(caught.value.errors[0]["detail"]) < 150
    with pytest.raises(BadRow) as caught:
        RunParams.read({str(i): 1 for i in range(1000)})
    assert len(caught.value.errors) == 100


# --- once -------------------------------------------------------------------------------------------------------------


def test_a_repeat_finds_the_same_run(client: FlaskClient, api_server: AirflowServer) -> None:
    headers = BEARER | {"Idempotency-Key": "order-1.a~b"}
    first = client.post(POST, json={"seed": 1}, headers=headers)
    again = client.post(POST, json={"seed": 1, "limit": None}, headers=headers)
    assert run_id(first) == run_id(again) == "service__order-1.a~b"
    assert api_server.runs(f"train_{LIVE}").count("service__order-1.a~b") == 1

    problem_body = problem(client.post(POST, json={"seed": 2}, headers=headers), 422)
    assert problem_body["detail"] == "This Idempotency-Key was used with other parameters."

    api_server.admin.request("PATCH", f"dags/train_{LIVE}", {"is_paused": True})
    try:  # it was started, whatever happened since
        assert run_id(client.post(POST, json={"seed": 1}, headers=headers)) == "service__order-1.a~b"
    finally:
        api_server.admin.unpause(f"train_{LIVE}")


def test_twenty_repeats_at_once_make_one_run(client: FlaskClient, api_server: AirflowServer) -> None:
    headers = BEARER | {"Idempotency-Key": "twenty"}

    def post(_: int) -> str:
        return run_id(client.application.test_client().post(POST, json={"seed": 1}, headers=headers))

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(post, range(20))) == {"service__twenty"}
    assert api_server.runs(f"train_{LIVE}").count("service__twenty") == 1


def test_four_workers_at_once_make_one_run(api_server: AirflowServer) -> None:
    """Each worker has a trainer of its own: here Airflow itself has to say which was the first."""
    clients = [client_of(Trainer(Airflow(api_server.url, SERVICE, api_server.password), TOKEN)) for _ in range(4)]
    gate = threading.Barrier(4)

    def post(client: FlaskClient) -> str:
        gate.wait()
        return run_id(client.post(POST, headers=BEARER | {"Idempotency-Key": "workers"}))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(post, clients)) == {"service__workers"}
    assert api_server.runs(f"train_{LIVE}").count("service__workers") == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "a/b", "é", "k" * 65, "a:b", "a+b", '"quoted"'])
def test_a_key_of_another_make_is_refused(key: str) -> None:
    problem_body = problem(
        client_of(elsewhere("http://127.0.0.1:1")).post(POST, headers=BEARER | {"Idempotency-Key": key}), 400
    )
    assert problem_body["detail"] == "Idempotency-Key: expected 1 to 64 letters, digits, '_', '.', '~' and '-'."


# --- following --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manual__other", "service__", "service__a+b", "service__nobody", "~", "service__a:b"])
def test_only_runs_started_by_the_service_are_visible(
    name: str, client: FlaskClient, api_server: AirflowServer
) -> None:
    if name in {"manual__other", "service__a+b"}:
        api_server.admin.trigger(f"train_{LIVE}", name)
    problem_body = problem(client.get(f"{POST}/{name}", headers=BEARER), 404)
    assert problem_body["detail"] == "No run with this id was started by this service."
    problem(client.get(f"/train/~/{name}", headers=BEARER), 404)


def test_a_finished_run_has_an_outcome(client: FlaskClient, api_server: AirflowServer) -> None:
    for state, push, outcome in (("success", "skipped", "rejected"), ("failed", "failed", "failed")):
        run = run_id(client.post(POST, headers=BEARER))
        path = f"dags/train_{LIVE}/dagRuns/{run}"
        api_server.admin.request("PATCH", f"{path}/taskInstances/push", {"new_state": push})
        if state == "failed":  # as `reported` leaves it
            left = {"key": FAILURE, "value": "f1 is <NaN>", "map_index": -1}
            api_server.admin.request("POST", f"{path}/taskInstances/push/xcomEntries", left)
        api_server.admin.request("PATCH", path, {"state": state})
        body = client.get(f"{POST}/{run}", headers=BEARER).json
        assert (body["state"], body["outcome"], body["version"]) == (state, outcome, None)
        assert [task["state"] for task in body["tasks"] if task["name"] == "push"] == [push]
        assert ("not good enough" in (body["reason"] or "")) == (outcome == "rejected")
    assert body["reason"] == "push: f1 is <NaN>"


@pytest.mark.parametrize(
    ("decision", "outcome"), [("promote", "promoted"), ("canary", "canary"), ("hold", "stored"), ("reject", "held")]
)
def test_the_outcome_of_a_run_is_what_became_of_its_version(
    client: FlaskClient, api_server: AirflowServer, decision: str, outcome: str
) -> None:
    run = run_id(client.post(POST, headers=BEARER))
    extra = json.dumps({"version": 7, "decision": decision, "reason": "so it is"})
    with closing(sqlite3.connect(api_server.folder / "airflow.db", timeout=60)) as database, database:
        database.execute(  # as the scheduler does when `push` has ended
            "insert into asset_event (asset_id, extra, source_dag_id, source_run_id, source_map_index, timestamp)"
            " select id, ?, ?, ?, -1, current_timestamp from asset where name = ?",
            (extra, f"train_{LIVE}", run, f"{LIVE}_model"),
        )
    path = f"dags/train_{LIVE}/dagRuns/{run}"
    api_server.admin.request("PATCH", f"{path}/taskInstances/push", {"new_state": "success"})
    api_server.admin.request("PATCH", path, {"state": "success"})
    body = client.get(f"{POST}/{run}", headers=BEARER).json
    assert (body["outcome"], body["version"], body["reason"]) == (outcome, 7, "so it is")


def test_many_who_follow_a_run_are_one_for_airflow(client: FlaskClient, api_server: AirflowServer) -> None:
    run = run_id(client.post(POST, headers=BEARER))
    for _ in range(30):
        assert client.get(f"{POST}/{run}", headers=BEARER).status_code == 200
    asked = f"path=/api/v2/dags/train_{LIVE}/dagRuns/{run} "
    time.sleep(0.2)
    few = api_server.log.read_text(errors="replace").count(asked)
    assert 1 <= few <= 4  # a second each, and this machine may be slow

    api_server.admin.request("PATCH", f"dags/train_{LIVE}/dagRuns/{run}", {"state": "failed"})
    time.sleep(CACHE_SECONDS)
    assert client.get(f"{POST}/{run}", headers=BEARER).json["state"] == "failed"


def test_a_cached_state_is_returned_while_airflow_is_slow(client: FlaskClient, trainer: Trainer) -> None:
    path = f"{POST}/{run_id(client.post(POST, headers=BEARER))}"
    body = client.get(path, headers=BEARER).json
    with trainer._turn:  # as another request holds it whose answer does not come
        assert client.get(path, headers=BEARER).json == body
        problem(client.get(f"{POST}/service__other", headers=BEARER), 503)


# --- who may ----------------------------------------------------------------------------------------------------------


def test_without_a_token_training_is_off() -> None:
    client = client_of(None)
    for answer in (client.post(POST, headers=BEARER), client.get(f"{POST}/service__a", headers=BEARER)):
        assert problem(answer, 404)["detail"] == OFF
    assert "SERVING_TRAIN_TOKEN" in OFF


def test_no_token_is_401_and_a_wrong_one_403_before_anything_else() -> None:
    client = client_of(elsewhere("http://127.0.0.1:1"))
    for headers in ({}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer"}, {"X-API-Key": TOKEN}):
        for answer in (client.post(POST, headers=headers, data="{"), client.get(f"{POST}/x", headers=headers)):
            problem(answer, 401)
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="updraft train"'
    for token in (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é"):
        problem(client.post(POST, headers={"Authorization": f"Bearer {token}"}), 403)
    problem(client.post(POST, headers={"Authorization": f"bearer  {TOKEN} "}), 503)  # let in, and there is no Airflow


def test_after_five_wrong_tokens_an_address_waits_unless_it_has_the_right_one() -> None:
    """Behind a proxy all have one address: who guesses must not keep out who knows."""
    client = client_of(elsewhere("http://127.0.0.1:1"))
    wrong = {"Authorization": "Bearer wrong"}
    assert [client.post(POST, headers=wrong).status_code for _ in range(7)] == [403] * 5 + [429] * 2
    answer = client.post(POST, headers=wrong)
    problem(answer, 429)
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert client.post(POST, headers=BEARER).status_code == 503  # of the Airflow that is not there
    other = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.post(POST, headers=BEARER, environ_overrides=other).status_code == 503
    assert client.post(POST, headers=wrong, environ_overrides=other).status_code == 403


def test_so_many_runs_in_a_minute(api_server: AirflowServer, tmp_path: Path) -> None:
    before = len(api_server.runs(f"train_{LIVE}"))
    known = BEARER | {"Idempotency-Key": "of-a-minute"}
    for first, more in ((True, 2), (False, 0)):  # a restart does not begin a new minute
        airflow = Airflow(api_server.url, SERVICE, api_server.password)
        client = client_of(Trainer(airflow, TOKEN, RateLimiter(tmp_path / "rates.sqlite"), starts=3))
        if first:
            what_starts_nothing_counts_as_nothing(client)
        assert [client.post(POST, headers=known).status_code for _ in range(4)] == [202] * 4
        answers = [client.post(POST, headers=BEARER) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202] * more + [429] * (3 - more)
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert problem(answers[-1], 429)["detail"].startswith("At most 3 per minute: try again in ")
    assert len(api_server.runs(f"train_{LIVE}")) == before + 3


def what_starts_nothing_counts_as_nothing(client: FlaskClient) -> None:
    for _ in range(4):
        problem(client.post(POST, json={"sede": 1}, headers=BEARER), 422)
        problem(client.post("/train/nowhere", headers=BEARER), 404)
        problem(client.post(f"/train/{PAUSED}", headers=BEARER), 409)


# --- rates ------------------------------------------------------------------------------------------------------------


def test_processes_count_together(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sum(pool.starmap(let_in, [(tmp_path / "rates.sqlite", 20)] * 4)) == 25


def test_a_minute_passes_and_a_clock_set_back_locks_nobody_out(tmp_path: Path) -> None:
    import sqlite3

    file = tmp_path / "rates.sqlite"
    assert let_in(file, 30) == 25
    for at in (time.time() - 60.1, time.time() + 3600):
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE hits SET at = ?", (at,))
        assert let_in(file, 30) == 25
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE hits SET at = ?", (time.time() - 50,))
    with pytest.raises(TooManyRequests) as caught:
        RateLimiter(file).hit("all", 25)
    assert 9 <= int(str(caught.value.retry_after)) <= 11
    RateLimiter(file).hit("another", 25)


def test_what_cannot_be_counted_is_not_let_in_until_it_can(tmp_path: Path) -> None:
    file = tmp_path / "there" / "rates.sqlite"
    rates = RateLimiter(file)
    with pytest.raises(ServiceUnavailable):
        rates.hit("all", 1)
    file.parent.mkdir()
    rates.hit("all", 1)
    file.write_bytes(b"not SQLite at all" * 1000)
    with pytest.raises(ServiceUnavailable):
        rates.hit("all", 1)
    file.unlink()
    rates.hit("all", 1)
    with pytest.raises(TooManyRequests):
        rates.hit("all", 1)


# --- Airflow fails ----------------------------------------------------------------------------------------------------


def unavailable(client: FlaskClient) -> None:
    for answer in (client.post(POST, headers=BEARER), client.get(f"{POST}/service__a", headers=BEARER)):
        assert problem(answer, 503)["detail"] == "Airflow does not respond to this service."
        assert int(answer.headers["Retry-After"]) > 0


def test_a_wrong_airflow_password_is_not_revealed(api_server: AirflowServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        unavailable(client_of(elsewhere(api_server.url, "a password of ours", read=10)))
        unavailable(client_of(elsewhere(api_server.url, "", read=10)))
    assert "the login of 'service': 401" in caplog.text
    assert "a password of ours" not in caplog.text and TOKEN not in caplog.text


@contextmanager
def something(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Run a server that is no Airflow."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Answer) as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{other.server_port}"
        finally:
            other.shutdown()
            thread.join()


@pytest.mark.parametrize("logs_in", [False, True])
@pytest.mark.parametrize("status", [200, 201, 302, 307, 401, 403, 404, 422, 500, 503])
def test_what_is_no_airflow_is_unavailable(status: int, logs_in: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is it followed elsewhere, with our password, nor waited for as long as it says."""
    strayed: list[str] = []

    def page(request: BaseHTTPRequestHandler) -> None:
        asked = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        token = logs_in and request.path == "/auth/token"
        request.send_response(201 if token else status)
        request.send_header("Retry-After", "3600")
        request.send_header("Location", other)
        request.end_headers()
        request.wfile.write(b'{"access_token": "a"}' if token else b"<html>you sent: " + asked)

    with something(lambda request: strayed.append(request.path)) as other, something(page) as url:
        client = client_of(elsewhere(url))
        before = time.monotonic()
        if logs_in and status == 404:  # as Airflow says it, and then the list of use cases is empty
            assert problem(client.post(POST, headers=BEARER), 404)["detail"].endswith("known: none yet.")
        else:
            unavailable(client)
        assert time.monotonic() - before < 5
    assert strayed == [] and "a password of ours" not in caplog.text


ODD: dict[str, Any] = {
    "nothing": {},
    "no object": ["is_paused"],
    "null": None,
    "another kind": {"is_paused": "no", "dag_id": 1, "has_import_errors": []},
    "a run of another kind": {"is_paused": False, "dag_id": "train_sms_spam", "has_import_errors": False, "state": [1]},
    "a time that is none": {"state": "queued", "start_date": "yesterday", "end_date": None, "conf": {}},
    "deep": json.loads("[" * 900 + "]" * 900),
}


@pytest.mark.parametrize(
    "body", [json.dumps(each).encode() for each in ODD.values()] + [b'{"state": "\xff"}'], ids=[*ODD, "bytes"]
)
@pytest.mark.parametrize("logs_in", [False, True])
def test_json_of_another_shape_is_unavailable(body: bytes, logs_in: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Whether it is the login that answers so, or what comes after."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        request.send_response(200)
        request.end_headers()
        token = logs_in and request.path == "/auth/token"
        request.wfile.write(b'{"access_token": "a"}' if token else body)

    with something(answer) as url:
        unavailable(client_of(elsewhere(url)))
    assert "unexpected response" in caplog.text


def test_an_airflow_that_hangs_holds_one_thread() -> None:
    """The others give up their turn while it still hangs; it is asked once, and not for ever."""
    with ThreadPoolExecutor(6) as pool, socket.create_server(("127.0.0.1", 0)) as silent:
        app = client_of(elsewhere(f"http://127.0.0.1:{silent.getsockname()[1]}", read=120)).application
        asked = [pool.submit(app.test_client().post, POST, headers=BEARER) for _ in range(6)]
        ended = list(islice(as_completed(asked, timeout=60), 5))
        assert [problem(each.result(), 503)["detail"] for each in ended] == ["Airflow is slow to respond."] * 5
        [last] = set(asked) - set(ended)
        assert not last.done()
        silent.accept()[0].close()
        assert problem(last.result(60), 503)["detail"] == "Airflow does not respond to this service."
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_an_airflow_that_hangs_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        unavailable(client_of(elsewhere(f"http://127.0.0.1:{silent.getsockname()[1]}", read=0.5)))


def test_no_airflow_at_all() -> None:
    unavailable(client_of(elsewhere(f"http://127.0.0.1:{free_port()}")))


def test_no_proxy_is_used(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert client.get(f"{POST}/service__nobody", headers=BEARER).status_code == 404


def test_an_airflow_that_is_killed_and_comes_back_with_another_secret(
    client: FlaskClient, api_server: AirflowServer
) -> None:
    """Its old tokens are no longer taken: the service logs in again by itself."""
    run = run_id(client.post(POST, headers=BEARER))
    api_server.stop()
    try:
        unavailable(client)
    finally:
        api_server.start()
    assert client.get(f"{POST}/{run}", headers=BEARER).json["run_id"] == run
    run_id(client.post(POST, headers=BEARER))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_environment_makes_a_trainer(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    airflow = {"AIRFLOW_URL": "http://localhost:8080/", "AIRFLOW_USER": SERVICE, "AIRFLOW_PASSWORD": "secret"}
    assert open_trainer(airflow, tmp_path) is None
    made = open_trainer(airflow | {"SERVING_TRAIN_TOKEN_FILE": str(tmp_path / "token")}, tmp_path)
    assert made is not None and made.is_token(TOKEN) and not made.is_token(f"{TOKEN}\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"SERVING_TRAIN_TOKEN": "short"}, "SERVING_TRAIN_TOKEN: it has 5 characters"),
        ({"AIRFLOW_URL": ""}, "AIRFLOW_URL"),
        ({"AIRFLOW_URL": "localhost:8080"}, "AIRFLOW_URL"),
        ({"AIRFLOW_USER": ""}, "AIRFLOW_USER and AIRFLOW_PASSWORD"),
        ({"AIRFLOW_PASSWORD": ""}, "AIRFLOW_USER and AIRFLOW_PASSWORD"),
        ({"AIRFLOW_PASSWORD_FILE": "/nowhere"}, "AIRFLOW_PASSWORD and AIRFLOW_PASSWORD_FILE: both are set"),
    ],
)
def test_what_is_missing_is_named(change: dict[str, str], named: str, tmp_path: Path) -> None:
    airflow = {"AIRFLOW_URL": "http://localhost:8080", "AIRFLOW_USER": SERVICE, "AIRFLOW_PASSWORD": "a secret here"}
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        open_trainer(airflow | {"SERVING_TRAIN_TOKEN": TOKEN} | change, tmp_path)
    assert TOKEN not in str(caught.value) and "a secret here" not in str(caught.value)
