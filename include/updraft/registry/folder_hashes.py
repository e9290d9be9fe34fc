"""Describe a folder's files by name, sha256 and size, and replace a folder atomically."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from updraft.registry.s3 import BadRegistry

MANIFEST_FILES = {"manifest.json", "manifest.sig"}
ATTEMPTS = 5  # each fails only when another process replaced the folder in between


def list_files(folder: Path) -> dict[str, Path]:
    """Return the files below `folder` by relative name; raise BadRegistry if there is none or a name is unsafe."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not files:
        raise BadRegistry(f"no files in {str(folder)!r}")
    for name in files:
        if not is_safe_name(name):
            raise BadRegistry(f"{name!r} in {str(folder)!r} is not a safe file name")
    return files


def is_safe_name(name: str) -> bool:
    """Whether a relative file name stays inside any folder that it is joined to; it may come from a manifest."""
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return inside and name == path.as_posix() and "\\" not in name and name.isprintable()


def describe_file(path: Path) -> dict[str, Any]:
    """Return a file's sha256 and size."""
    return {"sha256": sha256(path), "size": path.stat().st_size}


def sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches_manifest(folder: Path, files: dict[str, dict[str, Any]], manifest: bytes) -> bool:
    """Whether `folder` contains this manifest.json, a signature and exactly these files, unaltered."""
    try:
        present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        if present.keys() != files.keys() | MANIFEST_FILES or present["manifest.json"].read_bytes() != manifest:
            return False
        return all(describe_file(present[name]) == expected for name, expected in files.items())
    except FileNotFoundError:  # another process is replacing the folder
        return False


def replace_folder(fresh: Path, into: Path, files: dict[str, dict[str, Any]], manifest: bytes) -> None:
    """Replace the folder `into` with `fresh`; safe when several processes do so at once.

    A folder that is not empty cannot be renamed over. The old one is therefore renamed away first, so that readers see
    all of it or none, and deleted last.
    """
    for attempt in range(ATTEMPTS):
        try:
            fresh.rename(into)
            return
        except OSError:
            if matches_manifest(into, files, manifest):
                return
            if attempt == ATTEMPTS - 1:
                raise
        old = fresh.with_name(f"{fresh.name}.old")
        with suppress(FileNotFoundError):
            into.rename(old)
        shutil.rmtree(old, ignore_errors=True)
