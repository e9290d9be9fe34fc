"""`updraft up | down | status | login | demo | clean`: the local stack from a shell; `make` calls these."""

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

from updraft.cli.parameters import next_step, use_case_names
from updraft.errors import UserError
from updraft.local_stack.stack import Stack, ignore_signals

QUIET_SECONDS = 5.0  # a stack that ran already and answers within these is no news

app = typer.Typer(help="The local stack: MongoDB, S3, Airflow and the service on this machine.", no_args_is_help=True)


@app.command(epilog="Example: STARTUP_SECONDS=300 updraft up")
def up() -> None:
    """Start the stack, or the missing parts of it, and wait until all of it answers."""
    started = time.monotonic()
    with open_stack() as stack:
        quiet = stack.running()

        def report(line: str) -> None:
            if not quiet or time.monotonic() - started > QUIET_SECONDS:
                typer.echo(line)

        stack.up(report=report)
        seconds = time.monotonic() - started
        already = quiet and seconds <= QUIET_SECONDS
        state = "runs already, all of it answers" if already else f"is up after {seconds:.0f} s"
        typer.echo(f"The stack in {stack.home} {state}.")
        next_step("make login shows URLs and passwords, make demo trains and predicts")


@app.command(epilog="Example: updraft down")
def down() -> None:
    """Stop every process of the stack and free its ports; data stays."""
    with open_stack() as stack, ignore_signals():
        stopped = stack.down()
        typer.echo(f"Stopped: {stopped} processes." if stopped else "Nothing was running.")
        next_step("make up starts it again, make clean removes its data")


@app.command(epilog="Example: updraft clean vehicle_insurance --keep-runs 20 --yes")
def clean(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A use case: remove the files of its old runs.", metavar="[USE_CASE]", autocompletion=use_case_names
        ),
    ] = None,
    keep: Annotated[int | None, typer.Option("--keep-runs", min=0, help="How many runs keep their files: 20.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are listed alone.")] = False,
) -> None:
    """Remove the files of a use case's old runs; without a use case stop the stack and remove all that it has."""
    if name is not None:
        from updraft.cli.clean_runs import clean_runs

        clean_runs(name, 20 if keep is None else keep, yes)
        return
    if keep is not None or yes:
        raise UserError("clean: --keep-runs and --yes are for the runs of a use case; expected its name")
    with open_stack() as stack, ignore_signals():
        stack.clean()
        typer.echo(f"Removed {stack.home}.")
        next_step("make up")


@app.command(epilog="Example: updraft status")
def status() -> None:
    """Show each process; exit code 1 when one does not run."""
    with open_stack() as stack:
        processes = stack.processes()
        if not processes:
            typer.echo("The stack is down; `make up` starts it.")
            raise typer.Exit(1)
        from rich.table import Table

        table = Table("process", "state", "for", box=None)
        for name, process in processes.items():
            table.add_row(name, process["statename"].lower(), process["description"])
        _console().print(table)
        if not stack.running():
            raise typer.Exit(1)


@app.command(epilog="Example: updraft login")
def login() -> None:
    """Print the URLs, Airflow's login, and how to train through the service."""
    from updraft.local_stack.demo_run import show_urls

    with open_stack() as stack:
        show_urls(stack, _console())


@app.command("demo", epilog="Example: updraft demo --use-case sms_spam --rows 5000")
def run_demo(
    use_case: Annotated[str, typer.Option(help="Which use case.", autocompletion=use_case_names)] = "vehicle_insurance",
    data: Annotated[
        Path | None,
        typer.Option(help="A file of rows: .csv, .tsv, .jsonl (also .gz), .parquet; without it, synthetic rows."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=100, help="The number of synthetic rows; default: the use case's.")
    ] = None,
) -> None:
    """Start the stack, load data, train through Airflow, and ask the service for a prediction."""
    from updraft.local_stack.demo_rows import DemoOptions
    from updraft.local_stack.demo_run import demo

    with open_stack() as stack:
        demo(stack, DemoOptions(use_case, data, rows), _console())
        next_step(f"updraft registry show {use_case}, or make down")


@app.command("demo-drift", epilog="Example: updraft demo-drift")
def run_drift_demo() -> None:
    """Send requests that drift: an alarm, a training with its cause, a canary, its promotion; then a roll back."""
    from updraft.local_stack.drift_demo import drift_demo

    os.environ.setdefault("SERVING_SHIP_SECONDS", "2")  # of a shipper that is started now; one that runs keeps its own
    started = time.monotonic()
    with open_stack() as stack:
        drift_demo(stack, _console())
        typer.echo(f"The loop took {time.monotonic() - started:.0f} s.")
        next_step("updraft registry show drift_demo, or make down")


@contextmanager
def open_stack() -> Iterator[Stack]:
    """Yield the stack; Ctrl-C, SIGTERM and SIGHUP stop it, whether it was up before or not, and exit with 130."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    stack = None
    try:
        stack = Stack()
        yield stack
    except KeyboardInterrupt:
        if stack:
            _stop(stack)
        raise typer.Exit(130) from None


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _stop(stack: Stack) -> None:
    with ignore_signals():
        typer.echo("\nInterrupted: stopping the stack …", err=True)
        stack.down()


def _console() -> Console:
    """Return a console; one that wraps no line where the output is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=int(os.environ.get("COLUMNS", "160")))
