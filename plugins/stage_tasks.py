"""What the tasks of every DAG have in common: a run's files, errors in one line, links, schedules and roles."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.providers.standard.decorators.python import _PythonDecoratedOperator
from airflow.sdk import (
    Asset,
    AssetAny,
    AssetOrTimeSchedule,
    BaseOperatorLink,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    RetryAction,
    RetryRule,
    TriggerRule,
    get_parsing_context,
)
from airflow.sdk.bases.decorator import task_decorator_factory
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout

from links import run_url as run_url
from notifications import note_failure
from task_summary import folded as folded
from updraft.errors import UserError
from updraft.stages.runs import RunFiles, artifacts, folder_of
from updraft.usecase.blocks import Retry
from updraft.usecase.rows_definition import CronSchedule, RowsDefinition, Schedule
from updraft.usecase.schema import NAME

log = logging.getLogger("airflow.task")


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """What every stage has of its run: the id, the files, the folder that it writes to. Each DAG adds its own."""

    run_id: str
    files: RunFiles
    out: Path

    def download(self, uri: str | None, stage: str, *beside: str) -> Path:
        """Return the local path of what `stage` returned; also fetch the files `beside` it."""
        if uri is None:
            raise UserError(nothing_from(stage))
        path = self.files.download(uri)
        for name in beside:
            self.files.download(f"{uri.rpartition('/')[0]}/{name}")
        return path


class FailedForGood(SystemExit):
    """Ends a task that a person must mend, without another try.

    Of an exit Airflow logs one line; of exceptions, also of its own AirflowFailException, it logs the traceback.
    """


NO_OTHER_TRY = RetryRule(FailedForGood, RetryAction.FAIL, reason="a person has to mend what is wrong")


@contextmanager
def reported(verb: str) -> Iterator[None]:
    """Fail for good, in one line, on what a person must mend; log the seconds."""
    started = time.monotonic()
    try:
        yield
    except UserError as error:
        log.error("%s", error)
        note_failure(error)
        raise FailedForGood(1) from None
    except AirflowSkipException as skipped:
        log.info("skipped: %s", skipped)  # Airflow says so inside of a folded group
        raise
    except (Exception, AirflowTaskTimeout) as error:
        note_failure(error)
        raise
    finally:
        log.info("%s: %.1f s", verb, time.monotonic() - started)


@contextmanager
def run_files(folder: str, run_id: str, verb: str, first: str) -> Iterator[RunFiles]:
    """Yield the run's files, in the artifacts folder or, where that is an s3:// URI, on S3.

    `folder` is that of all runs of a DAG, `first` the DAG's first stage. What goes wrong with a file is explained.
    """
    from updraft.stages.run_disk import explain_file_errors, warn_when_nearly_full

    with _files(folder, run_id, verb, first) as files, explain_file_errors(files.folder, files.out(verb)):
        warn_when_nearly_full(files.folder)
        yield files


@contextmanager
def _files(folder: str, run_id: str, verb: str, first: str) -> Iterator[RunFiles]:
    root = os.environ.get("UPDRAFT_ARTIFACTS", "")
    if not root.startswith("s3://"):
        yield RunFiles(folder_of(artifacts(os.environ), folder, run_id), first)
        return
    from connections import s3_client
    from updraft.stages.runs_on_s3 import s3_run_files

    place = folder_of(Path(), folder, run_id).as_posix()
    with s3_run_files(f"{root.rstrip('/')}/{place}", s3_client(), verb, first) as files:
        yield files


def linked_task(*links: BaseOperatorLink) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator like `@task`, of a task that shows links: a class of operators has these, not an operator."""
    operator = type("LinkedTask", (_PythonDecoratedOperator,), {"operator_extra_links": links})
    return lambda function: task_decorator_factory(function, decorated_operator_class=operator)


def nothing_from(stage: str) -> str:
    """Say that a stage has no result, and what mends it."""
    return f"`{stage}` left nothing: a person marked it as success or skipped it; clear the run from `{stage}`"


def rows_asset(etl: str) -> Asset:
    """Return the asset that stands for the rows that an ETL loads; each load that changes some is an event of it."""
    return Asset(name=f"{etl}_rows", uri=f"x-updraft://etl/{quote(etl)}")


def retraining_asset(name: str) -> Asset:
    """Return the asset that has an event when the monitor asks for a training; the event's extra is the cause."""
    return Asset(name=f"{name}_retraining", uri=f"x-updraft://retraining/{quote(name)}")


def timetable(schedule: CronSchedule | None, *others: Asset) -> Any:
    """Return what Airflow takes as a DAG's schedule: a cron expression in UTC, loads of ETLs, events of other assets.

    The first unpausing makes no run for a tick that is over. With run_immediately=False, which promises that, Airflow
    3.3 makes one for a tenth of the time up to the next: on a Monday for what runs on Mondays.
    """
    times = schedule.cron if schedule else None
    cron = CronTriggerTimetable(times, timezone="UTC", run_immediately=timedelta(0)) if times else None
    etls = schedule.after if isinstance(schedule, Schedule) else ()
    after = [*(rows_asset(name.removeprefix("etl_")) for name in etls), *others]
    assets = AssetAny(*after) if after else None
    if cron and assets:
        return AssetOrTimeSchedule(timetable=cron, assets=assets)
    return cron or assets


def common_arguments(definition: RowsDefinition, kind: str, faults: str, doc: str) -> dict[str, Any]:
    """Return the arguments of a DAG that follow from its definition; with `faults` the DAG says so."""
    return {
        "description": f"cannot be loaded: {faults.splitlines()[0]}" if faults else definition.title,
        "doc_md": f"### Cannot be loaded\n\n```\n{faults}\n```\n\n{doc}" if faults else doc,
        "catchup": False,
        "max_active_runs": 1,
        "tags": [kind, definition.name, *(["cannot be loaded"] if faults else [])],
        "access_control": access(),
        "default_args": default_args(definition.owner, definition.retry),
    }


def access() -> dict[str, dict[str, set[str]]] | None:
    """Let the role that UPDRAFT_TRAINER_ROLE names start and follow runs, also of a use case that comes later.

    Only Airflow's FAB auth manager has roles; it asks for `can_edit` of who starts a run, and the role must exist.
    """
    role = os.environ.get("UPDRAFT_TRAINER_ROLE")
    return {role: {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_create", "can_read"}}} if role else None


def default_args(owner: str, retry: Retry) -> dict[str, Any]:
    """Return the arguments of each task: its owner and its retries."""
    return {
        "owner": owner,
        "retries": retry.tries,
        "retry_delay": retry.delay,
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": retry.max_delay,
        "retry_policy": ExceptionRetryPolicy([NO_OTHER_TRY]),
        "execution_timeout": retry.timeout,
        # When a person skips a task, the next one is not skipped, too: it fails and says what it lacks.
        "trigger_rule": TriggerRule.NONE_FAILED,
    }


def dag_ids(prefix: str, names: Iterable[str]) -> dict[str, str]:
    """Return each name by the id of its DAG: `prefix` and what Airflow allows of the name.

    A worker asks for one DAG: its YAML may have been removed since the run began.
    """
    ids: dict[str, str] = {}
    for name in sorted(sorted(names), key=lambda name: not NAME.fullmatch(name)):
        ids.setdefault(f"{prefix}{re.sub('[^A-Za-z0-9_.-]', '_', name)}", name)
    wanted = get_parsing_context().dag_id
    if not wanted:
        return ids
    return {wanted: ids.get(wanted, wanted.removeprefix(prefix))} if wanted.startswith(prefix) else {}
