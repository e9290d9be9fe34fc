"""Split a dataset's rows part by part, in the order in which they are written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from updraft.errors import BadData
from updraft.learning.splits import FOLD, NOT_HELD_OUT, RandomRule, TimeRule, by_hash, feature_hash
from updraft.stages.row_buckets import Buckets, buckets_for
from updraft.stages.stage_folder import in_suite_types
from updraft.stages.usable_rows import UsableRows, bucket_of
from updraft.usecase.blocks import RandomSplit, TimeSplit

Sides = tuple[pd.DataFrame, pd.DataFrame]


def split_rows(rows: UsableRows, scratch: Path) -> Iterator[Sides]:
    """Yield parts of train and test by the use case's rule; train has its folds, or its holdout, in `__fold`, int8.

    By hash and by group the rows are sorted, so that the source's order does not matter. By time they keep that order.
    At random they are as scikit-learn shuffles them, so that results published on its split can be reproduced.
    Temporary files are in the folder `scratch`. Raises BadData when no row has a target, and where a side or a fold
    has no row.
    """
    counts, folds = [0, 0], set[int]()
    for train, test in _parts(rows, scratch):
        counts = [counts[0] + len(train), counts[1] + len(test)]
        folds |= set(train[FOLD].unique().tolist())
        yield train, test
    case = rows.case
    for name, count in zip(("train", "test"), counts, strict=True):
        if not count:
            raise BadData(f"{case.name}: split by {case.split.by} leaves no row for {name}, of {len(rows)}")
    if case.holdout(rows.total) is not None:
        _require_both(rows, folds, counts[0])
    elif empty := set(range(case.folds)) - folds:
        message = f"{case.name}: {counts[0]} training rows leave {len(empty)} of {case.folds} folds empty"
        raise BadData(f"{message}; use fewer folds or more rows")


def _parts(rows: UsableRows, scratch: Path) -> Iterator[Sides]:
    split = rows.case.split
    if isinstance(split, RandomSplit):
        return _at_random(rows, split, scratch)
    return _by_time(rows, split, scratch) if isinstance(split, TimeSplit) else _by_hash(rows, scratch)


def _by_hash(rows: UsableRows, scratch: Path) -> Iterator[Sides]:
    """Sort rows by the hash of their features, bucket by bucket: equal rows meet in one."""
    case = rows.case
    count = buckets_for(rows.total, len(rows.names))
    buckets = Buckets(scratch, count)
    for frame in rows.frames():
        hashes = feature_hash(case, frame).to_numpy()
        buckets.add(_with(frame, "__row", hashes), bucket_of(hashes, count))
    _require_rows(rows)
    for table in buckets.tables():
        frame = in_suite_types(case, table.to_pandas())
        yield by_hash(case, rows.without_duplicates(frame), case.holdout(rows.total))


def _at_random(rows: UsableRows, split: RandomSplit, scratch: Path) -> Iterator[Sides]:
    """Put each row in its place of the shuffled ones."""
    rows.examine(scratch)
    _require_rows(rows)
    case = rows.case
    targets = [frame[case.target] for frame in rows.frames([case.target])] if split.stratify else []
    rule = RandomRule(case, split, len(rows), pd.concat(targets) if targets else None, case.holdout(rows.total))
    count = buckets_for(len(rows), len(rows.names))
    size = -(-len(rows) // count)
    buckets, start = Buckets(scratch, count), 0
    for frame in rows.frames():
        places = rule.places[start : start + len(frame)]
        start += len(frame)
        buckets.add(_with(frame, "__place", places), places // size)
    for table in buckets.tables():
        frame = in_suite_types(case, table.to_pandas()).sort_values("__place", ignore_index=True)
        yield rule.split(frame)


def _by_time(rows: UsableRows, split: TimeSplit, scratch: Path) -> Iterator[Sides]:
    """Leave rows where they are: first all times are looked at, then the rows."""
    rows.examine(scratch)
    _require_rows(rows)
    times = (frame[split.column] for frame in rows.frames([split.column]))
    rule = TimeRule(rows.case, split, len(rows), times, rows.case.holdout(rows.total))
    yield from map(rule.split, rows.frames())


def _require_both(rows: UsableRows, folds: set[int], count: int) -> None:
    """Raise BadData where a holdout has none of the training rows, or all of them."""
    if folds != {NOT_HELD_OUT, 0}:
        part = "none" if folds == {NOT_HELD_OUT} else "all"
        message = (
            f"{rows.case.name}: validation.holdout: by {rows.case.split.by} it has {part} of {count} training rows"
        )
        raise BadData(f"{message}; take another share, or more rows")


def _with(frame: pd.DataFrame, name: str, values: np.ndarray) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False).append_column(name, pa.array(values))


def _require_rows(rows: UsableRows) -> None:
    if not len(rows):
        raise BadData(f"{rows.case.name}: none of {rows.total:,} rows has a {rows.case.target}")
