"""### Train, judge and push a model

`ingest → validate → transform → train (one for each candidate) → evaluate → push`

Each task passes on the URI of what it wrote under the run's folder, and nothing else. `ingest` quarantines rows that do
not fit the suite's types, `validate` stops the run when a critical expectation fails, `evaluate` decides, and `push` is
**skipped**, with its reason in the log, when the challenger does not beat the champion.

Everything else, the schedule, candidates, floors and margins, is in the use case's YAML and suite.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.sdk import DAG, Asset, CronTriggerTimetable, Param, get_current_context, get_parsing_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from updraft.errors import UserError
from updraft.run_params import RunParams
from updraft.stages.runs import RunFiles, Stage, artifacts, folder_of
from updraft.usecase import BadUseCase, UseCase, check_params, load, paths, with_params

log = logging.getLogger("airflow.task")


@dataclass(frozen=True)
class StageRun:
    """What a task needs: the use case with the run's parameters, and the run's files."""

    case: UseCase
    params: RunParams
    run_id: str
    files: RunFiles
    out: Path


@contextmanager
def stage(name: str, verb: Stage) -> Iterator[StageRun]:
    """Load the use case for a task, fold its log, and fail for good, in one line, on what a person must mend."""
    context = get_current_context()
    run_id: str = context["run_id"]
    started = time.monotonic()
    try:
        with folded(f"{verb} {name}"):
            params = check_params(dict(context["params"]) | (context["dag_run"].conf or {}))
            with files_of(name, run_id, verb) as files:
                yield StageRun(with_params(load(name), params), params, run_id, files, files.out(verb))
    except UserError as error:
        log.error("%s", error)
        raise AirflowFailException(str(error)) from None
    finally:
        log.info("%s: %.1f s", verb, time.monotonic() - started)


@contextmanager
def files_of(name: str, run_id: str, verb: Stage) -> Iterator[RunFiles]:
    """Yield the run's files, in the artifacts folder or, where that is an s3:// URI, on S3."""
    root = os.environ.get("UPDRAFT_ARTIFACTS", "")
    if not root.startswith("s3://"):
        yield RunFiles(folder_of(artifacts(os.environ), name, run_id))
        return
    from connections import s3_client
    from updraft.stages.runs_on_s3 import s3_run_files

    place = folder_of(Path(), name, run_id).as_posix()
    with s3_run_files(f"{root.rstrip('/')}/{place}", s3_client(), verb) as files:
        yield files


@contextmanager
def folded(title: str) -> Iterator[None]:
    """Fold what is logged meanwhile into one line of the task's log."""
    log.info("::group::%s", title)
    try:
        yield
    finally:
        log.info("::endgroup::")


@task
def ingest(name: str) -> str:
    """Stream the source's rows into a dataset of the suite's types; quarantine those that do not fit."""
    from connections import source_address
    from updraft.sources import open_source
    from updraft.stages.check import require_valid
    from updraft.stages.ingest import ingest

    with stage(name, "ingest") as run:
        require_valid(name)
        with open_source(run.case, source_address, run.params.limit) as source:
            dataset = ingest(run.case, source, run.out)
        return run.files.upload(dataset, run.out)


@task
def validate(name: str, dataset: str) -> str:
    """Hold the dataset against the use case's suite; a critical expectation that fails stops the run."""
    from updraft.stages.validate import validate

    with stage(name, "validate") as run:
        return run.files.upload(validate(run.case, run.files.download(dataset), run.out), run.out)


@task
def transform(name: str, dataset: str) -> str:
    """Split the dataset by the use case's rule."""
    from updraft.stages.transform import transform

    with stage(name, "transform") as run:
        return run.files.upload(transform(run.case, run.files.download(dataset), run.out), run.out)


@task(map_index_template="{{ candidate }}")
def train(name: str, split: str, candidate: str) -> str:
    """Fit one candidate; its score and threshold come from cross-validation on the training rows."""
    from updraft.stages.train import train

    get_current_context()["candidate"] = candidate  # type: ignore[typeddict-unknown-key]
    with stage(name, "train") as run:
        model = train(run.case, candidate, run.files.download(split), run.out / candidate)
        return run.files.upload(model, model)


@task
def evaluate(name: str, split: str, models: list[str]) -> str:
    """Choose a candidate, measure it and the champion on the same held-out rows, and decide."""
    from connections import registry
    from updraft.stages.evaluate import evaluate
    from updraft.stages.push import champion

    with stage(name, "evaluate") as run:
        download = run.files.download
        rival = champion(run.case, registry(), run.files.folder / "champion")
        # The slice is one request, which raises; read one by one, an error would end the list early.
        trained = [download(model) for model in models[:]]
        chosen = evaluate(run.case, trained, download(split), rival, run.out)
        return run.files.upload(chosen, run.out)


@task
def push(name: str, models: list[str], split: str, dataset: str, evaluation: str) -> str:
    """Store the version and move production to it when the decision says so; skip when it does not."""
    from connections import registry
    from updraft.stages.push import push
    from updraft.stages.runs import Run

    with stage(name, "push") as run:
        context, download = get_current_context(), run.files.download
        me = Run(run.run_id, run.files, f"airflow:{context['dag'].dag_id}", _run_url(context["dag"].dag_id, run.run_id))
        trained = [download(model) for model in models[:]]  # the slice is one request, as in `evaluate`
        store = registry()
        outcome = push(run.case, trained, download(split), download(dataset), download(evaluation), store, me)
        if outcome.version is None:
            raise AirflowSkipException(outcome.reason)
        event = {"version": outcome.version.number, "decision": outcome.decision, "reason": outcome.reason}
        context["outlet_events"][model_asset(name)].extra = event
        return f"{store.bucket}/{name}/versions/{outcome.version.number:04d}"


def model_asset(name: str) -> Asset:
    """Return the asset that stands for a use case's model; each version in the registry is an event of it."""
    return Asset(name=f"{name}_model", uri=f"x-updraft://registry/{name}")


def access() -> dict[str, dict[str, set[str]]] | None:
    """Let the role that UPDRAFT_TRAINER_ROLE names start and follow runs, also of a use case that comes later.

    Only Airflow's FAB auth manager has roles; it asks for `can_edit` of who starts a run, and the role must exist.
    """
    role = os.environ.get("UPDRAFT_TRAINER_ROLE")
    return {role: {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_create", "can_read"}}} if role else None


def build(case: UseCase) -> DAG:
    """Build the DAG of one use case."""
    with DAG(
        dag_id=f"train_{case.name}",
        dag_display_name=f"train {case.name}",
        description=case.title,
        doc_md=__doc__,
        # Without a start date and with run_immediately=False, the first unpausing makes no run for a tick long gone.
        schedule=CronTriggerTimetable(case.schedule, timezone="UTC", run_immediately=False) if case.schedule else None,
        catchup=False,
        max_active_runs=1,
        tags=["training", case.name],
        access_control=access(),
        default_args={
            "owner": case.owner,
            "retries": case.retry.tries,
            "retry_delay": case.retry.delay,
            "retry_exponential_backoff": 2.0,
            "execution_timeout": case.retry.timeout,
        },
        params={
            "limit": Param(
                None, type=["null", "integer"], minimum=1, title="Row limit", description="Empty: all rows."
            ),
            "seed": Param(
                None,
                type=["null", "integer"],
                minimum=0,
                maximum=2**32 - 1,
                title="Seed",
                description=f"Of the models; the split keeps its own. Empty: {case.seed}.",
            ),
            "promote": Param(
                case.promote,
                type="string",
                enum=["auto", "never"],
                title="Promote",
                description="never: store the version when it wins, and let a person promote it.",
            ),
        },
    ) as dag:
        dataset = validate(case.name, ingest(case.name))
        split = transform(case.name, dataset)
        models = train.partial(name=case.name, split=split).expand(candidate=list(case.candidates))
        evaluation = evaluate(case.name, split, models)
        push.override(outlets=[model_asset(case.name)])(case.name, models, split, dataset, evaluation)
    return dag


def broken(name: str, fault: str) -> DAG:
    """Build a DAG that stands in for a use case that cannot be loaded, so that people see it and why."""
    told = f"```\n{fault}\n```"
    with DAG(
        f"train_{re.sub('[^A-Za-z0-9_.-]', '_', name)}",
        schedule=None,
        description="cannot be loaded",
        doc_md=told,
        tags=["training"],
        access_control=access(),
    ) as dag:

        @task(retries=0)
        def configuration() -> None:
            raise AirflowFailException(fault)

        configuration()
    return dag


def _run_url(dag_id: str, run_id: str) -> str | None:
    base = os.environ.get("AIRFLOW_URL") or os.environ.get("AIRFLOW__API__BASE_URL")
    return f"{base}/dags/{dag_id}/runs/{quote(run_id, safe='')}" if base else None


wanted: Any = get_parsing_context().dag_id
for path in paths():
    if wanted not in (None, f"train_{path.stem}"):
        continue
    try:
        globals()[f"train_{path.stem}"] = build(load(path.stem))
    except BadUseCase as error:
        globals()[f"train_{path.stem}"] = broken(path.stem, str(error))
    except Exception as error:  # whatever it is, it must not hide the other use cases
        globals()[f"train_{path.stem}"] = broken(path.stem, f"{path}: {type(error).__name__}: {error}")
