"""Every estimator on every kind of column, compiled: it answers as its pipeline does, on thousands of odd rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.support.compiled_models import compiled, fitted, kinds_of, tasks_of
from tests.support.mixed_frames import FRAME, RANDOM, ROWS, SIGNAL, TYPES, case, target
from updraft.learning.compile import pipeline
from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.parity import certify, rows_of
from updraft.learning.compile.pipeline import COMPILERS, compile_model
from updraft.learning.estimators import ESTIMATORS, build
from updraft.model.compiled.compiled_model import CompiledModel
from updraft.model.compiled.layout import TREES
from updraft.model.model import Model
from updraft.usecase.blocks import EstimatorName, Impute

TESTED = ("numbers", "categories", "dates", "all", "several texts", "texts and all")  # `tests.parity_table` has more
EACH = [(name, task) for name in ESTIMATORS for task in tasks_of(name)]
KINDS_OF_EACH = [(*each, kind) for each in EACH for kind in kinds_of(each[0]) if kind in TESTED]


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize(("name", "task", "kind"), KINDS_OF_EACH)
def test_a_compiled_model_answers_as_its_pipeline_does(name: EstimatorName, task: str, kind: str) -> None:
    model, files = compiled(name, task, kind)
    rows = 600 if "text" in kind else 3000
    parity = certify(model, CompiledModel(model.signature, files), files, FRAME, seed=1, rows=rows)
    assert parity.exact == (TREES in files) and parity.rows == rows and parity.held_out == ROWS
    assert parity.largest_difference <= (0 if parity.exact else 1e-12)


@pytest.mark.parametrize(("name", "task"), EACH)
def test_a_model_of_another_fit_does_not_pass_for_it(name: EstimatorName, task: str) -> None:
    model, files = compiled(name, task)
    shuffled = fitted(case(task, TYPES), name, FRAME.sample(frac=1, random_state=3, ignore_index=True))
    with pytest.raises(NotCompiled, match=r"of [\d,]+ rows [\d,]+ have another score"):
        certify(shuffled, CompiledModel(model.signature, files), files, FRAME, seed=1, rows=1000)


def test_what_is_not_compiled_says_why() -> None:
    with pytest.raises(NotCompiled, match="compares each row with those of the training"):
        compile_model(fitted(case("binary", TYPES, impute=Impute(by="knn")), "DecisionTreeClassifier"))
    model, _ = compiled("DecisionTreeClassifier", "binary")
    with pytest.raises(NotCompiled, match="not one that Updraft builds"):
        compile_model(Model(model.signature, model.pipeline["model"]))
    assert len(COMPILERS) == len(ESTIMATORS)


def test_more_weights_than_a_service_should_hold_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[EstimatorName] = ["LogisticRegression", "RandomForestClassifier"]
    models = [compiled(name, "multiclass", "texts and all")[0] for name in names]
    monkeypatch.setattr(pipeline, "MAX_WEIGHTS", 100)
    for model in models:
        with pytest.raises(NotCompiled, match=r"columns for each of 3 scores are more than are compiled"):
            compile_model(model)


@pytest.mark.parametrize("name", ["GradientBoostingClassifier", "HistGradientBoostingClassifier", "LogisticRegression"])
def test_a_training_without_rows_of_a_label_is_not_compiled_where_two_remain(name: EstimatorName) -> None:
    frame = FRAME[target("multiclass") != 1].reset_index(drop=True)
    made = case("multiclass", {"number": "float64"})
    model = fitted(made, name)
    labels = target("multiclass")[target("multiclass") != 1]
    two = Model(model.signature, build(made, name, {}).fit(frame[made.feature_names], labels))
    with pytest.raises(NotCompiled, match="its training had only 2 of the 3 labels"):
        compile_model(two)


def test_the_positive_label_may_come_first() -> None:
    for name in ("HistGradientBoostingClassifier", "LogisticRegression", "AdaBoostClassifier", "MultinomialNB"):
        made = case("binary", TYPES)
        labels = [label.value for label in made.labels]
        other = next(value for value in labels if value != made.positive)
        model = fitted(made.model_copy(update={"positive": other}), name)
        files = compile_model(model)
        assert certify(model, CompiledModel(model.signature, files), files, FRAME, seed=2, rows=1000).rows == 1000


def test_more_than_255_categories_share_codes_in_both_forms() -> None:
    codes = pd.Series([f"v{n}" for n in RANDOM.integers(0, 400, ROWS)], dtype="str")
    frame = pd.DataFrame({"code": codes.where(SIGNAL < 1.5), "number": SIGNAL})
    made = case("binary", {"code": "str", "number": "float64"})
    model = fitted(made, "HistGradientBoostingClassifier", frame, min_samples_leaf=2)
    files = compile_model(model)
    assert certify(model, CompiledModel(model.signature, files), files, frame, seed=1, rows=3000).exact


@pytest.mark.parametrize("name", ["RandomForestClassifier", "LogisticRegression", "HistGradientBoostingClassifier"])
def test_numbers_and_booleans_may_be_categories(name: EstimatorName) -> None:
    made = case(
        "binary", {"count": "int64", "flag": "bool", "holes": "float64"}, categorical=("count", "flag", "holes")
    )
    frame = FRAME[["count", "flag"]].assign(holes=FRAME["holes"].round(0))
    model = fitted(made, name, frame)
    files = compile_model(model)
    assert certify(model, CompiledModel(model.signature, files), files, frame, seed=1, rows=3000).rows == 3000


@pytest.mark.usefixtures("takes_long")
def test_one_row_at_a_time_and_many_from_several_threads_give_the_same_scores() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model, files = compiled("RandomForestClassifier", "multiclass")
    served = CompiledModel(model.signature, files)
    rows = rows_of(model.signature, FRAME)
    ones = [rows_of(model.signature, FRAME.iloc[[n]]) for n in range(60)]
    expected = model.scores_of(rows)

    def work(number: int) -> bool:
        if number % 5 == 0:
            return bool((served.scores_of(rows) == expected).all())
        n = number % 60
        return bool((served.scores_of(ones[n])[0] == expected[n]).all())

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(3000)))


def test_an_empty_batch_has_no_scores() -> None:
    for name in ("RandomForestClassifier", "LogisticRegression"):
        model, files = compiled(name, "binary")
        served = CompiledModel(model.signature, files)
        assert served.scores_of(rows_of(model.signature, FRAME.head(0))).shape == (0,)
        assert np.isfinite(served.scores_of(rows_of(model.signature, FRAME.head(1)))).all()
