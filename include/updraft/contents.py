"""Describe the files of a folder by name, sha256 and size, and put a folder in place at one stroke."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from updraft.bucket import BadRegistry


def contents(folder: Path) -> dict[str, Path]:
    """Find every file below `folder` by its relative name; BadRegistry when there is none or a name is not plain."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not found:
        raise BadRegistry(f"no files in {str(folder)!r}")
    for name in found:
        if not is_plain(name):
            raise BadRegistry(f"{name!r} in {str(folder)!r} is no plain file name")
    return found


def is_plain(name: str) -> bool:
    """Say whether a relative file name stays inside whatever folder it is joined to."""
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return inside and name == path.as_posix() and "\\" not in name and name.isprintable()


def described(path: Path) -> dict[str, Any]:
    """Give a file's sha256 and size."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def holds(folder: Path, files: dict[str, dict[str, Any]], manifest: bytes) -> bool:
    """Say whether `folder` holds manifest.json with these bytes and these files (name: description), and no others."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    written = found.pop("manifest.json", None)
    if written is None or found.keys() != files.keys() or written.read_bytes() != manifest:
        return False
    return all(described(path) == files[name] for name, path in found.items())


def put_in_place(fresh: Path, into: Path, files: dict[str, dict[str, Any]], manifest: bytes) -> None:
    """Rename `fresh` to `into` in place of what is there; another process may have done the same just now."""
    shutil.rmtree(into, ignore_errors=True)
    try:
        fresh.rename(into)
    except OSError:
        if not holds(into, files, manifest):
            raise
