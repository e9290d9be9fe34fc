"""`make demo`: load data, train through Airflow, request a prediction from the service, and print the results."""

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
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from updraft.airflow_client import Airflow
from updraft.errors import UserError
from updraft.local_stack.credentials import ADMIN, credentials
from updraft.local_stack.environment import StackError, embedded, load
from updraft.local_stack.service import Service, api_key
from updraft.local_stack.stack import Stack
from updraft.local_stack.startup import Report
from updraft.local_stack.task_progress import follow, task_name
from updraft.stages.evaluation_table import evaluation_table
from updraft.stages.runs import SPLIT, local
from updraft.usecase import UseCase, from_file
from updraft.usecase import load as load_case

LONGEST = 100  # characters of a value that are printed


@dataclass(frozen=True)
class DemoOptions:
    """A use case, and a file of rows or the number of synthetic rows."""

    use_case: str = "vehicle_insurance"
    data: Path | None = None
    rows: int | None = None

    @property
    def dag_id(self) -> str:
        return f"train_{self.use_case}"


def demo(stack: Stack, options: DemoOptions, console: Console) -> None:
    """Run the demo once; the stack stays up. StackError when a task failed, UserError for a wrong argument."""
    case = load_case(options.use_case)
    if options.data and not options.data.is_file():
        raise UserError(f"DATA: no file {str(options.data)!r}")
    read_only = _read_only_source(case, options)
    console.print(f"[bold]1[/]  Start the stack in {stack.home}", soft_wrap=True)
    stack.up(report=_printer(console))
    load(os.environ, stack.home)
    settings = stack.settings()
    if read_only:
        console.print(f"[bold]2[/]  Use the rows as they are: {escape(read_only)}", highlight=False, soft_wrap=True)
    else:
        _fill(case, options, stack.home, settings, console)
    airflow = Airflow.patient(settings["AIRFLOW_URL"], ADMIN, _password(stack))
    run_id = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    console.print(f"[bold]3[/]  Train: DAG {options.dag_id}, run {run_id}")
    _train(stack, airflow, options.dag_id, run_id, console)
    evaluation = _evaluation(airflow, options.dag_id, run_id)
    console.print("[bold]4[/]  Ask the service about one raw row")
    _predict(stack, case, _held_out_row(airflow, case, options.dag_id, run_id), console)
    _show(evaluation, console)
    show_urls(stack, console)


def show_urls(stack: Stack, console: Console) -> None:
    """Print the stack's URLs, the login, and how to train; the only place that prints a password."""
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
    """Return a function that prints a progress line below the heading of a step."""
    return lambda line: console.print(f"     {line}", highlight=False, markup=False, soft_wrap=True)


def _password(stack: Stack) -> str:
    return credentials(stack.home / "secrets")["airflow_admin_password"]


def _read_only_source(case: UseCase, options: DemoOptions) -> str | None:
    """Open a source that cannot be filled, before anything is started, and describe it; None when it can be filled."""
    from updraft.addresses import from_environment
    from updraft.destinations import DESTINATIONS, check_can_be_filled
    from updraft.sources import open_source

    if options.data or options.rows:
        check_can_be_filled(case)
    if case.source.kind in DESTINATIONS:
        return None
    with open_source(case, from_environment(os.environ)) as source:
        return str(source)


def _fill(case: UseCase, options: DemoOptions, home: Path, settings: Mapping[str, str], console: Console) -> None:
    """Replace the rows at the use case's source with the file's, or with synthetic ones."""
    from updraft.addresses import from_environment
    from updraft.destinations import open_destination
    from updraft.sources import open_source

    connections = from_environment({**os.environ, **settings})
    with open_destination(case, connections) as destination:
        console.print(f"[bold]2[/]  Load rows into {escape(destination.name)}", soft_wrap=True)
        if not options.data and not _synthetic_rows_allowed(destination.origin, settings, console):
            return
        path = options.data or _synthetic(case, options.rows, home)
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
        raise StackError(f"{dag_id}: the run {run_id} exists already")
    airflow.unpause(dag_id)  # after the trigger, so that no scheduled run comes first
    tasks = follow(airflow, dag_id, run_id, console)
    failed = [task for task in tasks if task.state == "failed"]
    if airflow.state(dag_id, run_id) != "success":
        failures = [f"{task_name(task)} failed: {airflow.failure(task)}" for task in failed]
        url = f"run: {airflow.url}/dags/{dag_id}/runs/{run_id}"
        raise StackError("\n".join([*(failures or ["no task failed; see the run"]), url]))


def _wait_until_parsed(stack: Stack, airflow: Airflow, dag_id: str, console: Console) -> None:
    words = {"pending": f"has not parsed {dag_id} yet", "unmet": f"has not found {dag_id} in dags/"}
    wait = stack.wait("dag-processor", _printer(console), **words)
    while airflow.dag(dag_id) is None:
        errors = airflow.import_errors()
        if errors:
            raise StackError(f"{dag_id}: Airflow cannot read it: {'; '.join(errors)}")
        wait.check(stack.processes())
        time.sleep(0.5)


def _evaluation(airflow: Airflow, dag_id: str, run_id: str) -> dict[str, Any]:
    """Read the evaluation from the folder that is the XCom of `evaluate`."""
    from updraft.stages.evaluate import EVALUATION
    from updraft.stages.stage_folder import read_json

    return dict(read_json(local(str(airflow.result(dag_id, run_id, "evaluate"))) / EVALUATION))


def _held_out_row(airflow: Airflow, case: UseCase, dag_id: str, run_id: str) -> dict[str, Any]:
    """Read a row that the model was not trained on, features and target, as JSON values."""
    from updraft.stages.stage_folder import TEST, first_row, read_frame

    split = local(str(airflow.result(dag_id, run_id, "transform", key=SPLIT)))
    return first_row(read_frame(case, split / TEST)[[*case.feature_names, case.target]])


def _predict(stack: Stack, case: UseCase, held_out: Mapping[str, Any], console: Console) -> None:
    """Request a prediction once the service has loaded the version in production, and print it."""
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
    response = service.predict(case.name, row)
    raw = ", ".join(f"{name} {_short(value)}" for name, value in row.items())
    console.print(f"     {raw}", highlight=False, markup=False, soft_wrap=True)
    details = f"{_probability(case, response)}version {number}; actual: {_label(case, held_out[case.target])}"
    prediction = _label(case, response["predictions"][0])
    prediction = prediction if case.labels else f"{case.target} {prediction}"
    console.print(f"     → [bold]{escape(prediction)}[/] ({escape(details)})\n", highlight=False, soft_wrap=True)


def _label(case: UseCase, value: Any) -> str:
    """Format a prediction: the label's name, or the number."""
    names = {label.value: label.name for label in case.labels}
    return names[value] if names else f"{value:,.6g}"


def _probability(case: UseCase, response: Mapping[str, Any]) -> str:
    """Format the probability: of the positive label, or, of several labels, that of the predicted one."""
    if "probabilities" not in response:
        return ""
    probability = response["probabilities"][0]
    if isinstance(probability, dict):
        name = response["labels"][0]
        return f"probability of {name} {probability[name]:.3f}, "
    return f"probability of {_label(case, case.positive)} {probability:.3f}, "


def _short(value: Any) -> str:
    """Format a raw value; a long text is cut."""
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _show(evaluation: dict[str, Any], console: Console) -> None:
    """Print the evaluation, the champion's on the same rows, and the decision."""
    console.print(evaluation_table(evaluation))
    words = f"decision: {evaluation['decision']}, because {evaluation['reason']}\n"
    console.print(words, highlight=False, soft_wrap=True, markup=False)
