"""Say what a training will take of memory before it begins; refuse one that would be killed, and say what would fit."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from updraft.errors import UserError
from updraft.learning.memory_need import SAMPLE, FitMemory, measure_fit
from updraft.learning.search import Combination
from updraft.stages.free_memory import VARIABLE, free_memory
from updraft.stages.narrow_frame import narrow
from updraft.stages.run_disk import size
from updraft.stages.stage_folder import TRAIN, in_suite_types, read_json
from updraft.usecase import UseCase

log = logging.getLogger(__name__)

FIXED = 64 * 2**20  # of buffers and what the allocator keeps


class TooLittleMemory(UserError):
    """A training does not fit into the memory that there is."""


class MemoryTaken(OSError):
    """A training would fit, but others have taken the memory; it may fit later."""


@dataclass(frozen=True)
class TrainingMemory:
    """What the training of a candidate takes of memory, by the number of training rows."""

    frame: float  # bytes of a row, as it is read
    scores: int  # bytes of a row, for each combination of parameters
    fits: Sequence[FitMemory]
    share: float  # of the rows, on which a fit before the last is made

    def bytes(self, rows: int, at_once: int) -> int:
        """Return the bytes that training on so many rows takes with so many fits, or trees of the last one, at once."""
        some = int(rows * self.share)
        before = at_once * (max(each.bytes(some) for each in self.fits) + self.frame * some)
        last = max(each.bytes(rows, at_once) for each in self.fits)
        rest = self.frame * rows + self.scores * rows * len(self.fits)
        return int(FIXED + rest + max(before, last))

    def on_worker(self, rows: int, at_once: int, threads: int) -> int:
        """Return the bytes that a worker of a cluster takes: the rows, and so many fits, or trees of a last forest."""
        some = int(rows * self.share)
        fits = at_once * (max(each.bytes(some) for each in self.fits) + self.frame * some)
        trees = max(each.bytes(rows, threads) if each.tree else 0 for each in self.fits)
        return int(FIXED + self.frame * rows + max(fits, trees))


def fits_at_once(case: UseCase, candidate: str, tried: Sequence[Combination], split: Path, threads: int) -> int:
    """Log what a candidate's training takes, and return how many of its fits may run at once: `threads`, or fewer.

    Raises TooLittleMemory where one at a time would be too much, MemoryTaken where it is so because of others.
    """
    rows = pq.read_metadata(split / TRAIN).num_rows
    memory = measure(case, candidate, tried, split)
    free = free_memory(os.environ)  # after what the sample has loaded and reserved
    at_once = next((n for n in range(threads, 0, -1) if memory.bytes(rows, n) + n * free.of_a_thread <= free.free), 0)
    need = memory.bytes(rows, at_once or 1)
    fewer = f", not {threads}, so that it fits" if 0 < at_once < threads else ""
    log.info("%s: training takes about %s: %s for each of %s rows, with %s%s; %s are free (%s)",
             candidate, size(need), size((need - FIXED) / max(1, rows)), f"{rows:,}", fits_side_by_side(at_once or 1),
             fewer, size(max(0, free.free)), free.origin)  # fmt: skip
    if at_once:
        return at_once
    message = f"{case.name}: candidate {candidate!r}: training on {rows:,} rows takes about {size(need)}"
    message += f", and {size(max(0, free.free))} are free ({free.origin})"
    if need <= free.most:
        raise MemoryTaken(f"{message}; others have taken the rest of {size(free.most)}")
    raise TooLittleMemory(f"{message}; {_what_would_fit(case, memory, split, rows, free.free)}")


def measure(case: UseCase, candidate: str, tried: Sequence[Combination], split: Path) -> TrainingMemory:
    """Measure on a sample of the training rows what a candidate's training takes."""
    with pq.ParquetFile(split / TRAIN) as parquet:
        batch = next(parquet.iter_batches(SAMPLE, use_threads=False))  # each thread would keep megabytes for itself
    wide = in_suite_types(case, batch.to_pandas(use_threads=False))
    rule, sample = read_json(split / "split.json"), narrow(case, wide)
    estimator = case.candidates[candidate].estimator
    return TrainingMemory(
        frame=float(sample.memory_usage(deep=True).sum()) / len(sample),
        fits=[measure_fit(case, estimator, each, sample) for each in tried],
        share=1 - rule["holdout"] if rule.get("holdout") else 1 - 1 / case.folds,
        scores=8 * (len(case.labels) if case.task == "multiclass" else 1),
    )


def _what_would_fit(case: UseCase, memory: TrainingMemory, split: Path, rows: int, free: int) -> str:
    fitting, too_many = 0, rows
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fitting, too_many = (middle, too_many) if memory.bytes(middle, 1) <= free else (fitting, middle)
    ways = []
    if limit := _rounded_down(fitting * _dataset_rows(split) // rows):
        ways.append(f"a run with limit {limit} fits")
    worst = max(memory.fits, key=lambda each: each.bytes(rows))
    ways.append(_saving(case, worst, rows))
    return f"{'; '.join(ways)}; {VARIABLE}=16GB would state another limit"


def _saving(case: UseCase, fit: FitMemory, rows: int) -> str:
    """Name what takes most."""
    parts = fit.parts(rows)
    most = max(parts, key=lambda name: parts[name])
    if most == "trees":
        return f"{size(parts[most])} of it are trees: fewer, or a lower max_depth or higher min_samples_leaf, take less"
    if most == "words":
        return f"{size(parts[most])} of it are words: tfidf takes less with max_features, or a higher min_df"
    return (
        f"its {len(case.feature_columns)} columns take {max(fit.row, fit.encoding):.0f} bytes of a row in a fit: "
        "`ignored` leaves out those of no use"
    )


def fits_side_by_side(number: int) -> str:
    """Say how many fits run at the same time."""
    return "one fit at a time" if number == 1 else f"{number} fits at once"


def _dataset_rows(split: Path) -> int:
    """Count the rows of the dataset of which these are the training rows."""
    rule: dict[str, Any] = read_json(split / "split.json")
    return int(rule["rows"] + rule["null_targets"] + rule["duplicates"])


def _rounded_down(rows: int) -> int:
    """Round down to two digits."""
    step = int("1".ljust(len(str(rows)) - 1, "0"))
    return rows // step * step
