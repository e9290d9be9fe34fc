"""The reading side of the spool: its files, the whole lines in them, and which of them nobody writes any more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.prediction_log.spool_writer import SUFFIX
from serving.server.worker_lock import take

CHUNK = 2**18  # bytes, some 1,000 records of one row
BAD, BAD_BYTES = "bad.txt", 16 * 2**20


@dataclass(frozen=True)
class Chunk:
    """Whole lines of a file, and where the next one begins."""

    lines: list[bytes]
    end: int


def names(folder: Path) -> dict[str, int]:
    """Give the size of each file of the spool by its name, a worker's oldest first; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: _size(entry) for entry in entries if entry.name.endswith(SUFFIX)}
    except FileNotFoundError:
        return {}
    return dict(sorted((name, size) for name, size in found.items() if size is not None))


def waiting(folder: Path, offsets: Mapping[str, int]) -> int:
    """Count the bytes that lie behind the offsets."""
    return sum(max(size - offsets.get(name, 0), 0) for name, size in names(folder).items())


def read(path: Path, start: int, chunk: int = CHUNK) -> Chunk:
    """Read whole lines from `start` on, about `chunk` bytes of them or the one line that is longer.

    A piece of a line at the end is left where it is: its writer may be at it, or take it back.
    """
    with path.open("rb") as file:
        file.seek(start)
        raw = file.read(chunk)
        while (end := raw.rfind(b"\n")) < 0 and (more := file.read(chunk)):
            raw += more
            chunk *= 2
    return Chunk(raw[:end].split(b"\n") if end >= 0 else [], start + end + 1)


def finish(path: Path, start: int) -> int | None:
    """Delete a file that ends at `start` and whose worker is gone or through with it; return the bytes torn off.

    None when it is still written to, or holds more whole lines. A record is torn when its worker died in the middle of
    writing it: its answer never went out.
    """
    lock = take(path)
    if lock is None:
        return None
    try:
        if read(path, start).lines:
            return None
        torn = max(path.stat().st_size - start, 0)
        path.unlink()
        return torn
    finally:
        lock.release()


def set_aside(folder: Path, line: bytes) -> None:
    """Keep a line that is no record for a person to look at, as long as there are few of them."""
    descriptor = os.open(folder / BAD, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size + len(line) < BAD_BYTES:
            os.write(descriptor, line + b"\n")
    finally:
        os.close(descriptor)


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return None
