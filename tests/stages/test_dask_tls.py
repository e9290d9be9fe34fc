"""`engine: dask` by `tls://`: the same model through certificates, and one line about what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from tests.stages.test_train_on_dask import COLUMNS, assert_same, split
from tests.support.certificates import Authority
from tests.support.dask_cluster import Cluster, cluster
from tests.support.small_cases import small_case
from updraft.addresses import from_environment
from updraft.errors import UserError
from updraft.learning.dask_cluster import ClusterError, connect
from updraft.learning.dask_tls import AUTHORITY, CERTIFICATE, KEY, PREFIX
from updraft.stages.train import train
from updraft.usecase import UseCase
from updraft.usecase.engine_block import EngineBlock

__all__ = ["split"]  # a fixture
FOREST: dict[str, Any] = {
    "estimator": "RandomForestClassifier",
    "params": {"n_estimators": 6},
    "search": {"grid": {"max_depth": [3, 6]}},
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="module")
def certified(authority: Authority) -> dict[str, str]:
    """Return the variables that name a cluster's certificates."""
    settings = {AUTHORITY: str(authority.file)}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        certificate, key = authority.issue(role.lower())
        settings |= {f"{PREFIX}{role}__CERT": str(certificate), f"{PREFIX}{role}__KEY": str(key)}
    return settings


@pytest.fixture(scope="module")
def encrypted(
    starts_servers: None, takes_long: None, certified: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Yield a cluster of two workers; each part of it has a certificate."""
    with cluster(tmp_path_factory.mktemp("encrypted"), "tls", **certified) as running:
        for _ in range(2):
            running.start_worker("--nthreads", "1", **certified)
        yield running


@pytest.fixture
def client(certified: dict[str, str]) -> Iterator[pytest.MonkeyPatch]:
    """Set what a client needs, as the environment of this process; yield what changes it, before `dask.config.refresh`.

    Dask reads the environment when it is imported.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in (AUTHORITY, CERTIFICATE, KEY):
            patch.setenv(name, certified[name])
        dask.config.refresh()
        yield patch
    dask.config.refresh()


def case(engine: str) -> UseCase:
    return small_case(COLUMNS, candidates={"forest": FOREST}, engine=engine)


def refused(url: str) -> UserError:
    dask.config.refresh()
    with pytest.raises(UserError) as refusal, connect(EngineBlock(name="dask"), from_environment({"DASK_URL": url})):
        pass
    assert "\n" not in str(refusal.value)
    return refusal.value


def test_the_model_is_that_of_one_machine(
    encrypted: Cluster, client: pytest.MonkeyPatch, split: Path, tmp_path: Path
) -> None:
    client.setenv("DASK_URL", encrypted.address)
    encrypted.wait_for(2)
    here = train(case("threads"), "forest", split, tmp_path / "here")
    there = train(case("dask"), "forest", split, tmp_path / "there")
    assert_same(here, there, split)


@pytest.mark.parametrize("variable", [AUTHORITY, CERTIFICATE])
def test_a_variable_that_is_missing_is_named(variable: str, client: pytest.MonkeyPatch) -> None:
    client.delenv(variable)
    message = str(refused("tls://127.0.0.1:1"))
    assert message.startswith(f"DASK_URL: tls://127.0.0.1:1: {variable} is not set; expected {AUTHORITY}, ")


def test_a_key_that_is_missing_is_named(client: pytest.MonkeyPatch) -> None:
    client.delenv(KEY)
    assert f"; {KEY} is not set, and the key may be missing" in str(refused("tls://127.0.0.1:1"))


def test_a_key_of_another_certificate_is_refused(client: pytest.MonkeyPatch, authority: Authority) -> None:
    client.setenv(KEY, str(authority.issue("other")[1]))
    assert "no usable certificate and key in PEM: " in (message := str(refused("tls://127.0.0.1:1")))
    assert "mismatch" in message and "may be missing" not in message


@pytest.mark.parametrize("variable", [AUTHORITY, CERTIFICATE, KEY])
def test_a_file_that_is_not_there_is_named(variable: str, client: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "missing.pem"
    client.setenv(variable, str(path))
    assert f": {variable}: cannot read {path}: No such file" in str(refused("tls://127.0.0.1:1"))


def test_certificates_of_another_authority_are_refused_by_either_side(
    encrypted: Cluster, client: pytest.MonkeyPatch, certified: dict[str, str], tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other_authority")
    client.setenv(AUTHORITY, str(other.file))
    assert f"its certificate is not one of the authority in {AUTHORITY}: " in str(refused(encrypted.address))
    client.setenv(AUTHORITY, certified[AUTHORITY])
    certificate, key = other.issue("client")
    client.setenv(CERTIFICATE, str(certificate))
    client.setenv(KEY, str(key))
    message = str(refused(encrypted.address))  # one connection: of the next one, the alert may come later or sooner
    refusal = f"it refuses the certificate in {CERTIFICATE}"
    if "EOF" in message:
        assert f"{refusal}, or it does not speak TLS; expected tcp:// then: " in message
    else:
        assert f"{refusal}: " in message and "ALERT" in message


def test_an_address_without_encryption(encrypted: Cluster, client: pytest.MonkeyPatch) -> None:
    url = encrypted.address.replace("tls", "tcp")
    with pytest.raises(ClusterError, match=r"does not answer: .*; one that has certificates answers tls:// alone$"):
        with connect(EngineBlock(name="dask"), from_environment({"DASK_URL": url})):
            pass
    client.setenv("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "True")
    assert str(refused(url)).endswith("requires that it is; expected tls://")
