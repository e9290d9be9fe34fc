"""Show the tasks of a run while it goes on: a live table on a terminal, else a line for each task that ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from updraft.airflow_client import Airflow, TaskInstance

DONE = ("success", "failed", "skipped", "upstream_failed", "removed")
COLOURS = {"success": "green", "failed": "red", "upstream_failed": "red", "skipped": "yellow", "running": "cyan"}


def follow(
    airflow: Airflow,
    dag_id: str,
    run_id: str,
    console: Console,
    until: Callable[[list[TaskInstance]], bool] = lambda tasks: False,
) -> list[TaskInstance]:
    """Show the tasks until the run ends, or `until` is true of them; return them."""
    printed: set[str] = set()
    with Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else nullcontext() as live:
        while True:
            ended = airflow.state(dag_id, run_id) in ("success", "failed")
            tasks = airflow.tasks(dag_id, run_id)
            if live:
                live.update(_table(tasks), refresh=True)
            else:
                _print_ended(tasks, printed, console)
            if ended or until(tasks):
                return tasks
            time.sleep(0.5)


def task_name(task: TaskInstance) -> str:
    """Return a task's id, with its candidate where it is mapped."""
    return task.task_id + (f" [{task.rendered_map_index or task.map_index}]" if task.map_index >= 0 else "")


def _table(tasks: list[TaskInstance]) -> Table:
    table = Table("task", "state", "seconds", box=None, padding=(0, 2), pad_edge=True)
    for task in tasks:
        state = task.state or "waiting"
        colour = COLOURS.get(state, "dim")
        table.add_row(f"   {escape(task_name(task))}", f"[{colour}]{state}[/]", _seconds(task))
    return table


def _print_ended(tasks: list[TaskInstance], printed: set[str], console: Console) -> None:
    """Print a line for each task that ended since the last call; `printed` is updated."""
    for task in tasks:
        name = task_name(task)
        if task.state in DONE and name not in printed:
            printed.add(name)
            console.print(f"     {name:<32} {task.state:<16} {_seconds(task):>7} s", highlight=False, markup=False)


def _seconds(task: TaskInstance) -> str:
    if task.duration is not None:
        return f"{task.duration:.1f}"
    if task.start_date is None:
        return ""
    return f"{(datetime.now(UTC) - task.start_date).total_seconds():.1f}"
