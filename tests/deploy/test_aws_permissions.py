"""The roles' permissions on buckets, held to the requests that the code makes: no more, and no fewer."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.shipper.ship import Pace, Shipper
from tests.support import s3_permissions, small_models
from tests.support.aws_stacks import ACCESS, Aws, aws
from tests.support.prediction_log_files import entry
from tests.support.shipping import filled
from tests.support.small_models import NAME
from updraft.datasets.manifest import Description, hashes
from updraft.datasets.store import open_datasets
from updraft.predictions.counting import Counter
from updraft.predictions.layout import open_bucket
from updraft.predictions.reading import read
from updraft.registry.registry import open_registry
from updraft.registry.s3 import Bucket, s3_client
from updraft.stages.runs import MissingFiles
from updraft.stages.runs_on_s3 import S3RunFiles

LARGE = os.urandom(9 << 20)  # uploaded in parts
NONE = "0" * 64


@pytest.fixture(scope="module")
def account(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with aws(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture(scope="module")
def roles(account: Aws) -> dict[str, str]:
    account.apply("storage")
    return account.apply("access", **ACCESS)


@pytest.fixture(scope="module")
def environ(account: Aws, roles: dict[str, str], s3: dict[str, str], key_files: dict[str, str]) -> dict[str, str]:
    """Name buckets on the S3 server as the stack has named its own, and make them there."""
    names = {each["Name"].split("-")[1]: each["Name"] for each in account.client("s3").list_buckets()["Buckets"]}
    for name in names.values():
        Bucket(s3_client(s3), name).create_if_missing()
    of = {
        "UPDRAFT_REGISTRY": "models",
        "UPDRAFT_DATASETS": "datasets",
        "UPDRAFT_ARTIFACTS": "artifacts",
        "UPDRAFT_LOGS": "logs",
        "SERVING_PREDICTIONS": "predictions",
    }
    return {**s3, **key_files, **{variable: f"s3://{names[name]}" for variable, name in of.items()}}


def bucket_of(environ: Mapping[str, str], variable: str) -> str:
    return environ[variable].removeprefix("s3://")


def train_and_promote(environ: dict[str, str], folder: Path) -> None:
    """Store and promote two versions, one with a large file, and take the second back, as tasks and people do."""
    registry = open_registry(environ)
    for seed in (1, 2):
        model = small_models.model(seed=seed, threshold=0.3)
        spoil = (lambda files: (files / "large.bin").write_bytes(LARGE)) if seed == 1 else None
        version = small_models.push(registry, folder / f"run{seed}", model, spoil=spoil)
        small_models.promote(registry, version)
    registry.pull(NAME, 2, folder / "champion")
    registry.rollback(NAME, who="tests", why="a test")
    assert registry.states(NAME).production == 1
    assert registry.names() == [NAME]


def keep_rows(environ: dict[str, str], folder: Path) -> None:
    """Keep the rows of two runs, and read them back."""
    datasets = open_datasets(environ)
    assert datasets
    for number in (1, 2):
        path = folder / f"{number}.parquet"
        pq.write_table(pa.table({"id": [number], "large": [LARGE]}), path)
        counts = {"rows": 1, "new_rows": 1, "replaced": 0, "quarantined": 0}
        about = Description(
            source={"kind": "file"}, position=None, base=None, reading_sha256=NONE, configuration_sha256="", **counts,
            **hashes(path),
        )  # fmt: skip
        kept = datasets.keep(path, about, {"name": NAME, "run_id": f"run {number}", "suite_sha256": NONE})
        datasets.fetch(NAME, kept.md5, kept.sha256, folder / "again.parquet")


def pass_files_on(environ: dict[str, str], folder: Path) -> None:
    """Pass the files of a stage to the next one, on another machine; what failed is uploaded for people."""
    bucket = Bucket(s3_client(environ), bucket_of(environ, "UPDRAFT_ARTIFACTS"), f"{NAME}/run")
    here, there = (S3RunFiles(bucket, folder / place) for place in ("here", "there"))
    out = here.folder / "ingest"
    out.mkdir(parents=True)
    (out / "rows.parquet").write_bytes(LARGE)
    assert (there.download(here.upload(out, out)) / "rows.parquet").read_bytes() == LARGE
    here.upload_partial("ingest")
    with pytest.raises(MissingFiles):  # it lists what is there
        there.download(f"{bucket}/validate")


def write_task_log(environ: dict[str, str], folder: Path) -> None:
    """Write a task's log and add to it, as a second attempt of the task does, and read it, as Airflow's pages do."""
    from airflow.providers.amazon.aws.log.s3_task_handler import S3RemoteLogIO

    logs = S3RemoteLogIO(environ["UPDRAFT_LOGS"], folder, delete_local_copy=False)
    for line in ("first\n", "second\n"):
        (folder / "attempt.log").write_text(line)
        logs.upload("attempt.log")
    _, texts = logs.read("attempt.log", None)  # type: ignore[arg-type]
    assert texts and "first" in texts[0] and "second" in texts[0]


def ship(environ: dict[str, str], folder: Path) -> list[str | None]:
    """Ship a prediction, and again as if the first shipper had died before it noted that; return each If-None-Match."""
    bucket, conditions = open_bucket(environ), list[str | None]()
    assert bucket
    bucket.client.meta.events.register(
        "provide-client-params.s3.PutObject", lambda params, **_: conditions.append(params.get("IfNoneMatch"))
    )
    with filled(folder / "log") as it:
        it.add(entry(1, use_case=NAME))
        for _ in range(2):
            Shipper(it.folder, bucket, Pace(0.0)).run_once()
            with closing(sqlite3.connect(it.folder / "shipper.sqlite", isolation_level=None)) as state:
                state.execute("UPDATE ranges SET rows = NULL")
    return conditions


def watch(environ: dict[str, str], folder: Path) -> None:
    """Read what was shipped, as the monitor does."""
    bucket = open_bucket(environ)
    assert bucket and sum(batch.num_rows for batch in read(bucket, NAME))


def test_training_needs_what_its_role_has(
    account: Aws, roles: dict[str, str], environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in s3_permissions.LOGIN:
        monkeypatch.setenv(name, environ[name])  # for Airflow, which has no connection here
    ship(environ, tmp_path)
    with s3_permissions.recorded() as requests:
        for step in (train_and_promote, keep_rows, pass_files_on, write_task_log, watch):
            (tmp_path / step.__name__).mkdir()
            step(environ, tmp_path / step.__name__)
    assert {"PutObject", "UploadPart", "HeadBucket"} <= {operation for operation, _ in requests}
    no_parts = ("updraft-logs", "updraft-predictions")
    more = {("s3:AbortMultipartUpload", bucket) for _, bucket in requests if not bucket.startswith(no_parts)}
    granted = s3_permissions.granted(account.policies(roles["Trainer"]))
    assert s3_permissions.needed(requests) | more == granted  # `more`: see the last test


def test_the_triggerer_needs_what_its_role_has(
    account: Aws, roles: dict[str, str], environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in s3_permissions.LOGIN:
        monkeypatch.setenv(name, environ[name])
    ship(environ, tmp_path)
    with s3_permissions.recorded() as requests:
        write_task_log(environ, tmp_path)
        bucket = open_bucket(environ)
        assert bucket
        objects = Counter(bucket, NAME).objects(datetime.fromtimestamp(0, UTC).date())
        assert Counter(bucket, NAME).rows_after({}, objects) > 0
    try:
        on_eks = account.apply("access", **ACCESS, EksIssuer="oidc.eks.eu-central-1.amazonaws.com/id/ABC123")
        granted = s3_permissions.granted(account.policies(on_eks["Triggerer"]))
    finally:
        account.apply("access", **ACCESS)
    assert s3_permissions.needed(requests) == granted


def test_the_service_needs_what_its_role_has(
    account: Aws, roles: dict[str, str], environ: dict[str, str], tmp_path: Path
) -> None:
    train_and_promote(environ | {"UPDRAFT_REGISTRY": f"{environ['UPDRAFT_REGISTRY']}/serving"}, tmp_path)
    reader = {name: value for name, value in environ.items() if name != "UPDRAFT_SIGNING_KEY"}
    reader["UPDRAFT_REGISTRY"] += "/serving"
    with s3_permissions.recorded() as requests:
        live = LiveModels(open_registry(reader), Cache(tmp_path / "cache"))
        assert live.refresh() and live.live.keys() == {NAME}
        assert live.refresh()
        assert set(ship(environ, tmp_path)) == {"*"}
    policies = account.policies(roles["Service"])
    assert s3_permissions.needed(requests) == s3_permissions.granted(policies)
    (create,) = (each for each in policies if each["Action"] == "s3:PutObject")
    assert create["Condition"] == {"Null": {"s3:if-none-match": "false"}}  # which moto does not enforce


MIRROR = "updraft-tests-second"


def test_a_mirror_is_written_by_training_and_read_by_services(
    account: Aws, roles: dict[str, str], environ: dict[str, str], tmp_path: Path
) -> None:
    place = f"s3://{MIRROR}/{secrets.token_hex(6)}"
    Bucket(s3_client(environ), MIRROR).create_if_missing()
    mirrored = environ | {"UPDRAFT_REGISTRY": f"{environ['UPDRAFT_REGISTRY']}/mirrored", "UPDRAFT_MIRROR": place}
    with s3_permissions.recorded() as written:
        train_and_promote(mirrored, tmp_path)
    reader = {name: value for name, value in environ.items() if name != "UPDRAFT_SIGNING_KEY"}
    with s3_permissions.recorded() as read:
        live = LiveModels(open_registry(reader | {"UPDRAFT_REGISTRY": place}), Cache(tmp_path / "cache"))
        assert live.refresh() and live.live.keys() == {NAME}
    assert not of_mirror(s3_permissions.granted(account.policies(roles["Trainer"])))
    with aws(tmp_path) as another:  # moto leaves a role's policies as they are when a stack is updated
        another.apply("storage")
        mirroring = another.apply("access", **ACCESS, Mirror=MIRROR)
        writes, reads = (s3_permissions.granted(another.policies(mirroring[role])) for role in ("Trainer", "Service"))
    abort = {("s3:AbortMultipartUpload", MIRROR)}  # see the last test
    assert of_mirror(s3_permissions.needed(written)) | abort == of_mirror(writes)
    assert of_mirror(s3_permissions.needed(read)) == of_mirror(reads)


def of_mirror(permissions: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(action, bucket) for action, bucket in permissions if bucket == MIRROR}


def test_an_upload_that_breaks_off_may_be_cleaned_up(
    account: Aws, roles: dict[str, str], environ: dict[str, str], tmp_path: Path
) -> None:
    def lose_connection(**_: object) -> None:
        raise ConnectionResetError("the connection is lost")

    (tmp_path / "large").write_bytes(LARGE)
    with s3_permissions.recorded() as requests:
        bucket = Bucket(s3_client(environ), bucket_of(environ, "UPDRAFT_ARTIFACTS"))
        bucket.client.meta.events.register("before-send.s3.UploadPart", lose_connection)
        with pytest.raises((OSError, ClientError)):
            bucket.upload("large", tmp_path / "large")
    assert "AbortMultipartUpload" in {operation for operation, _ in requests}
    assert s3_permissions.needed(requests) <= s3_permissions.granted(account.policies(roles["Trainer"]))
