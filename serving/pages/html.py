"""Renders templates, and decides whether a client gets a page or JSON."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Request, Response, current_app, url_for
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from werkzeug.datastructures import MIMEAccept

from updraft.model.number_format import format_difference, format_metric, format_number
from updraft.registry.moves import Move

STATIC = Path(__file__).parents[1] / "static"
TYPE = "text/html; charset=utf-8"
REFUSALS = {"schema": "invalid values", "internal": "error of the service"}


def render(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page."""
    text = _templates().get_template(template).render(**values)
    return Response(text, status, {"Vary": "Accept"}, content_type=TYPE)


def prefers_html(request: Request) -> bool:
    """Return whether the client prefers a page to JSON, as browsers do; without an Accept header it gets JSON."""
    return accepts_html(request.accept_mimetypes)


def accepts_html(accept: MIMEAccept) -> bool:
    """Return whether a page is preferred to JSON."""
    return accept.best_match(["application/json", "text/html"]) == "text/html"


def replace_body(response: Response, page: Response) -> None:
    """Replace the body of a response by a page; its status and other headers stay."""
    response.set_data(page.get_data())
    response.content_type = TYPE


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("serving"), PackageLoader("updraft.registry.overview", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"url_for": url_for, "static": _static, "exists": _exists}
    environment.filters |= {
        "number": format_number,
        "percent": _percent,
        "utc": _utc,
        "clock": _clock,
        "change": Move.describe,
        "refusal": _refusal,
        "metric": format_metric,
        "difference": format_difference,
    }
    environment.filters |= {"literal": _literal, "indented": _indented}
    return environment


def _static(name: str) -> str:
    """Return the URL of a static file, which changes with its contents, so that browsers may cache it forever."""
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


def _utc(time: datetime | str) -> str:
    """Format a UTC time to the minute."""
    at = datetime.fromisoformat(time) if isinstance(time, str) else time
    return at.strftime("%-d %b %Y, %H:%M UTC")


def _refusal(kind: str | None) -> str:
    """Say why a request was refused."""
    return REFUSALS.get(kind or "", (kind or "").replace("_", " "))


def _clock(time: str) -> str:
    return f"{datetime.fromisoformat(time):%H:%M:%S}"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _indented(value: dict[str, Any]) -> str:
    """Format a JSON object with one line per member."""
    members = ",\n".join(f"  {_literal(name)}: {_literal(member)}" for name, member in value.items())
    return f"{{\n{members}\n}}"
