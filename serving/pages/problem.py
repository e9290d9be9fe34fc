"""A problem as a page: in words for people, with what to do next, and links to what there is instead."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from flask import Flask, Response, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_accept_header

from serving.pages import html
from serving.server.problems import MEDIA_TYPE
from serving.server.rsgi import RefusedPage
from serving.server.wsgi_adapter import Scope
from updraft.model.signature import MAX_ERRORS

RUN, FILE = "pages.run", "pages.predict_file"  # the page of a run, which takes a token; where files are uploaded
HEADINGS = {
    400: "The request cannot be read",
    401: "An API key is needed",
    404: "Not found",
    405: "This address is for programs",
    408: "The upload took too long",
    413: "Too much at once",
    415: "The request cannot be read",
    422: "Some values are not valid",
    429: "Too many requests",
    500: "The service has failed",
    503: "Not available now",
}
NEXT_STEPS = {
    401: "Reload this page, and enter an API key as the password; the user name does not matter.",
    408: "Send it again, or in smaller parts.",
    413: "Send less at once: a large file in several parts.",
}
RUN_NEEDS_TOKEN = "Only a browser that has started a training can see its runs. Start one, or look in Airflow."  # noqa: S105
BEFORE_ROUTING = {408, 413, 503}  # what the server refuses before it knows more of a request than its headers
ROW = re.compile(r"/rows/(\d+)(?:/(.*))?", re.DOTALL)


def problem_page(problem: Response, known: list[str], *, reload: bool) -> Response:
    """Turn a problem into a page with the same status and headers.

    With `reload`, the browser reloads the page after the problem's Retry-After.
    """
    if problem.mimetype != MEDIA_TYPE:
        return problem
    details, use_case = json.loads(problem.get_data()), (request.view_args or {}).get("use_case")
    wait, use_case = problem.headers.get("Retry-After"), use_case if use_case in known else None
    page = _page(
        details | _of_a_file(details) | _of_a_run(details),
        wait=wait,
        reload=reload,
        known=known if details["status"] == 404 and not use_case else [],
        use_case=use_case if details["status"] == 404 else None,
        form=use_case if request.endpoint == FILE else None,
        log_in=details["status"] == 401 and request.endpoint == RUN,
    )
    html.replace_body(problem, page)
    if reload and wait:
        problem.headers["Refresh"] = wait
    return problem


def refused_pages(app: Flask) -> RefusedPage:
    """Return a function that returns the page of a request refused before the app sees it; None for a program."""
    urls = app.url_map.bind("")

    @lru_cache(maxsize=16)  # the server refuses most when it is busiest, and in few words
    def render(status: int, detail: str) -> bytes:
        with app.test_request_context():
            return _page({"status": status, "detail": detail}).get_data()

    def page(scope: Scope, status: int, detail: str) -> bytes | None:
        accept = parse_accept_header(scope.headers.get("accept"), MIMEAccept)
        if status not in BEFORE_ROUTING or not html.accepts_html(accept):
            return None
        try:
            endpoint, _ = urls.match(scope.path, scope.method)
        except HTTPException:
            endpoint = "pages."  # as of all that nobody knows
        return render(status, detail) if endpoint.startswith("pages.") else None

    return page


def _page(details: Mapping[str, Any], **values: Any) -> Response:
    status = details["status"]
    nothing: dict[str, Any] = {"wait": None, "reload": False, "known": [], "log_in": False}
    nothing |= {"use_case": None, "form": None}
    heading = details.get("heading") or HEADINGS.get(status) or details["title"]
    shown = {"heading": heading, "next_step": details.get("next_step", NEXT_STEPS.get(status)), "problem": details}
    return html.render("problem.html", **(nothing | shown | values))


def _of_a_file(details: Mapping[str, Any]) -> dict[str, Any]:
    """Word the errors of an uploaded file for who has it open: by rows that count from 1."""
    if request.endpoint != FILE or "errors" not in details:
        return {}
    count = len(details["errors"])
    errors = "1 error" if count == 1 else f"The first {count} errors" if count == MAX_ERRORS else f"{count} errors"
    words = [each | {"pointer": _place(each["pointer"])} for each in details["errors"]]
    return {"heading": "The file has errors", "detail": f"{errors}; nothing was predicted.", "errors": words}


def _of_a_run(details: Mapping[str, Any]) -> dict[str, Any]:
    if request.endpoint != RUN or details["status"] != 401:
        return {}
    return {"heading": "The token is needed", "detail": RUN_NEEDS_TOKEN, "next_step": None}


def _place(pointer: str) -> str:
    """Return the row and the column that a JSON Pointer names, as people count rows."""
    found = ROW.fullmatch(pointer)
    if not found:
        return pointer
    column = (found[2] or "").replace("~1", "/").replace("~0", "~")
    return f"Row {int(found[1]) + 1}{f', {column}' if column else ''}:"
