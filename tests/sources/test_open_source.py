"""One place knows the kinds of source: what the YAML may say, how each is opened, and what can be filled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pymongo import MongoClient

from tests.support.small_cases import integer, small_case
from updraft.addresses import from_environment, variable_of
from updraft.destinations import DESTINATIONS, NothingToFill, open_destination
from updraft.sources import SOURCES, open_source
from updraft.sources.count import COUNTS
from updraft.sources.source import BadSource
from updraft.usecase import UseCase, from_file
from updraft.usecase.rules import COUNTABLE
from updraft.usecase.source_blocks import SourceBlock


def case_of(**source: object) -> UseCase:
    return small_case([integer("a")], source=source)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pd.DataFrame({"a": [1, 2, 3]}).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def test_every_kind_that_a_yaml_may_name_can_be_opened() -> None:
    assert list(SOURCES) == list(SourceBlock.model_fields)
    assert DESTINATIONS.keys() <= SOURCES.keys()


def test_the_drivers_are_imported_when_a_source_is_opened() -> None:
    drivers = {"pymongo", "pymongoarrow", "sqlalchemy", "psycopg", "pymysql", "boto3", "requests"}
    drivers |= {"urllib3", "confluent_kafka"}
    script = f"import sys, updraft.sources.count, updraft.destinations; print({drivers} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_file_is_read_up_to_the_limit(file: Path) -> None:
    with open_source(case_of(file={"path": str(file)}), from_environment({}), 2) as source:
        assert [batch.table.to_pylist() for batch in source.batches()] == [[{"a": 1}, {"a": 2}]]
        assert str(source) == f"file '{file}'"


def test_a_file_takes_the_place_of_a_use_cases_own_source(file: Path) -> None:
    case = case_of(mongodb={"collection": "rows"})
    with open_source(from_file(case, file), from_environment({})) as source:
        assert source.total is None and len(list(source.batches())) == 1
    assert case.source.kind == "mongodb"


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(BadSource, match=r"^file 'absent\.csv': no such file$"):
        with open_source(case_of(file={"path": "absent.csv"}), from_environment({})):
            pass


@pytest.mark.parametrize(
    ("connection", "variable"),
    [
        ({}, "MONGODB_URL"),
        ({"connection": "mongo_default"}, "MONGODB_URL"),
        ({"connection": "eu.archive"}, "EU_ARCHIVE_URL"),
    ],
)
def test_a_collection_is_filled_and_read_where_its_variable_leads(
    connection: dict[str, str], variable: str, mongodb_url: str, file: Path
) -> None:
    case = case_of(mongodb={"collection": "rows"} | connection)
    connections = from_environment({variable: mongodb_url})
    name = f"MongoDB collection '{mongodb_url.rpartition('/')[2]}.rows'"
    with open_source(from_file(case, file), connections) as rows, open_destination(case, connections) as destination:
        assert destination.load(rows, None) == 3
        assert (destination.name, destination.origin) == (name, variable)
    with open_source(case, connections, 2) as source:
        assert (str(source), source.total) == (name, 2)
    with MongoClient[dict[str, int]](mongodb_url) as client:
        assert client.get_default_database()["rows"].count_documents({}) == 3


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(BadSource, match=r"^ARCHIVE_URL: expected mongodb://"):
        with open_source(case_of(mongodb={"collection": "rows", "connection": "archive"}), from_environment({})):
            pass
    assert variable_of("mongo-eu.2") == "MONGO_EU_2_URL"


def test_a_file_is_not_filled(file: Path) -> None:
    with pytest.raises(NothingToFill, match=r"^small: its source is of kind file.*nothing to load into$"):
        open_destination(case_of(file={"path": str(file)}), from_environment({}))


def test_every_kind_whose_rows_a_schedule_may_count_can_be_counted() -> None:
    assert set(COUNTS) == set(COUNTABLE)
