"""Save the model as MLflow serves it, with a signature inferred from sample rows: save_mlflow.py FOLDER OUT < rows."""

import json
import sys

import mlflow
import pipeline

rows = pipeline.frame(json.load(sys.stdin))
mlflow.sklearn.save_model(
    pipeline.MODEL,
    sys.argv[2],
    signature=mlflow.models.infer_signature(rows, pipeline.predict(rows)),
    pyfunc_predict_fn=pipeline.predict.__name__,
    serialization_format="pickle",
)
