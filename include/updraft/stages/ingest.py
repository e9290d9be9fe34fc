"""`ingest`: source → dataset, one Parquet file."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from updraft.datasets.manifest import DATASET, MANIFEST, Description, hashes, reading_sha256
from updraft.errors import BadData
from updraft.sources.rows import ARROW
from updraft.sources.source import Progress, Reject, Source
from updraft.stages.kept_rows import Merged, merge
from updraft.stages.last_dataset import LastDataset
from updraft.stages.quarantined_labels import QuarantinedLabels
from updraft.stages.stage_folder import (
    OTHER_COLUMNS,
    QUARANTINE,
    UNEVEN_QUARANTINE,
    recreate_folder,
    write_json,
)
from updraft.usecase.rows_definition import RowsDefinition

log = logging.getLogger(__name__)

NONE = LastDataset()


def ingest(
    case: RowsDefinition, source: Source, out: Path, progress: Progress | None = None, last: LastDataset = NONE
) -> Path:
    """Stream rows that fit the suite's types into `out/dataset.parquet` (zstd), others into `out/quarantine.jsonl`.

    Where `last` has a file, the source's rows are those after it, and are added to its rows. `progress` is
    called with the rows read so far and their total, where it is known. Returns the dataset's path; its manifest,
    `dataset.json`, lies beside it. Raises BadData when no row is left or more than `case.quarantine_budget` of those
    that were read do not fit.
    """
    recreate_folder(out)
    started = time.monotonic()
    read = kept = nans = 0
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    units: dict[str, set[str]] = {}
    labels = QuarantinedLabels(case)
    others = json.dumps(source.others)  # travels with the dataset: rows that are sent to the model may have them, too
    schema = pa.schema([(column.name, ARROW[column.type]) for column in source.columns], {OTHER_COLUMNS: others})
    with (
        pq.ParquetWriter(out / DATASET, schema, compression="zstd") as parquet,
        (out / QUARANTINE).open("w", encoding="utf-8", errors="backslashreplace") as rejected,
    ):
        for batch in source.batches():
            parquet.write_table(batch.table)
            labels.add(batch)
            for reject in batch.rejects:
                rejected.write(quarantined_line(reject) + "\n")
                for column in reject.reason.partition(":")[0].split(", "):
                    reasons[column] += 1
                    examples.setdefault(column, f"{reject.place}: {reject.reason}")
            kept += batch.table.num_rows
            read += batch.table.num_rows + len(batch.rejects)
            nans += batch.nans
            units = batch.units
            log.info("%s rows read, %.1f s%s", f"{read:,}", time.monotonic() - started, _share(read, source.total))
            if progress:
                progress(read, source.total)
        uneven = labels.unevenness()
        parquet.add_key_value_metadata({UNEVEN_QUARANTINE: uneven})
    merged = _merge(case, source, out, last, read - kept)
    facts: dict[str, Any] = {"configuration_sha256": case.configuration_sha256}
    facts |= {"source": str(source), "rows_read": read, "rows": kept, "quarantined": read - kept, "nan_as_null": nans}
    facts |= {"reasons": dict(reasons.most_common()), "examples": examples}
    facts |= {"quarantined_by_label": labels.shares(), "uneven_quarantine": uneven}
    facts |= {"absent_columns": source.absent, "other_columns": source.others}
    facts |= {"units": {column: sorted(found) for column, found in units.items()}}
    write_json(out / "ingest.json", facts | {"seconds": round(time.monotonic() - started, 2)})
    _report(facts, out)
    if not read and merged and merged.rows:
        log.info("nothing new: the dataset is that of the last validated run, %s rows", f"{merged.rows:,}")
    else:
        _within_budget(case, facts, out)
    description = _describe(case, source, last, merged, facts, out)
    write_json(out / MANIFEST, description.model_dump())
    return out / DATASET


def _merge(case: RowsDefinition, source: Source, out: Path, last: LastDataset, quarantined: int) -> Merged | None:
    """Add the rows that were read to those of the last dataset; None from a source that always gives all of them."""
    if not last.file and not source.position():
        return None
    new = (out / DATASET).rename(out / ".new.parquet")
    merged = merge(last.file, new, case.id, out / DATASET, is_log=source.is_log)
    new.unlink()
    if last.file:
        log.info("added to dataset %d: %s rows now; %s gave way to later ones with the same id", last.number,
                 f"{merged.rows:,}", f"{merged.replaced:,}")  # fmt: skip
        if quarantined:
            log.warning("%s rows did not fit: where one is a change of a row of dataset %d, that row stays as it was",
                        f"{quarantined:,}", last.number)  # fmt: skip
    return merged


def _describe(
    case: RowsDefinition, source: Source, last: LastDataset, merged: Merged | None, facts: dict[str, Any], out: Path
) -> Description:
    counts = {"new_rows": facts["rows"], "quarantined": facts["quarantined"]}
    counts |= {"rows": merged.rows, "replaced": merged.replaced} if merged else {"rows": facts["rows"], "replaced": 0}
    return Description(
        source=source.provenance(),
        position=source.position(),
        base=last.number,
        reading_sha256=reading_sha256(case),
        configuration_sha256=case.configuration_sha256,
        **counts,
        **hashes(out / DATASET),
    )


def quarantined_line(reject: Reject) -> str:
    """Write a refused row as one line of JSON; what JSON does not have, such as infinity, becomes text."""
    line = {"place": reject.place, "reason": reject.reason, "row": reject.row}
    try:
        return json.dumps(line, default=str, ensure_ascii=False, allow_nan=False)
    except ValueError:
        plain = {name: str(value) for name, value in reject.row.items()}
        return json.dumps(line | {"row": plain}, ensure_ascii=False)


def _share(read: int, total: int | None) -> str:
    return f", {min(read / total, 1):.0%}" if total else ""


def _report(facts: dict[str, Any], out: Path) -> None:
    log.info("%s: %s rows read, %s fit", facts["source"], f"{facts['rows_read']:,}", f"{facts['rows']:,}")
    if facts["absent_columns"]:
        log.warning("columns of the suite that no row has: %s", ", ".join(facts["absent_columns"]))
    if facts["other_columns"]:
        log.info("left out, as the suite does not name them: %s", ", ".join(facts["other_columns"]))
    if facts["nan_as_null"]:
        log.warning("%s NaN read as null", f"{facts['nan_as_null']:,}")
    for column, found in facts["units"].items():
        if len(found) > 1:
            log.warning("%s: numbers are read from texts with different units: %s", column, ", ".join(map(repr, found)))
    if facts["quarantined"]:
        worst = ", ".join(f"{column} ({count:,})" for column, count in list(facts["reasons"].items())[:5])
        log.warning("%s rows quarantined in %s: %s", f"{facts['quarantined']:,}", out / QUARANTINE, worst)
    if facts["uneven_quarantine"]:
        log.warning("%s: what is left is not what the source holds", facts["uneven_quarantine"])


def _within_budget(case: RowsDefinition, facts: dict[str, Any], out: Path) -> None:
    read, kept = facts["rows_read"], facts["rows"]
    if not read:
        raise BadData(f"{case.name}: the source gave no rows")
    share = 1 - kept / read
    if not kept or share > case.quarantine_budget:
        column, count = next(iter(facts["reasons"].items()))
        raise BadData(
            f"{case.name}: {share:.2%} of {read:,} rows do not fit, more than quarantine_budget "
            f"{case.quarantine_budget:.2%}; worst is {column!r} ({count:,}), such as {facts['examples'][column]}; "
            f"see {out / QUARANTINE}"
        )
