"""`updraft train`: a run of the training's DAG in an Airflow that may be elsewhere, from its start to its end."""

from __future__ import annotations

import json
import signal
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console

from updraft.airflow_client import DAG_PREFIX, Airflow, AirflowError, TaskInstance
from updraft.cli.airflow_access import configured_airflow
from updraft.errors import UserError
from updraft.local_stack.task_progress import follow, task_name
from updraft.usecase import check_params

AWAITING = "awaiting_input"  # the state of a task that waits for a person


@dataclass(frozen=True)
class Outcome:
    """What became of a run; `state` is success, failed, or waiting: for a person who decides."""

    run_id: str
    state: str
    url: str
    version: int | None = None
    decision: str | None = None
    reason: str | None = None


def train_remotely(name: str, params: dict[str, Any], *, as_json: bool) -> None:
    """Start a run at AIRFLOW_URL, follow it, and print what became of it. UserError with the reason if it fails."""
    conf = check_params(params).model_dump(exclude_none=True)
    airflow = configured_airflow(patient=True)
    if airflow is None:
        raise UserError("AIRFLOW_URL, AIRFLOW_USER, AIRFLOW_PASSWORD: all have to be set; a file may hold the password")
    dag_id = f"{DAG_PREFIX}{name}"
    _require_active(airflow, dag_id)
    run_id = f"shell__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{uuid.uuid4().hex[:6]}"
    airflow.trigger(dag_id, run_id, conf)
    console = Console(stderr=as_json, soft_wrap=True)
    url = airflow.page(dag_id, run_id)
    console.print(f"{name}: run {run_id}: {url}", highlight=False, markup=False)
    for number in (signal.SIGINT, signal.SIGTERM):  # as CI sends them; it may also start us with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        tasks = follow(airflow, dag_id, run_id, console, until=_waits_for_a_person)
    except KeyboardInterrupt:
        raise UserError(f"no longer followed; the run goes on: {url}") from None
    outcome = _outcome(airflow, dag_id, run_id, tasks)
    if outcome.state == "failed":
        raise UserError("\n".join([*_reasons(airflow, tasks), f"run: {url}"]))
    typer.echo(json.dumps(asdict(outcome)) if as_json else _words(outcome))


def _require_active(airflow: Airflow, dag_id: str) -> None:
    dag = airflow.dag(dag_id)
    if dag is None:
        known = ", ".join(airflow.use_cases()) or "none"
        raise UserError(f"Airflow at {airflow.url} has no DAG {dag_id}; use cases that it has: {known}")
    if dag.is_paused:
        raise UserError(f"Airflow at {airflow.url} has paused {dag_id}: a run would wait until somebody unpauses it")


def _waits_for_a_person(tasks: list[TaskInstance]) -> bool:
    return any(task.state == AWAITING for task in tasks)


def _outcome(airflow: Airflow, dag_id: str, run_id: str, tasks: list[TaskInstance]) -> Outcome:
    url = airflow.page(dag_id, run_id)
    state = airflow.state(dag_id, run_id)
    if state not in ("success", "failed"):
        return Outcome(run_id, "waiting", url, reason="a person decides about the model")
    event = airflow.model_event(dag_id, run_id)
    return Outcome(run_id, state, url, event.version, event.decision, event.reason)


def _reasons(airflow: Airflow, tasks: list[TaskInstance]) -> list[str]:
    failed = [task for task in tasks if task.state == "failed"]
    return [f"{task_name(task)} failed: {_reason(airflow, task)}" for task in failed] or ["no task failed; see the run"]


def _reason(airflow: Airflow, task: TaskInstance) -> str:
    """Return why a task failed: as it says itself, else by its log, which not every user may read."""
    if found := airflow.reason(task):
        return found
    try:
        return airflow.failure(task)
    except AirflowError:
        return "see its log"


def _words(outcome: Outcome) -> str:
    if outcome.state == "waiting":
        return f"The run waits for a person to decide about its model: {outcome.url}"
    if outcome.version is None:
        return f"No new version{f': {outcome.reason}' if outcome.reason else ''}"
    return f"Version {outcome.version}, decision: {outcome.decision}" + (
        f", because {outcome.reason}" if outcome.reason else ""
    )
