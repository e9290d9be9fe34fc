"""Fits on the workers of a Dask cluster, trees by joblib's backend: models are, byte for byte, those of `Threads`.

Rows are sent to each worker once. A fit, or a tree, whose worker is lost is made again elsewhere.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from distributed import Client, KilledWorker, as_completed
from distributed.comm.core import CommClosedError
from joblib import parallel_config
from joblib._dask import DaskDistributedBackend
from threadpoolctl import threadpool_limits

from updraft.learning.dask_cluster import SECONDS, ClusterError
from updraft.learning.fits import FORESTS, spread_over

log = logging.getLogger(__name__)
T = TypeVar("T")

ATTEMPTS = 3
LOST = (CancelledError, KilledWorker, CommClosedError, TimeoutError)  # what is raised where a worker is lost
LINES = 10  # of progress


class Backend(DaskDistributedBackend):  # type: ignore[misc]
    """joblib's own; alone it would wait for ever for a task that Dask has given up because its workers died."""

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
        """Submit a task; also one that Dask gives up ends."""
        future: Future[Any] = super().submit(func, callback)

        def end(done: Future[Any]) -> None:
            if callback and (error := done.exception()):
                callback(error)

        future.add_done_callback(end)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return a task's result, or raise what it raised or was given up for."""
        if isinstance(out, BaseException):
            raise out
        return super().retrieve_result_callback(out)


class DaskWorkers:
    """The workers of a cluster, of which each makes `at_once` fits at a time."""

    name = "dask"

    def __init__(self, client: Client, at_once: int, model: Any) -> None:
        self.client, self.at_once, self.is_forest = client, at_once, isinstance(model, FORESTS)
        workers: dict[str, int] = client.nthreads()
        self.workers = len(workers)
        self.threads = sum(min(at_once, threads) for threads in workers.values())

    def __str__(self) -> str:
        return f"on {self.workers} workers of Dask"

    def run(self, fits: Sequence[partial[T]]) -> Iterator[T]:
        """Yield what fits return, in their order; a single one is made here, and its trees on workers."""
        if len(fits) == 1:
            yield self._retried("the fit", lambda: self._here(fits[0]))
            return
        results: dict[int, T] = {}
        self._retried("fits", lambda: self._run(fits, results))
        yield from (results[number] for number in range(len(fits)))

    def tree_threads(self, fits: int) -> list[int]:
        """Give one thread to each fit; a single one, which is made here, has all for its trees."""
        return [self.threads] if fits == 1 else [1] * fits

    def fit(self, pipeline: Any, features: Any, target: Any) -> None:
        """Fit a pipeline here; the trees of a forest grow on workers."""
        with spread_over(self.threads, pipeline["model"]):
            self._retried("the last fit", lambda: self._here(partial(pipeline.fit, features, target)))

    def _here(self, fit: Callable[[], T]) -> T:
        trees: AbstractContextManager[Any] = nullcontext()
        if self.is_forest:
            trees = parallel_config(backend=Backend(client=self.client, wait_for_workers_timeout=SECONDS))
        with threadpool_limits(limits=1), trees:
            return fit()

    def _run(self, fits: Sequence[partial[T]], results: dict[int, T]) -> None:
        """Make the fits of which there are no results yet."""
        sent: dict[int, Any] = {}
        futures = [
            self.client.submit(_numbered, number, self.at_once, fit.func, *self._send(fit.args, sent), pure=False)
            for number, fit in enumerate(fits)
            if number not in results
        ]
        step = max(1, math.ceil(len(fits) / LINES))
        try:
            for future in as_completed(futures, loop=self.client.loop):
                number, result = future.result()
                results[number] = result
                if len(results) % step == 0 or len(results) == len(fits):
                    log.info("%d of %d fits made %s", len(results), len(fits), self)
        finally:
            self.client.cancel(futures)  # what one fit's error has made needless

    def _send(self, arguments: Sequence[Any], sent: dict[int, Any]) -> Iterator[Any]:
        """Put rows and masks in each worker's memory, once; yield what stands for them, and other arguments as such."""
        for argument in arguments:
            if isinstance(argument, pd.DataFrame | np.ndarray):
                if id(argument) not in sent:
                    # By content, two trainings would share what the first one to end removes.
                    sent[id(argument)] = self.client.scatter(argument, broadcast=True, hash=False)
                yield sent[id(argument)]
            else:
                yield argument

    def _retried(self, what: str, make: Callable[[], T]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return make()
            except LOST as error:
                reason = f"{what}: Dask lost workers: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
                if attempt == ATTEMPTS or self.client.status != "running":
                    raise ClusterError(f"{reason}; given up after {attempt} tries") from None
                log.warning("%s; tried again on those that are left", reason)
                try:
                    self.client.wait_for_workers(1, timeout=SECONDS)
                except (TimeoutError, OSError):
                    raise ClusterError(f"{reason}; none is left") from None
        raise AssertionError("unreachable")


_running = 0
_changed = threading.Condition()


@contextmanager
def _one_of(at_once: int) -> Iterator[None]:
    """Wait until fewer than so many fits run in this process."""
    global _running
    with _changed:
        _changed.wait_for(lambda: _running < at_once)
        _running += 1
    try:
        yield
    finally:
        with _changed:
            _running -= 1
            _changed.notify_all()


def _numbered(number: int, at_once: int, fit: Callable[..., T], *arguments: Any) -> tuple[int, T]:
    """Make a fit on a worker, in one thread, as `Threads` does; return it with its number."""
    with _one_of(at_once), parallel_config(backend="sequential"):
        # For good: the number of BLAS's threads is the process's, and another fit may be running when this one ends.
        threadpool_limits(limits=1)
        return number, fit(*arguments)
