"""Small models of every kind of task and column, live over a real registry."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support import small_models
from tests.support.small_cases import date, integer, real, text
from updraft.model.columns import Column
from updraft.model.model import Model
from updraft.model.signature import Label, Signature
from updraft.registry.registry import Registry

ODD = '<script>alert("1")</script> & it\'s'
FLAG = Column(name="ist.süß", type="bool", nullable=False)
MANY = tuple(f"value {number:03d}" for number in range(80))


def species() -> Model:
    """Make a multiclass model: two lengths, one of them nullable, and a habitat of which others are let pass."""
    columns = [
        real("length", minimum=0, maximum=10, nullable=False),
        real("width", minimum=0.5, maximum=4.25),
        text("habitat", nullable=False, allowed=("meadow", "forest", "shore")),
    ]
    example = {"length": 5.5, "width": None, "habitat": "shore"}
    labels = [Label(value=value, name=value.capitalize()) for value in ("setosa", "versicolor", "virginica")]
    draw = np.random.default_rng(3)
    rows = pd.DataFrame({
        "length": draw.uniform(0, 10, 120),
        "width": draw.uniform(0.5, 4, 120),
        "habitat": draw.choice(["meadow", "forest", "shore"], 120),
    })
    target = [labels[min(int(value / 3.4), 2)].value for value in rows["length"]]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    prepare = ColumnTransformer([("texts", codes, ["habitat"])], remainder="passthrough")
    pipeline = make_pipeline(prepare, RandomForestClassifier(n_estimators=15, random_state=0))
    told = {"task": "multiclass", "labels": labels, "warn_unseen": ("habitat",), "warn_out_of_range": ("length",)}
    return _model("species", "Which species of iris is it?", columns, example, pipeline.fit(rows, target), **told)


def rent() -> Model:
    """Make a regression over every kind of column, some of odd names and with many values."""
    columns = [
        integer("rooms", minimum=1, maximum=12),
        real("floor area, m²", minimum=8, maximum=1000, nullable=False),
        text(ODD, allowed=('"quoted"', "<b>bold</b>", "a & b"), nullable=False),
        text("district", allowed=MANY, nullable=False),
        date("a/b~c", earliest=datetime(2000, 1, 1), latest=datetime(2030, 12, 31), nullable=False),
        date("renovated"),
        FLAG,
        text("postcode", pattern=r"^\d{5}$", nullable=False),
        text("note", longest=80),
    ]
    example = {
        "rooms": 3, "floor area, m²": 71.5, ODD: "a & b", "district": MANY[3], "a/b~c": "2019-05-01T08:30:00",
        "renovated": None, FLAG.name: True, "postcode": "04109", "note": 'it\'s "quiet"\nand <i>bright</i> 🌞',
    }  # fmt: skip
    draw = np.random.default_rng(5)
    rows = pd.DataFrame({column.name: [example[column.name]] * 60 for column in columns})
    rows = rows.astype({column.name: column.type for column in columns})
    rows["rooms"] = draw.integers(1, 12, 60)
    pipeline = make_pipeline(_Numbers(), RandomForestRegressor(n_estimators=10, random_state=0))
    pipeline.fit(rows, rows["rooms"] * 310.5 + draw.normal(0, 20, 60))
    return _model("rent", f"What rent? {ODD}", columns, example, pipeline, task="regression", target="rent")


def spam() -> Model:
    """Make a binary model of a text."""
    spam, ham = ["win a free prize now", "urgent claim cash"] * 20, ["see you at home", "dinner at six, love"] * 20
    pipeline = Pipeline([
        ("take", FunctionTransformer(_message)),
        ("words", TfidfVectorizer()),
        ("model", LogisticRegression()),
    ])
    pipeline.fit(pd.DataFrame({"message": spam + ham}), ["spam"] * 40 + ["ham"] * 40)
    columns = [text("message", nullable=False, shortest=1, longest=5000)]
    labels = [Label(value="ham", name="ham"), Label(value="spam", name="spam")]
    told = {"labels": labels, "positive": "spam", "threshold": 0.62, "text": ("message",)}
    example = {"message": "Congratulations! You have won a prize.\nCall now to claim it."}
    return _model("sms_spam", "Is this text message spam?", columns, example, pipeline, **told)


def load_live_models(registry: Registry, folder: Path) -> LiveModels:
    """Push and promote one model of each kind; return the live models."""
    for model in (small_models.model(threshold=0.3), species(), rent(), spam()):
        small_models.promote(registry, small_models.push(registry, folder / model.signature.use_case, model))
    live_models = LiveModels(registry, Cache(folder / "cache"))
    assert live_models.refresh(), live_models.refusals
    return live_models


class _Numbers(BaseEstimator):  # type: ignore[misc]
    """Take the columns of numbers alone."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> _Numbers:
        self.fitted_ = True
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        return X.select_dtypes("number")


def _message(rows: pd.DataFrame) -> pd.Series[str]:
    return rows["message"]


def _model(
    use_case: str, title: str, columns: list[Column], example: dict[str, Any], fitted: Any, **told: Any
) -> Model:
    told = {"target": "answer", "id": None} | told
    signature = Signature(
        use_case=use_case,
        title=title,
        candidate="small",
        columns=tuple(columns),
        split={},
        versions={},
        example=example,
        **told,
    )
    return Model(signature, fitted)
