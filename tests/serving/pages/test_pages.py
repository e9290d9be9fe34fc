"""The pages: what they show, what their forms take, and that nothing typed or named breaks them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from serving.app import AppOptions, create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.pages import html
from serving.prediction_log.prediction_log import PredictionLog
from serving.server.auth import ApiKeys
from serving.server.security_headers import POLICY
from serving.server.worker_lock import claim
from serving.training.runs import Run, Task
from serving.training.trigger import Trainer
from tests.support import small_models
from tests.support.airflow_server import LIVE, AirflowServer
from tests.support.key_pairs import write_key_pair
from tests.support.served_models import MANY, ODD, load_live_models, species
from tests.support.small_models import NAME, ROW
from updraft.airflow_client import Airflow
from updraft.defaults import ROOT
from updraft.local_stack.credentials import SERVICE
from updraft.local_stack.environment import StackError
from updraft.local_stack.service import Service
from updraft.model.model import Model
from updraft.model.signature import Signature
from updraft.registry.registry import Registry, open_registry

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FORM = "application/x-www-form-urlencoded"
TOKEN = "the-token-of-the-tests"
MESSAGE = "value of message"
CASES = ["rent", "sms_spam", "species", NAME]


class Page(HTMLParser):
    """A page's elements, and the text of what is open: enough to ask what a browser would make of it."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, answer: TestResponse) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        assert answer.content_type == "text/html; charset=utf-8", answer.text
        self.status = answer.status_code
        self.feed(answer.text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {tag} {attrs}"
        element = {"tag": tag, "text": "", **{name: value or "" for name, value in attrs}}
        self.elements.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag, f"closed out of order: {tag}"

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, Any]]:
        wanted = {"tag": tag, **attributes}
        return [each for each in self.elements if wanted.items() <= each.items()]

    def one(self, tag: str, **attributes: str) -> dict[str, Any]:
        [found] = self.all(tag, **attributes)
        return found

    def id(self, name: str) -> dict[str, Any]:
        [found] = [each for each in self.elements if each.get("id") == name]
        return found

    def field(self, label: str) -> dict[str, Any]:
        """Find what a label is of; the label may be followed by a remark."""
        [found] = [each for each in self.all("label") if each["text"].split(" optional")[0] == label]
        return self.id(found["for"])

    def error(self, label: str) -> str | None:
        """Tell what stands beside a field, if it is marked as wrong and refers to it."""
        field = self.field(label)
        if field.get("aria-invalid") != "true":
            return None
        id_ = f"{field['id']}-error"
        assert id_ in field["aria-describedby"].split()
        assert f"#{field['id']}" in [each.get("href") for each in self.all("a")]
        return str(self.id(id_)["text"])

    @property
    def text(self) -> str:
        return str(self.one("main")["text"])


@pytest.fixture(scope="module")
def live_models(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> LiveModels:
    """Live models of each kind, for tests that only read them."""
    folder = tmp_path_factory.mktemp("shown")
    return load_live_models(
        open_registry({**s3, **write_key_pair(folder), "UPDRAFT_REGISTRY": "s3://test-pages"}), folder
    )


@pytest.fixture
def client(live_models: LiveModels) -> FlaskClient:
    return create_app(live_models).test_client()


def get(client: FlaskClient, path: str) -> Page:
    return Page(client.get(path, headers=BROWSER))


def post(client: FlaskClient, path: str, fields: Any) -> Page:
    return Page(client.post(path, data=fields, headers=BROWSER, content_type=FORM))


def filled(page: Page) -> dict[str, str]:
    """Return what a browser would send of a page's form as it stands."""
    sent = {each["name"]: each.get("value", "") for each in page.all("input") if each.get("type") != "file"}
    sent |= {each["name"]: each["text"].removeprefix("\n") for each in page.all("textarea")}
    for index, element in enumerate(page.elements):
        if element["tag"] == "select":
            rest = page.elements[index + 1 :]
            options = list(takewhile(lambda each: each["tag"] == "option", rest))
            chosen = [each for each in options if "selected" in each] or options[:1]
            sent[element["name"]] = chosen[0]["value"]
    return sent


# --- the list ---------------------------------------------------------------------------------------------------------


def test_programs_get_json_and_browsers_a_page(client: FlaskClient) -> None:
    for accept in (None, "*/*", "application/json", "application/json, text/html;q=0.5"):
        answer = client.get("/", headers={"Accept": accept} if accept else {})
        assert (answer.content_type, answer.headers["Vary"]) == ("application/json", "Accept")
        assert answer.json["use_cases"] == CASES
        assert "POST /predict/<use_case>" in answer.json["endpoints"]
    assert "Models" in get(client, "/").text


def test_the_list_shows_each_model_and_leads_to_its_form(client: FlaskClient, live_models: LiveModels) -> None:
    page = get(client, "/")
    links = [each.get("href") for each in page.all("a")]
    for name in CASES:
        assert live_models.live[name].model.signature.title in page.text
        assert f"/{name}" in links
    assert "random forest" in page.text
    assert "f1" in page.text
    assert "UTC" in page.text
    for path in ("/docs", "/train", "/metrics", "/models", "/openapi.json", "/readyz"):
        assert path in links
        assert client.get(path).status_code == 200
    assert "/stats" not in links


def test_an_empty_registry_shows_how_to_train_a_model(registry: Registry, tmp_path: Path) -> None:
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    client = create_app(live_models).test_client()
    assert "not responded yet" in get(client, "/").text
    live_models.refresh()
    assert "make demo" in get(client, "/").text
    assert "No model is loaded" in get(client, "/docs").text


def test_an_unreachable_registry_is_reported(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    """First with nothing, then with a version out of the cache."""
    gone = open_registry(registry_environ | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"})
    live_models = LiveModels(gone, Cache(tmp_path / "nothing"))
    assert not live_models.refresh()
    page = get(create_app(live_models).test_client(), "/")
    assert "is unreachable" in page.text
    assert "make demo" not in page.text

    small_models.promote(registry, small_models.push(registry, tmp_path / "run", small_models.model()))
    assert LiveModels(registry, Cache(tmp_path / "cache")).refresh()
    kept = LiveModels(gone, Cache(tmp_path / "cache"))
    assert not kept.refresh()
    page = get(create_app(kept).test_client(), "/")
    assert "Models loaded before stay in service" in page.text
    assert "Try it" in page.text


def test_a_refused_version_is_shown_with_its_reason(registry: Registry, tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        (folder / "model.joblib").write_bytes(b"no model")

    small_models.promote(registry, small_models.push(registry, tmp_path / "good", small_models.model()))
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    bad = small_models.push(registry, tmp_path / "bad", small_models.model(), spoil=spoil)
    small_models.promote(registry, bad)
    live_models.refresh()
    text = get(create_app(live_models).test_client(), "/").text
    assert "Version 2 is refused; version 1 stays live" in text
    assert live_models.refusals[NAME].reason in text
    assert "not in production" in text


def test_a_refused_pointer_is_called_that(registry: Registry, tmp_path: Path) -> None:
    small_models.promote(registry, small_models.push(registry, tmp_path / "good", small_models.model()))
    registry.bucket.put(f"{NAME}/pointer.json", b"[" * 10_000)
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    live_models.refresh()
    text = get(create_app(live_models).test_client(), "/").text
    assert "The pointer is refused" in text and "None" not in text


def test_the_state_of_a_model_and_its_reason_are_shown(registry: Registry, tmp_path: Path) -> None:
    for seed in (1, 2):
        version = small_models.push(registry, tmp_path / str(seed), small_models.model(seed=seed))
        small_models.promote(registry, version)
    registry.rollback(NAME, who="ann", why="2 <is> bad")
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    client = create_app(live_models).test_client()
    assert "Stateproduction" in "".join(get(client, "/").text.split())
    assert "version 1, in production" in get(client, f"/{NAME}").text
    for path in ("/", f"/{NAME}"):
        text = get(client, path).text
        assert "version 2 rolled back: 2 <is> bad" in " ".join(text.split())
        assert "ann" not in text.split()  # the page is open to whoever reaches it


# --- the form ---------------------------------------------------------------------------------------------------------


def test_each_column_has_the_right_field(client: FlaskClient) -> None:
    page = get(client, "/rent")
    fields = {
        "rooms": {"tag": "input", "type": "number", "step": "1", "min": "1", "max": "12", "inputmode": "numeric"},
        "floor area, m²": {"tag": "input", "type": "number", "step": "any", "min": "8", "max": "1000"},
        ODD: {"tag": "select"},
        "district": {"tag": "input", "type": "text"},
        "a/b~c": {"type": "datetime-local", "min": "2000-01-01T00:00:00", "max": "2030-12-31T00:00:00"},
        "renovated": {"type": "datetime-local"},
        "ist.süß": {"tag": "select"},
        "postcode": {"type": "text"},
        "note": {"type": "text"},
    }
    for label, expected in fields.items():
        assert expected.items() <= page.field(label).items(), label
    required = {label for label in fields if "required" in page.field(label)}
    assert required == fields.keys() - {"renovated", "note"}
    assert "1 to 12" in page.id(page.field("rooms")["aria-describedby"])["text"]
    assert r"^\d{5}$" in page.id(page.field("postcode")["aria-describedby"])["text"]
    suggested = page.field("district")["list"]
    assert page.id(suggested)["tag"] == "datalist"
    assert {each["value"] for each in page.all("option")} >= {
        *MANY,
        '"quoted"',
        "<b>bold</b>",
        "a & b",
        "true",
        "false",
    }
    assert get(client, "/sms_spam").field("message")["tag"] == "textarea"


def named() -> Model:
    """Make a model whose columns and values have names for people, one of them odd."""
    model = small_models.model(threshold=0.3)
    names = {"Driving_License": [{"value": 0, "name": "No"}, {"value": 1, "name": ODD}]}
    titles = {"Age": f"Age of {ODD}", "Driving_License": "Driving licence", "Response": "Interest"}
    signature = model.signature.model_dump() | {"titles": titles, "value_names": names}
    return Model(Signature.model_validate(signature), model.pipeline)


def test_columns_and_values_are_called_what_the_yaml_calls_them(registry: Registry, tmp_path: Path) -> None:
    small_models.promote(registry, small_models.push(registry, tmp_path / "run", named()))
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    assert live_models.refresh()
    client = create_app(live_models).test_client()
    page = get(client, f"/{NAME}?example=1")
    sent = filled(page)
    licence = page.field("Driving licence")
    assert sent[licence["name"]] == "1"
    options = {(each["value"], each["text"]) for each in page.all("option")}
    assert options >= {("0", "No"), ("1", ODD), ("Male", "Male")}
    answered = post(client, f"/{NAME}", sent)
    assert answered.status == 200 and "Interest" in answered.text
    assert '"Driving_License": 1' in answered.text  # what a program sends keeps the column's name
    refused = post(client, f"/{NAME}", sent | {page.field(f"Age of {ODD}")["name"]: "300"})
    assert refused.error(f"Age of {ODD}") and "Age" not in [each["text"] for each in refused.all("label")]
    docs = get(client, "/docs").text
    assert "Driving licence" in docs and f"1 {ODD}" in docs
    schema = client.get("/openapi.json").json["components"]["schemas"][f"{NAME}.row"]["properties"]["Driving_License"]
    assert schema["title"] == "Driving licence" and schema["enum"] == [0, 1]
    assert schema["x-enumDescriptions"] == {"0": "No", "1": ODD}
    assert f"Of its values 0 is No, 1 is {ODD}." in schema["description"]
    assert client.post(f"/predict/{NAME}", json=ROW).status_code == 200
    assert client.post(f"/predict/{NAME}", json=ROW | {"Driving_License": "No"}).status_code == 422


def test_a_bound_that_only_warns_is_not_enforced_by_the_browser(client: FlaskClient) -> None:
    page = get(client, "/species")
    assert not {"min", "max"} & page.field("length").keys()
    assert page.field("habitat")["tag"] == "input"
    fields = {page.field("length")["name"]: "25", page.field("habitat")["name"]: "moor"}
    text = post(client, "/species", fields).text
    assert "length: 25.0 is not between 0 and 10" in text
    assert "habitat: 'moor' is not one of" in text
    assert "%" in text


@pytest.mark.parametrize("name", CASES)
def test_the_example_is_answered_as_the_api_answers_it(name: str, client: FlaskClient, live_models: LiveModels) -> None:
    signature = live_models.live[name].model.signature
    answer = client.post(f"/predict/{name}", json=signature.example).json
    empty = get(client, f"/{name}")
    assert set(filled(empty).values()) == {""}
    sent = filled(get(client, f"/{name}?example=1"))
    page = post(client, f"/{name}", sent)
    assert page.status == 200
    assert filled(page) == sent
    shown = page.id("outcome")["text"]
    if signature.task == "regression":
        assert float(shown.replace(",", "")) == pytest.approx(answer["predictions"][0], rel=1e-5)
    else:
        assert shown == answer["labels"][0]
    if signature.task == "binary":
        assert f"{100 * answer['probabilities'][0]:.1f} %" in page.text
        assert f"threshold {100 * answer['threshold']:.1f} %" in page.text
    if signature.task == "multiclass":
        shares = sorted(answer["probabilities"][0].values(), reverse=True)
        [table] = page.all("table")
        assert re.findall(r"[\d.]+(?= %)", table["text"]) == [f"{100 * share:.1f}" for share in shares]
        assert re.findall("[A-Z][a-z]+", table["text"].partition("label")[2])[0] == shown
    assert "Model version 1." in page.text


def test_null_is_what_is_left_empty(client: FlaskClient) -> None:
    page = get(client, "/species?example=1")
    assert page.field("width")["value"] == ""
    answered = post(client, "/species", filled(page) | {page.field("width")["name"]: "  "})
    assert answered.status == 200
    assert '"width": null' in answered.text


def test_errors_are_beside_their_fields_and_submitted_values_stay(client: FlaskClient) -> None:
    page = get(client, "/rent?example=1")
    typed = {
        "rooms": "99",
        "floor area, m²": "many",
        ODD: "none of them",
        "postcode": "4109",
        "district": "",
        "a/b~c": "",
    }
    fields = filled(page) | {page.field(label)["name"]: value for label, value in typed.items()}
    page = post(client, "/rent", fields)
    assert page.status == 422
    assert page.error("rooms") == "99 is not between 1 and 12"
    assert page.error("floor area, m²") == "'many' is not a number"
    assert "none of them" in str(page.error(ODD))
    assert page.error("postcode") == r"'4109' does not match ^\d{5}$"
    assert page.error("district") == "required: choose one"
    assert page.error("a/b~c") == "required: a date, UTC"
    assert page.error("note") is page.error("ist.süß") is None
    assert filled(page) == fields
    alert = page.one("section", role="alert")
    assert "autofocus" in alert
    assert "6 fields are invalid" in alert["text"]
    assert page.one("title")["text"].startswith("Error: ")
    assert page.field("floor area, m²")["type"] == "text"  # a field of numbers would be shown empty


def test_a_text_keeps_its_lines_whatever_the_browser_ends_them_with(client: FlaskClient) -> None:
    text = "\n  two\nlines <i>& more</i> 🌞"
    page = post(client, "/sms_spam", {MESSAGE: text.replace("\n", "\r\n")})
    assert page.status == 200
    assert filled(page)[MESSAGE] == text
    assert json.dumps(text, ensure_ascii=False)[1:-1] in page.text


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/train", "/nowhere", "/rent", "/rent?example=1", "/train?use_case=%22%3E"]
)
def test_nothing_is_unescaped_and_every_page_has_its_parts(path: str, client: FlaskClient) -> None:
    page = get(client, path)
    assert not page.all("script") + page.all("style") + page.all("b", text="bold")
    assert not [each for each in page.elements if "style" in each or any(name.startswith("on") for name in each)]
    assert page.one("html")["lang"] == "en"
    assert len(page.all("h1")) == 1
    ids = [each["id"] for each in page.elements if "id" in each]
    assert len(set(ids)) == len(ids)
    first = page.all("a")[0]
    assert page.id(first["href"].removeprefix("#"))["tag"] == "main"
    for field in page.all("input") + page.all("select") + page.all("textarea"):
        assert field.get("type") == "hidden" or page.one("label", **{"for": field["id"]})["text"]
        for id_ in field.get("aria-describedby", "").split():
            assert page.id(id_)["text"]
    for each in page.all("link") + page.all("img"):
        assert each.get("href", each.get("src")).startswith("/static/")
    assert client.get(path, headers=BROWSER).headers["Content-Security-Policy"] == POLICY
    assert client.get(path, headers=BROWSER).headers["Cache-Control"] == "no-store"


def test_a_form_that_was_open_during_a_swap_submits_each_value_under_its_name(
    registry: Registry, tmp_path: Path
) -> None:
    """The version after it has the columns the other way round."""
    before = species()
    changes = {"columns": before.signature.columns[::-1], "labels": before.signature.labels}
    after = Model(before.signature.model_copy(update=changes), before.pipeline)
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    small_models.promote(registry, small_models.push(registry, tmp_path / "before", before))
    assert live_models.refresh()
    client = create_app(live_models).test_client()
    fields = filled(get(client, "/species?example=1"))
    small_models.promote(registry, small_models.push(registry, tmp_path / "after", after))
    assert live_models.refresh()
    page = post(client, "/species", fields)
    assert "Model version 2." in page.text
    assert filled(page) == fields
    assert page.field("length")["value"] == "5.5"


def test_what_is_typed_is_never_markup(client: FlaskClient) -> None:
    evil = '"><script>alert(1)</script>{{ 7*7 }}</textarea>'
    for name in CASES:
        fields = dict.fromkeys(filled(get(client, f"/{name}")), evil)
        page = post(client, f"/{name}", fields)
        assert not page.all("script")
        assert "49" not in page.text
        assert set(filled(page).values()) == {evil}


HOSTILE: dict[str, tuple[Any, str, int]] = {
    "nothing": ("", FORM, 422),
    "other fields": ("a=1&Age=2&value+of=3", FORM, 422),
    "not UTF-8": (b"value+of+Age=%ff%fe&value+of+Gender=\xff", FORM, 422),
    "null bytes": ("value+of+Age=%00&value+of+Gender=%00", FORM, 422),
    "JSON": (json.dumps(ROW), "application/json", 415),
    "no type": ("field-0=1", "", 415),
    "parts of a file": ("--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x", 415),
    "a million characters": ("value+of+Age=" + "9" * 1_000_000, FORM, 413),
    "5,000 digits": ("value+of+Age=" + "9" * 5_000, FORM, 422),
    "many fields": ("&".join(f"f{index}=1" for index in range(20_000)), FORM, 400),
}


@pytest.mark.parametrize(("body", "kind", "status"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_form_is_the_callers_fault(body: Any, kind: str, status: int, client: FlaskClient) -> None:
    answer = client.post(f"/{NAME}", data=body, content_type=kind, headers=BROWSER)
    assert Page(answer).status == status
    assert len(answer.data) < 60_000
    for secret in ("Traceback", "site-packages", str(ROOT)):
        assert secret not in answer.text


def test_the_page_of_an_unknown_use_case_lists_the_known_ones(client: FlaskClient) -> None:
    for path in ("/insurance", "/no/such/page", "/%3Cscript%3E"):
        page = get(client, path)
        assert page.status == 404
        assert {f"/{name}" for name in CASES} <= {each["href"] for each in page.all("a")}
    assert client.get("/insurance").content_type == "application/problem+json"
    missing = get(client, "/monitoring/rent")  # of a use case that is known
    links = {each["href"] for each in missing.all("a")}
    assert missing.status == 404 and "/models/rent" in links and "/sms_spam" not in links


def test_a_use_case_that_is_not_loaded_is_503_as_a_page(registry: Registry, tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        (folder / "model.joblib").write_bytes(b"no model")

    bad = small_models.push(registry, tmp_path / "bad", small_models.model(), spoil=spoil)
    small_models.promote(registry, bad)
    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    live_models.refresh()
    client = create_app(live_models).test_client()
    answer = client.get(f"/{NAME}", headers=BROWSER)
    assert Page(answer).status == 503
    assert answer.headers["Retry-After"]
    assert "No verified version is loaded" in get(client, "/").text


@pytest.mark.parametrize(
    "path",
    [
        "/models",
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/train",
        "/",
        "/stats",
        "/runs",
        "/feedback",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_no_page_shadows_another_path(path: str, method: str, client: FlaskClient) -> None:
    answer = client.open(path, method=method, data="field-0=1", content_type=FORM)
    assert answer.status_code == (404 if path in {"/stats", "/runs", "/feedback"} else 405)  # their part is off
    assert answer.content_type == "application/problem+json"


def test_a_page_needs_a_key_where_keys_are_on_and_a_browser_can_ask_for_it(live_models: LiveModels) -> None:
    client = create_app(live_models, AppOptions(api_keys=ApiKeys({"me": "a-key-of-the-tests"}))).test_client()
    for path in ("/", f"/{NAME}", "/docs", "/openapi.json", "/train"):
        refused = client.get(path, headers=BROWSER)
        assert Page(refused).status == 401
        assert "enter an API key as the password" in refused.text
        [style] = Page(refused).all("link", rel="stylesheet")
        with client.get(style["href"]) as sheet:
            assert sheet.status_code == 200
        assert "Basic" in refused.headers.get_all("WWW-Authenticate")[-1]
        assert client.get(path, auth=("me", "a-key-of-the-tests")).status_code == 200
    docs = client.get("/docs", headers=BROWSER, auth=("me", "a-key-of-the-tests"))
    assert "$UPDRAFT_KEY" in docs.text
    assert "a-key-of-the-tests" not in docs.text


# --- the documentation ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(live_models: LiveModels) -> Iterator[str]:
    """Serve the app on a port; keys are asked for."""
    app = create_app(live_models, AppOptions(api_keys=ApiKeys({"me": "a-key-of-the-tests"})))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


def run(command: list[str]) -> str:
    environ = {**os.environ, "UPDRAFT_KEY": "a-key-of-the-tests", "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_of_the_documentation_work_when_pasted(live_models: LiveModels, address: str) -> None:
    app = create_app(live_models, AppOptions(api_keys=ApiKeys({"me": "a-key-of-the-tests"})))
    answer = app.test_client().get("/docs", base_url=address, headers=BROWSER, auth=("me", "a-key-of-the-tests"))
    blocks = [each["text"] for each in Page(answer).all("pre")]
    expected = [json.loads(text) for text in blocks if text.startswith("{")]
    assert [each["use_case"] for each in expected] == CASES

    by_curl = [
        json.loads(run(["sh", "-c", text])) for text in blocks if text.startswith("curl") and "/predict/" in text
    ]
    python = [run([sys.executable, "-c", text]) for text in blocks if text.startswith("import json")]
    tables = [run(["sh", "-c", text]) for text in blocks if text.startswith("printf")]
    assert len(by_curl) == len(python) == len(tables) == len(CASES)
    for answer, curled, printed, table in zip(expected, by_curl, python, tables, strict=True):
        answer.pop("prediction_ids")  # nothing is logged here
        assert curled == answer
        assert printed == f"{answer}\n"
        assert table.splitlines()[0].startswith("prediction")
        assert table.splitlines()[1].startswith(str(answer["predictions"][0]))


def test_the_curl_command_beside_a_prediction_returns_the_same_prediction(
    live_models: LiveModels, address: str
) -> None:
    app = create_app(live_models, AppOptions(api_keys=ApiKeys({"me": "a-key-of-the-tests"})))
    client, auth = app.test_client(), ("me", "a-key-of-the-tests")
    sent = filled(Page(client.get("/rent?example=1", headers=BROWSER, auth=auth)))
    answer = client.post("/rent", data=sent, headers=BROWSER, auth=auth, base_url=address)
    [command] = [each["text"] for each in Page(answer).all("pre")]
    body = json.loads(run(["sh", "-c", command]))
    model = live_models.live["rent"].model
    rows = model.signature.check([model.signature.example], plain=True)
    assert body["predictions"] == model.predict_rows(rows).predictions


def test_the_demo_sends_its_key_and_fails_at_once_without_a_known_one(live_models: LiveModels, address: str) -> None:
    row = live_models.live["species"].model.signature.example
    service = Service(address, "a-key-of-the-tests")
    assert service.is_live("species", 1) and not service.is_live("species", 2) and not service.is_live("nothing", 1)
    assert service.predict("species", row)["version"] == 1
    with pytest.raises(StackError, match=r"the service answers 422: .*length"):
        service.predict("species", {**row, "length": "long"})
    for key in ("", "another-key-than-this"):
        with pytest.raises(StackError, match="asks for an API key: set SERVING_API_KEYS"):
            Service(address, key).predict("species", row)


def test_the_documentation_lists_the_values_of_a_column(client: FlaskClient) -> None:
    page = get(client, "/docs")
    rows = [each["text"] for each in page.all("tr")]
    assert any("postcode" in row and r"matches ^\d{5}$" in row for row in rows)
    assert any(ODD in row and '"<b>bold</b>"' in row for row in rows)
    assert any("note" in row and row.strip().endswith("yes") for row in rows)
    assert any("habitat" in row and "accepted with a warning" in row for row in rows)
    for status in ("400", "413", "415", "422", "429", "503"):
        assert any(row.strip().startswith(status) for row in rows), status


def test_the_documentation_has_the_address_from_a_trusted_proxy(live_models: LiveModels) -> None:
    headers = BROWSER | {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "models.example.org"}
    for proxies, address in ((0, "http://localhost/predict"), (1, "https://models.example.org/predict")):
        app = create_app(live_models, AppOptions(trusted_proxies=proxies))
        blocks = [each["text"] for each in Page(app.test_client().get("/docs", headers=headers)).all("pre")]
        commands = [text for text in blocks if text.startswith("curl") and "/predict/" in text]
        assert len(commands) == len(CASES) and all(address in text for text in commands)


def test_wrong_tokens_behind_a_proxy_are_counted_by_forwarded_address(live_models: LiveModels) -> None:
    trainer = Trainer(Airflow("http://127.0.0.1:9", SERVICE, "a password"), TOKEN)
    client = create_app(live_models, AppOptions(trainer=trainer, trusted_proxies=1)).test_client()

    def wrong(address: str) -> int:
        return client.post("/train", data={"token": "wrong"}, headers={"X-Forwarded-For": address}).status_code

    assert [wrong(f"192.0.2.{end}, 192.0.2.7") for end in range(6)] == [403] * 5 + [429]  # the first one is anybody's
    assert wrong("192.0.2.8") == 403


# --- figures ----------------------------------------------------------------------------------------------------------


def test_statistics_are_a_page_for_browsers_and_json_for_others(live_models: LiveModels, tmp_path: Path) -> None:
    worker = claim(tmp_path)
    log = PredictionLog(tmp_path, worker)
    log.start()
    client = create_app(live_models, AppOptions(prediction_log=log)).test_client()
    try:
        assert "Nothing yet" in get(client, "/stats").text
        page = post(client, "/species", filled(get(client, "/species?example=1")))
        [known_id] = re.findall(r"[0-9a-f]{32}\.0", page.text)
        assert client.post("/feedback", json={"prediction_id": known_id, "label": "setosa"}).status_code == 200
        client.post("/predict/species", json={})
        assert log.wait_until_ingested(10)
        text = get(client, "/stats").text
        assert "species" in text
        assert "Versicolor" in text
        assert "invalid values" in text
        assert client.get("/stats").json["use_cases"][0]["feedback"] == 1
        assert get(client, "/stats?hours=x").status == 400
        assert "/stats" in [each.get("href") for each in get(client, "/").all("a")]
    finally:
        log.close()
        worker.lock.release()


# --- training ---------------------------------------------------------------------------------------------------------


def test_while_training_is_off_the_page_shows_how_to_switch_it_on(client: FlaskClient) -> None:
    assert "SERVING_TRAIN_TOKEN" in get(client, "/train").text
    assert client.post("/train", data={"use_case": NAME}).status_code == 405
    assert get(client, "/runs").status == 404


def test_while_airflow_is_away_nothing_is_lost_and_the_page_asks_again(live_models: LiveModels) -> None:
    trainer = Trainer(Airflow("http://127.0.0.1:9", SERVICE, "a password", connect=1.0, read=1.0), TOKEN)
    client = create_app(live_models, AppOptions(trainer=trainer)).test_client()
    fields = filled(get(client, "/train")) | {"token": TOKEN, "use_case": NAME, "limit": "5"}
    answer = client.post("/train", data=fields, headers=BROWSER)
    page = Page(answer)
    assert (page.status, answer.headers["Retry-After"]) == (503, "10")
    assert "Airflow does not respond" in page.text
    assert filled(page) == fields | {"token": ""}  # the key too: what was begun all the same is found by it
    client.set_cookie("updraft_train", TOKEN, path="/runs")
    followed = client.get(f"/runs/{NAME}/service__{fields['key']}", headers=BROWSER)
    assert (Page(followed).status, followed.headers["Refresh"]) == (503, "10")


@pytest.fixture
def trains(api_server: AirflowServer, live_models: LiveModels) -> Flask:
    trainer = Trainer(Airflow(api_server.url, SERVICE, api_server.password), TOKEN, starts=1000)
    return create_app(live_models, AppOptions(trainer=trainer))


def test_a_form_starts_one_run_however_often_it_is_sent_and_a_page_follows_it(
    trains: Flask, api_server: AirflowServer
) -> None:
    client = trains.test_client()
    before = api_server.runs(f"train_{LIVE}")
    fields = filled(get(client, f"/train?use_case={LIVE}")) | {"token": TOKEN, "limit": "50", "read_all": "true"}
    assert api_server.runs(f"train_{LIVE}") == before
    answers = [client.post("/train", data=fields, headers=BROWSER) for _ in range(2)]
    assert {each.status_code for each in answers} == {303}
    [url] = {each.headers["Location"] for each in answers}
    [run_id] = set(api_server.runs(f"train_{LIVE}")) - set(before)
    assert url == f"/runs/{LIVE}/{run_id}"
    run = api_server.admin.request("GET", f"dags/train_{LIVE}/dagRuns/{run_id}")
    assert run["conf"] == {"limit": 50, "read_all": True}

    cookie = answers[0].headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/runs" in cookie
    followed = client.get(url, headers=BROWSER)
    page = Page(followed)
    assert followed.headers["Refresh"] == "3"
    assert "queued" in page.text
    tasks = [each["text"].split()[0] for each in page.all("th", scope="row")]
    assert list(dict.fromkeys(tasks)) == ["ingest", "validate", "transform", "train", "evaluate", "approve", "push"]
    stranger = Page(trains.test_client().get(url, headers=BROWSER))
    assert stranger.status == 401 and "Bearer" not in stranger.one("main")["text"]
    assert stranger.one("a", href="/train", **{"class": "button"})["text"] == "Training"
    assert get(client, f"/runs/{LIVE}/service__another").status == 404


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (Run("rent", "x", "failed", outcome="failed", reason="no rows"), "Version 1 stays live."),
        (Run("nobody", "x", "failed", outcome="failed"), "No version is live."),
        (
            Run("rent", "x", "success", outcome="stored", version=2),
            "Version 2 was not promoted: it is kept in the registry, and version 1 stays live. A person promotes it in "
            "Airflow, under Models, or by updraft registry promote rent 2 --why",
        ),
        (
            Run("nobody", "x", "success", outcome="held", version=1),
            "held, so that no run promotes its model, and no version is live. Promoting it lifts the hold: in Airflow, "
            "under Models, or by updraft registry promote nobody 1 --force --why",
        ),
        (Run("rent", "x", "success", outcome="stored"), "does not say what became of its model; version 1 stays live."),
    ],
)
def test_the_page_of_a_run_says_what_is_live_after_it(
    trains: Flask, live_models: LiveModels, run: Run, words: str
) -> None:
    with trains.test_request_context():
        page = html.render("run.html", run=run, tasks=(), ended=True, live=live_models.live.get(run.use_case))
    assert words in re.sub("<[^>]+>", "", page.get_data(as_text=True))


def test_the_page_of_a_run_that_asks_a_person_leads_to_the_question(trains: Flask) -> None:
    task = Task("approve", None, "awaiting_input", None, None)
    run = Run("rent", "x", "running", tasks=(task,), airflow_url="http://airflow.test/dags/train_rent/runs/x")
    with trains.test_request_context():
        page = html.render("run.html", run=run, tasks=run.tasks, ended=False, live=None).get_data(as_text=True)
    assert ">waits for an answer</span></h2>" in page and f'href="{run.airflow_url}/required_actions"' in page


def test_behind_a_proxy_that_speaks_tls_the_cookie_is_secure(trains: Flask) -> None:
    trains.wsgi_app = ProxyFix(trains.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]
    client = trains.test_client()
    fields = filled(get(client, f"/train?use_case={LIVE}")) | {"token": TOKEN, "promote": "never"}
    for scheme, secure in (("https", True), ("http", False)):
        answer = client.post("/train", data=fields, headers=BROWSER | {"X-Forwarded-Proto": scheme})
        assert answer.status_code == 303
        assert ("Secure" in answer.headers["Set-Cookie"].split("; ")) is secure


def test_an_invalid_training_form_starts_nothing_and_shows_its_errors(trains: Flask, api_server: AirflowServer) -> None:
    client = trains.test_client()
    before = api_server.runs(f"train_{LIVE}")
    good = filled(get(client, f"/train?use_case={LIVE}")) | {"token": TOKEN}
    for changes, status, field in (
        ({"token": "wrong"}, 403, "token"),
        ({"token": ""}, 401, "token"),
        ({"use_case": "nowhere"}, 404, "use_case"),
        ({"use_case": "vehicle_price"}, 409, "use_case"),
        ({"limit": "many", "seed": "-1"}, 422, "limit"),
        ({"limit": "<b>"}, 422, "limit"),
        ({"promote": "always"}, 422, "promote"),
        ({"read_all": "perhaps"}, 422, "read_all"),
        ({"key": "é" * 200}, 400, ""),
    ):
        page = post(client, "/train", good | changes)
        assert page.status == status, changes
        assert TOKEN not in str(page.elements)
        if field:
            assert page.id(f"{field}-error")["text"]
        assert page.one("input", name="limit")["value"] == changes.get("limit", "")
    assert "greater than or equal to 1" in post(client, "/train", good | {"limit": "-3"}).id("limit-error")["text"]
    assert api_server.runs(f"train_{LIVE}") == before


def test_a_page_that_was_sent_with_other_values_before_gets_a_new_key(trains: Flask) -> None:
    client = trains.test_client()
    fields = filled(get(client, f"/train?use_case={LIVE}")) | {"token": TOKEN}
    assert client.post("/train", data=fields).status_code == 303
    page = post(client, "/train", fields | {"limit": "7"})
    assert page.status == 422
    again = filled(page) | {"token": TOKEN}
    assert again["key"] != fields["key"]
    assert client.post("/train", data=again).status_code == 303


def test_a_file_of_rows_becomes_a_file_of_predictions(client: FlaskClient, live_models: LiveModels) -> None:
    example = live_models.live[NAME].model.signature.example
    text = ",".join(["id", *example]) + "\n" + "".join(f"{n},{','.join(map(str, example.values()))}\n" for n in (7, 8))

    def upload(content: bytes, path: str = f"/{NAME}/csv", field: str = "rows", name: str = "rows.csv") -> TestResponse:
        data = {field: (BytesIO(content), name)}
        return client.post(path, data=data, headers=BROWSER, content_type="multipart/form-data")

    answer = upload(text.encode())
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{NAME}-predictions.csv"'
    header, *lines = answer.text.splitlines()
    assert header.startswith("id,prediction,label,probability") and [line[:2] for line in lines] == ["7,", "8,"]
    for status, page in (
        (422, upload(text.replace("Age", "Ages").encode())),
        (400, upload(text.encode(), field="other")),
        (400, upload(b"", name="")),
        (404, upload(text.encode(), "/nobody/csv")),
        (415, client.post(f"/{NAME}/csv", data=text, headers=BROWSER, content_type="text/csv")),
    ):
        assert page.status_code == status and page.mimetype == "text/html", page.text
    assert "header: Age: required and missing" in upload(text.replace("Age", "Ages").encode()).text
    row = text.splitlines()[1].split(",")
    row[2] = "old"
    page = Page(upload(f"{text}{','.join(row)}\n".encode()))
    assert [each["text"] for each in page.all("li")] == ["Row 3, Age: 'old' is not a whole number"]
    assert page.one("h1")["text"] == "The file has errors"
    assert "1 error; nothing was predicted." in page.one("main")["text"]
    assert page.one("a", href=f"/{NAME}")["text"] == "Back to the form"
