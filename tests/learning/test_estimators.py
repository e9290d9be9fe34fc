"""Every estimator on frames of every kind: mixed, with nulls, constant, wide, with text and dates."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from tests.support.mixed_frames import FRAME, RANDOM, ROWS, SIGNAL, TYPES, case, target
from updraft.learning.estimators import ESTIMATORS, build
from updraft.model.model import predict_scores
from updraft.usecase.blocks import NO_TEXT, EstimatorName, Impute, Regressor

WORDS = pd.Series(np.where(SIGNAL > 0, "good fine great", "bad poor awful"), dtype="str").where(SIGNAL < 2)


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
