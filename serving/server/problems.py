"""Errors as `application/problem+json` (RFC 9457). They explain what the caller did wrong and reveal no internals."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from updraft.model.signature import BadRow

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


class ModelFailed(Exception):
    """A model failed on rows that match its signature: a server error, never the caller's."""


def register_error_handlers(app: Flask, count: Callable[[str], None]) -> None:
    """Return every error of `app` as a problem; `count` is called with its kind, one of a few fixed words."""

    @app.errorhandler(BadRow)
    def bad_row(error: BadRow) -> Response:
        count("schema")
        count_text = "1 error" if len(error.errors) == 1 else f"{len(error.errors)} errors"
        return problem(422, f"{count_text}: the body does not match the schema", errors=error.errors)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Any:
        if error.code is None or error.code < 400:
            return error
        count(error_kind(error.code))
        response = error.get_response()  # keeps Allow and Retry-After
        response.data = _body(error.code, error.description or error.name)
        response.content_type = MEDIA_TYPE
        return response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        count("model" if isinstance(error, ModelFailed) else "internal")
        return internal_error(error)


def internal_error(error: Exception) -> Response:
    """Log an error and return a problem that names its log line."""
    instance = f"urn:uuid:{uuid.uuid4()}"
    log.error("%s failed", instance, exc_info=error)
    return problem(500, "Internal error. The log has the details under this instance.", instance=instance)


def problem(status: int, detail: str, **members: Any) -> Response:
    """Return a problem; `members` are additional ones, such as `errors`: a list of {"pointer", "detail"}."""
    return Response(_body(status, detail, **members), status, content_type=MEDIA_TYPE)


def error_kind(status: int) -> str:
    """Return the kind of an error by its status, one of a few fixed words."""
    return "schema" if status == 422 else HTTP_STATUS_CODES[status].lower().replace(" ", "_")


def _body(status: int, detail: str, **members: Any) -> bytes:
    body = {"type": "about:blank", "title": HTTP_STATUS_CODES[status], "status": status, "detail": detail, **members}
    return json.dumps(body).encode()
