"""`updraft dataset …`: list the datasets that were kept, get their rows again, remove old ones.

Each command imports what it needs: completion imports this module at each press of Tab.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from updraft.cli.parameters import Json, UseCaseName, next_step

app = typer.Typer(name="dataset", help="List datasets, get their rows again, remove old ones.", no_args_is_help=True)


@app.command("list", epilog="Example: updraft dataset list vehicle_insurance")
def list_datasets(name: UseCaseName, as_json: Json = False) -> None:
    """List the datasets of a use case that were validated and kept, and the versions that were trained on them."""
    from rich.table import Table

    from updraft.cli.dataset_access import open_store, versions_by_md5
    from updraft.cli.registry_access import console, one_line_errors, open_from_environment
    from updraft.datasets.store import NoSuchDataset

    with one_line_errors(), open_from_environment() as registry:
        datasets = open_store(registry)
        manifests, versions = datasets.manifests(name), versions_by_md5(registry, name)
        if not manifests:
            raise NoSuchDataset(f"{name}: no dataset in {datasets.bucket}")
    rows = [{**manifest.model_dump(), "versions": versions.get(manifest.md5, [])} for manifest in manifests]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("dataset", "created", "rows", "new", "quarantined", "size", "source", "versions")
    for row in rows:
        counts = [f"{row[key]:,}" for key in ("rows", "new_rows", "quarantined")]
        source = " ".join(
            f"{key}={value}" for key, value in row["source"].items() if not isinstance(value, (dict, list))
        )
        trained = ", ".join(map(str, row["versions"]))
        size = f"{row['size'] / 1e6:.1f} MB"
        table.add_row(str(row["number"]), row["created_at"][:19].replace("T", " "), *counts, size, source, trained)
    console().print(table)
    next_step(f"updraft dataset pull {name} VERSION rows.parquet")


@app.command(epilog="Example: updraft dataset pull vehicle_insurance 3 rows.parquet")
def pull(
    name: UseCaseName,
    version: Annotated[int, typer.Argument(help="The number of the version that was trained on it.")],
    file: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Get the rows again that a version was trained on and measured with, verified."""
    from updraft.cli.dataset_access import open_store, pull_rows
    from updraft.cli.registry_access import one_line_errors, open_from_environment

    with one_line_errors(), open_from_environment() as registry:
        rows = pull_rows(open_store(registry), registry, name, version, file, force=force)
    typer.echo(f"{rows:,} rows of {name} version {version} are in {file}")


@app.command(epilog="Example: updraft dataset prune vehicle_insurance --keep 5 --yes")
def prune(
    name: UseCaseName,
    keep: Annotated[int, typer.Option(min=1, help="How many of the latest stay.")] = 10,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only listed.")] = False,
) -> None:
    """Remove old datasets; those of versions in the registry stay, and the one that the next read goes on from."""
    from updraft.cli.dataset_access import open_store
    from updraft.cli.registry_access import one_line_errors, open_from_environment
    from updraft.datasets import retention

    with one_line_errors(), open_from_environment() as registry:
        datasets, in_use = open_store(registry), retention.trained_on(registry, name)
        old = retention.prunable(datasets, name, keep, in_use)
        if yes:
            retention.prune(datasets, name, old, in_use)
    for manifest in old:
        outcome = "removed" if yes else "would be removed"
        typer.echo(f"{outcome}: dataset {manifest.number} ({manifest.rows:,} rows, {manifest.created_at[:10]})")
    typer.echo(f"{name}: {len(old)} datasets {'removed' if yes else 'would be removed'}")
    if old and not yes:
        next_step(f"updraft dataset prune {name} --keep {keep} --yes")
