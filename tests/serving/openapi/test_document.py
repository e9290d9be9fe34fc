"""The OpenAPI document: it is valid, says what the service does, and follows the models that are live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from serving.app import create_app
from serving.body.request_rows import ARROW
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.openapi import schemas
from serving.openapi.document import document
from tests.support.arrow_streams import arrow_stream
from tests.support.key_pairs import write_key_pair
from tests.support.served_models import ODD, load_live_models
from tests.support.small_cases import date, integer, real, text
from tests.support.small_models import NAME, ROW, model, promote, push
from updraft.model.columns import Column
from updraft.model.signature import Signature
from updraft.registry.registry import Registry, open_registry

ALL = {"trains": True, "keys": True, "logs": True, "max_rows": 50}


@pytest.fixture(scope="module")
def live_models(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> LiveModels:
    """Live models of each kind, for tests that only read them."""
    folder = tmp_path_factory.mktemp("described")
    return load_live_models(
        open_registry({**s3, **write_key_pair(folder), "UPDRAFT_REGISTRY": "s3://test-openapi"}), folder
    )


@pytest.fixture
def client(live_models: LiveModels) -> FlaskClient:
    return create_app(live_models, max_rows=50).test_client()


def schema_of(spec: dict[str, Any], name: str) -> Draft202012Validator:
    """Give a validator of one of the document's schemas, which may refer to others."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": spec["components"]})


@pytest.mark.parametrize("on", [True, False], ids=["all on", "all off"])
def test_it_is_valid_whatever_is_on_and_whichever_models_are_live(live_models: LiveModels, on: bool) -> None:
    flags = {"trains": on, "keys": on, "logs": on, "max_rows": 50}
    for lives in (live_models.live, {}):
        spec = document(lives, [*live_models.names, "coming"], **flags)
        validate(json.loads(json.dumps(spec, allow_nan=False)))
        assert spec["openapi"] == "3.1.0"
        assert ("/train/{use_case}" in spec["paths"], "/feedback" in spec["paths"], "security" in spec) == (on, on, on)
        assert "coming" in spec["info"]["description"]


def test_each_operation_has_an_id_of_its_own_and_a_known_tag(live_models: LiveModels) -> None:
    spec = document(live_models.live, live_models.names, **ALL)
    operations = [item[method] for item in spec["paths"].values() for method in ("get", "post") if method in item]
    ids = [each["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)
    assert {tag for each in operations for tag in each["tags"]} <= {each["name"] for each in spec["tags"]}
    for name in live_models.names:
        assert f"predict_{name}" in ids


def test_its_examples_are_valid_requests_and_responses(client: FlaskClient) -> None:
    spec = client.get("/openapi.json").get_json()
    for name in ("rent", "sms_spam", "species", NAME):
        operation = spec["paths"][f"/predict/{name}"]["post"]
        expected = operation["responses"]["200"]["content"]
        answer = schema_of(spec, f"{name}.answer")
        answer.validate(expected["application/json"]["example"])
        row = operation["requestBody"]["content"]["application/json"]["examples"]["row"]["value"]
        binary = {ARROW: {"example": arrow_stream(pa.Table.from_pylist([row]))}}
        for kind, body in (operation["requestBody"]["content"] | binary).items():
            listed = [each["value"] for each in body.get("examples", {}).values()]
            values = listed or [body.get("example", body.get("schema", {}).get("description", "").partition(": ")[2])]
            for value in values:
                data = value if isinstance(value, str | bytes) else json.dumps(value)
                found = client.post(f"/predict/{name}", data=data, content_type=kind)
                assert found.status_code == 200, (name, kind, found.text)
                answer.validate(found.get_json())
                assert found.get_json()["predictions"] == expected["application/json"]["example"]["predictions"]
        table = client.post(f"/predict/{name}", json=row, headers={"Accept": "text/csv"})
        assert table.mimetype == "text/csv"
        assert expected["text/csv"]["example"].startswith(table.text.splitlines()[0])


COLUMNS: dict[str, tuple[Column, list[Any]]] = {
    "whole number": (integer("x", minimum=1, maximum=12), [1, 12, 0, 13, 3.0, 3.5, "3", True, None, 2**70]),
    "whole number without a range": (integer("x"), [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 0.5, 1e30]),
    "of a range with fractions": (integer("x", minimum=0.5, maximum=2.5), [0, 1, 2, 3]),
    "number": (real("x", minimum=0.5, maximum=4.25), [0.5, 4.25, 0.49, 4.26, 1, None, True, "1", [1]]),
    "number, not null": (real("x", nullable=False), [0, -1.5, None, 2**53, 2**53 + 2]),
    "number of a set": (real("x", allowed=(-1, 0, 1)), [-1, 0, 1, 1.0, 0.5, None, True]),
    "text": (text("x", nullable=False), ["", "a\nb", "🌞", 1, None]),
    "text of a set": (text("x", allowed=("a", "b c")), ["a", "b c", "", "c", None]),
    "text of a length": (text("x", shortest=1, longest=3), ["", "a", "🌞🌞🌞", "abcd"]),
    "text of a pattern": (text("x", pattern=r"^\d{5}$"), ["04109", "4109", "x04109", ""]),
    "text of a pattern anywhere": (text("x", pattern="b+"), ["abc", "ac"]),
    "true or false": (Column(name="x", type="bool", nullable=False), [True, False, 0, 1, "true", None]),
    "only true": (Column(name="x", type="bool", nullable=False, allowed=(1,)), [True, False, 1]),
    "date": (date("x"), ["2026-01-31T08:00:00Z", None, 20260131, True]),
}


@pytest.mark.parametrize(("column", "values"), COLUMNS.values(), ids=COLUMNS)
def test_the_schema_and_the_check_agree_on_values(column: Column, values: list[Any]) -> None:
    signature = signature_of(column)
    validator = Draft202012Validator({"type": "object", **_row(signature)})
    verdicts = set()
    for value in values:
        taken = _taken(signature, {"x": value})
        assert validator.is_valid({"x": value}) is taken, value
        verdicts.add(taken)
    assert verdicts == {True, False}


def test_a_bound_that_only_warns_is_in_the_description_only() -> None:
    columns = (text("x", allowed=("a", "b")), integer("y", minimum=1, maximum=5))
    signature = signature_of(*columns, warn_unseen=("x",), warn_out_of_range=("y",))
    row = _row(signature)
    validator = Draft202012Validator(row)
    assert validator.is_valid({"x": "c", "y": 9})
    assert _taken(signature, {"x": "c", "y": 9})
    assert "a, b" in row["properties"]["x"]["description"]
    assert "1 to 5" in row["properties"]["y"]["description"]
    assert "warning" in row["properties"]["y"]["description"]


def test_a_python_only_pattern_is_in_the_description_only() -> None:
    row = _row(signature_of(text("x", pattern=r"(?i)\Aabc\Z"), text("y", pattern=r"^(?:a|b)(?=c)")))
    assert "pattern" not in row["properties"]["x"]
    assert r"(?i)\Aabc\Z" in row["properties"]["x"]["description"]
    assert row["properties"]["y"]["pattern"] == r"^(?:a|b)(?=c)"


def test_the_id_and_the_target_may_be_there_and_nothing_else(live_models: LiveModels) -> None:
    validator = schema_of(document(live_models.live, live_models.names, **ALL), f"{NAME}.row")
    assert validator.is_valid(ROW)
    assert validator.is_valid(ROW | {"id": "anything"})
    assert validator.is_valid(ROW | {"Response": 1})
    assert not validator.is_valid(ROW | {"Colour": "red"})
    assert not validator.is_valid({name: value for name, value in ROW.items() if name != "Age"})


def test_odd_names_are_described_as_they_are(live_models: LiveModels) -> None:
    spec = document(live_models.live, live_models.names, **ALL)
    assert {ODD, "a/b~c", "floor area, m²"} <= spec["components"]["schemas"]["rent.row"]["properties"].keys()


def test_it_is_not_sent_again_while_nothing_has_changed(client: FlaskClient) -> None:
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    again = client.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get("/openapi.json", headers={"If-None-Match": '"another"'}).status_code == 200


def test_it_follows_a_swap(registry: Registry, tmp_path: Path) -> None:
    own = LiveModels(registry, Cache(tmp_path / "cache"))
    client = create_app(own).test_client()
    empty = client.get("/openapi.json")
    validate(empty.get_json())
    assert f"/predict/{NAME}" not in empty.get_json()["paths"]
    tags = [empty.headers["ETag"]]
    for number, threshold in enumerate((0.3, 0.7), start=1):
        promote(registry, push(registry, tmp_path / f"run-{number}", model(threshold=threshold)))
        assert own.refresh()
        found = client.get("/openapi.json", headers={"If-None-Match": tags[-1]})
        operation = found.get_json()["paths"][f"/predict/{NAME}"]["post"]
        assert f"Version {number}" in operation["description"]
        example = operation["responses"]["200"]["content"]["application/json"]["example"]
        assert (example["version"], example["threshold"]) == (number, threshold)
        tags.append(found.headers["ETag"])
    assert len(set(tags)) == 3


def signature_of(*columns: Column, **options: Any) -> Signature:
    return Signature(
        use_case="small",
        title="Small",
        task="regression",
        candidate="c",
        columns=columns,
        id=None,
        target="answer",
        split={},
        versions={},
        example={},
        **options,
    )


def _row(signature: Signature) -> dict[str, Any]:
    return schemas.row(signature)


def _taken(signature: Signature, row: dict[str, Any]) -> bool:
    try:
        signature.check([row])
    except ValueError:
        return False
    return True


def test_a_common_pattern_is_described_in_words() -> None:
    make = text("make", pattern=r"^\S(?:.*\S)?$", longest=40)
    assert schemas.bounds(make) == ["at most 40 characters", "no space at either end"]
    assert schemas.bounds(text("postcode", pattern=r"^\d{5}$")) == [r"matches ^\d{5}$"]
