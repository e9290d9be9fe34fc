"""The last report of the monitor on a model."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError
from flask import Blueprint, Response
from werkzeug.exceptions import NotFound, ServiceUnavailable

from serving.models.live_models import LiveModels
from updraft.registry.s3 import VerificationError

# The page has its pictures and its style inside, and nothing else: no script, no form, no link that loads.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"


def add_page(views: Blueprint, live_models: LiveModels) -> None:
    """Add the page of a use case's last report."""

    @views.get("/monitoring/<use_case>")
    def report(use_case: str) -> Response:
        try:
            page = live_models.monitors.page(use_case) if use_case in live_models.names else None
        except (BotoCoreError, ClientError, OSError):
            raise ServiceUnavailable("The registry is unreachable.", retry_after=10) from None
        except VerificationError:
            page = None
        if page is None:
            raise NotFound(f"There is no report of the monitor on {use_case}.")
        return Response(page, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})
