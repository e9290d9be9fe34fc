"""Why a run has not written a file that a page would show, as the API server knows from Airflow's database."""

from __future__ import annotations

from typing import NamedTuple

GONE = "The task {task} has ended, and its files are not there: “updraft clean” removes those of old runs."
NOT_REACHED = "The run failed in the task {failed}, whose log says why."
ENDED = "The run has ended without the task {task}."
YET = "It is there when the task {task} has ended."


class Missing(NamedTuple):
    """Whether the file may come yet, and why it is not there."""

    yet: bool
    why: str


def why_missing(dag_id: str, run_id: str, task: str) -> Missing:
    """Say why the file that `task` writes is not there."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    run = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    tasks = select(TaskInstance.task_id, TaskInstance.state).where(
        TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id
    )
    with create_session() as session:
        state = session.scalar(run)
        states = [(task_id, str(state)) for task_id, state in session.execute(tasks.order_by(TaskInstance.start_date))]
    if dict(states).get(task) in ("success", "failed"):
        return Missing(False, GONE.format(task=task))
    if state not in ("success", "failed"):
        return Missing(True, YET.format(task=task))
    failed = next((task_id for task_id, state in states if state == "failed"), None)
    return Missing(False, NOT_REACHED.format(failed=failed) if failed else ENDED.format(task=task))
