"""Runs whose files are broken, changed and removed while they go on, on a real Airflow of a stack of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.local_stack import free_environment
from tests.support.repository import add_file_case, copy_repository
from updraft.airflow_client import Airflow, TaskInstance
from updraft.local_stack import supervision
from updraft.local_stack.credentials import ADMIN
from updraft.local_stack.environment import recorded
from updraft.registry.registry import Registry, open_registry
from updraft.stages.runs import STAGES
from updraft.stages.stage_folder import read_json

pytestmark = pytest.mark.timeout(900)

NAME = "insurance_file"
DAG = f"train_{NAME}"
PROGRAMS = ("s3", "migrate", "api-server", "scheduler", "dag-processor")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_repository(tmp_path_factory.mktemp("repository"))
    add_file_case(root, NAME)
    for other in (root / "include" / "usecases").glob("*.yaml"):
        if other.stem != NAME:
            other.unlink()
    return root


@pytest.fixture(scope="module")
def home(
    starts_stack: None, starts_airflow: None, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Start S3 and Airflow on the copy of the repository, without MongoDB and the service."""
    home = tmp_path_factory.mktemp("disturbed") / "home"
    script = f"from updraft.local_stack.stack import Stack; Stack().up(only={PROGRAMS})"
    path = os.pathsep.join([str(repository / "include"), *sys.path])
    environ = {**free_environment(), "UPDRAFT_HOME": str(home), "PYTHONPATH": path}
    try:
        subprocess.run([sys.executable, "-c", script], cwd=repository, env=environ, check=True)
        yield home
    finally:
        supervision.stop(home)


@pytest.fixture(scope="module")
def airflow(home: Path) -> Airflow:
    password = (home / "secrets" / "airflow_admin_password").read_text()
    server = Airflow.patient(recorded(home)["AIRFLOW_URL"], ADMIN, password)
    until(lambda: server.dag(DAG) is not None)
    server.unpause(DAG)
    return server


@pytest.fixture(scope="module")
def registry(home: Path) -> Registry:
    return open_registry(recorded(home))


@pytest.fixture
def yaml(repository: Path, airflow: Airflow) -> Iterator[Path]:
    """Give the live YAML, which the test may change; afterwards YAML and suite are what they were."""
    paths = repository / "include" / "usecases" / f"{NAME}.yaml", repository / "expectations" / f"{NAME}.json"
    before = [path.read_bytes() for path in paths]
    yield paths[0]
    for path, content in zip(paths, before, strict=True):
        path.write_bytes(content)
    until(lambda: "cannot be loaded" not in tags(airflow))


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return value


def tags(airflow: Airflow) -> set[str]:
    return {tag["name"] for tag in airflow.request("GET", f"dags/{DAG}")["tags"]}


def parsed_within(airflow: Airflow, seconds: float) -> bool:
    """Wait so long; return if Airflow has read the DAG from its file meanwhile."""
    before = airflow.request("GET", f"dags/{DAG}")["last_parsed_time"]
    time.sleep(seconds)
    return bool(airflow.request("GET", f"dags/{DAG}")["last_parsed_time"] != before)


def running(airflow: Airflow, run_id: str, task_id: str) -> list[TaskInstance]:
    tasks = airflow.tasks(DAG, run_id)
    return [task for task in tasks if task.task_id == task_id and task.state == "running" and task.pid]


def ended(airflow: Airflow, run_id: str) -> str:
    return str(until(lambda: (state := airflow.state(DAG, run_id)) in ("success", "failed") and state, 400))


def log(home: Path, run_id: str, task_id: str) -> str:
    folder = home / "logs" / "tasks" / f"dag_id={DAG}" / f"run_id={run_id}" / f"task_id={task_id}"
    return "".join(path.read_text() for path in sorted(folder.rglob("*.log")))


@contextmanager
def held(airflow: Airflow, run_id: str, task_id: str) -> Iterator[None]:
    """Stop the processes of a task, in the midst of what they do, until the block ends."""
    tasks = until(lambda: running(airflow, run_id, task_id))
    processes = [psutil.Process(task.pid) for task in tasks]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def configuration(home: Path, run_id: str) -> str:
    return str(read_json(home / "artifacts" / NAME / run_id / "ingest" / "ingest.json")["configuration_sha256"])


def test_files_that_are_broken_while_tasks_run_end_only_new_runs(
    home: Path, airflow: Airflow, registry: Registry, yaml: Path, repository: Path
) -> None:
    airflow.trigger(DAG, "in-flight")
    with held(airflow, "in-flight", "train"):
        yaml.write_text(yaml.read_text()[:300] + "\n  {")
        (repository / "expectations" / f"{NAME}.json").write_text('{"name": ')
        until(lambda: "cannot be loaded" in tags(airflow))
        detail = airflow.request("GET", f"dags/{DAG}/details")
        assert "not YAML" in detail["description"] and f"expectations/{NAME}.json" in detail["doc_md"]
    assert ended(airflow, "in-flight") == "success"
    assert {task.try_number for task in airflow.tasks(DAG, "in-flight")} == {1}
    (number,) = registry.numbers(NAME)
    begun = configuration(home, "in-flight")
    assert registry.version(NAME, number).manifest["configuration_sha256"] == begun
    for stage in STAGES:
        assert f"configuration {begun[:12]}" in log(home, "in-flight", stage)
    assert f"include/usecases/{NAME}.yaml has changed" in log(home, "in-flight", "evaluate")

    airflow.trigger(DAG, "new")
    assert ended(airflow, "new") == "failed"
    states = {task.task_id: task.state for task in airflow.tasks(DAG, "new")}
    assert states == dict.fromkeys((*STAGES, "approve"), "upstream_failed") | {"ingest": "failed"}
    (first,) = [task for task in airflow.tasks(DAG, "new") if task.task_id == "ingest"]
    assert first.try_number == 1 and f"{NAME}.yaml:" in airflow.failure(first)


def test_a_use_case_that_is_removed_between_tasks_ends_no_run(
    home: Path, airflow: Airflow, repository: Path, yaml: Path
) -> None:
    airflow.trigger(DAG, "removed")
    until(lambda: running(airflow, "removed", "ingest"))
    airflow.request("PATCH", f"dags/{DAG}", {"is_paused": True})
    try:
        until(lambda: not any(task.state in ("queued", "running") for task in airflow.tasks(DAG, "removed")))
        assert airflow.state(DAG, "removed") == "running"
        yaml.unlink()
        (repository / "expectations" / f"{NAME}.json").unlink()
        until(lambda: not parsed_within(airflow, 22))  # two rounds of the DAG processor; one had begun before
    finally:
        airflow.unpause(DAG)  # the other tests' runs need it
    assert ended(airflow, "removed") == "success"
    assert f"{NAME}.yaml is gone" in log(home, "removed", "evaluate")


def test_a_run_that_is_cleared_from_ingest_takes_the_live_files_and_from_later_it_does_not(
    home: Path, airflow: Airflow, yaml: Path
) -> None:
    airflow.trigger(DAG, "cleared")
    assert ended(airflow, "cleared") == "success"
    begun = configuration(home, "cleared")
    yaml.write_text(yaml.read_text() + "owner: somebody\n")
    for task_id in ("evaluate", "ingest"):
        clear = {
            "dry_run": False,
            "task_ids": [task_id],
            "dag_run_id": "cleared",
            "include_downstream": True,
            "only_failed": False,
        }
        airflow.request("POST", f"dags/{DAG}/clearTaskInstances", clear)
        assert ended(airflow, "cleared") == "success"
        assert (configuration(home, "cleared") == begun) is (task_id == "evaluate")
    assert log(home, "cleared", "evaluate").count("has changed") == 2  # where it happens, and below the folded part


def scheduler(home: Path) -> psutil.Process:
    return psutil.Process(supervision.processes(home)["scheduler"]["pid"])


@pytest.mark.parametrize("victim", ["worker", "scheduler"])
def test_a_killed_worker_or_scheduler_leaves_no_orphan_and_its_task_is_tried_again_within_a_minute(
    home: Path, airflow: Airflow, victim: str
) -> None:
    run_id = f"killed-{victim}"
    airflow.trigger(DAG, run_id)
    with held(airflow, run_id, "train"):
        task = running(airflow, run_id, "train")[0]
        process = psutil.Process(task.pid)
        worker = process.parent()
        assert worker is not None and worker.parent() == scheduler(home)
        (worker if victim == "worker" else scheduler(home)).kill()
        began = time.monotonic()
        gone, alive = psutil.wait_procs([process, worker], timeout=10)
        assert (len(gone), alive) == (2, [])
    until(lambda: retried(airflow, task) and running(airflow, run_id, "train"))
    assert time.monotonic() - began < 90  # a minute where the machine has little else to do
    airflow.request("PATCH", f"dags/{DAG}/dagRuns/{run_id}", {"state": "failed"})


def retried(airflow: Airflow, task: TaskInstance) -> bool:
    mapped = [each for each in airflow.tasks(DAG, task.dag_run_id) if each.task_id == "train"]
    return any(each.map_index == task.map_index and each.try_number == 2 for each in mapped)


def test_workers_that_are_killed_while_they_wait_stall_no_run(home: Path, airflow: Airflow) -> None:
    """The one of them that waits at LocalExecutor's queue takes the queue's lock with it."""
    until(lambda: not any(task.state == "running" for task in airflow.tasks(DAG, "killed-scheduler")))
    before = scheduler(home)
    until(lambda: before.children() and not any(worker.children() for worker in before.children()))  # none has a task
    time.sleep(5)
    for worker in before.children():
        worker.kill()
    airflow.trigger(DAG, "killed-idle")
    began = time.monotonic()
    until(lambda: running(airflow, "killed-idle", "ingest") or running(airflow, "killed-idle", "validate"))
    assert time.monotonic() - began < 90 and scheduler(home) != before


@pytest.mark.parametrize("state", ["success", "skipped"])
def test_a_validate_that_a_person_marked_has_transform_say_why_it_cannot_go_on(airflow: Airflow, state: str) -> None:
    run_id = f"marked-{state}"
    airflow.trigger(DAG, run_id)
    with held(airflow, run_id, "ingest"):
        airflow.request("PATCH", f"dags/{DAG}", {"is_paused": True})
    until(lambda: {task.task_id: task.state for task in airflow.tasks(DAG, run_id)}["ingest"] == "success")
    airflow.request("PATCH", f"dags/{DAG}/dagRuns/{run_id}/taskInstances/validate", {"new_state": state})
    airflow.unpause(DAG)
    assert ended(airflow, run_id) == "failed"
    (failed,) = [task for task in airflow.tasks(DAG, run_id) if task.state == "failed"]
    assert (failed.task_id, failed.try_number) == ("transform", 1)
    assert "`validate` left nothing" in airflow.failure(failed)
