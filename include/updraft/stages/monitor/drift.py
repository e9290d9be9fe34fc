"""`drift`: the collected rows against those that the version was trained on."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa

from updraft.model.signature import Signature
from updraft.monitoring.drift import Drift, Window
from updraft.monitoring.report import summarize
from updraft.stages.monitor.collect import SCORE, read_rows
from updraft.stages.monitor.subject import COLLECTED, subject_in
from updraft.stages.stage_folder import read_json, recreate_folder, write_json
from updraft.usecase.monitor_block import Monitor

log = logging.getLogger(__name__)

DRIFT = "drift.json"
MAX_LOGGED = 5


def drift(monitor: Monitor, collected: Path, out: Path) -> Path:
    """Compare features, predictions and known labels with the version's reference; write `out/drift.json`.

    Columns that were not collected are not compared.
    """
    recreate_folder(out)
    facts, subject = read_json(collected / COLLECTED), subject_in(collected)
    known, signature = subject.reference, subject.signature
    window = Window(known, monitor.drift)
    window.refuse(facts["refused"])
    for table in read_rows(collected, facts["columns"]):
        columns = {name: table[name] for name in table.column_names if name != SCORE}
        if known.target in columns:
            columns[known.target] = columns[known.target].drop_null()  # a label that is not known yet is no null
        window.add(columns, as_predictions(signature, table[SCORE]))
    found = window.drift()
    write_json(out / DRIFT, found.model_dump())
    log.info("%s rows against %s: %s", f"{found.rows:,}", subject, summarize(found))
    for column in found.columns[:MAX_LOGGED]:
        log.info("%s: %s%s", column.name, column.verdict, f": {'; '.join(column.reasons)}" if column.reasons else "")
    return out


def read_drift(folder: Path) -> Drift:
    """Read what `drift` wrote."""
    return Drift.model_validate(read_json(folder / DRIFT))


def as_predictions(signature: Signature, scores: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return scores as a reference counts them: as they are, or in a multiclass model the likeliest label's name."""
    if signature.task != "multiclass":
        return scores.drop_null()
    names = [label.name for label in signature.labels]
    return pa.array([names[int(np.argmax(row))] for row in scores.drop_null().to_pylist()], pa.string())
