"""Pages: the templates, and whether a client would rather have one than JSON."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Request, Response, current_app, url_for
from jinja2 import Environment, PackageLoader, StrictUndefined

from serving.openapi import schemas
from serving.server.problems import MEDIA_TYPE

STATIC = Path(__file__).parents[1] / "static"
TYPE = "text/html; charset=utf-8"


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page."""
    text = _templates().get_template(template).render(**values)
    return Response(text, status, {"Vary": "Accept"}, content_type=TYPE)


def wanted(request: Request) -> bool:
    """Tell whether the client likes a page better than JSON, as browsers do; who says nothing does not."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def instead(problem: Response, known: list[str], *, again: bool) -> Response:
    """Turn a problem into a page that says the same, its other headers kept; 404 lists the known use cases.

    With `again` a browser asks anew by itself where the problem says when to.
    """
    if problem.mimetype != MEDIA_TYPE:
        return problem
    told = json.loads(problem.get_data())
    fill(problem, page("problem.html", problem=told, known=known if told["status"] == 404 else []))
    if again and "Retry-After" in problem.headers:
        problem.headers["Refresh"] = problem.headers["Retry-After"]
    return problem


def fill(answer: Response, page: Response) -> None:
    """Put a page into an answer, whose status and other headers stay."""
    answer.set_data(page.get_data())
    answer.content_type = TYPE


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("serving"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"url_for": url_for, "static": _static, "exists": _exists}
    found.filters |= {"number": schemas.number, "percent": _percent, "moment": _moment, "clock": _clock}
    found.filters |= {"literal": _literal, "indented": _indented}
    return found


def _static(name: str) -> str:
    """Give the URL of a static file, another one when its content is another."""
    return url_for("static", filename=name, v=_tag(name))


@cache
def _tag(name: str) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def _exists(endpoint: str) -> bool:
    return endpoint in current_app.view_functions


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return "more than 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


def _moment(told: datetime | str) -> str:
    """Say a time in UTC, to the minute."""
    at = datetime.fromisoformat(told) if isinstance(told, str) else told
    return at.strftime("%-d %b %Y, %H:%M UTC")


def _clock(told: str) -> str:
    return f"{datetime.fromisoformat(told):%H:%M:%S}"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _indented(value: dict[str, Any]) -> str:
    """Write an object with a line for each of its members."""
    members = ",\n".join(f"  {_literal(name)}: {_literal(each)}" for name, each in value.items())
    return f"{{\n{members}\n}}"
