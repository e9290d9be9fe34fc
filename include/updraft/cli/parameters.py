"""What several commands share: the name of a use case with its completion, and the line with the next command."""

from __future__ import annotations

from typing import Annotated

import typer

from updraft.defaults import ROOT


def use_case_names(incomplete: str) -> list[str]:
    """Return the use cases that begin with `incomplete`.

    It runs at each press of Tab: `usecase.paths` would do the same and import pydantic first.
    """
    names = sorted(path.stem for path in (ROOT / "include" / "usecases").glob("*.yaml"))
    return [name for name in names if name.startswith(incomplete)]


def etl_names(incomplete: str) -> list[str]:
    """Return the ETLs that begin with `incomplete`."""
    return [path.stem for path in sorted((ROOT / "include" / "etl").glob("*.yaml")) if path.stem.startswith(incomplete)]


def checked_names(incomplete: str) -> list[str]:
    """Return the use cases and the DAGs of ETLs that begin with `incomplete`."""
    dags = [f"etl_{name}" for name in etl_names("")]
    return [*use_case_names(incomplete), *(dag for dag in dags if dag.startswith(incomplete))]


EtlName = Annotated[
    str, typer.Argument(help="An ETL: the name of a file in include/etl.", metavar="ETL", autocompletion=etl_names)
]
UseCaseName = Annotated[
    str,
    typer.Argument(
        help="A use case: the name of a file in include/usecases.", metavar="USE_CASE", autocompletion=use_case_names
    ),
]
FILES = "PATH, FOLDER, PATTERN OR URI"  # s3:// and http(s)://, too
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]


def next_step(command: str) -> None:
    """Print the command that usually follows."""
    typer.echo(f"Next: {command}")
