"""### Watch a model in production

`collect → drift → performance → decide → retrain, roll_back`, and beside them `rollout`

Each task passes on the URI of what is in the run's folder, and nothing else. `collect` reads the predictions of the
YAML's `monitor: window`, and the labels that are known of them by now; `drift` compares them with the rows that the
version in production was trained on, `performance` with what its evaluation promised. `decide` writes a report and
says what follows by `monitor: act`; `retrain` and `roll_back` are **skipped**, with the reason in the log, where that
is nothing, or was done within the cool-down already. `rollout` finishes or aborts the rollout of a version that is
tried beside production, and is skipped while none is, or while it is too early to say.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, TriggerRule, get_current_context, get_parsing_context, task
from airflow.sdk.exceptions import AirflowSkipException

from outcome_messages import FailedRun, tell_of_finish, tell_of_roll_back
from stage_tasks import (
    StageRun,
    common_arguments,
    dag_ids,
    folded,
    reported,
    retraining_asset,
    run_files,
    run_url,
    timetable,
)
from updraft.usecase import UseCase, parse, paths, unreadable
from updraft.usecase.load import MONITOR_PREFIX
from updraft.usecase.monitor_block import Monitor

log = logging.getLogger("airflow.task")

ASKED = "asked"  # the key of the asset's state: when, and by which run, a training was asked for last


@dataclass(frozen=True, kw_only=True)
class MonitoringRun(StageRun):
    """What a task needs: the use case, its `monitor` block, and the run's files."""

    case: UseCase
    monitor: Monitor

    @property
    def url(self) -> str | None:
        """The run's page in Airflow."""
        return run_url(f"{MONITOR_PREFIX}{self.case.name}", self.run_id)


@contextmanager
def stage(name: str, verb: str) -> Iterator[MonitoringRun]:
    """Load the run's configuration, fold a task's log, and fail for good, in one line, on what a person must mend."""
    from updraft.stages.configuration import begin, resume

    context = get_current_context()
    run_id: str = context["run_id"]
    with reported(verb), run_files(f"{MONITOR_PREFIX}{name}", run_id, verb, first="collect") as files:
        case = begin(name, files, context["ti"].max_tries) if verb == "collect" else resume(name, files)
        with folded(f"{verb} {name}"):
            yield MonitoringRun(
                case=case, monitor=case.monitor or Monitor(), run_id=run_id, files=files, out=files.out(verb)
            )


@task
def collect(name: str) -> str:
    """Read the predictions of the window and the labels that are known of them, of the version in production."""
    from connections import predictions, registry
    from updraft.predictions.reading import Period
    from updraft.predictions.reading import read as shipped
    from updraft.stages.monitor.collect import Extent, collect
    from updraft.stages.monitor.observe import observe
    from updraft.stages.monitor.subject import read_subject

    with stage(name, "collect") as run:
        store = registry()
        if store.production(name) is None:
            raise AirflowSkipException(f"{name}: nothing is in production yet")
        subject, until = read_subject(store, name), datetime.now(UTC)
        since = until - run.monitor.window
        note_shipped(run.case)
        bucket = predictions()
        observed = observe(shipped(bucket, name, Period(since, until)), subject)
        collected = collect(subject, observed, Extent(str(bucket), since.isoformat(), until.isoformat()), run.out)
        return run.files.upload(collected, run.out)


def note_shipped(case: UseCase) -> None:
    """Note what is shipped before it is read, for the trigger that counts new predictions, if there is one."""
    context = get_current_context()
    for asset in context["inlets"]:
        if isinstance(asset, Asset):
            from new_rows import SEEN, prediction_counter, state_of_shipped

            context["asset_state_store"][asset].set(SEEN, state_of_shipped(case, prediction_counter(case.name)))


@task
def drift(name: str, collected: str) -> str:
    """Compare the predictions and what they were made of with what the version was trained on."""
    from updraft.stages.monitor.drift import drift

    with stage(name, "drift") as run:
        return run.files.upload(drift(run.monitor, run.download(collected, "collect"), run.out), run.out)


@task
def performance(name: str, collected: str) -> str:
    """Measure what is labelled by now against what the evaluation promised."""
    from updraft.stages.monitor.performance import performance

    with stage(name, "performance") as run:
        return run.files.upload(performance(run.monitor, run.download(collected, "collect"), run.out), run.out)


@task
def decide(name: str, collected: str, drift: str, performance: str) -> str:
    """Say what follows, write the report, and publish it beside the versions."""
    from connections import registry
    from updraft.stages.monitor.decide import decide
    from updraft.stages.monitor.publish import former_points, publish
    from updraft.stages.monitor.report import report

    with stage(name, "decide") as run:
        rows, drifted = run.download(collected, "collect"), run.download(drift, "drift")
        measured = run.download(performance, "performance")
        decision = decide(run.monitor, rows, drifted, measured, run.out)
        store = registry()
        former = former_points(store, name)
        report(rows, drifted, measured, decision, former, run.out)
        page = publish(store, name, run.out, former, run.url)
        uri = run.files.upload(decision, run.out)
    log.info("report: %s", page)
    return uri


@task
def retrain(name: str, decision: str) -> str:
    """Ask for a training, with the cause, where that follows and none was asked for within the cool-down."""
    from updraft.stages.monitor.act import asked_before, asked_now
    from updraft.stages.monitor.decide import RETRAIN, read_decision

    with stage(name, "retrain") as run:
        decided, context, asset = (
            read_decision(run.download(decision, "decide")),
            get_current_context(),
            retraining_asset(name),
        )
        if not decided.follows(RETRAIN):
            raise AirflowSkipException("no training follows")
        state = context["asset_state_store"][asset]
        if reason := asked_before(run.monitor, state.get(ASKED), run.run_id):
            raise AirflowSkipException(reason)
        state.set(ASKED, asked_now(run.run_id))
        context["outlet_events"][asset].extra = decided.cause(RETRAIN) | {"run_id": run.run_id}
        log.warning("a training is asked for: %s", decided.reason(RETRAIN))
        return decision


@task
def roll_back(name: str, decision: str) -> str:
    """Take back the version that was measured, where that follows and it is still in production."""
    from connections import registry
    from updraft.stages.monitor.act import Nothing, roll_back
    from updraft.stages.monitor.decide import ROLL_BACK, read_decision

    with stage(name, "roll_back") as run:
        decided = read_decision(run.download(decision, "decide"))
        if not decided.follows(ROLL_BACK):
            raise AirflowSkipException("no roll back follows")
        try:
            below = roll_back(run.monitor, decided, registry(), run.run_id)
        except Nothing as nothing:
            raise AirflowSkipException(str(nothing)) from None
        taken_back = f"version {decided.version} is taken back, version {below} is in production"
        tell_of_roll_back(run.case, taken_back, decided.reason(ROLL_BACK), run.url)
        return decision


@task
def rollout(name: str) -> None:
    """Finish or abort the rollout of a version that is tried beside production, by what both predicted since it began.

    It goes by itself, beside the other tasks: what is tried is not what is in production.
    """
    from connections import predictions, registry
    from updraft.predictions import reading
    from updraft.predictions.reading import Period
    from updraft.stages.monitor.act import Nothing
    from updraft.stages.monitor.rollout import Shipped, rollout

    with stage(name, "rollout") as run:
        shipped = Shipped(
            lambda since: reading.read(predictions(), name, Period(since)),
            lambda since: reading.read_errors(predictions(), name, Period(since)),
        )
        try:
            judged = rollout(run.case, registry(), shipped, run.run_id)
        except Nothing as nothing:
            raise AirflowSkipException(str(nothing)) from None
        if judged.verdict == "wait":
            raise AirflowSkipException(judged.reason)
        if judged.verdict == "finish":
            tell_of_finish(run.case, judged.version, judged.reason, run.url)
        else:
            taken_back = f"version {judged.version}, tried beside production, is taken back"
            tell_of_roll_back(run.case, taken_back, judged.reason, run.url)


def read(name: str) -> UseCase | None:
    """Read a use case that has a `monitor` block; one that cannot be read has the DAG of its training to say so.

    A worker asks for the DAG of a run that is under way, whatever has become of the YAML.
    """
    try:
        case = parse(name).case
    except Exception:  # whatever it is, it must not hide the other use cases
        case = None
    if case and case.monitor:
        return case
    return (case or unreadable(name)) if get_parsing_context().dag_id else None


def new_predictions(case: UseCase) -> list[Asset]:
    """Return the asset that has an event when enough predictions are new, where the schedule asks for it."""
    if case.monitor is None or not case.monitor.schedule.counts_rows:
        return []
    from new_rows import new_predictions_asset

    return [new_predictions_asset(case.name, case.monitor.schedule)]


def build(dag_id: str, case: UseCase) -> DAG:
    """Build the DAG that watches one use case."""
    arguments = common_arguments(case, "monitoring", "", str(__doc__))
    arguments["default_args"]["trigger_rule"] = TriggerRule.ALL_SUCCESS  # what has nothing to go on is skipped
    with DAG(
        dag_id=dag_id,
        dag_display_name=f"monitor {case.name}",
        schedule=timetable((case.monitor or Monitor()).schedule, *new_predictions(case)),
        on_failure_callback=FailedRun(case.notify) if case.notify else None,
        **arguments,
    ) as dag:
        collected = collect.override(inlets=new_predictions(case))(case.name)
        drifted = drift(case.name, collected)
        measured = performance(case.name, collected)
        decision = decide(case.name, collected, drifted, measured)
        drifted >> measured
        retrain.override(outlets=[retraining_asset(case.name)])(case.name, decision)
        roll_back(case.name, decision)
        collected >> rollout(case.name)
    return dag


for dag_id, name in dag_ids(MONITOR_PREFIX, (path.stem for path in paths())).items():
    if case := read(name):
        globals()[dag_id] = build(dag_id, case)
