"""Synthetic rows of a use case, seeded and with a signal to learn, from its suite and its YAML's `demo` block."""

from __future__ import annotations

import csv
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from updraft.demo.columns import DAY, Bounds, Values, bounds_of, draw, draw_simple
from updraft.model.columns import Column
from updraft.usecase import UseCase
from updraft.usecase.blocks import NONE, Scalar
from updraft.usecase.demo_block import Given, Words
from updraft.usecase.schema import sides

SIGNALS = 5  # features that the score depends on where the YAML names none
SPEAKING = 0.3  # share of a text's words that are typical of a label
FILLER = ["a", "and", "are", "as", "at", "but", "for", "in", "is", "it", "of", "so", "that", "the", "this", "to", "we"]
NOUNS = [
    *("apple", "river", "stone", "cloud", "paper", "garden", "window", "silver", "bridge", "candle", "forest"),
    *("market", "engine", "letter", "mirror", "ocean", "pillow", "rocket", "saddle", "temple", "anchor", "basket"),
]


def generate(case: UseCase, rows: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Generate `rows` rows (the YAML's number by default) that pass the suite; deterministic by seed.

    `demo_block.Demo` documents the YAML's options. Without a `signal`, the target depends on the first few features.
    """
    count = rows or case.demo.rows
    columns = {column.name: column for column in case.columns}
    bounds = {name: bounds_of(case, column) for name, column in columns.items()}
    frame = pd.DataFrame({
        name: draw(case, column, bounds[name], count, _random(seed, name)) for name, column in columns.items()
    })
    for name, shape in case.demo.columns.items():
        if isinstance(shape, Given):
            frame[name] = _given(columns[name], shape, frame[name], frame[shape.given], _random(seed, name))
    frame[case.target] = _by_score(case, frame, _random(seed, "score"))
    for name in columns:
        if words := _words(case, name):
            frame[name] = _texts(case, words, bounds[name], frame[case.target], _random(seed, name))
    for name, share in case.demo.nulls.items():
        frame[name] = frame[name].astype(object).mask(_random(seed, f"{name}: null").random(count) < share, None)
    may_repeat = [name for name, bound in bounds.items() if not bound.unique]
    frame[may_repeat] = _with_repeats(frame[may_repeat], case.demo.duplicates, _random(seed, "duplicates"))
    return frame.astype({column.name: column.type for column in case.columns})


def write(case: UseCase, frame: pd.DataFrame, path: Path) -> Path:
    """Write rows as a CSV that `case.read` reads: with its names, date patterns, delimiter, quotes and encoding."""
    dates = {name: frame[name].dt.strftime(pattern) for name, pattern in case.read.dates.items()}
    original = {ours: theirs for theirs, ours in case.read.rename.items()}
    frame = frame.assign(**dates).rename(columns=original)
    if case.read.header == NONE:
        last = max(int(str(name).rpartition("_")[2]) for name in frame)
        frame = frame.reindex(columns=[f"column_{number}" for number in range(1, last + 1)])
    plain = case.read.quote == NONE
    frame.to_csv(
        path,
        index=False,
        header=case.read.header != NONE,
        sep=case.read.delimiter,
        encoding=case.read.encoding,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        quotechar='"' if plain else case.read.quote,
        escapechar=case.read.escape or ("\\" if plain else None),
        doublequote=case.read.escape is None,
    )
    return path


def _random(seed: int, name: str) -> np.random.Generator:
    """Return a random stream of a column's own, so that another column in the suite changes no other values."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _given(
    column: Column, shape: Given, unconditional: pd.Series[Any], given: pd.Series[Any], random: np.random.Generator
) -> Values:
    """Redraw values where the YAML has a distribution for the other column's value; keep the rest."""
    values: Values = unconditional.to_numpy(dtype=object)
    for value, simple in shape.values.items():
        rows = (given == value).to_numpy()
        values[rows] = draw_simple(column, simple, int(rows.sum()), random)
    return values


def _by_score(case: UseCase, frame: pd.DataFrame, random: np.random.Generator) -> Values:
    """Assign the target's values by score: the highest scores get the largest numbers or the last label."""
    values = frame[case.target].to_numpy(dtype=object)
    labels = [label.value for label in case.labels]
    if case.positive is not None:
        labels = [value for value in labels if value != case.positive] + [case.positive]
    height = np.array([labels.index(value) for value in values]) if labels else values.astype("float64")
    noise = max(case.demo.noise, 1e-9) * random.standard_normal(len(frame))  # never 0: it breaks ties
    rank = (_standard(_score(case, frame)) + noise).argsort().argsort()
    assigned: Values = values[height.argsort(kind="stable")][rank]
    return assigned


def _score(case: UseCase, frame: pd.DataFrame) -> Values:
    """Sum the YAML's signal, or one of decreasing weights over the first features."""
    if case.demo.signal:
        parts = [_effect(frame[name], effect) for name, effect in case.demo.signal.items()]
    else:
        columns = [column for column in case.feature_columns if not _words(case, column.name)][:SIGNALS]
        parts = [_standard(_height(case, column, frame)) * (-0.7) ** rank for rank, column in enumerate(columns)]
    score: Values = np.sum([np.zeros(len(frame)), *parts], axis=0)
    return score


def _height(case: UseCase, column: Column, frame: pd.DataFrame) -> Values:
    """Return a column's values as numbers; categories by the order of their names."""
    if column.name in case.categorical or column.type in ("str", "bool"):
        return pd.factorize(frame[column.name], sort=True)[0]
    return _numbers(frame[column.name])


def _effect(values: pd.Series[Any], effect: float | dict[Scalar, float]) -> Values:
    if isinstance(effect, dict):
        return values.map(effect).fillna(0.0).to_numpy(dtype="float64")
    return effect * _numbers(values)


def _numbers(values: pd.Series[Any]) -> Values:
    """Return numbers as they are, dates as days."""
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]").astype("int64").to_numpy() / DAY
    return values.to_numpy(dtype="float64")


def _standard(values: Values) -> Values:
    spread = values.std()
    return (values - values.mean()) / spread if spread else np.zeros(len(values))


def _words(case: UseCase, name: str) -> Words | None:
    """Return the vocabulary of a text column; None for any other column."""
    shape = case.demo.columns.get(name)
    if isinstance(shape, Words):
        return shape
    if name not in case.text or shape is not None:
        return None
    names = sides(case)
    return Words(speak={side: NOUNS[i :: len(names)] or [side] for i, side in enumerate(names)}, filler=FILLER)


def _texts(
    case: UseCase, words: Words, bound: Bounds, target: pd.Series[Any], random: np.random.Generator
) -> list[str]:
    """Generate texts in which some words are typical of the row's label, or of a random one in half of `noise`."""
    values = [label.value for label in case.labels]
    own = target.map(values.index).to_numpy() if values else (target > target.median()).to_numpy(dtype="int64")
    lengths = random.integers(words.length[0], words.length[1] + 1, size=len(target))
    total, names = int(lengths.sum()), sides(case)
    stray = random.random(total) < case.demo.noise / 2
    side = np.where(stray, random.integers(len(names), size=total), own.repeat(lengths))
    speaks = random.random(total) < SPEAKING
    chosen = _pick(words.filler, total, random)
    for index, name in enumerate(names):
        here = speaks & (side == index)
        chosen[here] = _pick(words.speak.get(name, words.filler), int(here.sum()), random)
    parts = [" ".join(part) for part in np.split(chosen, lengths.cumsum()[:-1])]
    return [bound.fit(f"{number} {part}" if bound.unique else part) for number, part in enumerate(parts)]


def _pick(words: list[str], count: int, random: np.random.Generator) -> Values:
    return np.array(words, dtype=object)[random.integers(len(words), size=count)]


def _with_repeats(frame: pd.DataFrame, share: float, random: np.random.Generator) -> pd.DataFrame:
    """Replace a share of the rows with copies of others."""
    copies = random.random(len(frame)) < share
    copies[:1] = False
    rows = np.arange(len(frame))
    rows[copies] = random.choice(rows[~copies], size=int(copies.sum()))
    return frame.iloc[rows].set_axis(frame.index)
