"""The service under its real server, as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from werkzeug.test import TestResponse

from tests.support.small_models import NAME
from updraft.defaults import ROOT
from updraft.local_stack.servers import free_port, wait_for_port

PREDICT = f"/predict/{NAME}"


@dataclass
class Service:
    """A running service: its port, its log, its process, and one HTTP connection for each request."""

    port: int
    log: Path
    process: psutil.Popen

    def ask(
        self, method: str, path: str, body: bytes | list[bytes] | None = None, kind: str = "application/json"
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def predict(self, row: dict[str, Any]) -> dict[str, Any]:
        status, _, body = self.ask("POST", PREDICT, json.dumps(row).encode())
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    def until(self, version: int, seconds: float = 120.0) -> None:
        """Wait until the service is ready with this version."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, _, body = self.ask("GET", "/readyz")
            if status == 200 and json.loads(body)["versions"] == {NAME: version}:
                return
            time.sleep(0.05)
        raise AssertionError(f"not at version {version} after {seconds} s: {body!r}\n{self.log.read_text()}")


def granian(port: int, *words: str) -> list[str]:
    command = [str(Path(sys.executable).with_name("granian")), "--interface", "rsgi", "--no-ws"]
    command += ["--http", "1", "--http1-header-read-timeout", "5000", "--backlog", "4096", "--backpressure", "4096"]
    command += ["--workers-kill-timeout", "30"]
    return [*command, "--host", "127.0.0.1", "--port", str(port), *words, "serving.wsgi:rsgi_app"]


def surroundings(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment of a service: nothing of ours but PATH and the import path."""
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'include'}:{ROOT}"}
    return path | {key: value for key, value in environ.items() if key != "UPDRAFT_SIGNING_KEY"}


def end(process: psutil.Popen) -> None:
    """End a process; what does not hear of it within a minute is killed, with its children."""
    with suppress(psutil.NoSuchProcess):
        children = process.children(recursive=True)
        process.terminate()
        try:
            process.wait(60)
        except psutil.TimeoutExpired:
            for each in (process, *children):
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            raise


@contextmanager
def service(
    environ: dict[str, str], folder: Path, *words: str, command: list[str] | None = None, port: int = 0, **settings: str
) -> Iterator[Service]:
    """Run the service under granian, which is given `words`, or by a `command`; cache, data and log are in `folder`."""
    port, log = port or free_port(), folder / "service.log"
    own = {"SERVING_CACHE": str(folder / "cache"), "SERVING_DATA": str(folder / "data"), "SERVING_POLL_SECONDS": "0.2"}
    with log.open("ab") as sink:
        process = psutil.Popen(
            command or granian(port, *words),
            env=surroundings(environ) | own | settings,
            cwd=ROOT,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_port(port, process, 300)
        yield Service(port, log, process)
    finally:
        end(process)


def problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """Hold an answer against RFC 9457 and against what must never get out; give what it tells."""
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json"), answer.text
    told: dict[str, Any] = json.loads(answer.data)
    assert (told["type"], told["status"]) == ("about:blank", status)
    assert told["title"] and told["detail"]
    for secret in ("Traceback", "site-packages", 'File "', str(ROOT), "line 1,", "<!doctype"):
        assert secret not in answer.text
    return told


def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.05)
