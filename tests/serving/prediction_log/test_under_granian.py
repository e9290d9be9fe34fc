"""The prediction log under the real server: kill -9 of its workers, private columns, labels over HTTP."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from serving.prediction_log.records import new_id, parse_id, prediction_id
from tests.support.prediction_log_files import ask, facts, files, leader, stored
from tests.support.service import PREDICT, Service, service, until
from tests.support.small_models import NAME, OTHER, ROW, model, promote, push
from updraft.model.model import Model
from updraft.registry.registry import Registry

WORKERS = ("--workers", "2", "--respawn-failed-workers", "--respawn-interval", "0.1")


@dataclass
class Clients:
    """Clients that send requests non-stop, reconnect when cut off, and record the predictions returned to them."""

    service: Service
    acknowledged: list[tuple[str, int]] = field(default_factory=list)
    wrong: list[object] = field(default_factory=list)
    cut: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            with closing(http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)) as connection:
                try:
                    while not self.stop.is_set():
                        self._ask(connection)
                except (OSError, http.client.HTTPException):
                    self.cut += 1
                    time.sleep(0.05)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", PREDICT, json.dumps({"rows": [ROW, OTHER]}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status == 200:
            self.acknowledged += zip(body["prediction_ids"], body["predictions"], strict=True)
        elif answer.status != 503:  # a worker that has only just come has no model yet
            self.wrong.append(body)


def workers(it: Service, data: Path) -> set[int]:
    """Return the processes that hold a worker's number."""
    children = {child.pid for child in it.process.children(recursive=True)}
    inodes = {path.stat().st_ino for path in (data / "slots").iterdir()}
    held = set()
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and int(fields[5].rsplit(":", 1)[1]) in inodes:
            held.add(int(fields[4]))
    return children & held


def kill_all(it: Service) -> None:
    """Kill -9 the server with all its workers at once."""
    everyone = [it.process, *it.process.children(recursive=True)]
    for process in everyone:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(everyone, 60)


def test_kill_9_under_load_loses_no_prediction_that_was_acknowledged(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    """Three times the worker whose ingester runs, and after it, when another's does, the server with all workers.

    Granian gives up when a worker dies twice within 5.5 s.
    """
    promote(registry, push(registry, tmp_path / "run", model()))
    data = tmp_path / "data"
    acknowledged: list[tuple[str, int]] = []
    for _ in range(3):
        with service(registry_environ, tmp_path, *WORKERS) as it, load(it) as clients:
            lead = ready(it, data, clients)
            psutil.Process(lead).kill()
            until(lambda lead=lead: leader(data) != lead)
            assert ready(it, data, clients) != lead
            kill_all(it)
        assert clients.wrong == []
        assert clients.cut > 0
        acknowledged += clients.acknowledged
    with service(registry_environ, tmp_path, *WORKERS) as it:  # the next start
        it.until(1)
        until(lambda: json.loads(it.ask("GET", "/stats")[2])["log"]["backlog_bytes"] == 0)
        kill_all(it)
    ids = stored(data)
    assert len(ids) == len(set(ids))
    rows = {(request.hex(), row): answer for request, row, answer in ask(data, PREDICTIONS)}
    assert len(acknowledged) > 300
    assert all(rows[parse_id(each)] == answer for each, answer in acknowledged)
    assert facts(data).get("bad", 0) == 0
    assert len(files(data)) <= 2
    assert len(list((data / "slots").iterdir())) <= 4
    assert len(list((data / "logs").iterdir())) <= 4


def test_a_stop_under_load_leaves_every_acknowledged_prediction_in_the_tables_and_no_process(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    """But for what the worker that ends last has answered after the ingester's end: the next start has that."""
    promote(registry, push(registry, tmp_path / "run", model()))
    data = tmp_path / "data"
    with service(registry_environ, tmp_path, *WORKERS) as it, load(it) as clients:
        ready(it, data, clients)
        everyone = [it.process, *it.process.children(recursive=True)]
        clients.stop.set()
        it.process.terminate()
        assert psutil.wait_procs(everyone, 60)[1] == []
    assert clients.wrong == []
    rows = {(request.hex(), row) for request, row, _ in ask(data, PREDICTIONS)}
    spool = b"".join(path.read_bytes() for path in files(data))
    missing = [each for each, _ in clients.acknowledged if parse_id(each) not in rows]
    assert all(each.split(".")[0].encode() in spool for each in missing)
    assert len(clients.acknowledged) > len(missing)


def ready(it: Service, data: Path, clients: Clients) -> int:
    """Wait for two workers, an ingester and more answers; return the worker that has started the ingester."""
    until(lambda: len(workers(it, data)) == 2 and leader(data) in workers(it, data))
    before = len(clients.acknowledged)
    until(lambda: len(clients.acknowledged) > before + 60)
    lead = leader(data)
    assert lead is not None
    return lead


@contextmanager
def load(it: Service) -> Iterator[Clients]:
    """Run four clients."""
    clients = Clients(it)
    threads = [threading.Thread(target=clients.run) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stop.set()
        for thread in threads:
            thread.join(120)


def test_feedback_that_waits_for_the_tables_holds_up_no_prediction(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    """Another process locks the tables; two threads get eight labels of predictions that nobody knows."""
    promote(registry, push(registry, tmp_path / "run", model()))
    asked = ("POST", "/feedback", json.dumps({"prediction_id": prediction_id(new_id(), 0), "label": 1}).encode())
    answers: list[tuple[int, dict[str, str], bytes]] = []
    with service(registry_environ, tmp_path, SERVING_THREADS="2") as it:
        it.until(1)
        until(lambda: it.ask(*asked)[0] == 404)
        with closing(sqlite3.connect(tmp_path / "data" / "predictions.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            it.predict(ROW)  # lies in the spool
            threads = [threading.Thread(target=lambda: answers.append(it.ask(*asked))) for _ in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(0.2)
            start = time.monotonic()
            it.predict(ROW)
            assert time.monotonic() - start < 2
            for thread in threads:
                thread.join()
    assert [(status, "retry-after" in headers) for status, headers, _ in answers] == [(503, True)] * 8


PREDICTIONS = "SELECT id, row, prediction FROM predictions JOIN requests ON number = request"


def test_a_label_sent_to_one_worker_joins_the_prediction_of_another(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    promote(registry, push(registry, tmp_path / "run", model()))
    with service(registry_environ, tmp_path, *WORKERS) as it:
        it.until(1)
        until(lambda: len(workers(it, tmp_path / "data")) == 2)
        answers = [it.predict(ROW) for _ in range(20)]
        for each in answers:  # each on a connection of its own
            item = {"prediction_id": each["prediction_ids"][0], "label": each["labels"][0]}
            status, _, body = it.ask("POST", "/feedback", json.dumps(item).encode())
            assert (status, json.loads(body)) == (200, {"stored": 1})
        until(lambda: [each["feedback"] for each in _figures(it)] == [20])
        [figures] = _figures(it)
        kill_all(it)
    assert (figures["use_case"], figures["accuracy"], figures["requests"]) == (NAME, 1.0, 20)


def test_private_columns_reach_no_file(registry: Registry, registry_environ: dict[str, str], tmp_path: Path) -> None:
    """They are looked for as bytes in all that the service leaves behind: log, spool, SQLite, log files, counts."""
    it = model()
    private = Model(it.signature.model_copy(update={"private": ("Annual_Premium", "Vehicle_Age")}), it.pipeline)
    promote(registry, push(registry, tmp_path / "run", private))
    with service(registry_environ, tmp_path) as running:
        running.until(1)
        row = ROW | {"Annual_Premium": 98765.4321, "Vehicle_Age": "> 2 Years"}
        assert len(running.predict(row)["prediction_ids"]) == 1
        running.ask("POST", PREDICT, json.dumps(row | {"Age": -1}).encode())
        until(lambda: json.loads(running.ask("GET", "/stats")[2])["log"]["backlog_bytes"] == 0)
        left = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        content = {path.name: path.read_bytes() for path in [*left, running.log]}
    assert any(b"Vehicle_Damage" in each for each in content.values())
    for name, each in content.items():
        for secret in (b"98765", b"> 2 Years", b"Annual_Premium", b"Vehicle_Age"):
            assert secret not in each, name


def _figures(it: Service) -> list[dict[str, object]]:
    totals: list[dict[str, object]] = json.loads(it.ask("GET", "/stats")[2])["use_cases"]
    return totals
