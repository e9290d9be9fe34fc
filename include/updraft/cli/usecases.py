"""`updraft check` and `updraft new`: use cases themselves, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from updraft.model.signature import Task

app = typer.Typer(help="Use cases: check them, make one of a file.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="Use cases; all of them without it.", metavar="[NAME]...")]


@app.command()
def check(
    names: Names = None, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Check YAML and suite of use cases, and run nothing; exit code 1 when something is wrong."""
    from updraft.defaults import ROOT
    from updraft.stages.check import check as check_case
    from updraft.stages.check import unread_files
    from updraft.usecase import paths

    found = {name: check_case(name) for name in names or [path.stem for path in paths()]}
    strays = [] if names else unread_files()
    faults = [*(fault for each in found.values() for fault in each), *strays]
    if as_json:
        told = [{"file": str(each.file), "line": each.line, "message": each.message} for each in faults]
        typer.echo(json.dumps({"ok": not faults, "use_cases": list(found), "faults": told}))
        raise typer.Exit(int(bool(faults)))
    for name, each in found.items():
        typer.echo("\n".join(fault.format(ROOT) for fault in each) or f"{name}: nothing wrong")
    for stray in strays:
        typer.echo(stray.format(ROOT))
    raise typer.Exit(int(bool(faults)))


@app.command("new")
def make(
    name: Annotated[str, typer.Argument(help="What to call the use case, such as customer_churn.", metavar="NAME")],
    data: Annotated[Path, typer.Option(help="A file of rows: .csv, .tsv, .jsonl (also .gz), .parquet.")],
    target: Annotated[str, typer.Option(help="The column to learn.")],
    task: Annotated[Task | None, typer.Option(help="Without it, a guess.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there already.")] = False,
) -> None:
    """Make a use case of a file: profile it, write a commented YAML and a suite, and say what to check."""
    from updraft.defaults import ROOT
    from updraft.new.new import new

    made = new(name, data, target, task, force=force)
    console = Console()
    table = Table("column", "type", "role", "because", box=None, pad_edge=False)
    for column in made.draft.columns:
        table.add_row(column.name, column.type, column.role, column.why)
    console.print(table, highlight=False)
    told = f"learns {made.draft.target.name} ({made.draft.spec.task}) from {len(made.draft.sample.frame):,} rows"
    typer.echo(f"\n{name} {told}. All of this is guessed; please check:")
    for note in made.draft.notes or ["nothing odd was found."]:
        typer.echo(f"  - {note}")
    typer.echo(f"\nWritten: {made.usecase.relative_to(ROOT)}, {made.suite.relative_to(ROOT)}")
    typer.echo(f"Next:    make demo USE_CASE={name} DATA='{data}'")
