"""Fits side by side in threads of this process: models are what one thread makes of them.

Threads share the rows, which processes would copy, and end with the last fit: an idle worker process of joblib's would
hold Airflow's slot for a minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from joblib import cpu_count
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from threadpoolctl import threadpool_limits

T = TypeVar("T")
FORESTS = (RandomForestClassifier, RandomForestRegressor)


class Engine(Protocol):
    """Where fits run: so many at once, and the trees of a forest."""

    name: str
    threads: int

    def run(self, fits: Sequence[partial[T]]) -> Iterator[T]:
        """Yield what fits return, in their order."""

    def tree_threads(self, fits: int) -> list[int]:
        """Return for each of so many fits in how many threads a forest's trees may grow."""

    def fit(self, pipeline: Any, features: Any, target: Any) -> None:
        """Fit a pipeline, alone: its trees, if it has any, are spread."""


class Threads:
    """So many threads of this process."""

    name = "threads"

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __str__(self) -> str:
        return f"in {self.threads} threads"

    def run(self, fits: Sequence[partial[T]]) -> Iterator[T]:
        """Run fits side by side: see `side_by_side`."""
        return side_by_side(fits, self.threads)

    def tree_threads(self, fits: int) -> list[int]:
        """Give one thread to each fit as long as there is one fit for each thread; the last, fewer, share all."""
        last = fits % self.threads
        return [1] * (fits - last) + [(self.threads + place) // last for place in range(last)]

    def fit(self, pipeline: Any, features: Any, target: Any) -> None:
        """Fit a pipeline here."""
        with threadpool_limits(limits=1), spread_over(self.threads, pipeline["model"]):
            pipeline.fit(features, target)


def alone(model: Any) -> bool:
    """Whether a fit draws from random numbers that are the process's, as liblinear's: only one may run at a time."""
    return isinstance(model, CalibratedClassifierCV) or getattr(model, "solver", None) == "liblinear"


def threads_for_fits(model: Any = None) -> int:
    """Return how many fits run at once: one for each core that this process may use, fewer by OMP_NUM_THREADS."""
    if alone(model):
        return 1
    cores, limit = int(cpu_count()), os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) else cores


def side_by_side(fits: Sequence[Callable[[], T]], threads: int) -> Iterator[T]:
    """Yield what fits return, in their order, while others run in so many threads.

    OpenMP and BLAS get one thread for each fit. The first error ends it: what has not begun is not run.
    """
    if threads == 1 or len(fits) == 1:
        with threadpool_limits(limits=1):
            yield from (fit() for fit in fits)
        return
    with threadpool_limits(limits=1, user_api="blas"):
        # The number of OpenMP's threads is one of the thread that calls it, so each has its own set.
        pool = ThreadPoolExecutor(threads, "fit", lambda: threadpool_limits(limits=1, user_api="openmp"))
        try:
            for future in [pool.submit(fit) for fit in fits]:
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def spread_over(threads: int, model: Any) -> Iterator[None]:
    """Let a forest grow its trees in so many threads during a block; it is the same forest, and stored with one."""
    if not isinstance(model, FORESTS):
        yield
        return
    model.set_params(n_jobs=threads)
    try:
        yield
    finally:
        model.set_params(n_jobs=1)
