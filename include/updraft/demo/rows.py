"""Seeded rows of a use case's shape, with a signal to find: from its suite and the `demo` block of its YAML."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from updraft.demo.columns import DAY, Bounds, Values, bounds_of, draw, draw_simple
from updraft.model.columns import Column
from updraft.usecase import UseCase
from updraft.usecase.blocks import Scalar
from updraft.usecase.demo_block import Given, Words
from updraft.usecase.schema import sides

SIGNALS = 5  # features that make the score where the YAML names none
SPEAKING = 0.3  # share of a text's words that speak for a label
FILLER = ["a", "and", "are", "as", "at", "but", "for", "in", "is", "it", "of", "so", "that", "the", "this", "to", "we"]
NOUNS = [
    *("apple", "river", "stone", "cloud", "paper", "garden", "window", "silver", "bridge", "candle", "forest"),
    *("market", "engine", "letter", "mirror", "ocean", "pillow", "rocket", "saddle", "temple", "anchor", "basket"),
]


def generate(case: UseCase, rows: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Make `rows` rows (the YAML's number by default) that pass the suite; the same seed, the same rows.

    `demo_block.Demo` says what the YAML may ask for. Where it names no signal, the first few features make one.
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
    """Write rows as a CSV file of the kind that `case.read` reads: its names, patterns, delimiter and encoding."""
    dates = {name: frame[name].dt.strftime(pattern) for name, pattern in case.read.dates.items()}
    theirs = {ours: name for name, ours in case.read.rename.items()}
    written = frame.assign(**dates).rename(columns=theirs)
    written.to_csv(path, index=False, sep=case.read.delimiter, encoding=case.read.encoding)
    return path


def _random(seed: int, name: str) -> np.random.Generator:
    """Give each column a stream of its own, so that one more column leaves the others as they were."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _given(
    column: Column, shape: Given, plain: pd.Series[Any], given: pd.Series[Any], random: np.random.Generator
) -> Values:
    """Draw anew where the YAML says how for the other column's value; elsewhere values stay as they are."""
    values: Values = plain.to_numpy(dtype=object)
    for value, simple in shape.values.items():
        rows = (given == value).to_numpy()
        values[rows] = draw_simple(column, simple, int(rows.sum()), random)
    return values


def _by_score(case: UseCase, frame: pd.DataFrame, random: np.random.Generator) -> Values:
    """Hand the target's values out by score: who scores highest gets the highest number or the last label."""
    values = frame[case.target].to_numpy(dtype=object)
    labels = [label.value for label in case.labels]
    if case.positive is not None:
        labels = [value for value in labels if value != case.positive] + [case.positive]
    height = np.array([labels.index(value) for value in values]) if labels else values.astype("float64")
    chance = max(case.demo.noise, 1e-9) * random.standard_normal(len(frame))  # never nothing: it also breaks ties
    place = (_standard(_score(case, frame)) + chance).argsort().argsort()
    handed: Values = values[height.argsort(kind="stable")][place]
    return handed


def _score(case: UseCase, frame: pd.DataFrame) -> Values:
    """Add up the YAML's signal, or else one of falling weights over the first features."""
    if case.demo.signal:
        parts = [_effect(frame[name], effect) for name, effect in case.demo.signal.items()]
    else:
        told = [column for column in case.features if not _words(case, column.name)][:SIGNALS]
        parts = [_standard(_height(case, column, frame)) * (-0.7) ** place for place, column in enumerate(told)]
    score: Values = np.sum([np.zeros(len(frame)), *parts], axis=0)
    return score


def _height(case: UseCase, column: Column, frame: pd.DataFrame) -> Values:
    """Put a column's values on a scale, categories by name."""
    if column.name in case.categorical or column.type in ("str", "bool"):
        return pd.factorize(frame[column.name], sort=True)[0]
    return _numbers(frame[column.name])


def _effect(values: pd.Series[Any], effect: float | dict[Scalar, float]) -> Values:
    if isinstance(effect, dict):
        return values.map(effect).fillna(0.0).to_numpy(dtype="float64")
    return effect * _numbers(values)


def _numbers(values: pd.Series[Any]) -> Values:
    """Read numbers, and dates as days."""
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]").astype("int64").to_numpy() / DAY
    return values.to_numpy(dtype="float64")


def _standard(values: Values) -> Values:
    spread = values.std()
    return (values - values.mean()) / spread if spread else np.zeros(len(values))


def _words(case: UseCase, name: str) -> Words | None:
    """Return what a text column is written with; None for any other column."""
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
    """Write texts in which some words speak for the row's label, and half of `noise` of those for any label."""
    values = [label.value for label in case.labels]
    own = target.map(values.index).to_numpy() if values else (target > target.median()).to_numpy(dtype="int64")
    lengths = random.integers(words.length[0], words.length[1] + 1, size=len(target))
    total, names = int(lengths.sum()), sides(case)
    stray = random.random(total) < case.demo.noise / 2
    side = np.where(stray, random.integers(len(names), size=total), own.repeat(lengths))
    speaks = random.random(total) < SPEAKING
    said = _picked(words.filler, total, random)
    for place, name in enumerate(names):
        here = speaks & (side == place)
        said[here] = _picked(words.speak.get(name, words.filler), int(here.sum()), random)
    parts = [" ".join(part) for part in np.split(said, lengths.cumsum()[:-1])]
    return [bound.fit(f"{number} {part}" if bound.unique else part) for number, part in enumerate(parts)]


def _picked(words: list[str], count: int, random: np.random.Generator) -> Values:
    return np.array(words, dtype=object)[random.integers(len(words), size=count)]


def _with_repeats(frame: pd.DataFrame, share: float, random: np.random.Generator) -> pd.DataFrame:
    """Replace a share of the rows by copies of others."""
    copies = random.random(len(frame)) < share
    copies[:1] = False
    rows = np.arange(len(frame))
    rows[copies] = random.choice(rows[~copies], size=int(copies.sum()))
    return frame.iloc[rows].set_axis(frame.index)
