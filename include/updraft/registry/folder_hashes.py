"""Describe the files of a folder by name, sha256 and size, and put a folder in place at one stroke."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from updraft.registry.s3 import BadRegistry

SEALS = {"manifest.json", "manifest.sig"}
ATTEMPTS = 5


def list_files(folder: Path) -> dict[str, Path]:
    """Find every file below `folder` by its relative name; BadRegistry when there is none or a name is not plain."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not found:
        raise BadRegistry(f"no files in {str(folder)!r}")
    for name in found:
        if not is_safe_name(name):
            raise BadRegistry(f"{name!r} in {str(folder)!r} is no plain file name")
    return found


def is_safe_name(name: str) -> bool:
    """Say whether a relative file name stays inside whatever folder it is joined to."""
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return inside and name == path.as_posix() and "\\" not in name and name.isprintable()


def describe_file(path: Path) -> dict[str, Any]:
    """Give a file's sha256 and size."""
    return {"sha256": sha256(path), "size": path.stat().st_size}


def sha256(path: Path) -> str:
    """Give a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches_manifest(folder: Path, files: dict[str, dict[str, Any]], manifest: bytes) -> bool:
    """Say whether `folder` holds manifest.json with these bytes, its signature and these files, and no others."""
    try:
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        if found.keys() != files.keys() | SEALS or found["manifest.json"].read_bytes() != manifest:
            return False
        return all(describe_file(found[name]) == told for name, told in files.items())
    except FileNotFoundError:  # another process takes it away
        return False


def replace_folder(fresh: Path, into: Path, files: dict[str, dict[str, Any]], manifest: bytes) -> None:
    """Rename `fresh` to `into` in place of what is there, which never is half gone; others may be doing the same."""
    for attempt in range(ATTEMPTS):
        try:
            fresh.rename(into)
            return
        except OSError:
            if matches_manifest(into, files, manifest):
                return
            if attempt == ATTEMPTS - 1:
                raise
        aside = fresh.with_name(f"{fresh.name}.old")
        with suppress(FileNotFoundError):
            into.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
