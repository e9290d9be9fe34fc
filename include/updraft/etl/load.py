"""`load`: cleaned rows → one or several stores, each row once, in batches.

A load that was cut short has written some rows; the next one finds them unchanged and goes on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from updraft.addresses import Connections
from updraft.destinations import open_store
from updraft.destinations.keyed_rows import Cleaned, Counts, KeyedRow, Store, keyed
from updraft.errors import BadData
from updraft.etl.clean import JSON_LINES
from updraft.etl.schema import Etl
from updraft.model.columns import quoted
from updraft.sources.source import CONTENT, Progress
from updraft.stages.stage_folder import recreate_folder, write_json

log = logging.getLogger(__name__)

LOADED = "load.json"
READ = 10_000  # rows


def load(
    etl: Etl, dataset: Path, connections: Connections, out: Path, *, progress: Progress | None = None,
    on_change: Callable[[], None] = lambda: None,
) -> Counts:  # fmt: skip
    """Load the cleaned rows into every store of the YAML; return the sum of their counts; `out/load.json` has each.

    `on_change` is called before anything is written, if anything is to be.
    """
    recreate_folder(out)
    started = time.monotonic()
    cleaned = Cleaned(etl.columns, dataset, dataset.with_name(JSON_LINES), etl.id)
    total = pq.read_metadata(dataset).num_rows
    facts: list[dict[str, Any]] = []
    for block in etl.load:
        counts, done = Counts(), 0
        with open_store(block, connections, cleaned) as store:
            for rows in _batches(cleaned, store.size):
                counts += _write_changes(store, rows, on_change)
                done += len(rows)
                if progress:
                    progress(done, total)
        log.info("%s: %s new, %s changed, %s unchanged", store.name,
                 *(f"{count:,}" for count in (counts.new, counts.changed, counts.unchanged)))  # fmt: skip
        facts.append({"destination": store.name, **asdict(counts)})
    seconds = round(time.monotonic() - started, 2)
    hashes = {"configuration_sha256": etl.configuration_sha256}
    write_json(out / LOADED, hashes | {"rows": total, "destinations": facts, "seconds": seconds})
    return sum((Counts(each["new"], each["changed"], each["unchanged"]) for each in facts), Counts())


def _write_changes(store: Store, rows: list[KeyedRow], on_change: Callable[[], None]) -> Counts:
    there = store.there(rows)
    if others := [key for key, sha256 in there.items() if sha256 is None]:
        raise BadData(
            f"{store.name}: {quoted(others[0])} is the key of something that no ETL has loaded (it has no {CONTENT}), "
            "and is not replaced; remove it, or load into another place"
        )
    changed = [row for row in rows if row.key in there and there[row.key] != row.sha256]
    new = [row for row in rows if row.key not in there]
    if new or changed:
        on_change()
        store.write([*changed, *new])
    return Counts(len(new), len(changed), len(rows) - len(new) - len(changed))


def _batches(cleaned: Cleaned, size: int) -> Iterator[list[KeyedRow]]:
    """Yield the rows with their keys, `size` at a time."""
    rows = _rows(cleaned)
    while batch := list(islice(rows, size)):
        yield batch


def _rows(cleaned: Cleaned) -> Iterator[KeyedRow]:
    occurrences: Counter[str] = Counter()
    with pq.ParquetFile(cleaned.parquet) as parquet:
        for batch in parquet.iter_batches(READ):
            yield from keyed(batch.to_pylist(), cleaned.id, occurrences)
