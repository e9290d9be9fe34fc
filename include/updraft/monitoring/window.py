"""Rows to compare with a reference, counted batch by batch: memory does not grow with them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from updraft.monitoring.distribution import Counts, count_numbers
from updraft.monitoring.reference import Numbers, Profile, Texts, Values
from updraft.monitoring.words import Vocabulary

MAX_UNSEEN = 1000  # different unseen values that are counted one by one


class Column:
    """What a column is like now, counted in the bins of its reference.

    `counts` has a number for each bin; for categories one for each known value and, as the last, one for all others.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.rows = self.nulls = self.words = self.unknown_words = 0
        self.unseen: Counter[str] = Counter()
        self._values = profile.values
        self.counts: Counts = np.zeros(_bins(profile), dtype="int64")
        if isinstance(self._values, Texts):
            self._vocabulary = Vocabulary.decode(self._values.vocabulary)
        if isinstance(self._values, Values):
            self._known = pa.array(self._values.counts, pa.string())

    def add(self, values: pa.Array | pa.ChunkedArray) -> None:
        """Count values."""
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
        self.rows += len(values)
        self.nulls += values.null_count
        present = values.drop_null()
        if isinstance(self._values, Numbers):
            self.counts += count_numbers(_floats(present), np.asarray(self._values.edges))
        elif isinstance(self._values, Values):
            self._add_categories(present)
        elif isinstance(self._values, Texts):
            lengths = _floats(pc.utf8_length(present))
            self.counts += count_numbers(lengths, np.asarray(self._values.lengths.edges))
            words, unknown = self._vocabulary.count_unknown(present.to_pylist())
            self.words += words
            self.unknown_words += unknown

    def _add_categories(self, present: pa.Array | pa.ChunkedArray) -> None:
        counted = pc.value_counts(present)
        texts = _as_text(counted.field("values"))
        counts = counted.field("counts").to_numpy(zero_copy_only=False)
        places = pc.index_in(texts, self._known).fill_null(len(self._known)).to_numpy(zero_copy_only=False)
        np.add.at(self.counts, places, counts)
        for place in np.flatnonzero(places == len(self._known)):
            value = texts[int(place)].as_py()
            if value in self.unseen or len(self.unseen) < MAX_UNSEEN:
                self.unseen[value] += int(counts[place])


def _bins(profile: Profile) -> int:
    values = profile.values
    if isinstance(values, Values):
        return len(values.counts) + 1
    if isinstance(values, Texts):
        values = values.lengths
    return len(values.counts) if values else 0


def _floats(values: pa.Array | pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return values.to_numpy(zero_copy_only=False).astype("float64", copy=False) if len(values) else np.empty(0)


def _as_text(values: pa.Array) -> pa.Array:
    """Write values as pandas' `astype(str)` does: True and False, 1.0."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return values.cast(pa.string())
    return pa.array(map(str, values.to_pylist()), pa.string())
