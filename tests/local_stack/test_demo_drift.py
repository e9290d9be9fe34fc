"""The loop on the whole stack, as a newcomer watches it: `updraft demo-drift`."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.support.local_stack import airflow, free_environment, run_ids, updraft
from tests.support.repository import copy_repository
from updraft.local_stack import drift_case, supervision
from updraft.local_stack.stack import Stack
from updraft.registry.registry import open_registry
from updraft.stages.stage_folder import read_json


@pytest.mark.timeout(1200)
def test_the_demo_of_drift_goes_round_the_loop(starts_stack: None, starts_airflow: None, tmp_path: Path) -> None:
    """Requests, prediction log, Parquet, monitor, asset, training, canary, feedback, roll back: by the stack alone."""
    stack = Stack(tmp_path / "home", free_environment(SERVING_SHIP_SECONDS="1"))
    repository = copy_repository(tmp_path / "repository")
    try:
        _go_round(stack, repository)
    finally:
        supervision.stop(stack.home)


def _go_round(stack: Stack, repository: Path) -> None:
    environ = stack.environ | {"COLUMNS": "200"}
    process = updraft(stack.home, environ, "demo-drift", root=repository)
    output, error = process.communicate(timeout=1100)
    assert process.returncode == 0, output + error
    assert [line.split()[0] for line in output.splitlines() if not line.startswith(" ")][:9] == [*"123456789"]
    assert "alarm: covariate, Vintage (PSI " in output and "→ retrain" in output
    assert "its cause, as the run's evaluation names it: Vintage" in output
    assert "alarm: performance, " in output and "→ roll back" in output
    steps = output[output.index("\n2 ") :].splitlines()  # the first one waits for programs, and says for which
    assert len(steps) <= 32 and "Traceback" not in output, output

    server, store, name = airflow(stack), open_registry(stack.settings()), drift_case.NAME
    actions = [(move.action, move.who) for move in store.history(name)]
    monitor = f"monitor:monitor_{name}"
    assert [action for action, _ in actions] == ["promote", "canary", "finish", "rollback"]
    assert [who for _, who in actions[1:]] == [f"airflow:train_{name}", monitor, monitor]
    assert store.production(name) == 1 and store.states(name).hold(store.version(name, 2).model_sha256)
    (started,) = [run_id for run_id in run_ids(server, f"train_{name}") if run_id.startswith("asset_triggered__")]
    cause = read_json(stack.home / "artifacts" / name / started / "evaluate" / "evaluation.json")["cause"]
    assert cause["columns"]["Vintage"] > 1 and (cause["version"], cause["signals"]) == (1, ["covariate"])
    assert cause["run_id"] in run_ids(server, f"monitor_{name}")
    page = requests.get(f"{stack.settings()['SERVING_URL']}/monitoring/{name}", timeout=60)
    assert page.status_code == 200 and "Vintage" in page.text
    left = [path for folder in ("include/usecases", "expectations") for path in (repository / folder).glob(f"{name}.*")]
    assert left == []  # its YAML and suite are there only while it runs
