"""The stored pipeline and the types of its columns, for programs that have scikit-learn and pandas and no Updraft."""

import json
import os
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

FOLDER = Path(os.environ["MODEL"])
SIGNATURE = json.loads((FOLDER / "signature.json").read_text())
TYPES = {column["name"]: column["type"] for column in SIGNATURE["columns"]}
MODEL = joblib.load(FOLDER / "model.joblib")
predict = getattr(MODEL, "predict_proba", MODEL.predict)


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype(TYPES)
