"""What a stored model predicts, for each task, and how rows are validated against its signature."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.support import small_models
from tests.support.mixed_frames import FRAME, TYPES, case, target
from updraft.defaults import ROOT
from updraft.learning.estimators import build
from updraft.model import features
from updraft.model.model import Model, OutdatedModel
from updraft.model.signature import BadRow, Signature
from updraft.model.version_files import MODEL

ESTIMATOR = {
    "binary": "RandomForestClassifier",
    "multiclass": "HistGradientBoostingClassifier",
    "regression": "HistGradientBoostingRegressor",
}


def stored(task: str, folder: Path) -> Model:
    """Fit, save and load a model of a task."""
    made = case(task, TYPES)
    pipeline = build(made, ESTIMATOR[task], {}).fit(FRAME, target(task))  # type: ignore[arg-type]
    signature = Signature(
        use_case="made",
        title="made",
        task=made.task,
        candidate="one",
        columns=tuple(made.feature_columns),
        id=None,
        target="y",
        labels=made.labels,
        positive=made.positive,
        threshold=0.4 if task == "binary" else None,
        split={"seed": 1},
        versions={},
        example={},
    )
    Model(signature, pipeline).save(folder)
    return Model.load(folder)


def raw(rows: int) -> list[dict[str, Any]]:
    """Return rows as JSON: dates as text, missing values as null."""
    records: list[dict[str, Any]] = json.loads(FRAME[[*TYPES]].head(rows).to_json(orient="records", date_format="iso"))
    return records


def test_a_binary_model_decides_by_its_threshold(tmp_path: Path) -> None:
    model = stored("binary", tmp_path)
    prediction = model.predict(model.signature.frame(raw(50)))
    assert prediction.predictions == [int(probability >= 0.4) for probability in prediction.probabilities or ()]
    assert prediction.names == [{0: "no", 1: "yes"}[label] for label in prediction.predictions]


def test_a_multiclass_model_predicts_the_likeliest_label_and_a_probability_for_each(tmp_path: Path) -> None:
    model = stored("multiclass", tmp_path)
    prediction = model.predict(model.signature.frame(raw(50)))
    assert prediction.names is not None and prediction.probabilities is not None
    for label, name, probabilities in zip(
        prediction.predictions, prediction.names, prediction.probabilities, strict=True
    ):
        assert isinstance(probabilities, dict) and set(probabilities) == {"low", "mid", "high"}
        assert name == max(probabilities, key=lambda each: probabilities[each]) == ("low", "mid", "high")[label]
        assert sum(probabilities.values()) == pytest.approx(1)


def test_a_regression_predicts_numbers_alone(tmp_path: Path) -> None:
    model = stored("regression", tmp_path)
    prediction = model.predict(model.signature.frame(raw(50)))
    assert (prediction.names, prediction.probabilities) == (None, None)
    np.testing.assert_array_equal(prediction.predictions, model.pipeline.predict(FRAME.head(50)))


@pytest.mark.parametrize("task", list(ESTIMATOR))
def test_rows_from_json_score_as_rows_from_parquet(task: str, tmp_path: Path) -> None:
    model = stored(task, tmp_path)
    FRAME.to_parquet(tmp_path / "rows.parquet")
    np.testing.assert_array_equal(
        model.scores(model.signature.frame(raw(len(FRAME)))), model.scores(pd.read_parquet(tmp_path / "rows.parquet"))
    )


def test_every_fault_of_a_row_is_reported_and_the_report_stays_small(tmp_path: Path) -> None:
    signature = stored("binary", tmp_path).signature
    row = raw(1)[0] | {"count": "many", "y": 1, "z" * 5000: 1, **{f"x{n}": 1 for n in range(5000)}}
    with pytest.raises(BadRow) as refusal:
        signature.frame([row])
    details = {fault["pointer"]: fault["detail"] for fault in refusal.value.errors}
    assert details["/rows/0/count"] == "'many' (str) is not a whole number"
    assert "/rows/0/y" not in details  # the target is left out
    assert len(refusal.value.errors) == 100 and len(json.dumps(refusal.value.errors)) < 40_000


def test_the_bytes_do_not_depend_on_which_equal_strings_are_one_object(tmp_path: Path) -> None:
    text, saved = "the same text", []
    for other in (text, "".join(list(text))):
        step = FunctionTransformer(kw_args={"first": text, "second": other})
        Model(small_models.model().signature, Pipeline([("step", step)])).save(tmp_path)
        saved.append((tmp_path / MODEL).read_bytes())
    assert saved[0] == saved[1]


@pytest.mark.usefixtures("takes_long")
def test_a_model_saved_beside_dill_is_the_same_bytes_and_needs_no_dill(tmp_path: Path) -> None:
    """Airflow imports dill in each task; that changes what every pickler of the process writes."""
    save = "import sys, pathlib; from tests.support.small_models import model; model().save(pathlib.Path(sys.argv[1]))"
    for name, before in {"plain": "", "beside": "import dill; "}.items():
        (tmp_path / name).mkdir()
        environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'include'}{os.pathsep}{ROOT}"}
        subprocess.run([sys.executable, "-c", before + save, tmp_path / name], env=environ, check=True)
    plain, beside = ((tmp_path / name / "model.joblib").read_bytes() for name in ("plain", "beside"))
    assert b"dill" not in beside
    assert beside == plain


@pytest.fixture
def former_module() -> Iterator[types.ModuleType]:
    """A module by the name that stored models gave to `updraft.model.features` before it was moved; gone afterwards."""
    module = types.ModuleType("updraft.features")
    exec("def floats(frame): return frame.astype('float64')\nclass FillEmpty: pass", module.__dict__)
    sys.modules[module.__name__] = module
    yield module
    sys.modules.pop(module.__name__, None)


def test_a_model_that_names_a_module_of_an_earlier_version_says_train_again(
    tmp_path: Path, former_module: types.ModuleType
) -> None:
    stored("binary", tmp_path)
    joblib.dump({"floats": former_module.floats, "fill": former_module.FillEmpty()}, tmp_path / MODEL)
    del sys.modules[former_module.__name__]
    with pytest.raises(OutdatedModel, match=r"^model\.joblib: saved by .*updraft\.features.*; train again$"):
        Model.load(tmp_path)


def test_a_model_that_names_a_function_of_an_earlier_version_says_train_again(tmp_path: Path) -> None:
    stored("binary", tmp_path)
    features.former_step = lambda frame: frame  # type: ignore[attr-defined]
    features.former_step.__qualname__, features.former_step.__module__ = "former_step", features.__name__
    joblib.dump(features.former_step, tmp_path / MODEL)
    del features.former_step
    with pytest.raises(OutdatedModel, match=r"former_step.*; train again$"):
        Model.load(tmp_path)


def test_a_model_that_names_a_missing_library_is_not_called_outdated(tmp_path: Path) -> None:
    stored("binary", tmp_path)
    library = types.ModuleType("a_library")
    exec("class Step: pass", library.__dict__)
    sys.modules["a_library"] = library
    joblib.dump(library.Step(), tmp_path / MODEL)
    del sys.modules["a_library"]
    with pytest.raises(ModuleNotFoundError, match="a_library"):
        Model.load(tmp_path)
