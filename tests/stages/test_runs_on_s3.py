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
from updraft.stages.push import Outcome, push
from updraft.stages.runs import BadArtifacts, MissingFiles, Run
from updraft.stages.runs_on_s3 import MARK, IncompleteUpload, S3RunFiles, s3_run_files
from updraft.stages.stage_folder import read_json
from updraft.stages.transform import BadData
from updraft.usecase import UseCase


@pytest.fixture
def bucket(s3: dict[str, str]) -> Bucket:
    made = Bucket(s3_client(s3), "test-kept", f"runs/{secrets.token_hex(6)}/case/manual__2026-11-20T09:00:00+00:00")
    made.create_if_missing()
    return made


@pytest.fixture
def here(bucket: Bucket, tmp_path: Path) -> S3RunFiles:
    return S3RunFiles(bucket, tmp_path / "here")


@pytest.fixture
def there(bucket: Bucket, tmp_path: Path) -> S3RunFiles:
    """Give the same run on another machine."""
    return S3RunFiles(bucket, tmp_path / "there")


def write(files: S3RunFiles, place: str, **texts: str) -> Path:
    out = files.folder / place
    for name, text in texts.items():
        path = out / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return out


def found(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_the_same_on_another_machine(here: S3RunFiles, there: S3RunFiles) -> None:
    out = write(here, "train/forest", model="1", docs__index="2", empty="")
    uri = here.upload(out, out)
    assert uri == f"{here.bucket}/train/forest" and uri.startswith("s3://test-kept/runs/")
    assert there.download(uri) == there.folder / "train/forest"
    assert found(there.folder) == {"train/forest/model": "1", "train/forest/docs/index": "2", "train/forest/empty": ""}


def test_a_file_that_is_named_comes_alone(here: S3RunFiles, there: S3RunFiles) -> None:
    out = write(here, "ingest", dataset="rows", quarantine="others")
    path = there.download(here.upload(out / "dataset", out))
    assert path.read_text() == "rows"
    assert found(there.folder) == {"ingest/dataset": "rows"}


def test_what_was_passed_through_keeps_its_uri_and_what_was_made_goes_up(here: S3RunFiles, there: S3RunFiles) -> None:
    out = write(here, "ingest", dataset="rows")
    first = here.upload(out / "dataset", out)
    assert there.upload(there.download(first), write(there, "validate", report="fine")) == first
    assert here.download(f"{here.bucket}/validate/report").read_text() == "fine"


def test_a_second_try_replaces_its_own_folder_and_no_other(here: S3RunFiles, there: S3RunFiles) -> None:
    for name in ("a", "b"):
        out = write(here, f"train/{name}", model=name, extra=name)
        here.upload(out, out)
    shutil.rmtree(here.folder)
    out = write(here, "train/a", model="again")
    here.upload(out, out)
    there.download(f"{there.bucket}/train/a"), there.download(f"{there.bucket}/train/b")
    assert found(there.folder) == {"train/a/model": "again", "train/b/model": "b", "train/b/extra": "b"}


@pytest.mark.parametrize("before", [True, False], ids=["second try", "first try"])
def test_a_folder_whose_sending_was_cut_short_is_not_used(here: S3RunFiles, there: S3RunFiles, before: bool) -> None:
    out = write(here, "train/a", first="1", second="2")
    if before:
        here.upload(out, out)

    def dies(params: dict[str, Any], **_: Any) -> None:
        if params["Key"].endswith("/second"):
            raise ConnectionError("gone")

    events = here.bucket.client.meta.events  # botocore's own way to have a request fail
    events.register("before-parameter-build.s3.PutObject", dies)
    with pytest.raises(ConnectionError):
        here.upload(out, out)
    assert here.bucket.get("train/a/first")
    for place in ("train/a", "train/a/first"):
        with pytest.raises(IncompleteUpload, match="incomplete"):
            there.download(f"{there.bucket}/{place}")
    events.unregister("before-parameter-build.s3.PutObject", dies)
    here.upload(out, out)
    assert there.download(f"{there.bucket}/train/a/second").read_text() == "2"


def test_a_file_that_changed_or_is_gone_after_the_mark_is_not_used(here: S3RunFiles, there: S3RunFiles) -> None:
    out = write(here, "ingest", dataset="rows", other="1")
    uri = here.upload(out, out)
    here.bucket.put("ingest/dataset", b"cows")  # of the same length: another try that is still sending
    with pytest.raises(IncompleteUpload, match="is not the file that its task uploaded"):
        there.download(uri)
    here.bucket.client.delete_object(Bucket=here.bucket.name, Key=f"{here.bucket.base}ingest/dataset")
    with pytest.raises(MissingFiles, match="ingest/dataset is gone; clear the run from `ingest`"):
        there.download(uri)


def test_a_mark_cannot_write_outside_of_the_folder(here: S3RunFiles, there: S3RunFiles, tmp_path: Path) -> None:
    out = write(here, "ingest", dataset="rows")
    uri = here.upload(out, out)
    told = here.bucket.read(f"ingest/{MARK}")
    told["files"]["../../../evil"] = told["files"]["dataset"]
    here.bucket.put(f"ingest/{MARK}", str(told).replace("'", '"').encode())
    with pytest.raises(IncompleteUpload, match="outside"):
        there.download(uri)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("uri", ["s3://test-kept/other/run/ingest", "file:///etc", "{}/../other", "{}/"])
def test_a_uri_of_another_run_is_refused(there: S3RunFiles, uri: str) -> None:
    with pytest.raises(BadArtifacts, match="expected something below s3://test-kept/runs/"):
        there.download(uri.format(there.bucket))


def test_an_artifacts_uri_that_is_none_is_said_to_be() -> None:
    with pytest.raises(BadArtifacts, match=r"UPDRAFT_ARTIFACTS: 's3://A_B/x' is not s3://bucket"):
        with s3_run_files("s3://A_B/x", s3_client({"AWS_DEFAULT_REGION": "us-east-1"}), "ingest"):
            raise AssertionError


def test_what_a_failed_stage_has_written_can_be_read_but_is_not_whole(bucket: Bucket, there: S3RunFiles) -> None:
    with pytest.raises(BadData):
        with s3_run_files(str(bucket), bucket.client, "ingest") as files:
            scratch = files.folder
            write(files, "ingest", quarantine="worst row")
            raise BadData("too many do not fit")
    assert not scratch.exists()
    assert bucket.get("ingest/quarantine") is not None
    with pytest.raises(IncompleteUpload):
        there.download(f"{there.bucket}/ingest")


def test_a_failure_is_not_hidden_by_an_s3_server_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    away = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with pytest.raises(BadData):
        with s3_run_files(
            "s3://test-kept/x", s3_client({**away, "AWS_DEFAULT_REGION": "us-east-1"}), "ingest"
        ) as files:
            write(files, "ingest", quarantine="worst row")
            raise BadData("too many do not fit")
    assert "the files of ingest are lost" in caplog.text


def push_elsewhere(case: UseCase, files: S3RunFiles, registry: Registry, run: Run) -> Outcome:
    places = ("transform", "ingest/dataset.parquet", "evaluate")
    models = [files.download(f"{files.bucket}/train/{candidate}") for candidate in case.candidates]
    split, dataset, evaluation = (files.download(f"{files.bucket}/{place}") for place in places)
    files.download(f"{files.bucket}/ingest/dataset.json")
    return push(case, models, split, dataset, evaluation, registry, run)


def test_another_machine_pushes_and_judges_again(
    here: S3RunFiles, there: S3RunFiles, trained: Trained, case: UseCase, registry: Registry, tmp_path: Path
) -> None:
    shutil.copytree(trained.split.parent, here.folder)
    for place in ("ingest", "transform", "evaluate", *(f"train/{name}" for name in case.candidates)):
        here.upload(here.folder / place, here.folder / place)
    shutil.rmtree(here.folder)
    first = push_elsewhere(case, there, registry, Run("manual__0", there, "somebody else"))
    assert first.decision == "promote" and first.version
    manifest = read_json(registry.pull(case.name, 1, tmp_path / "pulled") / "manifest.json")
    assert manifest["data_sha256"] == there.bucket.read(f"ingest/{MARK}")["files"]["dataset.parquet"]["sha256"]
    shutil.rmtree(there.folder)
    again = push_elsewhere(case, there, registry, Run("manual__1", there, "tests"))
    assert again.decision == "reject" and "version 1" in again.reason
