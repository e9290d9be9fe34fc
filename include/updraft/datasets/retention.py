"""Which datasets go: all but the latest, the last with a position, and those that a version was trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from updraft.datasets.manifest import Manifest
from updraft.datasets.store import FRESH, Datasets, files_key, manifest_key
from updraft.registry.registry import Registry
from updraft.registry.s3 import BadRegistry


def trained_on(registry: Registry, name: str) -> set[str]:
    """Return the md5 of the dataset of every version that is in the registry."""
    entries = [version.manifest.get("dataset") for version in registry.versions(name)]
    return {str(entry.get("md5")) for entry in entries if isinstance(entry, dict)}


def prunable(datasets: Datasets, name: str, keep: int, in_use: Collection[str]) -> list[Manifest]:
    """List the datasets that `prune` removes, oldest first; `in_use` are the md5 of those that stay in any case."""
    if keep < 1:
        raise BadRegistry(f"{name}: keep {keep}: expected 1 or more")
    manifests = datasets.manifests(name)
    last = next((each.number for each in reversed(manifests) if each.position), None)
    return [each for each in manifests[:-keep] if each.number != last and each.md5 not in in_use]


def prune(datasets: Datasets, name: str, manifests: Iterable[Manifest], in_use: Collection[str]) -> None:
    """Remove manifests, and then every file that neither a manifest nor `in_use` names.

    A file that was written within a day stays until a later call: a run may be about to write its manifest.
    """
    for manifest in manifests:
        datasets.bucket.delete(manifest_key(name, manifest.number))
    named = {*in_use, *(manifest.md5 for manifest in datasets.manifests(name))}
    folder = files_key(name)
    for key, _, written in list(datasets.bucket.objects(folder)):
        if key.replace("/", "") not in named and datetime.now(UTC) - written > FRESH:
            datasets.bucket.delete(f"{folder}{key}")
