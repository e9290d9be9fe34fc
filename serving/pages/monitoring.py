"""The last report of the monitor on a model."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError
from flask import Blueprint, Response
from werkzeug.exceptions import NotFound, ServiceUnavailable

from serving.models.live_models import LiveModels
from serving.pages import sandbox
from updraft.registry.s3 import VerificationError


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
        return sandbox.page(page, use_case)
