"""Say what a training will take of memory on each worker of a Dask cluster; refuse what would not fit there."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
from distributed import Client, Worker

import updraft
from updraft.learning.dask_cluster import OtherVersions, on_each_worker, require_same_versions
from updraft.learning.search import Combination
from updraft.stages.free_memory import free_memory
from updraft.stages.run_disk import size
from updraft.stages.stage_folder import TRAIN
from updraft.stages.training_memory import MemoryTaken, TooLittleMemory, fits_side_by_side, measure
from updraft.usecase import UseCase

log = logging.getLogger(__name__)

CODE = ("learning", "model", "usecase")  # what of Updraft decides about a model


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker is: its code, its threads, the bytes that it may still take, and could if it held nothing."""

    code: str
    threads: int
    free: int
    most: int
    origin: str


def code_sha256() -> str:
    """Hash the code by which fits are made: two of one version may differ."""
    root = Path(updraft.__path__[0])
    hashed = hashlib.sha256()
    for path in sorted(path for folder in CODE for path in (root / folder).rglob("*.py")):
        hashed.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return hashed.hexdigest()


def worker_facts(dask_worker: Worker) -> WorkerFacts:
    """Return what the worker is that runs this. Above its pause threshold it takes no further task."""
    found, manager = free_memory(os.environ), dask_worker.memory_manager
    threads = int(dask_worker.state.nthreads)
    limit = manager.memory_limit
    if limit is None:
        return WorkerFacts(code_sha256(), threads, found.free, found.most, found.origin)
    usable = int(limit * (manager.memory_pause_fraction or 1))
    free, most = usable - psutil.Process().memory_info().rss, usable
    origin = f"Dask's memory limit of {size(limit)}, of which it uses {usable / limit:.0%}"
    if found.free < free:
        free, most, origin = found.free, min(found.most, usable), found.origin
    return WorkerFacts(code_sha256(), threads, free, most, origin)


def check_newcomers(client: Client) -> None:
    """Raise OtherVersions where a worker that has joined meanwhile makes other models, and perhaps part of this one."""
    try:
        require_same_versions(client)
        _require_same_code(on_each_worker(client, worker_facts))
    except OSError as error:  # all is made, so that a worker that is lost now does not matter
        log.info("not all of Dask's workers could be looked at again: %s", " ".join(str(error).split()))


def _require_same_code(facts: dict[str, WorkerFacts]) -> None:
    ours = code_sha256()
    for worker, fact in sorted(facts.items()):
        if fact.code != ours:
            hint = "workers have to run the image, or the environment, of the tasks"
            codes = f"the code of Updraft is {fact.code[:12]}, and here {ours[:12]}"
            raise OtherVersions(f"engine: dask: worker {worker}: {codes}; {hint}")


def fits_at_once_on_workers(
    case: UseCase, candidate: str, tried: Sequence[Combination], split: Path, threads: int, client: Client
) -> int:
    """Log what a candidate's training takes on each worker; return how many of its fits may run there at once.

    No more than a worker has threads, and than `threads`. Raises TooLittleMemory where a worker is too small for one,
    MemoryTaken where others have taken what it has, OtherVersions where its code is another.
    """
    facts = on_each_worker(client, worker_facts)
    _require_same_code(facts)
    rows, memory = pq.read_metadata(split / TRAIN).num_rows, measure(case, candidate, tried, split)
    smallest, fact = min(facts.items(), key=lambda each: each[1].free)
    most = min(threads, max(each.threads for each in facts.values()))

    def need(at_once: int) -> int:
        return memory.on_worker(rows, at_once, max(each.threads for each in facts.values()))

    at_once = next((number for number in range(most, 0, -1) if need(number) <= fact.free), 0)
    log.info("%s: %d workers of Dask: training takes about %s on each, the %s rows among it, with %s; "
             "%s are free on the smallest, %s (%s)", candidate, len(facts), size(need(at_once or 1)), f"{rows:,}",
             fits_side_by_side(at_once or 1), size(max(0, fact.free)), smallest, fact.origin)  # fmt: skip
    if at_once:
        return at_once
    message = f"{case.name}: candidate {candidate!r}: training on {rows:,} rows takes about {size(need(1))}"
    message += f" on each worker of Dask, and {size(max(0, fact.free))} are free on {smallest} ({fact.origin})"
    if need(1) <= fact.most:
        raise MemoryTaken(f"{message}; others have taken the rest of {size(fact.most)}")
    raise TooLittleMemory(f"{message}; larger workers, fewer columns or a limit of the run's rows take less")
