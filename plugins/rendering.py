"""How our pages in Airflow's UI are rendered: templates, and headers under which nothing but the page itself runs."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from updraft.errors import UserError
from updraft.model.number_format import format_metric
from updraft.registry import overview

if TYPE_CHECKING:
    from fastapi import Response
    from starlette.requests import Request

S3_FAULTS = (ClientError, BotoCoreError, Boto3Error)
FAULTS = (UserError, OSError, *S3_FAULTS)  # what a page says in a line, and does not fail of
CLOSED = "default-src 'none'; base-uri 'none'; frame-ancestors 'self'; "
# What a task has written is of an origin of its own, without scripts; its pictures and styles are in the page.
SANDBOX = f"sandbox allow-popups; {CLOSED}style-src 'unsafe-inline'; img-src data:; form-action 'none'"


def render(template: str, status: int = 200, *, forms: bool = False, **values: Any) -> Response:
    """Render a page of ours; one with `forms` may send them to where it comes from."""
    nonce = secrets.token_urlsafe(16)
    body = _templates().get_template(template).render(nonce=nonce, **values)
    policy = f"{CLOSED}style-src 'nonce-{nonce}'; form-action '{'self' if forms else 'none'}'"
    return page(body.encode(errors="replace"), policy, status, referrer="same-origin" if forms else "no-referrer")


def nothing(heading: str, text: str, status: int = 404, *, models: str | None = None) -> Response:
    """Say that there is nothing to show, and why; `models` is where the list of all models is."""
    return render("nothing.html.j2", status, heading=heading, text=text, models=models)


def is_framed(request: Request) -> bool:
    """Return whether a browser shows the page in Airflow's frame, which opens no other window and leads nowhere else.

    Browsers say so to HTTPS and to this machine; without their word the page is taken as one of its own.
    """
    return request.headers.get("Sec-Fetch-Dest") == "iframe"


def page(body: bytes, policy: str, status: int = 200, referrer: str = "no-referrer") -> Response:
    """Return a page under a policy. A browser that may send no referrer names no origin when it sends a form."""
    from fastapi import Response

    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    headers |= {"Referrer-Policy": referrer, "Vary": "Cookie"}
    return Response(body, status, headers, "text/html; charset=utf-8")


def in_a_line(error: Exception) -> str:
    """Return what one of FAULTS says, in one line."""
    return f"{'S3: ' if isinstance(error, S3_FAULTS) else ''}{' '.join(str(error).split())}"


@cache
def _templates() -> Any:
    import jinja2

    made = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader([Path(__file__).with_name("templates"), Path(overview.__path__[0])]),
    )
    made.filters["metric"] = format_metric
    made.filters["sentence"] = lambda text: f"{text[:1].upper()}{text[1:]}"  # names keep their letters
    made.filters["minute"] = lambda time: str(time)[:16].replace("T", " ")
    return made
