"""The measuring of the pipeline itself, with few rows, and what it makes of figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.bench_pipeline.__main__ import measured, plan
from tests.bench_pipeline.goals import goals, verdict
from tests.bench_pipeline.one_stage import BOOSTED, FOREST, STAGES, TUTORIAL, WAYS
from tests.bench_pipeline.report import markdown, save
from tests.bench_pipeline.rows import Rows
from tests.bench_serving.report import machine
from updraft.stages.stage_folder import read_json


@pytest.mark.usefixtures("takes_long")
def test_the_ways_are_measured_on_rows_that_are_added_and_all_is_written(mongodb_url: str, tmp_path: Path) -> None:
    rows, ways = Rows(mongodb_url), {}
    for size in (1000, 1500):
        rows.grow_to(size)
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        collection = client.get_default_database()["vehicle_insurance"]
        documents = list(collection.find({}, {"_id": 0}))
    assert sorted(document.pop("id") for document in documents) == list(range(1500))
    assert len({tuple(document.items()) for document in documents}) > 1490  # none is there twice yet, but by chance
    for way in (TUTORIAL, BOOSTED):
        ways[way] = stages = measured(way, tmp_path / "stages", mongodb_url, 5)
        assert list(stages) == list(STAGES)
        assert all(stage["seconds"] > 0 and stage["megabytes"] > 50 for stage in stages.values())
        assert 0.5 < stages["evaluate"]["value"] < 1
    ways[FOREST] = ways[BOOSTED]
    results: dict[str, Any] = {"sizes": {"1500": {"trees": 5, "ways": ways}}, "growth": {"1500": ways[BOOSTED]}}
    results |= {"when": "2026-01-02T03:04", "machine": machine(), "data": rows.origin}
    results["goals"] = goals(results)
    save(results, tmp_path)
    assert read_json(tmp_path / "pipeline.json") == results
    assert (tmp_path / "pipeline.png").read_bytes().startswith(b"\x89PNG")
    page = markdown(results)
    assert "## 1,500 rows, forests of 5 trees" in page and "| stage | 1,500 rows |" in page
    assert (
        "| ROC AUC of boosted trees, less the forest's | 1,500 | 0 | ≥ -0.002 | met |" in page
        and not (tmp_path / "stages").exists()
    )


def test_what_is_measured_follows_from_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BIG", "GROWTH", "ROWS", "SIZES"):
        monkeypatch.delenv(name, raising=False)
    assert list(plan()) == [(50_000, 200, tuple(WAYS)), (381_109, 200, tuple(WAYS))]
    monkeypatch.setenv("BIG", "1")
    monkeypatch.setenv("GROWTH", "1")
    sizes = [(size, len(ways)) for size, _, ways in plan()]
    assert sizes == [(50_000, 3), (381_109, 3), (1_000_000, 1), (4_000_000, 3), (10_000_000, 1)]


def test_goals_say_by_how_much_they_are_missed() -> None:
    def stages(seconds: float, megabytes: float, auc: float) -> dict[str, Any]:
        return {stage: {"seconds": seconds, "megabytes": megabytes, "value": auc} for stage in STAGES}

    ways = {TUTORIAL: stages(10, 7000, 0.88), FOREST: stages(4, 1000, 0.88), BOOSTED: stages(2, 900, 0.875)}
    growth = {"50000": stages(1, 200, 0.88), "4000000": stages(9, 590, 0.88), "10000000": stages(20, 500, 0.88)}
    results = {
        "sizes": {"50000": {"ways": ways}, "4000000": {"ways": ways}},
        "growth": growth,
        "airflow": {"median": 1.8},
    }
    verdicts = {(goal["goal"], goal["rows"]): verdict(goal) for goal in goals(results)}
    assert verdicts == {
        ("ingest, times faster", 4_000_000): ("≥ 4", "missed: 0.62 of it"),
        ("whole pipeline with the same forest, times faster", 4_000_000): ("≥ 1.7", "met"),
        ("whole pipeline with boosted trees, times faster", 4_000_000): ("≥ 4", "met"),
        ("greatest memory, times less", 4_000_000): ("≥ 7", "met"),
        ("ROC AUC of boosted trees, less the forest's", 50_000): ("≥ -0.002", "missed"),
        ("validate, MB", 4_000_000): ("≤ 600", "met"),
        ("transform, MB", 10_000_000): ("≤ 400", "missed: 1.25 of it"),
        ("ingest, memory, times that of 50,000 rows", 10_000_000): ("≤ 1.25", "missed: 2.00 of it"),
        ("six tasks that do nothing, seconds, median", None): ("≤ 1.5", "missed: 1.20 of it"),
    }
