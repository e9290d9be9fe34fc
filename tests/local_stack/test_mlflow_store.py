"""`make up WITH=mlflow`: MLflow's own server, in an environment that the first start makes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.local_stack import free_environment, listening, marked
from tests.trackers.test_mlflow import Recorded, promoted
from updraft.local_stack import mlflow, supervision
from updraft.local_stack.environment import StackError, load, record, settle
from updraft.local_stack.programs import TRACKER, program_names, programs
from updraft.local_stack.servers import free_port
from updraft.local_stack.stack import Stack
from updraft.local_stack.stores import check_stores
from updraft.registry.registry import Registry
from updraft.trackers.mlflow import Tracker

PROGRAMS = ("mlflow-install", "mlflow")
ADDRESS = "MLFLOW_TRACKING_URI"


def asking(**more: str) -> dict[str, str]:
    return free_environment(MLFLOW_PORT=str(free_port()), UPDRAFT_WITH="mlflow", **more)


@pytest.fixture
def home(starts_stack: None, tmp_path: Path) -> Iterator[Path]:
    """Give the home of a stack, whose name has a space."""
    yield tmp_path / "a stack"
    supervision.stop(tmp_path / "a stack")


def aliases(settings: Mapping[str, str]) -> dict[str, str]:
    return Recorded(settings[ADDRESS], "churn").aliases()


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("peer_environments")
def test_it_is_installed_once_and_keeps_what_the_tracker_records(
    home: Path, registry: Registry, tmp_path: Path
) -> None:
    index = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "SSL_CERT_"))}
    stack, lines = Stack(home, asking(**index)), list[str]()
    stack.up(only=PROGRAMS, report=lines.append)
    assert [line.split()[:2] for line in lines if "ready" in line] == [[name, "ready"] for name in PROGRAMS]
    settings = stack.settings()
    promoted(registry, "churn", tmp_path / "run")
    for _ in range(60):  # on a slow machine its first answers may come too late, and are asked for again
        if Tracker(registry, settings).follow("churn") is None:
            break
    assert aliases(settings) == {"champion": "1"}
    assert set(listening(home)) == {"127.0.0.1"}
    assert stack.running() is False and set(PROGRAMS) < set(stack.processes())  # the rest was not asked for

    stack.down()
    assert marked(home) == []
    installed = (home / "mlflow" / "installed.txt").stat().st_mtime_ns
    again = Stack(home, free_environment())
    again.up(only=PROGRAMS)
    assert (home / "mlflow" / "installed.txt").stat().st_mtime_ns == installed
    assert aliases(again.settings()) == {"champion": "1"}


def test_what_cannot_be_installed_is_named_and_leaves_nothing_running(home: Path, tmp_path: Path) -> None:
    offline = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "an empty cache")}
    with pytest.raises(StackError) as caught:
        Stack(home, asking(**offline)).up(only=PROGRAMS)
    message = str(caught.value)
    assert message.startswith(f"mlflow-install failed; the end of {home / 'logs' / 'mlflow-install.log'}:")
    assert f"mlflow: {mlflow.REQUIREMENT} could not be installed" in message and "Traceback" not in message
    assert marked(home) == [] and not (home / "mlflow" / "installed.txt").exists()


def test_only_what_moves_pointers_gets_its_address(tmp_path: Path) -> None:
    settings = settle(tmp_path, asking())
    assert settings[ADDRESS] == f"http://127.0.0.1:{settings['MLFLOW_PORT']}"
    own = programs(tmp_path, settings)
    assert set(PROGRAMS) < {program.name for program in own} and set(PROGRAMS) < set(program_names(settings))
    getting = {program.name for program in own if not {*TRACKER} & program.environment.keys()}
    assert getting == {"scheduler", "api-server"}


def test_a_server_elsewhere_goes_first_and_none_is_there_where_nobody_asks(tmp_path: Path) -> None:
    assert ADDRESS not in settle(tmp_path, asking(**{ADDRESS: "http://mlflow.example.com:5000"}))
    settings = settle(tmp_path, free_environment())
    assert set(PROGRAMS).isdisjoint(program_names(settings)) and not {ADDRESS, "MLFLOW_PORT"} & settings.keys()


def test_one_that_is_down_is_named(tmp_path: Path) -> None:
    record(tmp_path, settle(tmp_path, asking()))
    environ: dict[str, str] = {}
    load(environ, tmp_path)
    with pytest.raises(StackError, match=rf"is not running \(`make up` starts it\); {ADDRESS} in "):
        check_stores(environ, tmp_path, "mlflow")


def test_the_server_sees_none_of_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_TOKEN", "PYTHONPATH", "VIRTUAL_ENV", "UV_INDEX_URL"):
        monkeypatch.setenv(name, "ours")
    environment = mlflow.server_environment()
    assert not {"MLFLOW_TRACKING_TOKEN", "PYTHONPATH", "VIRTUAL_ENV"} & environment.keys()
    assert environment["UV_INDEX_URL"] == "ours" and environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
