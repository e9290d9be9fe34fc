"""The same steps as most public repositories of this use case do them: frames in memory, CSV files between the steps.

The search does the work that ours does: three folds of the same forest, then one of all training rows.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pymongo import MongoClient
from scipy.stats import ks_2samp
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

SIDES = ("train", "test")
TEXTS = ["Gender", "Vehicle_Age", "Vehicle_Damage"]


def _ingest(root: Path) -> None:
    with MongoClient(os.environ["MONGODB_URL"]) as client:
        frame = pd.DataFrame(list(client.get_default_database()["vehicle_insurance"].find())).drop(columns="_id")
    root.mkdir(parents=True, exist_ok=True)
    frame.to_csv(root / "rows.csv", index=False)
    for name, side in zip(SIDES, train_test_split(frame, test_size=0.2, random_state=42), strict=True):
        side.to_csv(root / f"{name}.csv", index=False)


def _validate(root: Path) -> None:
    train, test = (pd.read_csv(root / f"{name}.csv") for name in SIDES)
    if train.shape[1] != 12 or test.shape[1] != 12:
        raise SystemExit("columns are missing")
    for column in train.select_dtypes("number"):
        ks_2samp(train[column], test[column])


def _transform(root: Path) -> None:
    train, test = (pd.read_csv(root / f"{name}.csv").drop(columns="id") for name in SIDES)
    columns = ColumnTransformer(
        [
            ("texts", OneHotEncoder(drop="first", sparse_output=False), TEXTS),
            ("standard", StandardScaler(), ["Age", "Vintage"]),
            ("scaled", MinMaxScaler(), ["Annual_Premium"]),
        ],
        remainder="passthrough",
    )
    for name, frame in zip(SIDES, (train, test), strict=True):
        features = frame.drop(columns="Response")
        values = columns.fit_transform(features) if name == "train" else columns.transform(features)
        np.save(root / f"{name}.npy", np.c_[values, frame["Response"]])
    (root / "columns.pkl").write_bytes(pickle.dumps(columns))


def _train(root: Path) -> None:
    rows = np.load(root / "train.npy")
    forest = RandomForestClassifier(
        n_estimators=int(os.environ["TREES"]),
        min_samples_split=7,
        min_samples_leaf=6,
        criterion="entropy",
        random_state=42,
    )
    search = GridSearchCV(forest, {"max_depth": [10]}, cv=3, scoring="average_precision")
    search.fit(rows[:, :-1], rows[:, -1])
    (root / "model.pkl").write_bytes(pickle.dumps(search.best_estimator_))


def _evaluate(root: Path) -> float:
    rows, model = np.load(root / "test.npy"), pickle.loads((root / "model.pkl").read_bytes())
    f1_score(rows[:, -1], model.predict(rows[:, :-1]))
    return float(roc_auc_score(rows[:, -1], model.predict_proba(rows[:, :-1])[:, 1]))


STAGES: dict[str, Callable[[Path], object]] = {
    "ingest": _ingest,
    "validate": _validate,
    "transform": _transform,
    "train": _train,
    "evaluate": _evaluate,
}
