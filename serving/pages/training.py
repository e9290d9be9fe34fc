"""Training from a browser: a form that starts a run, and a page that follows it."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Request, Response, redirect, request, url_for
from werkzeug.exceptions import BadRequest, HTTPException, Unauthorized, UnprocessableEntity

from serving.body import json_body
from serving.models.live_models import Shelf
from serving.pages import html
from serving.training.runs import Run, Task
from serving.training.trigger import Trainer
from updraft.model.signature import BadRow

MOST_BYTES, MOST_FIELDS = 2**19, 10_000  # bytes and fields of a form
FORM = "application/x-www-form-urlencoded"
COOKIE = "updraft_train"
ENDED = {"success", "failed"}
SECONDS = 3  # between two looks at a run
STAGES = ("ingest", "validate", "transform", "train", "evaluate", "push")
TEXTS = ("use_case", "limit", "seed", "promote")


def add(views: Blueprint, shelf: Shelf, trainer: Trainer | None) -> None:
    """Add the pages to `views`: the form, and a page for each run. A GET never trains, no page gives the token away."""

    @views.get("/train")
    def train_form() -> Response:
        return _form(shelf, trainer, {"use_case": request.args.get("use_case", "")}, {})

    if trainer is not None:
        _add_start(views, shelf, trainer)
        _add_runs(views, trainer)


def _add_start(views: Blueprint, shelf: Shelf, trainer: Trainer) -> None:
    @views.post("/train")
    def train() -> Response:
        sent = typed(request)
        texts = {name: sent.get(name, "").strip() for name in (*TEXTS, "key")}
        token = sent.get("token", "").strip()
        try:
            trainer.admit(token, request.remote_addr or "")
            run = trainer.start(texts["use_case"], _params(texts), texts["key"] or None)
        except BadRow as error:
            faults = {fault["pointer"].removeprefix("/"): fault["detail"] for fault in error.errors}
            return _form(shelf, trainer, texts, faults, 422)
        except HTTPException as error:
            return _refused(shelf, trainer, texts, error)
        response = redirect(url_for(".run", use_case=run.use_case, run_id=run.id), 303)
        path = url_for(".runs")
        response.set_cookie(COOKIE, token, path=path, httponly=True, secure=request.is_secure, samesite="Strict")
        return response  # type: ignore[return-value]


def _add_runs(views: Blueprint, trainer: Trainer) -> None:
    @views.get("/runs")
    def runs() -> Response:
        return redirect(url_for(".train_form"))  # type: ignore[return-value]

    @views.get("/runs/<use_case>/<run_id>")
    def run(use_case: str, run_id: str) -> Response:
        trainer.admit(request.cookies.get(COOKIE), request.remote_addr or "")
        found = trainer.follow(use_case, run_id)
        response = html.page("run.html", run=found, tasks=_in_order(found), ended=found.state in ENDED)
        if found.state not in ENDED:
            response.headers["Refresh"] = str(SECONDS)
        return response


def typed(request: Request) -> dict[str, str]:
    """Return the fields of a form that was sent.

    Raises UnsupportedMediaType for another body, RequestEntityTooLarge, BadRequest for more fields than a form has.
    """
    json_body.media_type(request, [FORM])
    text = json_body.content(request, MOST_BYTES).decode(errors="replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise BadRequest(f"The form has more than {MOST_FIELDS} fields.") from None


def _form(
    shelf: Shelf, trainer: Trainer | None, texts: dict[str, str], errors: dict[str, str], status: int = 200
) -> Response:
    texts = dict.fromkeys(TEXTS, "") | texts
    texts["key"] = texts.get("key") or secrets.token_hex(16)
    return html.page("train.html", status, names=shelf.names, on=trainer is not None, texts=texts, errors=errors)


def _refused(shelf: Shelf, trainer: Trainer, texts: dict[str, str], error: HTTPException) -> Response:
    """Show the form again with what the trainer said, beside its field where it has one."""
    field = {401: "token", 403: "token", 404: "use_case", 409: "use_case"}.get(error.code or 500, "")
    if isinstance(error, UnprocessableEntity):  # the page was sent before, with other values: the next one is new
        texts = texts | {"key": ""}
    told = "needed: the token for training" if isinstance(error, Unauthorized) else str(error.description)
    response: Response = error.get_response()  # type: ignore[assignment]  # keeps Retry-After
    html.fill(response, _form(shelf, trainer, texts, {field: told}))
    response.vary.add("Accept")
    return response


def _in_order(run: Run) -> list[Task]:
    """Sort a run's tasks as they follow each other, those that are none of the stages last."""
    places = {name: place for place, name in enumerate(STAGES)}
    return sorted(run.tasks, key=lambda task: (places.get(task.name, len(STAGES)), task.candidate or ""))


def _params(texts: dict[str, str]) -> dict[str, Any]:
    """Read what was typed; what is no number stays text, for the trainer to refuse."""
    found: dict[str, Any] = {name: texts[name] for name in ("limit", "seed", "promote") if texts[name]}
    for name in found.keys() & {"limit", "seed"}:
        if found[name].isascii() and found[name].isdigit() and len(found[name]) < 20:
            found[name] = int(found[name])
    return found
