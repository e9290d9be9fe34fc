"""`updraft monitor`: rows against those that a version was trained on, and predictions against what came true."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
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
from updraft.monitoring.drift import ColumnDrift, Drift
from updraft.monitoring.reference import REFERENCE, TRAINING, describe
from updraft.monitoring.report import summarize
from updraft.predictions.layout import VARIABLE, open_bucket
from updraft.predictions.reading import Period, read
from updraft.sources.files import Files
from updraft.sources.source import Progress
from updraft.stages.monitor.collect import MAX_ROWS, SCORE, Extent, Observed, collect, read_rows, schema
from updraft.stages.monitor.decide import decide
from updraft.stages.monitor.drift import drift, read_drift
from updraft.stages.monitor.observe import observe as observe_shipped
from updraft.stages.monitor.performance import performance, read_performance
from updraft.stages.monitor.report import PAGE, report
from updraft.stages.monitor.subject import COLLECTED, Subject, read_subject
from updraft.stages.stage_folder import read_json
from updraft.usecase import load, paths
from updraft.usecase.monitor_block import Monitor
from updraft.usecase.watermark import read_duration

MAX_SHOWN = 15


def monitor_file(
    name: str, data: str, against: str | None, number: int | None, out: Path | None, *, as_json: bool
) -> None:
    """Measure a version on a file's rows, `against` those of another one; see `updraft monitor`."""
    with open_from_environment() as registry:
        subject = read_subject(registry, name, number, MODEL)
    model = Model.from_bytes(subject.files[SIGNATURE], subject.files[MODEL])
    with _folder(out) as folder:
        if against is not None:
            with tempfile.TemporaryDirectory(prefix="updraft-monitor-") as other:
                rows = _collect(subject, model, against, f"read {against}", Path(other) / "collect")
                subject = replace(subject, files=subject.files | {REFERENCE: _reference(subject, rows, against)})
        collected = _collect(subject, model, data, f"compare with {against or subject}", folder / "collect")
        _measure(subject, collected, folder, as_json=as_json)
    _next(out, as_json=as_json)


def _collect(subject: Subject, model: Model, data: str, title: str, out: Path) -> Path:
    """Score a file's rows and write them to `out`. Raises UserError where none fits."""
    known = subject.reference
    target = Column(name=known.target, type=known.columns[known.target].type)
    with open_rows(model.signature, data, (target,)) as source, show_steps() as step, step(title) as count:
        collected = collect(subject, observe(model, source, count), Extent(data), out)
    if not read_json(collected / COLLECTED)["rows"]:
        raise UserError(f"{data}: no row fits the types of {subject}")
    return collected


def _reference(subject: Subject, collected: Path, data: str) -> bytes:
    """Describe collected rows as `evaluate` describes those of the training."""
    case, known = load(subject.name), schema(subject)
    names = [*case.feature_names, case.target]
    if unknown := [name for name in names if name not in known.names]:
        raise UserError(f"{subject.name}: {subject} has no column {', '.join(map(repr, unknown))}: train again")
    frame = pa.concat_tables(read_rows(collected, [*names, SCORE])).to_pandas(integer_object_nulls=True)
    found = describe(frame, case, np.array(frame[SCORE].tolist(), dtype="float64"))
    facts = read_json(collected / COLLECTED)
    if case.target not in facts["columns"]:
        reason = {"values": None, "not_watched": f"{data} has no labels"}
        found = found.model_copy(
            update={"columns": found.columns | {case.target: found.columns[case.target].model_copy(update=reason)}}
        )
    if refused := facts["refused"]:
        typer.echo(f"{data}: {refused:,} rows do not fit the types of {subject}, and are left out", err=True)
    called = Path(data).name
    other = f"{called}/" if called == TRAINING else called  # a folder of that name is not the training
    return found.model_copy(update={"rows_of": other}).model_dump_json().encode()


def monitor_shipped(name: str, since: str, number: int | None, out: Path | None, *, as_json: bool) -> None:
    """Measure a version on the predictions that services have shipped; see `updraft monitor`."""
    until = datetime.now(UTC)
    try:
        start = until - read_duration(since)
    except (ValueError, OverflowError) as error:
        raise UserError(f"--since: {error}") from None
    place = open_bucket(os.environ)
    if place is None:
        raise UserError(f"{VARIABLE}: not set; it names the place to which services ship predictions")
    with open_from_environment() as registry, _folder(out) as folder:
        subject = read_subject(registry, name, number)
        observed = observe_shipped(read(place, name, Period(start, until)), subject)
        extent = Extent(str(place), start.isoformat(), until.isoformat())
        collected = collect(subject, observed, extent, folder / "collect")
        _measure(subject, collected, folder, as_json=as_json)
    _next(out, as_json=as_json)


def _next(out: Path | None, *, as_json: bool) -> None:
    if not as_json:
        next_step(f"open {out / PAGE}" if out else "--out FOLDER writes a report with pictures")


def _measure(subject: Subject, collected: Path, folder: Path, *, as_json: bool) -> None:
    monitor = monitor_block(subject.name)
    drifted = drift(monitor, collected, folder / "drift")
    found = read_drift(drifted)
    measured = performance(monitor, collected, folder / "performance")
    decision = decide(monitor, collected, drifted, measured, folder / "decide")
    made = report(collected, drifted, measured, decision, [], folder)
    if as_json:
        typer.echo(made.read_text(encoding="utf-8"))
        return
    _show(found)
    if left_out := read_json(collected / COLLECTED)["left_out"]:
        typer.echo(f"{left_out:,} rows came before them and are left out: the last {MAX_ROWS:,} are measured")
    other = subject if found.before == TRAINING else found.before
    typer.echo(f"{found.rows:,} rows against {other}: {summarize(found)}")
    overall = read_performance(measured).overall
    typer.echo(f"performance: {overall.verdict}: {overall.reason}")


def monitor_block(name: str) -> Monitor:
    """Return the `monitor` block of a use case, the defaults where it has none or is not here."""
    here = name in {path.stem for path in paths()}
    return (load(name).monitor if here else None) or Monitor()


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out:
        out.mkdir(parents=True, exist_ok=True)
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="updraft-monitor-") as folder:
        yield Path(folder)


def observe(model: Model, source: Files, progress: Progress) -> Iterator[Observed]:
    """Yield a source's rows with the model's scores of them, batch by batch."""
    read = 0
    for batch in source.batches():
        names = [name for name in batch.table.column_names if name not in source.absent]
        if batch.table.num_rows:
            scored = batch.table.select(names).append_column(SCORE, score(model, batch.table))
            yield Observed(scored, len(batch.rejects))
        elif batch.rejects:
            yield Observed(pa.table({}), len(batch.rejects))
        read += batch.table.num_rows + len(batch.rejects)
        progress(read, source.total)


def score(model: Model, table: pa.Table) -> pa.Array:
    """Score rows: numbers, probabilities of the positive label, or of each label in a multiclass model."""
    types = {column.name: column.type for column in model.signature.columns}
    frame: pd.DataFrame = table.select(list(types)).to_pandas().astype(types)
    scores = model.scores(frame)
    return pa.array(scores) if scores.ndim == 1 else pa.array(scores.tolist(), pa.list_(pa.float64()))


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
