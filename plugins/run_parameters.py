"""Refuse a run with an unknown parameter, or a wrong value, when it is triggered.

Airflow checks the values of the parameters that a DAG names, and takes any other key of a run's configuration without
a word; `ingest` refuses it, too, whatever a run was triggered by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from updraft.errors import UserError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY = 1 << 20  # bytes of a request
RUNS = re.compile(r"/api/v2/dags/(train|etl)_[^/]+/dagRuns/?")


class RefuseUnknownParameters:
    """An ASGI middleware of Airflow's API server; requests other than the trigger of a run of ours pass unread."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        ours = RUNS.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if ours is None:
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > MAX_BODY:  # read before Airflow has looked who asks
                await _refuse(send, 413, f"the request is larger than {MAX_BODY:,} bytes")
                return
        if fault := _fault(body, ours[1]):
            await _refuse(send, 400, fault)
            return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, replay, send)


async def _refuse(send: Send, status: int, detail: str) -> None:
    answer = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _fault(body: bytes, kind: str) -> str | None:
    """Return what is wrong with a run's configuration; a body that is not one is left to Airflow."""
    from updraft.etl.params import check_etl_params
    from updraft.usecase import check_params

    try:
        conf = json.loads(body)["conf"]
        (check_params if kind == "train" else check_etl_params)(conf if isinstance(conf, dict) else {})
    except UserError as error:
        return str(error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return None


class RunParametersPlugin(AirflowPlugin):
    """Register the middleware."""

    name = "updraft_run_parameters"
    fastapi_root_middlewares = [  # noqa: RUF012  # as Airflow's base class declares it
        {"middleware": RefuseUnknownParameters, "args": [], "kwargs": {}, "name": "Refuse unknown parameters of runs"}
    ]
