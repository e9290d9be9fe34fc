"""`?explain=true`: what each column adds to a score, where the model can say it."""

from __future__ import annotations

from typing import Any

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, Conflict, NotAcceptable, RequestEntityTooLarge

from serving.models.live_model import LiveModel
from serving.server.problems import ModelFailed
from updraft.model.compiled.compiled_model import CompiledModel
from updraft.model.compiled.explain import Explanation, NotExplained
from updraft.model.signature import Rows

PARAMETER = "explain"
ANSWERS = {"true": True, "false": False}


def asked(query: MultiDict[str, str], media_type: str) -> bool:
    """Whether a request asks for explanations. Raises BadRequest, and NotAcceptable for another answer than JSON."""
    if not (values := query.getlist(PARAMETER)):
        return False
    if len(values) > 1 or (wanted := ANSWERS.get(values[0])) is None:
        raise BadRequest(f"{PARAMETER}: expected true or false.")
    if wanted and media_type != "application/json":
        raise NotAcceptable(f"An explanation is JSON: ask for application/json, or leave {PARAMETER} out.")
    return wanted


def why_not(live: LiveModel) -> str:
    """Say why a model has no explanations; "" where it has."""
    try:
        _ = require_compiled(live).most_explained
    except NotExplained as error:
        return str(error)
    return ""


def require_compiled(live: LiveModel) -> CompiledModel:
    """Return the model of a kind that can be explained. Raises NotExplained."""
    if isinstance(live.model, CompiledModel):
        return live.model
    reason = f": {live.form_reason}" if live.form_reason else ""
    raise NotExplained(f"it is served by its scikit-learn pipeline, and only compiled models are explained{reason}")


def explain(live: LiveModel, rows: Rows) -> Explanation:
    """Explain the scores of checked rows. Raises Conflict, RequestEntityTooLarge and ModelFailed."""
    try:
        model = require_compiled(live)
        most = model.most_explained
    except NotExplained as error:
        raise Conflict(f"Version {live.version} of {live.use_case} cannot be explained: {error}.") from None
    if len(rows) > most:
        raise RequestEntityTooLarge(f"At most {most} rows of {live.use_case} are explained in one request.")
    try:
        return model.explain(rows)
    except Exception as error:
        raise ModelFailed(f"{live.use_case} version {live.version}: an explanation") from error


def as_member(explanation: Explanation, names: tuple[str, ...]) -> dict[str, Any]:
    """Return an explanation as the member of a JSON answer; `names` are the columns'."""
    numbers = (explanation.scores.tolist(), explanation.baselines.tolist(), explanation.contributions.tolist())
    rows: list[dict[str, Any]] = [
        {"score": score, "baseline": baseline, "contributions": dict(zip(names, values, strict=True))}
        for score, baseline, values in zip(*numbers, strict=True)
    ]
    if explanation.labels:
        rows = [{"label": label} | row for label, row in zip(explanation.labels, rows, strict=True)]
    about = {"method": explanation.method, "scale": explanation.scale, "reference": explanation.reference}
    return about | {"rows": rows}
