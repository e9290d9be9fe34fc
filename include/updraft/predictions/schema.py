"""The columns of the Parquet files. They are the same for every use case and version, so that all files read as one.

What differs between versions is JSON in a text: the features by name, the value of the target, a probability for each
label of a multiclass model.
"""

from __future__ import annotations

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")
PREDICTIONS = pa.schema([
    pa.field("prediction_id", pa.string(), nullable=False),  # the request's id, a dot and the row
    pa.field("request_id", pa.string(), nullable=False),  # of a shadow's, that of the request that was answered
    pa.field("row", pa.int32(), nullable=False),  # in its request
    pa.field("at", TIME, nullable=False),
    pa.field("version", pa.int64()),
    pa.field("shadow", pa.bool_(), nullable=False),  # of a version that was tried as a shadow: nobody's answer
    pa.field("seconds", pa.float64(), nullable=False),  # of the whole request
    pa.field("prediction", pa.string(), nullable=False),  # JSON: a value of the target
    pa.field("label", pa.string()),  # its name; null in a regression
    pa.field("value", pa.float64()),  # the prediction, if it is a number
    pa.field("probability", pa.float64()),  # of the positive label
    pa.field("probabilities", pa.string()),  # JSON: by label, in a multiclass model
    pa.field("features", pa.string(), nullable=False),  # JSON: values by column, without the private ones
])
FEEDBACK = pa.schema([
    pa.field("prediction_id", pa.string(), nullable=False),
    pa.field("at", TIME, nullable=False),
    pa.field("truth", pa.string(), nullable=False),  # JSON: a value of the target
    pa.field("truth_value", pa.float64()),  # if it is a number
])
ERRORS = pa.schema([
    pa.field("request_id", pa.string(), nullable=False),
    pa.field("at", TIME, nullable=False),
    pa.field("version", pa.int64()),  # null where it ended before one was chosen
    pa.field("shadow", pa.bool_(), nullable=False),  # what a version that was tried as a shadow could not score
    pa.field("status", pa.int32(), nullable=False),  # of HTTP
    pa.field("kind", pa.string(), nullable=False),  # one of a few fixed words
    pa.field("seconds", pa.float64(), nullable=False),
])
JOINED = pa.schema([
    *PREDICTIONS,
    pa.field("truth", pa.string()),
    pa.field("truth_value", pa.float64()),
    pa.field("truth_at", TIME),
])
SCHEMAS = {"predictions": PREDICTIONS, "errors": ERRORS, "feedback": FEEDBACK}
