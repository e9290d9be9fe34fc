"""`updraft tracker`: record in MLflow what it lacks."""

from __future__ import annotations

import os

import typer

from updraft.cli.registry_access import one_line_errors, open_from_environment
from updraft.errors import UserError
from updraft.registry.moves import describe
from updraft.registry.registry import NoSuchVersion
from updraft.trackers.mlflow import Tracker
from updraft.trackers.mlflow_server import EXPECTED, VARIABLE, read_address


def record_missing(name: str | None) -> None:
    """Record the versions that the tracker lacks, of one use case or of all, however long it takes."""
    with one_line_errors(), open_from_environment() as registry:
        if not os.environ.get(VARIABLE):
            raise UserError(f"{VARIABLE}: not set; {EXPECTED}")
        url, tracker = read_address(os.environ).url, Tracker(registry, os.environ, seconds=None)
        if name and not registry.numbers(name):
            raise NoSuchVersion(f"{name}: no version in {registry.bucket}")
        late = False
        for each in [name] if name else registry.names():
            try:
                written = tracker.sync(each)
            except Exception as error:  # of one use case; the others go on
                late = True
                typer.echo(f"updraft: late: {each}: {tracker.reason(error)}", err=True)
            else:
                production = describe(registry.production(each))
                count = f"{len(written)} new of {len(registry.numbers(each))} versions"
                typer.echo(f"{each}: {count}, {production} is the champion: {url}")
    if late:
        raise typer.Exit(1)
