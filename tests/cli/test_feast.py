"""`updraft feast`: the repository that it writes and, where `UPDRAFT_PEERS` names a folder, what Feast makes of it."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import requests

from serving.predict.feature_client import FeatureClient, StoreFailed
from tests.support.feast_server import FEAST, feast, feature_server
from tests.support.feast_stand_in import FeastStandIn
from tests.support.peers import python_with
from tests.support.small_cases import date, integer, real, small_case, text
from tests.support.web_server import web_server
from updraft.cli.feast import export_file, find_keys
from updraft.errors import UserError
from updraft.model.columns import Column
from updraft.model.feature_store import FeatureStore
from updraft.usecase import UseCase

COLUMNS = [
    integer("customer"),
    text("plan: name"),
    real("spend"),
    Column(name="ok", type="bool", nullable=False),
    date("since"),
    date("signed"),
    integer("y", allowed=(0, 1)),
]
YEAR = datetime(2025, 1, 1)


def case(**features: Any) -> UseCase:
    block = {"entity": "customer"} | features
    return small_case(COLUMNS, ignored=("customer", "signed"), features=block, titles={"spend": "What was spent"})


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    frame = pd.DataFrame({
        "customer": [7, 7, 2**60 + 1, 9],
        "plan: name": pd.array(["basic", "plus", None, "naïve"], dtype="str"),
        "spend": [1.5, 2.5, None, 4.0],
        "ok": [True, False, True, True],
        "since": [datetime(2024, 2, 29, 12, 30, 15, 123456), YEAR, None, YEAR],
        "signed": [datetime(2025, 6, 1), datetime(2025, 7, 1), datetime(2025, 6, 2), None],
        "y": [0, 1, 0, 1],
    })
    path = tmp_path / "dataset.parquet"
    frame.to_parquet(path)
    return path


def test_rows_are_keyed_dated_and_counted(dataset: Path, tmp_path: Path) -> None:
    made = case(timestamp="signed")
    exported = export_file(made, dataset, tmp_path / "repo", find_keys(made))
    assert (exported.rows, exported.without_entity, exported.without_timestamp) == (3, 0, 1)
    assert str(exported).endswith("by 'customer', dated by 'signed'; 1 left out without 'signed'")
    table = pq.read_table(tmp_path / "repo" / "data" / "rows.parquet")
    assert table.column_names == ["customer", "plan: name", "spend", "ok", "since", "event_timestamp"]
    assert table["event_timestamp"].to_pylist()[0] == datetime(2025, 6, 1, tzinfo=UTC)
    text = (tmp_path / "repo" / "definitions.py").read_text()
    compile(text, "definitions.py", "exec")
    assert "Field(name='spend', dtype=Float64, description='What was spent')" in text
    assert (tmp_path / "repo" / "data" / ".gitignore").read_text() == "*\n"


def test_without_a_date_all_rows_are_of_the_time_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    made = case(columns=["spend"])
    os.utime(dataset, (1.75e9, 1.75e9))
    exported = export_file(made, dataset, tmp_path / "repo", find_keys(made))
    table = pq.read_table(tmp_path / "repo" / "data" / "rows.parquet")
    assert table.column_names == ["customer", "spend", "event_timestamp"] and exported.rows == 4
    assert set(table["event_timestamp"].to_pylist()) == {datetime.fromtimestamp(1.75e9, UTC)}


def test_a_second_export_replaces_rows_and_definitions_and_leaves_the_settings(dataset: Path, tmp_path: Path) -> None:
    made, repo = case(), tmp_path / "repo"
    export_file(made, dataset, repo, find_keys(made))
    (repo / "feature_store.yaml").write_text("project: mine\n")
    pd.read_parquet(dataset).head(2).to_parquet(dataset)
    assert export_file(made, dataset, repo, find_keys(made)).rows == 2
    assert (repo / "feature_store.yaml").read_text() == "project: mine\n"
    assert sorted(path.name for path in (repo / "data").iterdir()) == [".gitignore", "rows.parquet"]


def test_a_failed_export_leaves_the_rows_that_were_there(dataset: Path, tmp_path: Path) -> None:
    made, repo = case(), tmp_path / "repo"
    export_file(made, dataset, repo, find_keys(made))
    before = (repo / "data" / "rows.parquet").read_bytes()
    pd.read_parquet(dataset).drop(columns="spend").to_parquet(dataset)
    with pytest.raises(UserError, match="no column 'spend'"):
        export_file(made, dataset, repo, find_keys(made))
    dataset.write_text("customer,spend\n1,2\n")
    with pytest.raises(UserError, match="a Parquet file"):
        export_file(made, dataset, repo, find_keys(made))
    assert (repo / "data" / "rows.parquet").read_bytes() == before


@pytest.mark.parametrize(("entity", "timestamp", "message"), [
    ("spend", None, "'spend' is float64, expected a key of type int64 or str"),
    ("y", None, "'y' is the target"),
    ("nobody", None, "no column 'nobody' in the suite"),
    ("customer", "spend", "'spend' is float64 in the suite, expected datetime64"),
])  # fmt: skip
def test_a_column_that_is_no_key_or_no_date_is_named(entity: str, timestamp: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_keys(case(), entity, timestamp)


def test_without_any_key_the_error_says_what_to_set() -> None:
    with pytest.raises(UserError, match="no entity; expected --entity COLUMN"):
        find_keys(small_case(COLUMNS))


def test_feast_applies_materializes_and_reads_what_was_exported(
    peer_environments: Path, dataset: Path, tmp_path: Path
) -> None:
    made, repo = case(timestamp="signed"), tmp_path / "repo"
    exported = export_file(made, dataset, repo, find_keys(made))
    assert exported.rows == 3
    python = python_with(peer_environments, FEAST)
    feast(python, repo, "apply")
    feast(python, repo, "materialize", "2020-01-01T00:00:00", "2026-01-01T00:00:00")
    script = (
        "import json; from feast import FeatureStore; store = FeatureStore('.');"
        "names = ['small:plan: name', 'small:spend', 'small:ok', 'small:since'];"
        f"found = store.get_online_features(names, [{{'customer': 7}}, {{'customer': {2**60 + 1}}}]).to_dict();"
        "print(json.dumps(found, default=str))"
    )
    done = subprocess.run([python, "-c", script], cwd=repo, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["spend"] == [2.5, None] and found["ok"] == [False, True]  # the latest row of each customer
    assert found["plan: name"] == ["plus", None]
    assert found["since"][1] is None and found["since"][0] == "2025-01-01T00:00:00.000000"

    rows = {
        7: {"plan: name": "plus", "spend": 2.5, "ok": False, "since": "2025-01-01T00:00:00.000000"},
        2**60 + 1: {"plan: name": None, "spend": None, "ok": True, "since": None},
    }
    names = list(rows[7])
    stand_in = FeastStandIn("small", "customer", rows)
    store = FeatureStore(
        url="http://127.0.0.1:1", entity=integer("customer"), view="small", columns=tuple(names), timeout_seconds=10
    )
    with feature_server(python, repo, tmp_path / "log") as real, web_server(stand_in.answer) as ours:
        for features, keys in (
            (["small:spend", "small:plan: name", "small:since", "small:ok"], [7, 99, 2**60 + 1, 7]),
            (["small:spend", "small:nothing"], [7]),
            (["nothing:spend"], [7]),
        ):
            body = {"features": features, "entities": {"customer": keys}, "full_feature_names": False}
            answers = [requests.post(f"{url}/get-online-features", json=body, timeout=120) for url in (real, ours.url)]
            assert len({answer.status_code for answer in answers}) == 1
            first, second = (by_name(answer.json()) for answer in answers)
            assert first == second
        client = FeatureClient()
        found = client.fetch(store.model_copy(update={"url": real}), [7, 99, 2**60 + 1], names)
        assert found == rows
        for changes, message in (({"view": "other"}, "no feature view 'other'"), ({"columns": ("no",)}, "has no no")):
            changed = store.model_copy(update={"url": real} | changes)
            with pytest.raises(StoreFailed, match=message) as failed:
                client.fetch(changed, [7], changed.columns)
            assert failed.value.kind == "missing"


def by_name(answer: Any) -> Any:
    """Return an answer in a form that can be compared: features by name, without the times of the entity's rows."""
    if not isinstance(answer, dict):
        return answer
    vectors = [{key: each[key] for key in ("values", "statuses")} for each in answer["results"]]
    return dict(zip(answer["metadata"]["feature_names"], vectors, strict=True))
