"""Rows that equal another in every column: how many there are, and whether all rows are there several times."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

PART = 2**18  # rows that are sorted at a time


class RowHashes:
    """The hashes of up to `most` rows: 16 bytes of memory for each. Rows whose hashes are equal are equal."""

    def __init__(self, most: int) -> None:
        self._halves = np.empty((2, most), np.uint64)
        self._count = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Add rows, each written as bytes."""
        digests = b"".join(hashlib.blake2b(line, digest_size=16).digest() for line in lines)
        new = np.frombuffer(digests, np.uint64).reshape(-1, 2)
        self._halves[:, self._count : self._count + len(new)] = new.T
        self._count += len(new)

    def count_duplicates(self) -> tuple[dict[str, Any], npt.NDArray[np.bool_]]:
        """Return what `clean.json` says of duplicates, and which rows are the first of their equals."""
        first = np.zeros(self._count, np.bool_)
        repeated = 0
        for rows, starts in self._sorted():
            first[rows[starts]] = True
            sizes = np.diff(np.append(np.flatnonzero(starts), len(rows)))
            repeated = math.gcd(repeated, *np.unique(sizes).tolist())
        distinct = int(first.sum())
        return {"distinct": distinct, "duplicates": self._count - distinct, "repeated": repeated or 1}, first

    def occurrences(self) -> npt.NDArray[np.uint32]:
        """Return for each row how many of its equals come before it."""
        found = np.zeros(self._count, np.uint32)
        for rows, starts in self._sorted():
            places = np.arange(len(rows))
            found[rows] = places - np.maximum.accumulate(np.where(starts, places, 0))
        return found

    def _sorted(self) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]]:
        """Yield parts of the rows by their indices, equals side by side, and whether each is their first."""
        for part in self._parts():
            high, low = self._halves[:, part]
            order = np.lexsort((low, high))  # stable
            high, low = high[order], low[order]
            starts = np.ones(len(part), np.bool_)
            starts[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
            yield part[order], starts

    def _parts(self) -> Iterator[npt.NDArray[np.intp]]:
        """Yield the indices of rows, equal ones in the same part."""
        parts = self._count // PART + 1
        for number in range(parts):
            yield np.flatnonzero(self._halves[0, : self._count] % np.uint64(parts) == number)


def describe_duplicates(rows: int, facts: dict[str, Any], dropped: bool) -> str:
    """Say in a sentence how rows repeat, and what becomes of them; empty where none does."""
    if not facts["duplicates"]:
        return ""
    done = "one of each is kept" if dropped else "all are kept, as `clean: {duplicates: keep}` says"
    equal = f"{facts['duplicates']:,} of {rows:,} rows equal an earlier one; {done}"
    if facts["repeated"] == 1:
        return equal
    return f"each of {rows // facts['repeated']:,} rows is there {facts['repeated']} times; {equal}"
