"""Contributions of trees against shap's own, in an environment with shap: `UPDRAFT_PEERS` names the folder for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import joblib
import numpy as np

from tests.model.compiled.test_explain import EACH, SMALL, owners_of
from tests.support.compiled_models import KINDS, fitted
from tests.support.mixed_frames import FRAME, TYPES, case
from tests.support.peers import python_with
from updraft.defaults import ROOT
from updraft.learning.compile.parity import rows_of
from updraft.learning.compile.pipeline import compile_model
from updraft.model.compiled.compiled_model import CompiledModel
from updraft.model.model import Model

SHAP = "shap==0.51.0"
SCRIPT = ROOT / "tests" / "support" / "shap_values.py"
# shap knows no AdaBoost, no gradient boosting of several labels, and no categories of histogram gradient boosting.
KNOWN = [each for each in EACH if each[0] in SMALL and each[0] != "AdaBoostClassifier"]
KNOWN.remove(("GradientBoostingClassifier", "multiclass"))


def test_contributions_of_trees_are_those_of_shap(peer_environments: Path, tmp_path: Path) -> None:
    python = python_with(peer_environments, SHAP)
    models = [
        fitted(case(task, {column: TYPES[column] for column in KINDS[kind]}), name)
        for name, task in KNOWN
        for kind in (["numbers"] if name.startswith("Hist") else ["numbers", "all"])
    ]
    joblib.dump([(model.pipeline["model"], _numbers(model)) for model in models], tmp_path / "models")
    subprocess.run([python, SCRIPT, tmp_path / "models", tmp_path / "values"], check=True)
    for model, (values, means) in zip(models, joblib.load(tmp_path / "values"), strict=True):
        found = CompiledModel(model.signature, compile_model(model, FRAME)).explain(rows_of(model.signature, FRAME))
        outputs = _outputs(model, found.labels, values.shape[2])
        expected = np.zeros_like(found.contributions)
        for place, owner in enumerate(owners_of(model)):
            expected[:, model.signature.names.index(owner)] += values[range(len(FRAME)), place, outputs]
        np.testing.assert_allclose(found.contributions, expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.baselines, means[outputs], rtol=1e-6, atol=1e-9)


def _numbers(model: Model) -> object:
    return np.asarray(model.pipeline["columns"].transform(FRAME[list(model.signature.names)]), dtype="float64")


def _outputs(model: Model, labels: list[str] | None, count: int) -> list[int]:
    """Return which of shap's outputs explains each row's label."""
    if labels is None or count == 1:
        return [0] * len(FRAME)
    values = {label.name: label.value for label in model.signature.labels}
    return [list(model.pipeline["model"].classes_).index(values[label]) for label in labels]
