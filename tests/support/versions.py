"""Versions of a small folder of files, pushed and promoted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from updraft.registry.registry import Registry

NAME = "vehicle_insurance"


def model_folder(folder: Path, content: str = "a model") -> Path:
    (folder / "pictures").mkdir(parents=True)
    (folder / "model.joblib").write_bytes(content.encode() * 1000)
    (folder / "signature.json").write_text(json.dumps({"content": content}))
    (folder / "pictures" / "roc curve.png").write_bytes(b"\x89PNG")
    return folder


def pushed(registry: Registry, tmp_path: Path, count: int) -> None:
    for each in range(1, count + 1):
        registry.push(NAME, model_folder(tmp_path / f"model{each}", f"model {each}"), {}, f"run {each}")


def promoted(registry: Registry, tmp_path: Path, *numbers: int) -> None:
    pushed(registry, tmp_path, max(numbers))
    for number in numbers:
        registry.promote(NAME, number, expect=registry.production(NAME), who="a test", why=f"version {number}")


def overwrite(registry: Registry, key: str, change: Callable[[bytes], bytes]) -> None:
    found = registry.bucket.get(key)
    assert found
    registry.bucket.put(key, change(found[0]))
