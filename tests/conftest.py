"""Servers started once for all tests; each test gets a prefix of the bucket or a database of its own."""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.support.airflow_server import LIVE, AirflowServer, airflow_server
from tests.support.servers import mongo_server, s3_server
from updraft.defaults import ROOT
from updraft.demo.rows import generate
from updraft.registry.registry import Registry, open_registry
from updraft.stages.evaluate import evaluate
from updraft.stages.stage_folder import DATASET, recreate_folder
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.usecase import UseCase, load

# Airflow reads these when it is first imported, by whichever test that is.
_airflow_home = tempfile.TemporaryDirectory(prefix="updraft-tests-")
atexit.register(_airflow_home.cleanup)
os.environ["AIRFLOW_HOME"] = _airflow_home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"

MONGO_LOGIN = ("updraft", "p@ss/word")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give the environment variables that reach a running S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as environ:
        yield environ


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give host:port of a running mongod without a login."""
    with mongo_server(tmp_path_factory.mktemp("mongo")) as address:
        yield address


@pytest.fixture(scope="session")
def mongo_with_login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give host:port of a running mongod that asks for MONGO_LOGIN."""
    with mongo_server(tmp_path_factory.mktemp("mongo_with_login"), *MONGO_LOGIN) as address:
        yield address


@pytest.fixture
def mongodb_url(mongo: str) -> str:
    """Give the URL of a database that no other test uses."""
    return f"mongodb://{mongo}/test_{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowServer]:
    with airflow_server(tmp_path_factory.mktemp("airflow")) as it:
        it.admin.unpause(f"train_{LIVE}")
        yield it


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the two variables that name the files of a fresh key pair."""
    return write_key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def registry_environ(s3: dict[str, str], key_files: dict[str, str]) -> dict[str, str]:
    """Give the environment variables of a registry that no other test uses."""
    return {**s3, **key_files, "UPDRAFT_REGISTRY": f"s3://updraft-tests/{secrets.token_hex(6)}"}


@pytest.fixture
def registry(registry_environ: dict[str, str]) -> Registry:
    """Give a registry that no other test uses."""
    return open_registry(registry_environ)


def write_key_pair(folder: Path) -> dict[str, str]:
    """Write a fresh Ed25519 key pair as PEM files; give the variables that name them."""
    private = Ed25519PrivateKey.generate()
    signing, verifying = folder / "signing.pem", folder / "verify.pem"
    signing.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    verifying.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return {"UPDRAFT_SIGNING_KEY": str(signing), "UPDRAFT_VERIFY_KEY": str(verifying)}


@pytest.fixture(scope="session")
def case() -> UseCase:
    """Give the shipped vehicle-insurance use case."""
    return load("vehicle_insurance")


@pytest.fixture(scope="session")
def _generated(case: UseCase) -> pd.DataFrame:
    return generate(case, 2000, seed=0)


@pytest.fixture
def frame(_generated: pd.DataFrame) -> pd.DataFrame:
    """Give 2,000 generated rows, a copy that the test may spoil."""
    return _generated.copy()


@dataclass(frozen=True)
class Trained:
    """A split of generated rows, both candidates trained on it, their evaluation, and an environment for Python."""

    split: Path
    models: list[Path]
    evaluation: Path
    environ: dict[str, str]


@pytest.fixture(scope="session")
def trained(case: UseCase, _generated: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Run transform, train and evaluate once, on the generated rows; no champion."""
    run = tmp_path_factory.mktemp("run")
    recreate_folder(run / "ingest")
    _generated.to_parquet(run / "ingest" / DATASET)
    split = transform(case, run / "ingest" / DATASET, run / "transform")
    models = [train(case, candidate, split, run / "train" / candidate) for candidate in case.candidates]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    return Trained(split, models, evaluate(case, models, split, None, run / "evaluate"), environ)
