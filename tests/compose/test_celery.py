"""docker-compose.yaml with docker-compose.celery.yaml: tasks in two workers. `make compose-test` asks for it.

Dask's profile is on. The tests follow one another on one stack, in the order of the file.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.compose_runs import DAG, ended, fill, instances, logged, predict, rows, runs, tries, version
from tests.support.compose_stack import RUN, ComposeStack, docker, started, until
from tests.support.small_models import NAME
from updraft.airflow_client import Airflow
from updraft.defaults import ROOT
from updraft.usecase import load

pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("starts_compose")]
log = logging.getLogger(__name__)
FILES = """
import boto3, json
from botocore.config import Config
client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
pages = client.get_paginator("list_objects_v2").paginate(Bucket="updraft-artifacts")
print(json.dumps({each["Key"]: each["ETag"] for page in pages for each in page.get("Contents", [])}))
"""


@pytest.fixture(scope="module")
def stack(starts_compose: None, request: pytest.FixtureRequest) -> Iterator[ComposeStack]:
    """Each of its two workers runs one task at a time."""
    stack = ComposeStack(
        "docker-compose.celery.yaml", AIRFLOW_WORKERS="2", AIRFLOW_WORKER_TASKS="1", COMPOSE_PROFILES="dask"
    )
    yield from started(stack, request.session)


@pytest.fixture(scope="module")
def admin(stack: ComposeStack) -> Airflow:
    return stack.airflow("admin")


def workers(stack: ComposeStack) -> dict[str, dict[str, Any]]:
    """Give the workers' containers by the name that Airflow knows them by."""
    return {each["Config"]["Hostname"]: each for each in stack.containers("worker")}


def files(stack: ComposeStack) -> dict[str, str]:
    """Give the files of runs on S3, with a hash of each."""
    command = ("updraft-entrypoint", "python", "-c", FILES)
    return dict(json.loads(stack.compose("exec", "-T", "--index", "1", "worker", *command)))


def test_two_workers_and_redis_are_healthy_and_nothing_shares_a_folder(stack: ComposeStack) -> None:
    assert len(workers(stack)) == 2 and stack.healthy()
    for each in (stack.container("scheduler"), *workers(stack).values()):
        assert "/var/lib/updraft/artifacts" not in {mount["Destination"] for mount in each["Mounts"]}
    answer = stack.compose("exec", "-T", "redis", "redis-cli", "ping")
    assert "NOAUTH" in answer


def test_the_two_workers_share_a_run_and_the_scheduler_runs_no_task(
    stack: ComposeStack, admin: Airflow, tmp_path: Path
) -> None:
    fill(stack, rows(tmp_path, 20_000, 1))
    until(lambda: admin.dag(DAG), 180)
    admin.unpause(DAG)
    began = time.monotonic()
    stack.airflow("service").trigger(DAG, "first")
    assert ended(admin, "first") == "success"
    log.warning("a run in two workers: %.0f s", time.monotonic() - began)
    found = instances(admin, "first")
    ran = {each.hostname for each in found.values()}
    assert ran <= workers(stack).keys()
    assert found["train 0"].hostname != found["train 1"].hostname
    assert until(lambda: version(stack), 60) == 1
    assert predict(stack)["version"] == 1


def test_its_files_lie_on_s3_and_none_in_a_worker(stack: ComposeStack) -> None:
    keys = files(stack).keys()
    place = f"{NAME}/first"
    made = {f"train/{name}" for name in load(NAME).candidates} | {"ingest", "validate", "transform", "evaluate"}
    assert {f"{place}/{each}/complete.json" for each in made} <= keys
    assert f"{place}/ingest/dataset.parquet" in keys
    for number in ("1", "2"):
        look = "ls /var/lib/updraft/artifacts; ls -d /tmp/updraft-run-* 2>/dev/null || true"
        assert stack.compose("exec", "-T", "--index", number, "worker", "sh", "-c", look).split() == []


def test_a_run_by_engine_dask_is_trained_on_the_clusters_workers_and_its_models_are_the_same(
    stack: ComposeStack, admin: Airflow, tmp_path: Path
) -> None:
    changed, path = tmp_path / "use_case.yaml", f"include/usecases/{NAME}.yaml"
    changed.write_text((ROOT / path).read_text(encoding="utf-8") + "\nengine: dask\n", encoding="utf-8")
    changed.chmod(0o644)
    for each in workers(stack).values():
        docker("cp", str(changed), f"{each['Id']}:/app/{path}")
    began = time.monotonic()
    admin.trigger(DAG, "on_dask")
    assert ended(admin, "on_dask", 480) == "success"
    log.warning("a run on two workers of Dask: %.0f s", time.monotonic() - began)
    for number, name in enumerate(load(NAME).candidates):
        lines = logged(admin, "on_dask", f"train {number}")
        assert any(line.endswith("fits made on 2 workers of Dask") for line in lines), lines
        assert any(line.startswith(f"{name}: fitted on") and line.endswith("2 workers of Dask") for line in lines), (
            lines
        )
        log.warning("%s", "\n".join(line for line in lines if "Dask" in line))
    found = files(stack)
    models = {key for key in found if key.startswith(f"{NAME}/first/train/") and key.endswith("/model.joblib")}
    assert len(models) == len(load(NAME).candidates)
    assert {key: found[key.replace("/first/", "/on_dask/")] for key in models} == {key: found[key] for key in models}
    for each in workers(stack).values():
        docker("cp", str(ROOT / path), f"{each['Id']}:/app/{path}")


def dasks_workers(stack: ComposeStack) -> int:
    """Count them as tasks see them."""
    ask = "import os; from distributed import Client; print(len(Client(os.environ['DASK_URL'], timeout=60).nthreads()))"
    command = ("updraft-entrypoint", "python", "-c", ask)
    return int(stack.compose("exec", "-T", "--index", "1", "worker", *command))


def test_dasks_workers_come_back_to_a_scheduler_that_is_killed(stack: ComposeStack) -> None:
    before = stack.container("dask-scheduler")
    with stack.killer(before["State"]["Pid"]) as kill:
        kill()
    until(lambda: stack.container("dask-scheduler")["RestartCount"] == before["RestartCount"] + 1, 60)
    until(lambda: dasks_workers(stack) == 2, 180)
    until(stack.healthy, 120)


@pytest.mark.parametrize("host", ["apiserver", "serving", "postgres", "s3"])
def test_dasks_workers_reach_nothing_but_what_runs_tasks(stack: ComposeStack, host: str) -> None:
    ask = "import socket, sys; print(sys.argv[1] in str(socket.getaddrinfo(sys.argv[1], 80)))"
    done = stack.attempt("exec", "-T", "--index", "1", "dask-worker", "python", "-c", ask, host)
    assert done.returncode != 0 and "gaierror" in done.stderr


def test_dasks_containers_mount_nothing_and_cannot_write(stack: ComposeStack) -> None:
    found = stack.containers("dask-scheduler", "dask-worker")
    assert len(found) == 3
    for each in found:
        assert not each["Mounts"] and each["HostConfig"]["ReadonlyRootfs"]
        assert each["NetworkSettings"]["Networks"].keys() == {f"{stack.project}_dask"}


def test_task_logs_of_a_worker_are_read_back(stack: ComposeStack, admin: Airflow) -> None:
    lines = logged(admin, "first", "ingest")
    assert any(line.startswith("s3://updraft-logs/") for line in lines), lines[:5]
    assert any(line.startswith("uploaded to s3://updraft-artifacts/") for line in lines)


@pytest.mark.parametrize("victim", ["redis", "s3"])
def test_a_run_ends_well_though_a_part_is_killed(stack: ComposeStack, admin: Airflow, victim: str) -> None:
    before, run_id = stack.container(victim), f"without_{victim}"
    with stack.killer(before["State"]["Pid"]) as kill:
        admin.trigger(DAG, run_id)
        until(lambda: runs(admin, run_id, "train 0"), 120)
        began = time.monotonic()
        kill()
    assert ended(admin, run_id, 420) == "success"
    log.warning("kill -9 %s: success %.0f s later, tries %s", victim, time.monotonic() - began, tries(admin, run_id))
    assert stack.container(victim)["RestartCount"] == before["RestartCount"] + 1
    until(stack.healthy, 120)


def test_what_a_killed_worker_was_doing_is_done_by_the_other(stack: ComposeStack, admin: Airflow) -> None:
    admin.trigger(DAG, "without_worker")
    victim = until(lambda: runs(admin, "without_worker", "train 0"), 120).hostname
    began = time.monotonic()
    docker("kill", "--signal", "KILL", workers(stack)[victim]["Id"])  # and it stays away: no restart after this
    assert instances(admin, "without_worker")["train 0"].state == "running"
    assert ended(admin, "without_worker", 480) == "success"
    took, tried = time.monotonic() - began, tries(admin, "without_worker")
    log.warning("kill -9 of a worker: success %.0f s later, tries %s", took, tried)
    again = instances(admin, "without_worker")["train 0"]
    assert again.try_number == 2 and again.hostname != victim and again.hostname in workers(stack)
    assert predict(stack)["version"] == version(stack)


def test_a_worker_that_is_stopped_finishes_its_task_first(stack: ComposeStack, admin: Airflow) -> None:
    stack.up()
    assert len(workers(stack)) == 2 and stack.healthy()
    admin.trigger(DAG, "stopped")
    stopped = until(lambda: runs(admin, "stopped", "train 0"), 120).hostname
    docker("stop", workers(stack)[stopped]["Id"])  # waits for as long as stop_grace_period says
    assert workers(stack)[stopped]["State"]["ExitCode"] == 0
    trained = instances(admin, "stopped")["train 0"]
    assert (trained.state, trained.try_number, trained.hostname) == ("success", 1, stopped)
    assert ended(admin, "stopped") == "success"


def test_neither_a_log_nor_dockers_inspection_tells_a_secret(stack: ComposeStack) -> None:
    assert stack.leaked() == set()


def test_commands_run_beside_the_workers(stack: ComposeStack) -> None:
    assert NAME in stack.compose(*RUN, "cli", "updraft", "registry", "list")
