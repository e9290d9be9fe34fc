"""Run by the Python of an environment with shap: Shapley values of fitted estimators, by shap's own TreeExplainer."""

from __future__ import annotations

import sys

import joblib
import numpy as np
import shap


def main(source: str, target: str) -> None:
    """Read pairs of an estimator and a matrix; write the values, (rows, columns, outputs), and the expected values."""
    results = []
    for estimator, matrix in joblib.load(source):
        explainer = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
        values = np.asarray(explainer.shap_values(matrix, check_additivity=False))
        results.append((values.reshape(*matrix.shape, -1), np.ravel(explainer.expected_value)))
    joblib.dump(results, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
