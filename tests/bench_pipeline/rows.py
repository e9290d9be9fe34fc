"""A collection of rows that grows: first the public ones, each once, then resampled ones.

Of a row that is there several times a random split has some in training and some in test, and a split by hash does not:
only up to `DISTINCT` rows is what a model is worth comparable between ways.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pymongo import MongoClient

from tests.support.small_cases import SHARED_DATA
from updraft.demo.rows import generate
from updraft.usecase import load

REAL = SHARED_DATA / "vehicle_insurance" / "data.csv"
PART = 20_000
DISTINCT = 50_000  # rows at least that are there once


class Rows:
    """The collection of the use case at `url`, with the public rows, then resampled ones, and ids of its own."""

    def __init__(self, url: str) -> None:
        self.url, self.size = url, 0
        self.origin = "resampled from the public rows" if REAL.is_file() else "synthetic"
        self._frame = pd.read_csv(REAL) if REAL.is_file() else generate(load("vehicle_insurance"), DISTINCT)
        self._random = np.random.default_rng(0)
        self._order = self._random.permutation(len(self._frame))

    def grow_to(self, size: int) -> None:
        """Add rows until there are so many."""
        records = self._frame.to_dict("records")
        with MongoClient[dict[str, object]](self.url) as client:
            collection = client.get_default_database()["vehicle_insurance"]
            for start in range(self.size, size, PART):
                count = min(PART, size - start)
                drawn = self._order[start : start + count]
                drawn = np.append(drawn, self._random.integers(0, len(records), count - len(drawn)))
                rows = ({**records[place], "id": start + number} for number, place in enumerate(drawn.tolist()))
                collection.insert_many(rows, ordered=False)
        self.size = max(self.size, size)
