"""`updraft registry …`: list, verify, promote, try, take back and sign versions from a shell.

Each command imports what it needs: completion imports this module at each press of Tab.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from updraft.cli import registry_move, registry_rollout
from updraft.cli.parameters import Json, UseCaseName, next_step, use_case_names

app = typer.Typer(
    name="registry", help="List, show, promote, try, take back, sign and move versions.", no_args_is_help=True
)
app.add_typer(registry_rollout.app)
app.add_typer(registry_move.app)

STYLES = {"production": "green", "rollout": "yellow", "held": "red", "unknown": "red"}

Why = Annotated[str, typer.Option(help="The reason; it stays in the history.")]
Version = Annotated[int, typer.Argument(help="The number of the version.")]


@app.command("list", epilog="Example: updraft registry list vehicle_insurance --json")
def list_versions(
    name: Annotated[
        str | None, typer.Argument(help="One use case; all of them without it.", autocompletion=use_case_names)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the versions of a use case, or of all, and what became of each; their files are not verified."""
    from rich.table import Table
    from rich.text import Text

    from updraft.cli.registry_access import console, one_line_errors, open_from_environment, printable, version_rows
    from updraft.registry.registry import NoSuchVersion

    with one_line_errors(), open_from_environment() as registry:
        names = [name] if name else registry.names()
        rows = [row for each in names for row in version_rows(registry, each)]
        if not rows:
            raise NoSuchVersion(f"{name or 'registry'}: no version in {registry.bucket}")
        late = {each: registry.mirror.late(each) for each in names} if registry.mirror else {}
    for each in [each for each in late if late[each]]:
        typer.echo(f"updraft: the mirror is late: {each}: {late[each]}; `updraft registry mirror` copies it", err=True)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("use case", "version", "state", "created", "run", "size", "reason")
    for row in rows:
        state = Text(row["state"], style=STYLES.get(row["state"], ""))
        created = printable(str(row["created_at"])[:19].replace("T", " "))
        size = f"{row['size'] / 1e6:.1f} MB"
        reason = Text(row["reason"] or "")
        table.add_row(row["name"], str(row["version"]), state, created, printable(str(row["run_id"])), size, reason)
    console().print(table)


@app.command(epilog="Example: updraft registry show vehicle_insurance 2")
def show(
    name: UseCaseName,
    version: Annotated[int | None, typer.Argument(help="The one in production without it.")] = None,
    as_json: Json = False,
) -> None:
    """Show a version's state and manifest, and the history of production; its files are not verified."""
    from updraft.cli.registry_access import (
        console,
        history_table,
        manifest_table,
        one_line_errors,
        open_from_environment,
        read_judgement,
        version_state,
    )
    from updraft.registry.registry import NoSuchVersion
    from updraft.registry.states import replay

    with one_line_errors(), open_from_environment() as registry:
        history = registry.history(name)
        states = replay(history)
        number = version or states.production
        if number is None:
            raise NoSuchVersion(f"{name}: nothing is in production; name a version")
        shown, judgement = registry.version(name, number), read_judgement(registry, name, number)
    state = version_state(shown, states)
    if as_json:
        summary = {
            "name": name,
            "version": number,
            "production": number == states.production,
            **state,
            "rollout": states.rollout.model_dump() if states.rollout else None,
            "judged_again": judgement.model_dump() if judgement else None,
        }
        moves = [move.model_dump() for move in history]
        typer.echo(json.dumps({**summary, "manifest": shown.manifest, "history": moves}, indent=2))
        return
    console().print(manifest_table(shown, state, judgement), history_table(history))


@app.command(epilog='Example: updraft registry promote vehicle_insurance 3 --why "better recall"')
def promote(
    name: UseCaseName,
    version: Version,
    why: Why,
    force: Annotated[bool, typer.Option("--force", help="Also one that is held, which lifts the hold.")] = False,
) -> None:
    """Verify a version and put it into production; a rollout ends, and its version stays stored."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who

    with one_line_errors(), open_from_environment() as registry:
        states = registry.states(name)
        before, hold = states.production, states.hold(registry.version(name, version).model_sha256)
        registry.promote(name, version, expect=before, who=who(), why=why, force=force)
    if before == version:
        typer.echo(f"{name}: version {version} is in production already")
    else:
        typer.echo(f"{name}: production is version {version} now (was {before or 'nothing'})")
        if hold:
            typer.echo(f"{name}: the hold is lifted: {hold}")
    next_step(f"updraft registry show {name}")


@app.command(epilog='Example: updraft registry rollback vehicle_insurance --why "drift in Age"')
def rollback(name: UseCaseName, why: Why) -> None:
    """Take back the version in production and put back the one before; repeat to go further back.

    What is taken back is held: no run promotes it again, nor another version with the same model; `promote --force`
    does. A rollout ends, and its version stays stored.
    """
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who

    with one_line_errors(), open_from_environment() as registry:
        before = registry.production(name)
        number = registry.rollback(name, who=who(), why=why)
    typer.echo(f"{name}: production is version {number} again; version {before} is held")
    next_step(f"updraft registry show {name}")


@app.command(epilog='Example: updraft registry hold vehicle_insurance 5 --why "trained on broken rows"')
def hold(name: UseCaseName, version: Version, why: Why) -> None:
    """Hold a version that is not in production: no run promotes it, nor another one with the same model."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who

    with one_line_errors(), open_from_environment() as registry:
        registry.hold(name, version, who=who(), why=why)
    typer.echo(f"{name}: version {version} is held")
    next_step(f"updraft registry list {name}")


@app.command(epilog='Example: updraft registry remove vehicle_insurance --why "replaced by insurance_v2"')
def remove(name: UseCaseName, why: Why) -> None:
    """End a use case: services stop to serve it. Its versions stay; a promotion begins it again."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who

    with one_line_errors(), open_from_environment() as registry:
        registry.remove(name, who=who(), why=why)
    typer.echo(f"{name}: removed; services drop it at their next poll")
    next_step(f"updraft registry list {name}")


@app.command(epilog="Example: updraft registry prune vehicle_insurance --keep 20 --yes")
def prune(
    name: UseCaseName,
    keep: Annotated[int, typer.Option(min=1, help="How many stored versions stay: the latest ones.")] = 20,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it they are listed alone.")] = False,
) -> None:
    """Delete old versions that were only stored: none that is or was in production, in a rollout, or held."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who
    from updraft.registry.prune import prunable, prune

    with one_line_errors(), open_from_environment() as registry:
        versions = prunable(registry, name, keep)
        size = f"{sum(version.size for version in versions) / 1e6:,.1f} MB"
        numbers = ", ".join(str(version.number) for version in versions) or "none"
        if yes:
            deleted = prune(registry, name, versions, keep=keep, who=who(), why=f"all but the latest {keep} stored")
            numbers = ", ".join(map(str, deleted)) or "none"
    typer.echo(f"{name}: {'deleted' if yes else 'would be deleted'}: {numbers} ({size})")
    next_step(
        f"updraft registry list {name}" if yes or not versions else f"updraft registry prune {name} --keep {keep} --yes"
    )


@app.command(epilog="Example: updraft registry sign --all")
def sign(
    name: Annotated[str | None, typer.Argument(help="One use case.", autocompletion=use_case_names)] = None,
    every: Annotated[bool, typer.Option("--all", help="All use cases.")] = False,
    above: Annotated[
        int | None, typer.Option(min=1, help="Go on above this move, which services have seen before a restore.")
    ] = None,
    registry_id: Annotated[
        str | None, typer.Option(help="Take this registry's place, which services have seen before.")
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out moves that cannot be read.")] = False,
) -> None:
    """Sign versions, moves, judgements and datasets with the signing key: after an update, or to rotate the key."""
    import os

    from updraft.cli.registry_access import one_line_errors, open_from_environment, who
    from updraft.datasets.store import open_datasets
    from updraft.errors import UserError
    from updraft.registry.sign import sign

    with one_line_errors(), open_from_environment() as registry:
        if (name is None) != every:
            raise UserError("registry sign: expected a use case, or --all")
        for each in registry.names() if every else [str(name)]:
            for line in sign(registry, each, who=who(), above=above, registry_id=registry_id, skip_broken=skip_broken):
                typer.echo(line)
        datasets = open_datasets(os.environ, registry.bucket.client)
        for each in (datasets.names() if every else [str(name)]) if datasets else ():
            if datasets and (signed := datasets.sign(each)):
                typer.echo(f"{each}: {signed} datasets signed")
    next_step("updraft registry keys")


@app.command(epilog="Example: updraft registry keys")
def keys(as_json: Json = False) -> None:
    """Show the ids of the keys that sign and verify here, and how much each of them has signed."""
    from updraft.cli.registry_access import console, key_rows, one_line_errors, open_from_environment

    with one_line_errors(), open_from_environment() as registry:
        rows = key_rows(registry)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table("key", "here it", "has signed", "in")
    for row in rows:
        table.add_row(row["key"], " and ".join(row["does"]), f"{row['signed']:,}", ", ".join(row["in"]))
    console().print(table)
    others = [row for row in rows if "signs" not in row["does"]]
    if any(row["signed"] for row in others):
        next_step("updraft registry sign --all, where UPDRAFT_SIGNING_KEY is")
    elif others:
        typer.echo(f"{others[0]['key']} has signed nothing that is still there: it can be dropped")


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
