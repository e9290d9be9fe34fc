"""`updraft monitor`: new rows against those that a version was trained on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from updraft.cli.parameters import next_step
from updraft.cli.predict import open_rows
from updraft.cli.registry_access import open_from_environment
from updraft.cli.steps import show_steps
from updraft.errors import UserError
from updraft.model.columns import Column
from updraft.model.model import Model
from updraft.model.version_files import MODEL, SIGNATURE
from updraft.monitoring import reference
from updraft.monitoring.drift import ColumnDrift, Drift, Limits, Window
from updraft.monitoring.reference import REFERENCE, Reference
from updraft.monitoring.report import render_page, summarize
from updraft.registry.registry import NoSuchVersion
from updraft.sources.files import Files
from updraft.sources.source import Progress

REPORT, JSON = "drift.html", "drift.json"
MAX_SHOWN = 15
LIMITS = Limits()


def monitor_file(name: str, data: str, number: int | None, out: Path | None, *, as_json: bool) -> None:
    """Compare a file's rows with what a version was trained on; see `updraft monitor`."""
    with open_from_environment() as registry:
        version = number or registry.production(name)
        if version is None:
            raise NoSuchVersion(f"{name}: nothing is in production; --version names one")
        contents = registry.read(name, version, (MODEL, SIGNATURE, REFERENCE))
    place = f"{name} version {version}"
    known = reference.read(contents[REFERENCE], place)
    model = Model.from_bytes(contents[SIGNATURE], contents[MODEL])
    target = Column(name=known.target, type=known.columns[known.target].type)
    with (
        open_rows(model.signature, data, (target,)) as source,
        show_steps() as step,
        step(f"compare with version {version}") as count,
    ):
        drift = compare(model, known, source, count)
    if not drift.rows:
        raise UserError(f"{data}: no row fits the types of {place}")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / REPORT).write_text(render_page(model.signature.title, place, data, drift), encoding="utf-8")
        (out / JSON).write_text(drift.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(drift.model_dump_json(indent=2))
        return
    _show(drift)
    typer.echo(f"{drift.rows:,} rows against {place}: {summarize(drift)}")
    next_step(f"open {out / REPORT}" if out else "--out FOLDER writes a report with pictures")


def compare(model: Model, known: Reference, source: Files, progress: Progress) -> Drift:
    """Compare a source's rows, and the model's predictions of them, with a version's reference, batch by batch."""
    window = Window(known, LIMITS)
    read = 0
    for batch in source.batches():
        table = batch.table
        if table.num_rows:
            columns = {name: table[name] for name in table.column_names if name not in source.absent}
            window.add(columns, predict(model, table))
        read += table.num_rows + len(batch.rejects)
        progress(read, source.total)
    return window.drift()


def predict(model: Model, table: pa.Table) -> pa.Array:
    """Predict rows: numbers, probabilities of the positive label, or in a multiclass model the likeliest label."""
    types = {column.name: column.type for column in model.signature.columns}
    frame: pd.DataFrame = table.select(list(types)).to_pandas().astype(types)
    scores = model.scores(frame)
    if scores.ndim == 1:
        return pa.array(scores)
    return pa.array([model.signature.labels[index].name for index in scores.argmax(axis=1)])


def _show(drift: Drift) -> None:
    table = Table("column", "", "PSI", "null", "why", box=None, pad_edge=False)
    for column in drift.columns[:MAX_SHOWN]:
        table.add_row(Text(column.name), *_cells(column))
    Console().print(table)
    if len(drift.columns) > MAX_SHOWN:
        typer.echo(f"and {len(drift.columns) - MAX_SHOWN} more columns")


def _cells(column: ColumnDrift) -> list[Text]:
    style = {"drifted": "red", "stable": "green"}.get(column.verdict, "yellow")
    index = "" if column.psi is None else f"{column.psi:.3f}"
    nulls = "" if column.nulls is None else f"{column.nulls[1]:.1%}"
    return [Text(column.verdict, style), Text(index), Text(nulls), Text("; ".join(column.reasons))]
