"""The registry on a real S3 server: what is stored is what comes back, and nothing else is believed."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

from tests.support.key_pairs import write_key_pair
from tests.support.versions import NAME, model_folder, overwrite, promoted, pushed
from updraft.registry.registry import NoSuchVersion, PointerMoved, Registry, VerificationError, open_registry
from updraft.registry.s3 import split_uri


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run calls in threads that start together; give what each returned or raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_pull_returns_what_was_pushed(registry: Registry, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    facts = {"metrics": {"roc_auc": 0.85}, "note": "naïve"}
    version = registry.push(NAME, folder, facts, "manual__2026-11-20T04:52:37+00:00")

    assert (version.name, version.number) == (NAME, 1)
    assert version.manifest["metrics"] == {"roc_auc": 0.85}
    assert version.manifest["created_at"].endswith("+00:00")
    assert version.files.keys() == {"model.joblib", "signature.json", "pictures/roc curve.png"}
    assert registry.names() == [NAME]
    assert registry.versions(NAME) == [version] == [registry.verify(NAME, 1)]

    pulled = registry.pull(NAME, 1, tmp_path / "shelf" / "0001")
    assert {path.relative_to(pulled): path.read_bytes() for path in pulled.rglob("*") if path.is_file()} == {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } | {Path(seal): (pulled / seal).read_bytes() for seal in ("manifest.json", "manifest.sig")}
    assert json.loads((pulled / "manifest.json").read_text()) == version.manifest
    assert list(pulled.parent.iterdir()) == [pulled]


def test_a_file_larger_than_one_part_comes_back(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.joblib").write_bytes(bytes(range(256)) * 80_000)
    registry.push(NAME, folder, {}, "large")
    pulled = registry.pull(NAME, 1, tmp_path / "0001")
    assert (pulled / "model.joblib").read_bytes() == (folder / "model.joblib").read_bytes()


def test_a_registry_without_a_bucket_is_empty_until_the_first_push(
    registry_environ: dict[str, str], tmp_path: Path
) -> None:
    registry = open_registry(registry_environ | {"UPDRAFT_REGISTRY": f"s3://test-{secrets.token_hex(6)}"})
    assert registry.names() == []
    assert registry.versions(NAME) == []
    assert registry.production(NAME) is None
    assert registry.history(NAME) == []
    with pytest.raises(NoSuchVersion, match="vehicle_insurance: there is no version 1 in s3://"):
        registry.pull(NAME, 1, tmp_path / "0001")
    with pytest.raises(NoSuchVersion, match="nothing is in production"):
        registry.rollback(NAME, who="a test", why="why not")
    with pytest.raises(NoSuchVersion):
        registry.promote(NAME, 1, expect=None, who="a test", why="why not")
    pushed(registry, tmp_path, 1)
    assert registry.names() == [NAME]


def test_half_a_version_is_invisible(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    client, bucket = registry.bucket.client, registry.bucket.name
    prefix = f"{registry.bucket.base}{NAME}/versions"
    for entry in client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/0001/")["Contents"]:
        if not entry["Key"].endswith("manifest.json"):
            copy = entry["Key"].replace("/0001/", "/0002/")
            client.copy_object(Bucket=bucket, Key=copy, CopySource={"Bucket": bucket, "Key": entry["Key"]})

    assert registry.bucket.folders(f"{NAME}/versions/") == ["0001", "0002"]
    assert registry.numbers(NAME) == [1]
    for read in (registry.version, registry.verify):
        with pytest.raises(NoSuchVersion):
            read(NAME, 2)
    with pytest.raises(NoSuchVersion):
        registry.promote(NAME, 2, expect=None, who="a test", why="it is there by half")
    assert registry.production(NAME) is None


def test_a_retry_of_a_run_pushes_no_second_version(registry: Registry, tmp_path: Path) -> None:
    first = registry.push(NAME, model_folder(tmp_path / "a"), {}, "run 1")
    again = registry.push(NAME, model_folder(tmp_path / "b", "another"), {}, "run 1")
    other = registry.push(NAME, tmp_path / "b", {}, "run 2")
    assert again == first == registry.verify(NAME, 1)
    assert (other.number, registry.numbers(NAME)) == (2, [1, 2])


@pytest.mark.parametrize("last", ["versions/0001/manifest.sig", "versions/0001/claim.json", "runs/run%201.json"])
def test_a_retry_finishes_what_a_dead_push_began(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path, last: str
) -> None:
    """The first try loses its connection for good right after it wrote `last`."""
    dying = open_registry(registry_environ)

    def die(model: Any, params: dict[str, Any], **_: Any) -> None:
        if written:
            raise ConnectionError("dead")
        if params["url_path"].endswith(last) or params["url_path"].endswith(last.replace("%", "%25")):
            written.append(params["url_path"])

    written: list[str] = []
    dying.bucket.client.meta.events.register("before-call.s3.PutObject", die)
    dying.bucket.client.meta.events.register("before-call.s3.GetObject", die)
    folder = model_folder(tmp_path / "model")
    with pytest.raises(ConnectionError):
        dying.push(NAME, folder, {}, "run 1")
    assert written
    assert registry.names() == []

    version = registry.push(NAME, folder, {}, "run 1")
    assert registry.numbers(NAME) == [version.number]
    registry.verify(NAME, version.number)


def test_concurrent_runs_get_different_numbers_and_their_own_files(registry: Registry, tmp_path: Path) -> None:
    folders = [model_folder(tmp_path / f"model{each}", f"model {each}") for each in range(4)]
    calls = [partial(registry.push, NAME, folders[each], {}, f"run {each}") for each in range(4)]
    versions = at_once(*calls)

    assert sorted(version.number for version in versions) == registry.numbers(NAME) == [1, 2, 3, 4]
    for folder, version in zip(folders, versions, strict=True):
        pulled = registry.pull(NAME, version.number, tmp_path / f"pulled{version.number}")
        assert (pulled / "model.joblib").read_bytes() == (folder / "model.joblib").read_bytes()


def test_two_simultaneous_attempts_of_one_run_create_one_version(registry: Registry, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    versions = at_once(*[lambda: registry.push(NAME, folder, {}, "run 1")] * 3)
    assert len({version.number for version in versions}) == 1
    assert registry.numbers(NAME) == [versions[0].number]
    registry.verify(NAME, versions[0].number)


def test_exactly_one_of_two_promoters_wins(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 4)
    for turn in range(10):
        expect = registry.production(NAME)
        rivals = [number for number in range(1, 5) if number != expect][:2]
        calls = [
            partial(registry.promote, NAME, number, expect=expect, who=f"promoter {number}", why="a race")
            for number in rivals
        ]
        outcomes = at_once(*calls)
        won = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, PointerMoved)]
        assert (len(won), len(lost)) == (1, 1), outcomes
        assert registry.production(NAME) == won[0].production
        assert [move.sequence for move in registry.history(NAME)] == list(range(1, turn + 2))


def test_promote_compares_with_what_is_in_production(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    with pytest.raises(PointerMoved, match="vehicle_insurance: production is version 2, expected nothing"):
        registry.promote(NAME, 1, expect=None, who="a test", why="it was empty when I looked")
    with pytest.raises(ValueError, match="reason"):
        registry.promote(NAME, 1, expect=2, who="a test", why=" ")
    again = registry.promote(NAME, 2, expect=1, who="a retry", why="it died before it knew")
    assert (again.sequence, again.who, len(registry.history(NAME))) == (2, "a test", 2)


def test_polling_returns_the_known_pointer_until_it_moves(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1)
    pushed(registry, tmp_path / "more", 2)
    known = registry.pointer(NAME)
    assert known
    assert registry.pointer(NAME, known) is known
    registry.promote(NAME, 2, expect=1, who="a test", why="better")
    moved = registry.pointer(NAME, known)
    assert moved
    assert (moved.production, moved.previous, moved.sequence, moved.action) == (2, 1, 2, "promote")


def test_rollback_goes_back_and_further_back_and_never_to_what_was_taken_back(
    registry: Registry, tmp_path: Path
) -> None:
    promoted(registry, tmp_path, 1, 2, 3)
    assert registry.rollback(NAME, who="a test", why="3 is bad") == 2
    assert registry.rollback(NAME, who="a test", why="2 is bad too") == 1
    with pytest.raises(NoSuchVersion, match="was in production before version 1"):
        registry.rollback(NAME, who="a test", why="and 1")
    registry.promote(NAME, 3, expect=1, who="a test", why="3 was good after all", force=True)
    assert registry.rollback(NAME, who="a test", why="no") == 1
    assert [(move.action, move.version, move.previous, move.production) for move in registry.history(NAME)] == [
        ("promote", 1, None, 1),
        ("promote", 2, 1, 2),
        ("promote", 3, 2, 3),
        ("rollback", 3, 3, 2),
        ("rollback", 2, 2, 1),
        ("promote", 3, 1, 3),
        ("rollback", 3, 3, 1),
    ]


def test_rollback_refuses_an_altered_version(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    one_byte_of_the_model(registry)
    with pytest.raises(VerificationError, match="is not the file that was signed"):
        registry.rollback(NAME, who="a test", why="back")
    assert registry.production(NAME) == 2


def test_a_write_whose_response_was_lost_is_recognized(registry: Registry, tmp_path: Path) -> None:
    """botocore sends each PUT twice, as it does when the first answer never came; the second one meets the first's."""
    twice: list[int] = []

    def again(attempts: int, response: Any, **_: Any) -> int | None:
        if attempts > 1 or response is None or response[0].status_code != 200:
            return None
        twice.append(attempts)
        return 0

    registry.bucket.client.meta.events.register_first("needs-retry.s3.PutObject", again)  # type: ignore[arg-type]
    pushed(registry, tmp_path, 1)
    registry.promote(NAME, 1, expect=None, who="a test", why="first")
    pushed(registry, tmp_path / "more", 2)
    registry.promote(NAME, 2, expect=1, who="a test", why="second")
    assert len(twice) > 10
    assert registry.numbers(NAME) == [1, 2]
    assert [move.production for move in registry.history(NAME)] == [1, 2]


def test_a_lost_history_entry_is_healed(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, tmp_path, 1, 2)
    complete = registry.history(NAME)
    client, bucket = registry.bucket.client, registry.bucket.name
    client.delete_object(Bucket=bucket, Key=f"{registry.bucket.base}{NAME}/history/000002.json")

    assert registry.history(NAME) == complete
    assert registry.rollback(NAME, who="a test", why="back") == 1
    assert list(registry.bucket.keys(f"{NAME}/history/")) == ["000001.json", "000002.json", "000003.json"]
    assert registry.history(NAME)[:2] == complete


def one_byte_of_the_model(registry: Registry) -> None:
    overwrite(registry, f"{NAME}/versions/0001/model.joblib", lambda body: body[:500] + b"?" + body[501:])


def more_of_the_model(registry: Registry) -> None:
    overwrite(registry, f"{NAME}/versions/0001/model.joblib", lambda body: body + b"?")


def the_manifest(registry: Registry) -> None:
    overwrite(registry, f"{NAME}/versions/0001/manifest.json", lambda body: body.replace(b"run 1", b"run 2"))


def the_signature(registry: Registry) -> None:
    overwrite(registry, f"{NAME}/versions/0001/manifest.sig", lambda body: b"not base64!")


def a_file_gone(registry: Registry) -> None:
    key = f"{registry.bucket.base}{NAME}/versions/0001/signature.json"
    registry.bucket.client.delete_object(Bucket=registry.bucket.name, Key=key)


def the_signature_gone(registry: Registry) -> None:
    key = f"{registry.bucket.base}{NAME}/versions/0001/manifest.sig"
    registry.bucket.client.delete_object(Bucket=registry.bucket.name, Key=key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_byte_of_the_model, "vehicle_insurance version 1: 'model.joblib' is not the file that was signed"),
        (more_of_the_model, "'model.joblib' is not the file that was signed"),
        (the_manifest, "the manifest was altered or signed with another key"),
        (the_signature, "the manifest was altered or signed with another key"),
        (a_file_gone, "'signature.json' is missing"),
        (the_signature_gone, "not signed"),
    ],
)
def test_an_altered_version_is_refused(
    registry: Registry, tmp_path: Path, change: Callable[[Registry], None], message: str
) -> None:
    pushed(registry, tmp_path, 1)
    registry.verify(NAME, 1)
    change(registry)
    refused: list[Callable[[], Any]] = [
        lambda: registry.verify(NAME, 1),
        lambda: registry.pull(NAME, 1, tmp_path / "shelf" / "0001"),
        lambda: registry.promote(NAME, 1, expect=None, who="a test", why="do not look"),
    ]
    for call in refused:
        with pytest.raises(VerificationError, match=message):
            call()
    assert not (tmp_path / "shelf").exists() or list((tmp_path / "shelf").iterdir()) == []
    assert registry.production(NAME) is None


def test_a_corrupt_manifest_does_not_hide_the_others(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 2)
    for spoilt in (b"", b"[]", b'{"files": 7}', b'{"files": {"model.joblib": 7}}', b"\xff"):
        overwrite(registry, f"{NAME}/versions/0001/manifest.json", lambda _, spoilt=spoilt: spoilt)  # type: ignore[misc]
        assert [(version.number, version.size > 0) for version in registry.versions(NAME)] == [(1, False), (2, True)]
        with pytest.raises(VerificationError):
            registry.verify(NAME, 1)


def test_another_key_is_refused(registry: Registry, registry_environ: dict[str, str], tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    stranger = open_registry(registry_environ | write_key_pair(tmp_path))
    with pytest.raises(VerificationError, match="signed with another key"):
        stranger.verify(NAME, 1)


@pytest.mark.parametrize(("name", "number"), [("vehicle_price", 1), (NAME, 2)])
def test_a_version_copied_elsewhere_is_refused(registry: Registry, tmp_path: Path, name: str, number: int) -> None:
    pushed(registry, tmp_path, 1)
    for key in list(registry.bucket.keys(f"{NAME}/versions/0001/")):
        found = registry.bucket.get(f"{NAME}/versions/0001/{key}")
        assert found
        registry.bucket.put(f"{name}/versions/{number:04d}/{key}", found[0])
    assert number in registry.numbers(name)
    with pytest.raises(VerificationError, match="the manifest is that of vehicle_insurance version 1"):
        registry.pull(name, number, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("file", ["../escaped", "/tmp/escaped", "a/../../escaped", "..", "", "a\\b", "a//b", "a\nb"])
def test_a_signed_manifest_cannot_write_outside_its_folder(registry: Registry, tmp_path: Path, file: str) -> None:
    """Even the holder of the key gets no file written elsewhere than into the folder that was asked for."""
    pushed(registry, tmp_path, 1)
    manifest = registry.version(NAME, 1).manifest
    manifest["files"][file] = manifest["files"]["model.joblib"]
    body = json.dumps(manifest).encode()
    registry.bucket.put(f"{NAME}/versions/0001/manifest.json", body)
    registry.bucket.put(f"{NAME}/versions/0001/manifest.sig", registry.keys.sign(body))
    with pytest.raises(VerificationError, match="not a safe file name"):
        registry.pull(NAME, 1, tmp_path / "shelf" / "0001")
    assert not (tmp_path / "shelf").exists()


def test_objects_that_the_manifest_does_not_name_are_not_pulled(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    registry.bucket.put(f"{NAME}/versions/0001/extra.py", b"import os")
    pulled = registry.pull(NAME, 1, tmp_path / "0001")
    assert not (pulled / "extra.py").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "model.joblib").write_bytes(b"something else"),
        lambda folder: (folder / "signature.json").unlink(),
        lambda folder: (folder / "extra.py").write_text("import os"),
    ],
)
def test_a_folder_is_kept_only_while_it_is_the_version(
    registry: Registry, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    pushed(registry, tmp_path, 1)
    folder = registry.pull(NAME, 1, tmp_path / "0001")
    first = folder.stat().st_ino
    content = (folder / "model.joblib").read_bytes()
    assert registry.pull(NAME, 1, folder).stat().st_ino == first
    spoil(folder)
    assert registry.pull(NAME, 1, folder).stat().st_ino != first
    assert (folder / "model.joblib").read_bytes() == content
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "manifest.sig", "model.joblib", "pictures", "signature.json",
    }  # fmt: skip


def test_several_processes_may_pull_into_one_folder(registry: Registry, tmp_path: Path) -> None:
    pushed(registry, tmp_path, 1)
    folder = tmp_path / "shelf" / "0001"
    assert at_once(*[lambda: registry.pull(NAME, 1, folder)] * 4) == [folder] * 4
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["Vehicle", "../other", "a/b", "", "1a", "vehicle-insurance"])
def test_names_that_are_no_use_case_are_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a use case"):
        registry.push(name, model_folder(tmp_path / "model"), {}, "run 1")
    with pytest.raises(ValueError, match="is not a use case"):
        registry.pointer(name)


def test_what_cannot_be_pushed_says_why(registry: Registry, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no files in"):
        registry.push(NAME, tmp_path / "empty", {}, "run 1")
    with pytest.raises(ValueError, match="metadata may not contain 'version'"):
        registry.push(NAME, folder, {"version": 7}, "run 1")
    with pytest.raises(ValueError, match="JSON compliant"):
        registry.push(NAME, folder, {"f1": float("nan")}, "run 1")
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"the file name 'manifest\.json' is reserved"):
        registry.push(NAME, folder, {}, "run 1")
    assert registry.names() == []


def test_a_reader_needs_the_public_key_alone(
    registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    pushed(registry, tmp_path, 1)
    reader = open_registry({key: value for key, value in registry_environ.items() if key != "UPDRAFT_SIGNING_KEY"})
    assert reader.keys.signing is None
    reader.verify(NAME, 1)
    with pytest.raises(ValueError, match="UPDRAFT_SIGNING_KEY"):
        reader.push(NAME, tmp_path / "model1", {}, "run 2")


def test_denied_access_is_not_an_empty_registry(registry: Registry, registry_environ: dict[str, str]) -> None:
    denied = open_registry(registry_environ | {"AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        denied.names()


def test_on_aws_nothing_but_the_uri_and_the_keys_is_needed(
    key_files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable, raising=False)
    given: dict[str, Any] = {}
    real = Session.create_client
    monkeypatch.setattr(
        Session, "create_client", lambda *args, **options: given.update(options) or real(*args, **options)
    )
    registry = open_registry({**key_files, "UPDRAFT_REGISTRY": "s3://our-models/team/a/"})
    assert {given[name] for name in given if name.startswith("aws_")} == {None}
    assert registry.bucket.client.meta.endpoint_url.endswith("amazonaws.com")
    assert (registry.bucket.name, str(registry.bucket)) == ("our-models", "s3://our-models/team/a")


def test_another_endpoint_is_addressed_by_path(key_files: dict[str, str]) -> None:
    environ = {**key_files, "UPDRAFT_REGISTRY": "s3://our-models", "AWS_ENDPOINT_URL_S3": "https://minio.example:9000"}
    login = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret"}
    client = open_registry(environ | login).bucket.client
    url = client.generate_presigned_url("get_object", Params={"Bucket": "our-models", "Key": "x"})
    assert url.startswith("https://minio.example:9000/our-models/x?")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"UPDRAFT_REGISTRY": ""}, "UPDRAFT_REGISTRY: '' is not s3://bucket"),
        ({"UPDRAFT_REGISTRY": "https://bucket"}, "UPDRAFT_REGISTRY: 'https://bucket' is not s3://bucket"),
        ({"UPDRAFT_VERIFY_KEY": "", "UPDRAFT_SIGNING_KEY": ""}, "UPDRAFT_VERIFY_KEY: not set"),
        ({"UPDRAFT_VERIFY_KEY": "/no/such.pem"}, "UPDRAFT_VERIFY_KEY: cannot read '/no/such.pem': No such file"),
        ({"UPDRAFT_SIGNING_KEY": __file__}, "UPDRAFT_SIGNING_KEY: '.*' is not an Ed25519 private key"),
        ({"AWS_ACCESS_KEY_ID": "me"}, "AWS_SECRET_ACCESS_KEY: not set, though the other half"),
        ({"AWS_SECRET_ACCESS_KEY": "s"}, "AWS_ACCESS_KEY_ID: not set, though the other half"),
        ({"AWS_ENDPOINT_URL_S3": "127.0.0.1:8333"}, "AWS_ENDPOINT_URL_S3: expected a URL"),
    ],
)
def test_a_wrong_environment_names_the_variable(
    key_files: dict[str, str], change: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        open_registry({**key_files, "UPDRAFT_REGISTRY": "s3://bucket", **change})
    assert "\n" not in str(raised.value)


def test_keys_that_are_no_pair_are_refused(key_files: dict[str, str], tmp_path: Path) -> None:
    other = write_key_pair(tmp_path)["UPDRAFT_VERIFY_KEY"]
    with pytest.raises(ValueError, match="UPDRAFT_VERIFY_KEY: not the public half"):
        open_registry({**key_files, "UPDRAFT_REGISTRY": "s3://bucket", "UPDRAFT_VERIFY_KEY": other})


def test_split_uri() -> None:
    assert split_uri("s3://updraft-models") == ("updraft-models", "")
    assert split_uri("s3://updraft-models/a/b/") == ("updraft-models", "a/b")
    for wrong in ("updraft-models", "s3://", "s3:///a", "s3://UPPER", "s3://a b"):
        with pytest.raises(ValueError, match="is not s3://bucket"):
            split_uri(wrong)
