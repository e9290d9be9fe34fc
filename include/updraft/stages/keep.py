"""Keep a dataset that was validated, so that its rows can be had again and the next read goes on from it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from updraft.datasets.manifest import MANIFEST, Description
from updraft.datasets.retention import prunable, prune, trained_on
from updraft.datasets.store import Datasets
from updraft.registry.folder_hashes import sha256
from updraft.registry.registry import Registry
from updraft.registry.signed_json import parse
from updraft.stages.stage_folder import read_json
from updraft.usecase import UseCase

log = logging.getLogger(__name__)


def describe(dataset: Path) -> Description:
    """Read the manifest that `ingest` wrote beside a dataset."""
    path = dataset.with_name(MANIFEST)
    return parse(Description, read_json(path), str(path))


def keep(
    case: UseCase,
    dataset: Path,
    datasets: Datasets | None,
    registry: Callable[[], Registry],
    run_id: str,
    *,
    goes_on: bool = True,
) -> None:
    """Store a validated dataset with its manifest, and remove those that `datasets.keep` has no room for.

    Unless `goes_on`, the next incremental read does not go on from it. Without a store, or with `keep: 0`, nothing is
    stored.
    """
    most = case.datasets.keep
    if datasets is None or not most:
        reason = "UPDRAFT_DATASETS is not set" if datasets is None else "datasets: {keep: 0}"
        log.info("the dataset is not kept: %s", reason)
        return
    description = describe(dataset)
    if not goes_on:
        description = description.model_copy(update={"position": None, "base": None})
    run = {"name": case.name, "run_id": run_id, "suite_sha256": sha256(case.suite)}
    manifest = datasets.keep(dataset, description, run)
    log.info("kept as dataset %d in %s", manifest.number, datasets.bucket)
    in_use = trained_on(registry(), case.name)
    if old := prunable(datasets, case.name, most, in_use):
        prune(datasets, case.name, old, in_use)
        log.info("removed datasets %s: the latest %d stay, and those of versions",
                 ", ".join(str(each.number) for each in old), most)  # fmt: skip
