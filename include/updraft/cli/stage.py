"""`updraft stage VERB NAME …`: one stage, on inputs and into a folder that its caller names.

Each command imports what it needs: completion imports this module at each press of Tab.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from updraft.cli.parameters import UseCaseName

app = typer.Typer(name="stage", help="Run one stage on given inputs, as other tools call it.", no_args_is_help=True)


Out = Annotated[Path, typer.Option(help="The folder to write, replaced when it exists.")]
Dataset = Annotated[Path, typer.Option(help="What `ingest` wrote: dataset.parquet.")]
Split = Annotated[Path, typer.Option(help="The folder that `transform` wrote.")]
Models = Annotated[list[Path], typer.Option(help="The folder that `train` wrote; once for each candidate.")]


@app.command(epilog="Example: updraft stage settings vehicle_insurance --out work/settings")
def settings(name: UseCaseName, out: Out) -> None:
    """Write what decides which rows are read to rows.json, and what decides how a model is made to learning.json."""
    from updraft.cli.one_stage import load_checked, write_settings

    write_settings(load_checked(name), out)


@app.command(epilog="Example: updraft stage ingest vehicle_insurance --data rows.csv --out work/ingest")
def ingest(
    name: UseCaseName,
    out: Out,
    data: Annotated[Path | None, typer.Option(help="A file of rows in place of the use case's source.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The maximum number of rows.")] = None,
) -> None:
    """Read the source's rows into a dataset."""
    from updraft.cli.one_stage import load_checked, one_step
    from updraft.cli.store_access import find_address
    from updraft.sources import open_source
    from updraft.stages import ingest as stage
    from updraft.usecase import from_file

    case = load_checked(name)
    case = from_file(case, data) if data else case
    with open_source(case, find_address, limit) as source, one_step("ingest") as count:
        stage.ingest(case, source, out, count)
    typer.echo(str(out / "dataset.parquet"))


@app.command(epilog="Example: updraft stage validate vehicle_insurance --dataset dataset.parquet --out work/report")
def validate(name: UseCaseName, dataset: Dataset, out: Out) -> None:
    """Hold a dataset against the suite; exit code 1 when a critical expectation fails."""
    from updraft.cli.one_stage import one_step, require_inputs
    from updraft.stages import validate as stage
    from updraft.usecase import load

    require_inputs(dataset)
    with one_step("validate"):
        stage.validate(load(name), dataset, out)
    typer.echo(str(out / "report.json"))


@app.command(epilog="Example: updraft stage transform vehicle_insurance --dataset dataset.parquet --out work/split")
def transform(name: UseCaseName, dataset: Dataset, out: Out) -> None:
    """Split a dataset."""
    from updraft.cli.one_stage import one_step, require_inputs
    from updraft.stages import transform as stage
    from updraft.usecase import load

    require_inputs(dataset)
    with one_step("transform"):
        stage.transform(load(name), dataset, out)
    typer.echo(str(out))


@app.command(epilog="Example: updraft stage train vehicle_insurance forest --split work/split --out work/forest")
def train(
    name: UseCaseName,
    candidate: Annotated[str, typer.Argument(help="A candidate of the YAML.")],
    split: Split,
    out: Out,
) -> None:
    """Fit one candidate."""
    from updraft.cli.one_stage import one_step, require_inputs
    from updraft.cli.store_access import find_address
    from updraft.errors import UserError
    from updraft.stages import train as stage
    from updraft.usecase import load
    from updraft.usecase.messages import listed, nearest

    require_inputs(split / "split.json")
    case = load(name)
    if candidate not in case.candidates:
        known = list(case.candidates)
        raise UserError(f"{name}: no candidate {candidate!r}{nearest(candidate, known)}; there are: {listed(known)}")
    with one_step(f"train {candidate}"):
        stage.train(case, candidate, split, out, find_address)
    typer.echo(str(out))


@app.command(
    epilog="Example: updraft stage evaluate vehicle_insurance --split work/split --model work/forest --out work/e"
)
def evaluate(name: UseCaseName, split: Split, model: Models, out: Out) -> None:
    """Choose a candidate, measure it and the champion, if there is a registry, and decide."""
    from updraft.cli.one_stage import one_step, registry_if_any, require_inputs
    from updraft.stages import evaluate as stage
    from updraft.stages.push import champion
    from updraft.stages.train import TRAINING
    from updraft.usecase import load

    require_inputs(split / "split.json", *(folder / TRAINING for folder in model))
    case, registry = load(name), registry_if_any()
    rival = champion(case, registry) if registry else None
    holds = registry.states(name).holds if registry else stage.NO_HOLDS
    with one_step("evaluate"):
        stage.evaluate(case, model, split, rival, out, holds=holds)
    typer.echo(str(out / stage.EVALUATION))


@app.command(
    epilog="Example: updraft stage push vehicle_insurance --dataset dataset.parquet --split work/split "
    "--model work/forest --evaluation work/e --out work/push"
)
def push(
    name: UseCaseName,
    dataset: Dataset,
    split: Split,
    model: Models,
    evaluation: Annotated[Path, typer.Option(help="The folder that `evaluate` wrote.")],
    out: Out,
) -> None:
    """Store the chosen model as a version and promote it when that was decided; once for the same model."""
    from updraft.cli.one_stage import push_model, require_inputs
    from updraft.stages.evaluate import EVALUATION
    from updraft.stages.train import TRAINING

    require_inputs(dataset, split / "split.json", *(folder / TRAINING for folder in model), evaluation / EVALUATION)
    push_model(name, model, split, dataset, evaluation, out)
