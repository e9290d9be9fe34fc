"""The measuring itself, on the constant route: what it counts, and that a server that sleeps answers nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.bench_serving.client import post, send, write_bodies
from tests.bench_serving.models import Trained
from tests.bench_serving.peers import FLOOR, OURS, peers, with_workers
from tests.bench_serving.processes import CLIENT_CORE, running
from tests.bench_serving.report import GOALS, MEMORY, print_goals

pytestmark = pytest.mark.skipif(not (shutil.which("wrk") and shutil.which("taskset")), reason="no wrk or no taskset")


@pytest.mark.usefixtures("starts_servers")
def test_requests_are_sent_counted_and_weighed(tmp_path: Path) -> None:
    (floor,) = peers([FLOOR], Trained("none", tmp_path, []), {}, tmp_path)
    bodies = write_bodies([{"row": 1}, {"row": 2}], tmp_path / "bodies")
    with running(with_workers(floor, 2), floor.path, b"{}", tmp_path / "log") as server:
        before = server.cpu()
        load = send(server.port, floor.path, bodies, 4, 1, CLIENT_CORE)
        assert load.requests > 50 and load.failed == 0 and 0 < load.p50 <= load.p99
        assert server.cpu() > before
        assert 0 < server.memory().pss < server.memory().rss
        wrong = send(server.port, "/elsewhere", bodies, 4, 1, CLIENT_CORE)
        assert wrong.failed == wrong.requests > 0
        server.sleep()
        assert {each.status() for each in server.tree()} == {"stopped"}
        with server.awake():
            assert json.loads(post(server.port, floor.path, b"{}")[1])["predictions"] == [1]


def test_goals_say_by_how_much_they_are_missed(capsys: pytest.CaptureFixture[str]) -> None:
    ours = {"rate 64": 40.0, "rate 1": 100.0, "p50 1": 2.0}
    theirs = {"rate 64": 1.0, "rate 1": 100.0, "p50 1": 40.0}
    two = {"pss": MEMORY * 2, "rss": MEMORY * 3}
    figures = {"Updraft": {name: {"median": value} for name, value in ours.items()} | {"two workers": two}}
    figures |= {
        name: {key: {"median": value} for key, value in theirs.items()} for name in {goal.of for goal in GOALS} - {OURS}
    }
    found = {goal["goal"]: (goal["met"], round(goal["of_goal"], 3)) for goal in print_goals({
        "models": {"reference_forest": figures}
    })}  # fmt: skip
    assert found["c=64, times MLflow"] == (False, 0.4)
    assert found["c=1, share of the constant route"] == (True, 1.538)
    assert found["p50 at c=1, share of MLflow's"] == (False, 0.5)
    assert found["two workers, MB (PSS)"] == (False, 0.5)
    assert (
        "c=64, times MLflow                                  40   ≥   100  missed: 0.40 of it"
        in capsys.readouterr().out
    )
