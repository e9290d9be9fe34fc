"""The task `approve`: ask a person whether a model is promoted, with the evidence, and wait without a worker.

Airflow parks the task until somebody answers in its UI or by REST, or the time is over, which is a `reject`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

import evidence
from links import ModelCardLink
from stage_tasks import reported
from updraft.errors import UserError
from updraft.model.number_format import format_hours

if TYPE_CHECKING:
    from uuid import UUID

    from airflow.sdk import Context

    from updraft.registry.monitor_state import MonitorState
    from updraft.stages.push import Answer
    from updraft.usecase import UseCase

log = logging.getLogger("airflow.task")

PROMOTE, CANARY, REJECT = "promote", "canary", "reject"
REASON = "reason"
STALE = (
    "Airflow keeps the question of a task that is cleared, and would show the evidence of an earlier evaluation; "
    "trigger a new run"
)
MAX_SLICES = 8


# An empty text is valid, as a time-out has it; in the UI the buttons wait for some text all the same.
FORM = {REASON: Param("", type="string", title="Reason", description="For the signed history of the model.")}


@dataclass(frozen=True)
class Question:
    """What a person is asked: a heading, the evidence as Markdown, for how many hours, and what can be answered.

    `evidence` stands in the body, and is another one for each evaluation.
    """

    subject: str
    body: str
    hours: float
    options: tuple[str, ...]
    evidence: str


class ApproveOperator(HITLOperator):
    """Asks what `ask(use_case, evaluation)` returns; that raises AirflowSkipException where there is nothing to ask.

    FORM must be passed as `params`: Airflow mixes those of the DAG in before this class sees them.
    """

    template_fields = ("evaluation",)
    operator_extra_links = (ModelCardLink(),)

    def __init__(self, *, ask: Callable[[str, str], Question], use_case: str, evaluation: Any, **kwargs: Any) -> None:
        super().__init__(
            subject=f"Promote a new model of {use_case}?",
            options=[PROMOTE, CANARY, REJECT],
            defaults=REJECT,
            response_timeout=timedelta(hours=20),  # the question has its own
            **kwargs,
        )
        self.execution_timeout = None  # of the tasks that work; this one waits
        self.ask, self.use_case, self.evaluation = ask, use_case, evaluation

    def execute(self, context: Context) -> Any:
        """Ask, and leave the worker."""
        question = self.ask(self.use_case, self.evaluation)
        self.subject, self.body = question.subject, question.body  # not templates: there are people's words in them
        self.options, self.response_timeout = list(question.options), timedelta(hours=question.hours)
        if question.evidence not in self._shown(context["ti"].id):
            with reported(self.task_id):
                raise UserError(STALE)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the answer, and log whose it is, which Airflow does not."""
        value = super().execute_complete(context, event)
        log.info("%s", _in_words(read_answer(value)))
        return value

    def _shown(self, ti_id: UUID) -> str:
        """Put the question to people; return the text that they are shown: of a cleared task it is the former one."""
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        asked = CreateHITLDetailPayload(
            ti_id=ti_id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            defaults=self.defaults,
            multiple=False,
            params=self.serialized_params,
            assigned_users=[],
        )
        return str(getattr(SUPERVISOR_COMMS.send(asked), "body", ""))


def question(case: UseCase, evaluation: Mapping[str, Any], monitor: MonitorState | None, card: str | None) -> Question:
    """Return the question about an evaluation whose decision is `promote`; `card` is the URL of the model card."""
    champion = evaluation["champion"]
    parts = [
        f"**{evidence.escape(evidence.comparison(evaluation))}**",
        *([f"[Model card, with pictures]({card})"] if card else []),
        evidence.models(evaluation).markdown(),
        *([evidence.floors(evaluation).markdown()] if evaluation["floors"] else []),
        *([evidence.slices(evaluation, MAX_SLICES).markdown()] if any(evaluation["slices"].values()) else []),
        *map(evidence.escape, _notes(evaluation, monitor)),
        *_choices(case, canary=bool(champion)),
        f"Evaluation {(digest := _digest(evaluation))}",
    ]
    against = f" in place of version {champion['version']}" if champion else ", the first one"
    return Question(
        f"Promote {evaluation['chosen']} of {case.name}{against}?",
        "\n\n".join(parts),
        case.approve.hours,
        (PROMOTE, CANARY, REJECT) if champion else (PROMOTE, REJECT),
        digest,
    )


def _digest(evaluation: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(evaluation, sort_keys=True).encode()).hexdigest()[:12]


def _choices(case: UseCase, *, canary: bool) -> Iterator[str]:
    yield "- **promote**: it goes into production"
    if canary:
        ends = f"a person, in *Models* or by `updraft registry finish {case.name}` or `abort`,"
        if case.monitor:
            ends = f"the monitor, the DAG `monitor_{case.name}`, if it is not paused, or {ends}"
        yield f"- **canary**: it answers {case.rollout.percent:g} % of the requests until {ends} ends that"
    yield "- **reject**: it is stored and held: no run promotes the same model again"
    yield f"Without an answer in {format_hours(case.approve.hours)} it is only stored."


def _notes(evaluation: Mapping[str, Any], monitor: MonitorState | None) -> Iterator[str]:
    """Say what the monitor found last of the version in production, and what else casts light on the numbers."""
    if monitor is None:
        yield "Drift: nothing is known, as no monitor has reported."
    else:
        found = "; ".join(f"{each.signal.replace('_', ' ')}: {each.reason}" for each in monitor.found)
        yield f"Drift of version {monitor.version}, {monitor.at[:16].replace('T', ' ')}: {found or monitor.drift}"
    if cause := evaluation["cause"]:
        yield f"The monitor asked for this training: {cause['reason']}"
    if missing := evaluation["uneven_quarantine"]:
        yield f"Missing rows: {missing}"


def _in_words(answer: Answer | None) -> str:
    if answer is None or answer.who is None:
        return "nobody answered in time"
    return f"{answer.who} answered {answer.choice}: {answer.why}"


def read_answer(value: Mapping[str, Any] | None) -> Answer | None:
    """Return what was answered, out of the task's XCom; None where nobody was asked."""
    from updraft.stages.push import Answer

    if not value:
        return None
    user = value.get("responded_by_user") or {}
    why = " ".join(str((value.get("params_input") or {}).get(REASON) or "").split())
    return Answer(value["chosen_options"][0], user.get("name") or user.get("id"), why or "no reason was given")
