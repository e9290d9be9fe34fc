"""Versions that a later Updraft or an earlier one has pushed: loaded, or refused with what they need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support.small_models import NAME, loaded_model, promote, push
from updraft.registry.manifest import MAX_MANIFEST, Manifest
from updraft.registry.registry import Registry
from updraft.registry.s3 import json_bytes
from updraft.registry.signed_json import seal

Content = dict[str, Any]


@pytest.fixture
def rewritten(registry: Registry, tmp_path: Path) -> Callable[[Callable[[Content], Content]], LiveModels]:
    """Push a version whose manifest is changed and signed, promote it, and give a service that has looked for it."""

    def rewritten(change: Callable[[Content], Content]) -> LiveModels:
        version = push(registry, tmp_path / "run", loaded_model())
        key = f"{NAME}/versions/0001/manifest.json"
        body, _ = registry.bucket.get(key, limit=MAX_MANIFEST) or (b"", "")
        manifest = json_bytes(change(json.loads(body)))
        registry.bucket.put(key, manifest)
        registry.bucket.put(f"{NAME}/versions/0001/manifest.sig", registry.keys.sign(manifest))
        promote_unverified(registry, version.number)
        service = LiveModels(registry, Cache(tmp_path / "cache"))
        service.refresh()
        return service

    return rewritten


def promote_unverified(registry: Registry, number: int) -> None:
    registry.moves(NAME).move(None, "promote", number, "a later Updraft", "better", version=number)


def later(manifest: Content) -> Content:
    files = {file: {**entry, "compression": "none"} for file, entry in manifest["files"].items()}
    return {**manifest, "files": files, "lineage": {"parents": [1]}, "licence": "MIT"}


def earliest(manifest: Content) -> Content:
    required = {name for name, field in Manifest.model_fields.items() if field.is_required()}
    assert required == {"name", "version", "run_id", "created_at", "files"}
    return {name: manifest[name] for name in required}


@pytest.mark.parametrize("change", [later, earliest])
def test_a_version_of_another_updraft_is_served_and_pulled_once(
    change: Callable[[Content], Content],
    rewritten: Callable[[Callable[[Content], Content]], LiveModels],
    registry: Registry,
    tmp_path: Path,
) -> None:
    service = rewritten(change)
    assert (service.live[NAME].version, dict(service.refusals)) == (1, {})
    assert registry.verify(NAME, 1).size > 0
    again = LiveModels(registry, Cache(tmp_path / "cache"))  # which finds its cache as it left it
    assert again.refresh() and again.live[NAME].version == 1


def test_a_manifest_that_this_updraft_cannot_read_says_what_it_needs(
    rewritten: Callable[[Callable[[Content], Content]], LiveModels],
) -> None:
    service = rewritten(lambda manifest: {**manifest, "format": 2})
    assert NAME not in service.live
    assert "has format 2, of a later Updraft; this one reads 1" in service.refusals[NAME].reason


def test_a_manifest_without_a_field_that_is_needed_names_it(
    rewritten: Callable[[Callable[[Content], Content]], LiveModels],
) -> None:
    service = rewritten(lambda manifest: {name: value for name, value in manifest.items() if name != "run_id"})
    assert "has no valid 'run_id' (field required)" in service.refusals[NAME].reason


def test_a_signature_of_a_later_format_is_named(registry: Registry, tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "signature.json").read_text())
        (folder / "signature.json").write_text(json.dumps({**content, "format": 2}))

    promote(registry, push(registry, tmp_path / "run", loaded_model(), spoil=spoil))
    service = LiveModels(registry, Cache(tmp_path / "cache"))
    service.refresh()
    refused = service.refusals[NAME].reason
    assert "signature.json has no valid 'format' (input should be 1): it is of a later Updraft, or broken" in refused


def test_what_a_later_updraft_adds_to_a_move_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    promote(registry, push(registry, tmp_path / "run", loaded_model()))
    pointer = registry.pointer(NAME)
    assert pointer
    registry.bucket.put(f"{NAME}/pointer.json", seal({**pointer.model_dump(), "approved_by": ["ann"]}, registry.keys))
    service = LiveModels(registry, Cache(tmp_path / "cache"))
    assert service.refresh() and service.live[NAME].version == 1
    assert registry.bucket.read(f"{NAME}/pointer.json")["approved_by"] == ["ann"]
