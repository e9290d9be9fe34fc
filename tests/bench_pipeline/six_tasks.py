"""A DAG of six tasks that do nothing, one after another: what it takes is Airflow's own time. Not shipped."""

from __future__ import annotations

from airflow.sdk import dag, task

TASKS = 6


@task
def step(path: str) -> str:
    """Hand on a path, as the stages do."""
    return path


@dag(schedule=None)
def bench_six_tasks() -> None:
    """Chain the tasks."""
    path = "/dataset"
    for number in range(TASKS):
        path = step.override(task_id=f"step_{number}")(path)  # type: ignore[assignment]


bench_six_tasks()
