"""Runs of DAGs in the stack's Airflow: start one, follow it, find the one that an asset has started."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from updraft.airflow_client import Airflow, TaskInstance
from updraft.local_stack.environment import StackError
from updraft.local_stack.stack import Stack
from updraft.local_stack.task_progress import follow, task_name

WITHOUT_DAGS = "configuration.py: "  # the file of dags/ whose import error keeps no DAG from being parsed


@dataclass(frozen=True)
class DagRuns:
    """The runs of the stack's Airflow, shown on a console."""

    stack: Stack
    airflow: Airflow
    console: Console

    def start(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> None:
        """Start a run once the DAG is parsed."""
        self._wait_until_parsed(dag_id)
        if self.airflow.trigger(dag_id, run_id, conf) is None:
            raise StackError(f"{dag_id}: the run {run_id} exists already")
        self.airflow.unpause(dag_id)  # after the trigger, so that no scheduled run comes first

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG once it is parsed: an asset starts no run of one that is paused."""
        self._wait_until_parsed(dag_id)
        self.airflow.unpause(dag_id)

    def follow(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Show a run's tasks until it ends; return them. StackError when it has failed."""
        tasks = follow(self.airflow, dag_id, run_id, self.console)
        failed = [task for task in tasks if task.state == "failed"]
        if self.airflow.state(dag_id, run_id) != "success":
            failures = [f"{task_name(task)} failed: {self.airflow.failure(task)}" for task in failed]
            url = f"run: {self.airflow.url}/dags/{dag_id}/runs/{run_id}"
            raise StackError("\n".join([*(failures or ["no task failed; see the run"]), url]))
        return tasks

    def ids(self, dag_id: str) -> set[str]:
        """Return the ids of a DAG's runs."""
        return {run.dag_run_id for run in self.airflow.runs(dag_id)}

    def started_since(self, dag_id: str, before: set[str]) -> str:
        """Wait for a run that was not there before, and return its id."""
        words = {"pending": f"has not started {dag_id} yet", "unmet": f"has not started {dag_id} after the rows came"}
        wait = self.stack.wait("scheduler", self._report, **words)
        while not (new := self.ids(dag_id) - before):
            wait.check(self.stack.processes())
            time.sleep(0.5)
        return min(new)

    def _report(self, line: str) -> None:
        """Print a progress line below the heading of a step."""
        self.console.print(f"     {line}", highlight=False, markup=False, soft_wrap=True)

    def _wait_until_parsed(self, dag_id: str) -> None:
        words = {"pending": f"has not parsed {dag_id} yet", "unmet": f"has not found {dag_id} in dags/"}
        wait = self.stack.wait("dag-processor", self._report, **words)
        while self.airflow.dag(dag_id) is None:
            errors = [each for each in self.airflow.import_errors() if WITHOUT_DAGS not in each]
            if errors:
                raise StackError(f"{dag_id}: Airflow cannot read it: {'; '.join(errors)}")
            wait.check(self.stack.processes())
            time.sleep(0.5)
