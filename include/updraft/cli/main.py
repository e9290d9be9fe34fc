"""The `updraft` command: run the stages without Airflow, manage versions, start and stop the local stack."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.logging import RichHandler
from rich.progress import Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from updraft.addresses import Address, from_environment
from updraft.cli import registry, stack, usecases
from updraft.cli.parameters import Json, UseCaseName, next_step
from updraft.errors import UserError

if TYPE_CHECKING:
    from updraft.stages.push import Outcome
    from updraft.stages.runs import Run

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(usecases.app)
app.add_typer(registry.app)
app.add_typer(stack.app)
stderr = Console(stderr=True)

Count = Callable[[int, int | None], None]


def _print_version(wanted: bool) -> None:
    if wanted:
        from updraft.version import commit, version

        revision = commit()
        typer.echo(f"updraft {version()}" + (f", commit {revision[:12]}" if revision else ""))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and commit.")
    ] = False,
) -> None:
    """Without a docstring of its own, the help of `app` would be this function's."""


@app.command(epilog="Example: updraft run vehicle_insurance --data rows.csv --limit 5000")
def run(
    name: UseCaseName,
    data: Annotated[Path | None, typer.Option(help="A file of rows in place of the use case's source.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The maximum number of rows.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the YAML's.")] = None,
    promote: Annotated[str | None, typer.Option(help="auto, or never: store the version, promote nothing.")] = None,
    as_json: Json = False,
) -> None:
    """Run all stages as the DAG does; without UPDRAFT_REGISTRY nothing is pushed."""
    from updraft.registry.registry import open_registry
    from updraft.sources import open_source
    from updraft.stages.check import require_valid
    from updraft.stages.evaluate import EVALUATION, evaluate
    from updraft.stages.ingest import ingest
    from updraft.stages.push import Outcome, champion, push
    from updraft.stages.stage_folder import read_json
    from updraft.stages.train import train
    from updraft.stages.transform import transform
    from updraft.stages.validate import validate
    from updraft.usecase import check_params, from_file, with_params
    from updraft.usecase import load as load_case

    params = check_params({"limit": limit, "seed": seed, "promote": promote})
    case = with_params(load_case(name), params)
    case = from_file(case, data) if data else case
    if os.environ.get("UPDRAFT_REGISTRY"):
        _check_stores("s3")
    store = open_registry(os.environ) if os.environ.get("UPDRAFT_REGISTRY") else None
    this_run = _new_run(case.name)
    with open_source(case, _address, limit) as source, _steps() as step:
        require_valid(name)
        with step("ingest") as count:
            dataset = ingest(case, source, this_run.files.out("ingest"), count)
        with step("validate"):
            validate(case, dataset, this_run.files.out("validate"))
        with step("transform"):
            split = transform(case, dataset, this_run.files.out("transform"))
        models = []
        for candidate in case.candidates:
            with step(f"train {candidate}"):
                models.append(train(case, candidate, split, this_run.files.out("train") / candidate))
        with step("evaluate"):
            rival = champion(case, store, this_run.files.folder / "champion") if store else None
            evaluated = evaluate(case, models, split, rival, this_run.files.out("evaluate"))
        facts = read_json(evaluated / EVALUATION)
        outcome = Outcome(None, facts["decision"], f"{facts['reason']}; without UPDRAFT_REGISTRY nothing is pushed")
        if store:
            with step("push"):
                outcome = push(case, models, split, dataset, evaluated, store, this_run)
    _print_outcome(facts, outcome, evaluated, as_json)


@app.command(epilog="Example: updraft load vehicle_insurance rows.csv")
def load(
    name: UseCaseName,
    file: Annotated[Path | None, typer.Argument(help="A .csv, .tsv, .jsonl (or .gz) or .parquet.")] = None,
    synthetic: Annotated[
        int | None, typer.Option(min=1, help="A number of synthetic rows by the YAML's `demo` block, without a file.")
    ] = None,
    made_up: Annotated[int | None, typer.Option(min=1, hidden=True, help="The former name of --synthetic.")] = None,
) -> None:
    """Atomically replace the contents of the use case's MongoDB collection with a file's rows."""
    from updraft.demo.rows import generate, write
    from updraft.destinations import open_destination
    from updraft.sources import open_source
    from updraft.usecase import from_file
    from updraft.usecase import load as load_case

    count = synthetic or made_up
    if (file is None) == (count is None):
        raise UserError("load: expected a file, or --synthetic with the number of rows")
    case = load_case(name)
    with open_destination(case, _address) as destination, tempfile.TemporaryDirectory(prefix="updraft-load-") as folder:
        path = file or write(case, generate(case, count, case.seed), Path(folder) / f"{name}.csv")
        with open_source(from_file(case, path), _address) as source, _steps() as step, step("load") as progress:
            rows = destination.load(source, progress)
        origin = f"rows from {file}" if file else "synthetic rows"
        typer.echo(f"{rows:,} {origin} are in {destination.name}")
    next_step(f"updraft run {name}")


def main() -> None:
    """Run the command line; the settings that `make up` recorded complete the environment."""
    from updraft.local_stack.environment import home_folder
    from updraft.local_stack.environment import load as load_settings

    try:
        load_settings(os.environ, home_folder(os.environ))
        app(prog_name="updraft")
    except SystemExit:  # as each command ends: not a reason to import the errors of boto3
        raise
    except _expected_errors() as error:
        for line in str(error).splitlines():
            typer.echo(f"updraft: {line}", err=True)
        sys.exit(1)


def _expected_errors() -> tuple[type[BaseException], ...]:
    from updraft.cli.registry_access import ERRORS

    return ERRORS


def _address(connection: str, variable: str) -> Address:
    """Return an address from the environment; StackError when it leads to a local stack that is down."""
    from updraft.local_stack.stores import STORES

    _check_stores(*(store for store, (name, _) in STORES.items() if name == variable))
    return from_environment(os.environ)(connection, variable)


def _check_stores(*stores: str) -> None:
    from updraft.local_stack.environment import home_folder
    from updraft.local_stack.stores import check_stores

    check_stores(os.environ, home_folder(os.environ), *stores)


def _new_run(name: str) -> Run:
    from updraft.cli.registry_access import who
    from updraft.stages.runs import Run, RunFiles, artifacts

    run_id = f"shell__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{uuid.uuid4().hex[:6]}"
    return Run(run_id, RunFiles(artifacts(os.environ) / name / run_id), who=who())


class _Mark(SpinnerColumn):
    """A spinner while a step runs; then ✓ or ✗."""

    def render(self, task: Task) -> RenderableType:
        return Text("✗", style="red") if task.fields["failed"] else super().render(task)


@contextmanager
def _steps() -> Iterator[Callable[[str], Any]]:
    """Show each step as it runs on stderr, below the log of the stages."""
    columns = _Mark(finished_text="✓"), TextColumn("{task.description}"), TextColumn("{task.fields[rows]}")
    with Progress(*columns, TimeElapsedColumn(), console=stderr) as progress:
        handler = RichHandler(console=progress.console, show_path=False, show_level=False, log_time_format="%H:%M:%S")
        logger = logging.getLogger("updraft")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)

        @contextmanager
        def step(title: str) -> Iterator[Count]:
            task = progress.add_task(title, total=None, rows="", failed=False)

            def count(done: int, total: int | None) -> None:
                share = f" of {total:,}, {min(done / total, 1):.0%}" if total else ""
                progress.update(task, rows=f"{done:,} rows{share}")

            try:
                yield count
            except BaseException:
                progress.update(task, failed=True)
                progress.stop_task(task)
                raise
            progress.update(task, total=1, completed=1)

        try:
            yield step
        finally:
            logger.removeHandler(handler)


def _print_outcome(facts: dict[str, Any], outcome: Outcome, evaluated: Path, as_json: bool) -> None:
    from updraft.stages.evaluation_table import evaluation_table

    version = outcome.version.number if outcome.version else None
    if as_json:
        decision = {"version": version, "decision": outcome.decision, "reason": outcome.reason}
        copied = {name: facts[name] for name in ("chosen", "metrics", "candidates")}
        typer.echo(json.dumps({"use_case": facts["use_case"], **decision, **copied}, allow_nan=False))
        return
    console = Console()
    console.print(evaluation_table(facts))
    console.print(f"[bold]{outcome.decision}[/]: {outcome.reason}", highlight=False)
    console.print(f"version {version}" if version else "no version was pushed", highlight=False)
    console.print(f"model card: {evaluated / 'card.html'}", highlight=False, soft_wrap=True)
    if version:
        next_step(f"updraft registry show {facts['use_case']} {version}")
    elif os.environ.get("UPDRAFT_REGISTRY"):
        next_step(f"updraft registry list {facts['use_case']}")
    else:
        next_step("make up, which starts a registry, then the same command again")
