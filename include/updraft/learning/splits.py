"""The split rules: training rows, test rows, and the folds of the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from updraft.errors import BadData
from updraft.usecase import UseCase
from updraft.usecase.blocks import GroupSplit, RandomSplit, TimeSplit

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLD = "__fold"
Sides = tuple[pd.DataFrame, pd.DataFrame]


def split_rows(case: UseCase, frame: pd.DataFrame) -> Sides:
    """Split rows into train and test by the use case's rule; train gets its folds in a column `__fold`, int8.

    By hash and by group the rows are sorted, so that the source's order does not matter. By time they keep that order.
    At random they stay as scikit-learn shuffles them, so that results published on its split can be reproduced.
    """
    if isinstance(case.split, RandomSplit):
        train, test, folds = _random(case, case.split, frame)
    elif isinstance(case.split, TimeSplit):
        train, test, folds = _by_time(case, case.split, frame)
    else:
        train, test, folds = _by_hash(case, frame)
    for name, side in (("train", train), ("test", test)):
        if side.empty:
            raise BadData(f"{case.name}: split by {case.split.by} leaves no row for {name}, of {len(frame)}")
    train = train.assign(**{FOLD: np.asarray(folds).astype("int8")})
    if empty := set(range(case.folds)) - set(train[FOLD].tolist()):
        message = f"{case.name}: {len(train)} training rows leave {len(empty)} of {case.folds} folds empty"
        raise BadData(f"{message}; use fewer folds or more rows")
    return train, test


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


def _by_hash(case: UseCase, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, Any]:
    """Assign rows by a seeded hash of the features, or of the group; equal hashes share a side and a fold."""
    by_features = feature_hash(case, frame)
    drawn = row_hash(frame[[case.split.column]], case.split_seed) if isinstance(case.split, GroupSplit) else by_features
    order = ["__row", case.target] + ([case.id] if case.id else [])
    rows = frame.assign(__row=by_features, __draw=drawn).sort_values(order, kind="stable", ignore_index=True)
    in_test = (rows["__draw"] // 2**11).astype("float64") / 2**53 < case.split.share
    folds = rows["__draw"][~in_test].mod(case.folds)
    rows = rows.drop(columns=["__row", "__draw"])
    return rows[~in_test], rows[in_test], folds


def _random(case: UseCase, split: RandomSplit, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, Any]:
    """Split by scikit-learn in the source's order, with the split's seed as `random_state`."""
    from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

    strata = frame[case.target] if split.stratify else None
    if split.stratify and case.task == "regression":
        raise BadData(f"{case.name}: split.stratify: a regression has no labels to keep in proportion")
    try:
        train, test = train_test_split(frame, test_size=split.share, random_state=case.split_seed, stratify=strata)
        rule = (StratifiedKFold if split.stratify else KFold)(case.folds, shuffle=True, random_state=case.split_seed)
        folds = np.zeros(len(train))
        for fold, (_, held) in enumerate(rule.split(train, train[case.target])):
            folds[held] = fold
    except ValueError as error:
        raise BadData(f"{case.name}: random split of {len(frame)} rows: {' '.join(str(error).split())}") from None
    return train, test, folds


def _by_time(case: UseCase, split: TimeSplit, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, Any]:
    """Take the latest rows for test; rows of one time stay together. Folds are consecutive periods."""
    times = frame[split.column]
    if nulls := int(times.isna().sum()):
        raise BadData(f"{case.name}: split by time: {split.column} is null in {nulls:,} of {len(frame):,} rows")
    if not (dated := pd.api.types.is_datetime64_dtype(times)) and not pd.api.types.is_numeric_dtype(times):
        raise BadData(f"{case.name}: split by time: {split.column} is {times.dtype}, expected a date or a number")
    if split.since is None:
        in_test = _latest(times, split.share)
    elif dated:
        in_test = times >= pd.Timestamp(split.since)
    else:
        raise BadData(f"{case.name}: split.since: {split.column} is {times.dtype}, expected a date")
    train = frame[~in_test]
    folds = (train[split.column].rank(method="average") - 1) * case.folds // max(len(train), 1)
    return train, frame[in_test], folds


def _latest(times: pd.Series[Any], share: float) -> pd.Series[bool]:
    """Mark the latest rows, as close to `share` of them as ties allow; neither all nor none if possible."""
    wanted = share * len(times)
    cut = times.sort_values().iloc[-max(round(wanted), 1)]
    options = [times >= cut, times > cut]
    return min(options, key=lambda marked: (marked.all() or not marked.any(), abs(marked.sum() - wanted)))


def _splitmix64(seed: int) -> int:
    return (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
