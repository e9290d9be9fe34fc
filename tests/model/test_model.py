"""What a stored model answers, for each task, and how rows are held against its signature."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.mixed_frames import FRAME, TYPES, case, target
from updraft.defaults import ROOT
from updraft.learning.estimators import build
from updraft.model.model import Model
from updraft.model.signature import BadRow, Signature

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
        columns=tuple(made.features),
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
    """Give rows as JSON has them: dates as text, nothing as null."""
    read: list[dict[str, Any]] = json.loads(FRAME.head(rows).to_json(orient="records", date_format="iso"))
    return read


def test_a_binary_model_answers_by_its_threshold(tmp_path: Path) -> None:
    model = stored("binary", tmp_path)
    answer = model.predict(model.signature.frame(raw(50)))
    assert answer.predictions == [int(share >= 0.4) for share in answer.probabilities or ()]
    assert answer.names == [{0: "no", 1: "yes"}[label] for label in answer.predictions]


def test_a_multiclass_model_answers_the_likeliest_label_with_a_share_for_each(tmp_path: Path) -> None:
    model = stored("multiclass", tmp_path)
    answer = model.predict(model.signature.frame(raw(50)))
    assert answer.names is not None and answer.probabilities is not None
    for label, name, shares in zip(answer.predictions, answer.names, answer.probabilities, strict=True):
        assert isinstance(shares, dict) and set(shares) == {"low", "mid", "high"}
        assert name == max(shares, key=lambda each: shares[each]) == ("low", "mid", "high")[label]
        assert sum(shares.values()) == pytest.approx(1)


def test_a_regression_answers_numbers_alone(tmp_path: Path) -> None:
    model = stored("regression", tmp_path)
    answer = model.predict(model.signature.frame(raw(50)))
    assert (answer.names, answer.probabilities) == (None, None)
    np.testing.assert_array_equal(answer.predictions, model.pipeline.predict(FRAME.head(50)))


@pytest.mark.parametrize("task", list(ESTIMATOR))
def test_rows_from_json_score_as_rows_from_parquet(task: str, tmp_path: Path) -> None:
    model = stored(task, tmp_path)
    FRAME.to_parquet(tmp_path / "rows.parquet")
    np.testing.assert_array_equal(
        model.scores(model.signature.frame(raw(len(FRAME)))), model.scores(pd.read_parquet(tmp_path / "rows.parquet"))
    )


def test_every_fault_of_a_row_is_told_and_the_answer_stays_small(tmp_path: Path) -> None:
    signature = stored("binary", tmp_path).signature
    row = raw(1)[0] | {"count": "many", "y": 1, "z" * 5000: 1, **{f"x{n}": 1 for n in range(5000)}}
    del row["flag"]
    with pytest.raises(BadRow) as refusal:
        signature.frame([row])
    told = {fault["pointer"]: fault["detail"] for fault in refusal.value.errors}
    assert told["/rows/0/count"] == "'many' (str) is not a whole number"
    assert told["/rows/0/flag"] == "required and missing"
    assert told["/rows/0/y"] == "unknown field; y is what is predicted"
    assert len(refusal.value.errors) == 100 and len(json.dumps(refusal.value.errors)) < 40_000


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
