"""What trained a model can be sent to it: the first rows of a file, as they are, to the model that was made of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from flask import Flask, request

from serving.body import request_rows
from serving.body.fast_json import Decoder
from tests.support.small_cases import SHARED_DATA
from updraft.model.model import Model
from updraft.new.new import new
from updraft.sources.files import File
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import read_frame
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.usecase import UseCase, load
from updraft.usecase.blocks import Candidate

pytestmark = pytest.mark.usefixtures("shared_data")
ROWS, LINES = 4000, 40  # rows that train, lines that are sent
APP = Flask(__name__)
FILES = {
    "vehicle_insurance/data.csv": "Response",
    "vehicle_price/uk_used_cars_all.csv.gz": "price",
    "vehicle_price/Car details v3.csv": "selling_price",
    "vehicle_price/CAR DETAILS FROM CAR DEKHO.csv": "selling_price",
    "network_security/phisingData.csv": "Result",
    "network_security/dirty_phishing_duplicated_ingest.csv.gz": "Result",
    "california_housing/housing.csv": "median_house_value",
    "california_housing/california_sklearn_format.csv": "MedHouseVal",
    "sms_spam/spam.csv": "v1",
    "text_sentiment/amazon.csv": "Positive",
    "text_sentiment/imdb_1000.csv": "sentiment",
    "drift/yellow_tripdata_sample_2019-01.csv": "total_amount",
    "drift/yellow_tripdata_sample_2019-02.csv": "total_amount",
    "drift/california_reference.csv": "clf_target",
    "drift/california_analysis.csv": "clf_target",
    "../cases/name_collision/rows.csv": "y",
    "../cases/null_markers/rows_17.csv": "y",
    "../cases/null_markers/rows_four_columns_8.csv": "y",
    "../cases/row_numbers/unnamed0.csv": "y",
    "../cases/silent_categories/apostrophes.csv": "y",
    "../cases/silent_categories/two_formats.csv": "y",
    "../cases/silent_categories/utc_suffix.csv": "y",
    "../cases/told_no_rows/sep_line.csv": "y",
    "../cases/unbalanced_quotes/backslash.csv": "label",
    "../cases/unbalanced_quotes/late.tsv": "label",
}


def trained(data: Path, target: str, root: Path) -> tuple[UseCase, Model]:
    """Make a use case of a file, and a small tree of its first rows."""
    new("made", data, target, root=root)
    case = load("made", root)
    tree = "DecisionTreeRegressor" if case.task == "regression" else "DecisionTreeClassifier"
    candidate = Candidate.model_validate({"estimator": tree, "params": {"max_depth": 4}})
    case = case.model_copy(update={"candidates": {"tree": candidate}, "folds": 2, "floors": {}})
    dataset = ingest(case, File(data, case, ROWS), root / "ingest")
    split = transform(case, dataset, root / "transform")
    return case, Model.load(train(case, "tree", split, root / "tree"))


def first_lines(data: Path) -> bytes:
    with gzip.open(data) if data.name.endswith(".gz") else data.open("rb") as file:
        return b"".join(file.readline() for _ in range(LINES))


@pytest.mark.parametrize("file", FILES)
def test_the_first_rows_of_a_file_are_predicted_as_they_are(file: str, tmp_path: Path) -> None:
    data = SHARED_DATA / file
    case, model = trained(data, FILES[file], tmp_path)
    raw = first_lines(data)
    head = tmp_path / data.name.removesuffix(".gz")
    head.write_bytes(raw)
    source = File(head, case)
    batches = list(source.batches())
    assert not [reject for batch in batches for reject in batch.rejects]
    with APP.test_request_context("/", method="POST", data=raw, content_type="text/csv"):
        rows = request_rows.read(request, model.signature, Decoder(model.signature), 1 << 20, 1000)
    frame = ingest(case, source, tmp_path / "again")
    expected = read_frame(case, frame)[case.feature_names].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows.frame(), expected)
    assert len(model.predict(rows.frame()).predictions) == len(expected)
    assert (rows.ids is not None) == (case.id is not None)


def test_json_lines_are_predicted_as_they_are_line_by_line_or_as_json(tmp_path: Path) -> None:
    """A field that may be null is left out of some; the names and the dates are the file's own."""
    rows: list[dict[str, object]] = []
    draw = Random(0)
    for number in range(400):
        row: dict[str, object] = {"emp.age": 20 + number % 50, "since": f"{1 + number % 28:02}.03.2024"}
        row |= {"y": draw.randrange(2)} | ({"note": draw.choice(("a good thing", "a bad one"))} if number % 10 else {})
        rows.append(row)
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    case, model = trained(data, "y", tmp_path)
    assert case.read.rename and case.read.dates
    source = File(data, case)
    expected = read_frame(case, ingest(case, source, tmp_path / "again"))[case.feature_names].reset_index(drop=True)
    for body, content_type in (
        (data.read_bytes(), "application/jsonl"),
        (json.dumps({"rows": rows}), "application/json"),
    ):
        with APP.test_request_context("/", method="POST", data=body, content_type=content_type):
            read = request_rows.read(request, model.signature, Decoder(model.signature), 1 << 20, 1000)
        pd.testing.assert_frame_equal(read.frame(), expected)
