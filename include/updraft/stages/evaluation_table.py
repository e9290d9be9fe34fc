"""The evaluation as a table for the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from updraft.model.number_format import format_metric


def evaluation_table(evaluation: dict[str, Any]) -> Table:
    """Format an `evaluation.json`: a row for each candidate, the chosen one bold, and one for the champion.

    It fits into 80 columns: metrics' names wrap at the underscore.
    """
    positive = "" if evaluation["positive"] is None else f", {evaluation['positive']:,} positive"
    title = f"{evaluation['use_case']}: {evaluation['rows']:,} held-out rows{positive}; * is the chosen one"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", overflow="fold")
    for metric in evaluation["metrics"]:
        table.add_column(metric.replace("_", " "), justify="right")
    for name, metrics in evaluation["candidates"].items():
        chosen = name == evaluation["chosen"]
        table.add_row(f"{name} *" if chosen else name, *_cells(metrics), style="bold" if chosen else "")
    champion = evaluation["champion"]
    if champion and "metrics" in champion:
        table.add_row(f"champion, version {champion['version']}", *_cells(champion["metrics"]), style="dim")
    return table


def _cells(metrics: dict[str, float]) -> list[str]:
    return [format_metric(value) for value in metrics.values()]
