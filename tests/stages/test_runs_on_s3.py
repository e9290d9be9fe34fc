"""A run's files on S3: nothing that is not whole is used, and no machine needs what another one has."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.trained import Trained
from updraft.registry.registry import Registry
from updraft.registry.s3 import Bucket, s3_client
from updraft.stages.push import push
from updraft.stages.runs import BadArtifacts, Run
from updraft.stages.runs_on_s3 import MARK, HalfSent, Kept, kept
from updraft.stages.stage_folder import read_json
from updraft.stages.transform import BadData
from updraft.usecase import UseCase


@pytest.fixture
def bucket(s3: dict[str, str]) -> Bucket:
    made = Bucket(s3_client(s3), "test-kept", f"runs/{secrets.token_hex(6)}/case/manual__2026-11-20T09:00:00+00:00")
    made.create_if_missing()
    return made


@pytest.fixture
def here(bucket: Bucket, tmp_path: Path) -> Kept:
    return Kept(bucket, tmp_path / "here")


@pytest.fixture
def there(bucket: Bucket, tmp_path: Path) -> Kept:
    """Give the same run on another machine."""
    return Kept(bucket, tmp_path / "there")


def write(files: Kept, place: str, **texts: str) -> Path:
    out = files.folder / place
    for name, text in texts.items():
        path = out / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return out


def found(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_the_same_on_another_machine(here: Kept, there: Kept) -> None:
    out = write(here, "train/forest", model="1", docs__index="2", empty="")
    uri = here.send(out, out)
    assert uri == f"{here.bucket}/train/forest" and uri.startswith("s3://test-kept/runs/")
    assert there.bring(uri) == there.folder / "train/forest"
    assert found(there.folder) == {"train/forest/model": "1", "train/forest/docs/index": "2", "train/forest/empty": ""}


def test_a_file_that_is_named_comes_alone(here: Kept, there: Kept) -> None:
    out = write(here, "ingest", dataset="rows", quarantine="others")
    path = there.bring(here.send(out / "dataset", out))
    assert path.read_text() == "rows"
    assert found(there.folder) == {"ingest/dataset": "rows"}


def test_what_was_passed_through_keeps_its_uri_and_what_was_made_goes_up(here: Kept, there: Kept) -> None:
    out = write(here, "ingest", dataset="rows")
    first = here.send(out / "dataset", out)
    assert there.send(there.bring(first), write(there, "validate", report="fine")) == first
    assert here.at("validate/report").read_text() == "fine"


def test_a_second_try_replaces_its_own_folder_and_no_other(here: Kept, there: Kept) -> None:
    for name in ("a", "b"):
        out = write(here, f"train/{name}", model=name, extra=name)
        here.send(out, out)
    shutil.rmtree(here.folder)
    out = write(here, "train/a", model="again")
    here.send(out, out)
    there.at("train/a"), there.at("train/b")
    assert found(there.folder) == {"train/a/model": "again", "train/b/model": "b", "train/b/extra": "b"}


@pytest.mark.parametrize("before", [True, False], ids=["second try", "first try"])
def test_a_folder_whose_sending_was_cut_short_is_not_used(here: Kept, there: Kept, before: bool) -> None:
    out = write(here, "train/a", first="1", second="2")
    if before:
        here.send(out, out)

    def dies(params: dict[str, Any], **_: Any) -> None:
        if params["Key"].endswith("/second"):
            raise ConnectionError("gone")

    events = here.bucket.client.meta.events  # botocore's own way to have a request fail
    events.register("before-parameter-build.s3.PutObject", dies)
    with pytest.raises(ConnectionError):
        here.send(out, out)
    assert here.bucket.get("train/a/first")
    for place in ("train/a", "train/a/first"):
        with pytest.raises(HalfSent, match="not whole"):
            there.at(place)
    events.unregister("before-parameter-build.s3.PutObject", dies)
    here.send(out, out)
    assert there.at("train/a/second").read_text() == "2"


def test_a_file_that_changed_or_is_gone_after_the_mark_is_not_used(here: Kept, there: Kept) -> None:
    out = write(here, "ingest", dataset="rows", other="1")
    uri = here.send(out, out)
    here.bucket.put("ingest/dataset", b"cows")  # of the same length: another try that is still sending
    with pytest.raises(HalfSent, match="is not the file that its task has sent"):
        there.bring(uri)
    here.bucket.client.delete_object(Bucket=here.bucket.name, Key=f"{here.bucket.base}ingest/dataset")
    with pytest.raises(HalfSent, match="missing"):
        there.bring(uri)


def test_a_mark_cannot_write_outside_of_the_folder(here: Kept, there: Kept, tmp_path: Path) -> None:
    out = write(here, "ingest", dataset="rows")
    uri = here.send(out, out)
    told = here.bucket.read(f"ingest/{MARK}")
    told["files"]["../../../evil"] = told["files"]["dataset"]
    here.bucket.put(f"ingest/{MARK}", str(told).replace("'", '"').encode())
    with pytest.raises(HalfSent, match="outside"):
        there.bring(uri)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("uri", ["s3://test-kept/other/run/ingest", "file:///etc", "{}/../other", "{}/"])
def test_a_uri_of_another_run_is_refused(there: Kept, uri: str) -> None:
    with pytest.raises(BadArtifacts, match="expected something below s3://test-kept/runs/"):
        there.bring(uri.format(there.bucket))


def test_an_artifacts_uri_that_is_none_is_said_to_be() -> None:
    with pytest.raises(BadArtifacts, match=r"UPDRAFT_ARTIFACTS: 's3://A_B/x' is not s3://bucket"):
        with kept("s3://A_B/x", s3_client({"AWS_DEFAULT_REGION": "us-east-1"}), "ingest"):
            raise AssertionError


def test_what_a_failed_stage_has_written_can_be_read_but_is_not_whole(bucket: Bucket, there: Kept) -> None:
    with pytest.raises(BadData):
        with kept(str(bucket), bucket.client, "ingest") as files:
            scratch = files.folder
            write(files, "ingest", quarantine="worst row")
            raise BadData("too many do not fit")
    assert not scratch.exists()
    assert bucket.get("ingest/quarantine") is not None
    with pytest.raises(HalfSent):
        there.at("ingest")


def test_a_failure_is_not_hidden_by_an_s3_server_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    away = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with pytest.raises(BadData):
        with kept("s3://test-kept/x", s3_client({**away, "AWS_DEFAULT_REGION": "us-east-1"}), "ingest") as files:
            write(files, "ingest", quarantine="worst row")
            raise BadData("too many do not fit")
    assert "what ingest has written is lost" in caplog.text


def test_another_machine_pushes_and_judges_again(
    here: Kept, there: Kept, trained: Trained, case: UseCase, registry: Registry, tmp_path: Path
) -> None:
    shutil.copytree(trained.split.parent, here.folder)
    for place in ("ingest", "transform", "evaluate", *(f"train/{name}" for name in case.candidates)):
        here.send(here.folder / place, here.folder / place)
    shutil.rmtree(here.folder)
    first = push(case, there.at("evaluate"), registry, Run("manual__0", there, "somebody else"))
    assert first.decision == "promote" and first.version
    manifest = read_json(registry.pull(case.name, 1, tmp_path / "pulled") / "manifest.json")
    assert manifest["data_sha256"] == there.bucket.read(f"ingest/{MARK}")["files"]["dataset.parquet"]["sha256"]
    shutil.rmtree(there.folder)
    again = push(case, there.at("evaluate"), registry, Run("manual__1", there, "tests"))
    assert again.decision == "reject" and "version 1" in again.reason
