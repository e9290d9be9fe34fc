"""### Extract, clean and load rows

`extract → clean → load`

Each task passes on the URI of what is in the run's folder, and nothing else. `extract` quarantines rows that do not fit
their types, `clean` applies the YAML's rules and stops the run when a critical expectation of the suite fails, and
`load` writes each row once into every store of the YAML, however often it is loaded. A load that changes nothing is
**skipped**, with the counts in its log; one that changes rows is an event of the asset that trainings may wait for.

Everything else is in the ETL's YAML and suite. `extract` keeps both in the run's folder, and the run goes on with them
whatever becomes of the files; cleared from `extract`, it takes the new ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from airflow.sdk import DAG, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from outcome_messages import FailedRun, tell_of_quarantine
from stage_tasks import (
    StageRun,
    common_arguments,
    dag_ids,
    folded,
    reported,
    rows_asset,
    run_files,
    run_url,
    timetable,
)
from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.etl.definitions import parse, paths, unreadable
from updraft.etl.params import EtlParams, check_etl_params, file_of
from updraft.etl.schema import Etl
from updraft.usecase import from_file
from updraft.usecase.load import ETL_PREFIX


@dataclass(frozen=True, kw_only=True)
class EtlRun(StageRun):
    """What a task needs: the ETL with the run's parameters, and the run's files."""

    etl: Etl
    params: EtlParams


@contextmanager
def stage(name: str, verb: str) -> Iterator[EtlRun]:
    """Load the run's configuration, fold a task's log, and fail for good, in one line, on what a person must mend."""
    from updraft.etl.configuration import ETL
    from updraft.stages.configuration import begin_run, resume_run

    context = get_current_context()
    with reported(verb):
        params = check_etl_params(context["dag_run"].conf or {})
        run_id: str = context["run_id"]
        with run_files(f"{ETL_PREFIX}{name}", run_id, verb, first="extract") as files:
            first = verb == "extract"
            etl = begin_run(ETL, name, files, context["ti"].max_tries) if first else resume_run(ETL, name, files)
            with folded(f"{verb} {name}"):
                yield EtlRun(etl=etl, params=params, run_id=run_id, files=files, out=files.out(verb))


@task
def extract(name: str) -> str:
    """Stream the source's rows into a dataset; quarantine those that do not fit their columns' types."""
    from connections import source_address
    from updraft.etl.check import require_valid
    from updraft.etl.extract import extract
    from updraft.sources import open_source
    from updraft.stages.configuration import FOLDER

    with stage(name, "extract") as run:
        require_valid(name, run.files.folder / FOLDER)
        etl = from_file(run.etl, file_of(run.params.data, os.environ)) if run.params.data else run.etl
        with open_source(etl.extracted, source_address, run.params.limit) as source:
            dataset = extract(etl, source, run.out)
        tell_of_quarantine(etl, run.out, run_url(etl.dag_id, run.run_id))
        return run.files.upload(dataset, run.out)


@task
def clean(name: str, extracted: str) -> str:
    """Apply the YAML's rules, and hold the cleaned rows against the suite; a critical failure stops the run."""
    from updraft.etl.clean import clean

    with stage(name, "clean") as run:
        dataset = clean(run.etl, run.download(extracted, "extract"), run.out)
        return run.files.upload(dataset, run.out)


@task
def load(name: str, cleaned: str) -> str:
    """Write each row once into every store; skip when all of them are there as they are."""
    from connections import source_address
    from updraft.etl.changes import Changes
    from updraft.etl.cleaned_files import JSON_LINES
    from updraft.etl.load import LOADED, load

    with stage(name, "load") as run:
        context = get_current_context()
        changes = Changes(run.files, context["ti"].max_tries)
        dataset = run.download(cleaned, "clean", JSON_LINES)
        counts = load(run.etl, dataset, source_address, run.out, on_change=changes.mark)
        loaded = run.files.upload(run.out / LOADED, run.out)
        if not changes.any:
            raise AirflowSkipException(f"all of {counts.unchanged:,} rows are there as they are: nothing is announced")
        context["outlet_events"][rows_asset(name)].extra = asdict(counts)
        changes.announced()
        return loaded


def read(name: str) -> tuple[Etl, str]:
    """Read what a DAG takes of an ETL outside of its tasks; also return the faults of YAML and suite.

    The parts of the YAML that have faults are at their defaults.
    """
    try:
        parsed = parse(name)
    except Exception as error:  # whatever it is, it must not hide the other ETLs
        return unreadable(name), f"{error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'}"
    return parsed.etl or unreadable(name), "\n".join(fault.format(ROOT) for fault in parsed.faults)


def build(dag_id: str, etl: Etl, faults: str) -> DAG:
    """Build the DAG of one ETL: the same tasks whatever is in its files, as runs may be under way.

    With `faults` the DAG says so, and `extract` of a new run fails with them.
    """
    with DAG(
        dag_id=dag_id,
        dag_display_name=f"etl {etl.name}",
        schedule=timetable(etl.schedule),
        on_failure_callback=FailedRun(etl.notify) if etl.notify else None,
        params={
            "limit": Param(
                None, type=["null", "integer"], minimum=1, title="Row limit", description="Empty: all rows."
            ),
            "data": Param(
                None,
                type=["null", "string"],
                title="File",
                description="A file of rows below the folder that UPDRAFT_DATA names. Empty: the ETL's source.",
            ),
        },
        **common_arguments(etl, "etl", faults, str(__doc__)),
    ) as dag:
        cleaned = clean(etl.name, extract(etl.name))
        load.override(outlets=[rows_asset(etl.name)])(etl.name, cleaned)
    return dag


for dag_id, name in dag_ids(ETL_PREFIX, (path.stem for path in paths())).items():
    globals()[dag_id] = build(dag_id, *read(name))
