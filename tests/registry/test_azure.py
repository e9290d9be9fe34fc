"""A registry in Azure Blob Storage: the same conditional writes, a mirror that follows, a service that reads it."""

from __future__ import annotations

import io
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support import small_models
from tests.support.azurite import ACCOUNT, Azurite
from tests.support.versions import NAME, overwrite, promoted
from updraft.cli.registry import app
from updraft.local_stack.servers import free_port
from updraft.registry.azure import AzureError, Container, open_container
from updraft.registry.registry import Registry, VerificationError, open_registry
from updraft.registry.s3 import BadRegistry


@pytest.fixture(scope="module")
def storage(azurite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    it = Azurite(azurite, tmp_path_factory.mktemp("azure") / "data", free_port())
    with it.running():
        yield it


@pytest.fixture
def container(storage: Azurite) -> Container:
    """A container that no other test uses, with a prefix."""
    found = open_container(f"azure://{ACCOUNT}/tests-{secrets.token_hex(6)}/a/prefix", storage.environ)
    found.create_if_missing()
    return found


@pytest.fixture
def mirrored(registry_environ: dict[str, str], storage: Azurite) -> dict[str, str]:
    """The environment of a registry with a mirror in a container that does not exist yet."""
    uri = f"azure://{ACCOUNT}/tests-{secrets.token_hex(6)}/models"
    return {**registry_environ, **storage.environ, "UPDRAFT_MIRROR": uri}


def reader(mirrored: dict[str, str]) -> Registry:
    """The mirror, as a service opens it, with the public key alone."""
    environ = {name: mirrored[name] for name in ("UPDRAFT_VERIFY_KEY", "AZURE_STORAGE_CONNECTION_STRING")}
    return open_registry(environ | {"UPDRAFT_REGISTRY": mirrored["UPDRAFT_MIRROR"]})


def test_an_object_is_created_once_and_replaced_only_as_it_was_read(container: Container) -> None:
    first = container.create("pointer.json", b"1")
    assert first and container.create("pointer.json", b"2") is None
    assert container.get("pointer.json") == (b"1", first)
    assert container.get("pointer.json", if_none_match=first) == (b"", first)
    second = container.replace("pointer.json", b"3", first)
    assert second and second != first
    assert container.replace("pointer.json", b"4", first) is None
    assert container.get("pointer.json", if_none_match=first) == (b"3", second)
    container.delete("pointer.json")
    container.delete("pointer.json")
    assert container.get("pointer.json") is None
    assert container.replace("pointer.json", b"5", second) is None
    assert container.get("pointer.json") is None


def test_what_is_large_is_streamed_and_limits_hold(container: Container, tmp_path: Path) -> None:
    large = os.urandom(9 << 20)
    (tmp_path / "large").write_bytes(large)
    container.upload("file", tmp_path / "large")
    container.upload_stream("stream", io.BufferedReader(io.BytesIO(large)))  # type: ignore[type-var]
    for key in ("file", "stream"):
        chunks = list(container.stream(key))
        assert b"".join(chunks) == large and max(map(len, chunks)) <= 4 << 20
    assert container.tail("file", 100) == large[-100:]
    with pytest.raises(VerificationError, match="more than 65,536 bytes"):
        container.get("file")
    container.put("empty", b"")
    assert (container.get("empty") or (None,))[0] == b""
    assert (list(container.stream("empty")), container.tail("empty", 5)) == ([], b"")
    for read in (lambda: list(container.stream("none")), lambda: container.tail("none", 5)):
        with pytest.raises(FileNotFoundError):
            read()


def test_keys_are_listed_in_order_under_the_prefix(container: Container, storage: Azurite) -> None:
    for key in ("b/2", "b/1", "a/x/y", "top"):
        container.put(key, b"12")
    assert list(container.keys("")) == ["a/x/y", "b/1", "b/2", "top"]
    assert list(container.keys("b/", after="1")) == ["2"]
    assert container.folders("") == ["a", "b"]
    assert [(key, size) for key, size, _ in container.objects("b/")] == [("1", 2), ("2", 2)]
    nowhere = open_container(f"azure://{ACCOUNT}/nowhere", storage.environ)
    assert (list(nowhere.keys("")), nowhere.folders(""), list(nowhere.objects("")), nowhere.get("x")) == (
        [],
        [],
        [],
        None,
    )


def test_what_is_promoted_is_there_for_a_service_with_the_public_key(mirrored: dict[str, str], tmp_path: Path) -> None:
    registry = open_registry(mirrored)
    version = small_models.push(registry, tmp_path / "run", small_models.model(seed=1, threshold=0.3))
    assert reader(mirrored).numbers(small_models.NAME) == []
    small_models.promote(registry, version)
    live = LiveModels(reader(mirrored), Cache(tmp_path / "cache"))
    assert live.refresh() and live.live.keys() == {small_models.NAME}
    again = small_models.push(registry, tmp_path / "run2", small_models.model(seed=2, threshold=0.3))
    small_models.promote(registry, again)
    assert live.refresh() and live.live[small_models.NAME].version == 2
    registry.rollback(small_models.NAME, who="ann", why="2 is bad")
    assert live.refresh() and live.live[small_models.NAME].version == 1
    assert reader(mirrored).history(small_models.NAME) == registry.history(small_models.NAME)


def test_what_was_altered_there_is_refused(mirrored: dict[str, str], tmp_path: Path) -> None:
    promoted(open_registry(mirrored), tmp_path, 1)
    there = reader(mirrored)
    assert there.verify(NAME, 1).number == 1
    overwrite(there, f"{NAME}/versions/0001/model.joblib", lambda body: b"X" + body[1:])
    with pytest.raises(VerificationError, match="is not the file that was signed"):
        there.verify(NAME, 1)


def test_what_is_there_is_never_replaced(mirrored: dict[str, str], tmp_path: Path) -> None:
    other = open_registry({**mirrored, "UPDRAFT_REGISTRY": mirrored["UPDRAFT_MIRROR"], "UPDRAFT_MIRROR": ""})
    other.bucket.create_if_missing()
    promoted(other, tmp_path / "theirs", 1)
    registry = open_registry(mirrored)
    promoted(registry, tmp_path / "ours", 1, 2)
    assert registry.production(NAME) == 2
    assert registry.mirror and "has moves of its own" in str(registry.mirror.follow(NAME))
    assert (reader(mirrored).history(NAME), reader(mirrored).numbers(NAME)) == (other.history(NAME), [1])


def test_a_mirror_out_of_reach_undoes_nothing_is_shown_and_follows_later(
    azurite: Path, registry_environ: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Azurite(azurite, tmp_path / "azure" / "data", free_port())
    storage.folder.parent.mkdir()
    mirrored = {**registry_environ, **storage.environ, "UPDRAFT_MIRROR": f"azure://{ACCOUNT}/models"}
    with storage.running():
        promoted(open_registry(mirrored), tmp_path / "one", 1)
    registry = open_registry(mirrored)
    with caplog.at_level(logging.WARNING, "updraft.registry.mirror"):
        promoted(registry, tmp_path / "two", 2)
    assert registry.production(NAME) == 2
    assert "the mirror azure://updrafttests/models is late, and is tried again" in caplog.text
    shown = CliRunner().invoke(app, ["mirror", "--check"], env=mirrored)
    assert shown.exit_code == 1 and f"late: {NAME}: azure://updrafttests/models: " in shown.stderr
    assert storage.key not in caplog.text + shown.output
    with storage.running():
        assert reader(mirrored).production(NAME) == 1
        shown = CliRunner().invoke(app, ["mirror"], env=mirrored)
        assert (shown.exit_code, shown.stderr) == (0, "")
        assert reader(mirrored).history(NAME) == registry.history(NAME)
        assert reader(mirrored).verify(NAME, 2).number == 2


def test_an_error_says_what_azure_says_and_nothing_of_the_login(storage: Azurite) -> None:
    wrong = Azurite(storage.program, storage.folder, storage.port)  # another key
    with pytest.raises(AzureError, match=rf"^azure://{ACCOUNT}/models/x: 403 ") as refused:
        open_container(f"azure://{ACCOUNT}/models", wrong.environ).get("x")
    sas = {"AZURE_STORAGE_SAS_TOKEN": "?sv=2024-01-01&sig=top%2Fsecret"}
    with pytest.raises(AzureError, match="azure://nosuchaccountatall0/models/x: ") as unreached:
        open_container("azure://nosuchaccountatall0/models", sas).get("x")
    for error in (refused.value, unreached.value):
        assert "secret" not in str(error) and wrong.key not in str(error) and error.__suppress_context__


@pytest.mark.parametrize(
    ("uri", "environ", "message"),
    [
        ("azure://container", {}, "UPDRAFT_MIRROR: 'azure://container' is not azure://account/container"),
        ("azure://Account/models", {}, "'azure://Account/models' is not azure://account/container"),
        ("azure://account/a--b", {}, "'azure://account/a--b' is not azure://account/container"),
        ("azure://account/models", {}, "'azure://account/models': no login; expected AZURE_STORAGE_CONNECTION_STRING,"),
        ("azure://account/models", {"AZURE_STORAGE_CONNECTION_STRING": "s3cret"}, "_STRING: not of Azure's form"),
        (
            "azure://account/models",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=a2V5;EndpointSuffix=x.net"},
            "CONNECTION_STRING is of another account, 'other'",
        ),
    ],
)  # fmt: skip
def test_a_wrong_place_is_named(uri: str, environ: dict[str, str], message: str, key_files: dict[str, str]) -> None:
    with pytest.raises(BadRegistry) as found:
        open_registry({**key_files, **environ, "UPDRAFT_REGISTRY": "s3://bucket", "UPDRAFT_MIRROR": uri})
    assert message in str(found.value) and "s3cret" not in str(found.value)


def test_a_key_or_a_token_opens_a_container_without_being_asked_for(key_files: dict[str, str]) -> None:
    uri = "azure://account/models/prefix"
    for login in ({"AZURE_STORAGE_KEY": "a2V5"}, {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=x"}):
        registry = open_registry({**key_files, **login, "UPDRAFT_REGISTRY": uri})
        assert str(registry.bucket) == uri and registry.mirror is None
