"""What MLflow has of a registry: on a stand-in for it, and on MLflow itself where `UPDRAFT_PEERS` names a folder."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from tests.support.mlflow_stand_in import MlflowStandIn
from tests.support.peers import python_with
from tests.support.servers import server
from tests.support.versions import overwrite
from tests.support.web_server import Answer, Request, web_server
from updraft.local_stack.servers import free_port
from updraft.registry import rollouts
from updraft.registry.registry import Registry
from updraft.trackers.mlflow import Tracker, follow_with_tracker

MLFLOW = "mlflow==3.17.2"
CARD = "<!doctype html><title>Model card</title>\n"
CANDIDATES = {"forest": {"n_estimators": 100, "max_depth": None}, "linear": {"C": 0.5}}


def store(registry: Registry, name: str, folder: Path, run: str) -> int:
    """Push a version with an evaluation and a card."""
    folder.mkdir(parents=True)
    scores = {each: {"roc_auc": 0.8, "log_loss": None} for each in CANDIDATES}
    evaluation = {"task": "binary", "chosen": "forest", "decision": "promote", "reason": "it is the first"}
    evaluation |= {"candidates": scores, "validation": scores, "candidate_params": CANDIDATES}
    evaluation["champion"] = {"version": 1, "metrics": {"roc_auc": 0.7}}
    (folder / "model.joblib").write_text(run)
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / "card.html").write_text(CARD)
    metadata = {"params": CANDIDATES["forest"], "metrics": scores["forest"], "threshold": 0.25, "data_sha256": "d" * 64}
    metadata |= {"code_commit": "c" * 40, "run_url": "http://airflow/runs/1", "dataset": {"rows": 500}}
    return registry.push(name, folder, metadata, f"{run}~0123456789ab").number


def promoted(registry: Registry, name: str, folder: Path) -> None:
    store(registry, name, folder, "run 1")
    registry.promote(name, 1, expect=None, who="ann", why="first")


class Recorded:
    """What a server has, read by its API."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name

    def api(self, method: str, path: str, **content: Any) -> Any:
        answer = requests.request(method, f"{self.url}/api/2.0/mlflow/{path}", timeout=60, **content)
        return answer.json()

    def runs(self) -> list[dict[str, Any]]:
        """Every run, the oldest first, with its tags, params and metrics as dicts."""
        found = self.api("GET", "experiments/get-by-name", params={"experiment_name": self.name})
        if "experiment" not in found:
            return []
        body = {"experiment_ids": [found["experiment"]["experiment_id"]], "max_results": 1000}
        runs = self.api("POST", "runs/search", json=body).get("runs", [])
        kinds = ("tags", "params", "metrics")
        return [
            run["info"] | {kind: {each["key"]: each["value"] for each in run["data"].get(kind, [])} for kind in kinds}
            for run in runs
        ]

    def parents(self) -> dict[str, dict[str, Any]]:
        return {run["run_name"]: run for run in self.runs() if "mlflow.parentRunId" not in run["tags"]}

    def versions(self) -> dict[str, str]:
        """Our numbers of the versions, by MLflow's; with two of ours under one number both are there."""
        query = {"filter": f"name='{self.name}'", "max_results": 1000}
        found = self.api("GET", "model-versions/search", params=query).get("model_versions", [])
        return {
            each["version"]: tag["value"] for each in found for tag in each["tags"] if tag["key"] == "updraft.version"
        }

    def aliases(self) -> dict[str, str]:
        model = self.api("GET", "registered-models/get", params={"name": self.name}).get("registered_model", {})
        return {each["alias"]: self.versions()[each["version"]] for each in model.get("aliases", [])}

    def summary(self) -> Any:
        """All that matters, in a form that can be compared: without ids, and in an order."""
        names = {run["run_id"]: run["run_name"] for run in self.runs()}
        runs = sorted(
            (
                names.get(run["tags"].get("mlflow.parentRunId", ""), ""),
                run["run_name"],
                run["status"],
                sorted(run["params"].items()),
                sorted(run["metrics"].items()),
            )
            for run in self.runs()
        )
        return runs, sorted(self.versions().values()), self.aliases()


def breaking(url: str, stop_at: int, *, lose_response: bool) -> Any:
    """Run a server that passes requests on until one, which it breaks off, before it or after it."""
    pool, count = urllib3.PoolManager(), iter(range(10**6))

    def answer(request: Request) -> Answer:
        number = next(count)
        if number >= stop_at and not (number == stop_at and lose_response):
            return Answer(b"x" * 9, cut=0)
        headers = {"Content-Type": request.headers.get("content-type", "")}
        passed = pool.request(request.method, url + request.path, body=request.body, headers=headers)
        return Answer(passed.data, passed.status, cut=0 if number == stop_at else None)

    return web_server(answer)


@pytest.fixture(scope="module")
def mlflow(peer_environments: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of MLflow's own server."""
    python, port = python_with(peer_environments, MLFLOW), free_port()
    folder = tmp_path_factory.mktemp("mlflow")
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
    with server([*command, *stores], port, folder / "log", {"MLFLOW_DISABLE_TELEMETRY": "true"}):
        yield f"http://127.0.0.1:{port}"


class OnEither:
    """The tests that both servers pass. `every` thins out what takes long."""

    every: int

    @pytest.fixture
    def name(self) -> str:
        return f"churn_{secrets.token_hex(4)}"

    @pytest.fixture
    def recorded(self, url: str, name: str) -> Recorded:
        return Recorded(url, name)

    def test_runs_versions_and_what_is_in_production(
        self, recorded: Recorded, registry: Registry, name: str, tmp_path: Path
    ) -> None:
        follow_with_tracker(registry, {"MLFLOW_TRACKING_URI": recorded.url})
        for number in (1, 2, 3):
            store(registry, name, tmp_path / str(number), f"run {number}")
        registry.promote(name, 1, expect=None, who="ann", why="first")
        assert recorded.versions() == {"1": "1", "2": "2", "3": "3"}
        assert recorded.aliases() == {"champion": "1"}
        registry.promote(name, 2, expect=1, who="ann", why="better")
        rollouts.start(registry, name, rollouts.Plan(3, "shadow"), who="ann", why="try it")
        assert recorded.aliases() == {"champion": "2", "challenger": "3"}
        rollouts.finish(registry, name, who="ann", why="it is better")
        assert recorded.aliases() == {"champion": "3"}
        registry.rollback(name, who="ann", why="it is not")
        assert recorded.aliases() == {"champion": "2"}
        registry.remove(name, who="ann", why="not needed")
        assert recorded.aliases() == {}

        assert set(recorded.parents()) == {"run 1", "run 2", "run 3"}
        run = recorded.parents()["run 2"]
        assert run["status"] == "FINISHED"
        assert run["params"] == {"n_estimators": "100", "threshold": "0.25"}
        assert run["metrics"] == {"roc_auc": 0.8, "validation/roc_auc": 0.8, "champion/roc_auc": 0.7}
        tags = run["tags"]
        assert (tags["updraft.data_sha256"], tags["updraft.rows"], tags["updraft.version"]) == ("d" * 64, "500", "2")
        assert tags["mlflow.source.git.commit"] == "c" * 40
        assert (
            "it is the first" in tags["mlflow.note.content"] and "http://airflow/runs/1" in tags["mlflow.note.content"]
        )
        children = {
            child["run_name"]: child
            for child in recorded.runs()
            if child["tags"].get("mlflow.parentRunId") == run["run_id"]
        }
        assert {each: child["params"] for each, child in children.items()} == {
            "forest": {"n_estimators": "100"},
            "linear": {"C": "0.5"},
        }
        assert {each: child["tags"]["updraft.chosen"] for each, child in children.items()} == {
            "forest": "true",
            "linear": "false",
        }
        path = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        card = requests.get(f"{recorded.url}/api/2.0/mlflow-artifacts/artifacts/{path}/card.html", timeout=60)
        assert card.text == CARD

    def test_what_is_there_is_not_written_twice(
        self, recorded: Recorded, registry: Registry, name: str, tmp_path: Path
    ) -> None:
        store(registry, name, tmp_path / "1", "run 1")
        assert Tracker(registry, {"MLFLOW_TRACKING_URI": recorded.url}).sync(name) == [1]
        before = recorded.summary()
        with breaking(recorded.url, 10**6, lose_response=False) as front:
            assert Tracker(registry, {"MLFLOW_TRACKING_URI": front.url}).sync(name) == []
            assert {request.method for request in front.requests} == {"GET"}
        assert recorded.summary() == before

    @pytest.mark.parametrize("lose_response", [False, True])
    def test_a_record_that_broke_off_anywhere_is_completed_and_nothing_is_there_twice(
        self, lose_response: bool, registry: Registry, another: Callable[[], tuple[Recorded, str]]
    ) -> None:
        place, each = another()
        with breaking(place.url, 10**6, lose_response=False) as front:
            Tracker(registry, {"MLFLOW_TRACKING_URI": front.url}).sync(each)
        expected, count = place.summary(), len(front.requests)
        assert count > 20 and len(expected[0]) == 3
        for stop_at in range(0, count, self.every):
            place, each = another()
            with breaking(place.url, stop_at, lose_response=lose_response) as front:
                late = Tracker(registry, {"MLFLOW_TRACKING_URI": front.url}).follow(each)
            assert late and "no answer" in late
            Tracker(registry, {"MLFLOW_TRACKING_URI": place.url}).sync(each)
            assert place.summary() == expected, stop_at

    def test_writers_at_the_same_moment_record_it_once(
        self, recorded: Recorded, registry: Registry, name: str, tmp_path: Path
    ) -> None:
        for number in (1, 2):
            store(registry, name, tmp_path / str(number), f"run {number}")
        registry.promote(name, 2, expect=None, who="ann", why="better")
        together = threading.Barrier(4)

        def write(_: int) -> str | None:
            tracker = Tracker(registry, {"MLFLOW_TRACKING_URI": recorded.url}, seconds=None)
            together.wait()
            return tracker.follow(name)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        Tracker(registry, {"MLFLOW_TRACKING_URI": recorded.url}).sync(name)
        assert sorted(recorded.versions().values()) == ["1", "2"]
        assert sorted(run["run_name"] for run in recorded.runs()) == sorted([
            *CANDIDATES,
            *CANDIDATES,
            "run 1",
            "run 2",
        ])
        assert recorded.aliases() == {"champion": "2"}

    def test_candidates_of_a_run_that_was_taken_back_are_below_the_next_one(
        self, recorded: Recorded, registry: Registry, name: str, tmp_path: Path
    ) -> None:
        store(registry, name, tmp_path / "1", "run 1")
        with breaking(recorded.url, 20, lose_response=False) as front:
            assert Tracker(registry, {"MLFLOW_TRACKING_URI": front.url}).follow(name)
        before = {run["run_name"]: run for run in recorded.runs()}
        assert before.keys() == {"run 1", *CANDIDATES}
        recorded.api("POST", "runs/delete", json={"run_id": before["run 1"]["run_id"]})
        Tracker(registry, {"MLFLOW_TRACKING_URI": recorded.url}).sync(name)
        after = {run["run_name"]: run for run in recorded.runs()}
        assert after["run 1"]["run_id"] != before["run 1"]["run_id"]
        for each in CANDIDATES:
            assert after[each]["run_id"] == before[each]["run_id"]
            assert after[each]["tags"]["mlflow.parentRunId"] == after["run 1"]["run_id"]

    def test_a_run_that_another_writer_completed_meanwhile_is_not_taken_back(
        self, recorded: Recorded, registry: Registry, name: str, tmp_path: Path
    ) -> None:
        """Between creating its run and looking whether others did, a writer is slow."""
        store(registry, name, tmp_path / "1", "run 1")
        rivals: list[str] = []
        pool = urllib3.PoolManager()

        def answer(request: Request) -> Answer:
            passed = pool.request(request.method, recorded.url + request.path, body=request.body,
                                  headers={"Content-Type": request.headers.get("content-type", "")})  # fmt: skip
            if request.path.endswith("runs/create") and not rivals:
                Tracker(registry, {"MLFLOW_TRACKING_URI": recorded.url}).sync(name)
                rival = recorded.api("POST", "runs/create", json=json.loads(request.body))
                rivals.append(rival["run"]["info"]["run_id"])
            return Answer(passed.data, passed.status)

        with web_server(answer) as front:
            Tracker(registry, {"MLFLOW_TRACKING_URI": front.url}).follow(name)
        recorded.api("POST", "runs/delete", json={"run_id": rivals[0]})  # which a writer does itself
        assert recorded.parents()["run 1"]["status"] == "FINISHED"
        assert recorded.versions() == {"1": "1"}

    def test_a_model_of_somebody_else_is_left_alone(
        self, recorded: Recorded, registry: Registry, name: str, tmp_path: Path
    ) -> None:
        recorded.api("POST", "registered-models/create", json={"name": name})
        store(registry, name, tmp_path / "1", "run 1")
        late = Tracker(registry, {"MLFLOW_TRACKING_URI": recorded.url}).follow(name)
        assert late and "was not created by Updraft" in late and f"updraft.registry={registry.bucket}" in late
        assert (recorded.versions(), recorded.runs()) == ({}, [])

    def test_a_version_that_is_broken_does_not_stop_the_others(
        self, recorded: Recorded, registry: Registry, name: str, tmp_path: Path
    ) -> None:
        for number in (1, 2):
            store(registry, name, tmp_path / str(number), f"run {number}")
        overwrite(registry, f"{name}/versions/0001/evaluation.json", lambda body: body + b" ")
        late = Tracker(registry, {"MLFLOW_TRACKING_URI": recorded.url}).follow(name)
        assert late and "version 1: 'evaluation.json' is not the file that was signed" in late
        assert recorded.versions() == {"1": "2"}


class TestStandIn(OnEither):
    every = 3

    @pytest.fixture
    def url(self) -> Iterator[str]:
        with web_server(MlflowStandIn().answer) as running:
            yield running.url

    @pytest.fixture
    def another(self, registry: Registry, name: str, tmp_path: Path) -> Iterator[Callable[[], tuple[Recorded, str]]]:
        """Give an empty server each time, and the name of a use case that it lacks."""
        promoted(registry, name, tmp_path / name)
        with ExitStack() as servers:
            yield lambda: (Recorded(servers.enter_context(web_server(MlflowStandIn().answer)).url, name), name)


class TestMlflow(OnEither):
    every = 6

    @pytest.fixture
    def another(self, url: str, registry: Registry, name: str, tmp_path: Path) -> Callable[[], tuple[Recorded, str]]:
        """Give the name of another use case each time, which the server lacks."""

        def make() -> tuple[Recorded, str]:
            fresh = f"{name}_{secrets.token_hex(4)}"
            promoted(registry, fresh, tmp_path / fresh)
            return Recorded(url, fresh), fresh

        return make

    @pytest.fixture
    def url(self, mlflow: str) -> str:
        return mlflow
