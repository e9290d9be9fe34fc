"""Questions of `approve` that nobody has answered yet, as the API server finds them in Airflow's database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from links import question_url


@dataclass(frozen=True)
class OpenQuestion:
    """What a run waits for: the question's heading, the run, since when, and where it is answered."""

    subject: str
    run_id: str
    since: datetime
    url: str | None


def open_questions(dag_ids: Sequence[str]) -> Mapping[str, Sequence[OpenQuestion]]:
    """Return the open questions of these DAGs by DAG, the oldest first; a DAG without one is not there."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    rows = (
        select(
            TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, HITLDetail.subject, HITLDetail.created_at
        )
        .join(TaskInstance, HITLDetail.ti_id == TaskInstance.id)
        .where(
            TaskInstance.dag_id.in_(dag_ids),
            TaskInstance.state.in_((TaskInstanceState.DEFERRED, TaskInstanceState.AWAITING_INPUT)),
            HITLDetail.responded_at.is_(None),
        )
        .order_by(HITLDetail.created_at)
    )
    found = defaultdict[str, list[OpenQuestion]](list)
    with create_session() as session:
        for dag_id, run_id, task_id, subject, since in session.execute(rows):
            found[dag_id].append(OpenQuestion(subject, run_id, since, question_url(dag_id, run_id, task_id)))
    return found
