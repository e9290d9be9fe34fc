from __future__ import annotations

from typing import Any

import pytest

from connections import BadConnection, SourceHook, collection, mongo_connection, registry

ATLAS = "mongodb+srv://us%40er:p%2Fa%3Ass%25@cluster0.abcde.mongodb.net/vehicles?retryWrites=true&w=majority&authSource=admin"


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_url(value: str) -> SourceHook:
        monkeypatch.setenv("MONGODB_URL", value)
        return SourceHook("mongo_default")

    return set_url


def test_an_atlas_url_becomes_the_connection_that_mongohook_wants() -> None:
    made = mongo_connection("mongo_default", ATLAS)
    assert (made.conn_type, made.host, made.port) == ("mongo", "cluster0.abcde.mongodb.net", None)
    assert (made.login, made.password, made.schema) == ("us@er", "p/a:ss%", "vehicles")
    assert {key.lower(): value for key, value in made.extra_dejson.items()} == {
        "retrywrites": "true", "w": "majority", "authsource": "admin", "srv": True,
    }  # fmt: skip


def test_mongohook_builds_the_same_url_from_it(url: Any) -> None:
    hook = url(ATLAS)
    assert hook.uri == "mongodb+srv://us%40er:p%2Fa%3Ass%25@cluster0.abcde.mongodb.net/vehicles"


def test_a_replica_set_with_options_reaches_the_driver_in_its_own_units(url: Any) -> None:
    hook = url("mongodb://a:secret@h1:27017,h2:27018/db?replicaSet=rs0&maxIdleTimeMS=10000&tls=true")
    client = hook.get_conn()
    assert client.options.pool_options.max_idle_time_seconds == 10
    assert client.options.replica_set_name == "rs0"
    assert set(client._topology_settings.seeds) == {("h1", 27017), ("h2", 27018)}
    hook.close()


def test_a_url_without_a_database_means_updraft(url: Any) -> None:
    hook = url("mongodb+srv://a:secret@cluster0.abcde.mongodb.net/?retryWrites=true")
    assert hook.connection.schema == "updraft"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("http://user:hidden-word@host/db", "expected mongodb://… or mongodb+srv://…"),
        ("mongodb://user:hidden-word@/db", "found no host"),
        ("mongodb://user:hid/den-word@host/db", "write / in a user or password as %2F"),
        ("mongodb://user:hidden-word@host/db?tls=maybe", "options after '?'"),
        ("mongodb://user:hidden-word@host/db?nonsense", "options after '?'"),
    ],
)
def test_a_malformed_url_is_refused_without_showing_the_password(value: str, complaint: str) -> None:
    with pytest.raises(BadConnection) as refusal:
        mongo_connection("mongo_default", value)
    assert complaint in str(refusal.value)
    assert "hidden-word" not in str(refusal.value)


def test_a_connection_of_airflows_own_goes_before_the_url(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MONGO_DEFAULT", "mongo://there:27017/mine")
    assert url("mongodb://here/other").uri == "mongodb://there:27017/mine"


def test_an_airflow_connection_of_the_wrong_type_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MONGO_DEFAULT", "mongodb://there:27017/mine")
    with pytest.raises(BadConnection, match=r"^connection 'mongo_default': conn_type 'mongodb' not allowed"):
        with collection("rows"):
            pass


def test_a_host_that_dns_does_not_know_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URL", "mongodb+srv://a:hidden-word@nowhere.invalid/db?connectTimeoutMS=500")
    with pytest.raises(ConnectionError, match=r"^MongoDB at nowhere\.invalid: ") as failure:
        with collection("rows"):
            pass
    assert "hidden-word" not in str(failure.value)


def test_neither_connection_nor_url_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGODB_URL", raising=False)
    with pytest.raises(
        BadConnection, match=r"^no Airflow connection 'mongo_default' and no MONGODB_URL; set one of them$"
    ):
        with collection("rows"):
            pass


def test_a_collection_is_opened_in_the_urls_database(monkeypatch: pytest.MonkeyPatch, mongodb_url: str) -> None:
    monkeypatch.setenv("MONGODB_URL", mongodb_url)
    with collection("rows") as opened:
        opened.insert_one({"a": 1})
        assert opened.full_name == f"{mongodb_url.rpartition('/')[2]}.rows"
        assert opened.count_documents({}) == 1


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
