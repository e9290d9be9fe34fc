"""`updraft clean NAME`: remove the files of old runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

import typer

from updraft.airflow_client import DAG_PREFIX
from updraft.cli.airflow_access import configured_airflow
from updraft.cli.parameters import next_step
from updraft.errors import UserError
from updraft.registry.s3 import Bucket, s3_client, split_uri
from updraft.stages.old_runs import LocalRunFolders, RunFolders, S3RunFolders, removable
from updraft.stages.run_disk import size
from updraft.stages.runs import artifacts
from updraft.usecase.load import ETL_PREFIX, MONITOR_PREFIX
from updraft.usecase.schema import NAME, NAME_RULE


def clean_runs(name: str, keep: int, yes: bool) -> None:
    """List the runs of a use case whose files may go and those that stay with the reason; with `yes` remove them."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is not a name of a use case: {NAME_RULE}")
    place, folders = _folders(name)
    old, staying = removable(folders.list(), keep, _states(name), datetime.now(UTC))
    outcome = "removed" if yes else "would be removed"
    for run_id, reason in staying.items():
        typer.echo(f"stays: {run_id}: {reason}")
    for run in old:
        if yes:
            folders.remove(run.run_id)
        typer.echo(
            f"{'removed' if yes else 'would be removed'}: {run.run_id} ({size(run.size)}, {run.written:%Y-%m-%d})"
        )
    total = size(sum(run.size for run in old))
    typer.echo(f"{place}: {len(old)} runs, {total}, {outcome}")
    if old and not yes:
        next_step(f"updraft clean {name} --keep-runs {keep} --yes")
    else:
        next_step(_after_cleaning(name))


def _after_cleaning(name: str) -> str:
    if name.startswith(ETL_PREFIX):
        return f"updraft etl {name.removeprefix(ETL_PREFIX)}"
    if name.startswith(MONITOR_PREFIX):
        return f"updraft monitor {name.removeprefix(MONITOR_PREFIX)} --since 7d"
    return f"updraft registry prune {name}, which lists old versions"


def _folders(name: str) -> tuple[str, RunFolders]:
    root = os.environ.get("UPDRAFT_ARTIFACTS", "")
    if not root.startswith("s3://"):
        folder = artifacts(os.environ) / name
        return str(folder), LocalRunFolders(folder)
    bucket = Bucket(s3_client(os.environ), *split_uri(f"{root.rstrip('/')}/{name}"))
    return str(bucket), S3RunFolders(bucket)


def _states(name: str) -> Callable[[str], str | None]:
    """Return a function that asks Airflow for the state of a run; AirflowError when it does not answer.

    Without AIRFLOW_URL there is nobody to ask.
    """
    airflow = configured_airflow()
    if airflow is None:
        return lambda run_id: None
    dag_id = name if name.startswith((ETL_PREFIX, MONITOR_PREFIX)) else f"{DAG_PREFIX}{name}"

    def state(run_id: str) -> str | None:
        run = airflow.run(dag_id, run_id)
        return run.state if run else None

    return state
