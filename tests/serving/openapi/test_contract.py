"""The OpenAPI document held against the service by schemathesis, which sends what the document allows and what not."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from serving.app import AppOptions, create_app
from serving.prediction_log.prediction_log import PredictionLog
from serving.server import worker_lock
from tests.support.key_pairs import write_key_pair
from tests.support.served_models import load_live_models
from updraft.registry.registry import open_registry

EXAMPLES = 60  # of each operation


@pytest.fixture(scope="module")
def schema(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give the document of a service with a model of each kind, and a prediction log."""
    folder = tmp_path_factory.mktemp("contract")
    registry = open_registry({**s3, **write_key_pair(folder), "UPDRAFT_REGISTRY": f"s3://test-contract/{folder.name}"})
    log = PredictionLog(folder / "data", worker_lock.claim(folder / "data"))
    log.start()
    app = create_app(load_live_models(registry, folder), AppOptions(prediction_log=log), max_body=2**18, max_rows=50)
    yield schemathesis.openapi.from_wsgi("/openapi.json", app)
    log.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
def test_the_service_keeps_to_its_document(schema: Any, mode: GenerationMode) -> None:
    """No 5xx; statuses, types and bodies as they are written; what is allowed is taken and the rest refused."""
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:
        hold(operation, mode)


def hold(operation: Any, mode: GenerationMode) -> None:
    """Send cases of one operation; where there is nothing that it would not allow, none."""

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        assume(mode is GenerationMode.NEGATIVE or sayable(case))
        response = case.call()
        case.validate_response(response, excluded_checks=unjudged(response))

    try:
        each()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, operation.label


def sayable(case: Any) -> bool:
    """Tell whether JSON Schema has words for what a body must keep to: not for CSV, nor for columns of one length."""
    if case.media_type not in {None, "application/json"}:
        return False
    columns = case.body.get("columns") if isinstance(case.body, dict) else None
    return not isinstance(columns, dict) or len(set(map(len, columns.values()))) == 1


def unjudged(response: Any) -> list[Any]:
    """List the checks that do not apply: 413 is a way to refuse, and dates of some kinds have no words.

    They are those out of a column's range, and those that their offset takes out of the years 1 to 9999.
    """
    if response.status_code == 413:
        return [negative_data_rejection]
    faults = response.json().get("errors", []) if response.status_code == 422 else []
    wordless = ("T00:00:00 and 2030-12-31T00:00:00", "is out of the calendar's range in UTC")
    dates = [fault for fault in faults if any(words in fault["detail"] for words in wordless)]
    return [positive_data_acceptance] if faults and faults == dates else []
