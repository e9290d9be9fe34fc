"""Shipped predictions as the monitor takes them: one version's rows in the types of its signature."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from updraft.model.columns import DATE, Type
from updraft.stages.monitor.collect import ARROW, SCORE, Observed
from updraft.stages.monitor.subject import Subject

SECONDS = "(seconds)"  # that the whole request took


def observe(joined: Iterable[pa.RecordBatch | pa.Table], subject: Subject) -> Iterator[Observed]:
    """Yield the predictions of the subject's version, batch by batch: features, score, and the label if it is known.

    `joined` are tables of shipped predictions with what became true of them. A feature whose value is of another type
    than the signature's, or that another service left out, is null; a row without a score does not count.
    """
    for batch in joined:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        ours = table.filter(pc.equal(table["version"], subject.version))
        if ours.num_rows:
            yield _observed(ours, subject)


def _observed(table: pa.Table, subject: Subject) -> Observed:
    signature, known = subject.signature, subject.reference
    rows: list[dict[str, Any]] = [json.loads(text) for text in table["features"].to_pylist()]
    columns: dict[str, pa.Array] = {
        column.name: _column([row.get(column.name) for row in rows], column.type)
        for column in signature.columns
        if column.name not in signature.private
    }
    truths = [None if text is None else json.loads(text) for text in table["truth"].to_pylist()]
    columns[known.target] = _column(truths, known.columns[known.target].type)  # type: ignore[arg-type]
    columns[SCORE], columns[SECONDS] = _scores(table, subject), table["seconds"]
    made = pa.table(columns)
    return Observed(made.filter(pc.is_valid(made[SCORE])))


def _scores(table: pa.Table, subject: Subject) -> pa.Array | pa.ChunkedArray:
    signature = subject.signature
    if signature.task == "regression":
        return table["value"]
    if signature.task == "binary":
        return table["probability"]
    names = [label.name for label in signature.labels]
    found = [_probabilities(text, names) for text in table["probabilities"].to_pylist()]
    return pa.array(found, pa.list_(pa.float64()))


def _probabilities(text: str | None, names: list[str]) -> list[float] | None:
    """Return the probabilities in the order of the labels; None where one is missing."""
    by_name: Mapping[str, float] = json.loads(text) if text else {}
    found = [by_name.get(name) for name in names]
    return None if None in found else [float(each or 0.0) for each in found]


def _column(values: list[Any], kind: Type) -> pa.Array:
    """Make a column of JSON values; one of another type is null."""
    if kind == DATE:
        return pa.array(_dates(values), ARROW[kind])
    return pa.array([_cell(value, kind) for value in values], ARROW[kind])


def _cell(value: Any, kind: Type) -> Any:
    if value is None or isinstance(value, bool) != (kind == "bool") or isinstance(value, str) != (kind == "str"):
        return None
    if kind == "int64":
        return int(value) if isinstance(value, int) or (math.isfinite(value) and value == int(value)) else None
    return float(value) if kind == "float64" else value


def _dates(values: list[Any]) -> Any:
    texts = [value if isinstance(value, str) else "NaT" for value in values]
    try:
        return np.array([text.removesuffix("Z") for text in texts], dtype="datetime64[us]")
    except ValueError:
        return [None] * len(values)
