"""A training run as a caller sees it: its tasks and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from updraft.airflow_client import DAG_PREFIX, Airflow, TaskInstance

# What `push` has done with a version; it stores none of a model that the evaluation rejects.
OUTCOMES = {"promote": "promoted", "canary": "canary", "shadow": "shadow", "reject": "held"}


@dataclass(frozen=True)
class Task:
    """A task of a run, or one candidate's instance of it. The state is "waiting" until Airflow sets one."""

    name: str
    candidate: str | None
    state: str
    started: str | None
    ended: str | None


@dataclass(frozen=True)
class Run:
    """A run: `queued` until its turn, since a use case has one at a time, then `running`, `success` or `failed`.

    The outcome of a finished run is `promoted`, `canary`, `shadow`, `stored` (and not promoted) or `held` (a person
    rejected it: no run promotes its model again), with the version, `rejected` if nothing was stored, or `failed`, with
    the task and its reason. `airflow_url` is the page of the run in Airflow.
    """

    use_case: str
    id: str
    state: str
    started: str | None = None
    ended: str | None = None
    outcome: str | None = None
    version: int | None = None
    reason: str | None = None
    tasks: tuple[Task, ...] = ()
    airflow_url: str | None = None


def read_run(airflow: Airflow, use_case: str, run_id: str, airflow_pages: str | None = None) -> Run | None:
    """Read a run from Airflow, whose pages are at `airflow_pages`; None if it does not exist. Raises AirflowError."""
    dag_run = airflow.run(DAG_PREFIX + use_case, run_id)
    if dag_run is None:
        return None
    state, tasks = dag_run.state, airflow.tasks(DAG_PREFIX + use_case, run_id)
    parts = tuple(map(_task, tasks))
    outcome = _outcome(airflow, use_case, run_id, tasks) if state == "success" else {}
    outcome = {"outcome": "failed", "reason": _failure(airflow, tasks)} if state == "failed" else outcome
    url = airflow.page(DAG_PREFIX + use_case, run_id, airflow_pages)
    return Run(
        use_case,
        run_id,
        state,
        iso_time(dag_run.start_date),
        iso_time(dag_run.end_date),
        tasks=tuple(parts),
        airflow_url=url,
        **outcome,
    )


def iso_time(at: datetime | None) -> str | None:
    """Format a time as ISO 8601."""
    return at.isoformat() if at else None


def _task(task: TaskInstance) -> Task:
    candidate = task.rendered_map_index or str(task.map_index) if task.map_index >= 0 else None
    return Task(task.task_id, candidate, task.state or "waiting", iso_time(task.start_date), iso_time(task.end_date))


def _failure(airflow: Airflow, tasks: list[TaskInstance]) -> str:
    """Return which task failed first, and the reason that it left."""
    failed = next((task for task in tasks if task.state == "failed"), None)
    if failed is None:
        return "No task of it failed: somebody set the run's state."
    return f"{failed.task_id}: {airflow.reason(failed) or 'it left no reason; see its log in Airflow'}"


def _outcome(airflow: Airflow, use_case: str, run_id: str, tasks: list[TaskInstance]) -> dict[str, Any]:
    """Return the outcome of a successful run: from the asset event of its model, unless `push` was skipped."""
    if any(task.task_id == "push" and task.state == "skipped" for task in tasks):
        reason = "The model was not good enough to be stored; see the log of the task push."
        return {"outcome": "rejected", "reason": reason}
    event = airflow.model_event(DAG_PREFIX + use_case, run_id)
    return {"outcome": OUTCOMES.get(event.decision or "", "stored"), "version": event.version, "reason": event.reason}
