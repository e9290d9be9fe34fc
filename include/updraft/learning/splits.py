"""The split rules: training rows, test rows, and the folds of the training rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from updraft.errors import BadData
from updraft.model.columns import DATE
from updraft.usecase import UseCase
from updraft.usecase.blocks import GroupSplit, RandomSplit, TimeSplit

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLD = "__fold"  # of each training row, from 0; with a holdout 0 is validated on, and of the others it is NOT_HELD_OUT
NOT_HELD_OUT = -1
Sides = tuple[pd.DataFrame, pd.DataFrame]


def row_hash(frame: pd.DataFrame, seed: int) -> pd.Series[Any]:
    """Hash each row, uint64: pandas' own row hash, equal on all machines, mixed with the seed by splitmix64."""
    mixed: NDArray[Any] = pd.util.hash_pandas_object(frame, index=False).to_numpy().copy()
    mixed += _splitmix64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> shift)) * mixed.dtype.type(factor)
    return pd.Series(mixed ^ (mixed >> 31), index=frame.index)


def feature_hash(case: UseCase, frame: pd.DataFrame) -> pd.Series[Any]:
    """Hash each row by its features alone: rows that are equal to a model have equal hashes."""
    return row_hash(frame[case.feature_names], case.split_seed)


def by_hash(case: UseCase, frame: pd.DataFrame, holdout: float | None) -> Sides:
    """Assign rows by a seeded hash of the features, or of the group; equal hashes share a side and a fold.

    `frame` has the hash of the features in a column `__row`, and all rows of the dataset between its least and its
    greatest one. Rows are sorted by it.
    """
    drawn = frame["__row"]
    if isinstance(case.split, GroupSplit):
        drawn = row_hash(frame[[case.split.column]], case.split_seed)
    order = ["__row", case.target] + ([case.id] if case.id else [])
    rows = frame.assign(__draw=drawn).sort_values(order, kind="stable", ignore_index=True)
    drawn = (rows["__draw"] // 2**11).astype("float64") / 2**53
    share = case.split.share
    in_test = drawn < share
    folds: Any
    if holdout is None:
        folds = rows["__draw"][~in_test].mod(case.folds)
    else:
        folds = _held_out(drawn[~in_test] < share + (1 - share) * holdout)
    rows = rows.drop(columns=["__row", "__draw"])
    return _with_folds(rows[~in_test], folds), rows[in_test]


class RandomRule:
    """scikit-learn's split in the source's order, with the split's seed as `random_state`.

    `places` has the place of each row among the shuffled ones, training rows first.
    """

    def __init__(
        self, case: UseCase, split: RandomSplit, rows: int, strata: pd.Series[Any] | None, holdout: float | None
    ) -> None:
        from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

        if split.stratify and case.task == "regression":
            raise BadData(f"{case.name}: split.stratify: a regression has no labels to keep in proportion")
        seed, numbers = case.split_seed, np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
        labels = None if strata is None else strata.to_numpy()
        try:
            train, test = train_test_split(numbers, test_size=split.share, random_state=seed, stratify=labels)
            self.places = numbers  # the memory is used again
            self.places[train], self.places[test] = np.arange(len(train)), np.arange(len(train), rows)
            self._folds = np.full(len(train), NOT_HELD_OUT, np.int8)
            if holdout is not None:
                numbers = np.arange(len(train))
                labels = None if labels is None else labels[train]
                _, held = train_test_split(numbers, test_size=holdout, random_state=seed, stratify=labels)
                self._folds[held] = 0
                return
            rule = (StratifiedKFold if split.stratify else KFold)(case.folds, shuffle=True, random_state=seed)
            for fold, (_, held) in enumerate(rule.split(train, None if labels is None else labels[train])):
                self._folds[held] = fold
        except ValueError as error:
            raise BadData(f"{case.name}: random split of {rows} rows: {' '.join(str(error).split())}") from None

    def split(self, frame: pd.DataFrame) -> Sides:
        """Split rows that are sorted by their places, in a column `__place`."""
        places, rows = frame["__place"].to_numpy(), frame.drop(columns="__place")
        trained = int(np.searchsorted(places, len(self._folds)))
        return _with_folds(rows[:trained], self._folds[places[:trained]]), rows[trained:]


class TimeRule:
    """The latest rows are for test; rows of one time stay together.

    Folds are consecutive periods; with a holdout the latest of the training rows are validated on.
    """

    def __init__(
        self, case: UseCase, split: TimeSplit, rows: int, times: Iterable[pd.Series[Any]], holdout: float | None
    ) -> None:
        self._case, self._split = case, split
        type_ = case.column(split.column).type
        values = np.empty(rows, type_ if type_ != "str" else object)
        start = nulls = 0
        for part in times:
            values[start : start + len(part)] = part.to_numpy()
            start, nulls = start + len(part), nulls + int(part.isna().sum())
        if nulls:
            raise BadData(f"{case.name}: split by time: {split.column} is null in {nulls:,} of {rows:,} rows")
        if type_ == "str":
            raise BadData(f"{case.name}: split by time: {split.column} is str, expected a date or a number")
        if split.since is not None and type_ != DATE:
            raise BadData(f"{case.name}: split.since: {split.column} is {type_}, expected a date")
        values.sort()
        first = (
            _first_latest(values, split.share)
            if split.since is None
            else values.searchsorted(np.datetime64(split.since))
        )
        self._train, self._latest = values[:first], values[first : first + 1]
        self._held_out_from = _first_latest(self._train, holdout) if holdout is not None and first else None

    def split(self, frame: pd.DataFrame) -> Sides:
        """Split any of the rows."""
        times = frame[self._split.column].to_numpy()
        in_test = times >= self._latest[0] if len(self._latest) else np.zeros(len(times), np.bool_)
        if self._held_out_from is not None:
            held_out = self._train.searchsorted(times[~in_test]) >= self._held_out_from
            return _with_folds(frame[~in_test], _held_out(held_out)), frame[in_test]
        before, until = (self._train.searchsorted(times[~in_test], side) for side in ("left", "right"))
        rank = (before + until - 1) / 2  # the mean of those of equal times; the earliest has rank 0
        return _with_folds(frame[~in_test], rank * self._case.folds // max(len(self._train), 1)), frame[in_test]


def _first_latest(times: NDArray[Any], share: float) -> int:
    """Return the place in sorted times of the first of the latest: as close to `share` of them as ties allow.

    Neither all nor none if possible.
    """
    wanted = share * len(times)
    cut = times[-max(round(wanted), 1)]
    options = [int(times.searchsorted(cut, side)) for side in ("left", "right")]
    return min(options, key=lambda first: (first in (0, len(times)), abs(len(times) - first - wanted)))


def _held_out(rows: Any) -> NDArray[np.int8]:
    return np.where(rows, 0, NOT_HELD_OUT).astype(np.int8)


def _with_folds(train: pd.DataFrame, folds: Any) -> pd.DataFrame:
    return train.assign(**{FOLD: np.asarray(folds).astype("int8")})


def _splitmix64(seed: int) -> int:
    return (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
