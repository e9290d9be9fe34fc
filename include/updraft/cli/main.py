"""The `updraft` command: the stages from a shell, without Airflow; the registry by hand; the embedded stack."""

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
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from updraft.addresses import Address, from_environment
from updraft.cli import registry, stack, usecases
from updraft.errors import UserError

if TYPE_CHECKING:
    from updraft.stages.push import Outcome
    from updraft.stages.runs import Run

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(usecases.app)
app.add_typer(registry.app)
app.add_typer(stack.app)
stderr = Console(stderr=True)

Name = Annotated[str, typer.Argument(help="A use case: the name of a file in include/usecases.", metavar="USE_CASE")]
Count = Callable[[int, int | None], None]


@app.command()
def run(
    name: Name,
    data: Annotated[Path | None, typer.Option(help="A file of rows in place of the use case's source.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the YAML's.")] = None,
    promote: Annotated[str | None, typer.Option(help="auto, or never: store the version, promote nothing.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")] = False,
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
    from updraft.usecase import applied, check_params, from_file
    from updraft.usecase import load as load_case

    params = check_params({"limit": limit, "seed": seed, "promote": promote})
    case = applied(params, load_case(name))
    case = from_file(case, data) if data else case
    if os.environ.get("UPDRAFT_REGISTRY"):
        _check_stores("s3")
    store = open_registry(os.environ) if os.environ.get("UPDRAFT_REGISTRY") else None
    me = _new_run(case.name)
    with open_source(case, _address, limit) as source, _steps() as step:
        require_valid(name)
        with step("ingest") as count:
            dataset = ingest(case, source, me.folder / "ingest", count)
        with step("validate"):
            validate(case, dataset, me.folder / "validate")
        with step("transform"):
            split = transform(case, dataset, me.folder / "transform")
        models = []
        for candidate in case.candidates:
            with step(f"train {candidate}"):
                models.append(train(case, candidate, split, me.folder / "train" / candidate))
        with step("evaluate"):
            rival = champion(case, store, me.folder / "champion") if store else None
            evaluated = evaluate(case, models, split, rival, me.folder / "evaluate")
        facts = read_json(evaluated / EVALUATION)
        outcome = Outcome(None, facts["decision"], f"{facts['reason']}; without UPDRAFT_REGISTRY nothing is pushed")
        if store:
            with step("push"):
                outcome = push(case, evaluated, store, me)
    _tell(facts, outcome, evaluated, as_json)


@app.command()
def load(
    name: Name,
    file: Annotated[Path | None, typer.Argument(help="A .csv, .tsv, .jsonl (or .gz) or .parquet.")] = None,
    made_up: Annotated[
        int | None, typer.Option(min=1, help="So many rows by the YAML's `demo` block, in place of a file.")
    ] = None,
) -> None:
    """Fill the use case's MongoDB collection from a file; its old contents are replaced atomically."""
    from updraft.demo.rows import generate, write
    from updraft.destinations import open_destination
    from updraft.sources import open_source
    from updraft.usecase import from_file
    from updraft.usecase import load as load_case

    if (file is None) == (made_up is None):
        raise UserError("load: expected a file, or --made-up with the number of rows")
    case = load_case(name)
    with open_destination(case, _address) as destination, tempfile.TemporaryDirectory(prefix="updraft-load-") as folder:
        path = file or write(case, generate(case, made_up, case.seed), Path(folder) / f"{name}.csv")
        with open_source(from_file(case, path), _address) as source, _steps() as step, step("load") as count:
            rows = destination.load(source, count)
        origin = f"rows from {file}" if file else "synthetic rows"
        typer.echo(f"{rows:,} {origin} are in {destination.name}")


def main() -> None:
    """Run the command line; what `make up` recorded fills in what the environment does not say."""
    from updraft.local_stack.environment import home_folder
    from updraft.local_stack.environment import load as load_settings
    from updraft.registry.registry import PointerMoved

    try:
        load_settings(os.environ, home_folder(os.environ))
        app()
    except (UserError, OSError, PointerMoved, *registry.S3_ERRORS) as error:
        for line in str(error).splitlines():
            typer.echo(f"updraft: {line}", err=True)
        sys.exit(1)


def _address(connection: str, variable: str) -> Address:
    """Look an address up in the environment; where it leads to the local stack, that must run."""
    from updraft.local_stack.stores import STORES

    _check_stores(*(store for store, (name, _) in STORES.items() if name == variable))
    return from_environment(os.environ)(connection, variable)


def _check_stores(*stores: str) -> None:
    from updraft.local_stack.environment import home_folder
    from updraft.local_stack.stores import check_stores

    check_stores(os.environ, home_folder(os.environ), *stores)


def _new_run(name: str) -> Run:
    from updraft.stages.runs import Files, Run, artifacts

    run_id = f"shell__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{uuid.uuid4().hex[:6]}"
    return Run(run_id, Files(artifacts(os.environ) / name / run_id), who=registry.who())


@contextmanager
def _steps() -> Iterator[Callable[[str], Any]]:
    """Show the steps as they run, with the log of the stages above them, on stderr."""
    columns = SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TextColumn("{task.fields[rows]}")
    with Progress(*columns, TimeElapsedColumn(), console=stderr) as progress:
        handler = RichHandler(console=progress.console, show_path=False, show_level=False, log_time_format="%H:%M:%S")
        logger = logging.getLogger("updraft")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)

        @contextmanager
        def step(title: str) -> Iterator[Count]:
            task = progress.add_task(title, total=None, rows="")

            def count(done: int, total: int | None) -> None:
                share = f" of {total:,}, {min(done / total, 1):.0%}" if total else ""
                progress.update(task, rows=f"{done:,} rows{share}")

            yield count
            progress.update(task, total=1, completed=1)

        try:
            yield step
        finally:
            logger.removeHandler(handler)


def _tell(facts: dict[str, Any], outcome: Outcome, evaluated: Path, as_json: bool) -> None:
    from updraft.stages.evaluation_table import evaluation_table

    version = outcome.version.number if outcome.version else None
    if as_json:
        told = {
            "use_case": facts["use_case"],
            "version": version,
            "decision": outcome.decision,
            "reason": outcome.reason,
        }
        told |= {"chosen": facts["chosen"], "metrics": facts["metrics"], "candidates": facts["candidates"]}
        typer.echo(json.dumps(told, allow_nan=False))
        return
    console = Console()
    console.print(evaluation_table(facts))
    console.print(f"[bold]{outcome.decision}[/]: {outcome.reason}", highlight=False)
    console.print(f"version {version}" if version else "no version was pushed", highlight=False)
    console.print(f"model card: {evaluated / 'card.html'}", highlight=False, soft_wrap=True)
