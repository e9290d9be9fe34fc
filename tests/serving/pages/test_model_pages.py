"""The pages of a model: versions over time, cards, the comparison of two, and predictions by their id."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from serving.app import AppOptions, create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.pages.sandbox import POLICY
from serving.prediction_log.prediction_log import PredictionLog
from serving.server.auth import ApiKeys
from serving.server.worker_lock import claim
from tests.serving.pages.test_pages import Page, get
from tests.support import small_models
from tests.support.small_models import NAME, ROW
from updraft.model.model import Model
from updraft.registry.registry import Registry, Version, open_registry
from updraft.registry.rollouts import Plan, start
from updraft.registry.s3 import json_bytes, key_for

CARD = """<!doctype html><html><body><h1>Card of {}</h1><script>alert(1)</script><table>
<tr class=person><th>started by</th><td>ann</td></tr>
<tr><th>seed</th></tr></table></body></html>"""
MODEL = f"/models/{NAME}"


def push(registry: Registry, folder: Path, number: int, it: Model | None = None, **changes: Any) -> Version:
    """Push a version with metrics, a card and an evaluation against the version before."""
    it = it or small_models.model(seed=number)
    folder = folder / f"run{number}"
    folder.mkdir()
    it.save(folder)
    metrics = {"accuracy": 0.9, "f1": 0.4 + number / 100, "pr_auc": 0.3 + number / 100}
    rival = {"version": number - 1, "metrics": {"pr_auc": 0.123, "f1": 0.321}} if number > 1 else None
    evaluation = {"rows": 4321, "champion": rival, "decision": "promote", "reason": "it is <better>"}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / "card.html").write_text(CARD.format(number))
    metadata = {"metrics": metrics, "candidate": "random_forest", "choose_by": "pr_auc", "params": {"depth": number}}
    return registry.push(NAME, folder, metadata | changes, run_id=f"manual__{number}")


@pytest.fixture
def five(registry: Registry, tmp_path: Path) -> Registry:
    """Return a registry with five versions: former, held, in production, stored, and in a rollout."""
    for number in range(1, 6):
        version = push(registry, tmp_path, number)
        if number <= 3:
            small_models.promote(registry, version)
        if number == 2:
            registry.rollback(NAME, who="ann", why="wrong <for> new regions")
    sequence = registry.moves(NAME).sequences()[-1]
    start(registry, NAME, Plan(5, "canary", 10.0), who="ann", why="try it", expected_sequence=sequence)
    return registry


@pytest.fixture
def live_models(five: Registry, tmp_path: Path) -> LiveModels:
    live_models = LiveModels(five, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    return live_models


@pytest.fixture
def client(live_models: LiveModels) -> FlaskClient:
    return create_app(live_models).test_client()


def requests_of(registry: Registry) -> list[str]:
    """Return a list that grows with each request that is sent to S3."""
    sent: list[str] = []
    registry.bucket.client.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.url))
    return sent


def states_on(page: Page) -> list[str]:
    return [each["text"] for each in page.all("span") if each.get("class", "").startswith("state")]


def test_a_page_shows_each_version_with_its_state_and_the_metric_that_chooses_first(client: FlaskClient) -> None:
    page = get(client, MODEL)
    assert states_on(page) == ["rollout", "stored", "production", "held", "former"]
    table = page.all("table")[0]["text"]
    assert table.index("pr_auc") < table.index("accuracy") < table.index("f1")
    assert [each["text"] for each in page.all("td", **{"data-label": "pr_auc"})][2] == "0.3300"
    assert "canary 10 %" in page.text and "Chosen bypr_auc" in "".join(page.text.split("\n"))
    [chart] = page.all("svg", role="img")
    assert "version 2 (held) 0.3200" in chart["aria-label"] and "version 5 (rollout) 0.3500" in chart["aria-label"]
    drawn = page.elements[page.elements.index(chart) :]
    assert len([each for each in drawn if each["tag"] == "circle" and "cx" in each and each["cx"].endswith("%")]) == 5
    assert "wrong <for> new regions" in page.text
    assert "ann" not in page.text.split()  # the page is open to whoever reaches it


def test_the_list_and_the_form_lead_to_it(client: FlaskClient) -> None:
    for path in ("/", f"/{NAME}"):
        assert MODEL in [each.get("href") for each in get(client, path).all("a")]
    facts = [each["text"] for each in get(client, "/").all("dt")]
    assert facts.index("pr_auc") < facts.index("accuracy") < facts.index("f1")


def test_a_version_without_the_metric_that_chooses_is_shown_as_before(registry: Registry, tmp_path: Path) -> None:
    small_models.promote(registry, push(registry, tmp_path, 1, choose_by=None, metrics={"z": 1, "a": True, "b": "x"}))
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    client = create_app(live_models).test_client()
    assert get(client, MODEL).status == get(client, "/").status == 200
    assert "Chosen by" in get(client, MODEL).text  # the only one there is


def test_a_card_is_shown_in_a_sandbox(client: FlaskClient, five: Registry) -> None:
    sent = requests_of(five)
    answer = client.get(f"{MODEL}/3/card")
    assert answer.headers["Content-Security-Policy"] == POLICY and POLICY.startswith("sandbox;")
    assert "allow-scripts" not in POLICY and "Card of 3" in answer.text and f'href="{MODEL}"' in answer.text
    assert "ann" not in answer.text and "started by" not in answer.text and "seed" in answer.text
    assert sent == []  # this machine has it
    assert "Card of 1" in client.get(f"{MODEL}/1/card").text
    for missing in (f"{MODEL}/6/card", f"{MODEL}/{10**30}/card", "/models/nobody/1/card", f"{MODEL}/0/card"):
        assert client.get(missing).status_code == 404
    assert get(client, f"{MODEL}/6/card").status == 404


def test_a_card_that_was_exchanged_is_not_shown(client: FlaskClient, five: Registry, tmp_path: Path) -> None:
    (tmp_path / f"cache/{NAME}/0003/card.html").write_text("<p>forged")
    assert "Card of 3" in client.get(f"{MODEL}/3/card").text  # the registry's
    five.bucket.put(key_for(NAME, "versions/0003/card.html"), b"<p>forged")
    answer = client.get(f"{MODEL}/3/card")
    assert answer.status_code == 404 and "forged" not in answer.text


def test_a_manifest_that_is_not_believed_is_named_and_the_rest_stays(client: FlaskClient, five: Registry) -> None:
    key = key_for(NAME, "versions/0004/manifest.json")
    manifest = five.bucket.read(key)
    assert manifest
    five.bucket.put(key, manifest["metrics"] and json_bytes(manifest | {"candidate": "forged"}))
    page = get(client, MODEL)
    assert states_on(page) == ["rollout", "not verified", "production", "held", "former"]
    assert "forged" not in page.text and "altered" in page.text
    assert get(client, f"{MODEL}/compare?a=3&b=4").status == 404


def test_two_versions_are_compared_on_the_same_rows_where_they_were(client: FlaskClient) -> None:
    page = get(client, f"{MODEL}/compare?a=2&b=3")
    assert page.all("tr")[1]["text"].splitlines()[0].startswith("pr_auc (chooses")
    assert [each["text"] for each in page.all("td")][:3] == ["0.1230", "0.3300", "+0.2070"]
    assert "On the same 4321 held-out rows" in page.text
    turned = get(client, f"{MODEL}/compare?a=3&b=2")
    assert [each["text"] for each in turned.all("td")][:3] == ["0.3300", "0.1230", "-0.2070"]
    apart = get(client, f"{MODEL}/compare?a=1&b=3")
    assert "Each on held-out rows of its own run" in apart.text and "0.3100" in apart.text
    differing = [each["text"] for each in apart.all("tr") if each.get("class") == "differs"]
    assert differing[0] == "Stateformerproduction" and "Parametersdepth 1depth 3" in differing
    assert "Modelrandom forestrandom forest" not in differing
    assert "depth 1" in apart.text and "it is <better>" in apart.text
    assert "Both accept the same columns and values" in apart.text


def test_inputs_that_differ_are_named(registry: Registry, tmp_path: Path) -> None:
    it = small_models.model()
    older = it.signature.model_copy(update={"warn_out_of_range": ("Age",)})
    small_models.promote(registry, push(registry, tmp_path, 1, Model(older, it.pipeline)))
    push(registry, tmp_path, 2, it)
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    page = get(create_app(live_models).test_client(), f"{MODEL}/compare?a=1&b=2")
    inputs = page.all("table")[-1]["text"]
    assert "Age" in inputs and "accepted with a warning" in inputs and "Gender" not in inputs


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("a=1", 400), ("a=1&b=x", 400), ("a=1&b=-1", 400), ("a=1&b=99999999999", 400), ("a=1&b=9", 404),
     ("a=1&b=²", 400)],
)  # fmt: skip
def test_a_comparison_of_what_is_no_version_is_refused(client: FlaskClient, query: str, status: int) -> None:
    assert get(client, f"{MODEL}/compare?{query}").status == status
    assert get(client, f"{MODEL}?before=x").status == 400
    for unknown in ("/models/nobody", "/models/%00", "/models/..%2f..", "/models/nobody/compare?a=1&b=2"):
        assert get(client, unknown).status == 404


def test_a_registry_with_a_thousand_versions_costs_a_page_no_more(registry: Registry, tmp_path: Path) -> None:
    """Most are of runs that ended before they stored anything, some just before the last versions."""
    registry.bucket.create_if_missing()
    versions = [*range(901, 936), 1000]
    with ThreadPoolExecutor(8) as pool:
        for number in sorted({*range(1, 1001)} - {*versions}):
            claimed = json_bytes({"run_id": f"lost {number}", "claimed_at": "2026-01-01T00:00:00+00:00"})
            pool.submit(registry.bucket.create, key_for(NAME, f"versions/{number:04d}/claim.json"), claimed)
    (tmp_path / "run").mkdir()
    small_models.loaded_model().save(tmp_path / "run")
    for number in versions:
        run = {"run_id": f"run {number}", "claimed_at": f"2026-02-01T00:00:00.{number:06d}+00:00"}
        registry.bucket.create(key_for(NAME, f"versions/{number:04d}/claim.json"), json_bytes(run))
        registry.bucket.create(key_for(NAME, f"runs/run%20{number}.json"), json_bytes({"version": number}))
        registry.push(NAME, tmp_path / "run", {"metrics": {"f1": 0.5}}, f"run {number}")
    registry.promote(NAME, 1000, expect=None, who="a test", why="a test")
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    client = create_app(live_models).test_client()
    sent = requests_of(registry)
    page = get(client, MODEL)
    assert len(states_on(page)) == 30 and "1000" in page.all("table")[0]["text"]
    assert len(sent) < 200
    sent.clear()
    assert len(states_on(get(client, MODEL))) == 30
    assert len(sent) < 80  # folders without a version, which may have one by now
    [earlier] = [each["href"] for each in page.all("a") if each["text"] == "Earlier versions"]
    assert states_on(get(client, earlier)) == ["stored"] * 6
    assert "Latest versions" in get(client, earlier).text


def test_moves_are_read_once(client: FlaskClient, five: Registry, live_models: LiveModels) -> None:
    get(client, MODEL)
    sent = requests_of(five)
    get(client, MODEL)
    assert not [url for url in sent if "/history/" in url]
    five.promote(NAME, 4, expect=3, who="a test", why="and on")
    assert live_models.refresh()
    sent.clear()
    assert states_on(get(client, MODEL)) == ["stored", "production", "former", "held", "former"]
    assert not [url for url in sent if "/history/" in url]  # the pointer is the move


def test_without_the_registry_what_is_live_is_shown(
    five: Registry, live_models: LiveModels, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    gone = open_registry(registry_environ | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"})
    kept = LiveModels(gone, Cache(tmp_path / "cache"))
    assert not kept.refresh()
    client = create_app(kept).test_client()
    page = get(client, MODEL)
    assert "cannot be read: the registry is unreachable" in page.text
    assert states_on(page) == ["unknown"] and "0.3300" in page.text
    assert "Card of 3" in client.get(f"{MODEL}/3/card").text
    assert client.get(f"{MODEL}/1/card").status_code == get(client, f"{MODEL}/compare?a=1&b=3").status == 503


def test_each_page_needs_a_key_where_there_are_any(live_models: LiveModels, tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "data", claim(tmp_path / "data"))
    options = AppOptions(api_keys=ApiKeys({"me": "a-key-of-the-tests"}), prediction_log=log)
    client = create_app(live_models, options).test_client()
    for path in (MODEL, f"{MODEL}/compare?a=1&b=3", f"{MODEL}/3/card", f"{MODEL}/predictions"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"X-API-Key": "a-key-of-the-tests"}).status_code == 200, path


@pytest.fixture
def logged(registry: Registry, tmp_path: Path) -> Iterator[FlaskClient]:
    """A client of an app with a prediction log, whose model has a private column."""
    it = small_models.model(threshold=0.3)
    private = it.signature.model_copy(update={"private": ("Age",), "titles": {"Vintage": "Days as a customer"}})
    small_models.promote(registry, push(registry, tmp_path, 1, Model(private, it.pipeline)))
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    worker = claim(tmp_path / "data")
    log = PredictionLog(tmp_path / "data", worker)
    log.start()
    yield create_app(live_models, AppOptions(prediction_log=log)).test_client()
    log.close()
    worker.lock.release()


def test_a_prediction_is_found_by_its_id_without_private_values(logged: FlaskClient) -> None:
    answer = logged.post(f"/predict/{NAME}", json=ROW | {"Age": 77, "Vintage": 123}).json
    [id_] = answer["prediction_ids"]
    page = get(logged, f"{MODEL}/predictions?id={id_}")
    assert page.status == 200 and page.id("found")["text"] == answer["labels"][0]
    inputs = page.all("table")[0]["text"]
    assert "Days as a customer" in inputs and "123" in inputs and "Vehicle_Damage" in inputs
    assert "Age" not in re.findall(r"\w+", inputs) and "77" not in page.text
    assert f"{100 * answer['probabilities'][0]:.1f} %" in page.text
    assert logged.post("/feedback", json={"prediction_id": id_, "label": "interested"}).status_code == 200
    listed = get(logged, f"{MODEL}/predictions")
    assert answer["labels"][0] in listed.text
    assert id_ not in listed.text and id_[:32] not in listed.text  # who knows an id may label its prediction
    assert "123" not in listed.text and "Vehicle_Damage" not in listed.text
    for wanted, status in (("x", 400), (f"{id_[:-1]}1", 404), ("<b>", 400), ("1" * 5000, 400)):
        refused = get(logged, f"{MODEL}/predictions?id={wanted}")
        assert refused.status == status and refused.field("Prediction ID")["aria-invalid"] == "true"
    assert get(logged, "/models/nobody/predictions").status == 404
    week = get(logged, MODEL)
    assert "Requests in the last week" in week.text and f"{MODEL}/predictions" in [a.get("href") for a in week.all("a")]


def test_without_a_log_there_are_no_predictions(client: FlaskClient) -> None:
    assert client.get(f"{MODEL}/predictions").status_code == 404
    assert "predictions" not in get(client, MODEL).text


def test_what_became_private_is_not_shown_of_older_predictions(
    logged: FlaskClient, registry: Registry, tmp_path: Path
) -> None:
    [id_] = logged.post(f"/predict/{NAME}", json=ROW | {"Vintage": 123}).json["prediction_ids"]
    assert "123" in get(logged, f"{MODEL}/predictions?id={id_}").text
    it = small_models.model(seed=5)
    private = it.signature.model_copy(update={"private": ("Vintage",)})
    small_models.promote(registry, push(registry, tmp_path, 2, Model(private, it.pipeline)))
    shutil.rmtree(tmp_path / "cache")
    later = LiveModels(registry, Cache(tmp_path / "cache"))
    assert later.refresh()
    worker = claim(tmp_path / "data")
    app = create_app(later, AppOptions(prediction_log=PredictionLog(tmp_path / "data", worker)))
    page = get(app.test_client(), f"{MODEL}/predictions?id={id_}")
    worker.lock.release()
    assert page.status == 200 and "123" not in page.text
