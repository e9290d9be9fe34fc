"""The model behind FastAPI, with a pydantic model of a row."""

from typing import Any

import pipeline
from fastapi import FastAPI
from pydantic import create_model

KINDS = {"int64": int, "float64": float, "bool": bool}
Row = create_model("Row", **{name: (KINDS.get(kind, str), ...) for name, kind in pipeline.TYPES.items()})
app = FastAPI()


@app.post("/predict")
def predict(rows: list[Row]) -> list[Any]:
    return pipeline.predict(pipeline.frame([row.model_dump() for row in rows])).tolist()
