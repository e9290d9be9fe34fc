"""`updraft registry …`: list, verify, promote and roll back versions from a shell.

Each command imports what it needs: completion imports this module at each press of Tab.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from updraft.cli.parameters import Json, UseCaseName, next_step, use_case_names

app = typer.Typer(name="registry", help="List, show, promote, roll back and verify versions.", no_args_is_help=True)

Why = Annotated[str, typer.Option(help="The reason; it stays in the history.")]


@app.command("list", epilog="Example: updraft registry list vehicle_insurance --json")
def list_versions(
    name: Annotated[
        str | None, typer.Argument(help="One use case; all of them without it.", autocompletion=use_case_names)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the versions of a use case, or of all; nothing is verified."""
    from rich.table import Table
    from rich.text import Text

    from updraft.cli.registry_access import console, one_line_errors, open_from_environment, version_rows
    from updraft.registry.registry import NoSuchVersion

    with one_line_errors(), open_from_environment() as registry:
        names = [name] if name else registry.names()
        rows = [row for each in names for row in version_rows(registry, each)]
        if not rows:
            raise NoSuchVersion(f"{name or 'registry'}: no version in {registry.bucket}")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("use case", "version", "production", "created", "run", "size")
    for row in rows:
        mark = Text("production", style="green") if row["production"] else Text("")
        created = str(row["created_at"])[:19].replace("T", " ")
        size = f"{row['size'] / 1e6:.1f} MB"
        table.add_row(row["name"], str(row["version"]), mark, created, Text(str(row["run_id"])), size)
    console().print(table)


@app.command(epilog="Example: updraft registry show vehicle_insurance 2")
def show(
    name: UseCaseName,
    version: Annotated[int | None, typer.Argument(help="The one in production without it.")] = None,
    as_json: Json = False,
) -> None:
    """Show a version's manifest and the history of production; nothing is verified."""
    from updraft.cli.registry_access import (
        console,
        history_table,
        manifest_table,
        one_line_errors,
        open_from_environment,
    )
    from updraft.registry.registry import NoSuchVersion

    with one_line_errors(), open_from_environment() as registry:
        production = registry.production(name)
        number = version or production
        if number is None:
            raise NoSuchVersion(f"{name}: nothing is in production; name a version")
        shown = registry.version(name, number)
        history = registry.history(name)
    if as_json:
        summary = {"name": name, "version": number, "production": number == production}
        typer.echo(json.dumps({**summary, "manifest": shown.manifest, "history": history}, indent=2))
        return
    console().print(manifest_table(shown, number == production), history_table(history))


@app.command(epilog='Example: updraft registry promote vehicle_insurance 3 --why "better recall"')
def promote(
    name: UseCaseName, version: Annotated[int, typer.Argument(help="The number of the version.")], why: Why
) -> None:
    """Verify a version and put it into production."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who

    with one_line_errors(), open_from_environment() as registry:
        before = registry.production(name)
        registry.promote(name, version, expect=before, who=who(), why=why)
    if before == version:
        typer.echo(f"{name}: version {version} is in production already")
    else:
        typer.echo(f"{name}: production is version {version} now (was {before or 'nothing'})")
    next_step(f"updraft registry show {name}")


@app.command(epilog='Example: updraft registry rollback vehicle_insurance --why "drift in Age"')
def rollback(name: UseCaseName, why: Why) -> None:
    """Put back the version that was in production before the current one; repeat to go further back."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who

    with one_line_errors(), open_from_environment() as registry:
        number = registry.rollback(name, who=who(), why=why)
    typer.echo(f"{name}: production is version {number} again")
    next_step(f"updraft registry show {name}")


@app.command(epilog="Example: updraft registry verify vehicle_insurance 3")
def verify(
    name: UseCaseName,
    version: Annotated[int | None, typer.Argument(help="One version; all of them without it.")] = None,
) -> None:
    """Verify signature and files of a version, or of all; exit code 1 when one is refused."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment
    from updraft.registry.registry import NoSuchVersion, VerificationError

    refused = False
    with one_line_errors(), open_from_environment() as registry:
        numbers = registry.numbers(name) if version is None else [version]
        if not numbers:
            raise NoSuchVersion(f"{name}: no version in {registry.bucket}")
        for number in numbers:
            try:
                typer.echo(f"{registry.verify(name, number)}: signature and files are right")
            except VerificationError as error:
                refused = True
                typer.echo(f"updraft: refused: {error}", err=True)
    if refused:
        raise typer.Exit(1)
