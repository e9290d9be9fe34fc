"""What the event loop answers, against what the app answers: over real connections to the real server."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.app import AppOptions, create_app
from serving.models.live_models import LiveModels
from serving.prediction_log.prediction_log import PredictionLog
from serving.server import worker_lock
from tests.support.odd_requests import CLOSE, GOOD, HEADER, JSON, request, requests
from tests.support.service import PREDICT, Service, granian, service, until
from tests.support.small_models import NAME, ROW, loaded_model, promote, push
from updraft.local_stack.servers import free_port
from updraft.model.prediction import Form, Prediction
from updraft.model.signature import Rows, Signature
from updraft.registry.registry import open_registry

KEY = "a-key-of-the-tests"
DRAWN = 1000  # requests for each of the two set-ups, beside those that are written by hand
OWN = re.compile(rb'"prediction_ids":\["[0-9a-f.", ]+"\]|urn:uuid:[0-9a-f-]+|[0-9a-f]{32}\.\d+')
COUNTED = re.compile(r"updraft_(rows|predictions|errors|unlogged)_total")
Answer = tuple[int, list[str], bytes]  # status, header lines in lower case, body


@pytest.fixture(scope="module")
def environ(s3: dict[str, str], key_files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    environ = {**s3, **key_files, "UPDRAFT_REGISTRY": "s3://test-loop"}
    registry = open_registry(environ)
    promote(registry, push(registry, tmp_path_factory.mktemp("loop") / "run", loaded_model()))
    return environ


@contextmanager
def running(environ: dict[str, str], folder: Path, **settings: str) -> Iterator[Service]:
    """Run a service whose loop also answers what takes a pipeline's time."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    own = {"SERVING_LOOP_MS": "1000", "PYTHONHASHSEED": "0"}  # by which Flask orders the header Allow
    command = [word.replace("serving.wsgi:", "tests.support.loop_app:") for word in granian(port)]
    with service(environ, folder, command=command, port=port, **own | settings) as it:
        it.until(1)
        yield it


def send(it: Service, raw: bytes) -> Answer:
    with closing(socket.create_connection(("127.0.0.1", it.port), timeout=120)) as connection:
        connection.sendall(raw)
        return parse(b"".join(iter(lambda: connection.recv(65536), b"")))


def parse(raw: bytes) -> Answer:
    """Split a response that ends with its connection."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), [line.lower() for line in lines], body


def in_loop(answer: Answer) -> bool:
    return f"{HEADER}: yes" in answer[1]


# Settings, headers of most requests, and how many are drawn.
GUARDS: dict[str, tuple[dict[str, str], list[str], int]] = {
    "open": ({}, [], DRAWN),
    "behind two proxies": ({"SERVING_PROXIES": "2"}, [], 0),
    "guarded": (
        {"SERVING_API_KEYS": f"me:{KEY}", "SERVING_HOSTS": ".served.example", "SERVING_PROXIES": "1"},
        [f"X-API-Key: {KEY}"],
        DRAWN,
    ),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_both_ways_answer_the_same(
    guard: str, environ: dict[str, str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Status, headers and bodies; then what was counted, what is in the prediction log, and the log's lines."""
    settings, own, drawn = GUARDS[guard]
    statuses, differing = Counter[int](), list[str]()
    with ExitStack() as open_services, ThreadPoolExecutor(2) as clients:
        loop = open_services.enter_context(running(environ, tmp_path / "loop", **settings))
        app = open_services.enter_context(running(environ, tmp_path / "app", SERVING_LOOP_MS="0", **settings))
        for raw in requests(drawn, own):
            found, expected = clients.map(send, (loop, app), (raw, raw))
            assert not in_loop(expected)
            statuses[found[0] if in_loop(found) else 0] += 1
            if _comparable(found) != _comparable(expected):
                differing.append(f"{raw!r}: {found} instead of {expected}")
        assert not differing, f"{len(differing)}: " + "\n".join(differing[:5])
        assert _measured(loop, tmp_path / "loop", own) == _measured(app, tmp_path / "app", own)
    record_property("answered in the loop, by the app", f"{statuses[200]}, {statuses[0]}")
    assert set(statuses) == {0, 200}  # the loop refuses nothing itself
    assert min(statuses.values()) > max(drawn / 3, 50)
    assert _events(tmp_path / "loop") == _events(tmp_path / "app")


def _comparable(answer: Answer) -> Answer:
    """An answer without what differs each time."""
    status, headers, body = answer
    kept = [line for line in headers if not line.startswith(("date:", HEADER))]
    return status, sorted(kept), OWN.sub(b"", body)


def _measured(it: Service, folder: Path, own: list[str]) -> dict[str, Any]:
    """The counters, without how often it was asked whether it is ready, and the statistics of the prediction log."""
    headers = "\r\n".join(["Host: served.example", CLOSE, *own, "", ""])
    status, _, text = send(it, f"GET /metrics HTTP/1.1\r\n{headers}".encode())
    assert status == 200
    counters = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name.endswith(("_total", "_count"))
        and "process" not in sample.name
        and sample.labels.get("endpoint") != "readyz"
        and sample.labels.get("kind") != "service_unavailable"  # its answer until then
    }
    until(lambda: _statistics(it, headers)["log"]["backlog_bytes"] == 0)
    statistics = _statistics(it, headers)["use_cases"]
    for each in statistics:
        del each["latency"]
    return {"counters": counters, "statistics": statistics}


def _statistics(it: Service, headers: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(send(it, f"GET /stats HTTP/1.1\r\n{headers}".encode())[2])
    return answer


def _events(folder: Path) -> Counter[tuple[Any, ...]]:
    """The lines of requests, but for those that only wait."""
    lines = map(json.loads, (folder / "data" / "logs" / "serving-00.jsonl").read_text().splitlines())
    names = ("method", "path", "status", "key", "version", "level", "message", "worker")
    return Counter(
        tuple(line.get(name) for name in names)
        for line in lines
        if line["logger"] == "serving.access" and line["path"].startswith("/predict")
    )


def test_a_pipelined_answer_waits_for_nobody_slow(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, SERVING_THREADS="1", SERVING_BODY_SECONDS="5") as it, ExitStack() as stack:
        slow = [stack.enter_context(closing(socket.create_connection(("127.0.0.1", it.port)))) for _ in range(60)]
        late, broken = slow[:30], slow[30:]
        raw = request(GOOD, [JSON])
        for connection in late:
            connection.sendall(raw[:-9])
        for connection in broken:
            connection.sendall(raw[:-9])
            connection.close()
        with closing(socket.create_connection(("127.0.0.1", it.port), timeout=60)) as connection:
            ages = [20 + number % 60 for number in range(50)]
            began = time.monotonic()
            sent = [request(json.dumps(ROW | {"Age": age}).encode(), [JSON]) for age in ages]
            connection.sendall(b"".join(raw.replace(b"Connection: close\r\n", b"") for raw in sent[:-1]) + sent[-1])
            content = b"".join(iter(lambda: connection.recv(65536), b""))
            assert time.monotonic() - began < 4.5  # before a late body's time is up
        answers = re.findall(rb'"probabilities":\[([^]]+)\]', content)
        scores = loaded_model().predict(loaded_model().signature.frame([ROW | {"Age": age} for age in ages]))
        assert [float(answer) for answer in answers] == scores.probabilities
        assert content.count(HEADER.encode()) == 50
        for connection in late:
            connection.settimeout(60)
            assert connection.recv(4096).split()[1] == b"408"
        assert it.predict(ROW)["version"] == 1


@pytest.mark.parametrize(("limit", "answered"), [("1000", True), ("0", False), ("0.01", False)])
def test_what_takes_longer_than_the_limit_goes_to_a_thread(
    limit: str, answered: bool, environ: dict[str, str], tmp_path: Path
) -> None:
    """A pipeline takes some milliseconds for a row."""
    with running(environ, tmp_path, SERVING_LOOP_MS=limit) as it:
        answer = send(it, request(GOOD, [JSON]))
        assert (answer[0], in_loop(answer)) == (200, answered), answer


def test_many_rows_go_to_a_thread(environ: dict[str, str], tmp_path: Path) -> None:
    """30 rows take longer by the estimate than what a single row may take 10 times."""
    with running(environ, tmp_path, SERVING_LOOP_MS="1000") as it:
        seconds = min(_seconds(it) for _ in range(20))
    with running(environ, tmp_path, SERVING_LOOP_MS=str(seconds * 1000 * 10)) as it:
        assert in_loop(send(it, request(GOOD, [JSON])))
        many = json.dumps({"rows": [ROW] * 30}).encode()
        assert len(many) < 8192
        answer = send(it, request(many, [JSON]))
        assert (answer[0], in_loop(answer), len(json.loads(answer[2])["predictions"])) == (200, False, 30)


def _seconds(it: Service) -> float:
    began = time.perf_counter()
    it.predict(ROW)
    return time.perf_counter() - began


def test_no_line_is_lost_at_a_clean_stop(environ: dict[str, str], tmp_path: Path) -> None:
    with service(environ, tmp_path, SERVING_LOOP_MS="1000") as it:
        it.until(1)
        for _ in range(100):
            it.predict(ROW)
        it.process.send_signal(signal.SIGTERM)
        it.process.wait(25)
        lines = [line for line in it.log.read_text().splitlines() if line.endswith(f"POST {PREDICT} 200")]
    events = _events(tmp_path)
    assert len(lines) == events["POST", PREDICT, 200, None, 1, "INFO", f"POST {PREDICT} 200", 0] == 100


def test_lines_of_errors_alone(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, SERVING_LOG_REQUESTS="errors") as it:
        it.predict(ROW)
        assert it.ask("POST", PREDICT, b"{")[0] == 400
        assert it.ask("GET", "/models")[0] == 200
        assert [status for _, _, status, *_ in _events(tmp_path)] == [400]  # at once
        until(lambda: b'"requests": 2' in it.ask("GET", f"/stats?use_case={NAME}")[2])  # the prediction log has both


@pytest.mark.parametrize("limit", ["1000", "0"], ids=["loop", "thread"])
def test_a_client_that_stops_sending_too_early_gets_no_answer_and_harms_nobody(
    limit: str, environ: dict[str, str], tmp_path: Path
) -> None:
    """granian closes a connection whose client closes its half before the answer is there, and has no option for it."""
    with running(environ, tmp_path, SERVING_LOOP_MS=limit) as it:
        for _ in range(20):
            with closing(socket.create_connection(("127.0.0.1", it.port), timeout=60)) as connection:
                connection.sendall(request(GOOD, [JSON]))
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(4096) == b"", "granian answers now: say so in docs/serving.md"
        assert in_loop(send(it, request(GOOD, [JSON]))) == (limit == "1000")


@dataclass
class Unencodable:
    """A model whose prediction the log can write, and a response cannot."""

    signature: Signature
    form: ClassVar[Form] = "compiled"

    def scores_of(self, rows: Rows) -> Any:
        return np.ones(len(rows))

    def predict_rows(self, rows: Rows) -> Prediction:
        return Prediction([np.int64(1)] * len(rows), ["interested"] * len(rows), [1.0] * len(rows))


def test_what_fails_once_it_is_logged_is_neither_predicted_nor_logged_again(loaded: LiveModels, tmp_path: Path) -> None:
    """Ask both ways in one process, each with its own log: a 500, one prediction and one refusal."""
    live = loaded.live[NAME]
    broken = copy(loaded)
    broken.live = {NAME: replace(live, model=Unencodable(live.model.signature), row_seconds=0.0)}
    left = {}
    for way in ("loop", "app"):
        folder = tmp_path / way
        log = PredictionLog(folder, worker_lock.claim(folder))
        app = create_app(broken, AppOptions(prediction_log=log, loop_seconds=1.0))
        if way == "loop":
            headers = {"host": "x", "content-type": "application/json"}
            scope = SimpleNamespace(method="POST", path=PREDICT, query_string="", scheme="http", headers=headers)
            status, lines, body = app.extensions["loop_route"].answer(scope, [*headers.items()], GOOD, perf_counter())
        else:
            answer = app.test_client().post(PREDICT, data=GOOD, content_type="application/json")
            status, body = answer.status_code, answer.data
            lines = [(name.lower(), value) for name, value in answer.headers]
        [spool] = (folder / "spool").glob("*.jsonl")
        written = [json.loads(line) for line in spool.read_text().splitlines()]
        metrics = [line for line in app.test_client().get("/metrics").text.splitlines() if COUNTED.match(line)]
        own = OWN.sub(b"", body)
        left[way] = status, sorted(lines), own, [(e["status"], e["kind"], e["predictions"]) for e in written], metrics
        log.close()
    assert left["loop"] == left["app"]
    assert left["loop"][0] == 500
    assert left["loop"][3] == [(200, None, [1]), (500, "internal", [])]
    assert f'updraft_rows_total{{use_case="{NAME}"}} 1.0' in left["loop"][4]
