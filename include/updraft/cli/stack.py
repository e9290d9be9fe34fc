"""`updraft up | down | status | login | demo | clean`: the embedded stack from a shell; `make` calls these."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from updraft.local_stack.stack import Stack, ignore_signals

QUIET_SECONDS = 5.0  # a stack that ran already and answers within these is no news

app = typer.Typer(
    help="The embedded stack: MongoDB, S3, Airflow and the service on this machine.", no_args_is_help=True
)


@app.command()
def up() -> None:
    """Start the stack, or what is missing of it, and wait until all of it answers."""
    began = time.monotonic()
    with opened() as stack:
        quiet = stack.running()

        def report(line: str) -> None:
            if not quiet or time.monotonic() - began > QUIET_SECONDS:
                typer.echo(line)

        stack.up(report=report)
        seconds = time.monotonic() - began
        already = quiet and seconds <= QUIET_SECONDS
        state = "runs already, all of it answers" if already else f"is up after {seconds:.0f} s"
        typer.echo(f"The stack in {stack.home} {state}.")
        typer.echo("Next: make login (URLs and passwords), or make demo (load, train, predict)")


@app.command()
def down() -> None:
    """End every process of the stack and free its ports; data stays."""
    with opened() as stack, ignore_signals():
        ended = stack.down()
        typer.echo(f"Stopped: {ended} processes." if ended else "Nothing was running.")


@app.command()
def clean() -> None:
    """End the stack and remove its data, logs, settings and secrets."""
    with opened() as stack, ignore_signals():
        stack.clean()
        typer.echo(f"Removed {stack.home}.")


@app.command()
def status() -> None:
    """Show each process; exit code 1 when one does not run."""
    with opened() as stack:
        processes = stack.processes()
        if not processes:
            typer.echo("The stack is down; `make up` starts it.")
            raise typer.Exit(1)
        table = Table("process", "state", "for", box=None)
        for name, process in processes.items():
            table.add_row(name, process["statename"].lower(), process["description"])
        _console().print(table)
        if not stack.running():
            raise typer.Exit(1)


@app.command()
def login() -> None:
    """Print the URLs, Airflow's login, and how to train through the service."""
    from updraft.local_stack.demo_run import show_urls

    with opened() as stack:
        show_urls(stack, _console())


@app.command("demo")
def run_demo(
    use_case: Annotated[str, typer.Option(help="Which use case.")] = "vehicle_insurance",
    data: Annotated[
        Path | None,
        typer.Option(help="A file of rows: .csv, .tsv, .jsonl (also .gz), .parquet; without it rows are made up."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=100, help="How many rows to make up; default: the use case's.")
    ] = None,
) -> None:
    """Start the stack, load data, train through Airflow, and ask the service for a prediction."""
    from updraft.local_stack.demo_run import Demo, demo

    with opened() as stack:
        demo(stack, Demo(use_case, data, rows), _console())


@contextmanager
def opened() -> Iterator[Stack]:
    """Give the stack; Ctrl-C, SIGTERM and SIGHUP end it, whether it was up before or not, and exit with 130."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    stack = None
    try:
        stack = Stack()
        yield stack
    except KeyboardInterrupt:
        if stack:
            _end(stack)
        raise typer.Exit(130) from None


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _end(stack: Stack) -> None:
    with ignore_signals():
        typer.echo("\nInterrupted: stopping the stack …", err=True)
        stack.down()


def _console() -> Console:
    """Make a console that wraps nothing where output is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=int(os.environ.get("COLUMNS", "160")))
