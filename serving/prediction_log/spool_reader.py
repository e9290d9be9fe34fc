"""Reads the spool: lists its files, reads complete lines, and deletes files that no worker writes to any more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.prediction_log.spool_writer import SUFFIX
from serving.server.worker_lock import try_lock

CHUNK = 2**18  # bytes, some 1,000 records of one row
BAD_FILE, BAD_FILE_MAX_BYTES = "bad.txt", 16 * 2**20


@dataclass(frozen=True)
class Chunk:
    """Complete lines of a file, and the offset of the next one."""

    lines: list[bytes]
    end: int


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the sizes of the spool's files by name, a worker's oldest file first; empty without a folder."""
    try:
        with os.scandir(folder) as entries:
            sizes = {entry.name: _size(entry) for entry in entries if entry.name.endswith(SUFFIX)}
    except FileNotFoundError:
        return {}
    return dict(sorted((name, size) for name, size in sizes.items() if size is not None))


def backlog_bytes(folder: Path, offsets: Mapping[str, int]) -> int:
    """Return the number of bytes beyond the ingested offsets."""
    return sum(max(size - offsets.get(name, 0), 0) for name, size in file_sizes(folder).items())


def read(path: Path, start: int, chunk: int = CHUNK) -> Chunk:
    """Read complete lines from `start` on, about `chunk` bytes of them, or a single line that is longer.

    An incomplete line at the end is left for later: its writer may be about to complete it or to truncate it.
    """
    with path.open("rb") as file:
        file.seek(start)
        raw = file.read(chunk)
        while (end := raw.rfind(b"\n")) < 0 and (more := file.read(chunk)):
            raw += more
            chunk *= 2
    return Chunk(raw[:end].split(b"\n") if end >= 0 else [], start + end + 1)


def delete_if_finished(path: Path, start: int) -> int | None:
    """Delete a file that is ingested up to `start` and no longer written; return the size of an incomplete last record.

    None when it is still written to or has more complete lines. A record is incomplete when its worker died while
    writing it: its response was never sent, so nothing is lost.
    """
    lock = try_lock(path)  # its worker holds this lock for as long as it may write
    if lock is None:
        return None
    try:
        if read(path, start).lines:
            return None
        incomplete = max(path.stat().st_size - start, 0)
        path.unlink()
        return incomplete
    finally:
        lock.release()


def keep_bad_line(folder: Path, line: bytes) -> None:
    """Keep a malformed line for inspection, up to a total of BAD_FILE_MAX_BYTES."""
    descriptor = os.open(folder / BAD_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size + len(line) < BAD_FILE_MAX_BYTES:
            os.write(descriptor, line + b"\n")
    finally:
        os.close(descriptor)


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return None
