"""The registry of the environment, and how the shell shows what is in it and what went wrong."""

from __future__ import annotations

import getpass
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from updraft.datasets.store import open_datasets
from updraft.errors import UserError
from updraft.local_stack.environment import home_folder
from updraft.local_stack.stores import check_stores
from updraft.registry import judgements
from updraft.registry.judgements import Judgement
from updraft.registry.keys_in_use import UNKNOWN, keys_in_use
from updraft.registry.moves import Move
from updraft.registry.registry import PointerMoved, Registry, VerificationError, Version, open_registry
from updraft.registry.signing_keys import key_id
from updraft.registry.states import States
from updraft.trackers.mlflow import follow_with_tracker

S3_ERRORS = (ClientError, BotoCoreError, Boto3Error)
ERRORS = (UserError, OSError, PointerMoved, *S3_ERRORS)  # what a person can do something about


@contextmanager
def open_from_environment() -> Iterator[Registry]:
    """Open the registry that the environment names, and close its connections afterwards."""
    check_stores(os.environ, home_folder(os.environ), "s3")
    registry = open_followed()
    try:
        yield registry
    finally:
        registry.bucket.close()


def open_followed() -> Registry:
    """Open the registry that the environment names; its mirror and its tracker, if there are any, follow it."""
    return follow_with_tracker(open_registry(os.environ), os.environ)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error that a person can do something about as one line on stderr, and exit with 1."""
    try:
        yield
    except ERRORS as error:
        kind = "S3: " if isinstance(error, S3_ERRORS) else ""
        typer.echo(f"updraft: {kind}{' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None


def who() -> str:
    """Name the user of this shell; a container may run under a number that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def version_rows(registry: Registry, name: str) -> list[dict[str, Any]]:
    """Return the versions of a use case, as `--json` prints them; a history that is broken is one line on stderr."""
    try:
        states = registry.states(name)
    except VerificationError as error:
        typer.echo(f"updraft: refused: {error}", err=True)
        states = None
    return [
        {
            "name": name,
            "version": version.number,
            "production": bool(states and version.number == states.production),
            **version_state(version, states),
            "created_at": version.manifest.get("created_at"),
            "run_id": version.manifest.get("run_id"),
            "size": version.size,
        }
        for version in registry.versions(name)
    ]


def version_state(version: Version, states: States | None) -> dict[str, str | None]:
    """Return what became of a version, and why it is held or how it is tried; "unknown" without a believed history."""
    if states is None:
        return {"state": "unknown", "reason": None}
    hold = states.hold(version.model_sha256)
    state = states.of(version.number, version.model_sha256)
    reason = {"held": hold, "rollout": states.rollout}.get(state)
    return {"state": state, "reason": str(reason) if reason else None}


def key_rows(registry: Registry) -> list[dict[str, Any]]:
    """Return the keys of this environment, and what each has signed, as `--json` prints them."""
    counts = {name: keys_in_use(registry, name) for name in registry.names()}
    datasets = open_datasets(os.environ, registry.bucket.client)
    for name in datasets.names() if datasets else ():
        counts[f"{name} (datasets)"] = datasets.signers(name) if datasets else Counter()
    signing = key_id(registry.keys.signing.public_key()) if registry.keys.signing else None
    ids = list(dict.fromkeys(registry.keys.ids()))
    rows = [
        {
            "key": key,
            "does": ["signs"] * (key == signing) + ["verifies"] * (key in ids),
            "signed": sum(count[key] for count in counts.values()),
            "in": [place for place, count in counts.items() if count[key]],
        }
        for key in (*ids, UNKNOWN)
    ]
    return [row for row in rows if row["does"] or row["signed"]]


def read_judgement(registry: Registry, name: str, number: int) -> Judgement | None:
    """Read what a version was judged after its evaluation; one that is not believed is one line on stderr."""
    try:
        return judgements.read(registry.bucket, registry.keys, name, number)
    except VerificationError as error:
        typer.echo(f"updraft: refused: {error}", err=True)
        return None


def manifest_table(version: Version, state: dict[str, str | None], judgement: Judgement | None) -> Table:
    """Return a table of a version's state, its judgement after the evaluation if any, its manifest and files."""
    title = f"{version} ({'in production' if state['state'] == 'production' else state['state']})"
    table = Table(title=title, show_header=False)
    if state["reason"]:
        table.add_row("state", Text(state["reason"]))
    if judgement:
        table.add_row("judged again", Text(f"{judgement.decision}: {judgement.reason}"))
    for key, value in version.manifest.items():
        if key != "files":
            table.add_row(printable(key), printable(value if isinstance(value, str) else json.dumps(value, indent=1)))
    for file, entry in version.files.items():
        table.add_row(printable(f"file {file}"), f"{entry['size']:,} bytes, sha256 {entry['sha256']}")
    return table


def history_table(moves: list[Move]) -> Table:
    """Return a table of the moves of a use case's production pointer."""
    table = Table(
        "move", "when", "who", "action", "version", "production", "rollout", "why", title="moves of production"
    )
    for move in moves:
        when = move.when[:19].replace("T", " ")
        version = str(move.version or "") or ", ".join(map(str, move.versions))
        production = str(move.production or "nothing")
        tried = f"version {move.rollout.version}" if move.rollout else ""
        table.add_row(str(move.sequence), when, Text(move.who), move.action, version, production, tried, Text(move.why))
    return table


def printable(text: str) -> Text:
    """Return a text without what could steer a terminal: it comes from a manifest that nobody has verified."""
    return Text("".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text))


def console() -> Console:
    """Return a console; one that wraps no line where the output is no terminal, for `cut` and `grep`."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=200)
