"""Seeded rows of a use case's shape, with a signal to find: from its suite and the `demo` block of its YAML."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from updraft.suite import Column
from updraft.usecase import Scalar, UseCase

SHAPE = {"low", "mode", "high"}


def generate(case: UseCase, rows: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Make `rows` rows (the YAML's number by default) in the suite's columns and types; the same seed, the same rows.

    `demo.columns` gives a column's values their weights, or a number its triangle (low, mode, high). The log-odds of
    the positive label are `demo.base` plus, for each column in `demo.signal`, the weight of the row's value or
    `slope` times its distance from `from`.
    """
    count = rows or case.demo.rows
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({
        column.name: np.arange(1, count + 1) if column.name == case.id else _values(case, column, count, random)
        for column in case.columns
    })
    odds = np.full(count, case.demo.base)
    for name, weights in case.demo.signal.items():
        odds += _effect(frame[name], weights)
    positive = random.random(count) < 1 / (1 + np.exp(-odds))
    other = next(label.value for label in case.labels if label.value != case.positive)
    frame[case.target] = np.where(positive, np.array(case.positive), np.array(other))
    return frame.astype({column.name: column.type for column in case.columns})


def _values(case: UseCase, column: Column, count: int, random: np.random.Generator) -> Any:
    told = case.demo.columns.get(column.name, {})
    if told.keys() == SHAPE:
        drawn = random.triangular(told["low"], told["mode"], told["high"], count)
        return drawn.round(0 if column.type == "int64" else 2)
    if told:
        weights = np.array(list(told.values()))
        return np.array(list(told))[random.choice(len(told), count, p=weights / weights.sum())]
    if column.allowed is not None:
        return np.array(column.allowed)[random.integers(len(column.allowed), size=count)]
    return random.integers(int(column.minimum or 0), int(column.maximum or 100) + 1, count)


def _effect(values: pd.Series[Any], weights: dict[Scalar, float]) -> Any:
    if "slope" in weights:
        return weights["slope"] * (values - weights.get("from", 0.0)).to_numpy(dtype="float64")
    return values.map(weights).fillna(0.0).to_numpy(dtype="float64")
