"""A frame with a column of each kind, and use cases over its columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from updraft.model.columns import Column
from updraft.model.signature import Label
from updraft.usecase import UseCase
from updraft.usecase.blocks import Candidate, Gate

ROWS = 240
RANDOM = np.random.default_rng(3)
SIGNAL = RANDOM.normal(size=ROWS)
FRAME = pd.DataFrame({
    "number": SIGNAL + RANDOM.normal(scale=0.5, size=ROWS),
    "holes": np.where(RANDOM.random(ROWS) < 0.3, np.nan, SIGNAL),
    "count": RANDOM.integers(0, 9, ROWS),
    "flag": RANDOM.random(ROWS) < 0.5,
    "colour": np.where(SIGNAL > 0, "red", "blue"),
    "maybe": np.where(RANDOM.random(ROWS) < 0.2, None, np.where(SIGNAL > 1, "x", "y")),
    "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(RANDOM.integers(0, 900, ROWS), unit="D"),
    "empty": np.full(ROWS, np.nan),
    "same": np.ones(ROWS),
}).astype({"colour": "str", "maybe": "str", "day": "datetime64[us]"})
TYPES = {"number": "float64", "holes": "float64", "count": "int64", "flag": "bool", "colour": "str", "maybe": "str"}
TYPES |= {"day": "datetime64[us]", "empty": "float64", "same": "float64"}

WORDS = ["free", "prize", "Straße", "İstanbul", "naïve", "I", "is", "the", "日本", "don't", "x1", "e\u0301te"]
TEXTS = {"note": "str", "memo": "str"}


def _texts(longest: int) -> list[str | None]:
    """Return texts that say whether the signal is above 0, one in ten of them missing."""
    return [
        None if RANDOM.random() < 0.1 else " ".join([*RANDOM.choice(WORDS, RANDOM.integers(longest)), sign])
        for sign in np.where(SIGNAL > 0, "Rich", "poor")
    ]


FRAME = FRAME.assign(**{name: pd.Series(_texts(longest), dtype="str") for name, longest in [("note", 12), ("memo", 4)]})


def case(task: str, types: dict[str, str], **more: Any) -> UseCase:
    columns = [Column(name=name, type=kind) for name, kind in {**types, "y": "int64"}.items()]  # type: ignore[arg-type]
    labels = {"binary": ("no", "yes"), "multiclass": ("low", "mid", "high"), "regression": ()}[task]
    return UseCase.model_construct(
        name="made",
        suite=Path("made.json"),
        columns=tuple(columns),
        task=task,
        target="y",
        id=None,
        text=more.pop("text", ()),
        categorical=more.pop("categorical", ()),
        ignored=(),
        labels=tuple(Label(value=value, name=name) for value, name in enumerate(labels)),
        positive=1 if task == "binary" else None,
        seed=1,
        impute=more.pop("impute", None),
        tfidf=UseCase.model_fields["tfidf"].default,
        candidates={"one": Candidate(estimator="LinearRegression")},
        gate=Gate(metric="r2"),
    )


def target(task: str) -> pd.Series[Any]:
    if task == "regression":
        return pd.Series(3 * SIGNAL + 10)
    cuts = [0.0] if task == "binary" else [-0.5, 0.5]
    return pd.Series(np.digitize(SIGNAL, cuts))
