"""Training from a browser: a form that starts a run, and a page that follows it."""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Request, Response, redirect, request, url_for
from werkzeug.exceptions import BadRequest, HTTPException, Unauthorized, UnprocessableEntity

from serving.body import json_body
from serving.models.live_models import LiveModels
from serving.pages import html
from serving.training.runs import Run, Task
from serving.training.trigger import Trainer
from updraft.model.signature import BadRow

MAX_BYTES, MAX_FIELDS = 2**19, 10_000  # of a submitted form
FORM = "application/x-www-form-urlencoded"
COOKIE = "updraft_train"
ENDED = {"success", "failed"}
WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)
REFRESH_SECONDS = 3  # between two reloads of a run's page
STAGES = ("ingest", "validate", "transform", "train", "evaluate", "approve", "push")
FIELDS = ("use_case", "limit", "seed", "promote", "read_all")


def add_pages(views: Blueprint, live_models: LiveModels, trainer: Trainer | None) -> None:
    """Add the pages to `views`: the form, and a page per run. No GET starts training, no page contains the token."""

    @views.get("/train")
    def train_form() -> Response:
        return _form(live_models, trainer, {"use_case": request.args.get("use_case", "")}, {})

    if trainer is not None:
        _add_start(views, live_models, trainer)
        _add_runs(views, live_models, trainer)


def _add_start(views: Blueprint, live_models: LiveModels, trainer: Trainer) -> None:
    @views.post("/train")
    def train() -> Response:
        form = form_fields(request)
        texts = {name: form.get(name, "").strip() for name in (*FIELDS, "key")}
        token = form.get("token", "").strip()
        try:
            trainer.authorize(token, request.remote_addr or "")
            run = trainer.start(texts["use_case"], _params(texts), texts["key"] or None)
        except BadRow as error:
            errors = {fault["pointer"].removeprefix("/"): fault["detail"] for fault in error.errors}
            return _form(live_models, trainer, texts, errors, 422)
        except HTTPException as error:
            return _refused(live_models, trainer, texts, error)
        response = redirect(url_for(".run", use_case=run.use_case, run_id=run.id), 303)
        path = url_for(".runs")
        response.set_cookie(COOKIE, token, path=path, httponly=True, secure=request.is_secure, samesite="Strict")
        return response  # type: ignore[return-value]


def _add_runs(views: Blueprint, live_models: LiveModels, trainer: Trainer) -> None:
    @views.get("/runs")
    def runs() -> Response:
        return redirect(url_for(".train_form"))  # type: ignore[return-value]

    @views.get("/runs/<use_case>/<run_id>")
    def run(use_case: str, run_id: str) -> Response:
        trainer.authorize(request.cookies.get(COOKIE), request.remote_addr or "")
        state = trainer.follow(use_case, run_id)
        response = html.render(
            "run.html",
            run=state,
            tasks=_sorted_tasks(state),
            ended=state.state in ENDED,
            live=live_models.live.get(use_case),
        )
        if state.state not in ENDED:
            response.headers["Refresh"] = str(REFRESH_SECONDS)
        return response


def form_fields(request: Request) -> dict[str, str]:
    """Return the fields of a submitted form.

    Raises UnsupportedMediaType for another media type, RequestEntityTooLarge, BadRequest for too many fields.
    """
    json_body.check_media_type(request, [FORM])
    text = json_body.read_body(request, MAX_BYTES).decode(errors="replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise BadRequest(f"The form has more than {MAX_FIELDS} fields.") from None


def _form(
    live_models: LiveModels, trainer: Trainer | None, texts: dict[str, str], errors: dict[str, str], status: int = 200
) -> Response:
    texts = dict.fromkeys(FIELDS, "") | texts
    texts["key"] = texts.get("key") or secrets.token_hex(16)
    return html.render(
        "train.html", status, names=live_models.names, on=trainer is not None, texts=texts, errors=errors
    )


def _refused(live_models: LiveModels, trainer: Trainer, texts: dict[str, str], error: HTTPException) -> Response:
    """Show the form again with the trainer's error, beside the field it concerns if there is one."""
    field = {401: "token", 403: "token", 404: "use_case", 409: "use_case"}.get(error.code or 500, "")
    if isinstance(error, UnprocessableEntity):  # the form was submitted before with other values: use a new key
        texts = texts | {"key": ""}
    message = "required: the token for training" if isinstance(error, Unauthorized) else str(error.description)
    response: Response = error.get_response()  # type: ignore[assignment]  # keeps Retry-After
    html.replace_body(response, _form(live_models, trainer, texts, {field: message}))
    response.vary.add("Accept")
    return response


def _sorted_tasks(run: Run) -> list[Task]:
    """Sort a run's tasks by stage; tasks that are not a stage come last."""
    places = {name: place for place, name in enumerate(STAGES)}
    return sorted(run.tasks, key=lambda task: (places.get(task.name, len(STAGES)), task.candidate or ""))


def _params(texts: dict[str, str]) -> dict[str, Any]:
    """Return the run's parameters; what is invalid stays text, which the trainer refuses with a proper error."""
    params: dict[str, Any] = {name: texts[name] for name in FIELDS if texts[name] and name != "use_case"}
    if params.get("read_all") == "true":
        params["read_all"] = True
    for name in params.keys() & {"limit", "seed"}:
        if WHOLE.fullmatch(params[name]):  # also a negative one, which is refused for that
            params[name] = int(params[name])
    return params
