"""The service with a header that tells which requests the event loop answered, for granian to run."""

from __future__ import annotations

import os
from typing import Any

from serving.server.rsgi import RsgiApp
from serving.server.wsgi_adapter import RawResponse
from serving.settings import read
from serving.wsgi import app
from serving.wsgi import rsgi_app as own
from tests.support.odd_requests import HEADER


def _answer(*request: Any) -> RawResponse | None:
    response: RawResponse | None = app.extensions["loop_route"].answer(*request)
    if response is None:
        return None
    status, headers, body = response
    return status, [*headers, (HEADER, "yes")], body


def _close() -> None:
    own.__rsgi_del__(None)


rsgi_app = RsgiApp(app, read(os.environ).limits, app.extensions["log_refused"], _close, _answer)
