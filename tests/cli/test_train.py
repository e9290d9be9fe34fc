"""`updraft train` against a real api-server, without a scheduler: what it starts ends when a person marks it."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.airflow_server import LIVE, AirflowServer
from tests.support.local_stack import free_environment, updraft
from updraft.local_stack.credentials import SERVICE

DAG = f"train_{LIVE}"


@pytest.fixture
def environ(api_server: AirflowServer) -> dict[str, str]:
    login = {"AIRFLOW_URL": api_server.url, "AIRFLOW_USER": SERVICE, "AIRFLOW_PASSWORD": api_server.password}
    return free_environment(COLUMNS="300", **login)


def train(environ: dict[str, str], home: Path, *words: str) -> subprocess.Popen[str]:
    return updraft(home, environ, "train", *words)


def started(server: AirflowServer, before: list[str]) -> str:
    until = time.monotonic() + 60
    while not (new := {*server.runs(DAG)} - {*before}):
        assert time.monotonic() < until
        time.sleep(0.2)
    return min(new)


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [("success", 0, "No new version"), ("failed", 1, "updraft: no task failed; see the run\nupdraft: run: ")],
)
def test_a_run_is_followed_to_its_end(
    api_server: AirflowServer, environ: dict[str, str], tmp_path: Path, state: str, code: int, words: str
) -> None:
    before = api_server.runs(DAG)
    process = train(environ, tmp_path, LIVE, "--limit", "500", "--promote", "never")
    run_id = started(api_server, before)
    run = api_server.admin.run(DAG, run_id)
    assert run is not None and run.conf == {"limit": 500, "promote": "never"}
    api_server.admin.request("PATCH", f"dags/{DAG}/dagRuns/{run_id}", {"state": state})
    output, error = process.communicate(timeout=60)
    assert process.returncode == code and words in output + error, output + error
    assert api_server.admin.page(DAG, run_id) in output and "Traceback" not in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_following_is_told_that_the_run_goes_on(
    api_server: AirflowServer, environ: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    before = api_server.runs(DAG)
    process = train(environ, tmp_path, LIVE)
    run_id = started(api_server, before)
    assert process.stdout is not None and run_id in process.stdout.readline()
    time.sleep(1)  # it reads the tasks for the first time
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and error.startswith("updraft: no longer followed; the run goes on: ")
    assert api_server.admin.state(DAG, run_id) == "queued"


@pytest.mark.parametrize(
    ("changes", "words", "error"),
    [
        ({}, ("sms_spamm",), "has no DAG train_sms_spamm; use cases that it has: california_housing, "),
        ({}, ("california_housing",), "has paused train_california_housing: a run would wait"),
        ({}, (LIVE, "--promote", "often"), "run parameter promote: 'often' is unknown; there are: auto"),
        ({"AIRFLOW_PASSWORD": ""}, (LIVE,), "AIRFLOW_URL, AIRFLOW_USER, AIRFLOW_PASSWORD: all have to be set"),
        ({"AIRFLOW_PASSWORD": "hunter22"}, (LIVE,), "401"),
        ({"AIRFLOW_PASSWORD_FILE": "/none/password"}, (LIVE,), "AIRFLOW_PASSWORD_FILE: /none/password: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    api_server: AirflowServer,
    environ: dict[str, str],
    tmp_path: Path,
    changes: dict[str, str],
    words: tuple[str, ...],
    error: str,
) -> None:
    before = api_server.runs(DAG)
    process = train(environ | changes, tmp_path, *words)
    output, told = process.communicate(timeout=60)
    assert process.returncode == 1 and error in told and told.count("\n") == 1, told
    assert (output, api_server.runs(DAG)) == ("", before) and "hunter22" not in told
