"""A run with parameters that there are not is refused when it is triggered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.airflow_server import LIVE, AirflowServer
from updraft.airflow_client import AirflowError

RUNS = f"dags/train_{LIVE}/dagRuns"


def body(run_id: str, conf: Any) -> dict[str, Any]:
    return {"logical_date": None, "dag_run_id": run_id, "conf": conf}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"sede": 1}, "sede.*did you mean.*seed"),
        ({"seed": 1, "x": {"y": 2}}, "unknown key .*x"),
        ({"limit": 0}, "limit"),
    ],
)
def test_an_unknown_parameter_or_a_wrong_value_is_refused(
    api_server: AirflowServer, conf: dict[str, Any], message: str
) -> None:
    before = api_server.runs(f"train_{LIVE}")
    with pytest.raises(AirflowError, match=f"400.*run parameter .*{message}"):
        api_server.admin.request("POST", RUNS, body("wrong", conf))
    assert api_server.runs(f"train_{LIVE}") == before


@pytest.mark.parametrize("conf", [{"limit": 5, "seed": 7, "promote": "never"}, {}, None], ids=["all", "none", "null"])
def test_parameters_that_there_are_reach_the_run(
    api_server: AirflowServer, conf: dict[str, Any] | None, request: pytest.FixtureRequest
) -> None:
    made = api_server.admin.request("POST", RUNS, body(f"right-{request.node.callspec.id}", conf))
    assert made["conf"] == (conf or {}) and made["state"] == "queued"


@pytest.mark.parametrize("conf", ["text", [1]])
def test_what_is_no_configuration_is_left_to_airflow(api_server: AirflowServer, conf: Any) -> None:
    with pytest.raises(AirflowError, match="422"):
        api_server.admin.request("POST", RUNS, body("odd", conf))
