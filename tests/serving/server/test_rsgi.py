"""The service under its real server against clients that are slow, many, greedy or gone."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.service import PREDICT, Service, granian, service, surroundings, until
from tests.support.small_models import NAME, ROW, loaded_model, promote, push
from updraft.defaults import ROOT
from updraft.local_stack.servers import free_port
from updraft.registry.registry import Registry, open_registry

TRAINED = loaded_model()
ONE = json.dumps(ROW).encode()
MANY = json.dumps({"rows": [ROW] * 5000}).encode()


@pytest.fixture(scope="module")
def environ(s3: dict[str, str], key_files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a registry that holds TRAINED."""
    environ = {**s3, **key_files, "UPDRAFT_REGISTRY": "s3://test-front"}
    registry: Registry = open_registry(environ)
    promote(registry, push(registry, tmp_path_factory.mktemp("front") / "run", TRAINED))
    return environ


@contextmanager
def running(environ: dict[str, str], folder: Path, *words: str, **settings: str) -> Iterator[Service]:
    with service(environ, folder, *words, **settings) as it:
        it.until(1)
        yield it


def connect(it: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", it.port), timeout=120)


def head(length: int | str, path: str = PREDICT) -> bytes:
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    return request.encode()


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(4096).split()[1])


def waits(connection: socket.socket) -> bool:
    """Whether a connection is open and has no answer yet."""
    seconds = connection.gettimeout()
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        connection.settimeout(seconds)
    return False


def peak(it: Service) -> float:
    """Return the most memory that a process of the service has ever held, in MB."""
    worker = max(it.process.children(recursive=True), key=lambda each: each.memory_info().rss)
    status = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


def resident(it: Service) -> float:
    """MB of the process tree."""
    tree = [it.process, *it.process.children(recursive=True)]
    return sum(each.memory_info().rss for each in tree) / 2**20


def test_slow_clients_hold_no_thread(environ: dict[str, str], tmp_path: Path) -> None:
    """100 half bodies and 20 half headers, and two threads, which answer others as if those were not there."""
    with running(environ, tmp_path, SERVING_THREADS="2", SERVING_BODY_SECONDS="6") as it:
        slow = [connect(it) for _ in range(120)]
        for connection in slow[:100]:
            connection.sendall(head(len(ONE)) + ONE[:7])
        for connection in slow[100:]:
            connection.sendall(b"POST /predict/x HTTP/1.1\r\nHost:")
        assert it.predict(ROW)["version"] == 1
        assert all(waits(connection) for connection in slow[:100])
        for _ in range(20):
            assert it.predict(ROW)["version"] == 1
        assert [status_of(connection) for connection in slow[:100]] == [408] * 100
        for connection in slow:
            connection.close()
        assert it.predict(ROW)["version"] == 1
        until(lambda: counted(it).get(("updraft_errors_total", "request_timeout")) == 100)
        until(lambda: b"request_timeout" in it.ask("GET", f"/stats?use_case={NAME}")[2])


def test_a_body_that_trickles_in_time_is_answered(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path) as it, closing(connect(it)) as connection:
        connection.sendall(head(len(ONE)))
        for at in range(0, len(ONE), 40):
            connection.sendall(ONE[at : at + 40])
            time.sleep(0.05)
        assert status_of(connection) == 200


def test_a_body_that_breaks_off_is_no_row(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path) as it:
        for _ in range(50):
            with closing(connect(it)) as connection:
                connection.sendall(head(len(ONE)) + ONE[:-5])
        with closing(connect(it)) as connection:
            connection.sendall(head(len(ONE)) + ONE[:-5])
            connection.shutdown(socket.SHUT_WR)
            assert status_of(connection) == 400
        assert it.predict(ROW)["version"] == 1
        assert counted(it)["updraft_requests_total", "predict", "200"] == 1


def test_silent_connections_keep_nobody_out(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, "--http1-header-read-timeout", "60000") as it:
        silent = [connect(it) for _ in range(1200)]
        assert it.ask("GET", "/healthz")[0] == 200
        assert it.predict(ROW)["version"] == 1
        assert all(waits(connection) for connection in silent)  # none was cut off to let others in
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("after", [0.3, 0.8, 1.2])
def test_a_stop_while_it_starts_is_heard(after: float, environ: dict[str, str], tmp_path: Path) -> None:
    """What granian's worker inherits only sets a flag: it would start, serve, and be killed at last."""
    log = (tmp_path / "log").open("wb")
    own = {"SERVING_CACHE": str(tmp_path / "cache"), "SERVING_DATA": str(tmp_path / "data")}
    command = granian(free_port(), "--workers", "2")
    process = psutil.Popen(command, env=surroundings(environ) | own, cwd=ROOT, stdout=log, stderr=log)
    until(lambda: len(process.children()) >= 2)
    time.sleep(after)
    process.terminate()
    process.wait(25)  # granian kills after 30 s
    log.close()


def test_overload_is_shed_and_the_probes_still_answer(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, SERVING_THREADS="1", SERVING_WAITING="2") as it:
        before = counted(it).get(("updraft_errors_total", "service_unavailable"), 0)
        with ThreadPoolExecutor(30) as clients:
            answers = [clients.submit(it.ask, "POST", PREDICT, MANY) for _ in range(60)]
            probed = []
            while not all(answer.done() for answer in answers):
                began = time.monotonic()
                assert it.ask("GET", "/healthz")[0] == 200
                probed.append(time.monotonic() - began)
        statuses = Counter(answer.result()[0] for answer in answers)
        assert set(statuses) == {200, 503}, statuses
        assert min(statuses.values()) >= 3, statuses
        shed = next(answer.result() for answer in answers if answer.result()[0] == 503)
        assert shed[1]["retry-after"] == "1"
        assert shed[1]["content-type"] == "application/problem+json"
        assert json.loads(shed[2])["status"] == 503
        assert len(probed) >= 3
        assert it.predict(ROW)["version"] == 1
        until(lambda: counted(it)["updraft_errors_total", "service_unavailable"] == before + statuses[503])


def test_who_waited_too_long_is_not_computed_any_more(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, SERVING_THREADS="1", SERVING_WAIT_SECONDS="0.1") as it:
        with ThreadPoolExecutor(20) as clients:
            statuses = Counter(answer[0] for answer in clients.map(lambda _: it.ask("POST", PREDICT, MANY), range(40)))
        assert set(statuses) == {200, 503}, statuses


KEYS = b",".join(b'"%d":1' % number for number in range(180_000))
WIDE = {  # just below 2 MB, and of as many values as go into that
    "one object": ("application/json", b"{" + KEYS + b"}"),
    "columns": ("application/json", b'{"columns":{' + KEYS + b"}}"),
    "rows": ("application/json", b'{"rows":[' + b"{}," * 600_000 + b"{}]}"),
    "numbers": ("application/json", b'{"rows":[' + b"1," * 900_000 + b"1]}"),
    "lines": ("application/jsonl", b"1\n" * 900_000),
    "objects after an escaped backslash": ("application/json", b'{"a":"\\\\","rows":[' + b"{}," * 600_000 + b"{}]}"),
    "a line after an open quote": ("application/jsonl", b'"\n[' + b"1," * 900_000 + b"1]"),
    "a header after a quote": ("text/csv", b'x"' + b"a," * 900_000),
    "a line": ("application/jsonl", b"[" + b"1," * 900_000 + b"1]"),
    "a header": ("text/csv", b"a," * 900_000),
    "short lines": ("text/csv", b"a\n" * 900_000),
}


def test_huge_and_deep_and_wide_bodies_leave_the_memory_flat(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, SERVING_MAX_BODY_MB="2") as it:
        for _ in range(3):
            assert it.ask("POST", PREDICT, MANY)[0] == 200
        before = resident(it)
        for body in (b"[" * 100_000, b'{"a":' * 100_000, b'{"rows":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
            assert it.ask("POST", PREDICT, body)[0] == 400
        with closing(connect(it)) as connection:
            connection.sendall(head(200 * 2**20))
            sent, chunk = 0, b" " * 2**20
            try:
                while sent < 200:
                    connection.sendall(chunk)
                    sent += 1
            except OSError:
                pass
            assert sent >= 16  # it was read on before it was cut off
        assert it.ask("POST", PREDICT, b" " * (12 * 2**20))[0] == 413
        for name, (kind, body) in WIDE.items():
            assert it.ask("POST", PREDICT, body, kind)[0] in {413, 422}, name
        assert it.ask("POST", "/feedback", WIDE["one object"][1])[0] == 413
        assert resident(it) - before < 80, (before, resident(it))
        assert it.predict(ROW)["version"] == 1


@pytest.mark.parametrize("path", [PREDICT, "/feedback"])
def test_a_large_body_costs_a_few_times_its_size(path: str, environ: dict[str, str], tmp_path: Path) -> None:
    """A text of 8 million commas took 2 GB when its values were counted by a regular expression."""
    with running(environ, tmp_path) as it:
        assert it.ask("POST", PREDICT, MANY)[0] == 200
        before = peak(it)
        for body in (
            b'{"message": "' + b"a," * 8_000_000 + b'"}',
            b'{"a": "\\\\", "b": [' + b"{}," * 5_000_000 + b"{}]}",
        ):
            assert it.ask("POST", path, body)[0] in {413, 422}
        assert peak(it) - before < 8 * 16, (before, peak(it))


def test_all_bodies_together_have_a_bound(environ: dict[str, str], tmp_path: Path) -> None:
    """30 clients with 14 of 15 MB each, which never end: 420 MB, of which 256 may be held."""
    with running(environ, tmp_path, SERVING_BODY_SECONDS="20") as it:
        before, piece = resident(it), b" " * (14 * 2**20)
        greedy = [connect(it) for _ in range(30)]
        with ThreadPoolExecutor(30) as clients:
            list(clients.map(lambda each: _push(each, head(15 * 2**20) + piece), greedy))
        time.sleep(1)
        assert resident(it) - before < 400
        assert it.ask("GET", "/healthz")[0] == 200
        for connection in greedy:
            connection.close()
        until(lambda: it.ask("POST", PREDICT, b" " * (15 * 2**20))[0] == 400)
        assert it.predict(ROW)["version"] == 1
        until(lambda: counted(it).get(("updraft_errors_total", "service_unavailable"), 0) >= 5)


def _push(connection: socket.socket, content: bytes) -> None:
    with suppress(OSError):  # it got a 503
        connection.sendall(content)


def test_a_graceful_stop_completes_all_accepted_requests(environ: dict[str, str], tmp_path: Path) -> None:
    answers: list[int] = []
    broken: list[BaseException] = []
    with running(environ, tmp_path) as it:

        def ask() -> None:
            while True:
                try:
                    connection = connect(it)
                except OSError:
                    return  # nobody listens any more
                try:
                    connection.sendall(head(len(ONE)) + ONE)
                    answers.append(status_of(connection))
                except (OSError, IndexError) as error:
                    broken.append(error)
                finally:
                    connection.close()

        clients = [threading.Thread(target=ask) for _ in range(6)]
        for client in clients:
            client.start()
        until(lambda: len(answers) > 100)
        it.process.send_signal(signal.SIGTERM)
        it.process.wait(25)
        for client in clients:
            client.join(120)
    assert set(answers) == {200}
    assert len(broken) <= 6, broken  # a connection that the kernel took and the server never saw


def test_a_request_in_hand_is_answered_after_the_signal(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path) as it, ExitStack() as open_connections:
        clients = [open_connections.enter_context(closing(connect(it))) for _ in range(4)]
        for client in clients:
            client.sendall(head(len(MANY)).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
            assert status_of(client) == 100  # the server has the request in hand
        for client in clients:
            client.sendall(MANY)
        it.process.send_signal(signal.SIGTERM)
        assert [status_of(client) for client in clients] == [200] * 4


def test_workers_count_together(environ: dict[str, str], tmp_path: Path) -> None:
    """Two workers, one of them killed on the way: no request is counted twice, none that had been counted forgotten."""
    with running(environ, tmp_path, "--workers", "2", "--respawn-failed-workers") as it:
        for _ in range(40):
            it.predict(ROW)
        until(lambda: counted(it)["updraft_request_seconds_count", "predict"] == 40)  # each counts for a moment first
        victim = next(each for each in it.process.children() if "granian" in " ".join(each.cmdline()))
        victim.send_signal(signal.SIGKILL)
        answered = 0
        while answered < 40:
            try:
                it.predict(ROW)
                answered += 1
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
        until(lambda: counted(it)["updraft_request_seconds_count", "predict"] == 80)  # the other worker's, too
        found = counted(it)
        assert found["updraft_requests_total", "predict", "200"] == 80
        assert found["updraft_rows_total", NAME] == 80
        assert found["updraft_request_seconds_count", "predict"] == 80
        assert found["updraft_model_version", NAME] == 1
        assert found["updraft_model_age_seconds", NAME] > 0
        assert len(list((tmp_path / "data" / "metrics").glob("counter_*.db"))) <= 3


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"OPTIONS /predict/x HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"BREW /predict/x HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /%00%ff%C3%28/../x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /predict/%2e%2e%2fx HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /predict/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST /predict/x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 600_000 + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n", 200),
        (b"GET /docs HTTP/1.1\r\nHost: xn--a\r\nAccept: text/html\r\n\r\n", 400),
        (b"GET /docs HTTP/1.1\r\nHost: ..\r\nAccept: text/html\r\n\r\n", 400),
        (b'GET /docs HTTP/1.1\r\nHost: a"><script>\r\nAccept: text/html\r\n\r\n', 400),
        (b"POST /predict/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 411),
    ],
    ids=lambda value: str(value)[:40],
)
def test_odd_requests_get_a_response_of_their_own(line: bytes, status: int, quiet: Service) -> None:
    with closing(connect(quiet)) as connection:
        _push(connection, line)
        assert status_of(connection) == status


@pytest.fixture(scope="module")
def quiet(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(environ, tmp_path_factory.mktemp("quiet")) as it:
        yield it


def test_answers_carry_their_headers(quiet: Service) -> None:
    for path, body in ((PREDICT, ONE), (PREDICT, b"?"), ("/healthz", None), ("/nowhere", None)):
        _, headers, _ = quiet.ask("POST" if body else "GET", path, body)
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"


def test_a_header_that_imitates_another_is_ignored(quiet: Service) -> None:
    """Content_Type would be Content-Type to WSGI."""
    with closing(http.client.HTTPConnection("127.0.0.1", quiet.port)) as connection:
        connection.request("POST", PREDICT, ONE, {"Content_Type": "application/json"})
        assert connection.getresponse().status == 415


def counted(it: Service) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(it.ask("GET", "/metrics")[2].decode())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_a_damaged_metric_file_is_kept_as_corrupt(environ: dict[str, str], tmp_path: Path) -> None:
    counts = tmp_path / "data" / "metrics"
    counts.mkdir(parents=True)
    for name in ("counter_00.db", "histogram_07.db"):  # this worker's own, and a dead one's
        (counts / name).write_bytes(b"\xff" * 100)
    with running(environ, tmp_path) as it:
        it.predict(ROW)
        assert counted(it)["updraft_rows_total", NAME] == 1
    assert sorted(path.name for path in counts.glob("*.corrupt")) == ["counter_00.corrupt", "histogram_07.corrupt"]


def test_refused_requests_are_logged(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, SERVING_MAX_BODY_MB="0.1") as it:
        assert it.ask("POST", PREDICT, b" " * 2**18)[0] == 413
        until(lambda: "POST /predict/vehicle_insurance 413" in it.log.read_text())


def test_a_browser_is_shown_a_page_of_what_is_refused_and_a_program_a_problem(
    environ: dict[str, str], tmp_path: Path
) -> None:
    def upload(path: str, accept: str) -> tuple[str | None, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", it.port, timeout=120)) as connection:
            connection.request("POST", path, b" " * (2 << 20), {"Accept": accept})
            answer = connection.getresponse()
            assert answer.status == 413
            return answer.getheader("Content-Type"), answer.read().decode()

    with running(environ, tmp_path, SERVING_MAX_BODY_MB="1") as it:
        for _ in range(2):  # the second one is rendered already
            kind, page = upload(f"/{NAME}/csv", "text/html,*/*;q=0.8")
            assert kind == "text/html; charset=utf-8"
            assert "The body is larger than 1 MB." in page and "All models" in page
        for path, accept in ((f"/{NAME}/csv", "*/*"), (PREDICT, "text/html,*/*;q=0.8")):
            assert upload(path, accept)[0] == "application/problem+json", path


def test_what_is_refused_of_a_form_and_a_file_is_in_the_prediction_log_as_of_the_api(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with running(environ, tmp_path, SERVING_MAX_BODY_MB="1") as it:
        url = f"http://127.0.0.1:{it.port}"
        assert requests.post(f"{url}/predict/{NAME}", json={"Age": "x"}, timeout=60).status_code == 422
        assert requests.post(f"{url}/{NAME}", data={"Age": "x"}, timeout=60).status_code == 422
        rows = {"rows": ("rows.csv", b"Age\nx\n")}
        assert requests.post(f"{url}/{NAME}/csv", files=rows, timeout=60).status_code == 422
        for path in (NAME, f"{NAME}/csv", "train", "feedback"):  # the last two are of no use case
            assert requests.post(f"{url}/{path}", data=b" " * (2 << 20), timeout=60).status_code == 413
        until(lambda: sum(each["requests"] for each in use_cases(url)) == 5)
        refused = {each["version"]: each["refused"] for each in use_cases(url)}
    assert refused == {1: {"schema": 3}, None: {"request_entity_too_large": 2}}


def use_cases(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(f"{url}/stats", timeout=60).json()["use_cases"]
    return found
