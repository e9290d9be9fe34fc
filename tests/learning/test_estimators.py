"""Every estimator on frames of every kind: mixed, with nulls, constant, wide, with text and dates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from updraft.learning.estimators import ESTIMATORS, build
from updraft.model.columns import Column
from updraft.model.model import predict_scores
from updraft.model.signature import Label
from updraft.usecase import UseCase
from updraft.usecase.blocks import NO_TEXT, Candidate, EstimatorName, Gate, Impute, Regressor

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
WORDS = pd.Series(np.where(SIGNAL > 0, "good fine great", "bad poor awful"), dtype="str").where(SIGNAL < 2)


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
        categorical=(),
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


def task_of(name: EstimatorName) -> list[str]:
    return ["regression"] if name in get_args(Regressor) else ["binary", "multiclass"]


EACH = [(name, task) for name in ESTIMATORS for task in task_of(name)]


def test_every_name_in_the_yaml_has_an_estimator() -> None:
    assert set(ESTIMATORS) == {name for kind in get_args(EstimatorName) for name in get_args(kind)}


@pytest.mark.parametrize(("name", "task"), EACH)
@pytest.mark.parametrize("impute", [None, Impute(by="knn")], ids=["", "knn"])
def test_every_estimator_learns_from_a_mixed_frame_and_answers_what_it_never_saw(
    name: EstimatorName, task: str, impute: Impute | None
) -> None:
    made = case(task, TYPES, impute=impute)
    y = target(task)
    fitted = build(made, name, {}).fit(FRAME, y)
    strange = FRAME.head(2).assign(colour="green", holes=np.nan, maybe=None, day=pd.NaT, number=1e9)
    strange = strange.astype({"colour": "str", "maybe": "str", "day": "datetime64[us]"})
    labels = [label.value for label in made.labels]
    for rows in (FRAME, strange):
        scores = predict_scores(made.task, fitted, rows, labels, made.positive)
        assert scores.shape == ((len(rows), 3) if task == "multiclass" else (len(rows),))
        assert np.isfinite(scores).all()
    better = fitted.score(FRAME, y)
    assert better > (0.5 if task == "regression" else 0.6)


@pytest.mark.parametrize(("name", "task"), [each for each in EACH if each[0] not in NO_TEXT])
def test_text_stands_beside_other_columns_and_stays_sparse(name: EstimatorName, task: str) -> None:
    frame = FRAME[["count", "colour"]].assign(words=WORDS)
    made = case(task, {"count": "int64", "colour": "str", "words": "str"}, text=("words",))
    fitted = build(made, name, {}).fit(frame, target(task))
    assert "text words" in dict(fitted["columns"].named_transformers_)
    if task != "regression":
        assert fitted.score(frame, target(task)) > (0.6 if task == "binary" else 0.36)  # AdaBoost stumps: three labels


@pytest.mark.parametrize("name", ["HistGradientBoostingRegressor", "LinearRegression", "RandomForestRegressor"])
def test_a_frame_of_150_columns_and_200_rows_gives_a_model(name: EstimatorName) -> None:
    wide = pd.DataFrame(RANDOM.normal(size=(200, 150)), columns=[f"c{n}" for n in range(150)])
    made = case("regression", dict.fromkeys(wide.columns, "float64"))
    assert np.isfinite(build(made, name, {}).fit(wide, wide["c0"]).predict(wide)).all()


def test_more_than_255_categories_share_codes() -> None:
    frame = pd.DataFrame({"code": pd.Series([f"v{n}" for n in RANDOM.integers(0, 400, ROWS)], dtype="str")})
    made = case("binary", {"code": "str"})
    assert build(made, "HistGradientBoostingClassifier", {}).fit(frame, target("binary")).n_features_in_ == 1


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(TypeError, match="depth"):
        build(case("binary", TYPES), "RandomForestClassifier", {"depth": 3})
