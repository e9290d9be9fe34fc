"""`load`: cleaned rows → one or several stores, each row once, in batches.

A load that was cut short has written some rows; the next one finds them unchanged and goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from updraft.addresses import Connections
from updraft.destinations import open_store
from updraft.destinations.keyed_rows import Cleaned, Counts, KeyedRow, Store, WholeStore, content_hashes, keyed
from updraft.errors import BadData
from updraft.etl.cleaned_files import JSON_LINES
from updraft.etl.duplicates import RowHashes
from updraft.etl.schema import Etl
from updraft.model.columns import quoted
from updraft.sources.source import CONTENT, Progress
from updraft.stages.stage_folder import recreate_folder, write_json

log = logging.getLogger(__name__)

LOADED = "load.json"
READ, CELLS = 10_000, 2_000_000  # rows that are hashed at a time, and the most values that are read


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
    rows = Rows(cleaned)
    facts: list[dict[str, Any]] = []
    for block in etl.load:
        with open_store(block, connections, cleaned) as store:
            if isinstance(store, WholeStore):
                counts = _write_all(store, rows.total, on_change)
            else:
                counts = _write_rows(store, rows, on_change, progress)
        log.info("%s: %s new, %s changed, %s unchanged", store.name,
                 *(f"{count:,}" for count in (counts.new, counts.changed, counts.unchanged)))  # fmt: skip
        facts.append({"destination": store.name, **asdict(counts)})
    seconds = round(time.monotonic() - started, 2)
    hashes = {"configuration_sha256": etl.configuration_sha256}
    write_json(out / LOADED, hashes | {"rows": rows.total, "destinations": facts, "seconds": seconds})
    return sum((Counts(each["new"], each["changed"], each["unchanged"]) for each in facts), Counts())


class Rows:
    """The cleaned rows with their keys, as often as they are wanted; of all of them, memory holds 4 bytes for each."""

    def __init__(self, cleaned: Cleaned) -> None:
        self._cleaned = cleaned
        self.total = pq.read_metadata(cleaned.parquet).num_rows
        self._most = max(1, CELLS // len(cleaned.columns))

    def batches(self, size: int) -> Iterator[list[KeyedRow]]:
        """Yield all rows, at most `size` at a time."""
        occurrences = iter(self._occurrences)
        for rows in self._values(size):
            yield keyed(rows, self._cleaned.id, map(int, islice(occurrences, len(rows))))

    @cached_property
    def _occurrences(self) -> Iterable[int]:
        """Say of each row how many equal ones come before it, which matters where rows have no id."""
        if self._cleaned.id is not None:
            return repeat(0)
        hashes = RowHashes(self.total)
        for rows in self._values(READ):
            hashes.add(sha256.encode() for sha256 in content_hashes(rows))
        return hashes.occurrences()

    def _values(self, size: int) -> Iterator[list[dict[str, Any]]]:
        with pq.ParquetFile(self._cleaned.parquet) as parquet:
            for batch in parquet.iter_batches(min(size, self._most)):
                yield batch.to_pylist()


def _write_all(store: WholeStore, rows: int, on_change: Callable[[], None]) -> Counts:
    if store.exists:
        return Counts(unchanged=rows)
    on_change()
    store.write_all()
    return Counts(new=rows)


def _write_rows(store: Store, rows: Rows, on_change: Callable[[], None], progress: Progress | None) -> Counts:
    counts, done = Counts(), 0
    for batch in rows.batches(store.size):
        counts += _write_changes(store, batch, on_change)
        done += len(batch)
        if progress:
            progress(done, rows.total)
    return counts


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
        store.write(new, changed)
    return Counts(len(new), len(changed), len(rows) - len(new) - len(changed))
