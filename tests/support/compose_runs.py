"""What the tests of the Compose files do with a stack: load rows, follow a run, ask for a prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import requests

from tests.support.compose_stack import RUN, ComposeStack, until
from tests.support.small_models import NAME, ROW
from updraft.airflow_client import Airflow, TaskInstance
from updraft.demo.rows import generate
from updraft.errors import UserError
from updraft.usecase import load

DAG = f"train_{NAME}"
ENDED = ("success", "failed")


def rows(folder: Path, count: int, seed: int, mixed: tuple[str, ...] = ()) -> Path:
    """Write made-up rows; the values of the `mixed` columns are dealt out anew, so that they tell nothing."""
    frame = generate(load(NAME), count, seed=seed)
    for column in mixed:
        frame[column] = frame[column].sample(frac=1, random_state=seed).to_numpy()
    path = folder / "rows.csv"
    frame.to_csv(path, index=False)
    path.chmod(0o644)
    return path


def fill(stack: ComposeStack, path: Path) -> None:
    """Load a file of rows into MongoDB, as README says."""
    told = stack.compose(*RUN, "-v", f"{path}:/rows.csv:ro", "cli", "updraft", "load", NAME, "/rows.csv")
    assert f"{len(pd.read_csv(path)):,} rows" in told


def ended(airflow: Airflow, run_id: str, seconds: float = 240) -> str:
    """Wait for a run's end and give its state; Airflow may be down for a while."""

    def state() -> str | None:
        try:
            found = airflow.state(DAG, run_id)
        except UserError:
            return None
        return found if found in ENDED else None

    return str(until(state, seconds))


def instances(airflow: Airflow, run_id: str) -> dict[str, TaskInstance]:
    """Give a run's task instances: `ingest`, `train 0`, …"""
    return {
        each.task_id if each.map_index < 0 else f"{each.task_id} {each.map_index}": each
        for each in airflow.tasks(DAG, run_id)
    }


def runs(airflow: Airflow, run_id: str, task: str) -> TaskInstance | None:
    """Give a task that runs at this moment, and whose worker is known."""
    found = instances(airflow, run_id)[task]
    return found if found.state == "running" and found.hostname else None


def tries(airflow: Airflow, run_id: str) -> dict[str, int]:
    """Tell how often each task was tried."""
    return {name: each.try_number for name, each in instances(airflow, run_id).items()}


def logged(airflow: Airflow, run_id: str, task: str, attempt: int = 1) -> list[str]:
    """Give the lines of a task's log, as the UI reads them; of `train 0`, too."""
    name, _, number = task.partition(" ")
    path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/{name}/logs/{attempt}?full_content=true"
    if number:
        path += f"&map_index={number}"
    return [str(line["event"]) for line in airflow.request("GET", path)["content"]]


def production(stack: ComposeStack) -> int:
    """Give the version that the registry points to."""
    return int(json.loads(stack.compose(*RUN, "cli", "updraft", "registry", "show", NAME, "--json"))["version"])


def predict(stack: ComposeStack) -> dict[str, Any]:
    """Ask the service about one row."""
    answer = requests.post(f"{stack.url}/predict/{NAME}", json=ROW, timeout=10)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def version(stack: ComposeStack) -> int | None:
    """Give the version that the service answers with."""
    served = {each["use_case"]: each for each in stack.get("/models")["models"]}
    found: int | None = served.get(NAME, {}).get("version")
    return found
