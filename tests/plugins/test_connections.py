from __future__ import annotations

from pathlib import Path

import pytest

from connections import ADDRESSES, BadConnection, registry, source_address
from tests.support.small_cases import integer, small_case
from updraft.sources import open_source
from updraft.sources.mongodb import database

ATLAS = "mongodb+srv://us%40er:p%2Fa%3Ass%25@cluster0.abcde.mongodb.net/vehicles?retryWrites=true&w=majority&authSource=admin"


def test_without_a_connection_the_environments_url_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URL", ATLAS)
    address = source_address("mongo_default", "MONGODB_URL")
    assert (address.origin, address.url, dict(address.options)) == ("MONGODB_URL", ATLAS, {})


def test_its_password_is_masked_in_logs_as_it_is_written_and_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.log import redact

    passwords = "only/here:1%", "only%2Fhere%3A1%25"
    monkeypatch.setenv("MONGODB_URL", f"mongodb://us%40er:{passwords[1]}@h1,h2/db")
    assert [redact(password) for password in passwords] == [*passwords]
    source_address("mongo_default", "MONGODB_URL")
    assert [redact(f"login with {password}!") for password in passwords] == ["login with ***!"] * 2


def test_an_address_shows_no_password_where_it_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URL", ATLAS)
    assert repr(source_address("mongo_default", "MONGODB_URL")) == "Address(origin='MONGODB_URL')"


def test_a_connection_of_airflows_own_goes_before_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URL", "mongodb://here/other")
    monkeypatch.setenv(
        "AIRFLOW_CONN_MONGO_DEFAULT", "mongo://us%40er:p%2Fw@there:27017/mine?tls=true&maxIdleTimeMS=9000"
    )
    address = source_address("mongo_default", "MONGODB_URL")
    assert (address.origin, address.url) == ("connection 'mongo_default'", "mongodb://us%40er:p%2Fw@there:27017/mine")
    with database(address) as opened:
        assert opened.name == "mine"
        assert opened.client.options.pool_options.max_idle_time_seconds == 9
        assert opened.client.options.pool_options._ssl_context is not None


def test_a_connection_may_allow_certificates_that_nobody_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = '{"conn_type": "mongo", "host": "there", "extra": {"ssl": true, "allow_insecure": true, "tls": true}}'
    monkeypatch.setenv("AIRFLOW_CONN_LAB", extra)
    assert dict(source_address("lab", "LAB_URL").options) == {"tls": True, "tlsAllowInvalidCertificates": True}


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        ("tcp://scheduler:8786", "tcp://scheduler:8786"),
        ("tls://scheduler:8786", "tls://scheduler:8786"),
        ('{"conn_type": "generic", "host": "scheduler", "port": 8786}', "tcp://scheduler:8786"),
        ('{"conn_type": "generic", "host": "tls://scheduler", "port": 8786}', "tls://scheduler:8786"),
    ],
)
def test_the_scheduler_of_a_dask_cluster(monkeypatch: pytest.MonkeyPatch, connection: str, url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", connection)
    address = source_address("dask_default", "DASK_URL")
    assert (address.origin, address.url) == ("connection 'dask_default'", url)


def test_a_login_of_a_dask_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", "tcp://me:hidden@scheduler:8786")
    with pytest.raises(BadConnection, match="takes no login") as refusal:
        source_address("dask_default", "DASK_URL")
    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mongodb://there:27017/mine", "conn_type 'mongodb' not allowed; expected " + ", ".join(ADDRESSES)),
        ("mongo://there:27017/mine?srv=true", "srv URI should not specify a port"),
    ],
)
def test_a_wrong_airflow_connection_is_one_line(monkeypatch: pytest.MonkeyPatch, uri: str, message: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MONGO_DEFAULT", uri)
    with pytest.raises(BadConnection) as refusal:
        source_address("mongo_default", "MONGODB_URL")
    assert str(refusal.value) == f"connection 'mongo_default': {message}"


def test_neither_connection_nor_variable_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGODB_URL", raising=False)
    message = r"^no Airflow connection 'mongo_default' and no MONGODB_URL; set one of them$"
    with pytest.raises(BadConnection, match=message):
        source_address("mongo_default", "MONGODB_URL")


def test_a_use_cases_own_connection_opens_its_own_server(monkeypatch: pytest.MonkeyPatch, mongodb_url: str) -> None:
    monkeypatch.setenv("MONGODB_URL", "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100")
    monkeypatch.setenv("AIRFLOW_CONN_ARCHIVE", mongodb_url.replace("mongodb://", "mongo://"))
    case = small_case([integer("a")], source={"mongodb": {"collection": "rows", "connection": "archive"}})
    with database(source_address("archive", "ARCHIVE_URL")) as opened:
        opened["rows"].insert_one({"a": 1})
    with open_source(case, source_address) as source:
        assert str(source) == f"MongoDB collection '{mongodb_url.rpartition('/')[2]}.rows'"


def test_a_file_needs_no_connection(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    case = small_case([integer("a")], source={"file": {"path": str(tmp_path / "rows.csv")}})
    with open_source(case, source_address) as source:
        assert [batch.table.to_pylist() for batch in source.batches()] == [[{"a": 1}]]


def test_the_registry_comes_from_s3hook_with_the_environment(
    monkeypatch: pytest.MonkeyPatch, registry_environ: dict[str, str]
) -> None:
    for name, value in registry_environ.items():
        monkeypatch.setenv(name, value)
    assert registry().names() == []


def test_on_aws_no_endpoint_and_no_key_are_needed(monkeypatch: pytest.MonkeyPatch, key_files: dict[str, str]) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**key_files, "UPDRAFT_REGISTRY": "s3://models", "AWS_DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(name, value)
    client = registry().bucket.client
    assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
