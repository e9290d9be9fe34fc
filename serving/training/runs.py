"""A run of a training DAG as a caller sees it: its tasks, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from updraft.airflow_client import DAG_PREFIX, Airflow, TaskInstance


@dataclass(frozen=True)
class Task:
    """A task of a run, or one candidate's part of it; a state that Airflow has not given yet is "waiting"."""

    name: str
    candidate: str | None
    state: str
    started: str | None
    ended: str | None


@dataclass(frozen=True)
class Run:
    """A run: `queued` until its turn, since a use case has one at a time, then `running`, `success` or `failed`.

    What came of one that ended: `promoted` or `stored`, with the version, `rejected` when nothing was stored, `failed`.
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


def look(airflow: Airflow, use_case: str, run_id: str) -> Run | None:
    """Ask Airflow for a run; None when there is none of that id. Raises AirflowError."""
    found = airflow.run(DAG_PREFIX + use_case, run_id)
    if found is None:
        return None
    state, tasks = found.state, airflow.tasks(DAG_PREFIX + use_case, run_id)
    parts = tuple(map(_task, tasks))
    outcome = _outcome(airflow, use_case, run_id, tasks) if state == "success" else {}
    outcome = {"outcome": "failed"} if state == "failed" else outcome
    return Run(use_case, run_id, state, told(found.start_date), told(found.end_date), tasks=parts, **outcome)


def told(at: datetime | None) -> str | None:
    """Write a time as ISO 8601."""
    return at.isoformat() if at else None


def _task(task: TaskInstance) -> Task:
    candidate = task.rendered_map_index or str(task.map_index) if task.map_index >= 0 else None
    return Task(task.task_id, candidate, task.state or "waiting", told(task.start_date), told(task.end_date))


def _outcome(airflow: Airflow, use_case: str, run_id: str, tasks: list[TaskInstance]) -> dict[str, Any]:
    """Say what came of a run that ended well: the event of its model, if `push` was not skipped."""
    if any(task.task_id == "push" and task.state == "skipped" for task in tasks):
        why = "The model was not good enough to be stored; the log of the task push tells more."
        return {"outcome": "rejected", "reason": why}
    event = airflow.model_event(DAG_PREFIX + use_case, run_id)
    outcome = "promoted" if event.decision == "promote" else "stored"
    return {"outcome": outcome, "version": event.version, "reason": event.reason}
