"""Tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table


def evaluation_table(facts: dict[str, Any]) -> Table:
    """Show an `evaluation.json` as a table: a row for each candidate, the chosen one bold, and one for the champion.

    It fits into 80 columns: a metric's name breaks at its underscore.
    """
    positive = "" if facts["positive"] is None else f", {facts['positive']:,} positive"
    title = f"{facts['use_case']}: {facts['rows']:,} held-out rows{positive}; * is the chosen one"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", overflow="fold")
    for metric in facts["metrics"]:
        table.add_column(metric.replace("_", " "), justify="right")
    for name, figures in facts["candidates"].items():
        chosen = name == facts["chosen"]
        table.add_row(f"{name} *" if chosen else name, *_figures(figures), style="bold" if chosen else "")
    rival = facts["champion"]
    if rival and "metrics" in rival:
        table.add_row(f"champion, version {rival['version']}", *_figures(rival["metrics"]), style="dim")
    return table


def _figures(figures: dict[str, float]) -> list[str]:
    return [f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}" for value in figures.values()]
