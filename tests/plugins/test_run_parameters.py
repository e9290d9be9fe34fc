"""The middleware of Airflow's API server: what it refuses, and what it passes on unread."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("starts_airflow")
RUNS = "/api/v2/dags/train_sms_spam/dagRuns"


def request(body: bytes, path: str = RUNS, method: str = "POST", chunk: int = 64) -> tuple[int, str]:
    """Send a request through the middleware to an application that answers with the body that reaches it."""
    from run_parameters import RefuseUnknownParameters

    parts = [body[start : start + chunk] for start in range(0, len(body), chunk)] or [b""]
    messages = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got, more = b"", True
        while more:
            message = await receive()
            got, more = got + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": got})

    scope = {"type": "http", "method": method, "path": path}
    asyncio.run(RefuseUnknownParameters(app)(scope, receive, send))
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize("conf", [{}, None, {"limit": 5, "seed": 1, "promote": "never", "read_all": True}])
def test_a_run_with_known_parameters_passes_as_it_was_sent(conf: Any) -> None:
    body = json.dumps({"conf": conf, "note": "x" * 300})
    assert request(body.encode()) == (200, body)


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({"sede": 1}, "sede"),
        ({"limit": 0}, "limit"),
        ({"promote": "always"}, "promote"),
        ({"read_all": "yes"}, "read_all"),
    ],
)
def test_an_unknown_parameter_and_a_wrong_value_are_named(conf: Any, word: str) -> None:
    status, answer = request(json.dumps({"conf": conf}).encode())
    assert status == 400 and word in json.loads(answer)["detail"]


@pytest.mark.parametrize(("conf", "word"), [({"seed": 1}, "seed"), ({"limit": "9"}, "limit"), ({"data": ""}, "data")])
def test_the_parameters_of_an_etl_are_others(conf: Any, word: str) -> None:
    path = "/api/v2/dags/etl_network_security/dagRuns"
    status, answer = request(json.dumps({"conf": conf}).encode(), path)
    assert status == 400 and word in json.loads(answer)["detail"]
    assert request(b'{"conf": {"limit": 5, "data": "rows.csv"}}', path)[0] == 200


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[1]", b'{"conf": [1]}', b"[" * 5000, b"{}"])
def test_what_is_no_configuration_is_airflows_to_judge(body: bytes) -> None:
    assert request(body) == (200, body.decode())


def test_a_large_request_is_refused_before_it_fills_the_memory() -> None:
    status, answer = request(b"x" * (3 << 20), chunk=1 << 16)
    assert status == 413 and "1,048,576 bytes" in answer


@pytest.mark.parametrize(
    ("path", "method"), [(RUNS, "GET"), ("/api/v2/dags/other/dagRuns", "POST"), ("/api/v2/connections", "POST")]
)
def test_other_requests_pass_unread(path: str, method: str) -> None:
    body = json.dumps({"conf": {"unknown": 1}})
    assert request(body.encode(), path, method) == (200, body)
