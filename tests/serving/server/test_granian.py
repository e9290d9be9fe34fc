"""The service under its real server: swaps under load, the registry away, settings that are wrong."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import s3_server
from tests.support.service import PREDICT, Service, granian, service, surroundings, until
from tests.support.small_models import NAME, ROW, loaded_model, model, probabilities, promote, push
from updraft.defaults import ROOT
from updraft.local_stack.servers import free_port
from updraft.registry.registry import Registry, open_registry

TRAINED = loaded_model()
ONE = json.dumps(ROW)


@dataclass
class Load:
    """Clients that ask without a pause and hold each answer against what its version predicts."""

    service: Service
    expected: Callable[[int, int], float]
    rows: list[dict[str, Any]]
    seen: list[int] = field(default_factory=list)
    wrong: list[object] = field(default_factory=list)

    @contextmanager
    def running(self, clients: int) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(stop, start)) for start in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(120)

    def _ask(self, stop: threading.Event, index: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=120)) as connection:
            while not stop.is_set() and not self.wrong:
                index = (index + 1) % len(self.rows)
                try:
                    self._hold(connection, index)
                except Exception as error:
                    self.wrong.append(error)

    def _hold(self, connection: http.client.HTTPConnection, index: int) -> None:
        connection.request("POST", PREDICT, json.dumps(self.rows[index]), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        assert answer.getheader("X-Model-Version") == str(body["version"])
        assert body["probabilities"] == [self.expected(body["version"], index)]
        self.seen.append(body["version"])


def test_versions_are_swapped_under_load_without_a_failure(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    models = {number: model(seed=number) for number in (1, 2, 3, 4)}
    rows = [ROW | {"Age": age, "Gender": gender} for age in range(20, 40) for gender in ("Male", "Female")]
    table = {number: probabilities(each, *rows) for number, each in models.items()}
    assert all(len({table[number][index] for number in table}) == len(table) for index in range(len(rows)))
    versions = [push(registry, tmp_path / f"run-{number}", each) for number, each in models.items()]
    promote(registry, versions[0])
    with service(registry_environ, tmp_path) as it:
        it.until(1)
        load = Load(it, lambda number, index: table[number][index], rows)
        with load.running(4):
            for version in versions[1:]:
                promote(registry, version)
                it.until(version.number)
                until(lambda number=version.number: number in load.seen or bool(load.wrong))
            until(lambda: len(load.seen) > 100 or bool(load.wrong))
    assert load.wrong == []
    assert set(load.seen) == {1, 2, 3, 4}


@pytest.mark.usefixtures("starts_servers")
def test_it_refuses_what_was_altered_outlives_the_registry_and_starts_without_it(
    key_files: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "s3").mkdir()
    with ExitStack() as registry_up:
        s3 = registry_up.enter_context(s3_server(tmp_path / "s3"))
        environ = {**s3, **key_files, "UPDRAFT_REGISTRY": "s3://models"}
        registry = open_registry(environ)
        promote(registry, push(registry, tmp_path / "run", TRAINED))
        with service(environ, tmp_path) as it:
            it.until(1)
            altered = push(registry, tmp_path / "other", model(seed=2))
            registry.bucket.put(f"{NAME}/versions/0002/signature.json", b"{}")
            _force(registry, altered.number)
            until(lambda: _refused(it) == 2)
            assert it.predict(ROW)["probabilities"] == probabilities(TRAINED, ROW)
            registry_up.close()
            until(lambda: b"updraft_registry_up 0.0" in it.ask("GET", "/metrics")[2])
            assert it.predict(ROW)["version"] == 1
            assert it.ask("GET", "/readyz")[0] == 200
    with service(environ, tmp_path) as it:
        it.until(1)
        assert it.predict(ROW)["probabilities"] == probabilities(TRAINED, ROW)
        assert it.ask("POST", "/predict/vehicle_price", json.dumps(ROW).encode())[0] == 503
    assert "Traceback" not in it.log.read_text()


def test_a_body_too_large_is_answered_before_it_is_held_in_memory(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promote(registry, push(registry, tmp_path / "run", TRAINED))
    with service(registry_environ, tmp_path, SERVING_MAX_BODY_MB="1") as it:
        it.until(1)
        status, headers, body = it.ask("POST", PREDICT, b" " * (5 * 2**20))
        assert (status, headers["content-type"]) == (413, "application/problem+json")
        assert json.loads(body)["status"] == 413
        assert it.ask("POST", PREDICT, [ONE.encode()])[0] == 411  # in chunks, which may break off unseen
        assert it.predict(ROW)["version"] == 1


def test_it_serves_only_the_use_cases_of_serve_only(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promote(registry, push(registry, tmp_path / "run", TRAINED))
    promote(registry, push(registry, tmp_path / "other", model("another_case")))
    with service(registry_environ, tmp_path, SERVE_ONLY=f"{NAME}, not_there_yet") as it:
        it.until(1)
        assert [each["use_case"] for each in json.loads(it.ask("GET", "/models")[2])["models"]] == [NAME]
        status, _, body = it.ask("POST", "/predict/another_case", ONE.encode())
        assert (status, json.loads(body)["detail"]) == (404, f"Unknown use case; known: {NAME}.")


def test_it_runs_under_gunicorn_too(registry: Registry, registry_environ: dict[str, str], tmp_path: Path) -> None:
    promote(registry, push(registry, tmp_path / "run", TRAINED))
    port = free_port()
    command = [str(Path(sys.executable).with_name("gunicorn")), "--bind", f"127.0.0.1:{port}", "--threads", "4"]
    with service(registry_environ, tmp_path, command=[*command, "serving.wsgi:app"], port=port) as it:
        it.until(1)
        assert it.predict(ROW)["probabilities"] == probabilities(TRAINED, ROW)
        assert it.ask("POST", PREDICT, b" " * (17 * 2**20))[0] == 413


def test_a_bad_setting_ends_the_server(registry_environ: dict[str, str]) -> None:
    environ = surroundings(registry_environ) | {"SERVING_MAX_ROWS": "many"}
    ended = subprocess.run(granian(free_port()), env=environ, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode != 0
    assert "serving: SERVING_MAX_ROWS: 'many'" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


def _refused(it: Service) -> int | None:
    [summary] = json.loads(it.ask("GET", "/models")[2])["models"]
    return summary["refused"] and int(summary["refused"]["version"])


def _force(registry: Registry, number: int) -> None:
    """Move the pointer past `promote`, which verifies."""
    registry.moves(NAME).move(registry.pointer(NAME), "promote", number, "tests", "unverified", version=number)
