from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from updraft.datasets import retention
from updraft.datasets.manifest import Description, Manifest, hashes
from updraft.datasets.store import DatasetMoved, Datasets, NoSuchDataset, file_key, manifest_key, open_datasets
from updraft.registry.registry import Registry, VerificationError
from updraft.registry.s3 import BadRegistry
from updraft.registry.signing_keys import Keys

NAME = "vehicle_insurance"
NONE = "0" * 64


@pytest.fixture
def datasets(registry_environ: dict[str, str]) -> Datasets:
    opened = open_datasets({**registry_environ, "UPDRAFT_DATASETS": f"{registry_environ['UPDRAFT_REGISTRY']}-datasets"})
    assert opened is not None
    return opened


def dataset_of(folder: Path, *values: int) -> Path:
    path = folder / f"{'-'.join(map(str, values))}.parquet"
    pq.write_table(pa.table({"id": list(values)}), path)
    return path


def description_of(dataset: Path, position: dict[str, Any] | None = None, base: int | None = None) -> Description:
    counts = {"rows": 1, "new_rows": 1, "replaced": 0, "quarantined": 0}
    source = {"kind": "file"}
    return Description(
        source=source, position=position, base=base, reading_sha256=NONE, configuration_sha256="", **counts,
        **hashes(dataset),
    )  # fmt: skip


def keep(datasets: Datasets, dataset: Path, run_id: str, **more: Any) -> Manifest:
    run = {"name": NAME, "run_id": run_id, "suite_sha256": NONE}
    return datasets.keep(dataset, description_of(dataset, **more), run)


@contextmanager
def after(datasets: Datasets, event: str, action: Any) -> Iterator[None]:
    """Call `action` once, before the first request of a kind is sent."""
    pending = [action]

    def call(**_: Any) -> None:
        if pending:
            pending.pop()()

    datasets.bucket.client.meta.events.register(event, call)
    yield
    datasets.bucket.client.meta.events.unregister(event, call)


def test_what_was_kept_comes_back_and_lies_where_dvc_looks_for_it(datasets: Datasets, tmp_path: Path) -> None:
    path = dataset_of(tmp_path, 1, 2)
    kept = keep(datasets, path, "run 1")
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert kept.number == 1 and file_key(NAME, kept.md5) == f"{NAME}/files/md5/{md5[:2]}/{md5[2:]}"
    assert datasets.fetch(NAME, kept.md5, kept.sha256, tmp_path / "again").read_bytes() == path.read_bytes()
    assert list(datasets.bucket.keys(f"{NAME}/files/md5/")) == [f"{md5[:2]}/{md5[2:]}"]


def test_a_retry_finds_what_it_kept_and_the_same_rows_are_stored_once(datasets: Datasets, tmp_path: Path) -> None:
    path = dataset_of(tmp_path, 1)
    assert keep(datasets, path, "run 1") == keep(datasets, path, "run 1")
    assert keep(datasets, path, "run 2").number == 2
    assert len(list(datasets.bucket.keys(f"{NAME}/files/"))) == 1


def test_only_a_dataset_with_a_position_is_gone_on_from(datasets: Datasets, tmp_path: Path) -> None:
    assert datasets.last(NAME) is None
    keep(datasets, dataset_of(tmp_path, 1), "run 1", position={"offset": 1})
    keep(datasets, dataset_of(tmp_path, 2), "shell")
    last = datasets.last(NAME)
    assert last is not None and (last.number, last.position) == (1, {"offset": 1})
    again = keep(datasets, dataset_of(tmp_path, 1), "run 1", position={"offset": 1})
    assert again.number == 1  # a retry, though another one came in between


def test_of_two_runs_that_went_on_from_the_same_dataset_the_second_is_refused(
    datasets: Datasets, tmp_path: Path
) -> None:
    keep(datasets, dataset_of(tmp_path, 1), "run 1", position={"offset": 1})
    keep(datasets, dataset_of(tmp_path, 1, 2), "run 2", position={"offset": 2}, base=1)
    with pytest.raises(DatasetMoved, match=r"dataset 2 was kept since .* clear the run from `ingest`"):
        keep(datasets, dataset_of(tmp_path, 1, 3), "run 3", position={"offset": 3}, base=1)


def test_of_two_runs_at_the_same_moment_one_is_refused_and_nothing_is_lost(datasets: Datasets, tmp_path: Path) -> None:
    keep(datasets, dataset_of(tmp_path, 1), "run 1", position={"offset": 1})

    def other() -> None:
        keep(datasets, dataset_of(tmp_path, 1, 2), "run 2", position={"offset": 2}, base=1)

    with after(datasets, "before-send.s3.PutObject", other), pytest.raises(DatasetMoved):
        keep(datasets, dataset_of(tmp_path, 1, 3), "run 3", position={"offset": 3}, base=1)
    assert [manifest.run_id for manifest in datasets.manifests(NAME)] == ["run 1", "run 2"]


def test_two_datasets_without_a_position_at_the_same_moment_both_stay(datasets: Datasets, tmp_path: Path) -> None:
    with after(datasets, "before-send.s3.PutObject", lambda: keep(datasets, dataset_of(tmp_path, 2), "run 2")):
        keep(datasets, dataset_of(tmp_path, 1), "run 1")
    assert {manifest.run_id for manifest in datasets.manifests(NAME)} == {"run 1", "run 2"}


def test_an_altered_manifest_an_altered_file_and_a_missing_one_are_refused(datasets: Datasets, tmp_path: Path) -> None:
    kept = keep(datasets, dataset_of(tmp_path, 1), "run 1", position={"offset": 1})
    key = manifest_key(NAME, 1)
    genuine = datasets.bucket.read(key)
    datasets.bucket.put(key, json.dumps(genuine | {"position": {"offset": 9}}).encode())
    with pytest.raises(VerificationError, match="altered or signed with another key"):
        datasets.last(NAME)
    datasets.bucket.put(manifest_key(NAME, 2), json.dumps(genuine).encode())
    with pytest.raises(VerificationError, match="is a copy of vehicle_insurance dataset 1"):
        datasets.manifest(NAME, 2)
    datasets.bucket.put(file_key(NAME, kept.md5), b"other rows")
    with pytest.raises(VerificationError, match="is not the dataset that was kept"):
        datasets.fetch(NAME, kept.md5, kept.sha256, tmp_path / "rows")
    datasets.bucket.delete(file_key(NAME, kept.md5))
    with pytest.raises(NoSuchDataset, match="is no longer at s3://"):
        datasets.fetch(NAME, kept.md5, kept.sha256, tmp_path / "rows")
    assert not list(tmp_path.glob("*rows*"))


def test_without_a_signing_key_nothing_is_written(datasets: Datasets, tmp_path: Path) -> None:
    reader = Datasets(datasets.bucket, Keys(None, datasets.keys.verifying))
    with pytest.raises(BadRegistry, match="no key to sign with"):
        keep(reader, dataset_of(tmp_path, 1), "run 1")
    assert not list(datasets.bucket.keys(""))


@pytest.mark.parametrize("uri", ["models", "https://bucket", "s3://", "s3://A_B"])
def test_a_wrong_address_is_named_with_its_variable(registry_environ: dict[str, str], uri: str) -> None:
    with pytest.raises(BadRegistry, match=f"UPDRAFT_DATASETS: '{uri}' is not s3://bucket"):
        open_datasets({**registry_environ, "UPDRAFT_DATASETS": uri})
    assert open_datasets({**registry_environ, "UPDRAFT_DATASETS": ""}) is None


def test_old_datasets_go_but_for_the_last_with_a_position_and_those_of_versions(
    datasets: Datasets, registry: Registry, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.joblib").write_bytes(b"model")
    kept = [
        keep(datasets, dataset_of(tmp_path, number), f"run {number}", position=position)
        for number, position in enumerate([None, {"offset": 1}, None, None, None], start=1)
    ]
    registry.push(NAME, model, {"dataset": {"md5": kept[2].md5}}, "run 3")
    in_use = retention.trained_on(registry, NAME)
    assert in_use == {kept[2].md5}
    assert [old.number for old in retention.prunable(datasets, NAME, 1, in_use)] == [1, 4]
    assert [old.number for old in retention.prunable(datasets, NAME, 3, in_use)] == [1]
    assert retention.prunable(datasets, NAME, 5, in_use) == []
    with pytest.raises(BadRegistry, match="keep 0: expected 1 or more"):
        retention.prunable(datasets, NAME, 0, in_use)

    retention.prune(datasets, NAME, retention.prunable(datasets, NAME, 1, in_use), in_use)
    assert datasets.numbers(NAME) == [2, 3, 5]
    # Their files stay for a day: a run may be about to name one of them.
    assert datasets.fetch(NAME, kept[0].md5, kept[0].sha256, tmp_path / "again").is_file()
