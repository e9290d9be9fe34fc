"""`performance`: the metric on the collected rows whose label is known by now."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from updraft.learning.score import encode_target
from updraft.model.prediction import decide
from updraft.model.signature import Signature
from updraft.monitoring.performance import Labelled, Performance, measure_performance
from updraft.stages.monitor.collect import SCORE, read_rows, schema
from updraft.stages.monitor.subject import COLLECTED, Subject, subject_in
from updraft.stages.stage_folder import read_json, recreate_folder, write_json
from updraft.usecase.blocks import MetricName
from updraft.usecase.monitor_block import Monitor

log = logging.getLogger(__name__)

PERFORMANCE = "performance.json"
MAX_LABELS = 200_000  # the last ones; more would narrow the interval to less than any loss that is acted on


def performance(monitor: Monitor, collected: Path, out: Path) -> Path:
    """Measure labelled rows against the version's evaluation, also by its slices; write `out/performance.json`."""
    recreate_folder(out)
    subject = subject_in(collected)
    evaluation = subject.evaluation
    metric: MetricName = monitor.performance.metric or evaluation.get("gate", {}).get("metric") or "accuracy"
    slices = list(evaluation.get("slices", {}))
    found = measure_performance(_labelled(collected, subject, slices), metric, monitor.performance, evaluation)
    write_json(out / PERFORMANCE, found.model_dump())
    log.info("%s: %s: %s", subject, found.overall.verdict, found.overall.reason)
    return out


def read_performance(folder: Path) -> Performance:
    """Read what `performance` wrote."""
    return Performance.model_validate(read_json(folder / PERFORMANCE))


def _labelled(collected: Path, subject: Subject, slices: list[str]) -> Labelled:
    """Read the rows whose label is known, and one that the model knows; their slices, where these were collected."""
    facts, signature, target = read_json(collected / COLLECTED), subject.signature, subject.reference.target
    columns = [name for name in slices if name in facts["columns"] and name != target]
    kept: list[pa.Table] = []
    for table in read_rows(collected, [*columns, target, SCORE]):
        labelled = table.filter(pc.and_(pc.is_valid(table[target]), pc.is_valid(table[SCORE])))
        kept = _last([*kept, known_labels(signature, labelled, target)])
    empty = schema(subject)
    rows = pa.concat_tables([empty.empty_table().select([*columns, target, SCORE]), *kept])
    scores = _scores(signature, rows[SCORE])
    frame: pd.DataFrame = rows.select(columns).to_pandas()
    truth = encode_target(signature, rows[target].to_pandas())
    return Labelled(truth, scores, decide(signature.task, scores, signature.threshold), {c: frame[c] for c in columns})


def known_labels(signature: Signature, table: pa.Table, target: str) -> pa.Table:
    """Return the rows whose label is one of the model's; of numbers all."""
    if signature.task == "regression":
        return table
    values = pa.array([label.value for label in signature.labels]).cast(table[target].type)
    known = pc.is_in(table[target], value_set=values)
    if others := table.num_rows - (pc.sum(known).as_py() or 0):
        log.warning("%s labels are none of the model's, and do not count", f"{others:,}")
    return table.filter(known)


def _last(tables: list[pa.Table]) -> list[pa.Table]:
    """Drop tables from the start that the last MAX_LABELS rows do not need."""
    while sum(len(table) for table in tables[1:]) >= MAX_LABELS:
        tables = tables[1:]
    return tables


def _scores(signature: Signature, scores: pa.ChunkedArray) -> Any:
    if signature.task != "multiclass":
        return scores.to_numpy()
    rows = scores.to_pylist()
    return np.array(rows, dtype="float64").reshape(len(rows), len(signature.labels))
