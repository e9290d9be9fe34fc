"""The datasets of the environment, and which version was trained on which."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq

from updraft.datasets.store import VARIABLE, Datasets, NoSuchDataset, open_datasets
from updraft.errors import UserError
from updraft.registry.registry import Registry


def open_store(registry: Registry) -> Datasets:
    """Open the store that UPDRAFT_DATASETS names, by the registry's client."""
    datasets = open_datasets(os.environ, registry.bucket.client)
    if datasets is None:
        raise UserError(f"{VARIABLE}: not set; expected s3://bucket or s3://bucket/prefix, where datasets are kept")
    return datasets


def versions_by_md5(registry: Registry, name: str) -> dict[str, list[int]]:
    """Return the numbers of the versions that were trained on each dataset."""
    numbers: dict[str, list[int]] = {}
    for version in registry.versions(name):
        entry = version.manifest.get("dataset")
        if isinstance(entry, dict):
            numbers.setdefault(str(entry.get("md5")), []).append(version.number)
    return numbers


def pull_rows(datasets: Datasets, registry: Registry, name: str, number: int, file: Path, *, force: bool) -> int:
    """Download the dataset of a version; return its number of rows. The version's signed manifest has its hashes."""
    if file.exists() and not force:
        raise UserError(f"{file}: already there; --force overwrites")
    if not file.absolute().parent.is_dir():
        raise UserError(f"{file}: there is no folder {str(file.absolute().parent)!r}")
    version, _, _ = registry.read_verified(name, number)
    entry = version.manifest.get("dataset")
    if not isinstance(entry, dict):
        raise NoSuchDataset(f"{version} was pushed by an earlier Updraft, which kept no datasets")
    datasets.fetch(name, entry["md5"], version.manifest["data_sha256"], file)
    return int(pq.read_metadata(file).num_rows)
