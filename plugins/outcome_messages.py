"""What people are told of a run: that it failed, what became of a version, rows that nearly were too many."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifications import Message, tell
from stage_tasks import run_url
from updraft.airflow_client import FAILURE
from updraft.model.number_format import format_hours, format_metric
from updraft.usecase import UseCase
from updraft.usecase.notify_block import Receivers

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from approval import Question
    from updraft.etl.schema import Etl
    from updraft.stages.push import Outcome
    from updraft.stages.runs import Run

log = logging.getLogger("airflow.task")

CLOSE = 0.8  # of the quarantine's budget: from here on people are told
TRIED = {"canary": "is tried beside production, as a canary", "shadow": "is tried beside production, as a shadow"}


@dataclass(frozen=True)
class FailedRun:
    """The callback of a DAG whose run has failed: it tells, once for a run, which task failed and why.

    Airflow calls it in the DAG processor, also where a task was killed and could say nothing itself. The reason is
    what the task left in its XCom.
    """

    notify: Receivers

    def __call__(self, context: Context) -> None:
        """Tell of the failed run of `context`."""
        dag_id, run_id, ti = context["dag"].dag_id, str(context["run_id"]), context.get("ti")
        where = f" at `{ti.task_id}`" if ti else ""
        reason = _reason(ti) or f"it left no reason, as a task that is killed: see the log of run {run_id}"
        tell(self.notify, Message("failed", f"{dag_id} failed{where}", reason, run_url(dag_id, run_id)))


def _reason(ti: Any) -> str:
    try:
        found = ti.xcom_pull(task_ids=ti.task_id, key=FAILURE, map_indexes=ti.map_index) if ti else None
    except Exception as error:  # without the API, say
        log.warning("why the task failed could not be read: %s", type(error).__name__)
        return ""
    return str(found or "")


def tell_of_outcome(case: UseCase, outcome: Outcome, run: Run) -> None:
    """Tell whether a run's model is in production, by which metric and who put it there, or why it is not."""
    if outcome.version is None:
        message = Message("not_promoted", f"{case.name}: no new version", outcome.reason, run.url)
    elif outcome.decision == "promote":
        metric = case.gate.metric
        value = outcome.version.manifest.get("metrics", {}).get(metric)
        by = f" ({metric} {format_metric(value)})" if isinstance(value, float) else ""
        title = f"{case.name}: version {outcome.version.number} is in production{by}, put there by {run.who}"
        message = Message("promoted", title, outcome.reason, run.url)
    else:
        state = TRIED.get(outcome.decision, "is stored, and not promoted")
        title = f"{case.name}: version {outcome.version.number} {state}"
        message = Message("not_promoted", title, outcome.reason, run.url)
    tell(case.notify, message)


def tell_of_question(case: UseCase, asked: Question, link: str | None) -> None:
    """Tell that a run waits for a person's answer."""
    tell(case.notify, Message("question", asked.subject, f"answer within {format_hours(asked.hours)}", link))


def tell_of_roll_back(case: UseCase, taken_back: str, why: str, link: str | None) -> None:
    """Tell that the monitor has taken back a version, and why."""
    tell(case.notify, Message("rolled_back", f"{case.name}: {taken_back}", why, link))


def tell_of_finish(case: UseCase, version: int, why: str, link: str | None) -> None:
    """Tell that the monitor has put a version into production that was tried beside it."""
    title = f"{case.name}: version {version} is in production, put there by monitor_{case.name}"
    tell(case.notify, Message("promoted", title, why, link))


def tell_of_quarantine(case: UseCase | Etl, ingested: Path, link: str | None) -> None:
    """Tell when the share of quarantined rows is close to the budget, above which a run stops."""
    facts = json.loads((ingested / "ingest.json").read_text(encoding="utf-8"))
    read, quarantined, budget = facts["rows_read"], facts["quarantined"], case.quarantine_budget
    if not quarantined or quarantined < round(CLOSE * budget * read, 6):
        return
    title = f"{case.name}: {quarantined:,} of {read:,} rows were quarantined, close to the budget of {budget:.2%}"
    columns = ", ".join(f"{column} ({count:,})" for column, count in list(facts["reasons"].items())[:3])
    tell(case.notify, Message("quarantine", title, f"most often for {columns}", link))
