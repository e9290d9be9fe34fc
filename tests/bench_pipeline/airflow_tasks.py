"""Airflow's own time: six tasks that do nothing, on an Airflow with the local stack's settings and all shipped DAGs."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.local_stack import free_environment
from tests.support.repository import copy_repository
from updraft.airflow_client import Airflow
from updraft.local_stack import supervision
from updraft.local_stack.credentials import ADMIN
from updraft.local_stack.environment import recorded

PROGRAMS = ("migrate", "api-server", "scheduler", "dag-processor", "triggerer")
DAG, DAG_FILE = "bench_six_tasks", Path(__file__).with_name("six_tasks.py")
COLD, WARM = 2, 7  # the first runs after the start are not counted: each worker loads what tasks need once
QUIET = 5  # seconds between two runs, so that none waits for the end of the one before


def measure_tasks(folder: Path) -> dict[str, Any]:
    """Start Airflow in `folder`, run the DAG several times, and return the seconds of each run and of its parts."""
    with _airflow(folder) as airflow:
        _wait(lambda: airflow.dag(DAG), 300)
        airflow.unpause(DAG)
        runs = [_run(airflow, f"run-{number}") for number in range(COLD + WARM)]
    warm = [each["seconds"] for each in runs[COLD:]]
    return {"median": statistics.median(warm), "least": min(warm), "greatest": max(warm), "runs": runs, "cold": COLD}


@contextmanager
def _airflow(folder: Path) -> Iterator[Airflow]:
    repository, home = copy_repository(folder / "repository"), folder / "home"
    shutil.copy(DAG_FILE, repository / "dags")
    environ = free_environment() | {"UPDRAFT_HOME": str(home)}
    environ["PYTHONPATH"] = os.pathsep.join([str(repository / "include"), *sys.path])
    script = f"from updraft.local_stack.stack import Stack; Stack().up(only={PROGRAMS})"
    try:
        subprocess.run([sys.executable, "-c", script], cwd=repository, env=environ, check=True)
        password = (home / "secrets" / "airflow_admin_password").read_text()
        yield Airflow.patient(recorded(home)["AIRFLOW_URL"], ADMIN, password)
    finally:
        supervision.stop(home)


def _run(airflow: Airflow, run_id: str) -> dict[str, Any]:
    """Run the DAG once; `gaps` are the seconds between tasks, `tasks` those within them."""
    time.sleep(QUIET)
    airflow.trigger(DAG, run_id)
    _wait(lambda: airflow.state(DAG, run_id) in ("success", "failed"), 300)
    run, tasks = airflow.run(DAG, run_id), airflow.tasks(DAG, run_id)
    if run is None or run.state != "success" or not run.start_date or not run.end_date:
        raise SystemExit(f"{DAG}: {run}")
    within = sum(task.duration or 0 for task in tasks)
    seconds = (run.end_date - run.start_date).total_seconds()
    return {"seconds": seconds, "tasks": within, "gaps": seconds - within}


def _wait(condition: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"{DAG}: Airflow has not come so far in {seconds:.0f} s")
        time.sleep(0.5)


if __name__ == "__main__":
    import json
    import tempfile

    with tempfile.TemporaryDirectory(prefix="updraft-bench-") as name:
        print(json.dumps(measure_tasks(Path(name)), indent=1))
