"""`rollout`: whether a version that is tried takes production's place, is taken back, or is tried on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from updraft.learning.score import encode_target
from updraft.model.prediction import decide
from updraft.monitoring.distribution import count_numbers, psi, psi_by_chance
from updraft.monitoring.performance import Labelled, measure_performance
from updraft.monitoring.reference import Numbers
from updraft.monitoring.reference import numbers as in_bins
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

MAX_PSI = 0.5  # of predictions, above chance: two good models differ, by a tenth or two
MAX_LATENCY = 2.0  # times production's median
MAX_ROWS = 200_000  # the last ones, of each version
Shipped = Callable[[datetime], Iterable[pa.RecordBatch | pa.Table]]  # the predictions since a time, joined with labels


@dataclass(frozen=True)
class Judgement:
    """What becomes of a rollout, and why."""

    verdict: Literal["wait", "finish", "abort"]
    reason: str


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

    It is taken back when its predictions are distributed otherwise, when it takes longer, or when its metric is worse
    on labels. It takes production's place after `rollout: minutes`, with `min_rows` rows, when none of that is so.
    """
    tried = pointer.rollout
    if tried is None or pointer.production is None:
        raise Nothing("no version is tried beside production")
    since = datetime.fromisoformat(tried.since)
    new, old = (
        _gather(shipped(since), read_subject(registry, case.name, number))
        for number in (tried.version, pointer.production)
    )
    least = case.rollout.min_rows
    if min(len(new), len(old)) < least:
        return Judgement("wait", f"{len(new):,} rows, {len(old):,} of production; {least:,} of each are needed")
    reasons = [*_shift(new, old), *_slow(new, old, tried.mode), *_worse(case, new, old)]
    if reasons:
        return Judgement("abort", "; ".join(reasons))
    if datetime.now(UTC) - since < timedelta(minutes=case.rollout.minutes):
        return Judgement("wait", f"{len(new):,} rows speak for it, but {case.rollout.minutes:g} minutes are not over")
    return Judgement("finish", f"{len(new):,} rows since {tried.since[:16]}, and none of them speaks against it")


@dataclass(frozen=True)
class Rows:
    """A version's last rows: score, label and seconds."""

    subject: Subject
    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)


def _gather(joined: Iterable[pa.RecordBatch | pa.Table], subject: Subject) -> Rows:
    target = subject.reference.target
    kept: list[pa.Table] = []
    for observed in observe(joined, subject):
        kept.append(observed.table.select([SCORE, target, SECONDS]))
        while sum(len(table) for table in kept[1:]) >= MAX_ROWS:
            kept = kept[1:]
    return Rows(subject, pa.concat_tables(kept) if kept else pa.table({SCORE: pa.array([], pa.float64())}))


def _shift(new: Rows, old: Rows) -> Iterator[str]:
    """Say if the predictions are distributed otherwise; of many labels, each one's probability counts."""
    for column in zip(_columns(new.table[SCORE]), _columns(old.table[SCORE]), strict=True):
        binned: Numbers = in_bins(column[1])
        counts = [count_numbers(values, np.asarray(binned.edges)) for values in (column[1], column[0])]
        index, chance = psi(counts[0], counts[1]), psi_by_chance(counts[0], counts[1])
        if index - chance >= MAX_PSI:
            yield f"prediction shift against production: PSI {index:.2f}, {chance:.2f} by chance"
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
