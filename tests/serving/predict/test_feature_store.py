"""Columns that requests leave out, from a feature store: a real HTTP server that answers as Feast's does."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from serving.app import AppOptions, create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.predict import feature_client, feature_lookup
from tests.support.feast_stand_in import FeastStandIn
from tests.support.key_pairs import write_key_pair
from tests.support.odd_requests import HEADER
from tests.support.service import granian, problem, service, until
from tests.support.small_cases import integer
from tests.support.small_models import NAME, ROW, loaded_model, promote, push
from tests.support.web_server import Answer, WebServer, web_server
from updraft.local_stack.servers import free_port
from updraft.model.feature_store import FeatureStore
from updraft.model.model import Model
from updraft.registry.registry import open_registry

STORED = ("Age", "Vintage", "Annual_Premium")
SENT = {name: value for name, value in ROW.items() if name not in STORED}
KNOWN = {1: {name: ROW[name] for name in STORED}, 2**60 + 1: {"Age": 21, "Vintage": 10, "Annual_Premium": 2630.0}}
PREDICT = f"/predict/{NAME}"


@pytest.fixture(scope="module")
def stand_in() -> FeastStandIn:
    return FeastStandIn("insured", "customer", {**KNOWN, 3: KNOWN[1] | {"Age": None}, 4: KNOWN[1] | {"Age": 700}})


@pytest.fixture(scope="module")
def feast(stand_in: FeastStandIn) -> Iterator[WebServer]:
    with web_server(stand_in.answer) as running:
        yield running


@pytest.fixture(scope="module")
def environ(feast: WebServer, s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stored")
    environ = {**s3, **write_key_pair(folder), "UPDRAFT_REGISTRY": f"s3://test-features/{secrets.token_hex(6)}"}
    model = loaded_model()
    where = FeatureStore(url=feast.url, entity=integer("customer"), view="insured", columns=STORED, timeout_seconds=10)
    signature = model.signature.model_copy(update={"store": where, "left_out": ("customer", "notes")})
    registry = open_registry(environ)
    promote(registry, push(registry, folder / "run", Model(signature, model.pipeline)))
    return environ


@pytest.fixture(scope="module")
def live_models(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> LiveModels:
    live_models = LiveModels(open_registry(environ), Cache(tmp_path_factory.mktemp("cache")))
    assert live_models.refresh(), live_models.refusals
    return live_models


@pytest.fixture
def client(live_models: LiveModels, stand_in: FeastStandIn) -> FlaskClient:
    stand_in.instead = None
    stand_in.asked.clear()
    return create_app(live_models, AppOptions(features_token="open-sesame")).test_client()


def metrics(client: FlaskClient) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("updraft_feature"))
    names = {key: re.sub(r',?use_case="\w+"', "", key).replace("{}", "") for key in found}
    return {names[key]: float(value) for key, value in found.items() if "_created" not in key and "_bucket" not in key}


def test_a_row_that_leaves_out_columns_is_answered_as_the_whole_row(
    client: FlaskClient, stand_in: FeastStandIn, feast: WebServer
) -> None:
    whole = client.post(PREDICT, json=ROW).json
    assert stand_in.asked == []
    answer = client.post(PREDICT, json={**SENT, "customer": 1}).json
    assert answer == whole and "warnings" in answer and answer["warnings"] == []
    assert stand_in.asked == [{
        "features": [f"insured:{name}" for name in STORED], "entities": {"customer": [1]}, "full_feature_names": False,
    }]  # fmt: skip
    assert feast.requests[-1].headers["authorization"] == "Bearer open-sesame"
    counted = metrics(client)
    assert counted['updraft_feature_lookups_total{outcome="ok"}'] == 1
    assert (counted["updraft_feature_entities_total"], counted["updraft_feature_lookup_seconds_count"]) == (1, 1)


def test_what_is_sent_counts_and_only_what_is_absent_is_asked_for(client: FlaskClient, stand_in: FeastStandIn) -> None:
    sent = {**SENT, "Age": 21, "Annual_Premium": 2630.0, "customer": 1}
    answer = client.post(PREDICT, json=sent).json
    assert stand_in.asked[0]["features"] == ["insured:Vintage"]
    assert answer == client.post(PREDICT, json={**sent, "Vintage": ROW["Vintage"]}).json
    assert len(stand_in.asked) == 1


def test_many_rows_are_one_call_for_those_that_lack_something(client: FlaskClient, stand_in: FeastStandIn) -> None:
    big = 2**60 + 1
    short = [SENT | {"customer": 1}, ROW, SENT | {"customer": big}, SENT | {"customer": 1, "Age": 30}]
    whole = [ROW, ROW, SENT | KNOWN[big], ROW | {"Age": 30}]
    answer = client.post(PREDICT, json={"rows": short})
    assert answer.json == client.post(PREDICT, json={"rows": whole}).json
    assert [each["entities"] for each in stand_in.asked] == [{"customer": [1, big]}]
    lines = "\n".join(map(json.dumps, short))
    assert client.post(PREDICT, data=lines, content_type="application/jsonl").json == answer.json
    names = list(SENT)
    columns = {name: [SENT[name]] * 2 for name in names} | {"customer": [1, big]}
    expected = client.post(PREDICT, json={"rows": [ROW, SENT | KNOWN[big]]}).json
    assert client.post(PREDICT, json={"columns": columns}).json == expected
    cells = ",".join(str(SENT[name]) for name in names)
    text = f"{','.join([*names, 'customer'])}\n{cells},1\n{cells},{big}\n"
    assert client.post(PREDICT, data=text, content_type="text/csv").json == expected
    assert len(stand_in.asked) == 4


@pytest.mark.parametrize(("customer", "pointer", "message"), [
    ({}, "/customer", "required and missing: by it the feature store is asked for Age, Vintage, Annual_Premium"),
    ({"customer": None}, "/customer", "required and missing"),
    ({"customer": "x"}, "/customer", "is not a whole number"),
    ({"customer": 99}, "/customer", "99 is unknown to the feature store, which was asked for Age, Vintage"),
    ({"customer": 3}, "/Age", "null where int64 is required, in the feature store"),
    ({"customer": 4}, "/Age", "700 is not between 18 and 100, in the feature store"),
])  # fmt: skip
def test_what_is_missing_or_wrong_is_named(
    client: FlaskClient, customer: dict[str, Any], pointer: str, message: str
) -> None:
    (error,) = problem(client.post(PREDICT, json={**SENT, **customer}), 422)["errors"]
    assert error["pointer"] == pointer and message in error["detail"], error


def test_a_header_without_the_key_is_refused_and_other_missing_columns_are_still_missing(client: FlaskClient) -> None:
    errors = problem(client.post(PREDICT, data="Gender\nMale\n", content_type="text/csv"), 422)["errors"]
    details = " ".join(error["detail"] for error in errors)
    assert "required and missing: by it the feature store is asked for" in details and "Region_Code" in details
    assert "required and missing: Age" not in details


def status(code: int, body: bytes = b"{}", **headers: str) -> Any:
    return lambda _: Answer(body, code, headers)


@pytest.mark.parametrize(("instead", "code", "message"), [
    (status(500, b'"boom: customer 1"'), 503, "did not respond: status 500."),
    (status(500, b"\"'Feature Age not found in projection insured'\""), 502, "feature view 'insured' has no Age."),
    (status(404, b'"{\\"class\\": \\"FeatureViewNotFoundException\\"}"'), 502, "it has no feature view 'insured'."),
    (status(401), 502, "the login is missing or not accepted"),
    (status(307, Location="http://127.0.0.1:1/get-online-features"), 502, "redirects are not followed"),
    (status(200, b"<html>"), 502, "is not what a Feast feature server sends"),
    (status(200, b'{"metadata": {"feature_names": []}, "results": []}'), 502, "has no Age, Vintage, Annual_Premium."),
    (lambda _: Answer(b"x" * 9, cut=2), 503, "did not respond"),
])  # fmt: skip
def test_a_store_without_a_usable_answer_is_a_problem_that_says_so(
    client: FlaskClient, stand_in: FeastStandIn, instead: Any, code: int, message: str
) -> None:
    stand_in.instead = instead
    answer = client.post(PREDICT, json={**SENT, "customer": 1})
    told = problem(answer, code)
    assert message in told["detail"] and "customer 1" not in told["detail"], told
    assert ("Retry-After" in answer.headers) == (code == 503)
    stand_in.instead = None
    assert client.post(PREDICT, json={**SENT, "customer": 1}).status_code == 200


def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_client, "MAX_ANSWER", 100)
    assert "more than 100 bytes" in problem(client.post(PREDICT, json={**SENT, "customer": 1}), 502)["detail"]


def test_a_store_that_fails_is_left_alone_for_a_while(
    client: FlaskClient, stand_in: FeastStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_lookup, "FIRST_PAUSE", 600.0)
    monkeypatch.setattr(feature_lookup, "LONGEST_PAUSE", 600.0)
    stand_in.instead = status(503)
    for _ in range(3):
        assert (
            "did not respond: status 503" in problem(client.post(PREDICT, json={**SENT, "customer": 1}), 503)["detail"]
        )
    answer = client.post(PREDICT, json={**SENT, "customer": 1})
    assert "did not respond a moment ago" in problem(answer, 503)["detail"]
    assert 0 < int(answer.headers["Retry-After"]) <= 600 and len(stand_in.asked) == 3
    assert client.post(PREDICT, json=ROW).status_code == 200  # a whole row needs no store
    counted = metrics(client)
    assert counted['updraft_feature_lookups_total{outcome="failed"}'] == 3
    assert counted['updraft_feature_lookups_total{outcome="paused"}'] == 1


def test_after_a_pause_a_store_is_asked_again(
    client: FlaskClient, stand_in: FeastStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_lookup, "FIRST_PAUSE", 0.01)
    stand_in.instead = status(503)
    for _ in range(5):
        problem(client.post(PREDICT, json={**SENT, "customer": 1}), 503)
    stand_in.instead = None
    until(lambda: client.post(PREDICT, json={**SENT, "customer": 1}).status_code == 200)
    count = len(stand_in.asked)
    assert client.post(PREDICT, json={**SENT, "customer": 1}).status_code == 200 and len(stand_in.asked) == count + 1


def test_only_one_request_tries_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pause = feature_lookup.Pause()
    for _ in range(feature_lookup.FAILURES):
        assert pause.wait() == 0
        pause.failed()
    assert pause.wait() > 0
    monkeypatch.setattr(feature_lookup, "FIRST_PAUSE", 0.0)
    pause.failed()
    monkeypatch.setattr(feature_lookup, "FIRST_PAUSE", 600.0)
    assert pause.wait() == 0 and pause.wait() > 0
    assert pause.answered() and pause.wait() == 0


def test_a_store_that_is_silent_is_not_waited_for(
    client: FlaskClient, stand_in: FeastStandIn, feast: WebServer
) -> None:
    ended = threading.Event()
    stand_in.instead = lambda _: Answer(b"{}", 200 if ended.wait(120) else 500)
    silent = FeatureStore(
        url=feast.url, entity=integer("customer"), view="insured", columns=STORED, timeout_seconds=0.2
    )
    with pytest.raises(feature_client.StoreFailed, match=r"no answer within 0\.2 s") as failed:
        feature_client.FeatureClient().fetch(silent, [1], ["Age"])
    ended.set()
    assert failed.value.kind == "timeout"


def test_the_form_takes_an_empty_field_from_the_store(client: FlaskClient) -> None:
    page = client.get(f"/{NAME}", headers={"Accept": "text/html"}).text
    assert "value of customer" in page and "empty: looked up by customer" in page
    values = {f"value of {name}": str(value) for name, value in SENT.items()}
    asked = {"Accept": "text/html"}
    assert client.post(f"/{NAME}", data=values | {"value of customer": "1"}, headers=asked).status_code == 200
    refused = client.post(f"/{NAME}", data=values, headers=asked)
    assert refused.status_code == 422 and "required: a whole number" in refused.text


def test_openapi_does_not_require_what_the_store_has(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    texts = json.dumps(document)
    schemas = [each for each in _objects(document) if {"Gender", "customer"} <= set(each.get("properties", ()))]
    assert len(schemas) > 1 and "The key by which Age, Vintage, Annual_Premium are looked up." in texts
    for schema in schemas:
        assert "Gender" in schema["required"] and not set(STORED) & set(schema["required"])


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _objects(each)
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each)


def test_whole_rows_stay_in_the_event_loop_and_the_log_has_what_the_model_saw(
    environ: dict[str, str], stand_in: FeastStandIn, tmp_path: Path
) -> None:
    stand_in.instead = None
    port = free_port()
    command = [word.replace("serving.wsgi:", "tests.support.loop_app:") for word in granian(port)]
    secret = "open-sesame"
    own = {"SERVING_LOOP_MS": "1000", "SERVING_FEATURES_TOKEN": secret}
    with service(environ, tmp_path, command=command, port=port, **own) as it:
        it.until(1)
        whole, short, unknown = (
            it.ask("POST", PREDICT, json.dumps(row).encode())
            for row in (ROW, {**SENT, "customer": 1}, {**SENT, "customer": 99})
        )
        assert [answer[0] for answer in (whole, short, unknown)] == [200, 200, 422]
        assert HEADER in whole[1] and HEADER not in short[1]
        first, second = (json.loads(answer[2]) for answer in (whole, short))
        assert first.pop("prediction_ids") != second.pop("prediction_ids") and first == second
        database = tmp_path / "data" / "predictions.sqlite"
        until(lambda: database.exists() and len(_logged(database)) == 2)
        assert _logged(database)[0] == _logged(database)[1] == ROW
        explained = it.ask("POST", f"{PREDICT}?explain=false", json.dumps({**SENT, "customer": 1}).encode())
        assert explained[0] == 200
        until(lambda: b'outcome="unknown_entity"' in it.ask("GET", "/metrics")[2])
    assert secret not in it.log.read_text()


def _logged(database: Path) -> list[Any]:
    query = (
        "SELECT shapes.columns, input FROM predictions"
        " JOIN requests ON requests.number = request JOIN shapes ON shapes.number = shape"
    )
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'predictions'").fetchone():
            return []  # the ingester has only made the file
        found = connection.execute(query).fetchall()
    return [dict(zip(json.loads(names), json.loads(values), strict=True)) for names, values in found]


def test_a_store_that_does_not_listen_is_unreachable_at_once() -> None:
    address, key = f"http://127.0.0.1:{free_port()}", integer("customer")
    down = FeatureStore(url=address, entity=key, view="insured", columns=STORED, timeout_seconds=10)
    with pytest.raises(feature_client.StoreFailed) as failed:
        feature_client.FeatureClient().fetch(down, [1], ["Age"])
    assert failed.value.kind == "unreachable"
