"""Pages in Airflow's UI: the tabs of a run, Model card and Validation, the page of a version, and Models.

They are served by Airflow's API server to whoever may see the DAG's runs; an anonymous request is refused. What tasks
have written is shown in a sandbox: it runs no script, sends nothing, and loads nothing from anywhere.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin
from starlette.requests import Request  # not for type checkers only: FastAPI reads the annotations

import models_page
from links import CARD, MODELS, PAGES, VALIDATION, service_url
from missing_files import why_missing
from rendering import FAULTS, SANDBOX, in_a_line, is_framed, nothing, page, render
from updraft.airflow_client import DAG_PREFIX
from updraft.model.number_format import format_value
from updraft.model.version_files import CARD as CARD_FILE
from updraft.model.version_files import EVALUATION
from updraft.stages.runs import BadArtifacts, artifacts, folder_of
from updraft.usecase.load import ETL_PREFIX, MONITOR_PREFIX
from updraft.usecase.schema import NAME

if TYPE_CHECKING:
    from fastapi import FastAPI, Response

log = logging.getLogger(__name__)

MODEL_CARD, REPORT = ("model card", "evaluate", CARD_FILE), ("report", "decide", "report.html")  # what, task, file
MAX_BYTES = 32 << 20  # of a file that is shown
MAX_ARGUMENTS = 60  # characters of an expectation's arguments, where it passed
SUITE = {DAG_PREFIX: "validate/report.json", ETL_PREFIX: "clean/validate/report.json"}
SUITE_TASK = {DAG_PREFIX: "validate", ETL_PREFIX: "clean"}
INGESTED = {DAG_PREFIX: "ingest/ingest.json", ETL_PREFIX: "extract/ingest.json"}
Message = MutableMapping[str, Any]


class Pages:
    """The ASGI application. It is made at the first request: every program of Airflow's imports its plugins."""

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        await _application()(scope, receive, send)


@cache
def _application() -> FastAPI:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI

    may_see = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
    app = FastAPI(docs_url=None, openapi_url=None, redoc_url=None, dependencies=[may_see])
    app.get("/runs/{dag_id}/{run_id}/card")(card)
    app.get("/runs/{dag_id}/{run_id}/validation")(validation)
    app.get("/versions/{dag_id}/{number}")(version)
    app.get("/versions/{dag_id}/{number}/card")(version_card)
    app.include_router(models_page.router())
    return app


def card(dag_id: str, run_id: str) -> Any:
    """Show the model card of a run, or the report of a run of the monitor."""
    kind, _ = _split(dag_id)
    if kind == ETL_PREFIX:
        return nothing("No model card", "A run of an ETL makes no model.")
    what, task, file = REPORT if kind == MONITOR_PREFIX else MODEL_CARD
    content = read_artifact(dag_id, run_id, f"{task}/{file}")
    if content is None:
        return _missing(what, dag_id, run_id, task)
    return page(content, SANDBOX)


def validation(dag_id: str, run_id: str) -> Any:
    """Show what the suite found in the rows of a run."""
    kind, name = _split(dag_id)
    if kind == MONITOR_PREFIX:
        return nothing("No validation", "A run of the monitor reads what the service has validated already.")
    report = read_artifact(dag_id, run_id, SUITE[kind])
    if report is None:
        return _missing("report", dag_id, run_id, SUITE_TASK[kind])
    ingested = read_artifact(dag_id, run_id, INGESTED[kind])
    facts = json.loads(report)
    shown = {"report": facts, "ingested": json.loads(ingested) if ingested else None}
    return render("validation.html.j2", name=name, run_id=run_id, entries=[*_entries(facts)], **shown)


def version(request: Request, dag_id: str, number: int) -> Any:
    """Show a version of the registry: its state, where it comes from, its metrics, and its moves."""
    from connections import registry
    from updraft.registry import judgements

    _, name = _split(dag_id)
    try:
        store = registry()
        found, _, _ = store.read_verified(name, number)
        history, states = store.history(name), store.states(name)
        judgement = judgements.read(store.bucket, store.keys, name, number)
        stored = store.read(name, number, [EVALUATION]) if EVALUATION in found.files else {}
    except FAULTS as error:
        return nothing("Nothing can be shown of this version", in_a_line(error))
    moves = [move for move in history if number in (move.version, move.production, move.previous)]
    evaluation = json.loads(stored[EVALUATION]) if stored else None
    manifest = found.manifest
    return render(
        "version.html.j2",
        name=name,
        version=found,
        state=states.of(number, found.model_sha256),
        hold=states.hold(found.model_sha256),
        judgement=judgement,
        evaluation=evaluation,
        models=f"../../{MODELS}/{dag_id}" if dag_id.startswith(DAG_PREFIX) else None,
        card=f"{number}/card" if CARD_FILE in found.files else None,
        run_url=manifest.get("run_url"),
        service_url=service_url(name),
        framed=is_framed(request),
        facts=[*_facts(manifest)],
        metrics=manifest.get("metrics", {}),
        moves=moves,
    )


def version_card(dag_id: str, number: int) -> Any:
    """Show the model card that is stored with a version, verified."""
    from connections import registry

    try:
        return page(registry().read(_split(dag_id)[1], number, [CARD_FILE])[CARD_FILE], SANDBOX)
    except FAULTS as error:
        return nothing("No model card", in_a_line(error))


def read_artifact(dag_id: str, run_id: str, place: str) -> bytes | None:
    """Read a file that a task of a run has written, from the artifacts folder or from S3; None if it is not there."""
    kind, name = _split(dag_id)
    try:
        where = folder_of(Path(), name if kind == DAG_PREFIX else dag_id, run_id) / place
    except BadArtifacts:
        return None
    root = os.environ.get("UPDRAFT_ARTIFACTS", "")
    if not root.startswith("s3://"):
        file = artifacts(os.environ) / where
        return file.read_bytes() if file.is_file() and file.stat().st_size <= MAX_BYTES else None
    from connections import s3_client
    from updraft.registry.s3 import Bucket, split_uri

    found = Bucket(s3_client(), *split_uri(root)).get(where.as_posix(), limit=MAX_BYTES)
    return found[0] if found else None


def _missing(what: str, dag_id: str, run_id: str, task: str) -> Response:
    missing = why_missing(dag_id, run_id, task)
    return nothing(f"No {what}{' yet' if missing.yet else ''}", missing.why)


def _split(dag_id: str) -> tuple[str, str]:
    """Return the kind of a DAG and the name of its use case or ETL; 404 for a DAG that is none of ours."""
    from fastapi import HTTPException

    for kind in (DAG_PREFIX, ETL_PREFIX, MONITOR_PREFIX):
        if dag_id.startswith(kind) and NAME.fullmatch(name := dag_id.removeprefix(kind)):
            return kind, name
    raise HTTPException(404, f"{dag_id!r} is no DAG of a use case")


def _entries(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the table of expectations shows, the worst first."""

    def badness(entry: Mapping[str, Any]) -> tuple[bool, bool, bool, int]:
        count = int(entry["result"].get("unexpected_count") or 0)
        return entry["success"], entry["success"] and not count, entry["severity"] != "critical", -count

    for entry in sorted(report["all"], key=badness):
        result, kwargs = entry["result"], entry["kwargs"]
        count = int(result.get("unexpected_count") or 0)
        outcome = (
            ("passed, as few enough" if count else "passed") if entry["success"] else f"failed, {entry['severity']}"
        )
        observed = None if entry["success"] else result.get("observed_value")
        arguments = ", ".join(f"{key.strip('_').replace('_', ' ')} {_value(each)}" for key, each in kwargs.items())
        if entry["success"] and len(arguments) > MAX_ARGUMENTS:
            arguments = f"{arguments[: MAX_ARGUMENTS - 1]}…"
        found = [each for each in result.get("partial_unexpected_list", []) if each is not None]
        examples = ", ".join(dict.fromkeys(map(repr, found[:3])))
        yield {
            "outcome": outcome,
            "colour": ("warn" if count else "good") if entry["success"] else "bad",
            "column": entry["column"] or "",
            "rule": entry["expectation"].removeprefix("expect_").replace("_", " "),
            "arguments": arguments,
            "count": f"{count:,}" if count else "",
            "examples": entry.get("error") or examples or ("" if observed is None else f"found {observed}"),
        }


def _value(value: object) -> str:
    """Return an argument of an expectation as people write it."""
    if isinstance(value, list):
        return ", ".join(str(each) if isinstance(each, int) else _value(each) for each in value)  # codes, maybe
    return format_value(value)


def _facts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield where a version comes from."""
    rows = (manifest.get("dataset") or {}).get("rows")
    yield "made", str(manifest.get("created_at", ""))[:16].replace("T", " ")
    yield "candidate", manifest.get("candidate", "")
    yield (
        "parameters",
        ", ".join(f"{key} {value}" for key, value in (manifest.get("params") or {}).items()) or "defaults",
    )
    yield "rows", f"{rows:,}" if isinstance(rows, int) else ""
    yield "seed", manifest.get("seed", "")
    yield "dataset, sha256", manifest.get("data_sha256", "")
    yield "model, sha256", manifest.get("model_sha256", "")
    threshold = manifest.get("threshold")
    yield "threshold", "none" if threshold is None else f"{threshold:.4f}"
    yield "commit", manifest.get("code_commit") or "unknown"
    yield "run", manifest.get("run_id", "").partition("~")[0]
    if cause := manifest.get("cause"):
        yield "asked for by the monitor", cause.get("reason", "")


def _tab(name: str, route: str, page: str) -> dict[str, str]:
    return {
        "name": name,
        "href": f"{PAGES.strip('/')}/runs/{{DAG_ID}}/{{RUN_ID}}/{page}",
        "destination": "dag_run",
        "url_route": route,
    }


class PagesPlugin(AirflowPlugin):
    """Register the pages, the tabs of a run, and Models beside Airflow's own entries."""

    name = "updraft_pages"
    fastapi_apps = [{"app": Pages(), "url_prefix": PAGES, "name": "Updraft"}]  # noqa: RUF012  # as the base class has it
    external_views = [  # noqa: RUF012
        _tab("Model card", CARD, "card"),
        _tab("Validation", VALIDATION, "validation"),
        {
            "name": "Models",
            "href": f"{PAGES.strip('/')}/{MODELS}",
            "destination": "nav",
            "nav_top_level": True,
            "url_route": MODELS,
        },
    ]
