"""#### Tasks

`ingest → validate → transform → train (one for each candidate) → evaluate → approve → push`

Each task passes on URIs of what is in the run's folder, and nothing else. `ingest` quarantines rows that do not fit the
suite's types, `validate` stops the run when a critical expectation fails, `evaluate` decides, and `push` is
**skipped**, with its reason in the log, when the challenger does not beat the champion. `approve` waits for a person
where `promote` says so, and is skipped elsewhere.

Everything else, the schedule, candidates, floors and margins, is in the use case's YAML and suite. `ingest` keeps both
in the run's folder, and the run goes on with them whatever becomes of the files; cleared from `ingest`, it takes the
new ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

from airflow.sdk import DAG, Asset, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from approval import FORM, ApproveOperator, Question, question, read_answer
from dag_docs import describe
from links import (
    CARD,
    VALIDATION,
    ModelCardLink,
    ReportLink,
    ServiceLink,
    VersionLink,
    question_url,
    service_url,
    tab_url,
    version_url,
)
from outcome_messages import FailedRun, tell_of_outcome, tell_of_quarantine, tell_of_question
from stage_tasks import (
    StageRun,
    common_arguments,
    dag_ids,
    folded,
    linked_task,
    nothing_from,
    reported,
    retraining_asset,
    run_files,
    run_url,
    timetable,
)
from task_summary import summary
from updraft.airflow_client import DAG_PREFIX
from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.model.number_format import format_hours
from updraft.run_params import RunParams, as_strict
from updraft.stages.runs import SPLIT, Stage
from updraft.usecase import UseCase, check_params, parse, paths, unreadable, with_params

if TYPE_CHECKING:
    from updraft.stages.push import Outcome

log = logging.getLogger("airflow.task")

APPROVE: Literal["approve"] = "approve"  # a task's id: no stage, as it writes nothing


@dataclass(frozen=True, kw_only=True)
class TrainingRun(StageRun):
    """What a task needs: the use case with the run's parameters, and the run's files."""

    case: UseCase
    params: RunParams
    lines: list[str]  # that the log shows after the folded part

    def dataset(self, uri: str | None, stage: Stage) -> Path:
        """Return the local path of a dataset, its manifest beside it."""
        from updraft.datasets.manifest import MANIFEST

        return self.download(uri, stage, MANIFEST)

    def models(self, uris: Sequence[str]) -> list[Path]:
        """Return the folders of the trained candidates, all of them."""
        # The slice is one request, which raises; read one by one, an error would end the list early.
        folders = [self.files.download(uri) for uri in uris[:]]
        if missing := [name for name in self.case.candidates if name not in {folder.name for folder in folders}]:
            raise UserError(f"{nothing_from('train')}, candidate {', '.join(missing)}")
        return folders


@contextmanager
def stage(name: str, verb: Stage | Literal["approve"], part: str = "") -> Iterator[TrainingRun]:
    """Load the run's configuration, fold a task's log, and fail for good, in one line, on what a person must mend.

    The run's parameters are those that it was triggered with: the defaults in `context["params"]` are the live YAML's.
    The stage writes to its folder of the run, or to `part` of it.
    """
    from updraft.stages.configuration import begin, resume

    context = get_current_context()
    run_id: str = context["run_id"]
    with reported(verb), folded(f"{verb} {name}") as lines:
        params = check_params(context["dag_run"].conf or {})
        with run_files(name, run_id, verb, first="ingest") as files:
            case = begin(name, files, context["ti"].max_tries) if verb == "ingest" else resume(name, files)
            out, case = files.out(verb) / part, with_params(case, params)
            try:
                yield TrainingRun(case=case, params=params, run_id=run_id, files=files, out=out, lines=lines)
            finally:
                lines[:0] = summary(verb, out)


def cause(name: str) -> dict[str, Any] | None:
    """Return why the monitor asked for this run, and log it; None where it did not. The last of several counts."""
    events = get_current_context()["triggering_asset_events"].get(retraining_asset(name))
    if not events:
        return None
    found: dict[str, Any] = events[-1].extra
    log.info("the monitor asked for this run: %s", found.get("reason"))
    return found


@task
def ingest(name: str) -> str:
    """Stream the source's rows into a dataset of the suite's types; quarantine those that do not fit."""
    from connections import datasets, source_address
    from updraft.sources import open_source
    from updraft.stages.check import require_valid
    from updraft.stages.configuration import FOLDER
    from updraft.stages.ingest import ingest
    from updraft.stages.last_dataset import last_dataset

    with stage(name, "ingest") as run:
        require_valid(name, run.files.folder / FOLDER)
        cause(name)
        limit = run.params.limit
        store = None if limit else datasets()  # a run on some of the rows is no place to go on from
        with (
            noted_rows(run.case),
            last_dataset(run.case, store, run.files.folder, anew=bool(run.params.read_all)) as last,
            open_source(run.case, source_address, limit, last.position) as source,
        ):
            dataset = ingest(run.case, source, run.out, last=last)
        tell_of_quarantine(run.case, run.out, _url())
        return run.files.upload(dataset, run.out)


def _url() -> str | None:
    context = get_current_context()
    return run_url(context["dag"].dag_id, context["run_id"])


def _tab(tab: str) -> str | None:
    context = get_current_context()
    return tab_url(context["dag"].dag_id, context["run_id"], tab)


@contextmanager
def noted_rows(case: UseCase) -> Iterator[None]:
    """Note how many rows there were before they were read, for the trigger that counts new ones, if there is one."""
    from connections import source_address
    from updraft.sources.count import count_rows

    context = get_current_context()
    assets = [asset for asset in context["inlets"] if isinstance(asset, Asset)]
    if not assets:
        yield
        return
    from new_rows import SEEN, state_of

    seen = state_of(count_rows(case, source_address))
    yield
    for asset in assets:
        context["asset_state_store"][asset].set(SEEN, seen)


@linked_task(ReportLink())
def validate(name: str, dataset: str) -> str:
    """Hold the dataset against the use case's suite; a critical expectation that fails stops the run.

    A dataset that passes is kept, where UPDRAFT_DATASETS names a place: the next incremental read goes on from it.
    """
    from connections import datasets, registry
    from updraft.stages.keep import keep
    from updraft.stages.validate import validate

    with stage(name, "validate") as run:
        run.lines.append(f"report: {_tab(VALIDATION) or run.out}")
        validated = validate(run.case, run.dataset(dataset, "ingest"), run.out)
        keep(run.case, validated, datasets(), registry, run.run_id, goes_on=run.params.limit is None)
        return run.files.upload(validated, run.out)


@task
def transform(name: str, dataset: str) -> list[str]:
    """Split the dataset by the use case's rule, and say where `train` is to leave each candidate's model.

    `train` is mapped over that list, as Airflow maps only what a task returns; the split is an XCom besides.
    """
    from updraft.stages.transform import transform

    with stage(name, "transform") as run:
        split = run.files.upload(transform(run.case, run.download(dataset, "validate"), run.out), run.out)
        get_current_context()["ti"].xcom_push(SPLIT, split)
        return [run.files.uri(run.files.out("train") / candidate) for candidate in run.case.candidates]


@task(map_index_template="{{ candidate }}")
def train(name: str, split: str, model: str) -> str:
    """Fit the candidate that the folder `model` is named after; validated on the training rows."""
    from connections import source_address
    from updraft.stages.train import train

    candidate = unquote(model.rpartition("/")[2])
    get_current_context()["candidate"] = candidate  # type: ignore[typeddict-unknown-key]
    with stage(name, "train", candidate) as run:
        folder = train(run.case, candidate, run.download(split, "transform"), run.out, source_address)
        return run.files.upload(folder, folder)


@linked_task(ModelCardLink())
def evaluate(name: str, split: str, models: list[str]) -> str:
    """Choose a candidate, measure it and the champion on the same held-out rows, and decide."""
    from connections import registry
    from updraft.stages.evaluate import evaluate
    from updraft.stages.push import champion

    with stage(name, "evaluate") as run:
        trained, rows, store = run.models(models), run.download(split, "transform"), registry()
        current, holds = champion(run.case, store), store.states(name).holds
        evaluation = evaluate(run.case, trained, rows, current, run.out, holds=holds, cause=cause(name))
        run.lines.append(f"model card: {_tab(CARD) or run.out}")
        return run.files.upload(evaluation, run.out)


def ask(name: str, evaluation: str) -> Question:
    """Return what a person is asked of a model that may be promoted; skip where nobody needs to be asked."""
    from connections import registry
    from updraft.registry import monitor_state
    from updraft.stages.evaluate import EVALUATION
    from updraft.stages.stage_folder import read_json

    with stage(name, APPROVE) as run:
        if run.case.promote != "approve":
            raise AirflowSkipException(f"nobody is asked: promote is {run.case.promote!r}")
        evaluated = read_json(run.download(evaluation, "evaluate") / EVALUATION)
        if evaluated["decision"] != "promote":
            raise AirflowSkipException(
                f"nobody is asked: the decision is {evaluated['decision']}, because {evaluated['reason']}"
            )
        store = registry()
        asked = question(run.case, evaluated, monitor_state.read(store.bucket, store.keys, name), _tab(CARD))
        url = question_url(get_current_context()["dag"].dag_id, run.run_id, APPROVE)
        tell_of_question(run.case, asked, url)
        run.lines.append(f"{asked.subject} Without an answer in {format_hours(asked.hours)} it is only stored.")
        if url:
            run.lines.append(f"answer: {url}")
        return asked


@linked_task(VersionLink(), ServiceLink())
def push(name: str, models: list[str], split: str, dataset: str, evaluation: str, answer: dict[str, Any] | None) -> str:
    """Store the version and move production to it when the decision says so; skip when it does not."""
    from connections import registry
    from updraft.stages.push import push
    from updraft.stages.runs import Run

    with stage(name, "push") as run:
        context = get_current_context()
        dag_id = context["dag"].dag_id
        this_run = Run(run.run_id, run.files, f"airflow:{dag_id}", run_url(dag_id, run.run_id), cause(name))
        trained, rows = run.models(models), run.download(split, "transform")
        data, evaluated = run.dataset(dataset, "validate"), run.download(evaluation, "evaluate")
        store = registry()
        answered = read_answer(answer)
        outcome = push(run.case, trained, rows, data, evaluated, store, this_run, answer=answered)
        by = replace(this_run, who=answered.who) if answered and answered.who else this_run
        tell_of_outcome(run.case, outcome, by)
        run.lines.extend(outcome_lines(run.case, outcome, dag_id))
        if outcome.version is None:
            raise AirflowSkipException(outcome.reason)
        event = {"version": outcome.version.number, "decision": outcome.decision, "reason": outcome.reason}
        event |= {"answered_by": answered.who, "answer": answered.choice} if answered else {}
        context["outlet_events"][model_asset(name)].extra = event
        return f"{store.bucket}/{name}/versions/{outcome.version.number:04d}"


def outcome_lines(case: UseCase, outcome: Outcome, dag_id: str) -> Iterator[str]:
    """Say what became of the model, where to look, and how a person promotes it where no run does."""
    from updraft.stages.push import by_hand

    if outcome.version is None:
        yield f"no new version: {outcome.reason}"
        return
    number = outcome.version.number
    yield f"version {number}: {outcome.decision}, because {outcome.reason}"
    if outcome.decision == "hold":
        yield f"to put it into production: {by_hand(outcome.version)}"
    yield from (
        f"{what}: {url}"
        for what, url in (("version", version_url(dag_id, number)), ("service", service_url(case.name)))
        if url
    )


def model_asset(name: str) -> Asset:
    """Return the asset that stands for a use case's model; each version in the registry is an event of it."""
    return Asset(name=f"{name}_model", uri=f"x-updraft://registry/{quote(name)}")


def read(name: str) -> tuple[UseCase, str]:
    """Read what a DAG takes of a use case outside of its tasks; also return the faults of YAML and suite.

    The parts of the YAML that have faults are at their defaults.
    """
    try:
        parsed = parse(name)
    except Exception as error:  # whatever it is, it must not hide the other use cases
        return unreadable(name), f"{error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'}"
    return parsed.case or unreadable(name), "\n".join(fault.format(ROOT) for fault in parsed.faults)


def retraining(case: UseCase) -> list[Asset]:
    """Return the asset that has an event when the monitor asks for a training, where the YAML lets it."""
    asks = case.monitor is not None and "retrain" in case.monitor.act.model_dump().values()
    return [retraining_asset(case.name)] if asks else []


def new_rows(case: UseCase) -> list[Asset]:
    """Return the asset that has an event when enough rows are new, where the schedule asks for it."""
    if case.schedule is None or not case.schedule.counts_rows:
        return []
    from new_rows import new_rows_asset

    return [new_rows_asset(case.name, case.schedule)]


def build(dag_id: str, case: UseCase, faults: str) -> DAG:
    """Build the DAG of one use case: the same tasks whatever is in its files, as runs may be under way.

    With `faults` the DAG says so, and `ingest` of a new run fails with them.
    """
    with DAG(
        dag_id=dag_id,
        dag_display_name=f"train {case.name}",
        schedule=timetable(case.schedule, *new_rows(case), *retraining(case)),
        **common_arguments(case, "training", faults, describe(case, str(__doc__))),
        on_failure_callback=FailedRun(case.notify) if case.notify else None,
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
                enum=list(as_strict(case.promote)),
                title="Promote",
                description="Of a winner. canary, shadow: try it beside production; approve: a person is asked; "
                "never: a person promotes it.",
            ),
            "read_all": Param(
                False,
                type="boolean",
                title="Read all rows",
                description="Of a topic or a source with a watermark: all rows, not those since the last dataset.",
            ),
        },
    ) as dag:
        rows = ingest.override(inlets=new_rows(case))(case.name)
        dataset = validate(case.name, rows)
        folders = transform(case.name, dataset)
        split = folders[SPLIT]
        models = train.partial(name=case.name, split=split).expand(model=folders)
        evaluation = evaluate(case.name, split, models)
        approved = ApproveOperator(task_id=APPROVE, params=FORM, ask=ask, use_case=case.name, evaluation=evaluation)
        push.override(outlets=[model_asset(case.name)])(case.name, models, split, dataset, evaluation, approved.output)
    return dag


for dag_id, name in dag_ids(DAG_PREFIX, (path.stem for path in paths())).items():
    globals()[dag_id] = build(dag_id, *read(name))
