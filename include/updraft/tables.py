"""Tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def evaluation_table(facts: dict[str, Any]) -> Table:
    """Show an `evaluation.json` as a table: a row for each candidate, the chosen one bold, and one for the champion."""
    table = Table(
        title=f"{facts['use_case']}: {facts['rows']:,} held-out rows, {facts['positive']:,} positive",
        title_justify="left",
    )
    table.add_column("model", no_wrap=True)
    for metric in facts["metrics"]:
        table.add_column(metric, justify="right")
    for name, figures in facts["candidates"].items():
        chosen = name == facts["chosen"]
        table.add_row(f"{name} (chosen)" if chosen else name, *_figures(figures), style="bold" if chosen else "")
    rival = facts["champion"]
    if rival and "metrics" in rival:
        table.add_row(f"champion, version {rival['version']}", *_figures(rival["metrics"]), style="dim")
    return table


def _figures(figures: dict[str, float]) -> list[str]:
    return [f"{value:.4f}" for value in figures.values()]
