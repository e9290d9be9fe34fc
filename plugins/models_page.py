"""Models, an entry beside Airflow's own: every use case with its versions, and what a person may do with them.

Whoever may see the runs of a use case's DAG sees it. Whoever may answer the question of `approve`, in Airflow's words
edit the DAG's HITL details, may move its versions: to start runs is not enough, as the service's own login may do that.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request  # not for type checkers only: FastAPI reads the annotations

import model_facts
import model_moves
from links import MODELS, service_url
from model_facts import READERS, Facts
from open_questions import OpenQuestion, open_questions
from rendering import FAULTS, in_a_line, is_framed, nothing, render
from updraft.airflow_client import DAG_PREFIX
from updraft.registry.registry import HeldModel, PointerMoved, Registry
from updraft.usecase.schema import NAME

if TYPE_CHECKING:
    from fastapi import APIRouter, Response

SMALL, LARGE = 96, 200  # pixels of a chart's height
MOVES_SHOWN = 100


@dataclass(frozen=True)
class Visitor:
    """Who asks for a page of a use case: what its forms need, and what to say about the last one that was sent."""

    user_id: str
    name: str
    may_move: bool
    challenger: int | None = None
    done: int | None = None
    error: str = ""
    why: str = ""
    action: str = ""
    framed: bool = False
    status: HTTPStatus = HTTPStatus.OK


def router() -> APIRouter:
    """Return the routes; whoever may not see runs, or sends a form without the right to, is refused before them."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
    from fastapi import APIRouter, Depends

    known, body = Depends(get_user), Depends(model_moves.read_body)

    def models(request: Request, user: Any = known) -> Any:
        return overview(partial(_may, request, user, "GET"), framed=is_framed(request))

    def model(
        request: Request, dag_id: str, challenger: int | None = None, done: int | None = None, user: Any = known
    ) -> Any:
        return use_case(dag_id, _visitor(request, user, dag_id, challenger=challenger, done=done))

    def move(request: Request, dag_id: str, user: Any = known, form: Any = body) -> Any:
        return change(request, form, dag_id, _visitor(request, user, dag_id))

    made = APIRouter()
    made.get(f"/{MODELS}")(models)
    made.get(f"/{MODELS}/{{dag_id}}")(model)
    may_move = Depends(requires_access_dag("PUT", DagAccessEntity.HITL_DETAIL))
    made.post(f"/{MODELS}/{{dag_id}}", dependencies=[may_move])(move)
    return made


def overview(may_see: Any, *, framed: bool = False) -> Response:
    """Show every use case that the visitor may see, each in short, those that wait for an answer first.

    What is wrong with one does not stop the others.
    """
    store, fault = _registry()
    names, unreadable = model_facts.use_cases(store)
    names = [name for name in names if may_see(f"{DAG_PREFIX}{name}")]
    with ThreadPoolExecutor(READERS) as pool:
        summaries = [*pool.map(lambda name: model_facts.summarize(name, None if unreadable else store), names)]
    dag_ids = [f"{DAG_PREFIX}{name}" for name in names]
    questions = open_questions(dag_ids)
    cases = [
        {"facts": facts, "dag_id": dag_id, "chart": facts.chart(SMALL), "questions": questions.get(dag_id, [])}
        for dag_id, facts in zip(dag_ids, summaries, strict=True)
    ]
    cases.sort(key=lambda case: not case["questions"])
    return render("models.html.j2", forms=True, cases=cases, framed=framed, fault=fault or unreadable)


def use_case(dag_id: str, visitor: Visitor) -> Response:
    """Show a use case in full, and the forms that the visitor may send."""
    name = _name(dag_id)
    store, fault = _registry()
    if store is None:
        return nothing(
            f"The models of {name} cannot be shown", fault, HTTPStatus.SERVICE_UNAVAILABLE, models=f"../{MODELS}"
        )
    facts = model_facts.details(name, store)
    if not (facts.definition.exists or facts.count or facts.history != []):
        return nothing(f"{name} is not known", facts.faults[0], models=f"../{MODELS}")
    return show(facts, store, visitor, _questions(dag_id))


def show(facts: Facts, store: Registry, visitor: Visitor, questions: Sequence[OpenQuestion] = ()) -> Response:
    """Render the page of a use case. Without a signing key it has commands in place of forms."""
    states, dag_id = facts.states, f"{DAG_PREFIX}{facts.name}"
    done = next((move for move in facts.history or () if move.sequence == visitor.done), None)
    movable = [each for each in facts.versions if not each.refused and each.number != facts.production]
    return render(
        "model.html.j2",
        visitor.status,
        forms=True,
        facts=facts,
        dag_id=dag_id,
        visitor=visitor,
        done=done,
        chart=facts.chart(LARGE),
        questions=questions,
        comparison=model_facts.compare(facts, store, visitor.challenger),
        movable=movable[::-1],
        preselected=next((each.number for each in movable[::-1] if facts.state(each) != "held"), None),
        below=states.below() if states else None,
        may_write=store.keys.signing is not None,
        token=model_moves.make_token(visitor.user_id, facts.name) if visitor.may_move else "",
        service_url=service_url(facts.name),
        report_url=service_url(f"monitoring/{facts.name}"),
        moves_shown=MOVES_SHOWN,
    )


def change(request: Request, body: bytes, dag_id: str, visitor: Visitor) -> Response:
    """Do what a form says, and lead to the page as it is then; where it is refused, say so on a new page."""
    from fastapi.responses import RedirectResponse

    name, fields = _name(dag_id), dict[str, str]()
    store, fault = _registry()
    if store is None:
        return nothing("Nothing was changed", fault, HTTPStatus.SERVICE_UNAVAILABLE, models=f"../{MODELS}")
    try:
        fields = model_moves.sent(request, body)
        model_moves.require_ours(request, fields.get("token", ""), visitor.user_id, name)
        form = model_moves.parse_form(fields)
        model_moves.move(store, name, form, f"{visitor.name} (Airflow)")
    except (PointerMoved, *FAULTS) as error:
        status = getattr(error, "status", HTTPStatus.CONFLICT)
        again = replace(visitor, error=in_a_line(error), status=status)
        if isinstance(error, HeldModel):
            again = replace(again, error=f"{error.what}; tick “also if it is held” to take it all the same")
        again = replace(again, action=fields.get("action", ""), why=fields.get("why", ""))
        return show(model_facts.details(name, store), store, again, _questions(dag_id))
    return RedirectResponse(f"{dag_id}?done={form.sequence + 1}", HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


def _questions(dag_id: str) -> Sequence[OpenQuestion]:
    return open_questions([dag_id]).get(dag_id, [])


def _visitor(request: Request, user: Any, dag_id: str, **asked: Any) -> Visitor:
    return Visitor(
        str(user.get_id()), str(user.get_name()), _may(request, user, "PUT", dag_id), framed=is_framed(request), **asked
    )


def _may(request: Request, user: Any, method: Literal["GET", "PUT"], dag_id: str) -> bool:
    """Whether Airflow lets a user see the runs of a DAG (GET), or answer its questions (PUT)."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import HTTPException

    entity = DagAccessEntity.RUN if method == "GET" else DagAccessEntity.HITL_DETAIL
    try:
        requires_access_dag(method, entity, dag_id)(request, user)
    except HTTPException:
        return False
    return True


def _registry() -> tuple[Registry | None, str]:
    """Open the registry; without one, say why."""
    from connections import registry

    try:
        return registry(), ""
    except FAULTS as error:
        return None, in_a_line(error)


def _name(dag_id: str) -> str:
    """Return the use case of a DAG that trains; 404 for another one."""
    from fastapi import HTTPException

    name = dag_id.removeprefix(DAG_PREFIX)
    if name == dag_id or not NAME.fullmatch(name):
        raise HTTPException(404, f"{dag_id!r} is no DAG that trains a use case")
    return name
