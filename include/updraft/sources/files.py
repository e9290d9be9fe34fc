"""Rows out of files: one file, or several with the same columns one after another, wherever they lie."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from updraft.addresses import Connections
from updraft.sources.batch_reader import Schema
from updraft.sources.file_reader import FileReader
from updraft.sources.found_files import DiskFile, FoundFile, disk_files
from updraft.sources.http_files import http_files
from updraft.sources.s3_files import s3_files
from updraft.sources.source import BadSource, Batch, Extent
from updraft.sources.urls import shown
from updraft.usecase.source_blocks import FileSource

log = logging.getLogger(__name__)


@contextmanager
def open_files(settings: FileSource, case: Schema, connections: Connections, extent: Extent) -> Iterator[Files]:
    """Open the files of a path or URI as a source of rows; those of this machine need no connection."""
    found = find_files(settings, connections)
    name = shown(settings.path) if settings.path.startswith(("http://", "https://")) else settings.path
    files = Files(found, case, extent.limit, name)
    with closing(files):
        yield files


def find_files(settings: FileSource, connections: Connections) -> list[FoundFile]:
    """Find the files that a path or URI names; raise BadSource where there is none."""
    scheme = settings.path.partition("://")[0].lower() if "://" in settings.path else ""
    if scheme == "s3":
        return s3_files(settings.path, settings.connection, connections)
    if scheme in ("http", "https"):
        return http_files(settings.path, settings.connection, connections)
    return disk_files(settings.path)


class Files:
    """One or several files as a source: rows in the order of the names, all with the columns of the first.

    Files without a byte are passed over where there are several. Raises BadSource when a file cannot be read, changes
    meanwhile, or has other columns than the first.
    """

    is_log = False

    def __init__(self, found: Sequence[FoundFile], case: Schema, limit: int | None, name: str) -> None:
        self.several, self._name = len(found) > 1, name
        self._found = [file for file in found if file.size != 0] if self.several else list(found)
        if not self._found:
            raise BadSource(f"{self}: all {len(found)} are empty")
        if len(self._found) < len(found):
            log.warning("%s: %s of %s are empty", self, len(found) - len(self._found), len(found))
        self._case, self._limit = case, limit
        self._held, self._read, self._expected = ExitStack(), list[FoundFile](), list[str]()
        self._first: FileReader | None = (first := self._open_first())
        self._columns_of_first = first.file_columns
        self._expected = [column.name for column in first.columns]
        self.columns, self.absent, self.others = first.columns, first.absent, first.others
        self.total = None if self.several else first.total

    def __str__(self) -> str:
        return f"file{'s' * self.several} {self._name!r}"

    def provenance(self) -> dict[str, Any]:
        return {"kind": "file", "path": self._name, "files": [file.describe() for file in self._read]}

    def position(self) -> None:
        return None

    def close(self) -> None:
        """Remove the local copy of a file that lies elsewhere."""
        self._held.close()

    def batches(self) -> Iterator[Batch]:
        """Yield batches, file by file; where there are several, a row's place and its batch name its file."""
        left = self._limit
        self._read = []
        for file in self._found:
            reader, self._first = self._first or self._open(file, left), None
            if reader is None:
                continue
            if difference := self._columns_of_first.difference(reader.file_columns):
                raise BadSource(f"file {file.name!r}: {difference}, unlike {self._found[0].label!r}")
            for batch in reader.batches():
                left = None if left is None else left - batch.table.num_rows - len(batch.rejects)
                yield _of_file(file.label, batch) if self.several else batch
            self.close()
            file.require_unchanged()
            self._read.append(file)
            if left == 0:
                return

    def _open_first(self) -> FileReader:
        """Open the first file that is not empty when it is unpacked."""
        while (reader := self._open(self._found[0], self._limit)) is None:
            self._found.pop(0)
            if not self._found:
                raise BadSource(f"{self}: all are empty")
        return reader

    def _open(self, file: FoundFile, limit: int | None) -> FileReader | None:
        """Open a file; None for one of several without a byte, which is packed or lies elsewhere."""
        self._held = ExitStack()
        try:
            local = self._held.enter_context(file.local())
            if self.several and local.is_empty():
                self.close()
                log.warning("file %r is empty", file.name)
                return None
            return FileReader(local, self._case, limit, self._expected)
        except BaseException:
            self.close()
            raise


class File(Files):
    """One file of this machine as a source."""

    def __init__(self, path: Path, case: Schema, limit: int | None = None) -> None:
        super().__init__([DiskFile(path, path.name)], case, limit, str(path))


def _of_file(label: str, batch: Batch) -> Batch:
    rejects = [replace(reject, place=f"{label}, {reject.place}") for reject in batch.rejects]
    return replace(batch, rejects=rejects, file=label)
