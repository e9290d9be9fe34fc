"""What is to be reached, and by how much it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.bench_pipeline.one_stage import BOOSTED, FOREST, TUTORIAL
from tests.bench_pipeline.rows import DISTINCT

# What, the size from which it counts, the way of ours, the stage or all of them, seconds or megabytes, how many times.
RATIOS = [
    ("ingest, times faster", 381_109, FOREST, "ingest", "seconds", 4.0),
    ("whole pipeline with the same forest, times faster", 381_109, FOREST, "", "seconds", 1.7),
    ("whole pipeline with boosted trees, times faster", 381_109, BOOSTED, "", "seconds", 4.0),
    ("greatest memory, times less", 4_000_000, FOREST, "", "megabytes", 7.0),
]
# What, the stage, rows, and the most megabytes.
MEMORY = [
    ("validate, MB", "validate", 4_000_000, 600),
    ("transform, MB", "transform", 10_000_000, 400),
]
AUC_BELOW = 0.002  # by which the boosted trees may be below the forest, on the same rows
SIX_TASKS = 1.5  # seconds
GROWN = 1.25  # times the memory that ingest takes of the fewest rows, at most


def total(stages: Mapping[str, Mapping[str, Any]], key: str) -> float:
    """Add up seconds, or take the greatest memory, of a way's stages."""
    values = [stage[key] for stage in stages.values()]
    return max(values) if key == "megabytes" else sum(values)


def goals(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each goal that something was measured for, with what was measured and whether it is met."""
    return [*_ratios(results["sizes"]), *_memory(results["growth"]), *_six_tasks(results.get("airflow"))]


def _ratios(sizes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for what, least, way, stage, key, goal in RATIOS:
        for rows, size in sizes.items():
            if int(rows) >= least:
                theirs, ours = (
                    size["ways"][name][stage][key] if stage else total(size["ways"][name], key)
                    for name in (TUTORIAL, way)
                )
                yield _at_least(what, int(rows), theirs / ours, goal)
    for rows, size in sizes.items():
        theirs, ours = (size["ways"][name]["evaluate"]["value"] for name in (FOREST, BOOSTED))
        if int(rows) <= DISTINCT:
            yield _at_least("ROC AUC of boosted trees, less the forest's", int(rows), ours - theirs, -AUC_BELOW)


def _memory(growth: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for what, stage, rows, most in MEMORY:
        if str(rows) in growth:
            yield _at_most(what, rows, growth[str(rows)][stage]["megabytes"], most)
    if len(growth) > 1:
        fewest, most_rows = min(growth, key=int), max(growth, key=int)
        ratio = growth[most_rows]["ingest"]["megabytes"] / growth[fewest]["ingest"]["megabytes"]
        yield _at_most(f"ingest, memory, times that of {int(fewest):,} rows", int(most_rows), ratio, GROWN)


def _six_tasks(airflow: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    if airflow:
        yield _at_most("six tasks that do nothing, seconds, median", None, airflow["median"], SIX_TASKS)


def _at_least(what: str, rows: int | None, measured: float, goal: float) -> dict[str, Any]:
    return {"goal": what, "rows": rows, "measured": measured, "least": goal, "met": measured >= goal}


def _at_most(what: str, rows: int | None, measured: float, goal: float) -> dict[str, Any]:
    return {"goal": what, "rows": rows, "measured": measured, "most": goal, "met": measured <= goal}


def verdict(goal: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is asked, and whether it is met or by how much it is missed."""
    bound = goal.get("least", goal.get("most"))
    asked = f"{'≥' if 'least' in goal else '≤'} {bound:g}"
    if goal["met"]:
        return asked, "met"
    return asked, f"missed: {goal['measured'] / bound:.2f} of it" if bound > 0 else "missed"
