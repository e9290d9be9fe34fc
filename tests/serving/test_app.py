"""The service: what it answers, over a real registry and under its real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sklearn.ensemble import RandomForestClassifier

from serving.app import AppOptions, create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.prediction_log.prediction_log import PredictionLog
from serving.server import worker_lock
from tests.support.service import PREDICT, problem
from tests.support.small_models import NAME, OTHER, ROW, loaded_model, model, probabilities, promote, push
from updraft.model.model import Model
from updraft.registry.registry import Registry

ROOT = Path(__file__).parents[2]
TRAINED = loaded_model()


@pytest.fixture
def live_models(registry: Registry, tmp_path: Path) -> LiveModels:
    """No live model yet."""
    return LiveModels(registry, Cache(tmp_path / "cache"))


def samples(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """Read /metrics as {(name, label values in the order of the labels' names …): value}."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


# --- answers ----------------------------------------------------------------------------------------------------------


def test_one_row_is_answered_with_lists_of_one(client: FlaskClient) -> None:
    answer = client.post(PREDICT, json=ROW)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.headers["X-Model-Version"] == "1"
    assert answer.json == {
        "use_case": NAME,
        "version": 1,
        "threshold": 0.3,
        "predictions": [1],
        "labels": ["interested"],
        "probabilities": probabilities(TRAINED, ROW),
        "warnings": [],
    }


def test_a_batch_is_answered_in_its_order(client: FlaskClient) -> None:
    rows = [OTHER, ROW, OTHER | {"id": 7}]
    answer = client.post(PREDICT, json={"rows": rows}).json
    assert answer["probabilities"] == probabilities(TRAINED, OTHER, ROW, OTHER)
    assert answer["predictions"] == [0, 1, 0]
    assert answer["labels"] == ["not interested", "interested", "not interested"]


def test_it_decides_at_the_threshold_that_was_evaluated(client: FlaskClient) -> None:
    """A tutorial evaluated at 0.7 and served at 0.5: rows between 0.3 and 0.5 tell the difference."""
    rows = [ROW | {"Age": age, "Vehicle_Damage": damage} for age in range(18, 43) for damage in ("Yes", "No")]
    answer = client.post(PREDICT, json={"rows": rows}).json
    between = [label for label, p in zip(answer["predictions"], answer["probabilities"], strict=True) if 0.3 <= p < 0.5]
    assert between
    assert set(between) == {1}
    assert answer["predictions"] == [int(p >= 0.3) for p in answer["probabilities"]]


@pytest.mark.parametrize(
    "row",
    [
        ROW | {"Age": 44.0},  # a whole number is one, however it is written
        ROW | {"Region_Code": 28},
        ROW | {"id": 5},
        ROW | {"id": None},
        dict(reversed(ROW.items())),
    ],
    ids=["float for int", "int for float", "id", "null id", "other order"],
)
def test_the_same_row_in_another_dress_is_the_same_row(row: dict[str, Any], client: FlaskClient) -> None:
    assert client.post(PREDICT, json=row).json["probabilities"] == probabilities(TRAINED, ROW)


def test_a_charset_and_a_byte_order_mark_are_accepted(client: FlaskClient) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(ROW).encode()
    assert client.post(PREDICT, data=body, content_type="application/json; charset=utf-8").status_code == 200


def test_the_index_the_models_and_both_kinds_of_health(client: FlaskClient) -> None:
    assert client.get("/").json["use_cases"] == [NAME]
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ready", "versions": {NAME: 1}}
    [summary] = client.get("/models").json["models"]
    loaded_at = summary.pop("loaded_at")
    assert loaded_at.endswith("+00:00")
    assert summary.pop("last_move").pop("when")[:2] == "20"
    assert summary == {
        "use_case": NAME,
        "title": "Would a customer buy vehicle insurance?",
        "version": 1,
        "candidate": "random_forest",
        "form": "pipeline",
        "form_reason": "the version has no compiled form",
        "threshold": 0.3,
        "metrics": {"f1": 0.5},
        "run_id": "run",
        "production": 1,
        "refused": None,
    }


# --- errors -----------------------------------------------------------------------------------------------------------

ONE = json.dumps(ROW)


def one(**changes: Any) -> str:
    return json.dumps(ROW | changes)


def raw(name: str, text: str) -> str:
    """Make a row with a value of which json.dumps would not think."""
    return one(**{name: "@"}).replace('"@"', text)


BAD: dict[str, tuple[str | bytes, int, list[str]]] = {
    # what is not JSON
    "nothing": (b"", 400, []),
    "a space": (" ", 400, []),
    "a word": ("hello", 400, []),
    "half": (ONE[:-5], 400, []),
    "two": (ONE + ONE, 400, []),
    "single quotes": ("{'Age': 44}", 400, []),
    "trailing comma": (ONE[:-1] + ",}", 400, []),
    "a comment": (ONE + "//", 400, []),
    "NaN": (raw("Annual_Premium", "NaN"), 400, []),
    "Infinity": (raw("Annual_Premium", "Infinity"), 400, []),
    "-Infinity": (raw("Annual_Premium", "-Infinity"), 400, []),
    "latin-1": ('{"Gender": "Fräulein"}'.encode("latin-1"), 400, []),
    "utf-16": (ONE.encode("utf-16"), 400, []),
    "a null byte": (b"\0", 400, []),
    "a null byte in a string": (b'{"Gender": "\0"}', 400, []),
    "a newline in a string": ('{"Gender": "Ma\nle"}', 400, []),
    "deep lists": ("[" * 20_000 + "]" * 20_000, 400, []),
    "deep objects": ('{"a":' * 10_000 + "1" + "}" * 10_000, 400, []),
    "deep and open": ("[" * 60_000, 400, []),
    "5,000 digits": (raw("Age", "9" * 5_000), 400, []),
    "5,000 digits in the id": (raw("id", "9" * 5_000), 400, []),
    "a key twice": (ONE[:-1] + ', "Age": 45}', 400, []),
    "rows twice": ('{"rows": [], "rows": []}', 400, []),
    "half a surrogate pair": (raw("Gender", r'"\ud800"'), 400, []),
    "half a surrogate pair as a key": (ONE[:-1] + r', "\uDFFF": 1}', 400, []),
    # JSON, but no rows
    "null": ("null", 422, [""]),
    "a number": ("17", 422, [""]),
    "a string": ('"Age"', 422, [""]),
    "true": ("true", 422, [""]),
    "a bare list": (f"[{ONE}]", 422, [""]),
    "no rows": ('{"rows": []}', 422, ["/rows"]),
    "rows and more": (f'{{"rows": [{ONE}], "threshold": 0.1}}', 422, ["/rows"]),
    "51 rows": (json.dumps({"rows": [{}] * 51}), 413, []),
    "70,000 bytes": (one(Gender="M" * 70_000), 413, []),
    # rows that do not fit
    "an empty row": ("{}", 422, [f"/{name}" for name in ROW]),
    "rows is an object": (f'{{"rows": {ONE}}}', 422, [*(f"/{name}" for name in ROW), "/rows"]),
    "rows is null": ('{"rows": null}', 422, [*(f"/{name}" for name in ROW), "/rows"]),
    "a row is null": ('{"rows": [null]}', 422, ["/rows/0"]),
    "a row is a list": ('{"rows": [[1, 2]]}', 422, ["/rows/0"]),
    "the second row": (json.dumps({"rows": [ROW, ROW | {"Age": 1}]}), 422, ["/rows/1/Age"]),
    "two rows": (json.dumps({"rows": [ROW | {"Age": 1}, ROW | {"Gender": 1}]}), 422, ["/rows/0/Age", "/rows/1/Gender"]),
    "all faults of a row": (one(Age=1, Gender="X", Vintage=None), 422, ["/Gender", "/Age", "/Vintage"]),
    "an unknown field": (one(Colour="red"), 422, ["/Colour"]),
    "a field with a slash": (one(**{"a/b~c": 1}), 422, ["/a~1b~0c"]),
    "a field of other case": (ONE.replace("Age", "age", 1), 422, ["/Age", "/age"]),
    "null for a number": (one(Age=None), 422, ["/Age"]),
    "null for a text": (one(Gender=None), 422, ["/Gender"]),
    "a text for an integer": (one(Age="44"), 422, ["/Age"]),
    "a text for a float": (one(Annual_Premium="40454"), 422, ["/Annual_Premium"]),
    "a number for a text": (one(Gender=1), 422, ["/Gender"]),
    "true for an integer": (one(Driving_License=True), 422, ["/Driving_License"]),
    "true for a float": (one(Region_Code=True), 422, ["/Region_Code"]),
    "false for a text": (one(Vehicle_Damage=False), 422, ["/Vehicle_Damage"]),
    "a fraction for an integer": (one(Age=44.5), 422, ["/Age"]),
    "10**30": (one(Age=10**30), 422, ["/Age"]),
    "10**30 for a float": (one(Annual_Premium=10**30), 422, ["/Annual_Premium"]),
    "4,000 digits for a float": (raw("Annual_Premium", "9" * 4_000), 422, ["/Annual_Premium"]),
    "4,000 digits for an integer": (raw("Age", "9" * 4_000), 422, ["/Age"]),
    "1e999": (raw("Annual_Premium", "1e999"), 422, ["/Annual_Premium"]),
    "-1e999 for an integer": (raw("Age", "-1e999"), 422, ["/Age"]),
    "1e30 for an integer": (raw("Age", "1e30"), 422, ["/Age"]),
    "out of range, low": (one(Age=17), 422, ["/Age"]),
    "out of range, high": (one(Annual_Premium=1_000_001), 422, ["/Annual_Premium"]),
    "an unknown category": (one(Vehicle_Age="3 Years"), 422, ["/Vehicle_Age"]),
    "an empty text": (one(Gender=""), 422, ["/Gender"]),
    "a text with a null byte": (one(Gender="Male\0"), 422, ["/Gender"]),
    "a whole surrogate pair": (one(Gender="🚗"), 422, ["/Gender"]),
    "an object as a value": (one(Age={"value": 44}), 422, ["/Age"]),
    "a list as a value": (one(Age=[44]), 422, ["/Age"]),
    "a list as a text": (one(Gender=["Male"]), 422, ["/Gender"]),
    "deep, but not too deep": (raw("Age", "[" * 300 + "]" * 300), 422, ["/Age"]),
    "an SQL injection": (one(Gender="'; DROP TABLE rows; --"), 422, ["/Gender"]),
    "a template": (one(Gender="{{7*7}}{% raise %}%s%n"), 422, ["/Gender"]),
}


@pytest.mark.parametrize(("body", "status", "pointers"), BAD.values(), ids=BAD)
def test_a_bad_body_is_a_client_error_with_a_pointer(
    body: str | bytes, status: int, pointers: list[str], client: FlaskClient
) -> None:
    problem_body = problem(client.post(PREDICT, data=body, content_type="application/json"), status)
    faults = problem_body.get("errors", [])
    assert [fault["pointer"] for fault in faults] == pointers
    assert all(fault["detail"] for fault in faults)
    assert len(json.dumps(problem_body)) < 4_000
    assert client.post(PREDICT, data=ONE, content_type="application/json").status_code == 200


def test_at_most_a_hundred_errors_are_reported(client: FlaskClient) -> None:
    problem_body = problem(client.post(PREDICT, json={"rows": [{}] * 50}), 422)
    assert len(problem_body["errors"]) == 100


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "é"]
)
def test_another_content_type_is_refused(kind: str | None, client: FlaskClient) -> None:
    problem(client.post(PREDICT, data=ONE, content_type=kind), 415)


def test_an_encoded_body_is_refused(client: FlaskClient) -> None:
    answer = client.post(PREDICT, data=ONE, content_type="application/json", headers={"Content-Encoding": "gzip"})
    assert "gzip" in problem(answer, 415)["detail"]


def test_an_unknown_use_case_is_a_404_that_lists_the_known_ones(client: FlaskClient) -> None:
    assert NAME in problem(client.post("/predict/insurance", json=ROW), 404)["detail"]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/predict", "/predict/", f"{PREDICT}/1", "/predict/..%2f..%2fetc", "/models/%00/nowhere"]
)
def test_another_path_is_not_found(path: str, client: FlaskClient) -> None:
    problem(client.post(path, json=ROW), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", PREDICT), ("DELETE", "/models"), ("POST", "/healthz"), ("PUT", "/"), ("POST", "/models/%00")],
)
def test_another_method_is_a_405_that_lists_the_allowed_ones(method: str, path: str, client: FlaskClient) -> None:
    answer = client.open(path, method=method)
    problem(answer, 405)
    assert answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/reload", "/admin", "/predict", "/train/x/y/z"])
def test_nobody_can_train_or_reload_over_http(path: str, client: FlaskClient) -> None:
    """A tutorial had GET /train open to the world."""
    assert client.get(path).status_code == client.post(path).status_code == 404


class Moody(RandomForestClassifier):
    """Answers its example, and nothing of an Age above 90."""

    answer = "raises"

    def predict_proba(self, X: Any) -> Any:
        scores = super().predict_proba(X)
        if X[:, -7].max() > 1.6:
            if self.answer == "raises":
                raise RuntimeError(f"secret of {ROOT}")
            scores[:] = float("nan")
        return scores


class Numb(Moody):
    """Answers NaN for an Age above 90."""

    answer = "nan"


@pytest.mark.parametrize("estimator", [Moody(), Numb()], ids=["raises", "answers NaN"])
def test_a_model_that_fails_on_a_good_row_is_our_fault_and_counted(
    estimator: Moody, live_models: LiveModels, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(registry, push(registry, tmp_path / "run", model(estimator=estimator)))
    live_models.refresh()
    client = create_app(live_models).test_client()
    assert client.post(PREDICT, json=ROW).status_code == 200
    problem_body = problem(client.post(PREDICT, json=ROW | {"Age": 100}), 500)
    assert "secret" not in json.dumps(problem_body)
    assert problem_body["instance"] in caplog.text
    assert "Traceback" in caplog.text
    counted = samples(client)
    assert counted["updraft_requests_total", "predict", "500"] == 1
    assert counted["updraft_errors_total", "model"] == 1
    assert counted["updraft_rows_total", NAME] == 1


# --- before a model is there, and metrics ----------------------------------------------------------------------------


def test_liveness_and_readiness_differ(live_models: LiveModels, registry: Registry, tmp_path: Path) -> None:
    """A tutorial said "healthy" with no model loaded."""
    client = create_app(live_models).test_client()
    assert client.get("/healthz").status_code == 200
    for asked in (False, True):  # before the first round, and after one that found nothing
        if asked:
            live_models.refresh()
        answer = client.get("/readyz")
        problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    version = push(registry, tmp_path / "run", TRAINED)
    live_models.refresh()
    assert client.get("/readyz").status_code == 503
    assert client.get("/models").json["models"] == [{"use_case": NAME, "version": None, "refused": None}]
    promote(registry, version)
    live_models.refresh()
    assert client.get("/readyz").status_code == 200


def test_a_use_case_without_a_model_is_unavailable_and_an_unknown_one_is_not_found(
    live_models: LiveModels, registry: Registry, tmp_path: Path
) -> None:
    client = create_app(live_models).test_client()
    assert client.post(PREDICT, json=ROW).status_code == 503  # who knows? nobody has reached the registry yet
    push(registry, tmp_path / "run", TRAINED)
    live_models.refresh()
    answer = client.post(PREDICT, json=ROW)
    problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    problem(client.post("/predict/vehicle_price", json=ROW), 404)


def test_metrics_count_failures_too_and_make_no_series_of_what_callers_write(loaded: LiveModels) -> None:
    """A tutorial counted only successes."""
    client = create_app(loaded).test_client()
    client.post(PREDICT, json={"rows": [ROW, OTHER, OTHER]})
    client.post(PREDICT, json={})
    client.post(PREDICT, data="?", content_type="application/json")
    for name in ("intruder-1", "intruder-2"):
        client.post(f"/predict/{name}", json=ROW)
        client.get(f"/{name}")
    counted = samples(client)
    assert counted["updraft_requests_total", "predict", "200"] == 1
    assert counted["updraft_requests_total", "predict", "422"] == 1
    assert counted["updraft_requests_total", "predict", "400"] == 1
    assert counted["updraft_requests_total", "predict", "404"] == 2
    assert counted["updraft_requests_total", "pages.ask", "404"] == 2
    assert counted["updraft_errors_total", "schema"] == 1
    assert counted["updraft_errors_total", "bad_request"] == 1
    assert counted["updraft_errors_total", "not_found"] == 4
    assert counted["updraft_rows_total", NAME] == 3
    assert counted["updraft_predictions_total", "interested", NAME] == 1
    assert counted["updraft_predictions_total", "not interested", NAME] == 2
    assert counted["updraft_request_seconds_count", "predict"] == 5
    assert counted["updraft_model_version", NAME] == 1
    assert counted["updraft_registry_up",] == 1
    assert not [key for key in counted if "intruder" in "".join(key)]


def test_a_refused_version_is_reported_and_counted(live_models: LiveModels, registry: Registry, tmp_path: Path) -> None:
    client = create_app(live_models).test_client()
    promote(registry, push(registry, tmp_path / "good", TRAINED))
    live_models.refresh()
    bad = push(registry, tmp_path / "bad", TRAINED, spoil=lambda folder: (folder / "model.joblib").write_bytes(b"?"))
    promote(registry, bad)
    live_models.refresh()
    [summary] = client.get("/models").json["models"]
    assert (summary["version"], summary["refused"]["version"]) == (1, 2)
    assert "does not load" in summary["refused"]["reason"]
    assert str(tmp_path) not in client.get("/models").text
    assert samples(client)["updraft_refused_versions_total", NAME] == 1
    assert client.post(PREDICT, json=ROW).headers["X-Model-Version"] == "1"


def test_values_that_a_use_case_only_warns_about_are_accepted(
    live_models: LiveModels, registry: Registry, tmp_path: Path
) -> None:
    lenient = {"warn_out_of_range": ("Annual_Premium",), "warn_unseen": ("Region_Code",)}
    signature = TRAINED.signature.model_copy(update=lenient)
    promote(registry, push(registry, tmp_path / "run", Model(signature, TRAINED.pipeline)))
    live_models.refresh()
    client = create_app(live_models).test_client()
    odd = ROW | {"Annual_Premium": 2e6}
    answer = client.post(PREDICT, json={"rows": [ROW, odd]})
    assert answer.status_code == 200
    assert [each["pointer"] for each in answer.json["warnings"]] == ["/rows/1/Annual_Premium"]
    assert "is not between" in answer.json["warnings"][0]["detail"]
    assert client.post(PREDICT, json=odd).json["warnings"][0]["pointer"] == "/Annual_Premium"
    assert samples(client)["updraft_warnings_total", NAME] == 2
    problem(client.post(PREDICT, json=odd | {"Age": 5}), 422)


def test_answers_carry_ids_when_they_are_logged_and_none_when_they_cannot_be(
    loaded: LiveModels, tmp_path: Path
) -> None:
    log = PredictionLog(tmp_path, worker_lock.claim(tmp_path))
    client = create_app(loaded, AppOptions(prediction_log=log)).test_client()
    ids = client.post(PREDICT, json={"rows": [ROW, OTHER]}).json["prediction_ids"]
    assert [each.rpartition(".")[2] for each in ids] == ["0", "1"]
    assert len({each.partition(".")[0] for each in ids}) == 1
    (tmp_path / "spool").rename(tmp_path / "away")
    (tmp_path / "spool").write_text("in the way")
    log.close()
    answer = client.post(PREDICT, json=ROW)
    assert (answer.status_code, "prediction_ids" in answer.json) == (200, False)
    assert samples(client)["updraft_unlogged_total",] == 1
