"""Registries that are written into a file, and read from one."""

from __future__ import annotations

from pathlib import Path

from tests.support.versions import NAME, promoted
from updraft.registry.archive.export import export
from updraft.registry.archive.load import Imported, check, load
from updraft.registry.registry import Registry


def ignore(done: int, total: int) -> None:
    """Show no progress."""


def write_archive(registry: Registry, file: Path, *names: str, force: bool = False) -> Path:
    export(registry, names, file, count=ignore, force=force)
    return file


def read_archive(registry: Registry, file: Path) -> list[Imported]:
    _, plans = check(registry, file, ignore)
    return list(load(registry, file, plans, ignore))


def objects(registry: Registry) -> dict[str, bytes]:
    """All that is in a registry, but for claims and notes, which say when they were made."""
    keys = [key for key in registry.bucket.keys("") if "/runs/" not in key and not key.endswith("claim.json")]
    return {key: b"".join(registry.bucket.stream(key)) for key in keys}


def taken_back(registry: Registry, folder: Path) -> None:
    promoted(registry, folder, 1, 2)
    registry.rollback(NAME, who="ann", why="2 is bad")
