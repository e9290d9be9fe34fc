"""Servers started once for all tests; each test gets a prefix of the bucket or a database of its own.

A test's marks follow from its fixtures: see `tests/support/marks.py`.
"""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# One thread each: workers of xdist and the processes that tests start share the cores, and threads of OpenMP spin where
# they have to wait. Read when numpy and scikit-learn are loaded, so it is set before any import that loads them.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
os.environ["OPENBLAS_NUM_THREADS"] = os.environ.get("OPENBLAS_NUM_THREADS", "1")

import pandas as pd
import pytest

from tests.support import marks
from tests.support.airflow_server import LIVE, SERVING_URL, AirflowServer, airflow_server
from tests.support.azurite import azurite_in
from tests.support.compose_stack import docker_answers
from tests.support.folders import FOLDER, remove_folders_of_ended_processes
from tests.support.key_pairs import write_key_pair
from tests.support.lanes import Lanes
from tests.support.servers import MONGO_LOGIN, mongo_server, s3_server
from tests.support.shell import Shell, shell
from tests.support.small_cases import NOT_THERE, SHARED_DATA
from tests.support.trained import Trained
from updraft.defaults import ROOT
from updraft.demo.rows import generate
from updraft.registry.registry import Registry, open_registry
from updraft.sources.files import File
from updraft.stages.evaluate import evaluate
from updraft.stages.ingest import ingest
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.usecase import UseCase, load

# Airflow reads these when it is first imported, by whichever test that is.
remove_folders_of_ended_processes()
_airflow_home = tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-")
atexit.register(_airflow_home.cleanup)
os.environ["AIRFLOW_HOME"] = _airflow_home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"


def pytest_configure() -> None:
    marks.refuse_unmarked_starts()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marks.mark_by_fixtures(items)
    marks.put_long_modules_first(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with marks.running(item):
        return (yield)


@pytest.fixture(scope="session")
def starts_servers() -> None:
    """Mark whatever requests it `server`: a test or a fixture that starts a server process."""


@pytest.fixture(scope="session")
def starts_airflow() -> None:
    """Mark whatever requests it `airflow`: it runs Airflow, as a process or in the test's own."""


@pytest.fixture(scope="session")
def starts_stack(starts_servers: None) -> None:
    """Mark whatever requests it `stack` and `server`: it starts processes of the local stack, all or some."""


@pytest.fixture(scope="session")
def starts_compose() -> None:
    """Mark whatever requests it `compose`, and skip it unless `make compose-test` runs and Docker answers."""
    if not os.environ.get("UPDRAFT_COMPOSE_TEST"):
        pytest.skip("`make compose-test` runs it")
    if not docker_answers():
        pytest.skip("no Docker here: `docker info` or `docker compose` does not answer")


@pytest.fixture(scope="session")
def shared_data() -> None:
    """Mark whatever requests it `real`, and skip it where the public data sets are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(NOT_THERE)


@pytest.fixture(scope="session")
def takes_long() -> None:
    """Mark whatever requests it `slow`: it starts no server, but takes more than about a second."""


@pytest.fixture(scope="session")
def peer_environments() -> Path:
    """Mark whatever requests it `peers`; return the folder of environments that outlive the clone, or skip."""
    if not (folder := os.environ.get("UPDRAFT_PEERS")):
        pytest.skip("UPDRAFT_PEERS names no folder for environments with packages of others")
    return Path(folder)


@pytest.fixture(scope="session")
def s3(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the environment variables that reach a running S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as environ:
        yield environ


@pytest.fixture(scope="session")
def azurite(starts_servers: None, peer_environments: Path) -> Path:
    """Return the program that is a Blob Storage of Azure's."""
    return azurite_in(peer_environments)


@pytest.fixture(scope="session")
def mongo(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield host:port of a running mongod without a login."""
    with mongo_server(tmp_path_factory.mktemp("mongo")) as address:
        yield address


@pytest.fixture(scope="session")
def mongo_with_login(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield host:port of a running mongod that requires MONGO_LOGIN."""
    with mongo_server(tmp_path_factory.mktemp("mongo_with_login"), *MONGO_LOGIN) as address:
        yield address


@pytest.fixture
def mongodb_url(mongo: str) -> str:
    """Return the URL of a database that no other test uses."""
    return f"mongodb://{mongo}/test_{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def api_server(
    starts_airflow: None, s3: dict[str, str], key_files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowServer]:
    """Yield an api-server of Airflow with a registry, in which the DAG of one use case is not paused."""
    registry = {**s3, **key_files, "UPDRAFT_REGISTRY": f"s3://updraft-tests/{secrets.token_hex(6)}"}
    environ = registry | {"SERVING_URL": SERVING_URL}  # which pages only link to
    with airflow_server(tmp_path_factory.mktemp("airflow"), environ) as server:
        server.admin.unpause(f"train_{LIVE}")
        yield server


@pytest.fixture(scope="session")
def updraft_shell() -> Iterator[Shell]:
    """Yield what runs the `updraft` command, each time as a process of its own."""
    with shell() as running:
        yield running


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the two variables that name the files of a fresh key pair."""
    return write_key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def registry_environ(s3: dict[str, str], key_files: dict[str, str]) -> dict[str, str]:
    """Return the environment variables of a registry that no other test uses."""
    return {**s3, **key_files, "UPDRAFT_REGISTRY": f"s3://updraft-tests/{secrets.token_hex(6)}"}


@pytest.fixture
def registry(registry_environ: dict[str, str]) -> Registry:
    """Return a registry that no other test uses."""
    return open_registry(registry_environ)


@pytest.fixture(scope="session")
def case() -> UseCase:
    """Return the shipped vehicle-insurance use case."""
    return load("vehicle_insurance")


@pytest.fixture(scope="session")
def _generated(case: UseCase) -> pd.DataFrame:
    return generate(case, 2000, seed=0)


@pytest.fixture
def frame(_generated: pd.DataFrame) -> pd.DataFrame:
    """Return 2,000 generated rows, a copy that the test may change."""
    return _generated.copy()


@pytest.fixture(scope="session")
def trained(
    takes_long: None, case: UseCase, _generated: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Run transform, train and evaluate once, on the generated rows; no champion."""
    run = tmp_path_factory.mktemp("run")
    _generated.to_parquet(run / "rows.parquet")
    dataset = ingest(case, File(run / "rows.parquet", case), run / "ingest")
    split = transform(case, dataset, run / "transform")
    models = [train(case, candidate, split, run / "train" / candidate) for candidate in case.candidates]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    return Trained(split, models, evaluate(case, models, split, None, run / "evaluate"), environ)
