"""`updraft registry export` and `import`: a registry, or some of its use cases, as one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from updraft.cli.parameters import next_step, use_case_names
from updraft.errors import UserError

app = typer.Typer()


@app.command(epilog="Example: updraft registry export models.tar vehicle_insurance")
def export(
    file: Annotated[Path, typer.Argument(help="The tar file to write.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Use cases; all of them without any.", autocompletion=use_case_names)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write versions, moves, holds and judgements into one signed file, all of it verified, for a backup or a move."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment
    from updraft.registry.archive.export import export
    from updraft.registry.signing_keys import key_id

    with one_line_errors(), open_from_environment() as registry, _bytes_shown("export") as count:
        exported = export(registry, names or [], file, count=count, force=force)
        signer = key_id(registry.keys.require_signing().public_key())
    for each in exported:
        typer.echo(each.format())
    typer.echo(f"{file}: {file.stat().st_size / 1e6:,.1f} MB, signed with the key {signer}")
    next_step(f"updraft registry import {file}, where UPDRAFT_REGISTRY names the other registry")


@app.command("import", epilog="Example: updraft registry import models.tar --check")
def import_archive(
    file: Annotated[Path, typer.Argument(help="A file that `export` has written.")],
    check_only: Annotated[bool, typer.Option("--check", help="Verify the file, and whether it fits; no more.")] = False,
) -> None:
    """Verify a file of `export`, and create what the registry lacks of it, each pointer last; replaces nothing.

    An import that was interrupted is completed by the next one. What is there with the same bytes is skipped.
    """
    from updraft.cli.registry_access import one_line_errors, open_from_environment
    from updraft.registry.archive.load import check, load
    from updraft.registry.signing_keys import key_id

    with one_line_errors(), open_from_environment() as registry:
        if not file.is_file():
            raise UserError(f"{file}: no such file; expected one that `updraft registry export` has written")
        with _bytes_shown("verify") as count:
            index, plans = check(registry, file, count)
        typer.echo(f"{file}: verified, signed with the key {index.key_id} on {index.created_at[:10]}")
        if check_only:
            return
        with _bytes_shown("import") as count:
            for each in load(registry, file, plans, count):
                typer.echo(each.format())
        if index.key_id != key_id(registry.keys.require_signing().public_key()):
            typer.echo("it is signed with another key than this registry's")
            next_step("updraft registry sign --all")
        else:
            next_step("updraft registry list")


@app.command(epilog="Example: updraft registry mirror --check")
def mirror(
    name: Annotated[
        str | None, typer.Argument(help="One use case; all without it.", autocompletion=use_case_names)
    ] = None,
    check_only: Annotated[bool, typer.Option("--check", help="Say what is late; copy nothing.")] = False,
) -> None:
    """Copy to UPDRAFT_MIRROR what it lacks of promoted versions and moves; exit code 1 when one is late."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment
    from updraft.registry.moves import describe

    late = False
    with one_line_errors(), open_from_environment() as registry:
        if registry.mirror is None:
            raise UserError(
                "UPDRAFT_MIRROR: not set; expected s3://bucket/prefix, in another bucket, or azure://account/container"
            )
        for each in [name] if name else registry.names():
            reason = registry.mirror.late(each) if check_only else registry.mirror.follow(each)
            if reason:
                late = True
                typer.echo(f"updraft: late: {each}: {registry.mirror.target}: {reason}", err=True)
            else:
                in_production = describe(registry.production(each))
                typer.echo(f"{each}: {in_production} in production, and mirrored to {registry.mirror.target}")
    if late:
        raise typer.Exit(1)


@contextmanager
def _bytes_shown(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show on stderr how many bytes are done."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    from updraft.cli.steps import stderr

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    with Progress(*columns, console=stderr) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
