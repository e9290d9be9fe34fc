"""`updraft registry …`: do by hand what the DAG does with versions."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from updraft.errors import UserError
from updraft.local_stack.environment import home_folder
from updraft.local_stack.stores import check_stores
from updraft.registry.registry import NoSuchVersion, PointerMoved, Registry, VerificationError, Version, open_registry

app = typer.Typer(name="registry", help="List, show, promote, roll back and verify versions.", no_args_is_help=True)

S3_ERRORS = (ClientError, BotoCoreError, Boto3Error)

Name = Annotated[str, typer.Argument(help="The use case, such as vehicle_insurance.")]
Why = Annotated[str, typer.Option(help="The reason; it stays in the history.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_versions(
    name: Annotated[str | None, typer.Argument(help="One use case; all of them without it.")] = None,
    as_json: Json = False,
) -> None:
    """List the versions of a use case, or of all; nothing is verified."""
    with one_line_errors(), opened() as registry:
        names = [name] if name else registry.names()
        rows = [row for each in names for row in _rows(registry, each)]
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
    _console().print(table)


@app.command()
def show(
    name: Name,
    version: Annotated[int | None, typer.Argument(help="The one in production without it.")] = None,
    as_json: Json = False,
) -> None:
    """Show a version's manifest and the moves of production; nothing is verified."""
    with one_line_errors(), opened() as registry:
        production = registry.production(name)
        number = version or production
        if number is None:
            raise NoSuchVersion(f"{name}: nothing is in production; name a version")
        found = registry.version(name, number)
        moves = registry.history(name)
    if as_json:
        shown = {"name": name, "version": number, "production": number == production}
        typer.echo(json.dumps({**shown, "manifest": found.manifest, "history": moves}, indent=2))
        return
    _console().print(_manifest_table(found, number == production), _history_table(moves))


@app.command()
def promote(name: Name, version: Annotated[int, typer.Argument(help="The number of the version.")], why: Why) -> None:
    """Verify a version and put it into production."""
    with one_line_errors(), opened() as registry:
        before = registry.production(name)
        registry.promote(name, version, expect=before, who=who(), why=why)
    if before == version:
        typer.echo(f"{name}: version {version} is in production already")
    else:
        typer.echo(f"{name}: production is version {version} now (was {before or 'nothing'})")


@app.command()
def rollback(name: Name, why: Why) -> None:
    """Put back the version that was in production before the present one was promoted; again: further back."""
    with one_line_errors(), opened() as registry:
        number = registry.rollback(name, who=who(), why=why)
    typer.echo(f"{name}: production is version {number} again")


@app.command()
def verify(
    name: Name, version: Annotated[int | None, typer.Argument(help="One version; all of them without it.")] = None
) -> None:
    """Check signature and files of a version, or of all; exit code 1 when one is refused."""
    refused = False
    with one_line_errors(), opened() as registry:
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


@contextmanager
def opened() -> Iterator[Registry]:
    """Open the registry of the environment, and close its connections afterwards."""
    check_stores(os.environ, home_folder(os.environ), "s3")
    registry = open_registry(os.environ)
    try:
        yield registry
    finally:
        registry.bucket.client.close()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a person can do something about into one line on stderr and exit code 1."""
    try:
        yield
    except (*S3_ERRORS, UserError, PointerMoved) as error:
        kind = "S3: " if isinstance(error, S3_ERRORS) else ""
        typer.echo(f"updraft: {kind}{' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None


def who() -> str:
    """Name the user of this shell; a container may run under a number that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _rows(registry: Registry, name: str) -> list[dict[str, Any]]:
    production = registry.production(name)
    return [
        {
            "name": name,
            "version": version.number,
            "production": version.number == production,
            "created_at": version.manifest.get("created_at"),
            "run_id": version.manifest.get("run_id"),
            "size": version.size,
        }
        for version in registry.versions(name)
    ]


def _manifest_table(version: Version, production: bool) -> Table:
    table = Table(title=f"{version}{' (in production)' if production else ''}", show_header=False)
    for key, value in version.manifest.items():
        if key != "files":
            table.add_row(key, Text(value if isinstance(value, str) else json.dumps(value, indent=1)))
    for file, told in version.files.items():
        table.add_row(f"file {file}", f"{told['size']:,} bytes, sha256 {told['sha256']}")
    return table


def _history_table(moves: list[dict[str, Any]]) -> Table:
    table = Table("when", "who", "action", "production", "why", title="moves of production")
    for move in moves:
        when = str(move["when"])[:19].replace("T", " ")
        table.add_row(when, Text(move["who"]), move["action"], str(move["production"]), Text(move["why"]))
    return table


def _console() -> Console:
    """Make a console that wraps nothing where output is no terminal, so that it can be cut and searched."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
