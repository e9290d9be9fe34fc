"""The dataset that an incremental read goes on from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from updraft.datasets.manifest import reading_sha256
from updraft.datasets.store import Datasets, NoSuchDataset
from updraft.usecase import UseCase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastDataset:
    """The last validated dataset with a position: its number, and its file and position if rows are added to it."""

    number: int | None = None
    file: Path | None = None
    position: Mapping[str, Any] | None = None


@contextmanager
def last_dataset(
    case: UseCase, datasets: Datasets | None, folder: Path, *, anew: bool = False
) -> Iterator[LastDataset]:
    """Yield the last dataset of a use case, its file in `folder` meanwhile; one without a file when all is read again.

    All rows are read `anew` where that is asked for, without a store, when source, reading rules, columns or id have
    changed since, and when the file is gone.
    """
    last = datasets.last(case.name) if datasets else None
    if datasets is None or last is None:
        yield LastDataset()
        return
    if anew:
        log.info("all rows are read again, as `read_all` says; the next run goes on from them")
        yield LastDataset(last.number)
        return
    if last.reading_sha256 != reading_sha256(case):
        log.warning("all rows are read again: source, read, id or columns are not those of dataset %d", last.number)
        yield LastDataset(last.number)
        return
    file = folder / ".last_dataset.parquet"
    try:
        datasets.fetch(case.name, last.md5, last.sha256, file)
    except NoSuchDataset as gone:
        log.warning("all rows are read again: %s", gone)
        yield LastDataset(last.number)
        return
    try:
        yield LastDataset(last.number, file, last.position)
    finally:
        file.unlink(missing_ok=True)
