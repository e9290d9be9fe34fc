"""`updraft check` and `updraft new`: validate use cases, create one from a file."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from updraft.cli.parameters import FILES, Json, checked_names, next_step
from updraft.model.task import Task

if TYPE_CHECKING:
    from updraft.usecase.yaml_lines import Fault

app = typer.Typer(help="Use cases: check them, create one from a file.", no_args_is_help=True)

Header = Literal["first", "none"]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Use cases, or etl_ and the name of an ETL; all of them without it.",
        metavar="[USE_CASE]...",
        autocompletion=checked_names,
    ),
]


@app.command(epilog="Example: updraft check vehicle_insurance")
def check(names: Names = None, as_json: Json = False) -> None:
    """Check YAML and suite of use cases and ETLs without running anything; exit code 1 when something is wrong."""
    from updraft.defaults import ROOT
    from updraft.etl.check import check as check_etl
    from updraft.stages.check import check as check_case
    from updraft.stages.check import unread_files
    from updraft.usecase import etl_dags, paths
    from updraft.usecase.load import ETL_PREFIX

    def check_name(name: str) -> list[Fault]:
        return check_etl(name.removeprefix(ETL_PREFIX)) if name.startswith(ETL_PREFIX) else check_case(name)

    by_name = {name: check_name(name) for name in names or [*(path.stem for path in paths()), *etl_dags()]}
    unread = [] if names else unread_files()
    faults = [*(fault for faults in by_name.values() for fault in faults), *unread]
    if as_json:
        entries = [{"file": str(fault.file), "line": fault.line, "message": fault.message} for fault in faults]
        typer.echo(json.dumps({"ok": not faults, "use_cases": list(by_name), "faults": entries}))
        raise typer.Exit(int(bool(faults)))
    for name, its_faults in by_name.items():
        typer.echo("\n".join(fault.format(ROOT) for fault in its_faults) or f"{name}: nothing wrong")
    for fault in unread:
        typer.echo(fault.format(ROOT))
    if faults:
        raise typer.Exit(1)
    if by_name:
        _next_steps(next(iter(by_name)))


def _next_steps(name: str) -> None:
    """Print what runs a use case or an ETL: with a file, or without one where its rows come from elsewhere."""
    from updraft.etl.definitions import load as load_etl
    from updraft.usecase import load
    from updraft.usecase.load import ETL_PREFIX

    if name.startswith(ETL_PREFIX):
        etl = load_etl(name.removeprefix(ETL_PREFIX))
        next_step(f"updraft etl {etl.name}" + (" --data rows.csv" if etl.source.kind == "file" else ""))
    elif load(name).source.kind == "mongodb":
        next_step(f"make demo USE_CASE={name} DATA=rows.csv")
        typer.echo("      Without DATA it trains on synthetic rows.")
    else:
        next_step(f"updraft run {name}")


@app.command("new", epilog="Example: updraft new customer_churn --data customers.csv --target churned")
def make(
    name: Annotated[str, typer.Argument(help="What to call the use case, such as customer_churn.", metavar="NAME")],
    data: Annotated[
        str,
        typer.Option(
            help="Rows: a .csv, .tsv, .jsonl (also .gz) or .parquet, here, on S3 or the web; "
            "or a table or collection, such as postgresql://user:password@host/database#customers.",
            metavar=FILES,
        ),
    ],
    target: Annotated[str, typer.Option(help="The column to learn.")],
    task: Annotated[Task | None, typer.Option(help="Without it, a guess.")] = None,
    header: Annotated[
        Header | None, typer.Option(help="Whether the first line of a text file names the columns; asked in doubt.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Create a use case from a file: profile it, write a commented YAML and a suite, and list what to review."""
    from rich.console import Console
    from rich.table import Table

    from updraft.cli.store_access import find_address
    from updraft.defaults import ROOT
    from updraft.new.new import new

    made = new(name, data, target, task, header=header, force=force, connections=find_address)
    console = Console()
    table = Table("column", "type", "role", "because", box=None, pad_edge=False)
    for column in made.draft.columns:
        table.add_row(column.name, column.type, column.role, column.why)
    console.print(table, highlight=False)
    summary = f"learns {made.draft.target.name} ({made.draft.spec.task}) from {len(made.draft.sample.frame):,} rows"
    typer.echo(f"\n{name} {summary}. All of this is guessed; please check:")
    for note in made.draft.notes or ["nothing odd was found."]:
        typer.echo(f"  - {note}")
    typer.echo(f"\nWritten: {made.usecase.relative_to(ROOT)}, {made.suite.relative_to(ROOT)}")
    is_local = made.draft.sample.source is None
    next_step(f"make demo USE_CASE={name} DATA={shlex.quote(data)}" if is_local else f"updraft run {name}")
