"""`updraft new` takes rows from wherever a source can: its YAML leads back to them, without a login."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pymongo import MongoClient

from tests.support.churn_rows import base as churn_rows
from tests.support.kafka import kafka_broker
from tests.support.web_server import Answer, web_server
from updraft.addresses import from_environment
from updraft.errors import UserError
from updraft.new.new import NewUseCase, new
from updraft.registry.s3 import Bucket, s3_client
from updraft.sources import open_source
from updraft.usecase import load


def made(data: str, root: Path, environ: dict[str, str] | None = None) -> tuple[NewUseCase, dict[str, Any]]:
    created = new("churn", data, "churned", root=root, connections=from_environment(environ or {}))
    return created, load("churn", root).source.model_dump(exclude_unset=True)


def rows_of(root: Path, environ: dict[str, str]) -> int:
    with open_source(load("churn", root), from_environment(environ)) as source:
        return sum(batch.table.num_rows for batch in source.batches())


def test_a_file_of_this_machine_is_loaded_as_before(tmp_path: Path) -> None:
    churn_rows(200).to_csv(tmp_path / "rows.csv", index=False)
    assert made(str(tmp_path / "rows.csv"), tmp_path)[1] == {"mongodb": {"collection": "churn"}}


def test_the_first_file_of_a_folder_or_a_pattern_is_profiled(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    for day in (1, 2):
        churn_rows(200).to_csv(tmp_path / "days" / f"{day}.csv", index=False)
    created, source = made(f"{tmp_path}/days/*.csv", tmp_path)
    assert source == {"file": {"path": f"{tmp_path}/days/*.csv"}}
    assert "only the first of 2 files was profiled: 1.csv." in created.draft.notes
    assert rows_of(tmp_path, {}) == 400


def test_a_file_on_s3_or_the_web(tmp_path: Path, s3: dict[str, str]) -> None:
    data = churn_rows(200).to_csv(index=False).encode()
    bucket = Bucket(s3_client(s3), "updraft-new")
    bucket.create_if_missing()
    bucket.put("rows.csv", data)
    assert made("s3://updraft-new/rows.csv", tmp_path, s3)[1] == {"file": {"path": "s3://updraft-new/rows.csv"}}
    assert rows_of(tmp_path, s3) == 200
    with web_server(lambda request: Answer(data)) as server:
        (tmp_path / "web").mkdir()
        assert made(f"{server.url}/rows.csv", tmp_path / "web")[1] == {"file": {"path": f"{server.url}/rows.csv"}}


def test_a_table(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    engine = sa.create_engine(url)
    churn_rows(200).to_sql("customers", engine, index=False)
    engine.dispose()
    created, source = made(f"{url}#customers", tmp_path)
    assert source == {"sql": {"table": "customers"}} and created.draft.sample.file.name.endswith("#customers")
    assert any("SQL_URL leads to the rows" in note for note in created.draft.notes)
    assert rows_of(tmp_path, {"SQL_URL": url}) == 200
    with pytest.raises(UserError, match=r"expected the name of a table at its end, such as …#customers"):
        new("other", url, "churned", root=tmp_path)
    with pytest.raises(UserError, match=r"#absent: no such table: absent"):
        new("other", f"{url}#absent", "churned", root=tmp_path)


def test_a_topic(tmp_path: Path, starts_servers: None) -> None:
    with kafka_broker() as broker:
        lines = churn_rows(200).to_json(orient="records", lines=True).encode().splitlines()
        broker.send("customers", *lines[:150], b"no JSON", None)
        broker.send("customers", *lines[150:], partition=2)
        created, source = made(f"{broker.url}#customers", tmp_path)
        assert source == {"kafka": {"topic": "customers"}}
        assert any("KAFKA_URL leads to the rows" in note for note in created.draft.notes)
        assert rows_of(tmp_path, {"KAFKA_URL": broker.url}) == 200
        with pytest.raises(UserError, match=r"expected the name of a topic at its end, such as …#orders"):
            new("other", broker.url, "churned", root=tmp_path)


@pytest.mark.parametrize("pointer", ["", "#/data/all items"])
def test_the_first_page_of_an_api(pointer: str, tmp_path: Path) -> None:
    rows = json.loads(churn_rows(200).to_json(orient="records"))
    body = json.dumps({"errors": [], "data": {"count": 200, "all items": rows}}).encode()
    page = Answer(body, headers={"Content-Type": "application/json; charset=utf-8"})
    with web_server(lambda request: page) as server:
        created, source = made(f"{server.url}/v1/customers?kind=a{pointer}", tmp_path)
        assert source == {"rest": {"url": f"{server.url}/v1/customers?kind=a", "rows": "/data/all items"}}
        assert any("only that is read: add `pages`" in note for note in created.draft.notes)
        assert rows_of(tmp_path, {}) == 200
        with pytest.raises(UserError, match="/v1: no list of objects at '/data/count'"):
            new("other", f"{server.url}/v1#/data/count", "churned", root=tmp_path)


def test_a_collection(tmp_path: Path, mongodb_url: str) -> None:
    frame = churn_rows(200)
    documents = frame.assign(since=datetime(2026, 1, 31)).to_dict("records")
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client.get_default_database()["customers"].insert_many(documents)
    assert made(f"{mongodb_url}#customers", tmp_path)[1] == {"mongodb": {"collection": "customers"}}
    assert rows_of(tmp_path, {"MONGODB_URL": mongodb_url}) == 200
