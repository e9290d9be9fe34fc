"""A canary answers its share, sticky and in both ways; a shadow answers nothing and costs no answer."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serving.app import create_app
from serving.metrics import Metrics
from serving.models.live_models import LiveModels
from serving.models.rollouts import LiveRollout
from serving.models.version_cache import Cache
from serving.predict import shadow
from serving.predict.shadow import Answered, Shadow
from tests.support import rollout_load
from tests.support.service import Service, service, until
from tests.support.small_models import NAME, ROW, model, promote, push
from updraft.model.model import Model
from updraft.registry.moves import Rollout
from updraft.registry.registry import Registry
from updraft.registry.rollouts import Plan, abort, start

WHO = {"who": "tests", "why": "to see"}
REQUESTS = 1500
PRIVATE = "Age"  # which is what the requests differ in


@pytest.fixture
def two(registry: Registry, tmp_path: Path) -> Registry:
    """Version 1 in production, version 2 stored; neither logs the age."""
    first, second = (
        Model(made.signature.model_copy(update={"private": (PRIVATE,)}), made.pipeline)
        for made in (model(), model(seed=1))
    )
    promote(registry, push(registry, tmp_path / "one", first))
    push(registry, tmp_path / "two", second)
    return registry


@pytest.fixture
def running(two: Registry, registry_environ: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """A service whose event loop answers what is sent plainly."""
    with service(registry_environ, tmp_path, SERVING_LOOP_MS="1000", SERVING_POLL_SECONDS="0.1") as it:
        it.until(1)
        yield it


def rollout_of(it: Service) -> object:
    [summary] = json.loads(it.ask("GET", "/models")[2])["models"]
    return summary.get("rollout", {}).get("mode")


def statistics(it: Service) -> dict[int, dict[str, object]]:
    found = json.loads(it.ask("GET", "/stats")[2])["use_cases"]
    return {each["version"]: each for each in found}


def test_a_canary_answers_its_share_of_callers_and_always_the_same(two: Registry, running: Service) -> None:
    start(two, NAME, Plan(2, "canary", 20.0), **WHO)
    until(lambda: rollout_of(running) == "canary")
    right = rollout_load.expected()
    by_key, by_body = dict[str, int](), dict[int, set[int]]()
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)) as connection:
        for number in range(REQUESTS):
            age = rollout_load.AGES[number % 60]
            status, told = rollout_load.ask(connection, age, f"caller {number}")
            version = int(str(told["version"]))
            assert (status, told["probabilities"]) == (200, [right[version][age]])
            by_key[f"caller {number}"] = version
        for key in list(by_key)[:100]:  # the same callers with other rows, in the loop and by a thread
            for headers in ({}, {"Content-Encoding": "identity"}):
                assert rollout_load.ask(connection, 44, key, **headers)[1]["version"] == by_key[key]
        for age in rollout_load.AGES:  # without a key, the same request meets the same version both ways
            for headers in ({}, {"Content-Encoding": "identity"}):
                by_body.setdefault(age, set()).add(
                    int(str(rollout_load.ask(connection, age, None, **headers)[1]["version"]))
                )
    taken = sum(version == 2 for version in by_key.values())
    assert abs(taken - REQUESTS * 0.2) <= 4 * (REQUESTS * 0.2 * 0.8) ** 0.5
    assert all(len(versions) == 1 for versions in by_body.values())
    assert {version for versions in by_body.values() for version in versions} == {1, 2}
    until(lambda: statistics(running).get(2, {}).get("rows", 0) >= taken)  # type: ignore[operator]
    metrics = running.ask("GET", "/metrics")[2].decode()
    assert f'updraft_rollout_version{{mode="canary",use_case="{NAME}"}} 2.0' in metrics
    assert f'updraft_rollout_rows_total{{role="canary",use_case="{NAME}",version="2"}}' in metrics


def test_nothing_fails_while_a_rollout_starts_and_is_taken_back(two: Registry, running: Service) -> None:
    stop, answers = threading.Event(), list[rollout_load.Answers]()
    load = threading.Thread(target=lambda: answers.append(rollout_load.together(running.port, stop)))
    load.start()
    try:
        for _ in range(3):
            start(two, NAME, Plan(2, "canary", 30.0), **WHO, force=True)
            until(lambda: rollout_of(running) == "canary")
            time.sleep(0.5)
            abort(two, NAME, **WHO)
            until(lambda: rollout_of(running) is None)
    finally:
        stop.set()
        load.join()
    [found] = answers
    assert (found.failed, found.wrong) == ([], [])
    assert min(found.by_version[1], found.by_version[2]) > 0
    assert rollout_load.takers(found.tried_keys) == found.tried_keys


def test_a_shadow_scores_what_production_answers(two: Registry, running: Service, tmp_path: Path) -> None:
    start(two, NAME, Plan(2, "shadow"), **WHO)
    until(lambda: rollout_of(running) == "shadow")
    right = rollout_load.expected()
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)) as connection:
        for age in rollout_load.AGES:
            told = rollout_load.ask(connection, age, f"caller {age}")[1]
            assert (told["version"], told["probabilities"]) == (1, [right[1][age]])
    until(lambda: statistics(running).get(2, {}).get("shadow", {}).get("rows") == 60)  # type: ignore[attr-defined]
    second = statistics(running)[2]
    assert (second["requests"], second["rows"], second["predictions"], second["latency"]) == (0, 0, {}, None)
    assert statistics(running)[1]["rows"] == 60
    with closing(sqlite3.connect(tmp_path / "data" / "predictions.sqlite")) as connection:
        query = """SELECT p.probability FROM predictions p JOIN requests r ON r.number = p.request
                   WHERE r.version = 2 AND r.kind = 'shadow' ORDER BY r.number"""
        assert [found for (found,) in connection.execute(query)] == [*right[2].values()]
        # What is private is in neither version's rows, and each copy names the request that was answered.
        columns = "SELECT DISTINCT s.columns FROM requests r JOIN shapes s ON s.number = r.shape WHERE r.version = ?"
        public = [name for name in ROW if name != PRIVATE]
        for version in (1, 2):
            assert [json.loads(found) for (found,) in connection.execute(columns, (version,))] == [public]
        answered, copied = (
            [found for (found,) in connection.execute(f"SELECT {column} FROM requests WHERE version = ?", (version,))]
            for column, version in (("id", 1), ("answer", 2))
        )
        assert sorted(answered) == sorted(copied)


def test_a_shadow_that_fails_is_counted_and_costs_no_answer(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, push(registry, tmp_path / "one", model()))
    signature = model().signature
    narrow = tuple(
        column.model_copy(update={"maximum": 50}) if column.name == "Age" else column for column in signature.columns
    )
    other = Model(signature.model_copy(update={"columns": narrow}), model(seed=1).pipeline)
    push(registry, tmp_path / "two", other)
    start(registry, NAME, Plan(2, "shadow"), **WHO)
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    client = create_app(live_models).test_client()
    for age in (30, 60, 40):
        answer = client.post(f"/predict/{NAME}", json=ROW | {"Age": age})
        assert (answer.status_code, answer.json["version"]) == (200, 1)  # type: ignore[index]
    wanted = (
        f'updraft_rollout_rows_total{{role="shadow",use_case="{NAME}",version="2"}} 2.0',
        f'updraft_shadow_errors_total{{use_case="{NAME}",version="2"}} 1.0',
    )
    until(lambda: all(line in client.get("/metrics").text for line in wanted))
    (told,) = [line for line in caplog.messages if "failed as a shadow" in line]
    assert "does not match its schema, at " in told and told.endswith("/Age") and "60" not in told  # it may be private


def test_what_a_slow_shadow_cannot_score_is_dropped_and_nobody_waits(two: Registry, tmp_path: Path) -> None:
    live_models = LiveModels(two, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    live = live_models.live[NAME]
    tried = LiveRollout(Rollout(version=1, mode="shadow", since="-"), live)
    rows = live.model.signature.check([ROW] * 100)
    metrics, go_on, scored = Metrics(live_models), threading.Event(), list[int]()

    def slow(_: LiveRollout, answered: Answered) -> None:
        assert go_on.wait(60)
        scored.append(len(answered.rows))

    queue = Shadow(metrics, slow, lambda _: True)
    for _ in range(150):
        queue.offer(tried, Answered(rows, time.time(), None))
    dropped = metrics.shadow_dropped.labels(NAME)._value.get()
    assert 15_000 - shadow.MAX_ROWS - 100 <= dropped <= 15_000 - shadow.MAX_ROWS
    go_on.set()
    until(lambda: sum(scored) + dropped == 15_000)
