"""True labels that come later, and what the log tells of it all."""

from __future__ import annotations

import json
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sklearn.dummy import DummyRegressor

from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.prediction_log import feedback
from serving.prediction_log.exact_sums import mean
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.records import Entry, new_id, prediction_id
from serving.prediction_log.stats import SAMPLE, _cases
from serving.prediction_log.store import SCHEMAS, Store
from serving.prediction_log.views import blueprint
from serving.server.problems import register_error_handlers
from serving.server.worker_lock import claim
from tests.support.key_pairs import write_key_pair
from tests.support.service import problem
from tests.support.small_models import NAME, frame, model, promote, push, signature
from updraft.model.model import Model
from updraft.model.signature import MAX_ERRORS, BadRow, Signature
from updraft.registry.registry import open_registry

PRICE = "vehicle_price"
UNKNOWN = prediction_id(new_id(), 0)


@pytest.fixture(scope="module")
def live_models(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> LiveModels:
    """A live classifier and a live regression model."""
    folder = tmp_path_factory.mktemp("live_models")
    registry = open_registry({**s3, **write_key_pair(folder), "UPDRAFT_REGISTRY": "s3://test-feedback"})
    options = signature(PRICE).model_dump() | {"task": "regression", "labels": (), "positive": None, "threshold": None}
    rows, target = frame()
    price = Model(Signature(**options), DummyRegressor().fit(rows, target))
    for it in (model(), price):
        promote(registry, push(registry, folder / it.signature.use_case, it))
    live_models = LiveModels(registry, Cache(folder / "cache"))
    assert live_models.refresh()
    return live_models


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    """A log whose thread runs."""
    worker = claim(tmp_path)
    log = PredictionLog(tmp_path, worker)
    log.start()
    yield log
    log.close()
    worker.lock.release()


@pytest.fixture
def client(log: PredictionLog, live_models: LiveModels) -> FlaskClient:
    """A client of an app with small limits: 4 KiB and 10 labels."""
    return app(log, live_models).test_client()


def app(log: PredictionLog, live_models: LiveModels) -> Flask:
    it = Flask(__name__)
    register_error_handlers(it, lambda kind: None)
    it.register_blueprint(blueprint(log, live_models, max_body=4096, max_rows=10))
    return it


def answered(log: PredictionLog, *predictions: Any, **changes: Any) -> list[str]:
    """Log an answered request; give the ids of its predictions."""
    options: dict[str, Any] = {"id": new_id(), "at": time.time(), "use_case": NAME, "version": 1, "status": 200}
    options |= {"seconds": 0.002, "columns": ["x"], "rows": [[1]] * len(predictions), "predictions": list(predictions)}
    options |= {"labels": [("not interested", "interested")[each] for each in predictions if each in {0, 1}]}
    assert log.write(Entry(**options | changes))
    return [prediction_id(options["id"], row) for row in range(len(predictions))]


def priced(log: PredictionLog, *predictions: float) -> list[str]:
    return answered(log, *predictions, use_case=PRICE, version=4, labels=None)


def stats(client: FlaskClient, log: PredictionLog, query: str = "") -> dict[str, Any]:
    assert log.wait_until_ingested(10)
    answer = client.get(f"/stats{query}")
    assert (answer.status_code, answer.content_type) == (200, "application/json"), answer.text
    totals: dict[str, Any] = answer.json
    return totals


# --- feedback ---------------------------------------------------------------------------------------------------------


def test_true_labels_are_joined_to_predictions_that_still_lie_in_the_spool(
    client: FlaskClient, log: PredictionLog
) -> None:
    a, b, c = answered(log, 0, 1, 1)
    assert client.post("/feedback", json={"prediction_id": a, "label": 0}).json == {"stored": 1}
    both = [{"prediction_id": b, "label": "interested"}, {"prediction_id": c, "label": "not interested"}]
    assert client.post("/feedback", json={"feedback": both}).json == {"stored": 2}
    [totals] = stats(client, log)["use_cases"]
    assert (totals["feedback"], totals["accuracy"]) == (3, 2 / 3)
    with log.store.read_transaction() as connection:
        assert connection.execute("SELECT row, truth FROM feedback ORDER BY row").fetchall() == [(0, 0), (1, 1), (2, 0)]


def test_a_second_label_replaces_the_first(client: FlaskClient, log: PredictionLog) -> None:
    a, b = answered(log, 1, 1)
    for label, accuracy in ((1, 1.0), (1, 1.0), ("interested", 1.0), (0, 0.0), (0, 0.0), (1, 1.0)):
        assert client.post("/feedback", json={"prediction_id": a, "label": label}).status_code == 200
        [totals] = stats(client, log)["use_cases"]
        assert (totals["feedback"], totals["accuracy"]) == (1, accuracy)
    twice = [{"prediction_id": b, "label": 0}, {"prediction_id": b, "label": 1}]
    assert client.post("/feedback", json={"feedback": twice}).status_code == 200
    [totals] = stats(client, log)["use_cases"]
    assert (totals["feedback"], totals["accuracy"]) == (2, 1.0)


def test_a_regression_has_a_mean_absolute_error(client: FlaskClient, log: PredictionLog) -> None:
    a, b = priced(log, 10.0, 20.5)
    both = [{"prediction_id": a, "label": 12}, {"prediction_id": b, "label": 20.0}]
    assert client.post("/feedback", json={"feedback": both}).status_code == 200
    [totals] = stats(client, log)["use_cases"]
    assert (totals["feedback"], totals["mean_absolute_error"]) == (2, 1.25)
    assert client.post("/feedback", json={"prediction_id": a, "label": 10}).status_code == 200
    [totals] = stats(client, log)["use_cases"]
    assert (totals["feedback"], totals["mean_absolute_error"], totals["predictions"]) == (2, 0.25, {})
    assert "accuracy" not in totals


def test_a_corrected_label_leaves_no_trace(client: FlaskClient, log: PredictionLog) -> None:
    a, b = priced(log, 10.1, 20.3)
    for label in (1e20, -1e38, 0.1, 1e17, 10.1):
        assert client.post("/feedback", json={"prediction_id": a, "label": label}).status_code == 200
    assert client.post("/feedback", json={"prediction_id": b, "label": 20.2}).status_code == 200
    [totals] = stats(client, log)["use_cases"]
    assert (totals["feedback"], totals["mean_absolute_error"]) == (2, (20.3 - 20.2) / 2)
    for label in (1e39, -1e308, 1e400):
        assert client.post("/feedback", json={"prediction_id": a, "label": label}).status_code in (400, 422)


def test_a_log_of_the_former_schema_keeps_its_sums(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with closing(sqlite3.connect(store.path)) as connection:
        connection.executescript(f"{SCHEMAS[0]}; PRAGMA user_version = 1")
        for hour, error in ((1, 2.5), (2, 0.1), (3, float("inf"))):
            connection.execute("INSERT INTO totals VALUES (?, 'rent', 1, 1, 1, 1, 0, ?)", (hour, error))
        connection.commit()
    store.open().close()
    with store.read_transaction() as connection:
        [total] = connection.execute("SELECT exact_sum(exact_error) FROM totals").fetchone()
    assert mean(total, 1) == 2.6


def test_an_unknown_id_is_named_and_nothing_of_its_request_is_stored(client: FlaskClient, log: PredictionLog) -> None:
    [a] = answered(log, 1)
    beyond = f"{a[:-1]}1"  # the request is known, and has no such row
    three = [{"prediction_id": id_, "label": 1} for id_ in (a, UNKNOWN, beyond)]
    problem_body = problem(client.post("/feedback", json={"feedback": three}), 404)
    assert [fault["pointer"] for fault in problem_body["errors"]] == [
        "/feedback/1/prediction_id",
        "/feedback/2/prediction_id",
    ]
    assert UNKNOWN in problem_body["errors"][0]["detail"]
    problem_body = problem(client.post("/feedback", json={"prediction_id": UNKNOWN, "label": 1}), 404)
    assert [fault["pointer"] for fault in problem_body["errors"]] == ["/prediction_id"]
    [totals] = stats(client, log)["use_cases"]
    assert totals["feedback"] == 0


def item(**changes: Any) -> dict[str, Any]:
    return {"prediction_id": "@", "label": 1} | changes


BAD: dict[str, tuple[Any, int, list[str]]] = {
    "not JSON": ("{", 400, []),
    "NaN": ('{"prediction_id": "@", "label": NaN}', 400, []),
    "a key twice": ('{"prediction_id": "@", "label": 1, "label": 0}', 400, []),
    "too large": ({"feedback": [item(label="x" * 5000)]}, 413, []),
    "eleven": ({"feedback": [item()] * 11}, 413, []),
    "null": (None, 422, [""]),
    "a list": ([item()], 422, [""]),
    "nothing": ({}, 422, ["/label", "/prediction_id"]),
    "none": ({"feedback": []}, 422, ["/feedback"]),
    "no list": ({"feedback": item()}, 422, ["/feedback"]),
    "beside it": ({"feedback": [item()], "label": 1}, 422, ["/feedback"]),
    "a text in the list": ({"feedback": [item(), "x"]}, 422, ["/feedback/1"]),
    "no label": ({"prediction_id": "@"}, 422, ["/label"]),
    "an unknown field": (item(why="x"), 422, [""]),
    "faults of two": (
        {"feedback": [{}, item(why=1)]},
        422,
        ["/feedback/0/label", "/feedback/0/prediction_id", "/feedback/1"],
    ),
    "a number for an id": (item(prediction_id=7), 422, ["/prediction_id"]),
    "no id": (item(prediction_id="7.0"), 422, ["/prediction_id"]),
    "an injection for an id": (item(prediction_id="' OR 1=1 --"), 422, ["/prediction_id"]),
    "an id without a row": (item(prediction_id="a" * 32), 422, ["/prediction_id"]),
    "an unknown label": (item(label=2), 422, ["/label"]),
    "an unknown name": (item(label="maybe"), 422, ["/label"]),
    "true": (item(label=True), 422, ["/label"]),
    "null for a label": (item(label=None), 422, ["/label"]),
    "a list for a label": ({"feedback": [item(), item(label=[1])]}, 422, ["/feedback/1/label"]),
    "10**400": (f'{{"prediction_id": "@", "label": 1{"0" * 400}}}', 422, ["/label"]),
    "1e999": ('{"prediction_id": "@", "label": 1e999}', 422, ["/label"]),
    "a price: a text": (item(prediction_id="$", label="1"), 422, ["/label"]),
    "a price: true": (item(prediction_id="$", label=True), 422, ["/label"]),
    "a price: 10**400": (f'{{"prediction_id": "$", "label": 1{"0" * 400}}}', 422, ["/label"]),
    "a price: 1e999": ('{"prediction_id": "$", "label": -1e999}', 422, ["/label"]),
}


@pytest.mark.parametrize(("body", "status", "pointers"), BAD.values(), ids=BAD)
def test_bad_feedback_is_a_client_error_with_a_pointer(
    body: Any, status: int, pointers: list[str], client: FlaskClient, log: PredictionLog
) -> None:
    [known], [price] = answered(log, 1), priced(log, 1.5)
    text = (body if isinstance(body, str) else json.dumps(body)).replace("@", known).replace("$", price)
    problem_body = problem(client.post("/feedback", data=text, content_type="application/json"), status)
    assert [fault["pointer"] for fault in problem_body.get("errors", [])] == pointers
    assert all(each["feedback"] == 0 for each in stats(client, log)["use_cases"])
    assert problem(client.post("/feedback", data=text, content_type="text/plain"), 415)


WIDE = dict.fromkeys(map(str, range(300_000)))
MANY = {
    "a wide object": WIDE,
    "wide objects": {"feedback": [{"prediction_id": UNKNOWN, "label": 0} | WIDE] * 1000},
    "empty objects": {"feedback": [{}] * 10_000},
    "beside a list": {"feedback": [{}]} | WIDE,
}


@pytest.mark.parametrize("value", MANY.values(), ids=MANY)
def test_many_errors_are_reported_in_little_memory(value: Any, log: PredictionLog, live_models: LiveModels) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadRow) as caught:
            feedback.store_labels(log, live_models, value, 10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 1 <= len(caught.value.errors) <= MAX_ERRORS
    assert peak < 2**20


def test_a_label_of_a_use_case_that_is_no_longer_served_is_a_503(client: FlaskClient, log: PredictionLog) -> None:
    [known_id] = answered(log, 1, use_case="gone")
    answer = client.post("/feedback", json={"prediction_id": known_id, "label": 1})
    problem(answer, 503)
    assert answer.headers["Retry-After"]


def test_while_nobody_ingests_an_unknown_id_is_not_called_unknown(live_models: LiveModels, tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, claim(tmp_path))
    client = app(log, live_models).test_client()
    [known_id] = answered(log, 1)
    answer = client.post("/feedback", json={"prediction_id": known_id, "label": 1})
    problem(answer, 503)
    assert answer.headers["Retry-After"]
    assert client.get("/stats").json["log"]["readable"] is False


def test_a_label_that_cannot_be_written_is_not_acknowledged(client: FlaskClient, log: PredictionLog) -> None:
    [known_id] = answered(log, 1)
    assert log.wait_until_ingested(10)
    log.close()
    spool = log.store.folder / "spool"
    spool.rename(log.store.folder / "away")
    spool.touch()
    answer = client.post("/feedback", json={"prediction_id": known_id, "label": 1})
    problem(answer, 503)
    assert log._spool.lost == 1


def test_damaged_tables_are_no_failure_of_a_view(client: FlaskClient, log: PredictionLog) -> None:
    [known_id] = answered(log, 1)
    assert log.wait_until_ingested(10)
    log.close()
    (log.store.folder / "predictions.sqlite").write_bytes(b"\xa5" * 10_000)
    assert client.get("/stats").json["log"]["readable"] is False
    problem(client.post("/feedback", json={"prediction_id": known_id, "label": 1}), 503)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_statistics_are_by_use_case_and_version(client: FlaskClient, log: PredictionLog) -> None:
    for milliseconds in range(1, 101):
        answered(log, 1, 0, 1, seconds=milliseconds / 1000)
    answered(log, 1, version=2, seconds=0.5)
    for kind in ("schema", "schema", "bad_request"):
        answered(log, status=422, kind=kind, labels=None, columns=[], seconds=9.0)
    answered(log, status=503, kind="service_unavailable", version=None, labels=None, columns=[])
    priced(log, 1.5)
    totals = stats(client, log)
    none, first, second, price = sorted(
        totals["use_cases"], key=lambda each: (each["use_case"] == PRICE, each["version"] or 0)
    )
    assert first == {
        "use_case": NAME,
        "version": 1,
        "requests": 103,
        "rows": 300,
        "refused": {"bad_request": 1, "schema": 2},
        "predictions": {"interested": 200, "not interested": 100},
        "latency": {"p50": 0.05, "p95": 0.095, "p99": 0.099, "requests": 100},
        "feedback": 0,
    }
    assert second["latency"] == {"p50": 0.5, "p95": 0.5, "p99": 0.5, "requests": 1}
    assert (none["version"], none["requests"], none["latency"]) == (None, 1, None)
    assert (price["use_case"], price["predictions"], price["rows"]) == (PRICE, {}, 1)
    assert totals["log"]["readable"]
    assert totals["log"]["bytes"] > 10_000
    assert totals["log"]["backlog_bytes"] == 0
    assert stats(client, log, f"?use_case={PRICE}")["use_cases"] == [price]


def test_hours_count_from_the_beginning_of_an_hour(client: FlaskClient, log: PredictionLog) -> None:
    now = time.time()
    for hours in (0, 1, 5, 100):
        answered(log, 1, at=now - hours * 3600)
    for hours, many in ((1, 2), (4, 2), (5, 3), (99, 3), (100, 4)):
        totals = stats(client, log, f"?hours={hours}")
        assert [each["requests"] for each in totals["use_cases"]] == [many]
        assert totals["since"].endswith(":00:00+00:00")
    assert stats(client, log)["since"] is None


@pytest.mark.parametrize(
    "query",
    [
        *("hours=0", "hours=-1", "hours=", "hours=1.5", "hours=x", "hours=1e3", "hours=99999999", "hours=%D9%A3"),
        *("hours=1%0A", "hour=1", "hours=1&hours=2", "use_case=a&use_case=b", "use_case=a&x=1", "hours=" + "9" * 5000),
    ],
)
def test_a_bad_query_is_a_problem(query: str, client: FlaskClient) -> None:
    problem_body = problem(client.get(f"/stats?{query}"), 400)
    assert len(problem_body["detail"]) < 300


@pytest.mark.parametrize("name", ["intruder", "", "%00", "' OR 1=1 --", "🚗"])
def test_an_unknown_use_case_is_a_404_that_lists_the_known_ones(name: str, client: FlaskClient) -> None:
    assert NAME in problem(client.get("/stats", query_string={"use_case": name}), 404)["detail"]


def test_a_known_use_case_without_requests_is_empty(client: FlaskClient, log: PredictionLog) -> None:
    assert stats(client, log, f"?use_case={NAME}")["use_cases"] == []


def test_a_long_log_costs_no_more_than_a_short_one(log: PredictionLog) -> None:
    """Three times the requests, the same work of SQLite, counted in steps of its machine."""

    def steps() -> int:
        done = []
        assert log.wait_until_ingested(20)
        with log.store.read_transaction() as connection:
            connection.set_progress_handler(lambda: done.append(1), 1)
            [case] = _cases(connection, 0, None)
        assert case["latency"]["requests"] == SAMPLE
        return len(done)

    for _ in range(SAMPLE + 500):
        answered(log, 1)
    short = steps()
    for _ in range(2 * SAMPLE + 1000):
        answered(log, 1)
    assert SAMPLE < steps() < 1.1 * short
