"""`?explain=true`, and the form's Why: over the app, and over the real server beside the event loop's way."""

from __future__ import annotations

import json
import math
import re
import secrets
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from serving.app import AppOptions, create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support.compiled_models import compiled
from tests.support.key_pairs import write_key_pair
from tests.support.mixed_frames import FRAME
from tests.support.odd_requests import HEADER
from tests.support.service import granian, problem, service, until
from tests.support.small_models import NAME, ROW, loaded_model, promote, push
from updraft.learning.compile import served_form
from updraft.local_stack.servers import free_port
from updraft.model.compiled import explain
from updraft.model.compiled.layout import BASELINE
from updraft.model.model import Model
from updraft.registry.registry import Registry, open_registry
from updraft.usecase.blocks import EstimatorName

KINDS: dict[str, tuple[EstimatorName, str]] = {
    "boosted": ("HistGradientBoostingClassifier", "binary"),
    "forest": ("RandomForestClassifier", "multiclass"),
    "linear": ("Ridge", "regression"),
}
BROWSER = {"Accept": "text/html"}


def store(registry: Registry, folder: Path, name: str, *, baseline: bool = True, **more: Any) -> None:
    """Put a compiled model into production, as `evaluate` and `push` do."""
    model, _ = compiled(*KINDS[name])
    made = Model(model.signature.model_copy(update={"use_case": name} | more), model.pipeline)

    def add_compiled(out: Path) -> None:
        assert served_form.write(made, FRAME, FRAME, 1, out)["form"] == "compiled"
        if not baseline:
            (out / BASELINE).unlink()

    promote(registry, push(registry, folder / name, made, spoil=add_compiled))


@pytest.fixture(scope="module")
def environ(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("explained")
    environ = {**s3, **write_key_pair(folder), "UPDRAFT_REGISTRY": f"s3://test-explained/{secrets.token_hex(6)}"}
    registry = open_registry(environ)
    for name in KINDS:
        store(registry, folder, name, private=("colour",))
    promote(registry, push(registry, folder / "pipeline", loaded_model()))
    return environ


@pytest.fixture(scope="module")
def live_models(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> LiveModels:
    live_models = LiveModels(open_registry(environ), Cache(tmp_path_factory.mktemp("cache")))
    assert live_models.refresh(), live_models.refusals
    return live_models


@pytest.fixture
def client(live_models: LiveModels) -> FlaskClient:
    return create_app(live_models, AppOptions()).test_client()


def rows_of(live_models: LiveModels, name: str) -> list[dict[str, Any]]:
    example = live_models.live[name].model.signature.example
    return [example, example | {"holes": None, "colour": "red", "number": 1.75}, example | {"number": -2.5}]


@pytest.mark.parametrize("name", KINDS)
def test_contributions_by_column_add_up_to_the_score_of_the_answer(
    name: str, live_models: LiveModels, client: FlaskClient
) -> None:
    body = {"rows": rows_of(live_models, name)}
    answer = client.post(f"/predict/{name}?explain=true", json=body).get_json()
    plain = client.post(f"/predict/{name}", json=body).get_json()
    explanation = answer.pop("explanation")
    assert answer == plain
    assert "training rows" in explanation["reference"] and explanation["method"]
    for index, row in enumerate(explanation["rows"]):
        assert list(row["contributions"]) == list(live_models.live[name].model.signature.names)
        assert math.fsum([row["baseline"], *row["contributions"].values()]) == pytest.approx(row["score"], abs=1e-9)
        if name == "boosted":
            probability = plain["probabilities"][index]
            assert row["score"] == pytest.approx(math.log(probability / (1 - probability)))
            assert (explanation["scale"], row["label"]) == ("the log-odds of yes", "yes")
        elif name == "forest":
            assert row["label"] == plain["labels"][index]
            assert row["score"] == pytest.approx(plain["probabilities"][index][row["label"]])
        else:
            assert row["score"] == pytest.approx(plain["predictions"][index])
            assert explanation["scale"] == "y" and "label" not in row


@pytest.mark.parametrize("query", ["?explain=false", "?else=1", ""])
def test_without_it_there_is_no_explanation(query: str, live_models: LiveModels, client: FlaskClient) -> None:
    answer = client.post(f"/predict/linear{query}", json=rows_of(live_models, "linear")[0])
    assert answer.status_code == 200 and "explanation" not in answer.get_json()


def test_what_cannot_be_explained_is_refused_and_says_why(
    live_models: LiveModels, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows_of(live_models, "boosted")[0]
    pipeline = problem(client.post(f"/predict/{NAME}?explain=true", json=ROW), 409)
    assert "scikit-learn pipeline" in pipeline["detail"] and f"Version 1 of {NAME}" in pipeline["detail"]
    for query in ("maybe", "", "TRUE", "1", "true&explain=true"):
        assert "true or false" in problem(client.post(f"/predict/boosted?explain={query}", json=row), 400)["detail"]
    csv = client.post("/predict/boosted?explain=true", json=row, headers={"Accept": "text/csv"})
    assert "JSON" in problem(csv, 406)["detail"]
    assert problem(client.post("/predict/boosted?explain=true", json={"no": 1}), 422)["errors"]
    monkeypatch.setattr(explain, "MAX_NUMBERS", 2 * len(row))
    many = client.post("/predict/boosted?explain=true", json={"rows": [row] * 3})
    assert "At most 2 rows" in problem(many, 413)["detail"]
    assert client.post("/predict/boosted?explain=true", json={"rows": [row] * 2}).status_code == 200
    monkeypatch.setattr(explain, "MAX_WORK", 10)
    assert "too large" in problem(client.post("/predict/boosted?explain=true", json=row), 409)["detail"]


def test_a_version_of_before_answers_and_is_not_explained(registry: Registry, tmp_path: Path) -> None:
    store(registry, tmp_path, "boosted", baseline=False)
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    client, row = create_app(live_models, AppOptions()).test_client(), rows_of(live_models, "boosted")[0]
    assert live_models.live["boosted"].model.form == "compiled"
    assert client.post("/predict/boosted", json=row).status_code == 200
    assert "train it again" in problem(client.post("/predict/boosted?explain=true", json=row), 409)["detail"]


def test_an_explanation_that_does_not_add_up_is_no_answer(
    live_models: LiveModels, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = live_models.live["boosted"].model
    monkeypatch.setattr(model._explainer, "_means", model._explainer._means + 1)  # type: ignore[attr-defined]
    problem(client.post("/predict/boosted?explain=true", json=rows_of(live_models, "boosted")[0]), 500)


@pytest.mark.parametrize("name", [*KINDS, NAME])
def test_the_form_has_a_bar_for_each_column_or_says_why_not(
    name: str, live_models: LiveModels, client: FlaskClient
) -> None:
    signature = live_models.live[name].model.signature
    values = {f"value of {key}": "" if value is None else str(value) for key, value in signature.example.items()}
    values |= {key: value.lower() for key, value in values.items() if value in ("True", "False")}
    page = client.post(f"/{name}", data=values, headers=BROWSER)
    assert page.status_code == 200, page.text
    assert "Why this answer" in page.text
    table = re.search(r'<table class="shares whys".*?</table>', page.text, re.S)
    if name == NAME:
        assert table is None and "only compiled models are explained" in page.text
        return
    assert table is not None and table[0].count("<svg") == len(signature.columns)
    assert all(f'<th scope="row">{column}' in table[0] for column in signature.names)
    assert "2026" in table[0] or "2027" in table[0] or "2028" in table[0]  # the date's value
    assert str(signature.example["colour"]) not in table[0]  # it is private


def test_the_event_loop_leaves_it_to_the_app_and_both_answers_are_logged(
    environ: dict[str, str], live_models: LiveModels, tmp_path: Path
) -> None:
    port, row = free_port(), json.dumps(rows_of(live_models, "boosted")[1]).encode()
    command = [word.replace("serving.wsgi:", "tests.support.loop_app:") for word in granian(port)]
    own = {"SERVE_ONLY": "boosted", "SERVING_LOOP_MS": "1000"}
    with service(environ, tmp_path, command=command, port=port, **own) as it:
        until(lambda: it.ask("GET", "/readyz")[0] == 200)
        plain, explained, refused = (
            it.ask("POST", f"/predict/boosted{query}", row) for query in ("", "?explain=true", "?explain=what")
        )
        assert [answer[0] for answer in (plain, explained, refused)] == [200, 200, 400]
        assert plain[1].keys() - explained[1].keys() == {HEADER}
        first, second = (json.loads(answer[2]) for answer in (plain, explained))
        assert second.pop("explanation")["rows"][0]["contributions"]
        assert first.pop("prediction_ids") != second.pop("prediction_ids")
        assert first == second
        database = tmp_path / "data" / "predictions.sqlite"
        until(lambda: database.exists() and _logged(database) == [200, 200, 400])


def _logged(database: Path) -> list[int]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM requests ORDER BY status")]
