"""`rollout`: whether a version that is tried takes production's place, is taken back, or is tried on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from updraft.learning.score import encode_target
from updraft.model.prediction import decide
from updraft.monitoring.distribution import apart
from updraft.monitoring.performance import Labelled, measure_performance
from updraft.registry import rollouts
from updraft.registry.moves import Pointer
from updraft.registry.registry import HeldModel, PointerMoved, Registry
from updraft.registry.rollouts import NoRollout
from updraft.stages.monitor.act import WHO, Nothing
from updraft.stages.monitor.collect import SCORE
from updraft.stages.monitor.observe import SECONDS, observe
from updraft.stages.monitor.performance import known_labels
from updraft.stages.monitor.subject import Subject, read_subject
from updraft.usecase import UseCase
from updraft.usecase.monitor_block import Monitor

log = logging.getLogger(__name__)

MAX_APART = 0.3  # standard deviations of production's predictions, above chance: see docs/monitoring.md for why
MIN_ROWS = 30  # of each: with fewer, nothing is said of where predictions lie
MAX_LATENCY = 2.0  # times production's median
MAX_ERRORS = 0.02  # of its requests, above production's share, and above chance
MIN_REQUESTS = 100  # of each: with fewer, nothing is said of errors
STANDARD_ERRORS = 3.0  # of the difference of two shares: what is below may be chance
MAX_ROWS = 200_000  # the last ones, of each version
Batches = Iterable[pa.RecordBatch | pa.Table]


@dataclass(frozen=True)
class Shipped:
    """What services have shipped since a time: predictions, joined with labels, and requests that ended in an error."""

    predictions: Callable[[datetime], Batches]
    errors: Callable[[datetime], Batches]


@dataclass(frozen=True)
class Judgement:
    """What becomes of a rollout, and why; `version` is the one that is tried."""

    verdict: Literal["wait", "finish", "abort"]
    reason: str
    version: int


def rollout(case: UseCase, registry: Registry, shipped: Shipped, run_id: str) -> Judgement:
    """Judge the version that is tried, and finish or abort its rollout. Raises Nothing where there is nothing to do.

    It acts on the move that it read first: one that came meanwhile makes it void.
    """
    pointer = registry.pointer(case.name)
    if pointer is None or pointer.rollout is None or pointer.production is None:
        raise Nothing("no version is tried beside production")
    judged = judge(case, registry, pointer, shipped)
    log.info("version %d, %s: %s: %s", pointer.rollout.version, pointer.rollout, judged.verdict, judged.reason)
    if judged.verdict == "wait":
        return judged
    move = rollouts.finish if judged.verdict == "finish" else rollouts.abort
    why = f"{judged.reason} (run {run_id})"
    try:
        move(registry, case.name, who=f"{WHO}monitor_{case.name}", why=why, expected_sequence=pointer.sequence)
    except (PointerMoved, NoRollout, HeldModel) as error:
        raise Nothing(str(error)) from None
    return judged


def judge(case: UseCase, registry: Registry, pointer: Pointer, shipped: Shipped) -> Judgement:
    """Compare the version that is tried with production on what both predicted since the rollout began.

    It is taken back when more of its requests end in an error, when its predictions are distributed otherwise, when it
    takes longer, or when its metric is worse on labels. It takes production's place after `rollout: minutes`, with
    `min_rows` rows, when none of that is so.
    """
    tried = pointer.rollout
    if tried is None or pointer.production is None:
        raise Nothing("no version is tried beside production")
    since = datetime.fromisoformat(tried.since)
    new, old = (
        _gather(shipped, since, read_subject(registry, case.name, number))
        for number in (tried.version, pointer.production)
    )
    judged = partial(Judgement, version=tried.version)
    if failing := list(_failing(new, old)):  # whatever fails leaves no rows: it must not wait for them
        return judged("abort", failing[0])
    least = case.rollout.min_rows
    if min(len(new), len(old)) < least:
        return judged("wait", f"{len(new):,} rows, {len(old):,} of production; {least:,} of each are needed")
    reasons = [*_shift(new, old), *_slow(new, old, tried.mode), *_worse(case, new, old)]
    if reasons:
        return judged("abort", "; ".join(reasons))
    if datetime.now(UTC) - since < timedelta(minutes=case.rollout.minutes):
        return judged("wait", f"{len(new):,} rows speak for it, but {case.rollout.minutes:g} minutes are not over")
    return judged("finish", f"{len(new):,} rows since {tried.since[:16]}, and none of them speaks against it")


@dataclass(frozen=True)
class Rows:
    """A version's last rows: score, label and seconds; how many requests it answered in all, and how many failed."""

    subject: Subject
    table: pa.Table
    answered: int
    failed: int

    def __len__(self) -> int:
        return len(self.table)


def _gather(shipped: Shipped, since: datetime, subject: Subject) -> Rows:
    target = subject.reference.target
    kept: list[pa.Table] = []
    answered = failed = 0
    for batch in shipped.predictions(since):
        answered += _count(batch, subject, pc.equal(batch["row"], 0))
        for observed in observe([batch], subject):
            kept.append(observed.table.select([SCORE, target, SECONDS]))
        while sum(len(table) for table in kept[1:]) >= MAX_ROWS:
            kept = kept[1:]
    for batch in shipped.errors(since):
        failed += _count(batch, subject, pa.scalar(True))
    table = pa.concat_tables(kept) if kept else pa.table({SCORE: pa.array([], pa.float64())})
    return Rows(subject, table, answered, failed)


def _count(batch: pa.RecordBatch | pa.Table, subject: Subject, chosen: Any) -> int:
    return pc.sum(pc.and_(pc.equal(batch["version"], subject.version), chosen)).as_py() or 0


def _failing(new: Rows, old: Rows) -> Iterator[str]:
    """Say if more of its requests end in an error than of production's, and more than chance would explain."""
    total, others = new.answered + new.failed, old.answered + old.failed
    if min(total, others) < MIN_REQUESTS:
        return
    share, theirs = new.failed / total, old.failed / others
    both = (new.failed + old.failed) / (total + others)
    chance = STANDARD_ERRORS * math.sqrt(both * (1 - both) * (1 / total + 1 / others))
    if share - theirs >= max(MAX_ERRORS, chance):
        yield f"{share:.1%} of its {total:,} requests end in an error, {theirs:.1%} of production's {others:,}"


def _shift(new: Rows, old: Rows) -> Iterator[str]:
    """Say if the predictions are distributed otherwise; of many labels, each one's probability counts."""
    if min(len(new), len(old)) < MIN_ROWS:
        return
    for now, before in zip(_columns(new.table[SCORE]), _columns(old.table[SCORE]), strict=True):
        distance, chance = apart(before, now)
        if distance - chance >= MAX_APART:
            yield (
                f"prediction shift against production: {distance:.2f} standard deviations apart, {chance:.2f} by chance"
            )
            return


def _columns(scores: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_list(scores.type):
        return list(np.array(scores.to_pylist(), dtype="float64").T)
    return [scores.to_numpy()]


def _slow(new: Rows, old: Rows, mode: str) -> Iterator[str]:
    """Say if a canary's requests take longer; nobody waits for a shadow."""
    if mode == "shadow":
        return
    ours, theirs = (float(np.median(rows.table[SECONDS].to_numpy())) for rows in (new, old))
    if ours > MAX_LATENCY * theirs > 0:
        yield f"requests take {ours / theirs:.1f} times as long as production's"


def _worse(case: UseCase, new: Rows, old: Rows) -> Iterator[str]:
    """Say if the metric is worse than production's on the labels of the same time; silent with few labels."""
    monitor = case.monitor or Monitor()
    metric = monitor.performance.metric or case.gate.metric
    ours, theirs = _labelled(new), _labelled(old)
    production = measure_performance(theirs, metric, monitor.performance, {})
    if production.overall.value is None:
        return
    found = measure_performance(ours, metric, monitor.performance, {"metrics": {metric: production.overall.value}})
    if found.overall.verdict == "worse":
        yield found.overall.reason.replace("promised", "of production")


def _labelled(rows: Rows) -> Labelled:
    signature, target = rows.subject.signature, rows.subject.reference.target
    known = known_labels(signature, rows.table.filter(pc.is_valid(rows.table[target])), target)
    scores = np.array(known[SCORE].to_pylist(), dtype="float64")
    truth = encode_target(signature, known[target].to_pandas())
    return Labelled(truth, scores, decide(signature.task, scores, signature.threshold), {})
