"""The figures of the pipeline as tables, beside the goals, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench_pipeline.goals import total, verdict
from tests.bench_pipeline.one_stage import STAGES, TUTORIAL
from tests.bench_pipeline.picture import draw
from tests.bench_pipeline.rows import DISTINCT

Figures = Mapping[str, Any]
Ways = Mapping[str, Mapping[str, Figures]]


def print_size(rows: int, trees: int, ways: Ways) -> None:
    """Print seconds and memory of each stage, a column for each way."""
    print(f"\n{rows:,} rows, {trees} trees{'':<8}" + "".join(f"{way:>34}" for way in ways), flush=True)
    for stage, cells in _compared(ways):
        print(f"{stage:<30}" + "".join(f"{cell:>34}" for cell in cells), flush=True)


def print_growth(growth: Mapping[str, Mapping[str, Figures]]) -> None:
    """Print memory and seconds of each stage, a column for each size."""
    if growth:
        print(f"\n{'boosted trees, rows':<30}" + "".join(f"{int(rows):>22,}" for rows in growth))
    for stage in STAGES if growth else ():
        print(f"{stage:<30}" + "".join(f"{_cell(stages[stage]):>22}" for stages in growth.values()))


def print_goals(goals: Sequence[Figures]) -> None:
    """Print each goal with its verdict."""
    print(f"\n{'goal':<56}{'rows':>12}{'measured':>12}{'goal':>10}")
    for goal in goals:
        asked, met = verdict(goal)
        print(f"{goal['goal']:<56}{_rows(goal):>12}{goal['measured']:>12,.4g}{asked:>10}  {met}")


def save(results: Figures, folder: Path) -> None:
    """Write pipeline.json and pipeline.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if results["sizes"] or results["growth"]:
        draw(results["sizes"], results["growth"], folder / "pipeline.png")


def markdown(results: Figures) -> str:
    """Return the tables as a page, which docs/scale.md points to."""
    machine = results["machine"]
    lines = [
        "# The pipeline, measured",
        "",
        "Written by `make bench`; the figures are in [pipeline.json](pipeline.json).",
        f"{results['when'][:10]}, {machine['cores']} cores ({machine['processor']}), Python {machine['python']}, "
        f"load {machine['load']:g} at the start; rows {results['data']}.",
        "",
        "![](pipeline.png)",
        "",
        f"Above {DISTINCT:,} rows some are there several times. The tutorial's random split has such a row in training "
        "and in test, so that its ROC AUC is too high; a split by hash keeps them together.",
    ]
    for rows, size in results["sizes"].items():
        title = f"{int(rows):,} rows, forests of {size['trees']} trees"
        lines += ["", f"## {title}", "", *_table(["stage", *size["ways"]], _compared(size["ways"]))]
    if growth := results["growth"]:
        cells = ((stage, [_cell(stages[stage]) for stages in growth.values()]) for stage in STAGES)
        head = ["stage", *(f"{int(rows):,} rows" for rows in growth)]
        lines += ["", "## Growth, with boosted trees", "", *_table(head, cells)]
    if airflow := results.get("airflow"):
        warm = airflow["runs"][airflow["cold"] :]
        lines += ["", "## Airflow's own time", "", f"Six tasks that do nothing, {len(warm)} warm runs: median "
                  f"{airflow['median']:.2f} s, {airflow['least']:.2f} to {airflow['greatest']:.2f} s."]  # fmt: skip
    goals = ((goal["goal"], [_rows(goal), f"{goal['measured']:,.4g}", *verdict(goal)]) for goal in results["goals"])
    lines += ["", "## Goals", "", *_table(["goal", "rows", "measured", "asked", ""], goals)]
    most = max(size["trees"] for size in results["sizes"].values())
    for rows, size in results["sizes"].items():
        if size["trees"] < most:
            fewer = f"{size['trees']} trees in place of {most}"
            lines += ["", f"Of {int(rows):,} rows the forests have {fewer}: the boosted trees are beside less work."]
    return "\n".join(lines) + "\n"


def _compared(ways: Ways) -> Iterator[tuple[str, list[str]]]:
    for stage in STAGES:
        yield stage, [_cell(stages[stage]) for stages in ways.values()]
    keys = ("seconds", "cpu", "megabytes")
    yield "total", [_cell({key: total(stages, key) for key in keys}) for stages in ways.values()]
    yield "ROC AUC", [f"{stages['evaluate']['value']:.4f}" for stages in ways.values()]
    first = ways[TUTORIAL]
    yield "times faster", [f"{total(first, 'seconds') / total(stages, 'seconds'):.1f}" for stages in ways.values()]


def _cell(stage: Figures) -> str:
    return f"{stage['seconds']:.1f} s, {stage['megabytes']:,.0f} MB"


def _rows(goal: Figures) -> str:
    return f"{goal['rows']:,}" if goal["rows"] else ""


def _table(head: Sequence[str], rows: Iterator[tuple[str, list[str]]]) -> list[str]:
    lines = [f"| {' | '.join([name, *cells])} |" for name, cells in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]
