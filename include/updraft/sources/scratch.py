"""Local copies of files that lie elsewhere: downloaded in pieces, resumed where the network fails, gone afterwards."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

TRIES = 5  # in a row, without a byte in between
FIRST_PAUSE = 0.5  # seconds; twice as long each time
# Gives the bytes from a place on, and the place: 0 where they can only be had from the start.
Fetch = Callable[[int], tuple[int, Iterator[bytes]]]


@contextmanager
def scratch_file() -> Iterator[tuple[IO[bytes], Path]]:
    """Yield a file without a name, and a path that opens it again: nothing is left of it, not even by kill -9."""
    with tempfile.TemporaryFile(prefix="updraft-") as file:
        yield file, Path(f"/proc/self/fd/{file.fileno()}")


def download(name: str, fetch: Fetch, size: Callable[[], int | None], file: IO[bytes]) -> str:
    """Write what `fetch` gives to a file, up to its `size` where it is known, and return its sha256.

    Goes on where it broke off. Raises ConnectionError when there is no answer, or no further byte again and again.
    """
    digest, done, failures = hashlib.sha256(), 0, 0
    while True:
        start, pieces = fetch(done)
        if start != done:
            digest, done = hashlib.sha256(), 0
            file.seek(0)
            file.truncate()
        before = done
        try:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                done += len(piece)
            if size() not in (None, done):
                raise ConnectionError(f"{name}: ended after {done:,} of {size():,} bytes")
            file.flush()
            return digest.hexdigest()
        except ConnectionError:
            failures = 1 if done > before > 0 else failures + 1
            if failures >= TRIES:
                raise
            time.sleep(FIRST_PAUSE * 2 ** (failures - 1))
