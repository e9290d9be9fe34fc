"""The `updraft` command: run the stages without Airflow, manage versions, start and stop the local stack."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from updraft.cli import dataset, registry, stack, stage, usecases
from updraft.cli.parameters import FILES, EtlName, Json, UseCaseName, next_step, use_case_names
from updraft.errors import UserError

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(usecases.app)
app.add_typer(registry.app)
app.add_typer(dataset.app)
app.add_typer(stage.app)
app.add_typer(stack.app)


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
    data: Annotated[
        str | None, typer.Option(help="Files of rows in place of the use case's source.", metavar=FILES)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The maximum number of rows.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the YAML's.")] = None,
    promote: Annotated[str | None, typer.Option(help="Stricter than the YAML's: canary, shadow, never.")] = None,
    as_json: Json = False,
) -> None:
    """Run all stages as the DAG does; without UPDRAFT_REGISTRY nothing is pushed."""
    from updraft.cli.run_stages import run_stages

    run_stages(name, data, limit, seed, promote, as_json)


@app.command(epilog="Example: AIRFLOW_URL=https://airflow.example.com updraft train vehicle_insurance")
def train(
    name: UseCaseName,
    limit: Annotated[int | None, typer.Option(min=1, help="The maximum number of rows.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the YAML's.")] = None,
    promote: Annotated[str | None, typer.Option(help="Stricter than the YAML's: canary, shadow, never.")] = None,
    as_json: Json = False,
) -> None:
    """Start the training in the Airflow at AIRFLOW_URL, follow it to its end, and fail with its reason."""
    from updraft.cli.train import train_remotely

    train_remotely(name, {"limit": limit, "seed": seed, "promote": promote}, as_json=as_json)


@app.command(epilog="Example: updraft load vehicle_insurance rows.csv")
def load(
    name: UseCaseName,
    file: Annotated[
        str | None, typer.Argument(help="A .csv, .tsv, .jsonl (or .gz) or .parquet, or several.", metavar=f"[{FILES}]")
    ] = None,
    synthetic: Annotated[
        int | None, typer.Option(min=1, help="A number of synthetic rows by the YAML's `demo` block, without a file.")
    ] = None,
    made_up: Annotated[int | None, typer.Option(min=1, hidden=True, help="The former name of --synthetic.")] = None,
) -> None:
    """Atomically replace the contents of the use case's MongoDB collection with the rows of files."""
    from updraft.cli.steps import show_steps
    from updraft.cli.store_access import find_address
    from updraft.demo.rows import generate, write
    from updraft.destinations import open_destination
    from updraft.sources import open_source
    from updraft.usecase import from_file
    from updraft.usecase import load as load_case

    count = synthetic or made_up
    if (file is None) == (count is None):
        raise UserError("load: expected a file, or --synthetic with the number of rows")
    case = load_case(name)
    with (
        open_destination(case, find_address) as destination,
        tempfile.TemporaryDirectory(prefix="updraft-load-") as folder,
    ):
        path = file or write(case, generate(case, count, case.seed), Path(folder) / f"{name}.csv")
        with open_source(from_file(case, path), find_address) as source, show_steps() as step, step("load") as progress:
            rows = destination.load(source, progress)
        origin = f"rows from {file}" if file else "synthetic rows"
        typer.echo(f"{rows:,} {origin} are in {destination.name}")
    next_step(f"updraft run {name}")


@app.command(epilog="Example: updraft etl network_security --data rows.csv")
def etl(
    name: EtlName,
    data: Annotated[str | None, typer.Option(help="Files of rows in place of the ETL's source.", metavar=FILES)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The maximum number of rows.")] = None,
    as_json: Json = False,
) -> None:
    """Extract, clean and load rows as the DAG does; where Airflow runs, start the trainings that wait for them."""
    from updraft.cli.run_etl import run_etl

    run_etl(name, data, limit, as_json)


@app.command(epilog="Example: updraft predict vehicle_insurance --data rows.csv --out predictions.csv")
def predict(
    name: UseCaseName,
    data: Annotated[
        str, typer.Option(help="Rows as the training data's: .csv, .tsv, .jsonl, .parquet.", metavar=FILES)
    ],
    out: Annotated[Path, typer.Option(help="A .csv to write: a line for each row, with its number and its id.")],
    version: Annotated[int | None, typer.Option(min=1, help="Another version than the one in production.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Predict a file's rows with the version in production; rows that do not fit are listed beside the predictions."""
    from updraft.cli.predict import predict_file

    predict_file(name, data, out, version, force=force)


@app.command(epilog="Example: updraft monitor vehicle_insurance --data rows.csv --out report")
def monitor(
    name: UseCaseName,
    data: Annotated[str | None, typer.Option(help="New rows: .csv, .tsv, .jsonl, .parquet.", metavar=FILES)] = None,
    since: Annotated[
        str | None,
        typer.Option(help="In place of rows: the predictions that services shipped in so long, as 7d or 12h."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with the rows of this file, not with the training's.", metavar=FILES)
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Another version than the one in production.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for report.html, with pictures, and report.json.")] = None,
    as_json: Json = False,
) -> None:
    """Compare new rows with those that a version was trained on, and its predictions with what came true."""
    from updraft.cli.monitor import monitor_file, monitor_shipped

    if (data is None) == (since is None):
        raise UserError("monitor: expected one of --data FILE and --since 7d")
    if against is not None and data is None:
        raise UserError("monitor: --against compares two files: expected --data FILE beside it")
    if data is not None:
        monitor_file(name, data, against, version, out, as_json=as_json)
    elif since is not None:
        monitor_shipped(name, since, version, out, as_json=as_json)


@app.command(epilog="Example: updraft predictions vehicle_insurance --since 2026-11-01 --out predictions.parquet")
def predictions(
    name: UseCaseName,
    since: Annotated[str | None, typer.Option(help="From this date or time on (UTC).", metavar="TIME")] = None,
    until: Annotated[str | None, typer.Option(help="Before this date or time (UTC).", metavar="TIME")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="One prediction, by its id, as JSON.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .parquet or .jsonl to write.")] = None,
    erase: Annotated[
        str | None, typer.Option(help="Erase the rows of all time with this value.", metavar="COLUMN=VALUE")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Erase them; without it they are only counted.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the services to erase theirs.")] = 150.0,
    as_json: Json = False,
) -> None:
    """Count, write, show or erase what the services have predicted, with the labels that came back."""
    from updraft.cli.predictions import erase_rows, parse_erasure, parse_period, show, show_one

    if erase is not None and (since or until or id_ or out or as_json):
        raise UserError("--erase: expected no other option than --yes and --wait beside it")
    if erase is None and yes:
        raise UserError("--yes: expected --erase COLUMN=VALUE beside it")
    if erase is not None:
        erase_rows(parse_erasure(name, erase), wait, yes=yes)
    elif id_ is not None:
        show_one(name, id_)
    else:
        show(name, parse_period(since, until), out, as_json=as_json)


@app.command(epilog="Example: MLFLOW_TRACKING_URI=http://127.0.0.1:5001 updraft tracker vehicle_insurance")
def tracker(
    name: Annotated[
        str | None, typer.Argument(help="One use case; all without it.", autocompletion=use_case_names)
    ] = None,
) -> None:
    """Record in the MLflow at MLFLOW_TRACKING_URI the versions that it lacks; exit code 1 when one still is missing."""
    from updraft.cli.tracker import record_missing

    record_missing(name)


@app.command(epilog="Example: updraft dvc vehicle_insurance")
def dvc(
    name: UseCaseName,
    out: Annotated[Path | None, typer.Option(help="Another file than deploy/dvc/USE_CASE/dvc.yaml.")] = None,
) -> None:
    """Write a dvc.yaml by which `dvc repro` runs the stages of a use case, each when what it reads has changed."""
    from updraft.cli.dvc import write_pipeline
    from updraft.cli.one_stage import load_checked
    from updraft.defaults import ROOT

    path = write_pipeline(load_checked(name), out or ROOT / "deploy" / "dvc" / name / "dvc.yaml")
    typer.echo(f"written: {path}")
    next_step(f"dvc repro {path}, with `updraft` on the PATH")


@app.command(epilog="Example: updraft feast vehicle_insurance --entity id --timestamp signed_at")
def feast(
    name: UseCaseName,
    out: Annotated[Path | None, typer.Option(help="Another folder than deploy/feast/USE_CASE.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Another version than the one in production.")] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="In place of a version's rows: a run's ingest/dataset.parquet.")
    ] = None,
    entity: Annotated[str | None, typer.Option(help="The key column; else the YAML's, or the id.")] = None,
    timestamp: Annotated[
        str | None, typer.Option(help="The date of a row; else the YAML's, or the time of the dataset.")
    ] = None,
) -> None:
    """Write a Feast feature repository over the dataset of a use case: its rows, and their columns as features."""
    from updraft.cli.feast import export_file, export_version, find_keys
    from updraft.cli.one_stage import load_checked
    from updraft.defaults import ROOT

    if dataset is not None and version is not None:
        raise UserError("feast: --dataset and --version: both are set, expected one of them")
    case = load_checked(name)
    keys, folder = find_keys(case, entity, timestamp), out or ROOT / "deploy" / "feast" / name
    exported = export_file(case, dataset, folder, keys) if dataset else export_version(case, version, folder, keys)
    typer.echo(f"written: {folder}: {exported}")
    next_step(f"feast --chdir {folder} apply, in an environment that has feast")


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
