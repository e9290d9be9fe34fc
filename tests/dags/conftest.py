"""The DAGs under real Airflow, on a metadata database of their own."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG

from updraft.defaults import ROOT


@pytest.fixture(scope="session")
def airflow_db(starts_airflow: None) -> None:
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def dags(airflow_db: None) -> dict[str, DAG]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"))
    assert bag.import_errors == {}
    return bag.dags
