"""`make demo`: load data, train through Airflow, ask the service for a prediction, and show what came of it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from updraft.airflow_client import Airflow, TaskInstance
from updraft.errors import UserError
from updraft.local_stack.credentials import ADMIN, credentials
from updraft.local_stack.environment import StackError, embedded, load
from updraft.local_stack.service import Service, api_key
from updraft.local_stack.stack import Stack
from updraft.local_stack.startup import Report
from updraft.stages.evaluation_table import evaluation_table
from updraft.stages.runs import local
from updraft.usecase import UseCase, from_file
from updraft.usecase import load as load_case

LONGEST = 100  # characters of a value that are shown
DONE = ("success", "failed", "skipped", "upstream_failed", "removed")
COLOURS = {"success": "green", "failed": "red", "upstream_failed": "red", "skipped": "yellow", "running": "cyan"}


@dataclass(frozen=True)
class Demo:
    """What to show: a use case, and a file of rows or the number of synthetic rows."""

    use_case: str = "vehicle_insurance"
    data: Path | None = None
    rows: int | None = None

    @property
    def dag_id(self) -> str:
        return f"train_{self.use_case}"


def demo(stack: Stack, wanted: Demo, console: Console) -> None:
    """Run the whole path once. The stack stays up; StackError when a task failed, UserError for a wrong argument."""
    case = load_case(wanted.use_case)
    if wanted.data and not wanted.data.is_file():
        raise UserError(f"DATA: no file {str(wanted.data)!r}")
    read_only = _read_only_source(case, wanted)
    console.print(f"[bold]1[/]  Start the stack in {stack.home}", soft_wrap=True)
    stack.up(report=_printer(console))
    load(os.environ, stack.home)
    settings = stack.settings()
    if read_only:
        console.print(f"[bold]2[/]  Use the rows as they are: {escape(read_only)}", highlight=False, soft_wrap=True)
    else:
        _fill(case, wanted, stack.home, settings, console)
    airflow = Airflow.patient(settings["AIRFLOW_URL"], ADMIN, _password(stack))
    run_id = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    console.print(f"[bold]3[/]  Train: DAG {wanted.dag_id}, run {run_id}")
    _train(stack, airflow, wanted.dag_id, run_id, console)
    evaluation = _evaluation(airflow, wanted.dag_id, run_id)
    console.print("[bold]4[/]  Ask the service about one raw row")
    _predict(stack, case, _held_out_row(airflow, case, wanted.dag_id, run_id), console)
    _show(evaluation, console)
    show_urls(stack, console)


def show_urls(stack: Stack, console: Console) -> None:
    """Print where the stack answers, the login, and how to train; the one place that prints a password."""
    settings = stack.settings()
    if not settings:
        raise StackError(f"no stack was started in {str(stack.home)!r} yet; `make up` first")
    table = Table.grid(padding=(0, 2))
    table.add_row("Airflow", f"{settings['AIRFLOW_URL']}   user {ADMIN}, password {_password(stack)}")
    table.add_row("Service", f"{settings['SERVING_URL']}/models")
    table.add_row("Settings", f"{stack.home / 'env'}   (MongoDB, S3 and their logins)")
    console.print(table, highlight=False, soft_wrap=True)
    file = shlex.quote(str(stack.home / "secrets" / "train_token"))
    token = f"$(cat {file})" if "SERVING_TRAIN_TOKEN" in settings else "$SERVING_TRAIN_TOKEN"
    command = f'curl -X POST --oauth2-bearer "{token}" {settings["SERVING_URL"]}/train/vehicle_insurance'
    console.print(f"Train     {command}", highlight=False, markup=False, soft_wrap=True)  # a table would break it


def _printer(console: Console) -> Report:
    """Return what prints a progress line below the heading of a step."""
    return lambda line: console.print(f"     {line}", highlight=False, markup=False, soft_wrap=True)


def _password(stack: Stack) -> str:
    return credentials(stack.home / "secrets")["airflow_admin_password"]


def _read_only_source(case: UseCase, wanted: Demo) -> str | None:
    """Open a source that cannot be filled, before anything is started, and describe it; None when it can be filled."""
    from updraft.addresses import from_environment
    from updraft.destinations import DESTINATIONS, check_can_be_filled
    from updraft.sources import open_source

    if wanted.data or wanted.rows:
        check_can_be_filled(case)
    if case.source.kind in DESTINATIONS:
        return None
    with open_source(case, from_environment(os.environ)) as source:
        return str(source)


def _fill(case: UseCase, wanted: Demo, home: Path, settings: Mapping[str, str], console: Console) -> None:
    """Replace the rows at the use case's source with the file's, or with synthetic ones."""
    from updraft.addresses import from_environment
    from updraft.destinations import open_destination
    from updraft.sources import open_source

    connections = from_environment({**os.environ, **settings})
    with open_destination(case, connections) as destination:
        console.print(f"[bold]2[/]  Load rows into {escape(destination.name)}", soft_wrap=True)
        if not wanted.data and not _synthetic_rows_allowed(destination.origin, settings, console):
            return
        path = wanted.data or _synthetic(case, wanted.rows, home)
        with open_source(from_file(case, path), connections) as source, _progress(console) as bar:
            task = bar.add_task("rows", total=None)
            count = destination.load(source, lambda done, total: bar.update(task, completed=done))
        console.print(f"     {count:,} rows from {path}", highlight=False, soft_wrap=True)


def _synthetic_rows_allowed(origin: str, settings: Mapping[str, str], console: Console) -> bool:
    """Return whether synthetic rows may replace what is there: only in the stack's own database and registry."""
    own = embedded(settings)
    if origin != "MONGODB_URL" or "mongod" not in own:
        console.print(f"     {origin} leads elsewhere: its rows are used as they are; DATA=rows.csv would replace them")
        return False
    if "s3" not in own:
        raise StackError("UPDRAFT_REGISTRY leads elsewhere: no synthetic rows for its models; set DATA=rows.csv")
    return True


def _synthetic(case: UseCase, rows: int | None, home: Path) -> Path:
    from updraft.demo.rows import generate, write

    path = home / "demo" / f"{case.name}.csv"
    path.parent.mkdir(exist_ok=True)
    return write(case, generate(case, rows, case.seed), path)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("     {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def _train(stack: Stack, airflow: Airflow, dag_id: str, run_id: str, console: Console) -> None:
    _wait_until_parsed(stack, airflow, dag_id, console)
    if airflow.trigger(dag_id, run_id) is None:
        raise StackError(f"{dag_id}: there is a run {run_id} already")
    airflow.unpause(dag_id)  # after the trigger, so that no scheduled run comes first
    tasks = _follow(airflow, dag_id, run_id, console)
    failed = [task for task in tasks if task.state == "failed"]
    if airflow.state(dag_id, run_id) != "success":
        lines = [f"{_name(task)} failed: {airflow.failure(task)}" for task in failed] or ["no task failed; see the run"]
        raise StackError("\n".join([*lines, f"run: {airflow.url}/dags/{dag_id}/runs/{run_id}"]))


def _wait_until_parsed(stack: Stack, airflow: Airflow, dag_id: str, console: Console) -> None:
    words = {"pending": f"has not parsed {dag_id} yet", "unmet": f"has not found {dag_id} in dags/"}
    wait = stack.wait("dag-processor", _printer(console), **words)
    while airflow.dag(dag_id) is None:
        errors = airflow.import_errors()
        if errors:
            raise StackError(f"{dag_id}: Airflow cannot read it: {'; '.join(errors)}")
        wait.check(stack.processes())
        time.sleep(0.5)


def _follow(airflow: Airflow, dag_id: str, run_id: str, console: Console) -> list[TaskInstance]:
    """Show the tasks until the run ends: a live table on a terminal, else a line for each task that ends."""
    told: set[str] = set()
    with Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else _nothing() as live:
        while True:
            ended = airflow.state(dag_id, run_id) in ("success", "failed")
            tasks = airflow.tasks(dag_id, run_id)
            if live:
                live.update(_table(tasks), refresh=True)
            else:
                _tell(tasks, told, console)
            if ended:
                return tasks
            time.sleep(0.5)


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _table(tasks: list[TaskInstance]) -> Table:
    table = Table("task", "state", "seconds", box=None, padding=(0, 2), pad_edge=True)
    for task in tasks:
        state = task.state or "waiting"
        colour = COLOURS.get(state, "dim")
        table.add_row(f"   {escape(_name(task))}", f"[{colour}]{state}[/]", _seconds(task))
    return table


def _tell(tasks: list[TaskInstance], told: set[str], console: Console) -> None:
    for task in tasks:
        name = _name(task)
        if task.state in DONE and name not in told:
            told.add(name)
            console.print(f"     {name:<32} {task.state:<16} {_seconds(task):>7} s", highlight=False, markup=False)


def _name(task: TaskInstance) -> str:
    return task.task_id + (f" [{task.rendered_map_index or task.map_index}]" if task.map_index >= 0 else "")


def _seconds(task: TaskInstance) -> str:
    if task.duration is not None:
        return f"{task.duration:.1f}"
    if task.start_date is None:
        return ""
    return f"{(datetime.now(UTC) - task.start_date).total_seconds():.1f}"


def _evaluation(airflow: Airflow, dag_id: str, run_id: str) -> dict[str, Any]:
    """Read what `evaluate` decided, where its XCom says that it lies."""
    from updraft.stages.evaluate import EVALUATION
    from updraft.stages.stage_folder import read_json

    return dict(read_json(local(str(airflow.result(dag_id, run_id, "evaluate"))) / EVALUATION))


def _held_out_row(airflow: Airflow, case: UseCase, dag_id: str, run_id: str) -> dict[str, Any]:
    """Read a row that the model was not trained on, features and target, as JSON has them."""
    from updraft.stages.stage_folder import TEST, first_row, read_frame

    split = local(str(airflow.result(dag_id, run_id, "transform")))
    return first_row(read_frame(case, split / TEST)[[*case.feature_names, case.target]])


def _predict(stack: Stack, case: UseCase, held_out: Mapping[str, Any], console: Console) -> None:
    """Ask the service, once it has the version that the registry has in production, and print what it says."""
    from updraft.registry.registry import open_registry

    settings = stack.settings()
    number = open_registry({**os.environ, **settings}).production(case.name)
    if number is None:
        console.print("     No version is in production yet, so the service has nothing to answer with.\n")
        return
    row = {name: value for name, value in held_out.items() if name != case.target}
    service = Service(settings["SERVING_URL"], api_key(os.environ))
    words = {"pending": f"has not loaded version {number} yet", "unmet": f"does not answer with version {number}"}
    wait = stack.wait("serving", _printer(console), **words)
    while not service.is_live(case.name, number):
        wait.check(stack.processes())
        time.sleep(0.2)
    answer = service.predict(case.name, row)
    raw = ", ".join(f"{name} {_short(value)}" for name, value in row.items())
    console.print(f"     {raw}", highlight=False, markup=False, soft_wrap=True)
    told = f"{_probability(case, answer)}version {number}; in truth {_answer(case, held_out[case.target])}"
    said = _answer(case, answer["predictions"][0])
    said = said if case.labels else f"{case.target} {said}"
    console.print(f"     → [bold]{escape(said)}[/] ({escape(told)})\n", highlight=False, soft_wrap=True)


def _answer(case: UseCase, value: Any) -> str:
    """Write what is predicted: the label's name, or the number."""
    names = {label.value: label.name for label in case.labels}
    return names[value] if names else f"{value:,.6g}"


def _probability(case: UseCase, answer: Mapping[str, Any]) -> str:
    """Write the probability: of the positive label, or, of several labels, that of the one that is answered."""
    if "probabilities" not in answer:
        return ""
    found = answer["probabilities"][0]
    name = answer["labels"][0] if isinstance(found, dict) else _answer(case, case.positive)
    return f"probability of {name} {found[name] if isinstance(found, dict) else found:.3f}, "


def _short(value: Any) -> str:
    """Write a raw value; a long text is cut."""
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _show(evaluation: dict[str, Any], console: Console) -> None:
    """Print the evaluation, beside the champion's on the same rows, and what was decided."""
    console.print(evaluation_table(evaluation))
    words = f"decision: {evaluation['decision']}, because {evaluation['reason']}\n"
    console.print(words, highlight=False, soft_wrap=True, markup=False)
