"""`updraft predict`: a file of rows → a file of predictions, batch by batch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd
import typer

from updraft.cli.registry_access import open_from_environment
from updraft.cli.steps import show_steps
from updraft.cli.store_access import find_address
from updraft.errors import UserError
from updraft.model.columns import Column
from updraft.model.model import Model
from updraft.model.prediction import Prediction
from updraft.model.reading import Reading
from updraft.model.signature import BadRow, Signature
from updraft.model.version_files import MODEL, SIGNATURE
from updraft.registry.registry import NoSuchVersion
from updraft.sources.files import Files, open_files
from updraft.sources.source import Batch, Extent, Progress, Reject
from updraft.usecase import file_source

REJECTED = ".rejected.jsonl"  # beside the predictions
ROW, FILE = "row", "file"  # the columns with a row's number in its file, and with the file where there are several


@dataclass(frozen=True)
class Schema:
    """The columns that a model reads from a file: its features, and the id where it has one."""

    columns: tuple[Column, ...]
    read: Reading


def predict_file(name: str, data: str, out: Path, number: int | None, *, force: bool) -> None:
    """Predict a file's rows with a version of the registry, the one in production by default; see `updraft predict`."""
    if out.suffix.lower() != ".csv":
        raise UserError(f"{out}: expected a name that ends in .csv")
    if out.exists() and not force:
        raise UserError(f"{out}: already there; --force overwrites")
    with open_from_environment() as registry:
        version = number or registry.production(name)
        if version is None:
            raise NoSuchVersion(f"{name}: nothing is in production; --version names one")
        files = registry.read(name, version, (MODEL, SIGNATURE))
    model = Model.from_bytes(files[SIGNATURE], files[MODEL])
    with (
        open_rows(model.signature, data) as source,
        show_steps() as step,
        step(f"predict with version {version}") as count,
    ):
        predicted, rejected = write_predictions(model, source, out, count)
    typer.echo(f"{predicted:,} predictions of {name} version {version} are in {out}")
    if source.others:
        typer.echo(f"not used: {', '.join(source.others)}")
    if rejected:
        typer.echo(f"{rejected:,} rows do not fit; they are in {rejected_file(out)}, each with its reason", err=True)
    if not predicted:
        raise typer.Exit(1)


@contextmanager
def open_rows(signature: Signature, data: str, optional: Sequence[Column] = ()) -> Iterator[Files]:
    """Open files as the model's training data was read. Raises UserError when a feature is not in them.

    `optional` are columns to read beside features and id, where the files have them.
    """
    ids = [Column(name=signature.id, type=signature.id_type)] if signature.id else []
    schema = Schema((*ids, *signature.columns, *optional), signature.reading)
    with open_files(file_source(data), schema, find_address, Extent()) as source:
        if missing := [name for name in source.absent if name in signature.names]:
            hint = f"; it has {', '.join(source.others[:10])}" if source.others else ""
            raise UserError(f"{source}: no column {', '.join(map(repr, missing))}{hint}")
        yield source


def write_predictions(model: Model, source: Files, out: Path, progress: Progress) -> tuple[int, int]:
    """Write a line for each row that fits to `out`, and the others beside it; return how many there are of each.

    Memory does not grow with the file. `out` appears when all rows are done.
    """
    predicted = rejected = 0
    with _draft(out) as predictions, _draft(rejected_file(out)) as rejects:
        for batch in source.batches():
            rows, kept, bad = _check(model.signature, batch)
            if kept:
                lines = _lines(model, batch, kept, model.predict(rows))
                lines.to_csv(predictions, index=False, header=not predicted, lineterminator="\n")
            for reject in [*batch.rejects, *bad]:
                rejects.write(json.dumps({"place": reject.place, "reason": reject.reason}, ensure_ascii=False) + "\n")
            predicted += len(kept)
            rejected += len(batch.rejects) + len(bad)
            progress(predicted + rejected, source.total)
    if not rejected:
        rejected_file(out).unlink()
    return predicted, rejected


def rejected_file(out: Path) -> Path:
    """Return the file for rows that do not fit, beside the predictions."""
    return out.with_name(f"{out.name}{REJECTED}")


def _check(signature: Signature, batch: Batch) -> tuple[pd.DataFrame, list[int], list[Reject]]:
    """Return the rows that the service would accept as a frame, their indices in the batch, and the others."""
    rows: list[dict[str, Any]] = batch.table.select(signature.names).to_pylist()
    if not rows:
        return pd.DataFrame(), [], []
    with suppress(BadRow):
        return signature.check(rows, plain=True).frame(), list(range(len(rows))), []
    kept: list[int] = []
    rejects: list[Reject] = []
    for index, row in enumerate(rows):
        try:
            signature.check([row], plain=True)
            kept.append(index)
        except BadRow as error:
            faults = (f"{fault['pointer'].rpartition('/')[2]}: {fault['detail']}" for fault in error.errors)
            place = f"{batch.file}, row {batch.rows[index]}" if batch.file else f"row {batch.rows[index]}"
            rejects.append(Reject(place, row, "; ".join(faults)))
    return signature.check([rows[index] for index in kept], plain=True).frame(), kept, rejects


def _lines(model: Model, batch: Batch, kept: Sequence[int], prediction: Prediction) -> pd.DataFrame:
    columns: dict[str, Any] = {FILE: batch.file} if batch.file else {}
    columns[ROW] = [batch.rows[index] for index in kept]
    if model.signature.id in batch.table.column_names:
        columns[str(model.signature.id)] = batch.table[model.signature.id].take(list(kept)).to_pylist()
    columns["prediction"] = prediction.predictions
    if prediction.names is not None:
        columns["label"] = prediction.names
    if prediction.probabilities is not None:
        if isinstance(prediction.probabilities[0], dict):
            labels = prediction.probabilities[0]
            columns |= {f"probability of {name}": [row[name] for row in prediction.probabilities] for name in labels}
        else:
            columns["probability"] = prediction.probabilities
    return pd.DataFrame(columns, dtype=object)


@contextmanager
def _draft(path: Path) -> Iterator[IO[str]]:
    """Yield a file that takes the place of `path` when the block ends without an error."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", newline="", delete=False
    ) as file:
        try:
            yield file
            file.flush()
            Path(file.name).chmod(0o666 & ~_umask())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
