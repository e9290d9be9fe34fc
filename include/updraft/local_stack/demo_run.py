"""`make demo`: load data, train through Airflow, request a prediction from the service, and print the results."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from updraft.airflow_client import Airflow
from updraft.defaults import DATABASE
from updraft.errors import UserError
from updraft.local_stack.credentials import ADMIN, credentials
from updraft.local_stack.dag_runs import DagRuns
from updraft.local_stack.demo_rows import DemoOptions, etl_file, etl_of, fill, read_only_source
from updraft.local_stack.environment import USER, StackError, embedded, load
from updraft.local_stack.servers import HOST
from updraft.local_stack.service import Service, api_key
from updraft.local_stack.stack import Stack
from updraft.local_stack.startup import Report
from updraft.stages.evaluation_table import evaluation_table
from updraft.stages.runs import SPLIT, local
from updraft.usecase import UseCase
from updraft.usecase import load as load_case

LONGEST = 100  # characters of a value that are printed


def demo(stack: Stack, options: DemoOptions, console: Console) -> None:
    """Run the demo once; the stack stays up. StackError when a task failed, UserError for a wrong argument."""
    case = load_case(options.use_case)
    if options.data and not options.data.is_file():
        raise UserError(f"DATA: no file {str(options.data)!r}")
    read_only = read_only_source(case, options)
    etl = etl_of(case)
    console.print(f"[bold]1[/]  Start the stack in {stack.home}", soft_wrap=True)
    stack.up(report=_printer(console))
    load(os.environ, stack.home)
    settings = stack.settings()
    if read_only:
        console.print(f"[bold]2[/]  Use the rows as they are: {escape(read_only)}", highlight=False, soft_wrap=True)
    elif not etl:
        fill(case, options, stack.home, settings, console)
    airflow = Airflow.patient(settings["AIRFLOW_URL"], ADMIN, _password(stack))
    runs = DagRuns(stack, airflow, console)
    run_id = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    started = None
    if etl and (file := etl_file(case, options, settings, console)):
        started = _run_etl(runs, etl, options.dag_id, run_id, file)
    run_id = started or run_id
    console.print(f"[bold]3[/]  Train: DAG {options.dag_id}, run {run_id}")
    if not started:
        runs.start(options.dag_id, run_id)
    runs.follow(options.dag_id, run_id)
    evaluation = _evaluation(airflow, options.dag_id, run_id)
    console.print("[bold]4[/]  Ask the service about one raw row")
    answers = _predict(stack, case, _held_out_row(airflow, case, options.dag_id, run_id), console)
    _show(evaluation, console)
    run = f"{settings['AIRFLOW_URL']}/dags/{options.dag_id}/runs/{quote(run_id, safe='')}"
    form = {"Form": f"{settings['SERVING_URL']}/{case.name}"} if answers else {}
    show_urls(stack, console, form | {"Card": f"{run}/plugin/model-card", "Run": run})


def _run_etl(runs: DagRuns, etl: str, dag_id: str, run_id: str, file: Path) -> str | None:
    """Load a file's rows by an ETL's DAG; return the run of the training that its rows start, None without a change."""
    runs.console.print(f"[bold]2[/]  Extract, clean and load {file.name}: DAG {etl}, run {run_id}", soft_wrap=True)
    runs.unpause(dag_id)
    before = runs.ids(dag_id)
    runs.start(etl, run_id, {"data": str(file)})
    tasks = runs.follow(etl, run_id)
    if any(task.task_id == "load" and task.state == "skipped" for task in tasks):
        runs.console.print("     All rows are there as they are, so no training was started by them.")
        return None
    return runs.started_since(dag_id, before)


def show_urls(stack: Stack, console: Console, pages: Mapping[str, str] | None = None) -> None:
    """Print `pages`, the stack's URLs, the login, and how to train; the only place that prints a password."""
    settings = stack.settings()
    if not settings:
        raise StackError(f"no stack was started in {str(stack.home)!r} yet; `make up` first")
    table = Table.grid(padding=(0, 2))
    for name, url in (pages or {}).items():
        table.add_row(name, url)
    table.add_row("Airflow", f"{settings['AIRFLOW_URL']}   user {ADMIN}, password {_password(stack)}")
    table.add_row("Service", settings["SERVING_URL"])
    for store, address in _optional_stores(stack.home, settings):
        table.add_row(store, address)
    table.add_row("Settings", f"{stack.home / 'env'}   (MongoDB, S3 and their logins)")
    console.print(table, highlight=False, soft_wrap=True)
    file = shlex.quote(str(stack.home / "secrets" / "train_token"))
    token = f"$(cat {file})" if "SERVING_TRAIN_TOKEN" in settings else "$SERVING_TRAIN_TOKEN"
    command = f'curl -X POST --oauth2-bearer "{token}" {settings["SERVING_URL"]}/train/vehicle_insurance'
    console.print(f"Train     {command}", highlight=False, markup=False, soft_wrap=True)  # a table would break it


def _optional_stores(home: Path, settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    own = embedded(settings)
    if "postgres" in own:
        login = f"user {USER}, password in {home / 'secrets' / 'postgres_password'}"
        yield "PostgreSQL", f"postgresql://{HOST}:{settings['POSTGRES_PORT']}/{DATABASE}   {login}"
    if "kafka" in own:
        yield "Kafka", f"kafka://{HOST}:{settings['KAFKA_PORT']}   (a stand-in: it keeps nothing after its end)"
    if "mlflow" in own:
        yield "MLflow", f"http://{HOST}:{settings['MLFLOW_PORT']}"


def _printer(console: Console) -> Report:
    """Return a function that prints a progress line below the heading of a step."""
    return lambda line: console.print(f"     {line}", highlight=False, markup=False, soft_wrap=True)


def _password(stack: Stack) -> str:
    return credentials(stack.home / "secrets")["airflow_admin_password"]


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


def _predict(stack: Stack, case: UseCase, held_out: Mapping[str, Any], console: Console) -> bool:
    """Request a prediction once the service has loaded the version in production, and print it; False without one."""
    from updraft.registry.registry import open_registry

    settings = stack.settings()
    number = open_registry({**os.environ, **settings}).production(case.name)
    if number is None:
        console.print("     No version is in production yet, so the service has nothing to answer with.\n")
        return False
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
    return True


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
