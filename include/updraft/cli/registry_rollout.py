"""`updraft registry rollout`, `finish` and `abort`: try a version beside the one in production."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from updraft.cli.parameters import UseCaseName, next_step

app = typer.Typer()

Why = Annotated[str, typer.Option(help="The reason; it stays in the history.")]


class Mode(StrEnum):
    """How a version is tried."""

    shadow = "shadow"
    canary = "canary"


@app.command(epilog='Example: updraft registry rollout vehicle_insurance 3 --mode canary --percent 10 --why "wins"')
def rollout(
    name: UseCaseName,
    version: Annotated[int, typer.Argument(help="The number of the version.")],
    why: Why,
    mode: Annotated[
        Mode, typer.Option(help="shadow: score copies of all requests; canary: answer some of them.")
    ] = Mode.shadow,
    percent: Annotated[float | None, typer.Option(help="Of a canary: the share of requests, up to 100.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also one that is held, which lifts the hold.")] = False,
) -> None:
    """Verify a version and try it beside the one in production, until `finish` or `abort`."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who
    from updraft.registry.rollouts import Plan, start

    with one_line_errors(), open_from_environment() as registry:
        plan = Plan(version, mode.value, percent)
        hold = registry.states(name).hold(registry.version(name, version).model_sha256)
        pointer = start(registry, name, plan, who=who(), why=why, force=force)
    typer.echo(f"{name}: version {version} is in a rollout beside version {pointer.production}: {pointer.rollout}")
    if hold:
        typer.echo(f"{name}: the hold is lifted: {hold}")
    next_step(f"updraft registry finish {name}, or updraft registry abort {name}")


@app.command(epilog='Example: updraft registry finish vehicle_insurance --why "as good on 5,000 requests"')
def finish(name: UseCaseName, why: Why) -> None:
    """Put the version that is in a rollout into production."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who
    from updraft.registry.rollouts import finish

    with one_line_errors(), open_from_environment() as registry:
        pointer = finish(registry, name, who=who(), why=why)
    typer.echo(f"{name}: production is version {pointer.production} now (was {pointer.previous})")
    next_step(f"updraft registry show {name}")


@app.command(epilog='Example: updraft registry abort vehicle_insurance --why "slower than version 2"')
def abort(name: UseCaseName, why: Why) -> None:
    """Take back the version that is in a rollout: it is held, and production answers all requests."""
    from updraft.cli.registry_access import one_line_errors, open_from_environment, who
    from updraft.registry.rollouts import abort

    with one_line_errors(), open_from_environment() as registry:
        number = abort(registry, name, who=who(), why=why)
        production = registry.production(name)
    typer.echo(f"{name}: version {number} is held; version {production} answers all requests")
    next_step(f"updraft registry show {name}")
